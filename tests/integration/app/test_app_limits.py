"""``platform.limiter``: what an app counts, over several platforms and without the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

import poruwa
from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.config.load import parse_policy
from poruwa.errors import ConfigError

POLICY = parse_policy(
    """
[site]
name = "limits"
domain = "localhost"

[pools.app]
instances = ["127.0.0.1:9"]

[[routes]]
path = "/*"
pool = "app"

[rate_limits.sign-in-account]
requests = 6
window = "1h"
burst = 3
""",
    "site.toml",
)


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


@pytest.fixture
async def platforms(bus: ValkeyProcess) -> AsyncIterator[list[poruwa.Platform]]:
    bus.client.flushall()
    async with AsyncExitStack() as stack:
        environ = {"PORUWA_BUS_URL": bus.url}
        yield [
            await stack.enter_async_context(poruwa.Platform(POLICY, environ=environ).running())
            for _ in range(3)
        ]


async def test_one_limit_for_all_instances(platforms: list[poruwa.Platform]) -> None:
    """Check 56: three instances, one account, one burst."""
    limiters = [platform.limiter("sign-in-account") for platform in platforms]
    answers = await asyncio.gather(*(limiters[n % 3].take("sanduni") for n in range(30)))
    assert sum(answer.is_allowed for answer in answers) == 3
    assert (await limiters[0].take("nimal")).is_allowed
    assert sum(limiter.counts["alone"] for limiter in limiters) == 0
    assert platforms[0].stats()["limits"]["sign-in-account"]["refused"] > 0


async def test_the_bus_away_each_instance_goes_on_from_what_it_knows(
    bus: ValkeyProcess, platforms: list[poruwa.Platform]
) -> None:
    """Check 56, the stated fail mode: refused stays refused, others are counted here."""
    limiter = platforms[0].limiter("sign-in-account")
    for _ in range(4):
        answer = await limiter.take("sanduni")
    assert not answer.is_allowed
    bus.kill()
    try:
        assert not (await limiter.take("sanduni")).is_allowed
        allowed = [(await limiter.take("nimal")).is_allowed for _ in range(5)]
        assert allowed == [True] * 3 + [False] * 2
        assert limiter.counts["alone"] == 6
    finally:
        bus.start()


async def test_without_a_bus_and_without_running_it_counts_for_itself() -> None:
    limiter = poruwa.Platform(POLICY, environ={}).limiter("sign-in-account")
    assert [(await limiter.take("a")).is_allowed for _ in range(4)] == [True] * 3 + [False]
    assert not (await limiter.take("b", cost=4)).is_allowed  # more than the burst


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    platform = poruwa.Platform(POLICY, environ={})
    with pytest.raises(ConfigError, match=r'did you mean "sign-in-account"\?'):
        platform.limiter("sign-in-acount")
