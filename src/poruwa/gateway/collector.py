"""When the garbage collector runs in a worker that has a cache: often, and over little.

A full pass walks every object that may be in a cycle; over 200,000 stored responses it takes
400 ms, in which nobody is answered. Stored responses are no garbage, and are freed by their
reference counts when they leave. So what has survived a pass is frozen, which takes it out of all
later ones, and passes are made here, after so many newly stored responses or so much time, when
little can be new. The collector's own full passes are put off beyond that.

What is frozen and becomes a cycle without owner is not found any more. Entries are in none but the
links to their neighbours in the store, which are cut when they leave; of connections and exchanges
the cycles are cut at their ends. Measured: ``python -m bench cache_store``.
"""

from __future__ import annotations

import gc
from typing import Final

STORED: Final = 1_000
"""Newly stored responses before the next pass: some 10,000 objects, a millisecond or two."""

SECONDS: Final = 60.0
_YOUNG: Final = 10_000  # allocations before a pass over the youngest, a fraction of a millisecond
_NEVER: Final = 1_000_000_000


class Collector:
    """Makes the passes of one worker."""

    __slots__ = ("_next_at", "_next_stored")

    def __init__(self) -> None:
        self._next_stored = STORED
        self._next_at = 0.0

    def start(self) -> None:
        """Take over from the collector's own timing."""
        gc.set_threshold(_YOUNG, 20, _NEVER)
        collect_and_freeze()

    def tick(self, stored: int, now: float) -> None:
        """Make a pass if it is time.

        Args:
            stored: how many responses were stored since the start.
            now: monotonic seconds.
        """
        if stored >= self._next_stored or now >= self._next_at:
            self._next_stored = stored + STORED
            self._next_at = now + SECONDS
            collect_and_freeze()


def collect_and_freeze() -> None:
    """Free what is garbage of all that is new, and let no pass look at the rest again."""
    gc.collect()
    gc.freeze()
