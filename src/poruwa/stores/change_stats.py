"""What a process's change log counts, for metrics and status. Plain numbers; no clock, no I/O."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

# Up to a heartbeat, up to a lease, beyond.
BOUNDS_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class Histogram:
    """Durations, counted by upper bound as Prometheus does, but not cumulated.

    Attributes:
        counts: one for each of ``BOUNDS_SECONDS``, and one for what is longer than the last.
        sum_seconds, count: of all.
    """

    __slots__ = ("count", "counts", "sum_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0
        self.count = 0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds
        self.count += 1


@dataclass(slots=True)
class ChangeLogStats:
    """Counts since the start of the process.

    Attributes:
        appends, append_failures: changes written by this process, and refused.
        acknowledgements: from append to acknowledgement.
        incomplete: acknowledgements that were not complete in their time.
        lapsed: layers that did not answer and whose lease was waited for instead.
        applied: changes applied here.
        staleness: from a write to its being applied here, by both machines' clocks.
        unsure_seconds, unsure_episodes: while this process could have missed a change. Ended
            episodes only; ``ChangeLog.unsure_seconds`` adds the present one.
        epochs: times that everything counted as changed because of a new epoch or a gap.
        reconnects: times that the server was lost.
    """

    appends: int = 0
    append_failures: int = 0
    acknowledgements: Histogram = field(default_factory=Histogram)
    incomplete: int = 0
    lapsed: int = 0
    applied: int = 0
    staleness: Histogram = field(default_factory=Histogram)
    unsure_seconds: float = 0.0
    unsure_episodes: int = 0
    epochs: int = 0
    reconnects: int = 0
