"""Stores that are killed, frozen, emptied and garbled under the cache manager.

Nothing stale is served, no call hangs, and everything recovers by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.cached_site import Database, Site, counts, running_sites, until
from fakes.valkey_process import BUS, CACHE, ValkeyProcess
from poruwa.errors import BusUnavailable


@asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[tuple[Site, Site, ValkeyProcess, ValkeyProcess]]:
    with (
        ValkeyProcess(folder / "cache", *CACHE) as cache,
        ValkeyProcess(folder / "bus", *BUS) as bus,
    ):
        async with running_sites(cache, bus) as (one, two):
            yield one, two, cache, bus


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_without_l2_calls_go_on_and_it_comes_back(tmp_path: Path, fault: str) -> None:
    async with stack(tmp_path) as (one, two, cache, _):
        await one.venue(1)
        getattr(cache, fault)()
        loads = one.database.loads
        async with asyncio.timeout(10):  # not a quarter of a second for each of these
            for number in range(100, 400):
                await one.venue(number)
            await asyncio.gather(*(two.shared(1) for _ in range(20)))
        assert one.database.loads == loads + 301
        assert (await one.venue(1)).version == 1, "L1 has it, and is sure of it"
        await two.change(1)
        assert (await one.venue(1)).version == 2
        cache.start() if fault == "kill" else cache.thaw()
        number = 1000

        async def is_shared() -> bool:
            nonlocal number
            number += 1
            await one.venue(number)
            await two.venue(number)
            return counts(two, "venue")["shared_hits"] > 0

        await until(is_shared)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_without_the_bus_nothing_tagged_comes_from_a_cache(
    tmp_path: Path, fault: str
) -> None:
    async with stack(tmp_path) as (one, two, cache, bus):
        for site in (one, two):
            await site.venue(1)
            await site.guess(1)
            await site.plain(1)
        getattr(bus, fault)()
        await until(lambda: not one.is_sure() and not two.is_sure())
        one.database.versions[1] = 7
        loads = one.database.loads
        keys = set(cache.client.keys())
        for site in (one, two):
            assert (await site.venue(1)).version == 7
            assert [venue.version for venue in await site.listing(1)] == [7]
            assert (await site.guess(1)).version == 1, "its class says that it may be served"
            assert (await site.plain(1)).version == 1, "it has no tags"
        assert one.database.loads == loads + 4
        one.database.gate = asyncio.Event()
        calls = [asyncio.create_task(one.venue(1)) for _ in range(5)]
        await until(lambda: one.database.loads == loads + 5)
        one.database.versions[1] = 8  # the first has read already; the others came before this
        one.database.gate.set()
        found = [(await call).version for call in calls]
        assert found == [7, 8, 8, 8, 8], "they share a load that began after they had come"
        assert one.database.loads == loads + 6
        loads += 2
        assert set(cache.client.keys()) == keys, "nothing is stored meanwhile"
        with pytest.raises(BusUnavailable):
            await one.platform.invalidate("venue:1")
        bus.start() if fault == "kill" else bus.thaw()
        await until(lambda: one.is_sure() and two.is_sure())
        await one.platform.invalidate("venue:1")
        for site in (one, two, one):
            assert (await site.venue(1)).version == 8
        assert one.database.loads == loads + 5, "one load, and then it is kept again"


async def test_a_process_that_missed_a_change_does_not_serve_what_it_has(tmp_path: Path) -> None:
    """Its writer is told nothing until the lease of the cut-off process lapsed."""
    async with stack(tmp_path) as (one, two, _, bus):
        await one.venue(1)
        bus.kill()
        await until(lambda: not one.is_sure())
        bus.start()
        await until(two.is_sure)
        await two.change(1)
        assert (await one.venue(1)).version == 2


async def test_what_is_no_entry_is_loaded_anew(tmp_path: Path) -> None:
    async with stack(tmp_path) as (one, two, cache, _):
        await one.venue(1)
        await until(lambda: cache.client.keys("*:l2:*"))
        (key,) = cache.client.keys("*:l2:*")
        whole = cache.client.get(key)
        for garbage in (b"", b"\x00" * 64, whole[:-1], whole[:60] + b"?" + whole[61:]):
            cache.client.set(key, garbage)
            two.platform._layers.memory.clear()
            assert (await two.venue(1)).version == 1


async def test_what_is_from_a_log_that_was_lost_is_not_believed(tmp_path: Path) -> None:
    """No change of the new log would ever come after it."""
    with ValkeyProcess(tmp_path / "cache", *CACHE) as cache:
        with ValkeyProcess(tmp_path / "bus", *BUS) as bus:
            async with running_sites(cache, bus) as (one, _):
                for _ in range(5):
                    await one.change(9)
                await one.venue(1)
                await until(lambda: cache.client.keys("*:l2:*"))
        with ValkeyProcess(tmp_path / "another bus", *BUS) as bus:
            environ = {"PORUWA_CACHE_URL": cache.url, "PORUWA_BUS_URL": bus.url}
            database = Database()
            database.versions[1] = 2
            site = Site(database, environ)
            async with site.platform.running():
                await until(site.is_sure)
                assert (await site.venue(1)).version == 2


async def test_a_platform_runs_again_in_another_loop(tmp_path: Path) -> None:
    """Test clients start and stop an app's lifespan as often as they like."""
    with (
        ValkeyProcess(tmp_path / "cache", *CACHE) as cache,
        ValkeyProcess(tmp_path / "bus", *BUS) as bus,
    ):
        environ = {"PORUWA_CACHE_URL": cache.url, "PORUWA_BUS_URL": bus.url}
        site = Site(Database(), environ)

        async def once() -> None:
            async with site.platform.running():
                await until(site.is_sure)
                await site.change(1)
                await site.venue(1)

        for _ in range(2):
            await asyncio.to_thread(asyncio.run, once())
        assert site.database.loads == 2
