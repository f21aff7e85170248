"""What is published of an instance while targets, weights and drains change; checks that stay."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest

from poruwa.clock import SystemClock
from poruwa.config.model import Health, HealthKind, Pool
from poruwa.gateway.active_health import HealthMonitor, Target
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState, SharedState
from poruwa.rules.topology import DrainPhase

CHECKED = Health(kind=HealthKind.TCP, interval_seconds=3600.0, fast_interval_seconds=0.05)
UNCHECKED = Health(enabled=False)
WAIT_SECONDS = 10.0


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create(max_workers=2, max_instances=8)
    yield state
    state.close()


def target(slot: int, *, address: str = "127.0.0.1:9", settings: Health = UNCHECKED) -> Target:
    return Target(
        slot=slot, pool="app", name=f"app.{slot}", address=address, weight=1, settings=settings
    )


def monitor_of(shared: SharedState, *targets: Target) -> HealthMonitor:
    clock = SystemClock()
    judge = Judge(shared, [Pool(name="app")], clock=clock)
    return HealthMonitor(judge, targets, clock=clock, random=lambda: 0.5)


def test_a_drain_is_published_over_what_checks_say(shared: SharedState) -> None:
    first = target(0)
    monitor = monitor_of(shared, first)
    assert shared.state(0) == InstanceState.UP
    for phase, state in (
        (DrainPhase.DRAINING, InstanceState.DRAINING),
        (DrainPhase.DRAINED, InstanceState.DOWN),
        (DrainPhase.NONE, InstanceState.UP),
    ):
        monitor.update([dataclasses.replace(first, drain=phase)])
        assert shared.state(0) == state
        assert monitor.instances[0].state is state


def test_a_weight_is_published_at_once(shared: SharedState) -> None:
    first = target(0)
    monitor = monitor_of(shared, first)
    version = shared.verdict_version()
    monitor.update([dataclasses.replace(first, weight=7)])
    assert shared.weight(0) == 7
    assert shared.verdict_version() > version


def test_a_change_of_others_publishes_nothing(shared: SharedState) -> None:
    monitor = monitor_of(shared, target(0), target(1))
    monitor.update([target(0)])
    version = shared.verdict_version()
    monitor.update([target(0)])
    assert shared.verdict_version() == version
    assert [known.target.name for known in monitor.instances] == ["app.0"]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


def are_up(shared: SharedState, count: int) -> bool:
    return all(shared.state(slot) == InstanceState.UP for slot in range(count))


async def test_checks_begin_end_and_go_on_while_targets_change(shared: SharedState) -> None:
    connections = 0

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    first, second = (target(slot, address=address, settings=CHECKED) for slot in (0, 1))
    monitor = monitor_of(shared, first)
    running = asyncio.create_task(monitor.run())
    await until(lambda: are_up(shared, 1), "the first to be up")
    since = monitor.instances[0].health.since

    monitor.update([first, second])
    assert shared.state(1) == InstanceState.UNKNOWN
    await until(lambda: are_up(shared, 2), "both to be up")
    # With an hour between checks, only one that was begun anew could ask again.
    monitor.update([dataclasses.replace(first, weight=3, drain=DrainPhase.DRAINING), second])
    assert shared.state(0) == InstanceState.DRAINING
    assert monitor.instances[0].health.since == since
    monitor.update([second])
    names = {task.get_name() for task in asyncio.all_tasks() if not task.cancelling()}
    assert "health app.0" not in names
    assert "health app.1" in names
    assert connections == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()


async def test_bound_clients_do_not_go_to_a_draining_instance_that_is_down(
    shared: SharedState,
) -> None:
    """Nobody listens at the address: the check's word is the worse one."""
    first = target(0, address="127.0.0.1:1", settings=CHECKED)
    monitor = monitor_of(shared, dataclasses.replace(first, drain=DrainPhase.DRAINING))
    assert shared.state(0) == InstanceState.DRAINING
    running = asyncio.create_task(monitor.run())
    await until(lambda: shared.state(0) == InstanceState.DOWN, "the check to fail")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_instance_that_is_ejected_is_checked_at_once(shared: SharedState) -> None:
    clock = SystemClock()
    judge = Judge(shared, [Pool(name="app")], clock=clock)
    settings = dataclasses.replace(CHECKED, fast_interval_seconds=3600.0, jitter=1e-6)
    checked = target(0, settings=settings)
    monitor = HealthMonitor(judge, [checked, target(1)], clock=clock, random=lambda: 0.0)
    running = asyncio.create_task(monitor.run())
    try:
        await until(lambda: monitor.instances[0].health.failures == 1, "the first check")
        assert judge.on_ejected is not None
        judge.on_ejected(0)
        await until(lambda: monitor.instances[0].health.failures == 2, "another")
        judge.on_ejected(1)  # not checked at all: nothing to hurry
    finally:
        running.cancel()
