"""What L2 did: counters that its calls raise, and the frozen picture that others read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from poruwa.stores.breaker import BreakerState
from poruwa.stores.valkey_wire import Failure

LATENCY_BOUNDS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """L2 of one process since its start.

    Attributes:
        hits, misses: reads that the server answered; a failed read is neither.
        garbage: entries that could not be read; they count among the misses, too.
        unstorable: entries not written since no store takes them (too large).
        failures: calls without a usable answer, by reason; those of reads count one each.
        opened: how often the breaker opened.
        connections: made so far; 1 while nothing went wrong.
        batches: commands that the reads went out in and that were answered.
        batches_under_way: sent and not over, now.
        latency_counts: of batches, one for each bound and one beyond.
        latency_sum_seconds: of all batches.
    """

    hits: int
    misses: int
    garbage: int
    stored: int
    unstorable: int
    deleted: int
    failures: Mapping[Failure, int]
    breaker: BreakerState
    opened: int
    connections: int
    batches: int
    batches_under_way: int
    latency_counts: tuple[int, ...]
    latency_sum_seconds: float


class Counters:
    """The numbers behind `CacheStatistics`."""

    __slots__ = (
        "deleted", "failures", "garbage", "hits", "latency_counts", "latency_sum", "misses",
        "stored", "unstorable",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hits = self.misses = self.garbage = 0
        self.stored = self.unstorable = self.deleted = 0
        self.failures = dict.fromkeys(Failure, 0)
        self.latency_counts = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
        self.latency_sum = 0.0

    def latency(self, seconds: float) -> None:
        """Count one answered batch."""
        self.latency_counts[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        self.latency_sum += seconds
