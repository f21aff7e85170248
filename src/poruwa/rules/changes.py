"""What has changed lately, and when: whether what was begun to be loaded then still holds.

A change is a set of tags; its position is its place in the order of all changes this process heard
of. Who begins to load notes the present position (``as_of``). When the load is done, or somebody
else would use it, ``since`` tells whether one of its tags has changed meanwhile: then it may hold
the old or the new, nobody knows which, and it must be neither kept nor shared (DESIGN section 6,
rule 1; proved for all orders of events in ``tests/spec/test_changes.py``).

Only the latest changes are remembered. Of what was begun before them it is not known what changed,
so everything counts as changed: forgetting costs a fetch, never a stale answer. No clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

REMEMBERED: Final = 65_536
"""Tags whose last change is known. Loads last seconds; so many changes take minutes."""


class Changes:
    """The last position at which each tag changed.

    Args:
        remembered: tags at most, 1 or more.

    Attributes:
        position: of the latest change; 0 before any.
    """

    __slots__ = ("_all_before", "_last", "_remembered", "position")

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.position = 0
        self._remembered = remembered
        self._last: dict[bytes, int] = {}  # in the order of the positions
        self._all_before = 0  # what was begun before this position counts as changed

    def note(self, tags: Iterable[bytes]) -> int:
        """Take note that ``tags`` changed; return the position of it."""
        self.position = position = self.position + 1
        last = self._last
        for tag in tags:
            last.pop(tag, None)
            last[tag] = position
        while len(last) > self._remembered:
            oldest = next(iter(last))
            self._all_before = last.pop(oldest)
        return position

    def note_all(self) -> int:
        """Take note that anything may have changed; return the position of it."""
        self.position = self._all_before = self.position + 1
        self._last.clear()
        return self.position

    def since(self, tags: Iterable[bytes], as_of: int) -> bool:
        """Tell whether one of ``tags`` changed after ``as_of``, or may have."""
        if as_of == self.position:
            return False
        if as_of < self._all_before:
            return True
        last = self._last
        return any(last.get(tag, 0) > as_of for tag in tags)
