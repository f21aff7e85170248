"""What the cache manager counts, by class: who answered, how fast, and what was not kept, and why.

Plain attributes: a hit adds one to one of them. ``Platform.stats`` and the metrics page read them.
"""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from typing import Any, Final

BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds for L2's answers, of a fraction of a millisecond, and for loads."""


class NotKept(StrEnum):
    """Why a loaded object was given to its callers and not kept."""

    CHANGED = "changed"  # one of its tags did, while it was loaded
    UNSURE = "unsure"  # this process may have missed a change
    TAGS = "tags"  # more than can be told of it
    SIZE = "size"  # larger than the class's, or L1's, largest
    ENCODING = "encoding"  # not what the loader says it returns


class Latency:
    """Durations, counted in buckets."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_SECONDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


class ClassStatistics:
    """Counts of one class in one process.

    Attributes:
        hits: answered by L1.
        stale: answered by L1 or L2 after its age, while it is loaded anew.
        joined: waited for a load that was under way.
        shared_hits, shared_misses, shared_changed: what L2 answered: the last is of objects that it
            had, and that a change had made invalid.
        loads, load_failures: of the loader.
        stale_on_error: answered by a stale copy since the loader failed.
        refreshes, refreshes_put_off: ahead of the end, and those that the budget did not allow.
        bypassed_unsure, bypassed_behind: calls that no cache was asked for, since this process
            might have missed a change, or had not applied the caller's own write.
        waited: for a load of another process.
        absent: loads that found nothing.
        changes: objects in L1 that a change made invalid.
        entries, bytes: in L1 now.
    """

    __slots__ = (
        "absent",
        "bypassed_behind",
        "bypassed_unsure",
        "bytes",
        "changes",
        "entries",
        "hits",
        "joined",
        "load_failures",
        "load_seconds",
        "loads",
        "not_kept",
        "refreshes",
        "refreshes_put_off",
        "shared_bytes_read",
        "shared_bytes_written",
        "shared_changed",
        "shared_hits",
        "shared_misses",
        "shared_seconds",
        "stale",
        "stale_on_error",
        "waited",
    )

    def __init__(self) -> None:
        self.hits = 0
        self.stale = 0
        self.joined = 0
        self.shared_hits = 0
        self.shared_misses = 0
        self.shared_changed = 0
        self.shared_bytes_read = 0
        self.shared_bytes_written = 0
        self.loads = 0
        self.load_failures = 0
        self.stale_on_error = 0
        self.refreshes = 0
        self.refreshes_put_off = 0
        self.bypassed_unsure = 0
        self.bypassed_behind = 0
        self.waited = 0
        self.absent = 0
        self.changes = 0
        self.entries = 0
        self.bytes = 0
        self.not_kept = dict.fromkeys(NotKept, 0)
        self.load_seconds = Latency()
        self.shared_seconds = Latency()

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, and what follows from them, as JSON has it."""
        answered = self.hits + self.stale + self.joined + self.shared_hits
        counts: dict[str, Any] = {
            name: getattr(self, name)
            for name in self.__slots__
            if isinstance(getattr(self, name), int)
        }
        counts["not_kept"] = {str(reason): count for reason, count in self.not_kept.items()}
        counts["load_seconds"] = _mean(self.load_seconds)
        counts["shared_seconds"] = _mean(self.shared_seconds)
        calls = answered + self.loads
        counts["hit_ratio"] = round(answered / calls, 4) if calls else None
        return counts


def _mean(latency: Latency) -> float | None:
    count = latency.count
    return round(latency.seconds / count, 6) if count else None
