"""Nothing that is sure of itself answers older than an acknowledged change, whatever fails.

Real processes as layers, a real server, and faults: what a reader gets from a layer's cache, when
it asked after the acknowledgement, is the acknowledged version or a later one, or the layer says
that it is not sure. No exceptions and no allowance of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from fakes.caching_layer import LayerProcess, coherence_of, store_of
from fakes.dark_proxy import DarkProxy
from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.errors import BusUnavailable
from poruwa.rules.change import Change
from poruwa.stores.change_log import ChangeLog

LEASE = 0.3
PATIENCE = 30.0


class Check:
    """One writer, and readers of every layer, all the while.

    Attributes:
        acknowledged: the last version that was; nothing older may be read from now on.
        stale: what was read against the rule; empty unless it is broken.
        sure_reads: by layer.
        refused: writes that the bus did not take.
    """

    def __init__(self, folder: Path, layers: Sequence[LayerProcess], log: ChangeLog) -> None:
        self.database = folder / "database"
        self.layers = list(layers)
        self.log = log
        self.version = 0
        self.acknowledged = 0
        self.stale: list[str] = []
        self.sure_reads: dict[str, int] = {}
        self.refused = 0
        self.writes = 0

    async def write(self) -> None:
        self.version += 1
        new = self.database.with_suffix(".new")
        new.write_text(str(self.version))
        os.replace(new, self.database)
        version = self.version
        try:
            answer = await self.log.publish(Change(tags=(b"value",)))
        except BusUnavailable:
            self.refused += 1
            return
        assert answer.is_complete
        self.acknowledged = version
        self.writes += 1

    async def read(self, layer: LayerProcess) -> None:
        least = self.acknowledged
        try:
            answer = await layer.ask()
        except OSError:
            return
        if not answer["sure"]:
            return
        self.sure_reads[layer.name] = self.sure_reads.get(layer.name, 0) + 1
        if answer["version"] < least:
            self.stale.append(f"{layer.name}: {answer} after {least} was acknowledged")

    async def _write_on(self) -> None:
        while True:
            await self.write()
            await asyncio.sleep(0.005)

    async def _read_on(self, layer: LayerProcess) -> None:
        while True:
            await self.read(layer)
            await asyncio.sleep(0.003)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._write_on())]
        # Several readers of a layer: while it is frozen some have asked before, some after.
        tasks += [asyncio.create_task(self._read_on(each)) for each in self.layers for _ in "abc"]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [each for each in results if not isinstance(each, asyncio.CancelledError)]
        assert not failures, failures

    async def until_sure_again(self) -> None:
        """Wait until each layer that lives answers while sure, and a write is acknowledged."""
        before, writes = dict(self.sure_reads), self.writes
        async with asyncio.timeout(PATIENCE):
            while self.writes <= writes + 5 or not self._all_sure_since(before):
                await asyncio.sleep(0.02)

    def _all_sure_since(self, before: dict[str, int]) -> bool:
        return all(
            self.sure_reads.get(each.name, 0) > before.get(each.name, 0) + 5
            for each in self.layers
            if each.process.poll() is None
        )


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
