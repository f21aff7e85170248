"""The log of changes of a process that has no bus: what it changed itself, and nothing else.

Has the shape of ``poruwa.stores.change_log.ChangeLog`` as far as the cache manager uses it. Always
sure; the copies of other processes live out their lifetimes.
"""

from __future__ import annotations

import math
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
        self.position = 0
        self.sure_until = math.inf
        self.changes = Changes()
        self._on_change = on_change

    def note(self, change: Change) -> int:
        """Apply a change here; return its position."""
        position = self.position + 1
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
