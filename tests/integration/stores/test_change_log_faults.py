"""Nothing that is sure of itself answers older than an acknowledged change, whatever fails.

Real processes as layers, a real server, and faults: what a reader gets from a layer's cache, when
it asked after the acknowledgement, is the acknowledged version or a later one, or the layer says
that it is not sure. No exceptions and no allowance of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.caching_layer import LayerProcess, coherence_of, store_of
from fakes.dark_proxy import DarkProxy
from fakes.stale_reads import LEASE, Check
from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.stores.change_log import ChangeLog


class Bench:
    """What faults act on."""

    def __init__(self, server: ValkeyProcess, proxy: DarkProxy, check: Check) -> None:
        self.server = server
        self.proxy = proxy  # between the server and the first layer
        self.check = check
        self.layers = check.layers


async def freeze_a_layer(bench: Bench) -> None:
    for seconds in (LEASE / 2, 2 * LEASE, 4 * LEASE):
        bench.layers[1].send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        bench.layers[1].send(signal.SIGCONT)
        await asyncio.sleep(LEASE)


async def kill_a_layer(bench: Bench) -> None:
    bench.layers[1].process.kill()
    await asyncio.sleep(3 * LEASE)


async def freeze_the_server(bench: Bench) -> None:
    for seconds in (LEASE / 2, 3 * LEASE):
        bench.server.freeze()
        await asyncio.sleep(seconds)
        bench.server.thaw()
        await asyncio.sleep(LEASE)


async def restart_the_server(bench: Bench) -> None:
    for _ in range(3):
        await asyncio.to_thread(bench.server.restart)
        await asyncio.sleep(LEASE / 3)


async def lose_the_data(bench: Bench) -> None:
    for _ in range(3):
        await asyncio.to_thread(bench.server.restart, keep=False)
        await asyncio.sleep(LEASE / 3)


async def kill_the_server_for_long(bench: Bench) -> None:
    bench.server.kill()
    await asyncio.sleep(3 * LEASE)
    bench.server.start()


async def flush_everything(bench: Bench) -> None:
    with bench.server.client as client:
        for _ in range(5):
            client.flushall()
            await asyncio.sleep(LEASE / 4)


async def delete_the_log(bench: Bench) -> None:
    with bench.server.client as client:
        for _ in range(5):
            client.delete("{poruwa}:log")
            await asyncio.sleep(LEASE / 4)


async def lose_wake_ups(bench: Bench) -> None:
    with bench.server.client as client:
        for _ in range(10):
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(LEASE / 5)


async def lose_connections(bench: Bench) -> None:
    with bench.server.client as client:
        for _ in range(10):
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(LEASE / 5)


async def cut_a_layer_off(bench: Bench) -> None:
    for seconds in (LEASE / 2, 3 * LEASE):
        bench.proxy.is_dark = True
        await asyncio.sleep(seconds)
        bench.proxy.is_dark = False
        await asyncio.sleep(LEASE)


async def cut_a_layer_off_that_hears_late(bench: Bench) -> None:
    # Its lease runs from when it asked, not from when it heard.
    bench.proxy.answer_delay_seconds = LEASE / 2
    for _ in range(4):
        await asyncio.sleep(2 * LEASE)
        bench.proxy.is_dark = True
        await asyncio.sleep(LEASE / 2)
        bench.proxy.is_dark = False
        await asyncio.sleep(LEASE)
    bench.proxy.answer_delay_seconds = 0


async def freeze_a_layer_over_a_restart(bench: Bench) -> None:
    bench.layers[1].send(signal.SIGSTOP)
    await asyncio.to_thread(bench.server.restart)
    await asyncio.sleep(LEASE)
    bench.layers[1].send(signal.SIGCONT)


async def cut_off_over_lost_data(bench: Bench) -> None:
    bench.proxy.is_dark = True
    await asyncio.to_thread(bench.server.restart, keep=False)
    await asyncio.sleep(LEASE / 4)
    bench.proxy.is_dark = False


FAULTS: list[Callable[[Bench], Awaitable[None]]] = [
    freeze_a_layer,
    kill_a_layer,
    freeze_the_server,
    restart_the_server,
    lose_the_data,
    kill_the_server_for_long,
    flush_everything,
    delete_the_log,
    lose_wake_ups,
    lose_connections,
    cut_a_layer_off,
    cut_a_layer_off_that_hears_late,
    freeze_a_layer_over_a_restart,
    cut_off_over_lost_data,
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_sure_is_older_than_what_was_acknowledged(
    fault: Callable[[Bench], Awaitable[None]], tmp_path: Path
) -> None:
    (tmp_path / "database").write_text("0")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ValkeyProcess(tmp_path / "bus", *BUS))
        proxy = stack.enter_context(DarkProxy(server.port))
        layers = [
            stack.enter_context(
                LayerProcess(f"layer/{index}", [address], LEASE, tmp_path / "database")
            )
            for index, address in enumerate((proxy.address, server.address, server.address))
        ]
        log = ChangeLog(store_of([server.address]), coherence_of(LEASE), layer="w", is_cache=False)
        await log.start()
        try:
            check = Check(tmp_path, layers, log)
            async with check.running():
                await check.until_sure_again()
                await fault(Bench(server, proxy, check))
                await check.until_sure_again()
        finally:
            await log.close()
    assert check.stale == []
    assert check.writes > 10
