"""What one process keeps, and what stands behind it: L1, L2, the log of changes, their clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from random import random as random_float
from time import monotonic
from typing import Any, Final

from poruwa.app.cache.lifetime import Lifetime, ahead_seconds
from poruwa.app.cache.memory import MemoryEntry, MemoryLayer
from poruwa.app.cache.source import Log, Source, Wanted
from poruwa.app.cache.statistics import NotKept
from poruwa.app.cache.value_size import value_bytes
from poruwa.app.ending import end_tasks
from poruwa.app.tags import MAX_TAGS
from poruwa.config.model import MemoryStore
from poruwa.rules.change import Change
from poruwa.rules.changes import Changes
from poruwa.rules.position import epoch_of
from poruwa.rules.purge import compile_pattern
from poruwa.stores.valkey_cache import ValkeyCache

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
    """L1, L2 and the log that keeps them right, and the tasks that fill them.

    Args:
        memory: the size of L1, and when it lets newcomers stay.
        log: of changes.
        shared: L2, or None.
        has_bus: whether the positions of ``log`` are those of all processes.
        wait_seconds: for a position that another process has applied already.

    Attributes:
        log, shared, has_bus: as given; a platform that is started again has others.
        aged: the soft changes: what of L2 counts as stale, whatever its age.
        refreshes: loads ahead of need that run now.
        on_killed: called with what a change made worth loading anew.
    """

    def __init__(
        self,
        memory: MemoryStore,
        log: Log,
        *,
        shared: ValkeyCache | None = None,
        has_bus: bool = False,
        wait_seconds: float = 0.05,
    ) -> None:
        self.memory = MemoryLayer(
            memory.memory_bytes, promotion_threshold=memory.promotion_threshold
        )
        self.shared = shared
        self.log = log
        self.aged = Changes()
        self.refreshes = 0
        self.on_killed: Callable[[Wanted], None] | None = None
        self.has_bus = has_bus
        self._wait_seconds = wait_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, position: int, change: Change) -> None:
        """Take a change into L1, after the log has noted it."""
        memory = self.memory
        now = monotonic()
        if change.soft and change.everything:
            self.aged.note_all_at(position)
            memory.age_all(now)
        elif change.soft:
            self.aged.note_at(position, change.tags)
            memory.age(change.tags, now)
        elif change.everything:
            memory.kill_all()
        else:
            patterns = [compile_pattern(pattern) for pattern in change.patterns]
            reloads = memory.kill(change.tags, change.keys, patterns)
            if self.on_killed is not None:
                for wanted in reloads:
                    self.on_killed(wanted)

    def apply_all(self) -> None:
        """Anything may have changed."""
        self.memory.kill_all()

    def is_sure(self) -> bool:
        """Whether this process has certainly applied every acknowledged change."""
        return monotonic() < self.log.sure_until

    def may_serve(self, source: Source, tags: Collection[bytes]) -> bool:
        """Tell whether a cached object may be served (or kept) as far as leases are concerned."""
        return self.is_sure() or source.serves_unsure or not (source.asks_origin or tags)

    async def is_known(self, as_of: int) -> bool:
        """Tell whether this process can judge what was loaded at ``as_of``.

        It cannot if the position lies beyond its own: of another process that is ahead by a moment,
        which is waited for, or of a log that was lost since, after which no change would ever seem
        to be later than it.
        """
        position = self.log.position
        if as_of <= position or not self.has_bus:
            return True
        if epoch_of(as_of) != epoch_of(position):
            return False
        return await self.log.reached(as_of, timeout=self._wait_seconds)

    def keep(
        self, wanted: Wanted, loaded: Loaded, *, lifetime: Lifetime, age: float = 0.0
    ) -> NotKept | None:
        """Put an object into L1; return why it must not be kept in any layer, or None.

        There is no ``await`` from the decision to the entry. That L1 is too small for it, or keeps
        none of its class, is no reason not to keep it elsewhere.

        Args:
            age: seconds since it was loaded.
        """
        source, log = wanted.source, self.log
        tags = loaded.tags
        if len(tags) > MAX_TAGS:
            return NotKept.TAGS
        if loaded.is_unsure or not self.may_serve(source, tags):
            return NotKept.UNSURE
        if log.changes.since(tags, loaded.as_of, wanted.key):
            return NotKept.CHANGED
        if lifetime.memory:
            size = value_bytes(loaded.value)
            if size > source.data_class.largest_bytes:
                return NotKept.SIZE
            entry = MemoryEntry(wanted, loaded.value, size, loaded.labels)
            set_times(entry, lifetime, age=age, now=monotonic())
            self.memory.put(entry)
        return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that nobody waits for; ``close`` ends it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all tasks and drop what L1 holds."""
        await end_tasks(*self._tasks)
        self.memory.clear()


def set_times(entry: MemoryEntry, lifetime: Lifetime, *, age: float, now: float) -> None:
    """Set an entry's times.

    Args:
        age: seconds since it was loaded; it may be stale already.
        now: monotonic seconds.
    """
    left = lifetime.whole - age
    memory = min(lifetime.memory, max(0.0, left))
    entry.fresh_until = now + left
    entry.memory_until = now + memory
    entry.stale_until = entry.fresh_until + lifetime.revalidate
    entry.error_until = entry.fresh_until + lifetime.on_error
    entry.expires_at = entry.memory_until - ahead_seconds(memory, random_float())  # noqa: S311


def is_due(lifetime: Lifetime, age: float) -> bool:
    """Tell whether an object of this age should be loaded anew when it is asked for."""
    return lifetime.whole - age < ahead_seconds(lifetime.whole, random_float())  # noqa: S311
