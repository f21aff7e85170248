"""``stores.asset_store`` on a real server: what stays, what goes, and what is put right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.config.setting import Secret
from poruwa.stores.asset_store import AssetStore
from poruwa.stores.valkey_wire import Failure

FILES = "{test}:assets"
KEPT = "{test}:assets:kept"
MONTH_MS = 30 * 86_400_000


@pytest.fixture(scope="module", params=[False, True], ids=["valkey", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS, redis=request.param) as server:
        yield server


@pytest.fixture
async def store(server: ValkeyProcess) -> AsyncIterator[AssetStore]:
    server.client.flushall()
    store = AssetStore(server.store(), "test", most_bytes=100)
    yield store
    await store.close()


async def test_only_what_is_not_there_is_sent(store: AssetStore) -> None:
    assert await store.keep({b"a": b"1" * 10, b"b": b"\x00\xff"}) == 2
    assert await store.keep({b"a": b"1" * 10, b"c": b"3"}) == 1
    assert [await store.get(name) for name in (b"a", b"b", b"c", b"d")] == [
        b"1" * 10, b"\x00\xff", b"3", None,
    ]  # fmt: skip


async def test_what_was_exchanged_is_put_right(server: ValkeyProcess, store: AssetStore) -> None:
    await store.keep({b"a": b"right"})
    server.client.hset(FILES, "a", "wrong")
    assert await store.keep({b"a": b"right"}) == 1
    assert await store.get(b"a") == b"right"


async def test_a_file_goes_a_month_after_it_was_last_kept(
    server: ValkeyProcess, store: AssetStore
) -> None:
    await store.keep({b"old": b"1", b"used": b"2"})
    assert 0 < server.client.pttl(FILES) <= MONTH_MS
    assert 0 < server.client.pttl(KEPT) <= MONTH_MS
    month_ago = time.time() * 1000 - MONTH_MS
    server.client.zadd(KEPT, {"old": month_ago - 1000, "used": month_ago + 60_000})
    await store.keep({b"used": b"2"})
    assert server.client.hkeys(FILES) == server.client.zrange(KEPT, 0, -1) == [b"used"]
    assert server.client.zscore(KEPT, "used") > time.time() * 1000 - 60_000


async def test_beyond_the_bound_go_those_kept_longest_ago(
    server: ValkeyProcess, store: AssetStore
) -> None:
    for name in (b"a", b"b", b"c"):
        await store.keep({name: b"x" * 30})
        await asyncio.sleep(0.002)  # their times differ, in ms
    await store.keep({b"a": b"x" * 30})
    await asyncio.sleep(0.002)
    await store.keep({b"d": b"x" * 60})
    assert set(server.client.hkeys(FILES)) == {b"a", b"d"}
    assert set(server.client.zrange(KEPT, 0, -1)) == {b"a", b"d"}
    await store.keep({b"huge": b"x" * 200})
    assert server.client.hkeys(FILES) == [b"huge"]


async def test_dead_frozen_and_of_another_form_is_a_failure_in_time(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, *BUS) as server:
        store = AssetStore(server.store(), "test")
        try:
            assert await store.keep({b"a": b"1"}) == 1
            server.freeze()
            async with asyncio.timeout(5):
                assert await store.get(b"a") is Failure.TIMED_OUT
                assert await store.get(b"a") is Failure.REFUSED
                assert isinstance(await store.keep({b"a": b"1"}), Failure)
            server.kill()
            async with asyncio.timeout(5):
                assert isinstance(await store.get(b"a"), Failure)
            server.start()
            async with asyncio.timeout(10):
                while isinstance(await store.get(b"a"), Failure):
                    await asyncio.sleep(0.02)
            assert await store.get(b"a") == b"1"
            server.client.delete(FILES)
            server.client.set(FILES, "a text")
            assert await store.get(b"a") is Failure.ERROR
            assert await store.keep({b"a": b"1"}) is Failure.ERROR
        finally:
            await store.close()


async def test_an_acl_user_needs_what_is_documented(server: ValkeyProcess) -> None:
    """What ``stores.change_scripts`` and ``stores.asset_store`` list, and no more."""
    rights = (
        "+info +time +hget +hset +hdel +ping +eval +hstrlen +pexpire +zadd +zrange +zrangebyscore "
        "+zrem"
    )
    client = server.client
    client.execute_command("ACL", "SETUSER", "site", "on", ">secret", "~{test}:*", *rights.split())
    client.flushall()
    section = server.store(username="site", password=Secret("env:TEST", "secret"))
    store = AssetStore(section, "test", most_bytes=10)
    try:
        for name in (b"a", b"b"):
            assert await store.keep({name: b"x" * 8}) == 1
        assert (await store.get(b"a"), await store.get(b"b")) == (None, b"x" * 8)
    finally:
        await store.close()
