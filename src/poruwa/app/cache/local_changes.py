"""The log of changes of a process that has no bus: what it changed itself, and nothing else.

Has the shape of ``poruwa.stores.change_log.ChangeLog`` as far as the cache manager uses it. Always
sure; the copies of other processes live out their lifetimes.

Positions are microseconds since 1970, so that what an L2 without a bus holds is judged by the
changes that this process made after it was loaded, whoever loaded it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from poruwa.rules.change import Change
from poruwa.rules.changes import Changes
from poruwa.rules.purge import compile_pattern


class LocalChanges:
    """Positions of this process's own.

    Args:
        on_change: called with each change once it is noted.
    """

    def __init__(self, on_change: Callable[[int, Change], None]) -> None:
        self.position = _now()
        self.sure_until = math.inf
        self.changes = Changes()
        self.changes.note_at(self.position, ())
        self._on_change = on_change

    def note(self, change: Change) -> int:
        """Apply a change here; return its position."""
        position = max(self.position + 1, _now())
        changes = self.changes
        if change.soft:
            changes.note_at(position, ())
        elif change.everything:
            changes.note_all_at(position)
        else:
            changes.note_at(position, (*change.tags, *change.keys))
            for pattern in change.patterns:
                changes.note_pattern_at(position, compile_pattern(pattern))
        self.position = position
        self._on_change(position, change)
        return position

    async def reached(self, position: int, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Tell whether ``position`` is applied: nobody else makes changes that come here."""
        return position <= self.position


def _now() -> int:
    return time.time_ns() // 1000
