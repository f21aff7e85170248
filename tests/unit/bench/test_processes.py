"""Servers are awaited, tell why they ended, and are gone afterwards; their figures can be read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from bench import procfs
from bench.errors import BenchError
from bench.pinning import pinned
from bench.processes import fetch, find_program, free_port, start_server

SERVER = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]


def test_a_server_is_awaited_used_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    core = min(os.sched_getaffinity(0))
    argv = [*SERVER, "--directory", str(tmp_path), str(port)]
    with start_server("files", argv, core=core, work=tmp_path) as server:
        server.wait_until_ready(port)
        assert fetch(port, "/files.log")[0] == 200
        assert os.sched_getaffinity(server.pid) == {core}
        assert procfs.resident_bytes(server.pid) > 1 << 20
        assert procfs.descriptor_count(server.pid) >= 3
        assert procfs.cpu_seconds(server.pid) > 0
        assert server.pid in procfs.tree(os.getpid())
    assert not Path(f"/proc/{server.pid}").exists()


def test_a_server_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('cannot bind')"]
    with (
        start_server("broken", argv, core=None, work=tmp_path) as server,
        pytest.raises(BenchError, match=r"broken ended with code 1\.\n  \| cannot bind"),
    ):
        server.wait_until_ready(free_port())


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        start_server("silent", argv, core=None, work=tmp_path) as server,
        pytest.raises(BenchError, match="not ready after"),
    ):
        server.wait_until_ready(free_port(), seconds=0.2)


def test_a_missing_program_says_how_to_get_it() -> None:
    with pytest.raises(BenchError, match="apt-get install wrk nginx haproxy"):
        find_program("no-such-proxy")


def test_the_worker_is_the_last_descendant(tmp_path: Path) -> None:
    """As of nginx's master and of our control process."""
    port = free_port()
    inner = [*SERVER, "--directory", str(tmp_path), str(port)]
    code = f"import subprocess; subprocess.Popen({inner!r}).wait()"
    with start_server("master", [sys.executable, "-c", code], core=None, work=tmp_path) as server:
        server.wait_until_ready(port)
        worker = procfs.leaf(server.pid)
        assert worker != server.pid
        assert procfs.tree(server.pid) == [server.pid, worker]
        os.kill(worker, 9)


def test_pinning_ends_with_the_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before


def test_core_times_grow_and_shares_stay_shares() -> None:
    core = min(os.sched_getaffinity(0))
    before = procfs.core_times(core)
    assert 0 <= procfs.busy_share_of_others(0.05) <= 1
    passed = procfs.core_times(core).since(before)
    assert passed.processes + passed.interrupts + passed.stolen + passed.idle > 0
