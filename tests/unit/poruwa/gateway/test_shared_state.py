"""The machine's one view: exact load over all workers, also after one was killed (A5, G8)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poruwa.gateway.shared_state import InstanceState, SharedState, Verdict, WorkerRow


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create(max_workers=4, max_instances=8)
    yield state
    state.close()


def test_in_flight_is_the_sum_over_workers(shared: SharedState) -> None:
    first, second = (WorkerRow(shared, index, generation=1) for index in (0, 1))
    first.begin(3)
    first.begin(3)
    second.begin(3)
    second.begin(5)
    first.end(3)
    assert shared.in_flight(3) == 2
    assert shared.in_flight_of(3, 0) == shared.in_flight_of(3, 1) == 1
    assert shared.loads(2, 4) == [0, 2, 0, 1]


def test_clearing_a_dead_worker_takes_its_load_away_and_nobody_elses(shared: SharedState) -> None:
    dead, alive = (WorkerRow(shared, index, generation=1) for index in (0, 1))
    dead.begin(0)
    alive.begin(0)
    shared.clear_worker(0)
    assert shared.in_flight(0) == 1
    assert [worker.index for worker in shared.live_workers()] == [1]


def test_rows_outside_the_marks_are_not_read_and_those_inside_all_are(shared: SharedState) -> None:
    """Workers of a reload hold other rows than those before; one of those may linger."""
    rows = [WorkerRow(shared, index, generation=1) for index in (0, 2, 3)]
    for row in rows:
        row.begin(5)
    assert shared.in_flight(5) == shared.loads(5, 1)[0] == 3
    shared.clear_worker(3)
    shared.set_rows(0, 3)
    assert shared.in_flight(5) == 2
    assert shared.loads(4, 3) == [0, 2, 0]
    assert [worker.index for worker in shared.live_workers()] == [0, 2]
    shared.clear_worker(0)
    shared.set_rows(2, 3)
    assert shared.in_flight(5) == 1
    assert shared.loads(4, 3) == [0, 1, 0]
    assert [worker.index for worker in shared.live_workers()] == [2]


def test_a_worker_that_drains_says_so_to_the_others(shared: SharedState) -> None:
    row = WorkerRow(shared, 1, generation=1)
    assert not shared.worker(1).is_draining
    row.set_draining()
    assert shared.worker(1).is_draining
    shared.clear_worker(1)
    assert not shared.worker(1).is_draining


def test_a_verdict_changes_the_version_that_workers_watch(shared: SharedState) -> None:
    before = shared.verdict_version()
    shared.set_instance(2, Verdict(state=InstanceState.UP, weight=7))
    assert shared.verdict_version() != before
    assert (shared.state(2), shared.weight(2)) == (InstanceState.UP, 7)


def test_another_process_that_inherits_the_descriptor_sees_and_is_seen(shared: SharedState) -> None:
    program = (
        "import sys; from poruwa.gateway.shared_state import *\n"
        "state = SharedState.attach(int(sys.argv[1])); row = WorkerRow(state, 1, generation=5)\n"
        "row.begin(4); row.set_load(connections=9, requests=11); print(state.weight(4))\n"
    )
    shared.set_instance(4, Verdict(state=InstanceState.UP, weight=3))
    child = subprocess.run(
        [sys.executable, "-c", program, str(shared.fd)],
        pass_fds=(shared.fd,),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "3\n"
    assert shared.in_flight(4) == 1, "a process that ended without clearing stays counted"
    view = shared.worker(1)
    assert (view.generation, view.connections, view.requests) == (5, 9, 11)
    assert view.pid != os.getpid()


def test_heartbeat_age_is_measured_on_the_clock_of_the_machine(shared: SharedState) -> None:
    row = WorkerRow(shared, 2, generation=1)
    row.beat()
    assert 0 <= shared.heartbeat_age(2) < 5


def test_attaching_to_something_else_is_refused(tmp_path: object) -> None:
    fd = os.memfd_create("other")
    os.ftruncate(fd, 4096)
    with pytest.raises(ValueError, match="not a poruwa shared state"):
        SharedState.attach(fd)
    os.close(fd)
