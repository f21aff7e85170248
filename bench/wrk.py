"""The load generator: wrk with one thread, a closed loop of N connections.

Its figures come as one line of JSON from ``wrk.lua`` rather than from wrk's own table, whose units
change with the size of the figure.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.pinning import pinned
from bench.processes import find_program

_SCRIPT = Path(__file__).with_suffix(".lua")
_MARK = "FIGURES "
_END_SECONDS = 20.0  # above the length of the run, until wrk is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk does: ``connections`` in a closed loop for ``seconds``.

    Attributes:
        headers: sent with every request, besides Host.
        paths: a file with a path per line, walked over and over; None for the URL's own path.
        start: the number of lines of it to begin after.
        think_milliseconds: that each client waits before a request, on average; 0 for none. It is
            not part of a latency.
    """

    connections: int
    seconds: int
    headers: Mapping[str, str] = field(default_factory=dict)
    paths: Path | None = None
    start: int = 0
    think_milliseconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run of wrk measured. Latencies in milliseconds, ``seconds`` as it really took."""

    requests: int
    seconds: float
    requests_per_second: float
    bytes_per_request: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    errors: Mapping[str, int]

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_wrk(url: str, load: Load, *, core: int | None) -> Sample:
    """Put ``load`` on ``url`` from ``core`` (None: from any) and return what came of it.

    Raises:
        BenchError: wrk is not installed, fails, or got no answer at all.
    """
    argv = [
        find_program("wrk"), "-t1", f"-c{load.connections}", f"-d{load.seconds}s",
        "--timeout", "10s", "-s", str(_SCRIPT),
    ]  # fmt: skip
    for name, value in load.headers.items():
        argv += ["-H", f"{name}: {value}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    if load.paths is not None:
        env |= {"BENCH_PATHS": str(load.paths), "BENCH_START": str(load.start)}
    if load.think_milliseconds:
        env["BENCH_THINK_MS"] = str(load.think_milliseconds)
    with pinned(core):
        try:
            ended = subprocess.run(
                [*argv, url],
                env=env,
                capture_output=True,
                text=True,
                timeout=load.seconds + _END_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"wrk did not end within {error.timeout:g} s.") from error
    if ended.returncode:
        raise BenchError(f"wrk failed: {(ended.stderr or ended.stdout).strip()}")
    return parse_output(ended.stdout)


def parse_output(text: str) -> Sample:
    """Return the sample that wrk's output holds.

    Raises:
        BenchError: there is no line of figures, or it tells of no request.
    """
    lines = [line for line in text.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise BenchError(f"wrk printed no figures:\n{text.strip()}")
    figures = json.loads(lines[0].removeprefix(_MARK))
    requests, seconds = figures["requests"], figures["microseconds"] / 1e6
    if not requests:
        raise BenchError(f"wrk got no answer: {figures['errors']}")
    return Sample(
        requests=requests,
        seconds=seconds,
        requests_per_second=requests / seconds,
        bytes_per_request=figures["bytes"] / requests,
        p50_ms=figures["p50_us"] / 1000,
        p95_ms=figures["p95_us"] / 1000,
        p99_ms=figures["p99_us"] / 1000,
        max_ms=figures["max_us"] / 1000,
        errors=figures["errors"],
    )
