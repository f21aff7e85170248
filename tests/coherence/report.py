"""What a run found, as text, and whether it kept the rule."""

from __future__ import annotations

from collections.abc import Sequence

from tests.coherence.history import WriteTime
from tests.coherence.run import Outcome, Plan

LEAST_HIT_RATE = 0.9
_SHOWN = 5


def shortfalls(outcome: Outcome, plan: Plan) -> list[str]:
    """Return what was not kept; empty for a run that holds."""
    found = [str(each) for each in outcome.violations[:_SHOWN]]
    if len(outcome.violations) > _SHOWN:
        found.append(f"... {len(outcome.violations)} stale reads in all")
    found += outcome.halves[:_SHOWN]
    found += outcome.differences[:_SHOWN]
    if plan.seconds and not plan.is_direct:
        if outcome.hit_rate < LEAST_HIT_RATE:
            found.append(f"only {outcome.hit_rate:.1%} of the reads were hits: it by-passes")
        wanted = plan.reads_per_worker
        few = {pid: n for pid, n in outcome.reads_unfaulted.items() if pid and n < wanted}
        if few:
            found.append(f"fewer than {wanted} reads of workers: {few}")
        if outcome.failures_unfaulted or outcome.write_failures_unfaulted:
            found.append(
                f"without a fault: reads failed {dict(outcome.failures_unfaulted)}, "
                f"writes {dict(outcome.write_failures_unfaulted)}"
            )
    return found


def lines(outcome: Outcome) -> list[str]:
    """Return the figures of a run."""
    reads = outcome.reads_unfaulted
    return [
        f"pages read: {outcome.targets}; workers: {outcome.workers}",
        f"unfaulted: {reads.total():,} reads, {outcome.hit_rate:.1%} hits, by worker "
        + " ".join(f"{count:,}" for count in sorted(reads.values())),
        f"writes, unfaulted: {_times(outcome.writes_unfaulted)}",
        f"writes, under faults: {_times(outcome.writes_faulted)}",
        f"failed under faults: reads {dict(outcome.failures_faulted)}, "
        f"writes {dict(outcome.write_failures_faulted)}",
        f"faults: {len(outcome.faults)}; compared at the end: {outcome.compared:,} reads",
        f"stale reads: {len(outcome.violations)}; differences at the end: "
        f"{len(outcome.differences)}",
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the sorted values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _times(values: Sequence[WriteTime]) -> str:
    if not values:
        return "none"
    acknowledged = [each.acknowledged for each in values]
    whole = [each.whole for each in values]
    parts = [
        f"{name} p50 {percentile(times, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(times, 0.99) * 1000:.1f} ms"
        for name, times in (("acknowledged", acknowledged), ("answered", whole))
    ]
    return f"{len(values)}, " + "; ".join(parts)
