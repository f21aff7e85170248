"""What tests of writes share: this process's ends of the real database and the real bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from poruwa.app.writes import Writes
from poruwa.config.model import Coherence, Database, ValkeyStore, WatchedCollection
from poruwa.rules.change import Change
from poruwa.stores.change_log import ChangeLog

WATCHED = (WatchedCollection(name="venues", tags=("venue:{_id}", "venues", "town:{town}")),)
WAIT_SECONDS = 20.0  # for what comes at last: a failure, not a measure


@dataclass
class Listener:
    """A process that caches: all changes that reached it, with their positions."""

    changes: list[tuple[int, Change]] = field(default_factory=list)
    all_changed: list[int] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def on_change(self, position: int, change: Change) -> None:
        self.changes.append((position, change))
        self.news.set()

    def on_all_changed(self, position: int) -> None:
        self.all_changed.append(position)
        self.news.set()

    def by(self, source: str) -> list[Change]:
        return [change for _, change in self.changes if change.source == source]

    def tags(self, source: str) -> list[set[bytes]]:
        return [set(change.tags) for change in self.by(source)]

    def forget(self) -> None:
        self.changes.clear()
        self.all_changed.clear()

    async def until(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> float:
        """Wait until ``condition`` holds; return for how long."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while not condition():
                self.news.clear()
                await self.news.wait()
        return time.monotonic() - began


async def until(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_log(
    bus: ValkeyStore, name: str, listener: Listener | None = None, *, namespace: str = "t"
) -> AsyncIterator[ChangeLog]:
    """Join the log as a layer that caches."""
    listener = listener or Listener()
    log = ChangeLog(
        bus,
        Coherence(namespace=namespace),
        layer=name,
        on_change=listener.on_change,
        on_all_changed=listener.on_all_changed,
    )
    await log.start()
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def open_database(url: str, name: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        url, serverSelectionTimeoutMS=2000, socketTimeoutMS=5000, connectTimeoutMS=2000
    )
    try:
        yield client[name]
    finally:
        await client.close()


@asynccontextmanager
async def open_writes(
    log: ChangeLog,
    database: AsyncDatabase[dict[str, Any]],
    *,
    bus: ValkeyStore | None = None,
    watch: Sequence[WatchedCollection] = WATCHED,
    namespace: str = "t",
    starts: bool = True,
    **settings: Any,
) -> AsyncIterator[Writes]:
    """Open the writes of a process; with a bus they watch, too."""
    writes = Writes(
        log,
        database,
        settings=Database(watch=tuple(watch), **settings),
        coherence=Coherence(namespace=namespace),
        bus=bus,
    )
    if starts:
        await writes.start()
    try:
        yield writes
    finally:
        await writes.close()
