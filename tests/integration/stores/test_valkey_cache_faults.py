"""L2 when its server is dead, frozen, slow, full, or talks nonsense, and when it comes back.

That a call ends is the point, so each has a guard of `GUARD_SECONDS`: ten times the bound that it
promises, which no slowness of the machine explains away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from fakes.tcp_proxy import TcpProxy, running_proxy
from fakes.valkey_process import CACHE, ValkeyProcess, free_port
from poruwa.config.setting import Secret
from poruwa.stores.batching import KEYS_PER_BATCH
from poruwa.stores.breaker import BreakerState
from poruwa.stores.valkey_cache import Lock, Stored, ValkeyCache
from poruwa.stores.valkey_wire import Failure

TIMEOUT_SECONDS = 0.25
GUARD_SECONDS = 2.5


def entry(value: bytes = b"value") -> Stored:
    return Stored(value, (b"venues",), 7, time.time(), 600.0, 0.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "valkey", *CACHE) as server:
        yield server


@pytest.fixture
async def cache(server: ValkeyProcess) -> AsyncIterator[ValkeyCache]:
    cache = ValkeyCache(server.store(), namespace="site", schema="1")
    await cache.start()
    assert await cache.set(b"key", entry())
    yield cache
    await cache.close()


@pytest.fixture
async def proxy(server: ValkeyProcess) -> AsyncIterator[TcpProxy]:
    async with running_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind_proxy(server: ValkeyProcess, proxy: TcpProxy) -> AsyncIterator[ValkeyCache]:
    store = server.store(nodes=(f"127.0.0.1:{proxy.port}",))
    cache = ValkeyCache(store, namespace="site", schema="1")
    await cache.start()
    assert await cache.set(b"key", entry())
    yield cache
    await cache.close()


async def every_call_ends(cache: ValkeyCache) -> None:
    """Make every kind of call at once; none raises, none finds anything, all end."""
    async with asyncio.timeout(GUARD_SECONDS):
        answers = await asyncio.gather(
            cache.get(b"key"),
            cache.get_many([b"key", b"other"]),
            cache.set(b"key", entry()),
            cache.delete(b"key"),
            cache.delete_pattern("*"),
            cache.touch(b"key", 5),
            cache.lock(b"key", as_of=1, seconds=5),
            *(cache.get(b"%d" % number) for number in range(500)),
        )
    lock = answers[6]
    assert isinstance(lock, Lock)
    assert not lock.is_shared
    assert not await lock.release()
    assert [*answers[:6], *answers[7:]] == [None, [None, None], False, 0, 0, False] + [None] * 500


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def recovers(cache: ValkeyCache) -> None:
    async def works() -> bool:
        return await cache.set(b"again", entry()) and await cache.get(b"again") is not None

    await until(works)
    assert cache.stats().breaker is BreakerState.CLOSED


async def test_no_server_at_all(server: ValkeyProcess) -> None:
    store = server.store(nodes=(f"127.0.0.1:{free_port()}",))
    cache = ValkeyCache(store, namespace="site", schema="1")
    await cache.start()
    await every_call_ends(cache)
    assert cache.stats().breaker is not BreakerState.CLOSED
    assert cache.stats().opened == 1
    await cache.close()


async def test_killed_and_started_again(server: ValkeyProcess, cache: ValkeyCache) -> None:
    server.kill()
    await every_call_ends(cache)
    server.start()
    await recovers(cache)


async def test_a_restart_that_nobody_noticed_costs_nothing(
    server: ValkeyProcess, cache: ValkeyCache
) -> None:
    await asyncio.sleep(1.1)  # a connection lost right after its handshake counts as a failure
    server.client.execute_command("CLIENT", "KILL", "TYPE", "normal")
    assert await cache.get(b"key") is not None
    stats = cache.stats()
    assert (stats.opened, stats.connections) == (0, 2)


async def test_frozen_and_thawed(server: ValkeyProcess, cache: ValkeyCache) -> None:
    server.freeze()
    await every_call_ends(cache)
    stats = cache.stats()
    assert stats.failures[Failure.TIMED_OUT] > 0
    refused = stats.failures[Failure.REFUSED]
    await every_call_ends(cache)  # nobody waits any more
    assert cache.stats().failures[Failure.TIMED_OUT] == stats.failures[Failure.TIMED_OUT]
    assert cache.stats().failures[Failure.REFUSED] > refused
    server.thaw()
    await recovers(cache)


async def test_slower_than_the_time_out(proxy: TcpProxy, behind_proxy: ValkeyCache) -> None:
    proxy.delay_seconds = 2 * TIMEOUT_SECONDS
    await every_call_ends(behind_proxy)
    assert behind_proxy.stats().failures[Failure.TIMED_OUT] > 0
    proxy.delay_seconds = 0.0
    await recovers(behind_proxy)


async def test_slow_within_the_time_out_is_still_used(
    proxy: TcpProxy, behind_proxy: ValkeyCache
) -> None:
    proxy.delay_seconds = TIMEOUT_SECONDS / 5
    assert await behind_proxy.get(b"key") is not None
    assert behind_proxy.stats().opened == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$5\r\nhello\r\n",
        b"*1\r\n$5\r\nhello\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*-1\r\n",
        b"$999999999\r\n",
        b"-ERR what\r\n",
        b"-LOADING the data\r\n",
        b"\x00\xff" * 100,
    ],
)
async def test_garbage_for_answers(
    proxy: TcpProxy, behind_proxy: ValkeyCache, garbage: bytes
) -> None:
    proxy.garbage = garbage
    async with asyncio.timeout(2 * GUARD_SECONDS):
        for _ in range(3):
            assert await behind_proxy.get(b"key") is None
            assert await behind_proxy.get_many([b"key", b"other"]) == [None, None]
            await behind_proxy.touch(b"key", 5)
            await behind_proxy.delete(b"other")
            await behind_proxy.delete_pattern("other*")
            await behind_proxy.lock(b"key", as_of=1, seconds=5)
            await behind_proxy.set(b"other", entry())
    assert sum(behind_proxy.stats().failures.values()) > 0
    proxy.garbage = None
    await recovers(behind_proxy)


async def test_more_answers_than_questions(proxy: TcpProxy, behind_proxy: ValkeyCache) -> None:
    proxy.garbage = b"*1\r\n$-1\r\n" * 2
    assert await behind_proxy.get(b"key") is None
    proxy.garbage = None
    await recovers(behind_proxy)
    found = await asyncio.gather(*(behind_proxy.get(b"again") for _ in range(10)))
    assert all(stored is not None for stored in found)


async def test_a_nonsensical_answer_ends_all_that_is_under_way_once(
    proxy: TcpProxy, behind_proxy: ValkeyCache
) -> None:
    """The rest of what was read with it must not end the same batches again."""
    proxy.garbage = b"*1\r\n$5\r\nhello\r\n" * 5
    keys = [b"%d" % number for number in range(4 * KEYS_PER_BATCH)]
    assert await behind_proxy.get_many(keys) == [None] * len(keys)
    assert behind_proxy.stats().failures[Failure.GARBAGE] == len(keys)
    assert behind_proxy.stats().batches_under_way == 0
    proxy.garbage = None
    await recovers(behind_proxy)
    assert behind_proxy.stats().batches_under_way == 0


async def test_a_connection_that_always_ends_is_no_busy_loop(
    proxy: TcpProxy, behind_proxy: ValkeyCache
) -> None:
    proxy.cut_after = 2  # INFO and PING of the handshake, then the end
    proxy.cut()
    before = proxy.connections
    for _ in range(50):
        assert await behind_proxy.get(b"key") is None
        await asyncio.sleep(0.01)
    assert proxy.connections - before < 10
    proxy.cut_after = None
    await recovers(behind_proxy)


async def test_full(tmp_path: Path) -> None:
    options = ("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    with ValkeyProcess(tmp_path / "full", *options) as server:
        cache = ValkeyCache(server.store(), namespace="site", schema="1")
        assert await cache.set(b"key", entry())
        server.client.config_set("maxmemory", "1mb")
        assert not await cache.set(b"other", entry())
        assert await cache.get(b"key") is not None
        stats = cache.stats()
        assert stats.failures[Failure.FULL] == 1
        assert stats.breaker is BreakerState.CLOSED
        assert not await cache.set(b"other", entry())  # not asked again for a while
        assert cache.stats().failures[Failure.FULL] == 1
        lock = await cache.lock(b"key", as_of=1, seconds=5)
        assert isinstance(lock, Lock)
        assert not lock.is_shared
        server.client.config_set("maxmemory", "0")
        await recovers(cache)
        await cache.close()


async def test_a_wrong_password_is_a_dead_server(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "locked", password="right") as server:
        wrong = server.store(password=Secret("env:TEST", "wrong"))
        cache = ValkeyCache(wrong, namespace="site", schema="1")
        await cache.start()
        await every_call_ends(cache)
        server.client.config_set("requirepass", "wrong")
        await recovers(cache)
        await cache.close()


async def test_the_primary_moves(tmp_path: Path) -> None:
    with (
        ValkeyProcess(tmp_path / "one") as one,
        ValkeyProcess(tmp_path / "two", "--replicaof", f"127.0.0.1 {one.port}") as two,
    ):
        await until(lambda: _is_replicating(two))
        store = one.store(nodes=(two.address, one.address))
        cache = ValkeyCache(store, namespace="site", schema="1")
        assert await cache.set(b"key", entry())
        one.kill()
        await every_call_ends(cache)
        two.client.replicaof("NO", "ONE")
        await recovers(cache)
        await cache.close()


async def _is_replicating(server: ValkeyProcess) -> bool:
    return server.client.info("replication").get("master_link_status") == "up"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_this_process_was_paused_not_the_server(
    server: ValkeyProcess, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """uvloop runs timers that are due before it looks at the sockets; asyncio after it."""

    async def read_over_a_pause() -> None:
        cache = ValkeyCache(server.store(), namespace="site", schema="1")
        await cache.start()
        assert await cache.set(b"key", entry())
        reading = asyncio.gather(*(cache.get(b"key") for _ in range(20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(2 * TIMEOUT_SECONDS)  # noqa: ASYNC251 - as under SIGSTOP
        assert None not in await reading
        assert cache.stats().opened == 0
        await cache.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(read_over_a_pause())


async def test_closing_ends_what_waits(server: ValkeyProcess) -> None:
    cache = ValkeyCache(server.store(), namespace="site", schema="1")
    await cache.start()
    server.freeze()
    reading = asyncio.create_task(cache.get(b"key"))
    await asyncio.sleep(0.01)
    await cache.close()
    assert await reading is None
    assert await cache.get(b"key") is None
    server.thaw()
