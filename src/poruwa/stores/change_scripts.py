"""The change log's operations as scripts: each runs on the server as one step.

Keys, all in one slot: ``{ns}:epoch`` (hash: ``epoch``, ``n``, ``run``, ``settled``, ``longest``),
``{ns}:log`` (stream, ids ``epoch-n``), ``{ns}:layers`` (hash: layer -> ``applied lease_ms stamp``).
Channels: ``{ns}:wake`` (``id [writer change]``, for each entry), ``{ns}:applied:WRITER`` (``layer
id``, for each layer that applied entries of that writer). Why it is safe: ``stores.change_log``.

Every script begins with the same lines, which begin a new epoch where the server is another process
than the one that began the present epoch (restart, promotion), or knows less than the caller (lost
data). A new epoch empties the table of layers, is *unsettled* (leases of before may still run) and
its first entry says that everything changed. Epochs follow the date, so that they grow even where
all is lost, but a server's clock decides nothing else: leases are waited for by the clock of who
waits.

The layers' table is written without replication: on the append-only file each renewal would cost an
fsync, and no new epoch believes it anyway. Works on Redis 7 and Valkey alike. An ACL user needs::

    ~{ns}:* &{ns}:* +evalsha +script|load +info +time +hget +hset +hmget +hgetall +hdel +hincrby
    +del +xadd +xrange +xinfo|stream +publish +subscribe +unsubscribe +ping (+role with replicas)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from poruwa.rules.position import epoch_of, make_position, n_of
from poruwa.stores.valkey_connection import cancellable

RETAINED: Final = 100_000
"""Entries of the log that are kept, about: more than a process remembers."""

_BEGIN: Final = """
local call = redis.call
local prefix, known_epoch, known_n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease = tonumber(ARGV[4])
local run = string.match(call('INFO', 'server'), 'run_id:(%x+)')
if not run or not string.find(run, '[1-9a-f]') then
  return redis.error_reply('ERR this server hides its run id, so a restart could not be noticed')
end
local head = call('HMGET', KEYS[1], 'epoch', 'n', 'run', 'settled', 'longest')
local epoch, n = tonumber(head[1] or 0), tonumber(head[2] or 0)
local settled, longest = head[4] == '1', tonumber(head[5] or 0)
local function id_of(e, i) return string.format('%.0f-%.0f', e, i) end
if head[3] ~= run or known_epoch > epoch or (known_epoch == epoch and known_n > n) then
  local logged = 0
  local about = redis.pcall('XINFO', 'STREAM', KEYS[2])
  if not about.err then
    for i = 1, #about, 2 do
      if about[i] == 'last-generated-id' then
        logged = tonumber(string.match(about[i + 1], '^(%d+)-'))
      end
    end
  end
  local date = math.floor((tonumber(call('TIME')[1]) - 1767225600) / 120)
  if date >= 8388607 then date = 0 end
  epoch, n = math.max(epoch, known_epoch, logged, date - 1) + 1, 0
  settled, longest = false, math.max(longest, lease)
  call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'n', 0, 'run', run,
       'settled', 0, 'longest', longest)
  call('DEL', KEYS[3])
  call('XADD', KEYS[2], 'MAXLEN', '~', RETAINED, id_of(epoch, 0), 'e', '1')
  call('PUBLISH', prefix .. 'wake', id_of(epoch, 0))
elseif lease > longest then
  longest = lease
  call('HSET', KEYS[1], 'longest', longest)
end
local function reply(rest) return {epoch, n, settled and 1 or 0, longest, rest} end
"""

_APPEND: Final = """
local change, writer = ARGV[5], ARGV[6]
n = call('HINCRBY', KEYS[1], 'n', 1)
local id = id_of(epoch, n)
call('XADD', KEYS[2], 'MAXLEN', '~', RETAINED, id, 'c', change, 'w', writer)
call('PUBLISH', prefix .. 'wake', id .. ' ' .. writer .. ' ' .. change)
return reply(call('HGETALL', KEYS[3]))
"""

_RENEW: Final = """
local layer, stamp, is_registering = ARGV[5], ARGV[6], ARGV[7] == '1'
if tonumber(ARGV[8]) == epoch and not settled then
  call('HSET', KEYS[1], 'settled', 1)
  settled = true
end
local applied = id_of(known_epoch, known_n)
local entries = {}
if known_epoch ~= epoch or known_n ~= n then
  local from = '-'
  if known_epoch > 0 then from = '(' .. applied end
  entries = call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[9])
end
if is_registering then
  redis.set_repl(redis.REPL_NONE)
  call('HSET', KEYS[3], layer, applied .. ' ' .. lease .. ' ' .. stamp)
  redis.set_repl(redis.REPL_ALL)
end
for i = 10, #ARGV do
  call('PUBLISH', prefix .. 'applied:' .. ARGV[i], layer .. ' ' .. applied)
end
return reply(entries)
"""

_SURVEY: Final = """
return reply(call('HGETALL', KEYS[3]))
"""

# Layers whose entry is still as it was seen; "" for a layer that leaves, whatever its entry is.
_DROP: Final = """
redis.set_repl(redis.REPL_NONE)
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '' or call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then
    call('HDEL', KEYS[3], ARGV[i])
  end
end
redis.set_repl(redis.REPL_ALL)
return reply({})
"""


class Head(NamedTuple):
    """What every script answers.

    Attributes:
        epoch, n: of the log's last entry.
        is_settled: whether every lease given before this epoch is known to have lapsed.
        longest_seconds: the longest lease that any layer took.
        rest: what the script adds.
    """

    epoch: int
    n: int
    is_settled: bool
    longest_seconds: float
    rest: Any

    @property
    def position(self) -> int:
        return make_position(self.epoch, self.n)


class ChangeScripts:
    """The operations, on one client.

    Each raises what ``valkey_connection.FAILURES`` lists.

    Args:
        namespace: prefix of keys and channels, without braces.
        lease_seconds: of the caller.
        retained: entries of the log to keep, about.
    """

    def __init__(
        self, client: Redis, *, namespace: str, lease_seconds: float, retained: int = RETAINED
    ) -> None:
        def made(body: str) -> AsyncScript:
            text = (_BEGIN + body).replace("RETAINED", str(retained))
            return client.register_script(text)

        self._prefix = f"{{{namespace}}}:"
        self._keys = [self._prefix + name for name in ("epoch", "log", "layers")]
        self._lease_ms = max(1, round(lease_seconds * 1000))
        self._append = made(_APPEND)
        self._renew = made(_RENEW)
        self._survey = made(_SURVEY)
        self._drop = made(_DROP)

    async def append(self, known: int, change: bytes, writer: bytes) -> Head:
        """Append a coded change and wake who listens; ``rest`` is the layers' table, flat."""
        return await self._call(self._append, known, change, writer)

    async def renew(
        self,
        applied: int,
        *,
        layer: bytes,
        stamp: int,
        is_registering: bool,
        settled_epoch: int,
        page: int,
        writers: Sequence[bytes],
    ) -> Head:
        """Take a lease from the moment of sending; ``rest`` is the log after ``applied``.

        Args:
            stamp: another one for each call.
            is_registering: whether the layer enters the table; without it the lease counts nothing.
            settled_epoch: the epoch before which all leases lapsed by the caller's clock, or 0.
            page: entries at most.
            writers: who is told that this layer applied what they wrote.
        """
        return await self._call(
            self._renew,
            applied,
            layer,
            stamp,
            int(is_registering),
            settled_epoch,
            page,
            *writers,
        )

    async def survey(self, known: int) -> Head:
        """Return the layers' table, flat, in ``rest``."""
        return await self._call(self._survey, known)

    async def drop(self, known: int, *pairs: bytes) -> Head:
        """Strike layers, each given with its entry as it was seen, or b"" for any."""
        return await self._call(self._drop, known, *pairs)

    async def _call(self, script: AsyncScript, known: int, *args: bytes | int) -> Head:
        call = script(
            keys=self._keys,
            args=[self._prefix, epoch_of(known), n_of(known), self._lease_ms, *args],
        )
        reply = await cancellable(call)
        epoch, n, settled, longest, rest = reply
        return Head(int(epoch), int(n), settled == 1, int(longest) / 1000, rest)


def epoch_key(namespace: str) -> str:
    return f"{{{namespace}}}:epoch"


def wake_channel(namespace: str) -> str:
    return f"{{{namespace}}}:wake"


def applied_channel(namespace: str, writer: bytes) -> str:
    return f"{{{namespace}}}:applied:{writer.decode()}"
