"""``stores.rate_counter`` on a real server: one limit for all who count (check 56)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.rules.rate_limit import Decision, Quota
from poruwa.stores.rate_counter import RateCounter
from poruwa.stores.valkey_wire import Failure

FIVE_AN_HOUR = Quota(5, 3600.0, 5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


@pytest.fixture
async def counters(server: ValkeyProcess) -> AsyncIterator[tuple[RateCounter, RateCounter]]:
    server.client.flushall()
    pair = RateCounter(server.store(), "test"), RateCounter(server.store(), "test")
    yield pair
    for counter in pair:
        await counter.close()


async def take(
    counter: RateCounter, key: bytes, *, quota: Quota = FIVE_AN_HOUR, **options: bytes
) -> Decision:
    future: asyncio.Future[Decision | Failure] = asyncio.get_running_loop().create_future()
    counter.take(quota, key, future.set_result, beside=options.get("beside"))
    answer = await future
    assert isinstance(answer, Decision), answer
    return answer


async def test_two_counters_share_a_burst(counters: tuple[RateCounter, RateCounter]) -> None:
    """Check 56: of 40 at once over two connections, exactly the burst is taken."""
    answers = await asyncio.gather(*(take(counters[n % 2], b"sign-in\na") for n in range(40)))
    allowed = [answer for answer in answers if answer.is_allowed]
    assert sorted(answer.remaining for answer in allowed) == [0, 1, 2, 3, 4]
    refused = next(answer for answer in answers if not answer.is_allowed)
    assert refused.remaining == 0
    assert 700 < refused.retry_seconds <= 720  # one every 12 minutes
    assert 3580 < refused.reset_seconds <= 3600
    assert (await take(counters[0], b"sign-in\nb")).is_allowed


async def test_the_script_is_loaded_again(
    server: ValkeyProcess, counters: tuple[RateCounter, RateCounter]
) -> None:
    await take(counters[0], b"a")
    server.client.script_flush()
    assert (await take(counters[0], b"a")).remaining == 3


async def test_a_refusal_costs_nothing_and_room_comes_back(
    counters: tuple[RateCounter, RateCounter],
) -> None:
    quick = Quota(10, 1.0, 1)
    assert (await take(counters[0], b"q", quota=quick)).is_allowed
    refused = await take(counters[1], b"q", quota=quick)
    assert not refused.is_allowed
    await asyncio.sleep(refused.retry_seconds + 0.005)
    assert (await take(counters[1], b"q", quota=quick)).is_allowed


async def test_keys_tell_nobody_and_go_by_themselves(
    server: ValkeyProcess, counters: tuple[RateCounter, RateCounter]
) -> None:
    await take(counters[0], b"account\nsanduni@example.lk")
    (key,) = server.client.keys("*")
    assert key.startswith(b"{test}:rate:")
    assert b"sanduni" not in key
    assert 0 < server.client.pttl(key) <= 720_000


async def test_nothing_is_written_to_the_append_only_file(
    server: ValkeyProcess, counters: tuple[RateCounter, RateCounter]
) -> None:
    before = int(server.client.info("persistence")["aof_current_size"])
    for _ in range(5):
        await take(counters[0], b"a")
    assert int(server.client.info("persistence")["aof_current_size"]) == before


async def test_made_up_keys_count_for_who_makes_them(
    counters: tuple[RateCounter, RateCounter],
) -> None:
    """Check 53, for sessions: another cookie each time is no way around the limit."""
    answers = [await take(counters[0], b"cookie %d" % n, beside=b"client") for n in range(9)]
    assert [answer.is_allowed for answer in answers] == [True] * 5 + [False] * 4
    # One that is known counts for itself alone.
    assert (await take(counters[0], b"cookie 0", beside=b"client")).is_allowed


async def test_a_clock_that_was_ahead_refuses_nobody_for_longer_than_the_window(
    server: ValkeyProcess, counters: tuple[RateCounter, RateCounter]
) -> None:
    await take(counters[0], b"a")
    (key,) = server.client.keys("*")
    server.client.set(key, float(server.client.get(key)) + 1e12)  # eleven days ahead
    assert (await take(counters[0], b"a")).retry_seconds <= 720


async def test_a_frozen_or_dead_server_is_a_failure_in_time(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, *BUS) as server:
        counter = RateCounter(server.store(), "test")
        try:
            assert isinstance(await counter.taken(FIVE_AN_HOUR, b"a"), Decision)
            server.freeze()
            async with asyncio.timeout(5):
                assert isinstance(await counter.taken(FIVE_AN_HOUR, b"a"), Failure)
                assert await counter.taken(FIVE_AN_HOUR, b"a") is Failure.REFUSED
            server.thaw()
            server.kill()
            assert isinstance(await counter.taken(FIVE_AN_HOUR, b"a"), Failure)
            server.start()
            async with asyncio.timeout(20):
                while isinstance(await counter.taken(FIVE_AN_HOUR, b"a"), Failure):
                    await asyncio.sleep(0.02)
        finally:
            await counter.close()
