"""A small site on the cache manager: a database that counts and can be slow, over real stores.

Several ``Platform`` objects in one process are as many layers as far as stores and positions go;
``tests/fakes/cache_caller.py`` is a process of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import poruwa
from fakes.valkey_process import ValkeyProcess
from poruwa.app.platform import Platform
from poruwa.config.load import parse_policy

POLICY = """
[site]
name = "cached"
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[stores.cache]
mode = "embedded"
[stores.bus]
mode = "embedded"
[classes.venue]
scope = "shared"
tags = ["venue:{venue_id}"]
lifetimes = { browser = "0s", gateway = "1h", memory = "1min", application = "1h" }
stale_while_revalidate = "10min"
stale_if_error = "1d"
[classes.short]
scope = "shared"
tags = ["venues"]
lifetimes = { browser = "0s", gateway = "1h", memory = "0.05s", application = "0.1s" }
stale_while_revalidate = "10s"
stale_if_error = "1d"
[classes.local] # not in L2
scope = "shared"
tags = ["venues"]
lifetimes = { browser = "0s", gateway = "1h", memory = "0.05s" }
stale_if_error = "1d"
[classes.shared] # not in L1
scope = "shared"
tags = ["venues"]
lifetimes = { browser = "0s", gateway = "1h", application = "1h" }
[classes.eager]
scope = "shared"
tags = ["venues"]
strategy = "write-through"
lifetimes = { browser = "0s", gateway = "1h", memory = "1min", application = "1h" }
[classes.guess]
scope = "shared"
tags = ["venues"]
unsure = "serve"
lifetimes = { browser = "0s", gateway = "1h", memory = "1min", application = "1h" }
[classes.plain] # nothing of it changes
scope = "shared"
lifetimes = { browser = "1min", gateway = "1min", memory = "1min", application = "1min" }
[classes.ahead]
scope = "shared"
lifetimes = { browser = "1min", gateway = "1min", memory = "1min" }
[classes.user]
scope = "private"
lifetimes = { browser = "0s", application = "1h" }
"""


class Mood(StrEnum):
    CALM = "calm"
    LOUD = "loud"


@dataclass(frozen=True, slots=True)
class Venue:
    id: int
    version: int
    moods: tuple[Mood, ...] = (Mood.CALM,)


class Database:
    """What all processes read: versions of venues.

    Attributes:
        loads: how many began.
        seconds: how long a load takes.
        failure: what loads raise.
        gate: loads that have read wait for it before they return.
    """

    def __init__(self) -> None:
        self.versions: dict[int, int] = {1: 1, 2: 1}
        self.loads = 0
        self.seconds = 0.0
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.has_read = asyncio.Event()

    async def venue(self, venue_id: int) -> Venue | None:
        self.loads += 1
        if self.failure is not None:
            raise self.failure
        version = self.versions.get(venue_id)
        self.has_read.set()
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.seconds)
        return None if version is None else Venue(venue_id, version, (Mood.CALM, Mood.LOUD))


class Site:
    """One app process: a platform and its loaders, one of each class."""

    def __init__(self, database: Database, environ: dict[str, str], policy: str = POLICY) -> None:
        self.database = database
        self.platform = platform = Platform(parse_policy(policy, "site.toml"), environ=environ)

        @platform.cached("venue", tags=("venue:{venue_id}",))
        async def venue(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("short", tags=("venue:{venue_id}",))
        async def short(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("local", tags=("venue:{venue_id}",))
        async def local(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("shared", tags=("venue:{venue_id}",))
        async def shared(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("eager", tags=("venue:{venue_id}",))
        async def eager(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("guess", tags=("venue:{venue_id}",))
        async def guess(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("plain")
        async def plain(venue_id: int) -> Venue | None:
            return await database.venue(venue_id)

        @platform.cached("venue")  # names its tags only while it loads
        async def listing(last: int) -> tuple[Venue, ...]:
            poruwa.tag("venues")
            found = [await venue(venue_id) for venue_id in range(1, last + 1)]
            return tuple(each for each in found if each is not None)

        @platform.cached("venue")
        async def tagging(venue_id: int) -> Venue | None:
            poruwa.tag(f"venue:{venue_id}")
            return await database.venue(venue_id)

        self.venue, self.short, self.local, self.shared = venue, short, local, shared
        self.eager, self.guess, self.plain = eager, guess, plain
        self.listing, self.tagging = listing, tagging

    def is_sure(self) -> bool:
        return bool(self.platform.stats()["is_sure"])

    async def change(self, venue_id: int, *tags: str) -> None:
        """Write a new version, and return once every layer knows."""
        self.database.versions[venue_id] = self.database.versions.get(venue_id, 0) + 1
        acknowledgement = await self.platform.invalidate(f"venue:{venue_id}", *tags)
        assert acknowledgement.is_complete


@asynccontextmanager
async def running_sites(
    cache: ValkeyProcess, bus: ValkeyProcess
) -> AsyncIterator[tuple[Site, Site]]:
    """Run two sites with one database on the stores; both are sure when the block begins."""
    environ = {"PORUWA_CACHE_URL": cache.url, "PORUWA_BUS_URL": bus.url}
    database = Database()
    pair = Site(database, environ), Site(database, environ)
    async with AsyncExitStack() as stack:
        for site in pair:
            await stack.enter_async_context(site.platform.running())
        for site in pair:
            await until(site.is_sure)
        yield pair


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition()`` holds, or what it returns to be awaited."""
    async with asyncio.timeout(10):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)


async def shows(call: Awaitable[Venue | None], version: int) -> bool:
    found = await call
    return found is not None and found.version == version


def counts(site: Site, data_class: str) -> dict[str, object]:
    found: dict[str, object] = site.platform.stats()["classes"][data_class]
    return found
