"""Exact rate limits for all machines: GCRA as a script on the bus's server, by its clock.

For sign-in and whatever changes something (check 56). One key a client and limit, ``{ns}:rate:..``,
holds its TAT (``rules.rate_limit``) in microseconds since 2026 and goes when the burst is there
again. Keys hold hashes, not addresses or accounts; that hides nothing from who can guess them.

Nothing is replicated or written to the append-only file: a limit is not worth an fsync, and who
loses it in a failover loses minutes of counting. A server whose clock is set back delays nobody by
more than the window.

It never waits for long: no answer within ``LONGEST_SECONDS`` is a `Failure`, and while the breaker
is open it is one at once. What then decides is the caller's business. A call is not repeated when
its connection ends, since it may have been counted.

An ACL user of the bus needs, besides what ``stores.change_scripts`` lists: ``+get +set``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b, sha1
from typing import Final

import hiredis

from poruwa.config.model import ValkeyStore
from poruwa.rules.rate_limit import Decision, Quota, outcome
from poruwa.stores.valkey_pipeline import ValkeyPipeline
from poruwa.stores.valkey_wire import Command, Failure, packed

LONGEST_SECONDS: Final = 0.25
"""A sign-in may wait so long for its limit, and no longer."""

_SCRIPT: Final = b"""
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept_ms = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1767225600) * 1000000 + tonumber(time[2])
local tolerance = interval * burst
redis.set_repl(redis.REPL_NONE)
local function ahead_of(key)
  local arrival = redis.call('GET', key)
  if not arrival then return 0, true end
  return math.min(math.max(tonumber(arrival) - now, 0), tolerance), false
end
local function take(key, ahead)
  ahead = ahead + interval * cost
  redis.call('SET', key, string.format('%.3f', now + ahead),
             'PX', math.max(math.ceil(ahead / 1000), kept_ms, 1))
  return ahead
end
local function is_beyond(ahead)
  return ahead + interval * cost - tolerance > interval / 1000
end
local ahead, is_new = ahead_of(KEYS[1])
if is_new and KEYS[2] then
  local other = ahead_of(KEYS[2])
  if is_beyond(other) then return {0, string.format('%.3f', other)} end
  if not is_beyond(ahead) then take(KEYS[2], other) end
end
if is_beyond(ahead) then return {0, string.format('%.3f', ahead)} end
return {1, string.format('%.3f', take(KEYS[1], ahead))}
"""
_DIGEST: Final = sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()
_KEPT_SECONDS: Final = 3600.0

Answer = Callable[["Decision | Failure"], None]


class RateCounter:
    """The counters of all machines.

    Args:
        store: of the bus.
        namespace: prefix of its keys, without braces.
    """

    def __init__(self, store: ValkeyStore, namespace: str) -> None:
        seconds = min(store.timeout_seconds, LONGEST_SECONDS)
        self._pipeline = ValkeyPipeline(replace(store, timeout_seconds=seconds, retries=0))
        self._prefix = f"{{{namespace}}}:rate:".encode()

    async def start(self) -> None:
        """Connect; without an answer in time, go on trying beside."""
        await self._pipeline.start()

    async def close(self) -> None:
        """End the connection; who waits gets a `Failure`."""
        await self._pipeline.close()

    def take(
        self,
        quota: Quota,
        key: bytes,
        done: Answer,
        *,
        beside: bytes | None = None,
        cost: int = 1,
    ) -> None:
        """Count a request; ``done`` gets what comes of it, or a `Failure`, once.

        Args:
            key: of the limit and whom it counts, of any length. ``Decision.arrival`` is in seconds
                from now.
            beside: whom a key counts for that was not seen within the hour, besides itself: one
                that clients make up must not be worth a fresh start.
        """
        keys = [self._key(key)] if beside is None else [self._key(key), self._key(beside)]
        kept_ms = 0 if beside is None else round(_KEPT_SECONDS * 1000)
        micros = quota.interval_seconds * 1e6
        rest: list[bytes | str | int] = [
            len(keys),
            *keys,
            f"{micros:.9g}",
            quota.burst,
            cost,
            kept_ms,
        ]
        _Call(self._pipeline, quota, cost, rest, done).send()

    async def taken(self, quota: Quota, key: bytes, *, cost: int = 1) -> Decision | Failure:
        """Count a request and return what comes of it; cancelling does not take it back."""
        future: asyncio.Future[Decision | Failure] = asyncio.get_running_loop().create_future()

        def done(answer: Decision | Failure) -> None:
            if not future.done():
                future.set_result(answer)

        self.take(quota, key, done, cost=cost)
        return await future

    def _key(self, key: bytes) -> bytes:
        return self._prefix + blake2b(key, digest_size=16).hexdigest().encode()


class _Call:
    """One request that is being counted; the script is loaded where the server has lost it."""

    __slots__ = ("_cost", "_deadline", "_done", "_has_loaded", "_pipeline", "_quota", "_rest")

    def __init__(
        self,
        pipeline: ValkeyPipeline,
        quota: Quota,
        cost: int,
        rest: list[bytes | str | int],
        done: Answer,
    ) -> None:
        self._pipeline = pipeline
        self._quota = quota
        self._cost = cost
        self._rest = rest
        self._done = done
        self._has_loaded = False
        self._deadline = pipeline.deadline

    def send(self) -> None:
        words = packed((b"EVALSHA", _DIGEST, *self._rest))
        self._pipeline.submit(Command(words, self._deadline, self._take_answer))

    def _take_answer(self, answer: object) -> None:
        match answer:
            case [int(is_allowed), bytes(ahead)]:
                seconds = float(ahead) / 1e6
                self._done(
                    outcome(self._quota, seconds, 0.0, cost=self._cost, is_allowed=is_allowed == 1)
                )
            case Failure():
                self._done(answer)
            case hiredis.ReplyError() if self._may_load(str(answer)):
                self._has_loaded = True
                load = packed((b"SCRIPT", b"LOAD", _SCRIPT))
                self._pipeline.submit(Command(load, self._deadline, self._loaded))
            case hiredis.ReplyError():
                self._done(self._pipeline.failure_of(answer))
            case _:
                self._done(Failure.GARBAGE)

    def _may_load(self, message: str) -> bool:
        is_in_time = time.monotonic() < self._deadline
        return message.startswith("NOSCRIPT") and not self._has_loaded and is_in_time

    def _loaded(self, answer: object) -> None:
        match answer:
            case Failure():
                self._done(answer)
            case hiredis.ReplyError():
                self._done(self._pipeline.failure_of(answer))
            case _:
                self.send()
