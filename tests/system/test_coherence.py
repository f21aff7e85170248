"""Shows 1 and 2 of coherent caching: under load and faults, no read is older than what was written.

The program is ``python -m tests.coherence``; ``make soak`` runs it for ten minutes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.coherence.report import lines, shortfalls
from tests.coherence.run import Outcome, Plan, run


def outcome_of(plan: Plan, folder: Path) -> Outcome:
    return asyncio.run(run(plan, folder, history_path=folder / "history.jsonl"))


@pytest.mark.slow
def test_no_read_is_older_than_what_was_acknowledged_before_it(tmp_path: Path) -> None:
    plan = Plan(seconds=20, fault_seconds=40)

    outcome = outcome_of(plan, tmp_path)

    assert not shortfalls(outcome, plan), "\n".join([*lines(outcome), *shortfalls(outcome, plan)])
    assert len(outcome.writes_unfaulted) >= 5
    assert outcome.writes_faulted
    assert len(set(outcome.faults)) == 9  # every kind
    assert outcome.workers == 4


@pytest.mark.slow
def test_the_checker_sees_what_is_written_past_everything(tmp_path: Path) -> None:
    """What it cannot fail at, it cannot vouch for."""
    plan = Plan(seconds=4, fault_seconds=0, write_every=0.5, is_direct=True)

    outcome = outcome_of(plan, tmp_path)

    assert outcome.violations
    assert outcome.reads_unfaulted.total() > 100
