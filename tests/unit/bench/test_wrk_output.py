"""What wrk prints becomes a sample; what is no result is told, never taken for one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from bench.errors import BenchError
from bench.processes import free_port, start_server
from bench.wrk import Load, parse_output, run_wrk

TABLE = """\
Running 3s test @ http://127.0.0.1:9100/small
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  450.00us   8.90ms   85.00%
    Req/Sec    26.10k     1.20k   28.00k    70.00%
  78300 requests in 3.01s, 27.40MB read
Requests/sec:  26013.28
Transfer/sec:      9.10MB
"""
FIGURES = (
    'FIGURES {"requests": 78300, "microseconds": 3010000, "bytes": 28731100, "p50_us": 1180, '
    '"p95_us": 2100, "p99_us": 2345, "max_us": 8900, "errors": {"connect": 0, "read": 2, '
    '"write": 0, "timeout": 1, "status": 4}}\n'
)


def test_figures_become_a_sample() -> None:
    sample = parse_output(TABLE + FIGURES)
    assert sample.requests == 78_300
    assert sample.seconds == pytest.approx(3.01)
    assert sample.requests_per_second == pytest.approx(78_300 / 3.01)
    assert sample.bytes_per_request == pytest.approx(28_731_100 / 78_300)
    assert (sample.p50_ms, sample.p95_ms, sample.p99_ms, sample.max_ms) == (1.18, 2.1, 2.345, 8.9)


def test_every_kind_of_error_counts() -> None:
    assert parse_output(FIGURES).error_count == 7


@pytest.mark.parametrize("text", ["", TABLE, FIGURES + FIGURES])
def test_output_without_one_line_of_figures_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="no figures"):
        parse_output(text)


def test_a_run_without_an_answer_is_refused_and_says_why() -> None:
    nothing = FIGURES.replace('"requests": 78300', '"requests": 0')
    with pytest.raises(BenchError, match="'read': 2"):
        parse_output(nothing)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_real_wrk_that_cannot_connect_is_an_error() -> None:
    core = min(os.sched_getaffinity(0))
    with pytest.raises(BenchError, match="wrk"):
        run_wrk(f"http://127.0.0.1:{free_port()}/", Load(connections=1, seconds=1), core=core)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_real_wrk_walks_the_paths_it_is_given(tmp_path: Path) -> None:
    """The Lua script and the parser agree, and 404 counts as an error of status."""
    (tmp_path / "there").write_text("here")
    (tmp_path / "walk").write_text("/there\n/gone\n")
    port, core = free_port(), min(os.sched_getaffinity(0))
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path)]
    with start_server("files", [*argv, str(port)], core=None, work=tmp_path) as server:
        server.wait_until_ready(port)
        load = Load(connections=1, seconds=1, paths=tmp_path / "walk")
        sample = run_wrk(f"http://127.0.0.1:{port}/", load, core=core)
    assert sample.requests > 2
    assert sample.errors["status"] == pytest.approx(sample.requests / 2, abs=2)
    assert sample.p50_ms > 0
