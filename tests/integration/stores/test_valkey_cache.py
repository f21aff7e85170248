"""L2 on a real Valkey: what it stores, reads, deletes, locks, and how its reads go out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fakes.valkey_process import CACHE, ValkeyProcess
from poruwa.stores.batching import KEYS_PER_BATCH
from poruwa.stores.breaker import BreakerState
from poruwa.stores.valkey_cache import Held, Lock, Stored, ValkeyCache

POSITION = (2 << 40) | 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("valkey"), *CACHE, password="a b:c@d") as server:
        yield server


@pytest.fixture
async def cache(server: ValkeyProcess) -> AsyncIterator[ValkeyCache]:
    server.client.flushall()
    cache = ValkeyCache(server.store(), namespace="site", schema="1")
    await cache.start()
    yield cache
    await cache.close()


def entry(value: bytes = b"value", **fields: float) -> Stored:
    stored = Stored(value, (b"venue:12", b"venues"), POSITION, time.time(), 60.0, 30.0)
    return replace(stored, **fields)


async def test_what_was_set_is_got_with_all_that_decides_its_use(cache: ValkeyCache) -> None:
    stored = entry(b"some value" * 500)
    assert await cache.set(b"venue\n12", stored)
    assert await cache.get(b"venue\n12") == stored
    assert await cache.get(b"venue\n13") is None
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stored) == (1, 1, 1)


async def test_it_leaves_when_its_lifetime_and_stale_time_are_over(
    cache: ValkeyCache, server: ValkeyProcess
) -> None:
    await cache.set(b"key", entry(stored_at=time.time() - 10))
    left = server.client.pttl("site:l2:1:key")
    assert 79_000 < left <= 80_000
    assert not await cache.set(b"late", entry(stored_at=time.time() - 91))
    assert await cache.get(b"late") is None


async def test_reads_of_one_turn_go_out_together(cache: ValkeyCache, server: ValkeyProcess) -> None:
    for number in range(50):
        await cache.set(b"%d" % number, entry(b"%d" % number))
    server.client.config_resetstat()
    found = await asyncio.gather(*(cache.get(b"%d" % number) for number in range(60)))
    values = [stored and stored.value for stored in found]
    assert values == [b"%d" % number for number in range(50)] + [None] * 10
    commands = server.client.info("commandstats")
    assert commands["cmdstat_mget"]["calls"] == 60 // KEYS_PER_BATCH + 1
    assert "cmdstat_get" not in commands


async def test_many_reads_are_spread_over_batches(cache: ValkeyCache) -> None:
    await cache.set(b"7", entry())
    count = 20 * KEYS_PER_BATCH + 3
    found = await asyncio.gather(*(cache.get(b"%d" % (number % 10)) for number in range(count)))
    assert sum(stored is not None for stored in found) == count // 10
    assert cache.stats().batches == 21


async def test_get_many_keeps_the_order(cache: ValkeyCache) -> None:
    await cache.set(b"a", entry(b"1"))
    await cache.set(b"c", entry(b"3"))
    found = await cache.get_many([b"c", b"b", b"a", b"c"])
    assert [stored and stored.value for stored in found] == [b"3", None, b"1", b"3"]
    assert await cache.get_many([]) == []


async def test_delete(cache: ValkeyCache) -> None:
    await cache.set(b"a", entry())
    await cache.set(b"b", entry())
    assert await cache.delete(b"a", b"none") == 1
    assert await cache.delete() == 0
    assert await cache.get(b"a") is None
    assert await cache.get(b"b") is not None


async def test_delete_by_pattern_takes_what_matches_and_nothing_else(
    cache: ValkeyCache, server: ValkeyProcess
) -> None:
    keys = [b"venue\n%d" % number for number in range(1500)] + [b"vendor\n1", b"a*b", b"axb"]
    await asyncio.gather(*(cache.set(key, entry()) for key in keys))
    other = ValkeyCache(server.store(), namespace="site", schema="2")
    await other.set(b"venue\n1", entry())
    assert await cache.delete_pattern("a[*]b") == 1
    assert await cache.get(b"axb") is not None
    assert await cache.delete_pattern("venue\n*[!5]") == 1350
    assert await cache.delete_pattern("venue*") == 150
    assert await cache.get(b"vendor\n1") is not None
    assert await other.get(b"venue\n1") is not None
    await other.close()


async def test_touch_makes_it_fresh_from_now(cache: ValkeyCache, server: ValkeyProcess) -> None:
    stored = entry(stored_at=time.time() - 50)
    await cache.set(b"key", stored)
    assert await cache.touch(b"key", 600)
    found = await cache.get(b"key")
    assert found is not None
    assert found.lifetime_seconds == pytest.approx(650, abs=5)
    assert replace(found, lifetime_seconds=60.0) == stored
    assert 625_000 < server.client.pttl("site:l2:1:key") <= 630_000
    assert not await cache.touch(b"none", 600)


async def test_one_process_loads(cache: ValkeyCache, server: ValkeyProcess) -> None:
    other = ValkeyCache(server.store(), namespace="site", schema="1")
    mine = await cache.lock(b"key", as_of=POSITION, seconds=10)
    assert isinstance(mine, Lock)
    assert mine.is_shared
    assert await other.lock(b"key", as_of=POSITION + 1, seconds=10) == Held(POSITION)
    assert isinstance(await other.lock(b"other", as_of=0, seconds=10), Lock)
    assert await mine.release()
    assert isinstance(await other.lock(b"key", as_of=POSITION + 1, seconds=10), Lock)
    await other.close()


async def test_a_lock_that_lapsed_releases_nobody_else(
    cache: ValkeyCache, server: ValkeyProcess
) -> None:
    mine = await cache.lock(b"key", as_of=1, seconds=60)
    assert isinstance(mine, Lock)
    server.client.delete("site:fill:1:key")  # as when its time is over
    theirs = await cache.lock(b"key", as_of=2, seconds=60)
    assert isinstance(theirs, Lock)
    assert not await mine.release()
    assert await cache.lock(b"key", as_of=3, seconds=60) == Held(2)


async def test_a_lock_lapses(cache: ValkeyCache, server: ValkeyProcess) -> None:
    await cache.lock(b"key", as_of=1, seconds=7.5)
    assert 6_000 < server.client.pttl("site:fill:1:key") <= 7_500


@pytest.mark.parametrize("garbage", [b"", b"x", b"pw", b"pw\x01\x00" + bytes(60), bytes(5000)])
async def test_garbage_in_the_store_is_a_miss_and_counted(
    cache: ValkeyCache, server: ValkeyProcess, garbage: bytes
) -> None:
    server.client.set("site:l2:1:key", garbage)
    assert await cache.get(b"key") is None
    stats = cache.stats()
    assert (stats.garbage, stats.misses, stats.hits) == (1, 1, 0)
    assert stats.breaker is BreakerState.CLOSED
    await cache.set(b"key", entry())
    assert await cache.get(b"key") is not None


async def test_a_key_of_another_type_is_a_miss(cache: ValkeyCache, server: ValkeyProcess) -> None:
    server.client.lpush("site:l2:1:key", "x")
    await cache.set(b"good", entry())
    found = await cache.get_many([b"key", b"good"])
    assert [stored is not None for stored in found] == [False, True]
    assert not await cache.touch(b"key", 5)
    assert cache.stats().connections == 1


async def test_what_is_too_large_is_not_stored(cache: ValkeyCache) -> None:
    assert not await cache.set(b"key", entry(bytes(20 << 20)))
    assert cache.stats().unstorable == 1


async def test_a_cancelled_read_disturbs_no_other(cache: ValkeyCache) -> None:
    await cache.set(b"a", entry())
    first, second = (asyncio.create_task(cache.get(b"a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == await cache.get(b"a") != None  # noqa: E711
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_unix_socket_and_another_database(tmp_path: Path) -> None:
    socket = tmp_path / "valkey.sock"
    with ValkeyProcess(tmp_path / "data", "--unixsocket", str(socket)) as server:
        store = server.store(nodes=(f"unix:{socket}",), database=3)
        cache = ValkeyCache(store, namespace="site", schema="1")
        assert await cache.set(b"key", entry())
        assert await cache.get(b"key") is not None
        await cache.close()
        assert server.client.info("keyspace")["db3"]["keys"] == 1
