"""How often the cache answered for what the policy counts: views that no instance sees.

A class says what its answers are views of: ``views = ["venue:{venue_id}"]``. An instance counts
what reaches it; a hit does not, so it is counted here, one addition a hit, and carried to the tally
of the bus every few seconds, where both are one ranking (``stores.tally``). Whoever joined a fetch
counts with the one request that reached the instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from poruwa.stores.tally import Tally

TALLY: Final = "views"


class Views:
    """Counts of one worker since they were carried last, by the name that they are counted as."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def add(self, name: bytes) -> None:
        """Count a view of ``name``; nothing where it is empty."""
        if name:
            counts = self._counts
            counts[name] = counts.get(name, 0) + 1

    def move_to(self, tally: Tally) -> None:
        """Hand over what was counted."""
        counts, self._counts = self._counts, {}
        for name, count in counts.items():
            tally.add(name.decode("utf-8", "replace"), count)
