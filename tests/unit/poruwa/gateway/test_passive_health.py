"""One judge for the machine: what a worker sees is known to all (A3, A5, G8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from poruwa.config.model import Health, Pool
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.selection import NOBODY, Selector
from poruwa.gateway.shared_state import InstanceState, SharedState, WorkerRow
from poruwa.rules.health import CheckReason, HealthState, HealthStatus

UP = HealthState(status=HealthStatus.UP, reason=CheckReason.PASSED)


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Machine:
    """A shared memory, two workers' rows, a judge, and each worker's choice."""

    def __init__(self, count: int = 3) -> None:
        self.clock = HandClock()
        self.pool = Pool(name="app", health=Health())
        self.shared = SharedState.create(max_workers=2, max_instances=8)
        self.rows = [WorkerRow(self.shared, index, generation=1) for index in (0, 1)]
        self.judge = Judge(self.shared, [self.pool], clock=self.clock)
        for slot in range(count):
            self.hear(slot, InstanceState.UP)
        self.selectors = [
            Selector(
                [f"i{slot}" for slot in range(count)],
                list(range(count)),
                [1] * count,
                shared=self.shared,
                method=self.pool.method,
                max_in_flight=0,
            )
            for _ in self.rows
        ]

    def hear(
        self, slot: int, state: InstanceState, reason: CheckReason = CheckReason.PASSED
    ) -> None:
        health = UP if state is InstanceState.UP else HealthState(reason=reason)
        self.judge.hear(slot, pool="app", name=f"i{slot}", weight=1, state=state, health=health)

    def hear_check(self, slot: int, *, ok: bool) -> None:
        """Hear of a check of an instance that stays up: not enough of them said otherwise."""
        health = HealthState(
            status=HealthStatus.UP,
            reason=CheckReason.PASSED if ok else CheckReason.REFUSED,
            successes=1 if ok else 0,
            failures=0 if ok else 1,
        )
        self.judge.hear(
            slot, pool="app", name=f"i{slot}", weight=1, state=InstanceState.UP, health=health
        )

    def outcomes(
        self, slot: int, *, answered: int = 0, failed: int = 0, row: int = 0, in_a_row: int = 0
    ) -> None:
        self.rows[row].add_outcomes(
            slot, answered=answered, failed=failed, latency_micros=answered * 50_000,
            in_a_row=in_a_row,
        )  # fmt: skip

    def tick(self, seconds: float = 0.05) -> list[InstanceState]:
        self.clock.now += seconds
        self.judge.judge()
        return [InstanceState(self.shared.state(slot)) for slot in range(3)]

    def chosen(self, worker: int, *, may_probe: bool = False) -> int:
        return self.selectors[worker].choose(now=self.clock.now, tried=(), may_probe=may_probe)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.shared.close()


def eject_first(machine: Machine) -> None:
    machine.outcomes(0, failed=5, in_a_row=5)
    for slot in (1, 2):
        machine.outcomes(slot, answered=20, row=1)
    assert machine.tick()[0] is InstanceState.EJECTED


def test_what_one_worker_saw_both_act_on(machine: Machine) -> None:
    assert {machine.chosen(1) for _ in range(9)} == {0, 1, 2}
    eject_first(machine)
    for worker in (0, 1):
        assert {machine.chosen(worker) for _ in range(9)} == {1, 2}
    assert machine.judge.ejections == {"failures-in-a-row": 1}


def test_one_request_at_a_time_shows_whether_it_serves_again(machine: Machine) -> None:
    eject_first(machine)
    assert machine.tick(5.0)[0] is InstanceState.PROBING
    assert machine.chosen(0) != 0  # not safe to send again
    assert machine.chosen(0, may_probe=True) == 0
    machine.rows[0].begin(0)
    assert machine.chosen(1, may_probe=True) != 0
    machine.rows[0].end(0)
    machine.outcomes(0, answered=1)
    assert machine.tick()[0] is InstanceState.UP
    assert machine.shared.slowness(0) > 5.0  # slow start
    machine.tick(20.0)
    assert machine.shared.slowness(0) == 1.0


def test_a_request_that_may_not_be_repeated_probes_when_nothing_safer_comes(
    machine: Machine,
) -> None:
    eject_first(machine)
    machine.tick(5.0)
    machine.chosen(0)
    machine.clock.now += 6.0
    assert machine.chosen(0) == 0


def test_an_instance_that_was_down_begins_slowly(machine: Machine) -> None:
    machine.hear(0, InstanceState.DOWN, CheckReason.REFUSED)
    assert machine.tick()[0] is InstanceState.DOWN
    machine.hear(0, InstanceState.UP)
    assert machine.tick()[0] is InstanceState.UP
    assert machine.shared.slowness(0) > 5.0


def test_an_ejection_of_a_process_that_is_gone_ends_with_the_next_one(machine: Machine) -> None:
    """Killed and back before the checks say down: its ejection was its predecessor's."""
    ejected: list[int] = []
    machine.judge.on_ejected = ejected.append
    machine.outcomes(0, failed=5, in_a_row=5)
    assert machine.tick()[0] == InstanceState.EJECTED
    assert ejected == [0]
    assert machine.judge.is_ejected(0)
    machine.hear_check(0, ok=False)
    assert machine.tick()[0] == InstanceState.EJECTED
    machine.hear_check(0, ok=True)
    assert machine.tick()[0] == InstanceState.PROBING
    machine.outcomes(0, answered=1)
    assert machine.tick()[0] == InstanceState.UP


def test_an_ejection_of_one_that_accepts_lasts(machine: Machine) -> None:
    machine.hear_check(0, ok=False)  # of before it
    machine.hear_check(0, ok=True)
    machine.outcomes(0, failed=5, in_a_row=5)
    assert machine.tick()[0] == InstanceState.EJECTED
    machine.hear_check(0, ok=True)
    assert machine.tick()[0] == InstanceState.EJECTED


def test_in_a_panic_health_is_ignored_but_for_who_refuses(machine: Machine) -> None:
    machine.hear(0, InstanceState.DOWN, CheckReason.TIMEOUT)
    machine.hear(1, InstanceState.DOWN, CheckReason.REFUSED)
    assert machine.tick() == [InstanceState.DOWN, InstanceState.DOWN, InstanceState.UP]
    machine.hear(2, InstanceState.DOWN, CheckReason.STATUS)
    assert machine.tick() == [InstanceState.UP, InstanceState.DOWN, InstanceState.UP]
    assert machine.judge.is_in_panic("app")
    machine.hear(2, InstanceState.UP)
    assert machine.tick()[0] is InstanceState.DOWN
    assert not machine.judge.is_in_panic("app")


def test_a_drained_instance_stays_out_in_a_panic(machine: Machine) -> None:
    machine.hear(0, InstanceState.DOWN, CheckReason.PASSED)  # drained to its end
    machine.hear(1, InstanceState.DOWN, CheckReason.STATUS)
    machine.hear(2, InstanceState.DOWN, CheckReason.STATUS)
    assert machine.tick() == [InstanceState.DOWN, InstanceState.UP, InstanceState.UP]


def test_a_worker_that_died_takes_its_counts_with_it(machine: Machine) -> None:
    machine.outcomes(0, answered=1000, row=1)
    machine.tick()
    machine.shared.clear_worker(1)
    assert machine.tick() == [InstanceState.UP] * 3
    machine.outcomes(0, failed=5, in_a_row=5)
    assert machine.tick()[0] is InstanceState.EJECTED


def test_nobody_is_better_than_who_was_ejected_only_where_nobody_else_is(machine: Machine) -> None:
    eject_first(machine)
    for slot in (1, 2):
        machine.hear(slot, InstanceState.DOWN, CheckReason.REFUSED)
    machine.tick()
    assert machine.chosen(0) == 0
    machine.hear(0, InstanceState.DOWN, CheckReason.REFUSED)
    machine.tick()
    assert machine.chosen(0) == NOBODY
