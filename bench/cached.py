"""A decorated function whose result is in memory: what a call costs, ours beside other caches.

Each cache decorates the same asynchronous function of one argument; 1,000 results are kept, and are
then asked for in turn. Nothing is loaded while time is taken. Ours is measured as it runs in a
request (tags go to the response, the request's position is compared), and outside of one.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import uvloop

from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pinning import choose_cores, pinned
from bench.report import Report, Table, Target
from bench.samples import Spread, rotated, spread
from bench.settings import Settings, say

Call = Callable[[int], Awaitable[dict[str, int]]]

KEYS = 1_000
MOST_MICROSECONDS = 1.0  # issue 5, Show 4
OURS = "Poruwa, in a request"
BARE = "async dict, no cache"
_TURNS = 20  # over all keys, of one measurement
_REPETITIONS = 9
_HOUR = 3600
_POLICY = """
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[classes.venue]
scope = "shared"
tags = ["venue:{venue_id}"]
lifetimes = { browser = "0s", gateway = "1h", memory = "1h" }
"""


_loads: list[int] = []


async def load(venue_id: int) -> dict[str, int]:
    """Return what is cached; every cache decorates this."""
    _loads.append(venue_id)
    return {"id": venue_id}


def run(settings: Settings) -> Report:
    """Measure all caches on one core.

    Raises:
        BenchError: a package is missing, or a cache does not answer from memory.
    """
    with pinned(choose_cores().proxy):
        times = uvloop.run(_measure())
    spreads = {name: spread(values) for name, values in times.items()}
    ours = spreads[OURS].low
    return Report(
        name="cached",
        title="A call answered from memory",
        method=(
            f"One asynchronous function, its results for {KEYS:,} arguments in memory, asked for "
            f"in turn and awaited. {_REPETITIONS} measurements each, caches taking turns; the "
            "lowest is the steadiest figure. Times are processor time of the thread. Ours checks "
            "changes, lease and age, counts the hit, and in a request adds three tags."
        ),
        tables=[_table(spreads)],
        targets=[
            Target(
                text=f"A decorated hit with tags and metrics takes at most {MOST_MICROSECONDS:g} "
                f"us: {ours:.2f}",
                met=ours <= MOST_MICROSECONDS,
            )
        ],
        samples={
            "microseconds": {name: found.as_dict() for name, found in spreads.items()},
            "samples": {name: [round(v, 3) for v in values] for name, values in times.items()},
        },
        draw=lambda path: _draw(spreads, path),
    )


async def _measure() -> dict[str, list[float]]:
    async with AsyncExitStack() as stack:
        calls = await _calls(stack)
        for name, call in calls.items():
            await _require_cached(name, call)
        gc.collect()
        gc.freeze()
        times: dict[str, list[float]] = {name: [] for name in calls}
        names = list(calls)
        for repetition in range(_REPETITIONS):
            for name in rotated(names, repetition):
                with_request = name == OURS
                times[name].append(await _microseconds(calls[name], in_request=with_request))
                await asyncio.sleep(0)
        gc.unfreeze()
    for name, values in times.items():
        say(f"  {name:<24} {min(values):6.2f} us at least, {max(values):6.2f} at most")
    return times


async def _microseconds(call: Call, *, in_request: bool) -> float:
    """Return the processor time of a hit."""
    from poruwa.app.tags import Collector, collected

    if in_request:
        collected.set(Collector())
    try:
        keys = list(range(KEYS))
        turns = _TURNS
        started = time.thread_time()
        for _ in range(turns):
            for key in keys:
                await call(key)
        return (time.thread_time() - started) / (turns * KEYS) * 1e6
    finally:
        collected.set(None)


async def _require_cached(name: str, call: Call) -> None:
    values = [await call(key) for key in range(KEYS)]
    loads = len(_loads)
    if [await call(key) for key in range(KEYS)] != values or len(_loads) != loads:
        raise BenchError(f"{name} does not answer from memory")


async def _calls(stack: AsyncExitStack) -> dict[str, Call]:
    """Return the function under each cache.

    Raises:
        BenchError: a package is missing.
    """
    try:
        import aiocache
        import cashews
        import fastapi_cache
        import theine
        from fastapi_cache.backends.inmemory import InMemoryBackend
        from fastapi_cache.decorator import cache as fastapi_cached
    except ImportError as error:
        raise BenchError(f"{error}; pip install aiocache cashews fastapi-cache2 theine") from error
    from poruwa.app.platform import Platform
    from poruwa.config.load import parse_policy

    known = {key: {"id": key} for key in range(KEYS)}

    async def bare(venue_id: int) -> dict[str, int]:
        return known[venue_id]

    platform = Platform(parse_policy(_POLICY, "bench"), environ={})
    await stack.enter_async_context(platform.running())
    tags = ("venue:{venue_id}", "venues", "build")
    ours: Call = platform.cached("venue", tags=tags)(load)
    memory = cashews.Cache()
    memory.setup("mem://", size=2 * KEYS)
    fastapi_cache.FastAPICache.init(InMemoryBackend())
    theirs = theine.Memoize(2 * KEYS, timedelta(hours=1))(load)
    return {
        BARE: bare,
        OURS: ours,
        "Poruwa, outside": ours,
        "theine": theirs,
        "aiocache": aiocache.cached(ttl=_HOUR)(load),
        "fastapi-cache2": fastapi_cached(expire=_HOUR)(load),
        "cashews": memory(ttl=_HOUR)(load),
    }


def _table(spreads: Mapping[str, Spread]) -> Table:
    ours = spreads[OURS].low
    return Table(
        title="Microseconds per hit",
        header=("cache", "lowest", "median", "highest", "times ours"),
        rows=[
            [name, f"{found.low:.2f}", f"{found.median:.2f}", f"{found.high:.2f}",
             f"{found.low / ours:.1f}"]
            for name, found in spreads.items()
        ],
    )  # fmt: skip


def _draw(spreads: Mapping[str, Spread], path: Path) -> None:
    figure = new_figure(1, 1, title="A call answered from memory", width=8, height=3)
    values = [(found.low, found.low, found.low) for found in spreads.values()]
    names = [name.replace(", ", ",\n") for name in spreads]
    draw_bars(
        figure.axes[0], names, {"hit": values},
        title="lowest of nine measurements", unit="microseconds", form="{:.2f}",
    )  # fmt: skip
    save_figure(figure, path)
