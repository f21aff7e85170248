"""Entries of the log, applied in order: noted, told to who caches, and then called applied.

Where entries are missing, everything counts as changed. No I/O: ``stores.change_log`` brings the
entries, from renewals and from wake-ups, possibly twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from poruwa.rules.change import EVERYTHING, Change
from poruwa.rules.changes import Changes
from poruwa.rules.position import is_next, n_of
from poruwa.rules.purge import compile_pattern
from poruwa.stores.change_stats import ChangeLogStats

_log = structlog.get_logger(component="change-log")


def ignore(*_: object) -> None:
    """Do nothing with a change."""


class ChangeApplier:
    """Applies changes one by one.

    Args:
        on_change: called with position and change once ``changes`` noted it, and before it counts
            as applied; not for what changes everything.
        on_all_changed: called with a position instead: anything may have changed up to it.

    Attributes:
        position: of what is applied.
        changes: what changed when.
        is_cold: what is applied now lies before this process began, so that it holds nothing of it:
            it is only noted, and ``warm`` tells of it in one go.
    """

    __slots__ = ("_on_all_changed", "_on_change", "_stats", "changes", "is_cold", "position")

    def __init__(
        self,
        on_change: Callable[[int, Change], None],
        on_all_changed: Callable[[int], None],
        stats: ChangeLogStats,
    ) -> None:
        self.position = 0
        self.changes = Changes()
        self.is_cold = True
        self._on_change = on_change
        self._on_all_changed = on_all_changed
        self._stats = stats

    def apply(self, position: int, change: Change) -> None:
        """Apply the change at ``position``, unless it is applied already.

        What lies between it and the present position was missed: everything counts as changed.
        An exception of a callback leaves the change not applied, so that it comes again.
        """
        if position <= self.position:
            return
        if not is_next(position, self.position):
            # Only positions between two entries of an epoch can be missing here: n is above 0.
            self.miss(position - 1 if n_of(position) else position)
        self._note(position, change)
        if not self.is_cold:
            if change.everything and not change.soft:
                self._stats.epochs += change.source == EVERYTHING.source
                self._on_all_changed(position)
            else:
                self._tell(position, change)
            self._stats.applied += 1
            if change.written_at:
                self._stats.staleness.observe(max(0.0, time.time() - change.written_at))
        self.position = position

    def miss(self, position: int) -> None:
        """Go to ``position`` without knowing what happened on the way."""
        if position <= self.position:
            return
        self.changes.note_all_at(position)
        if not self.is_cold:
            self._stats.epochs += 1
            self._on_all_changed(position)
        self.position = position

    def warm(self) -> None:
        """Begin to tell: all that was there at the start is noted."""
        if self.is_cold:
            self._on_all_changed(self.position)
            self.is_cold = False

    def _note(self, position: int, change: Change) -> None:
        changes = self.changes
        if change.soft:  # nothing is other than it was: it is only older
            changes.note_at(position, ())
            return
        if change.everything:
            changes.note_all_at(position)
            return
        changes.note_at(position, _names(change))
        for text in change.patterns:
            try:
                changes.note_pattern_at(position, compile_pattern(text))
            except ValueError:
                changes.note_all_at(position)

    def _tell(self, position: int, change: Change) -> None:
        try:
            self._on_change(position, change)
        except Exception:
            # Who caches did not manage with this change: it must let go of everything.
            _log.exception("a change could not be applied, so everything counts as changed")
            self._on_all_changed(position)


def _names(change: Change) -> Iterable[bytes]:
    yield from change.tags
    yield from change.keys
    yield from change.urls
