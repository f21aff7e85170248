"""Files of every build in the bus's server: few, small, for good under their name, gone in the end.

Keys, both in one slot:

    {ns}:assets        hash: name -> bytes
    {ns}:assets:kept   sorted set: name -> when it was last kept, in ms of the server's clock

The bus and not the cache, which evicts first what nobody asks for: these are asked for seldom, and
then they have to be there. In exchange what they take is bounded: beyond ``MOST_BYTES`` those kept
longest ago go. Names and bytes are taken as they are; whoever reads looks whether they belong
together (``app.assets``).

No call raises or waits for longer than the store's time-out a command; what went wrong is a
`Failure`. An ACL user of the bus needs, besides what ``stores.change_scripts`` lists: ``+eval
+hstrlen +pexpire +zadd +zrange +zrangebyscore +zrem``.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from typing import Final

from poruwa.config.model import ValkeyStore
from poruwa.stores.valkey_pipeline import ValkeyPipeline
from poruwa.stores.valkey_wire import Failure

LIFETIME_SECONDS: Final = 30 * 86_400.0
"""What nobody keeps any more stays so long: longer than a cache or a reader holds an old page."""

MOST_BYTES: Final = 16 << 20
"""Of all files of all builds. WeddingLK's are 50 kB a build, where all of them change."""

# ARGV: lifetime in ms, then name and SHA-1 of each. SHA-1 finds what is damaged or exchanged, so
# that it is written anew; it is not what readers trust.
_KEEP: Final = b"""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lifetime = tonumber(ARGV[1])
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - lifetime)) do
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
end
local wanted = {}
for i = 2, #ARGV, 2 do
  local data = redis.call('HGET', KEYS[1], ARGV[i])
  if data and redis.sha1hex(data) == ARGV[i + 1] then
    redis.call('ZADD', KEYS[2], now, ARGV[i])
  else
    wanted[#wanted + 1] = ARGV[i]
  end
end
redis.call('PEXPIRE', KEYS[1], lifetime)
redis.call('PEXPIRE', KEYS[2], lifetime)
return wanted
"""

# ARGV: lifetime in ms, most bytes, name, data.
_PUT: Final = b"""
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[2], now, ARGV[3])
local names = redis.call('ZRANGE', KEYS[2], 0, -1)
local excess = -tonumber(ARGV[2])
for _, name in ipairs(names) do
  excess = excess + redis.call('HSTRLEN', KEYS[1], name)
end
for _, name in ipairs(names) do
  if excess <= 0 then break end
  if name ~= ARGV[3] then
    excess = excess - redis.call('HSTRLEN', KEYS[1], name)
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
  end
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]))
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[1]))
return 1
"""


class AssetStore:
    """The files of one site.

    Args:
        store: of the bus.
        namespace: prefix of its keys, without braces.
    """

    def __init__(
        self,
        store: ValkeyStore,
        namespace: str,
        *,
        lifetime_seconds: float = LIFETIME_SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._pipeline = ValkeyPipeline(store)
        self._files = f"{{{namespace}}}:assets".encode()
        self._kept = self._files + b":kept"
        self._lifetime_ms = round(lifetime_seconds * 1000)
        self._most_bytes = most_bytes

    @property
    def connected(self) -> int:
        """How many connections were made so far."""
        return self._pipeline.connected

    async def start(self) -> None:
        """Connect; without an answer in time, go on trying beside."""
        await self._pipeline.start()

    async def close(self) -> None:
        """End the connection; who waits gets a `Failure`."""
        await self._pipeline.close()

    async def get(self, name: bytes) -> bytes | Failure | None:
        """Return what is under ``name``, None for nothing."""
        answer = await self._pipeline.execute(b"HGET", self._files, name)
        if answer is None or isinstance(answer, bytes | Failure):
            return answer
        return self._garbage()

    async def keep(self, files: Mapping[bytes, bytes]) -> int | Failure:
        """Keep all of ``files`` for the lifetime from now on; how many were not there as they are.

        Only these are sent. Cancelling leaves some of them kept.
        """
        words: list[bytes | int] = [self._lifetime_ms]
        for name, data in files.items():
            words += [name, sha1(data, usedforsecurity=False).hexdigest().encode()]
        answer = await self._run(_KEEP, *words)
        if isinstance(answer, Failure):
            return answer
        if not isinstance(answer, list) or not files.keys() >= set(answer):
            return self._garbage()
        for name in answer:
            put = await self._run(_PUT, self._lifetime_ms, self._most_bytes, name, files[name])
            if isinstance(put, Failure):
                return put
        return len(answer)

    async def _run(self, script: bytes, *words: bytes | int) -> object:
        return await self._pipeline.execute(b"EVAL", script, 2, self._files, self._kept, *words)

    def _garbage(self) -> Failure:
        self._pipeline.give_up(Failure.GARBAGE)
        return Failure.GARBAGE
