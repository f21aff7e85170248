"""L2: what all processes of a site share, in a Valkey that may evict.

Keys, with ``namespace`` and ``schema`` (of the values; a deploy that changes them starts anew, and
what was before expires):

    <namespace>:l2:<schema>:<key>       an entry (``stores.coding``)
    <namespace>:fill:<schema>:<key>     who is loading it: "<as_of> <token>"

Whether an entry is still valid is decided by who reads it, from its tags and ``as_of`` (DESIGN
section 6, rule 2). L2 promises only that it returns what was stored under the key, or nothing. A
store that is down, frozen, slow, full or talks nonsense is a miss, after ``timeout_seconds`` at
most (``stores.valkey_pipeline``), and is counted. No call raises, but ``ValueError`` for misuse.
"""

from __future__ import annotations

import fnmatch
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from poruwa.config.model import ValkeyStore
from poruwa.stores.batching import Answer, BatchedReads
from poruwa.stores.cache_statistics import CacheStatistics, Counters
from poruwa.stores.coding import HEADER, LIFETIME_OFFSET, Coder, Garbage, Stored, Unstorable
from poruwa.stores.valkey_pipeline import MOST_UNSENT_BYTES, ValkeyPipeline
from poruwa.stores.valkey_wire import Failure

__all__ = ["CacheStatistics", "Held", "Lock", "Stored", "ValkeyCache"]

_SLICE_KEYS: Final = 512  # of SCAN and UNLINK: about 0.1 ms of the server's time
_FULL_PAUSE_SECONDS: Final = 1.0
_TOKEN_BYTES: Final = 12
_LEAST_MILLISECONDS: Final = 1
_GLOB: Final = re.compile(rb"[*?\[\]\\]")

# Only who holds the lock may release it: it may have lapsed and be another's by now.
_RELEASE: Final = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
"""

_EXTEND: Final = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

# ARGV: now, seconds, offset of lifetime_seconds, length of the header. It is outside of the
# checksum; stored_at is 20 bytes behind it, stale_seconds 28.
_TOUCH: Final = b"""
local offset = tonumber(ARGV[3])
local header = redis.call('GETRANGE', KEYS[1], 0, tonumber(ARGV[4]) - 1)
if #header < tonumber(ARGV[4]) then return 0 end
local stored_at, stale = struct.unpack('<dd', string.sub(header, offset + 21, offset + 36))
local lifetime = tonumber(ARGV[1]) - stored_at + tonumber(ARGV[2])
if lifetime < 0 then return 0 end
redis.call('SETRANGE', KEYS[1], offset, struct.pack('<d', lifetime))
return redis.call('PEXPIRE', KEYS[1], math.max(1, math.floor((tonumber(ARGV[2]) + stale) * 1000)))
"""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else is loading it.

    Attributes:
        as_of: the position that one began from: what it loads is good for a caller only while no
            tag changed after it (DESIGN section 6, rule 3).
    """

    as_of: int


class Lock:
    """The right to load something, alone among all processes while the store is there.

    Attributes:
        as_of: as it was asked for.
        is_shared: False when the store did not answer: then others may be loading it as well.
    """

    __slots__ = ("_cache", "_key", "_word", "as_of", "is_shared")

    def __init__(self, cache: ValkeyCache, key: bytes, word: bytes, as_of: int) -> None:
        self._cache = cache
        self._key = key
        self._word = word
        self.as_of = as_of
        self.is_shared = bool(word)

    async def extend(self, seconds: float) -> bool:
        """Let it lapse ``seconds`` from now; False when it had lapsed, or nobody answers."""
        if not self._word:
            return False
        return await self._cache._extend(self._key, self._word, seconds)

    async def release(self) -> bool:
        """Let others load; False when it had lapsed, or the store does not answer."""
        if not self._word:
            return False
        return await self._cache._release(self._key, self._word)


class ValkeyCache:
    """The shared cache of one site.

    Args:
        store: where; one node, or a primary and its replicas.
        namespace: of the site; without ``:``.
        schema: of the values: a text that changes when values of before cannot be read any more.
    """

    def __init__(self, store: ValkeyStore, *, namespace: str, schema: str) -> None:
        if not store.nodes:
            raise ValueError("L2 needs a store with nodes")
        self._entries = f"{namespace}:l2:{schema}:".encode()
        self._fills = f"{namespace}:fill:{schema}:".encode()
        self._counters = Counters()
        self._coder = Coder()
        self._pipeline = ValkeyPipeline(store)
        self._reads = BatchedReads(
            self._pipeline,
            timeout_seconds=store.timeout_seconds,
            on_latency=self._counters.latency,
        )
        self._full_until = 0.0

    async def start(self) -> None:
        """Connect; a server that is not there is tried again in the background."""
        await self._pipeline.start()

    async def close(self) -> None:
        """End the connection."""
        await self._pipeline.close()

    async def get(self, key: bytes) -> Stored | None:
        """Return what is stored under ``key``. All reads of one turn of the loop go out as one."""
        key = self._entries + key
        return self._read(key, await self._reads.get(key))

    async def get_many(self, keys: Iterable[bytes]) -> list[Stored | None]:
        """Return what is stored under each of ``keys``, in their order."""
        prefix = self._entries
        asked = [(prefix + key, self._reads.get(prefix + key)) for key in keys]
        return [self._read(key, await future) for key, future in asked]

    async def set(self, key: bytes, stored: Stored) -> bool:
        """Store an entry; whether the server took it.

        It is kept for its lifetime and stale time, counted from ``stored_at``.
        """
        counters = self._counters
        if not self._pipeline.breaker.is_closed or time.monotonic() < self._full_until:
            counters.failures[Failure.REFUSED] += 1
            return False
        if self._pipeline.unsent_bytes > MOST_UNSENT_BYTES:
            counters.failures[Failure.REFUSED] += 1
            return False
        key = self._entries + key
        ends_at = stored.stored_at + stored.lifetime_seconds + stored.stale_seconds
        milliseconds = int((ends_at - time.time()) * 1000)
        if milliseconds < _LEAST_MILLISECONDS:
            return False
        try:
            data = self._coder.encode(key, stored)
        except Unstorable:
            counters.unstorable += 1
            return False
        answer = await self._pipeline.execute(b"SET", key, data, b"PX", milliseconds)
        if answer == b"OK":
            counters.stored += 1
            return True
        self._count(answer)
        return False

    async def delete(self, *keys: bytes) -> int:
        """Remove entries; how many there were."""
        return await self._unlink([self._entries + key for key in keys])

    async def delete_pattern(self, pattern: str) -> int:
        """Remove the entries whose keys match a shell's pattern; how many there were.

        The server looks through its keys in slices, between which others get their turn. An entry
        that is stored meanwhile may stay. Ends early when the store fails.
        """
        expression = re.compile(fnmatch.translate(pattern).encode(), re.DOTALL)
        prefix = self._entries
        literal = re.split(rb"[*?\[]", pattern.encode(), maxsplit=1)[0]
        match = _GLOB.sub(rb"\\\g<0>", prefix + literal) + b"*"
        removed = 0
        cursor = b"0"
        while True:
            answer = await self._pipeline.execute(
                b"SCAN", cursor, b"MATCH", match, b"COUNT", _SLICE_KEYS
            )
            slice_ = _scanned(answer)
            if slice_ is None:
                self._count(answer)
                return removed
            cursor, found = slice_
            removed += await self._unlink(
                [key for key in found if expression.match(key, len(prefix))]
            )
            if cursor == b"0":
                return removed

    async def touch(self, key: bytes, seconds: float) -> bool:
        """Make an entry fresh for ``seconds`` from now on; False when there is none."""
        answer = await self._pipeline.execute(
            b"EVAL", _TOUCH, 1, self._entries + key,
            repr(time.time()).encode(), repr(float(seconds)).encode(),
            LIFETIME_OFFSET, HEADER.size,
        )  # fmt: skip
        return self._is_one(answer)

    async def lock(self, key: bytes, *, as_of: int, seconds: float) -> Lock | Held:
        """Ask for the right to load what ``key`` stands for.

        Args:
            as_of: the position applied here before loading begins.
            seconds: it lapses by itself after so long.

        Returns a `Lock` that is not shared when the store does not answer: then load, alone or not.
        """
        fill = self._fills + key
        word = b"%d %s" % (as_of, secrets.token_hex(_TOKEN_BYTES).encode())
        milliseconds = max(int(seconds * 1000), _LEAST_MILLISECONDS)
        answer = await self._pipeline.execute(
            b"SET", fill, word, b"NX", b"GET", b"PX", milliseconds
        )
        # Our own word: the answer to the first try was lost with its connection.
        if answer is None or answer == word:
            return Lock(self, fill, word, as_of)
        if isinstance(answer, bytes):
            number = answer.partition(b" ")[0]
            if number.isdigit():
                return Held(int(number))
        self._count(answer)
        return Lock(self, fill, b"", as_of)

    def stats(self) -> CacheStatistics:
        """Return what happened so far."""
        counters = self._counters
        breaker = self._pipeline.breaker
        return CacheStatistics(
            hits=counters.hits,
            misses=counters.misses,
            garbage=counters.garbage,
            stored=counters.stored,
            unstorable=counters.unstorable,
            deleted=counters.deleted,
            failures=dict(counters.failures),
            breaker=breaker.state,
            opened=breaker.opened,
            connections=self._pipeline.connected,
            batches=self._reads.batches,
            batches_under_way=self._reads.under_way,
            latency_counts=tuple(counters.latency_counts),
            latency_sum_seconds=counters.latency_sum,
        )

    def _read(self, key: bytes, data: Answer) -> Stored | None:
        if type(data) is bytes:
            try:
                stored = self._coder.decode(key, data)
            except Garbage:
                self._counters.garbage += 1
            else:
                self._counters.hits += 1
                return stored
        elif data is not None:
            self._count(data)
            return None
        self._counters.misses += 1
        return None

    async def _unlink(self, keys: Sequence[bytes]) -> int:
        removed = 0
        for slice_ in _slices(keys, _SLICE_KEYS):
            answer = await self._pipeline.execute(b"UNLINK", *slice_)
            if not isinstance(answer, int):
                self._count(answer)
                break
            removed += answer
        self._counters.deleted += removed
        return removed

    async def _release(self, fill: bytes, word: bytes) -> bool:
        return self._is_one(await self._pipeline.execute(b"EVAL", _RELEASE, 1, fill, word))

    async def _extend(self, fill: bytes, word: bytes, seconds: float) -> bool:
        milliseconds = max(int(seconds * 1000), _LEAST_MILLISECONDS)
        return self._is_one(
            await self._pipeline.execute(b"EVAL", _EXTEND, 1, fill, word, milliseconds)
        )

    def _is_one(self, answer: object) -> bool:
        if not isinstance(answer, int):
            self._count(answer)
        return answer == 1

    def _count(self, answer: object) -> None:
        """Count a call that went wrong; an answer that is none makes the connection useless."""
        if not isinstance(answer, Failure):
            self._pipeline.give_up(Failure.GARBAGE)
            answer = Failure.GARBAGE
        self._counters.failures[answer] += 1
        if answer is Failure.FULL:
            self._full_until = time.monotonic() + _FULL_PAUSE_SECONDS


def _slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _scanned(answer: object) -> tuple[bytes, list[bytes]] | None:
    """Return cursor and keys of an answer to SCAN; None when it is none."""
    if not isinstance(answer, list) or len(answer) != 2:
        return None
    cursor, keys = answer
    if not isinstance(cursor, bytes) or not isinstance(keys, list):
        return None
    return cursor, [key for key in keys if isinstance(key, bytes)]
