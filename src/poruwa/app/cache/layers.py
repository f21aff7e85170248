"""What one process keeps, and what stands behind it: L1, L2, the log of changes, their clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import random as random_float
from time import monotonic, time
from typing import Any, Final

from poruwa.app.cache.lifetime import Lifetime, ahead_seconds
from poruwa.app.cache.memory import MemoryEntry, MemoryLayer
from poruwa.app.cache.source import Log, Wanted
from poruwa.app.cache.statistics import NotKept
from poruwa.app.cache.value_size import value_bytes
from poruwa.app.tags import MAX_TAGS
from poruwa.rules.change import Change
from poruwa.rules.purge import compile_pattern

REFRESHES: Final = 16
"""Loads ahead of need at one time, in one process: they must not keep callers from the database."""


class Loaded:
    """An object that a fill brought.

    Attributes:
        labels: all its tags, given and collected.
        as_of: the position that it is not older than.
        is_unsure: it was made of what this process could not be sure of.
    """

    __slots__ = ("as_of", "is_unsure", "labels", "value")

    def __init__(
        self, value: Any, labels: dict[str, None], as_of: int, *, is_unsure: bool = False
    ) -> None:
        self.value = value
        self.labels = labels
        self.as_of = as_of
        self.is_unsure = is_unsure

    @property
    def tags(self) -> tuple[bytes, ...]:
        return tuple(label.encode() for label in self.labels)


class Layers:
    """L1 with the log that keeps it right, and the tasks that fill it.

    Args:
        memory_bytes: of L1.
        log: of changes.

    Attributes:
        refreshes: loads ahead of need that run now.
    """

    def __init__(self, memory_bytes: int, log: Log) -> None:
        self.memory = MemoryLayer(memory_bytes)
        self.log = log
        self.refreshes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, position: int, change: Change) -> None:
        """Take a change into L1, after the log has noted it."""
        memory = self.memory
        now = monotonic()
        if change.everything:
            if change.soft:
                memory.age_all(now)
            else:
                memory.kill_all()
        elif change.soft:
            memory.age(change.tags, now)
        else:
            memory.kill(change.tags, change.keys, [compile_pattern(p) for p in change.patterns])

    def apply_all(self, position: int) -> None:
        """Anything may have changed."""
        self.memory.kill_all()

    def is_sure(self) -> bool:
        """Whether this process has certainly applied every acknowledged change."""
        return monotonic() < self.log.sure_until

    def keep(
        self, wanted: Wanted, loaded: Loaded, *, stored_at: float, lifetime: Lifetime
    ) -> NotKept | None:
        """Put an object into L1; return why it must not be kept in any layer, or None.

        There is no ``await`` from the decision to the entry. That L1 is too small for it, or keeps
        none of its class, is no reason not to keep it elsewhere.

        Args:
            stored_at: wall seconds, when it was loaded.
        """
        source, log = wanted.source, self.log
        tags = loaded.tags
        if len(tags) > MAX_TAGS:
            return NotKept.TAGS
        if loaded.is_unsure or ((source.asks_origin or tags) and not self.is_sure()):
            return NotKept.UNSURE
        if log.changes.since(tags, loaded.as_of, wanted.key):
            return NotKept.CHANGED
        if lifetime.memory:
            size = value_bytes(loaded.value)
            if size > source.data_class.largest_bytes:
                return NotKept.SIZE
            entry = MemoryEntry(
                wanted.key,
                loaded.value,
                size,
                tags,
                statistics=source.statistics,
                memo=source.memo,
                spelling=wanted.spelling,
            )
            set_times(entry, lifetime, age=max(0.0, time() - stored_at), now=monotonic())
            self.memory.put(entry)
        return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that nobody waits for; ``close`` ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all tasks and drop what L1 holds."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.memory.clear()


def set_times(entry: MemoryEntry, lifetime: Lifetime, *, age: float, now: float) -> None:
    """Set an entry's times.

    Args:
        age: seconds since it was loaded.
        now: monotonic seconds.
    """
    left = max(0.0, lifetime.whole - age)
    memory = min(lifetime.memory, left)
    entry.fresh_until = now + left
    entry.memory_until = now + memory
    entry.stale_until = entry.fresh_until + lifetime.revalidate
    entry.error_until = entry.fresh_until + lifetime.on_error
    entry.expires_at = entry.memory_until - ahead_seconds(memory, random_float())  # noqa: S311


def is_due(lifetime: Lifetime, age: float) -> bool:
    """Tell whether an object of this age should be loaded anew when it is asked for."""
    return lifetime.whole - age < ahead_seconds(lifetime.whole, random_float())  # noqa: S311
