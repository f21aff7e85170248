"""What clients saw of a fault is counted from their side and from the instances'."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.closed_loop import ClosedLoop, Sample, quantile
from bench.fault_stack import FaultStack, Instance
from bench.faults import SCENARIOS, _outcome
from bench.processes import fetch
from bench.proxies import HAPROXY


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    started = Instance(1, tmp_path)
    yield started
    started.server.stop()


def _sample(at: float, number: int, *, method: str = "GET", status: int = 200) -> Sample:
    return Sample(at, 0.05, method, number, status, "i1" if status else "", "127.0.0.1")


def test_every_client_begins_its_posts_at_another_request(instance: Instance) -> None:
    """In lockstep, all or none of a killed instance's requests would be POSTs."""
    load = ClosedLoop(instance.port, ("127.0.0.1",) * 4, post_every=4)

    async def once() -> None:
        running = asyncio.create_task(load.run())
        await asyncio.sleep(0.02)
        load.stop()
        await running

    asyncio.run(once())
    assert sorted(each.method for each in load.samples) == ["GET", "GET", "GET", "POST"]
    assert not any(each.has_failed for each in load.samples)


def test_a_client_that_is_refused_pauses(instance: Instance) -> None:
    instance.kill()
    load = ClosedLoop(instance.port, ("127.0.0.1",))

    async def a_while() -> None:
        running = asyncio.create_task(load.run())
        await asyncio.sleep(0.3)
        load.stop()
        await running

    asyncio.run(a_while())
    assert 1 <= len(load.samples) <= 7
    assert all(each.status == 0 for each in load.samples)


def test_what_a_killed_instance_was_working_at_is_known(instance: Instance) -> None:
    load = ClosedLoop(instance.port, ("127.0.0.1",), post_every=1)
    instance.control("seconds=0.01")

    async def until_killed() -> None:
        running = asyncio.create_task(load.run())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(instance.control, "seconds=5")
        await asyncio.sleep(0.2)
        load.stop()
        instance.kill()
        await running

    asyncio.run(until_killed())
    assert instance.unfinished() == {load.samples[-1].number}
    assert set(instance.arrivals("POST")) == {each.number for each in load.samples}
    assert instance.arrivals("GET") == []  # the probe that saw it ready has no id


def test_requests_that_came_twice_are_counted(tmp_path: Path) -> None:
    stack = _stack(tmp_path, "POST 1\nGET 2\nEND 1\n", "POST 1\nGET 2\nPOST 3\n", "GET 0\n")
    assert stack.posts_seen_twice() == 1
    assert stack.seen("GET") == {2: 2}


def test_a_post_fails_rightly_only_where_the_killed_instance_had_begun_it(tmp_path: Path) -> None:
    stack = _stack(tmp_path, "POST 5\nPOST 6\nEND 6\n", "", "")
    began, ended = 100.0, 104.0
    samples = [_sample(99.0, 1), _sample(99.5, 2), _sample(101.0, 3), _sample(101.5, 4, status=0)]
    samples += [_sample(100.1, number, method="POST", status=502) for number in (5, 6, 7)]
    samples.append(_sample(104.5, 8, status=503))  # within the time watched after the fault
    found = _outcome(SCENARIOS[1], stack, samples, began, ended, None)
    assert (found.gets_failed, found.posts_failed) == (2, 3)
    assert (found.posts_under_way, found.posts_failed_untouched) == (1, 2)
    assert found.throughput == 0.2  # one good answer in four seconds


def test_quantiles() -> None:
    values = [float(each) for each in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50, 99, 99)
    assert quantile([], 0.5) == 0.0


def test_an_instance_queues_what_is_over_its_slots(instance: Instance) -> None:
    instance.control("slots=1")
    threads = [threading.Thread(target=fetch, args=(instance.port, "/work")) for _ in range(4)]
    loop = asyncio.new_event_loop()
    started = loop.time()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert loop.time() - started >= 4 * 0.05
    loop.close()


def _stack(folder: Path, *logs: str) -> FaultStack:
    """Return a stack of which only what its instances noted is there."""
    instances = []
    for number, text in enumerate(logs):
        instance = Instance.__new__(Instance)
        instance.name, instance.log = f"i{number}", folder / f"{number}.requests"
        instance.log.write_text(text)
        instances.append(instance)
    return FaultStack(HAPROXY, instances, 0, None, 0)  # type: ignore[arg-type]
