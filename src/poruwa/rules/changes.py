"""What has changed lately, and when: whether what was begun to be loaded then still holds.

A change is a set of tags; its position is its place in the order of all changes this process heard
of. Who begins to load notes the present position (``as_of``). When the load is done, or somebody
else would use it, ``since`` tells whether one of its tags has changed meanwhile: then it may hold
the old or the new, nobody knows which, and it must be neither kept nor shared (DESIGN section 6,
rule 1; proved for all orders of events in ``tests/spec/test_changes.py``).

Positions come from one of two places. Without a bus the process counts its own: ``note`` and
``note_all`` give the next. With one, the change log says where each change stands: ``note_at``,
``note_all_at``, ``note_pattern_at``; what only this process knows yet is noted with ``note_ahead``,
since a position of its own making would soon be that of another change.

Only the latest changes are remembered. Of what was begun before them it is not known what changed,
so everything counts as changed: forgetting costs a fetch, never a stale answer. No clock, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

REMEMBERED: Final = 65_536
"""Tags whose last change is known. Loads last seconds; so many changes take minutes."""

REMEMBERED_PATTERNS: Final = 256
"""Patterns that are known. Each costs a match per question that reaches it; they are rare."""


class Changes:
    """The last position at which each tag changed.

    What is asked about by its tags may also have a key (a URL, a key of the cache manager): keys
    are noted like tags, and patterns are compared with them.

    Args:
        remembered: tags at most, 1 or more.

    Attributes:
        position: of the latest change; 0 before any.
    """

    __slots__ = ("_all_before", "_last", "_patterns", "_quiet_from", "_remembered", "position")

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.position = 0
        self._remembered = remembered
        self._last: dict[bytes, int] = {}  # in the order of the positions
        self._patterns: list[tuple[int, re.Pattern[bytes]]] = []  # in that order, too
        self._all_before = 0  # what was begun before this position counts as changed
        self._quiet_from = 0  # nothing has changed for what was begun here or later

    def note(self, tags: Iterable[bytes]) -> int:
        """Take note that ``tags`` changed; return the position of it."""
        self.note_at(self.position + 1, tags)
        return self.position

    def note_all(self) -> int:
        """Take note that anything may have changed; return the position of it."""
        self.note_all_at(self.position + 1)
        return self.position

    def note_at(self, position: int, tags: Iterable[bytes]) -> None:
        """Take note that ``tags`` (and keys) changed at ``position``; none only moves on.

        Repeating the present position adds to what changed there.

        Raises:
            ValueError: ``position`` lies before the present one.
        """
        self._move(position)
        self._note(position, tags)

    def note_all_at(self, position: int) -> None:
        """Take note that anything may have changed at ``position``, as ``note_at`` does."""
        self._move(position)
        self._all_before = max(position, self._all_before)
        if self._quiet_from <= position:  # nothing is noted ahead
            self._last.clear()
            self._patterns.clear()

    def note_pattern_at(self, position: int, pattern: re.Pattern[bytes]) -> None:
        """Take note that whatever has a key that ``pattern`` matches wholly changed."""
        self._move(position)
        patterns = self._patterns
        patterns.append((position, pattern))
        if len(patterns) > REMEMBERED_PATTERNS:
            self._all_before = max(patterns.pop(0)[0], self._all_before)

    def note_ahead(self, tags: Iterable[bytes]) -> None:
        """Take note of a change that only this process knows, without giving it a position.

        Until the next position, whatever bears one of ``tags`` counts as changed, even what is
        begun from now on: positions cannot tell it from what was begun before.
        """
        self._quiet_from = self.position + 1
        self._note(self.position + 1, tags)

    def note_all_ahead(self) -> None:
        """Take note that anything may have changed, as ``note_ahead`` does."""
        self._quiet_from = self._all_before = self.position + 1

    def since(self, tags: Iterable[bytes], as_of: int, key: bytes | None = None) -> bool:
        """Tell whether one of ``tags``, or ``key``, changed after ``as_of``, or may have.

        Without a key, a pattern noted after ``as_of`` counts as matching.
        """
        if as_of >= self._quiet_from:
            return False
        if as_of < self._all_before:
            return True
        last = self._last
        for tag in tags:
            if last.get(tag, 0) > as_of:
                return True
        if key is not None and last.get(key, 0) > as_of:
            return True
        return bool(self._patterns) and self._matches_since(as_of, key)

    def _move(self, position: int) -> None:
        if position < self.position:
            raise ValueError(
                f"position {position} lies before {self.position}; changes are noted in order"
            )
        self.position = position
        self._quiet_from = max(position, self._quiet_from)

    def _note(self, position: int, tags: Iterable[bytes]) -> None:
        last = self._last
        for tag in tags:
            # What was noted ahead of the present position stays ahead of it.
            last[tag] = max(position, last.pop(tag, 0))
        while len(last) > self._remembered:
            oldest = next(iter(last))
            self._all_before = max(last.pop(oldest), self._all_before)

    def _matches_since(self, as_of: int, key: bytes | None) -> bool:
        for position, pattern in reversed(self._patterns):
            if position <= as_of:
                return False
            if key is None or pattern.fullmatch(key) is not None:
                return True
        return False
