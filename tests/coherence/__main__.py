"""``python -m tests.coherence``: one write reaches every cache, and nothing stale comes back.

    python -m tests.coherence                              20 s without faults, 40 s with all
    python -m tests.coherence --seconds 60 --fault-seconds 0
    python -m tests.coherence --fault "kill the bus"       one kind, again and again
    python -m tests.coherence --direct                     writes past everything: must fail

Two gateways of two workers, three instances, the database and both Valkeys are started; two
writers and eight readers work. The exit code is 1 where a read that started after a write's
acknowledgement saw less, or the end differs from the database; the history is kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.coherence.faults import FAULTS
from tests.coherence.report import lines, shortfalls
from tests.coherence.run import Plan, run


def main(arguments: Sequence[str]) -> int:
    """Run as ``arguments`` say; return the exit code."""
    options = _parse(arguments)
    plan = Plan(
        seconds=options.seconds,
        fault_seconds=options.fault_seconds,
        fault=options.fault,
        fault_every=options.fault_every,
        readers=options.readers,
        writers=options.writers,
        venues=options.venues,
        write_every=options.write_every,
        seed=options.seed,
        reads_per_worker=options.reads_per_worker,
        is_direct=options.direct,
    )
    kept: Path = options.history
    with tempfile.TemporaryDirectory(prefix="coherence-") as folder:
        outcome = asyncio.run(run(plan, Path(folder), history_path=kept))
    wrong = shortfalls(outcome, plan)
    found = [*lines(outcome), *(f"WRONG: {text}" for text in wrong)]
    if wrong:
        found.append(f"history: {kept}")
    else:
        kept.unlink()
    sys.stdout.write("\n".join(found) + "\n")
    return 1 if wrong else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    default = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.coherence")
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--fault-seconds", type=float, default=default.fault_seconds)
    parser.add_argument("--fault", default="", choices=["", *[each.name for each in FAULTS]])
    parser.add_argument("--fault-every", type=float, default=default.fault_every)
    parser.add_argument("--readers", type=int, default=default.readers)
    parser.add_argument("--writers", type=int, default=default.writers)
    parser.add_argument("--venues", type=int, default=default.venues)
    parser.add_argument("--write-every", type=float, default=default.write_every)
    parser.add_argument("--reads-per-worker", type=int, default=default.reads_per_worker)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--history", type=Path, default=Path("coherence-history.jsonl"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
