"""Coverage-guided fuzzing: ``python -m tests.fuzz --seconds 600``.

The time is shared by all targets, each a process of its own, as many at once as there are cores
(``--jobs``). A line per target; the exit code is 1 on a finding, whose bytes are printed and kept
in ``--findings``. ``--target NAME --reproduce FILE`` runs one input again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

MAX_INPUT_BYTES = 1024
_UNIT_SECONDS = 5  # one input that takes longer is a finding: quadratic time
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+)")
_START_SECONDS = 1.3  # of a target: importing and instrumenting what it runs
_HARD_LIMIT_SECONDS = 30  # beyond a target's own time: start-up on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one target."""

    target: str
    runs: int
    covered: int
    seconds: float
    failure: str  # empty when nothing was found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--target", metavar="NAME", help="only this one")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reproduce", type=Path, help="an input to run once")
    options = parser.parse_args(arguments)
    if options.corpus is not None:  # before anything is imported: what is, is not measured
        return fuzz_here(options.target, options.seconds, options.corpus, options.findings)
    from fuzz.targets import TARGETS

    if options.target is not None and options.target not in TARGETS:
        parser.error(f"no target {options.target!r}; there are {', '.join(TARGETS)}")
    if options.reproduce is not None:
        TARGETS[options.target](options.reproduce.read_bytes())
        return 0
    names = [options.target] if options.target else list(TARGETS)
    return fuzz_all(names, options.seconds, min(options.jobs, len(names)), options.findings)


def fuzz_all(names: list[str], seconds: float, jobs: int, findings: Path) -> int:
    """Run each target in a process of its own; return the exit code."""
    findings.mkdir(parents=True, exist_ok=True)
    share = max(seconds * jobs / len(names) - _START_SECONDS, 1.0)
    with ThreadPoolExecutor(jobs) as executor:
        results = executor.map(lambda name: fuzz_apart(name, share, findings), names)
        failed = 0
        for result in results:
            verdict = "FOUND" if result.failure else "ok"
            sys.stdout.write(
                f"{result.target:<14} {result.runs:>10,} runs  {result.covered:>5} edges  "
                f"{result.seconds:>6.1f} s  {verdict}\n"
            )
            sys.stdout.flush()
            if result.failure:
                failed += 1
                sys.stdout.write(f"{result.failure}\n")
    return 1 if failed else 0


def fuzz_apart(name: str, seconds: float, findings: Path) -> Result:
    """Run one target in a process and read what libFuzzer says."""
    from fuzz.targets import SEEDS

    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        corpus = Path(folder)
        for number, seed in enumerate(SEEDS[name]):
            (corpus / f"seed-{number}").write_bytes(seed)
        start = time.monotonic()
        try:
            run = subprocess.run(
                (sys.executable, "-m", "tests.fuzz", "--target", name, "--corpus", folder,
                 "--seconds", str(seconds), "--findings", str(findings)),
                cwd=TESTS.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds + _HARD_LIMIT_SECONDS,
                check=False,
            )  # fmt: skip
            output, code = run.stdout.decode(errors="replace"), run.returncode
        except subprocess.TimeoutExpired as error:
            output, code = (error.stdout or b"").decode(errors="replace"), -1
        took = time.monotonic() - start
    progress = _PROGRESS.findall(output)
    runs, covered = (int(progress[-1][0]), int(progress[-1][1])) if progress else (0, 0)
    failure = "" if code == 0 and runs else f"exit code {code}\n{output[-4000:]}"
    return Result(target=name, runs=runs, covered=covered, seconds=took, failure=failure)


class SourceFinder(MetaPathFinder):
    """Finds our sources also where a compiled extension stands beside them.

    Coverage is seen in bytecode only: an extension would run, uninstrumented.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("poruwa.") or path is None:
            return None
        for folder in path:
            source = Path(folder) / f"{fullname.rpartition('.')[2]}.py"
            if source.exists():
                return spec_from_file_location(fullname, source)
        return None


def fuzz_here(name: str, seconds: float, corpus: Path, findings: Path) -> int:
    """Fuzz in this process; ends it."""
    import atheris

    sys.meta_path.insert(0, SourceFinder())
    with atheris.instrument_imports(include=["poruwa"]):
        from fuzz import targets
    words = corpus.parent / f"{corpus.name}.dict"
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in targets.WORDS)
    )
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={max(int(seconds), 1)}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={_UNIT_SECONDS}",
            f"-artifact_prefix={findings}/poruwa-{name}-",
            f"-dict={words}",
            "-rss_limit_mb=1024",
            str(corpus),
        ],
        targets.TARGETS[name],
    )
    try:
        atheris.Fuzz()
    finally:
        words.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
