"""``python -m bench``: run benchmarks, print their tables, write results.

    python -m bench                          all of them, about half an hour
    python -m bench micro pass_through       these
    python -m bench pass_through --seconds 1 --rounds 1 --out /tmp/results    a quick look

The exit code is 1 when one could not run, or, with ``--check``, when a target was missed.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from bench.facts import machine_facts
from bench.procfs import busy_share_of_others
from bench.report import ORDER, Report, render_table, write_report
from bench.settings import RESULTS, Settings, say

QUIET = 0.05  # share of the cores that others may take before a result says so


def main(arguments: Sequence[str]) -> int:
    """Run what ``arguments`` ask for; return the exit code."""
    options = _parse(arguments)
    facts = machine_facts()
    failed: list[str] = []
    missed: list[str] = []
    started = time.monotonic()
    for name in [each for each in ORDER if each in options.names]:
        say(f"\n== {name}")
        busy_before = busy_share_of_others()
        try:
            report = _run(name, options)
        except BenchError as error:
            failed.append(name)
            print(f"bench {name}: {error}", file=sys.stderr, flush=True)
            continue
        if busy_before > QUIET:
            report = replace(report, notes=[_not_quiet(busy_before), *report.notes])
        write_report(
            report,
            {**facts, "busy_before": round(busy_before, 3)},
            _command(name, options),
            options.out,
        )
        _show(report)
        missed += [str(target) for target in report.targets if not target.met]
    say(f"\n{time.monotonic() - started:.0f} s; results in {_shown(options.out)}")
    for text in missed:
        say(text)
    if failed:
        say(f"not run: {', '.join(failed)}")
    return 1 if failed or (options.check and missed) else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Poruwa.")
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"which to run: {', '.join(ORDER)}; default all"
    )
    parser.add_argument(
        "--seconds", type=_count, default=3, metavar="N", help="length of a point (default 3)"
    )
    parser.add_argument(
        "--rounds", type=_count, default=3, metavar="N", help="repetitions (default 3)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="for the results")
    parser.add_argument("--access-log", action="store_true", help="every proxy logs each request")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(ORDER))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(ORDER)}")
    options.names = options.names or list(ORDER)
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _run(name: str, options: argparse.Namespace) -> Report:
    module = importlib.import_module(f"bench.{name}")
    with tempfile.TemporaryDirectory(prefix="poruwa-bench-", ignore_cleanup_errors=True) as work:
        settings = Settings(
            seconds=options.seconds,
            rounds=options.rounds,
            access_log=options.access_log,
            work=Path(work),
            out=options.out,
        )
        report: Report = module.run(settings)
        return report


def _not_quiet(busy_share: float) -> str:
    return (
        f"The machine was not quiet: other programs kept its cores busy to {busy_share:.0%} before "
        "the start. Figures, and ratios less so, suffer from it; run again when it is."
    )


def _command(name: str, options: argparse.Namespace) -> str:
    words = ["python -m bench", name]
    if options.seconds != 3:
        words.append(f"--seconds {options.seconds}")
    if options.rounds != 3:
        words.append(f"--rounds {options.rounds}")
    if options.access_log:
        words.append("--access-log")
    return " ".join(words)


def _show(report: Report) -> None:
    for table in report.tables:
        say(f"\n{table.title}\n{render_table(table)}")
    for target in report.targets:
        say(f"\n{target}")
    for note in report.notes:
        say(f"  {note}")


def _shown(path: Path) -> str:
    whole, here = path.absolute(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)


if __name__ == "__main__":
    # An orderly end of the process leaves neither servers nor folders behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
