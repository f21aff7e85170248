"""Views: counted over processes on a real Valkey, and what they are good for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from fakes.valkey_process import BUS, ValkeyProcess
from poruwa import Change, Tally
from weddinglk.demand import HOT, RELOADS_AT_ONCE, WAITING_MOST, Demand

WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS, password="secret") as server:
        yield server


@asynccontextmanager
async def counting(tally: Tally) -> AsyncIterator[Tally]:
    task = asyncio.create_task(tally.run(every_seconds=0.01))
    try:
        yield tally
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_processes_share_a_ranking(bus: ValkeyProcess) -> None:
    """Every count arrives once, in batches; all processes see the same order."""
    one, other = (Tally(bus.store(), "{test}:shared") for _ in range(2))
    async with counting(one), counting(other):
        for number in range(1, 6):
            for _ in range(10 * number):
                (one if number % 2 else other).add(f"venue:{number}")
        wanted = {f"venue:{number}": 10.0 * number for number in (5, 4, 3, 2, 1)}
        await until(lambda: one.ranking == other.ranking == wanted)
    assert list(one.ranking) == list(wanted)
    with bus.client as client:
        (key,) = client.keys("{test}:shared:*")
        assert 6 * 86_400 < client.ttl(key) <= 8 * 86_400


async def test_counts_wait_for_the_bus(bus: ValkeyProcess) -> None:
    tally = Tally(bus.store(), "{test}:waiting")
    bus.kill()
    async with counting(tally):
        tally.add("venue:1")
        await asyncio.sleep(0.1)
        tally.add("venue:1")
        bus.start()
        await until(lambda: tally.ranking == {"venue:1": 2.0})
        tally.add("venue:1")
    late = Tally(bus.store(), "{test}:waiting")
    async with counting(late):
        await until(lambda: late.ranking == {"venue:1": 3.0})


async def test_alone_a_process_ranks_for_itself() -> None:
    """Without a bus; what is no longer looked at goes."""
    tally = Tally(None, "{test}:alone")
    for _ in range(8):
        tally.add("venue:1")
    tally.add("venue:2")
    await tally.carry()
    assert list(tally.ranking) == ["venue:1", "venue:2"]
    for _ in range(20):
        tally.add("venue:3")
        tally.add("venue:3")
        await tally.carry()
    assert next(iter(tally.ranking)) == "venue:3"
    assert tally.ranking.get("venue:1", 0.0) < 0.01


async def test_only_what_is_hot_is_loaded_again_within_the_budget() -> None:
    """A change of a listing that many look at has it loaded; no more at one time than agreed."""
    loaded: list[str] = []
    running = most = 0

    async def load(tag: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        loaded.append(tag)
        if tag == "venue:2":
            raise OSError("the database is away")

    tally = Tally(None, "{test}:hot")
    demand = Demand(tally, load)
    for number in range(1, 2 * HOT):
        for _ in range(2 * HOT - number):
            demand.view(f"venue:{number}")
    await tally.carry()
    demand.note(Change(tags=(b"venue:1", b"venues", b"venue:%d" % (HOT + 1))))
    demand.note(Change(tags=(b"venue:2",)))
    demand.note(Change(tags=(b"venue:3",), soft=True))
    demand.note(Change(everything=True))
    await until(lambda: len(loaded) == 2)
    assert loaded == ["venue:1", "venue:2"]
    demand.note(Change(tags=tuple(b"venue:%d" % number for number in range(1, HOT + 1))))
    await until(lambda: len(loaded) == 2 + WAITING_MOST)
    await demand.close()
    assert most <= RELOADS_AT_ONCE
