"""L1: objects in this process, bounded in bytes, and killed as changes of their tags are applied.

An entry that is alive has had no change since it was loaded, by what this process applied: hits
need to look at one attribute, and at the lease (``sure_until``), which is the caller's to do.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final

from poruwa.app.cache.source import Wanted
from poruwa.stores.entry import OVERHEAD_BYTES, Entry
from poruwa.stores.s3fifo import S3Fifo
from poruwa.stores.tag_index import TagIndex

RELOADS: Final = 64
"""Objects that one change may have loaded anew at once; the others are, when they are asked for."""
_SLICE: Final = 200  # entries freed in one turn of the loop: about a millisecond
_PAUSE_SECONDS: Final = 0.002


class MemoryEntry(Entry):
    """An object in L1. Times are monotonic seconds.

    ``expires_at`` is what a hit compares: until then nothing has to be considered.

    Attributes:
        value: shared by all who ask.
        labels: its tags as texts, as collectors take them.
        memory_until: until when L1 may answer without asking L2.
        fresh_until: the end of its life by age.
        stale_until, error_until: while it is loaded anew, or cannot be.
        wanted: what was asked for: where its function finds it, and how it is loaded anew.
    """

    __slots__ = (
        "error_until",
        "fresh_until",
        "labels",
        "memory_until",
        "stale_until",
        "value",
        "wanted",
    )

    def __init__(self, wanted: Wanted, value: Any, size: int, labels: dict[str, None]) -> None:
        tags = tuple([label.encode() for label in labels])
        super().__init__(wanted.key, size + OVERHEAD_BYTES, tags)
        self.wanted = wanted
        self.value = value
        self.labels = labels
        self.memory_until = 0.0
        self.fresh_until = 0.0
        self.stale_until = 0.0
        self.error_until = 0.0


class MemoryLayer:
    """The entries of this process.

    Args:
        capacity: bytes, estimated.
        promotion_threshold: hits that let a newcomer stay.
    """

    def __init__(self, capacity: int, *, promotion_threshold: int = 1) -> None:
        self._store: S3Fifo[MemoryEntry] = S3Fifo(
            capacity, promotion_threshold=promotion_threshold, on_evict=self._on_leave
        )
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
        source = entry.wanted.source
        source.memo[entry.wanted.spelling] = entry
        source.statistics.entries += 1
        source.statistics.bytes += entry.size
        return True

    def remove(self, key: bytes) -> bool:
        """Drop an entry; tell whether there was one."""
        return self._store.remove(key)

    def kill(
        self,
        tags: Iterable[bytes] = (),
        keys: Iterable[bytes] = (),
        patterns: Iterable[re.Pattern[bytes]] = (),
    ) -> list[Wanted]:
        """Let nothing be served any more that has one of the tags or keys, or fits a pattern.

        Returns what of it is worth being loaded anew at once: it was read since its store last
        looked, and its class is written through. At most ``RELOADS``.
        """
        reloads: list[Wanted] = []
        for tag in tags:
            for entry in self._tags.entries(tag):
                if len(reloads) >= RELOADS:
                    break
                _note_reload(entry, reloads)
            self._tags.kill(tag)
        for key in keys:
            self._kill_one(self._store.peek(key), reloads)
        for pattern in patterns:
            for found in self._store.entries():
                if pattern.fullmatch(found.key) is not None:
                    self._kill_one(found, reloads)
        self._reclaim_later()
        return reloads

    def age(self, tags: Iterable[bytes], now: float) -> None:
        """Let what has one of the tags be stale from now on (a soft purge)."""
        for tag in tags:
            for entry in self._tags.entries(tag):
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

    def _kill_one(self, entry: MemoryEntry | None, reloads: list[Wanted]) -> None:
        if entry is not None:
            _note_reload(entry, reloads)
            entry.alive = False
            self._store.drop(entry)

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
        source, spelling = entry.wanted.source, entry.wanted.spelling
        if source.memo.get(spelling) is entry:
            del source.memo[spelling]
        source.statistics.entries -= 1
        source.statistics.bytes -= entry.size
        if not entry.alive:
            source.statistics.changes += 1


def _note_reload(entry: Entry, reloads: list[Wanted]) -> None:
    assert isinstance(entry, MemoryEntry)
    is_wanted = entry.alive and entry.frequency and entry.wanted.source.is_written_through
    if is_wanted and len(reloads) < RELOADS:
        reloads.append(entry.wanted)


def _age(entry: Entry, now: float) -> None:
    assert isinstance(entry, MemoryEntry)
    if entry.fresh_until > now:
        shift = entry.fresh_until - now
        entry.stale_until -= shift
        entry.error_until -= shift
        entry.fresh_until = entry.memory_until = entry.expires_at = now
