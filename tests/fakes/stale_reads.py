"""One writer and many readers of caching layers, who look for what no reader may ever see."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from fakes.caching_layer import LayerProcess
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
