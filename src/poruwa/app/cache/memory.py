"""L1: objects in this process, bounded in bytes, and killed as changes of their tags are applied.

An entry that is alive has had no change since it was loaded, by what this process applied: hits
need to look at one attribute, and at the lease (``sure_until``), which is the caller's to do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final

from poruwa.app.cache.statistics import ClassStatistics
from poruwa.stores.entry import OVERHEAD_BYTES, Entry
from poruwa.stores.s3fifo import S3Fifo
from poruwa.stores.tag_index import TagIndex

_SLICE: Final = 200  # entries freed in one turn of the loop: about a millisecond
_PAUSE_SECONDS: Final = 0.002

Memo = dict[tuple[Any, ...], "MemoryEntry"]
"""Entries of one function by the spelling of the call, so that a hit makes no key."""


class MemoryEntry(Entry):
    """An object in L1. Times are monotonic seconds.

    ``expires_at`` is what a hit compares: until then nothing has to be considered.

    Attributes:
        value: shared by all who ask.
        labels: its tags as texts, as collectors take them.
        memory_until: until when L1 may answer without asking L2.
        fresh_until: the end of its life by age.
        stale_until, error_until: while it is loaded anew, or cannot be.
        memo, spelling: where its function finds it.
    """

    __slots__ = (
        "error_until",
        "fresh_until",
        "labels",
        "memo",
        "memory_until",
        "spelling",
        "stale_until",
        "statistics",
        "value",
    )

    def __init__(
        self,
        key: bytes,
        value: Any,
        size: int,
        tags: tuple[bytes, ...],
        *,
        statistics: ClassStatistics,
        memo: Memo,
        spelling: tuple[Any, ...],
    ) -> None:
        super().__init__(key, size + OVERHEAD_BYTES, tags)
        self.value = value
        self.labels = dict.fromkeys([tag.decode() for tag in tags])
        self.statistics = statistics
        self.memo = memo
        self.spelling = spelling
        self.memory_until = 0.0
        self.fresh_until = 0.0
        self.stale_until = 0.0
        self.error_until = 0.0


class MemoryLayer:
    """The entries of this process.

    Args:
        capacity: bytes, estimated.
    """

    def __init__(self, capacity: int) -> None:
        self._store: S3Fifo[MemoryEntry] = S3Fifo(capacity, on_evict=self._on_leave)
        self._tags = TagIndex(self._store.drop)
        self._is_reclaiming = False

    @property
    def held_bytes(self) -> int:
        """Of all entries, as estimated."""
        return self._store.bytes

    @property
    def evictions(self) -> int:
        """Entries that had to make room."""
        return self._store.evictions

    def __len__(self) -> int:
        return len(self._store)

    def get(self, key: bytes) -> MemoryEntry | None:
        """Return the live entry of a key, whatever its age, and count the read; or None."""
        return self._store.get(key)

    def put(self, entry: MemoryEntry) -> bool:
        """Keep an entry; tell whether there was room for one of its size."""
        if not self._store.put(entry):
            return False
        self._tags.add(entry)
        entry.memo[entry.spelling] = entry
        entry.statistics.entries += 1
        entry.statistics.bytes += entry.size
        return True

    def remove(self, key: bytes) -> bool:
        """Drop an entry; tell whether there was one."""
        return self._store.remove(key)

    def kill(
        self,
        tags: Iterable[bytes] = (),
        keys: Iterable[bytes] = (),
        patterns: Iterable[re.Pattern[bytes]] = (),
    ) -> None:
        """Let nothing be served any more that has one of the tags or keys, or fits a pattern."""
        for tag in tags:
            self._tags.kill(tag)
        for key in keys:
            self._store.remove(key)
        for pattern in patterns:
            for entry in self._store.entries():
                if pattern.fullmatch(entry.key) is not None:
                    self._store.drop(entry)
        self._reclaim_later()

    def age(self, tags: Iterable[bytes], now: float) -> None:
        """Let what has one of the tags be stale from now on (a soft purge)."""
        for tag in tags:
            for entry in list(self._tags._of(tag)):
                _age(entry, now)

    def age_all(self, now: float) -> None:
        """Let everything be stale from now on."""
        for entry in self._store.entries():
            _age(entry, now)

    def kill_all(self) -> None:
        """Let nothing be served that is here now."""
        self._store.kill_all()
        self._reclaim_later()

    def clear(self) -> None:
        """Drop everything at once."""
        self._store.clear()

    def _reclaim_later(self) -> None:
        if self._is_reclaiming:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop runs, so that nobody waits
            while self._tags.reclaim(_SLICE) or self._store.reclaim(_SLICE):
                pass
            return
        self._is_reclaiming = True
        loop.call_later(_PAUSE_SECONDS, self._reclaim, loop)

    def _reclaim(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._tags.reclaim(_SLICE) or self._store.reclaim(_SLICE):
            loop.call_later(_PAUSE_SECONDS, self._reclaim, loop)
        else:
            self._is_reclaiming = False

    def _on_leave(self, entry: Entry) -> None:
        assert isinstance(entry, MemoryEntry)
        self._tags.discard(entry)
        if entry.memo.get(entry.spelling) is entry:
            del entry.memo[entry.spelling]
        entry.statistics.entries -= 1
        entry.statistics.bytes -= entry.size
        if not entry.alive:
            entry.statistics.changes += 1


def _age(entry: Entry, now: float) -> None:
    assert isinstance(entry, MemoryEntry)
    if entry.fresh_until > now:
        shift = entry.fresh_until - now
        entry.stale_until -= shift
        entry.error_until -= shift
        entry.fresh_until = entry.memory_until = entry.expires_at = now
