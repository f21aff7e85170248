"""How long a write takes until every cache has it: two gateways, three instances, two Valkeys.

The program that checks coherence (``tests.coherence``) does the work: the same run that measures
also proves that no read started after an acknowledgement was older. Source: issue 5, Shows 1 and 2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.coherence import run as checker
from tests.coherence.history import WriteTime
from tests.coherence.report import LEAST_HIT_RATE, percentile
from tests.coherence.run import READS_PER_WORKER, Outcome, Plan
from tests.coherence.stack import StackFailure

from bench.charts import COLOURS, new_figure, save_figure
from bench.errors import BenchError
from bench.report import Report, Table, Target
from bench.settings import Settings, say

UNFAULTED_SECONDS, FAULTED_SECONDS = 60.0, 60.0
AIM_P99_SECONDS = 0.05
_PER_SETTING_SECOND = UNFAULTED_SECONDS / 3  # `--seconds 3`, the default, is the whole run


def _outcome(settings: Settings) -> Outcome:
    """Run the checker.

    Raises:
        BenchError: the parts do not start.
    """
    seconds = settings.seconds * _PER_SETTING_SECOND
    plan = Plan(seconds=seconds, fault_seconds=seconds * FAULTED_SECONDS / UNFAULTED_SECONDS)
    folder = settings.work / "coherence"
    folder.mkdir()
    try:
        return asyncio.run(checker.run(plan, folder, say=say))
    except StackFailure as failure:
        raise BenchError(str(failure)) from failure


def run(settings: Settings) -> Report:
    """Measure acknowledgements without and with faults.

    Raises:
        BenchError: the parts do not start, or nothing is acknowledged.
    """
    outcome = _outcome(settings)
    unfaulted = [each.acknowledged for each in outcome.writes_unfaulted]
    faulted = [each.acknowledged for each in outcome.writes_faulted]
    if not unfaulted:
        raise BenchError("No write was acknowledged.")
    p99 = percentile(unfaulted, 0.99)
    reads = outcome.reads_unfaulted
    least = min((count for pid, count in reads.items() if pid), default=0)
    return Report(
        name="coherence",
        title="From a write to every cache",
        method=(
            "Two gateways of two workers, three instances, embedded database, two Valkeys, all on "
            "this machine. Two writers change a venue's tagline (PATCH) about every two seconds "
            "each; eight readers ask pages, lists, searches and the API in three languages, each "
            "time on a new connection. A write is acknowledged when every live layer has applied "
            "it or its lease has lapsed: timed from its append. The answer includes the "
            "transaction before. Then the same under faults, one every four seconds."
        ),
        tables=[
            Table(
                title="Milliseconds of a write",
                header=("", "writes", "p50", "p99", "longest"),
                rows=[
                    _row("acknowledged, without faults", unfaulted),
                    _row("acknowledged, under faults", faulted),
                    _row("answered, without faults", _whole(outcome.writes_unfaulted)),
                    _row("answered, under faults", _whole(outcome.writes_faulted)),
                ],
            ),
            Table(
                title="Reads",
                header=("", ""),
                rows=[
                    ("reads without faults", f"{reads.total():,}"),
                    ("hits among them", f"{outcome.hit_rate:.1%}"),
                    ("fewest by one worker", f"{least:,}"),
                    ("faults", str(len(outcome.faults))),
                    ("stale reads", str(len(outcome.violations))),
                    ("differences from the database at the end", str(len(outcome.differences))),
                ],
            ),
        ],
        targets=[
            Target(text=f"no stale read; {len(outcome.violations)}", met=not outcome.violations),
            Target(
                text=f"the end equals the database; {len(outcome.differences)} differences",
                met=not outcome.differences,
            ),
            Target(
                text=f"p99 of acknowledgement 50 ms without faults; {p99 * 1000:.1f} ms",
                met=p99 <= AIM_P99_SECONDS,
            ),
            Target(
                text=f"hit rate at least 90 %; {outcome.hit_rate:.1%}, and "
                f"{READS_PER_WORKER:,} reads a worker; {least:,}",
                met=outcome.hit_rate >= LEAST_HIT_RATE and least >= READS_PER_WORKER,
            ),
        ],
        samples={
            "acknowledged_seconds": {"without faults": unfaulted, "under faults": faulted},
            "answered_seconds": {
                "without faults": _whole(outcome.writes_unfaulted),
                "under faults": _whole(outcome.writes_faulted),
            },
            "reads_by_worker": sorted(reads.values()),
            "hit_rate": outcome.hit_rate,
            "faults": outcome.faults,
        },
        draw=lambda path: _draw(unfaulted, faulted, path),
    )


def _whole(times: Sequence[WriteTime]) -> list[float]:
    return [each.whole for each in times]


def _row(name: str, seconds: Sequence[float]) -> tuple[str, ...]:
    if not seconds:
        return (name, "0", "", "", "")
    values = (percentile(seconds, 0.5), percentile(seconds, 0.99), max(seconds))
    return (name, str(len(seconds)), *(f"{value * 1000:.1f}" for value in values))


def _draw(unfaulted: Sequence[float], faulted: Sequence[float], path: Path) -> None:
    figure = new_figure(1, 1, title="Acknowledgement of a write", width=6, height=3.4)
    axes = figure.axes[0]
    for name, seconds, colour in (
        ("without faults", unfaulted, COLOURS["Poruwa"]),
        ("under faults", faulted, COLOURS["HAProxy"]),
    ):
        ordered = sorted(seconds)
        shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
        axes.step(
            [value * 1000 for value in ordered], shares, where="post", label=name, color=colour
        )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of writes")
    save_figure(figure, path)
