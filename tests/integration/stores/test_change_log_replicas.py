"""A primary with a replica as the bus: promotion, an old primary that comes back, two at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from fakes.caching_layer import LayerProcess, coherence_of, store_of
from fakes.stale_reads import LEASE, PATIENCE, Check
from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.errors import BusUnavailable
from poruwa.rules.change import Change
from poruwa.rules.position import epoch_of
from poruwa.stores.change_log import ChangeLog

AT_ONCE = ("--repl-diskless-sync-delay", "0")


@pytest.fixture(params=[False, True], ids=["valkey", "redis"])
def pair(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[ValkeyProcess, ValkeyProcess]]:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(
            ValkeyProcess(tmp_path / "primary", *BUS, *AT_ONCE, redis=request.param)
        )
        replica = stack.enter_context(
            ValkeyProcess(tmp_path / "replica", *BUS, *AT_ONCE, redis=request.param)
        )
        with replica.client as client:
            client.replicaof("127.0.0.1", primary.port)
            while client.info("replication")["master_link_status"] != "up":
                time.sleep(0.02)
        yield primary, replica


@contextlib.asynccontextmanager
async def running(*servers: ValkeyProcess, layer: str = "app/1") -> AsyncIterator[ChangeLog]:
    log = ChangeLog(store_of([each.address for each in servers]), coherence_of(LEASE), layer=layer)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.01)


def promote(server: ValkeyProcess) -> None:
    with server.client as client:
        client.replicaof("NO", "ONE")


def demote(server: ValkeyProcess, to: ValkeyProcess) -> None:
    with server.client as client:
        client.replicaof("127.0.0.1", to.port)


async def test_a_promoted_replica_begins_an_epoch(
    pair: tuple[ValkeyProcess, ValkeyProcess],
) -> None:
    primary, replica = pair
    async with running(primary, replica) as log:
        await until(log.is_sure)
        before = (await log.publish(Change(tags=(b"x",)))).position
        primary.kill()
        promote(replica)
        await until(lambda: epoch_of(log.position) > epoch_of(before) and log.is_sure())
        answer = await log.publish(Change(tags=(b"y",)))
        assert answer.is_complete
        assert answer.position > before
        assert log.changes.since((), before)
        # The old primary comes back as one; its epoch is over, so nobody minds it.
        await asyncio.to_thread(primary.start)
        later = await log.publish(Change(tags=(b"z",)))
        assert epoch_of(later.position) == epoch_of(answer.position)
        await until(log.is_sure)
        with replica.client as client:
            assert client.xlen("{poruwa}:log") == 5  # two epochs of one, and three changes


async def test_of_two_primaries_none_is_used_until_one_is_demoted(
    pair: tuple[ValkeyProcess, ValkeyProcess],
) -> None:
    primary, replica = pair
    async with running(primary, replica) as log:
        await until(log.is_sure)
        promote(replica)
        await until(lambda: not log.is_sure())
        with pytest.raises(BusUnavailable, match="both say primary"):
            await log.append(Change(tags=(b"x",)))
        demote(primary, replica)
        await until(log.is_sure)
        assert (await log.publish(Change(tags=(b"x",)))).is_complete


async def test_a_dead_replica_does_no_harm(pair: tuple[ValkeyProcess, ValkeyProcess]) -> None:
    primary, replica = pair
    async with running(primary, replica) as log:
        await until(log.is_sure)
        replica.freeze()
        for _ in range(20):
            assert (await log.publish(Change(tags=(b"x",)))).is_complete
        replica.thaw()
        replica.kill()
        for _ in range(20):
            assert (await log.publish(Change(tags=(b"x",)))).is_complete
        await until(log.is_sure)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False], indirect=True, ids=["valkey"])
async def test_nothing_sure_is_stale_over_promotions(
    pair: tuple[ValkeyProcess, ValkeyProcess], tmp_path: Path
) -> None:
    (tmp_path / "database").write_text("0")
    nodes = [each.address for each in pair]
    primary, replica = pair
    with contextlib.ExitStack() as stack:
        layers = [
            stack.enter_context(LayerProcess(f"layer/{n}", nodes, LEASE, tmp_path / "database"))
            for n in range(3)
        ]
        log = ChangeLog(store_of(nodes), coherence_of(LEASE), layer="w", is_cache=False)
        await log.start()
        try:
            check = Check(tmp_path, layers, log)
            async with check.running():
                await check.until_sure_again()
                # The primary dies.
                await asyncio.to_thread(primary.kill)
                promote(replica)
                await check.until_sure_again()
                # It comes back as a primary of old, then follows, then is promoted in good order.
                await asyncio.to_thread(primary.start)
                await asyncio.sleep(LEASE)
                demote(primary, replica)
                await until(
                    lambda: primary.client.info("replication")["master_link_status"] == "up"
                )
                promote(primary)
                demote(replica, primary)
                await check.until_sure_again()
                # Both at once for a while, one layer frozen meanwhile.
                await until(
                    lambda: replica.client.info("replication")["master_link_status"] == "up"
                )
                layers[1].send(signal.SIGSTOP)
                promote(replica)
                await asyncio.sleep(LEASE)
                layers[1].send(signal.SIGCONT)
                await asyncio.sleep(LEASE)
                await asyncio.to_thread(primary.kill)
                await check.until_sure_again()
        finally:
            await log.close()
    assert check.stale == []
