"""What connections cost that do nothing: memory of idle ones, and of others' latency by slow ones.

Memory is the resident size of the process that serves clients, read from proc(5); what the kernel
holds for the sockets is the same for every proxy and not in it. Each proxy is started anew, warmed,
and read (a) with no connection, (b) with all of them open and silent since, (c) after one request
on each.

Slow clients send a byte of a header every few seconds and are replaced when the server gives up on
them; another client's p99 is measured before, during and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import procfs
from bench.charts import draw_bars, new_figure, save_figure
from bench.clients import IdleClients, SlowClients, affordable_connections
from bench.errors import BenchError
from bench.origin import SMALL_PATH, running_origin
from bench.pinning import Cores, choose_cores
from bench.proxies import NAMES, OURS, Plan, Proxy, require_programs, running_proxy
from bench.report import Report, Table, Target
from bench.samples import Spread, spread
from bench.settings import Settings, say
from bench.wrk import Load, Sample, run_wrk

IDLE_CONNECTIONS = 10_000  # issue 2, Show 4
SLOW_CONNECTIONS = 2_000
MOST_P99_RATIO = 2.0
OTHER_CONNECTIONS = 32  # of the client whose latency is looked at
BYTE_EVERY_SECONDS = 3.0
HEADER_SECONDS = 10.0  # what every proxy allows a header; see proxies.py
_SETTLE_SECONDS = 1.0  # a few of our sweeps, which free what is over
_MEMORY_CLIENT = Load(connections=32, seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident bytes of one proxy's worker."""

    proxy: str
    connections: int
    without: int
    silent: int
    after_a_request: int
    still_open: int

    def per_connection(self, resident: int) -> float:
        return (resident - self.without) / self.connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Samples of another client, without and with slow ones beside it."""

    proxy: str
    without: Sequence[Sample]
    beside: Sequence[Sample]
    held: int
    replaced: int

    @property
    def p99_without(self) -> Spread:
        return spread([sample.p99_ms for sample in self.without])

    @property
    def p99_beside(self) -> Spread:
        return spread([sample.p99_ms for sample in self.beside])

    @property
    def ratio(self) -> float:
        return self.p99_beside.median / self.p99_without.median

    def as_dict(self) -> dict[str, Any]:
        return {
            "proxy": self.proxy,
            "ratio": round(self.ratio, 3),
            "held": self.held,
            "replaced": self.replaced,
            "without": [sample.as_dict() for sample in self.without],
            "beside": [sample.as_dict() for sample in self.beside],
        }


def run(settings: Settings) -> Report:
    """Measure memory and latency of every proxy, one after another.

    Raises:
        BenchError: a program is missing, or a proxy loses connections.
    """
    require_programs()
    cores = choose_cores()
    count = affordable_connections(IDLE_CONNECTIONS)
    memories, latencies = [], []
    with running_origin(settings.work, core=cores.load) as origin:
        plan = Plan(
            upstreams=origin.upstreams, cores=cores, work=settings.work,
            access_log=settings.access_log,
        )  # fmt: skip
        for name in NAMES:
            with running_proxy(name, plan) as proxy:
                memories.append(_measure_memory(proxy, count, cores))
            with running_proxy(name, plan) as proxy:
                latencies.append(_measure_latency(proxy, cores, settings))
    return _report(memories, latencies, settings)


def _measure_memory(proxy: Proxy, count: int, cores: Cores) -> Memory:
    run_wrk(proxy.url(SMALL_PATH), _MEMORY_CLIENT, core=cores.load)
    time.sleep(_SETTLE_SECONDS)
    pid = proxy.worker_pid()
    read: Callable[[], int] = lambda: procfs.resident_bytes(pid)  # noqa: E731
    without = read()
    with IdleClients(proxy.port) as clients:
        clients.open(count, accepted=lambda: procfs.descriptor_count(pid))
        silent = read()
        clients.request_once()
        time.sleep(_SETTLE_SECONDS)
        after = read()
        still_open = clients.open_count()
    proxy.server.require_alive()
    memory = Memory(
        proxy=proxy.name,
        connections=count,
        without=without,
        silent=silent,
        after_a_request=after,
        still_open=still_open,
    )
    say(
        f"  {proxy.name:<8} {without / 2**20:6.1f} MiB, with {count:,} connections "
        f"{after / 2**20:6.1f} MiB: {memory.per_connection(after) / 1024:.2f} KiB each"
    )
    return memory


def _measure_latency(proxy: Proxy, cores: Cores, settings: Settings) -> Latency:
    load = Load(connections=OTHER_CONNECTIONS, seconds=settings.seconds)
    url = proxy.url(SMALL_PATH)
    run_wrk(url, Load(connections=OTHER_CONNECTIONS, seconds=1), core=cores.load)
    half = (settings.rounds + 1) // 2
    without = [run_wrk(url, load, core=cores.load) for _ in range(half)]
    with SlowClients(
        proxy.port, SLOW_CONNECTIONS, core=cores.load, every_seconds=BYTE_EVERY_SECONDS,
        spread_seconds=HEADER_SECONDS,
    ) as slow:  # fmt: skip
        _wait_for(slow, SLOW_CONNECTIONS)
        beside, held = [], SLOW_CONNECTIONS
        for _ in range(settings.rounds):
            beside.append(run_wrk(url, load, core=cores.load))
            held = min(held, slow.held())
        replaced = slow.replaced
    time.sleep(_SETTLE_SECONDS)
    without += [run_wrk(url, load, core=cores.load) for _ in range(half)]
    proxy.server.require_alive()
    latency = Latency(
        proxy=proxy.name, without=without, beside=beside, held=held, replaced=replaced
    )
    say(
        f"  {proxy.name:<8} p99 {latency.p99_without.median:.2f} ms, beside {held:,} slow clients "
        f"{latency.p99_beside.median:.2f} ms: {latency.ratio:.2f} times; {replaced:,} replaced"
    )
    return latency


def _wait_for(slow: SlowClients, count: int) -> None:
    deadline = time.monotonic() + 2 * HEADER_SECONDS
    while slow.held() < count:
        if time.monotonic() > deadline:
            raise BenchError(f"Only {slow.held()} of {count} slow connections could be opened.")
        time.sleep(0.05)


def _report(memories: Sequence[Memory], latencies: Sequence[Latency], settings: Settings) -> Report:
    (ours,) = (latency for latency in latencies if latency.proxy == OURS)
    return Report(
        name="connections",
        title="Connections that wait: memory and patience",
        method=(
            f"Memory: resident size of the serving process, started anew, warmed by a second of "
            f"requests, then with connections that were only opened, then after one request on "
            f"each. Latency: {OTHER_CONNECTIONS} connections asking for 200 B as fast as they are "
            f"answered, {settings.seconds} s a sample, before, beside and after "
            f"{SLOW_CONNECTIONS:,} connections that send a byte of a header every "
            f"{BYTE_EVERY_SECONDS:g} s; every proxy gives a header {HEADER_SECONDS:g} s, and a "
            f"connection it closes is opened again. Medians."
        ),
        tables=[_memory_table(memories), _latency_table(latencies)],
        targets=[
            Target(
                text=(
                    f"others' p99 beside {SLOW_CONNECTIONS:,} slow connections less than "
                    f"{MOST_P99_RATIO:g} times what it is without; it is {ours.ratio:.2f} times"
                ),
                met=ours.ratio < MOST_P99_RATIO,
            )
        ],
        samples={
            "memory": [asdict(memory) for memory in memories],
            "latency": [latency.as_dict() for latency in latencies],
        },
        draw=lambda path: _draw(memories, latencies, path),
        notes=list(_notes(memories, latencies)),
    )


def _memory_table(memories: Sequence[Memory]) -> Table:
    return Table(
        title=f"Memory of {memories[0].connections:,} idle connections",
        header=(
            "proxy", "none MiB", "opened MiB", "KiB each", "after a request MiB", "KiB each",
            "still open",
        ),
        rows=[
            [
                memory.proxy,
                f"{memory.without / 2**20:.1f}",
                f"{memory.silent / 2**20:.1f}",
                f"{memory.per_connection(memory.silent) / 1024:.2f}",
                f"{memory.after_a_request / 2**20:.1f}",
                f"{memory.per_connection(memory.after_a_request) / 1024:.2f}",
                f"{memory.still_open:,}",
            ]
            for memory in memories
        ],
    )  # fmt: skip


def _latency_table(latencies: Sequence[Latency]) -> Table:
    return Table(
        title=f"Another client beside {SLOW_CONNECTIONS:,} slow ones",
        header=(
            "proxy", "p99 ms without", "low-high", "p99 ms beside", "low-high", "ratio",
            "held", "replaced", "requests/s without", "beside",
        ),
        rows=[
            [
                each.proxy,
                f"{each.p99_without.median:.2f}",
                f"{each.p99_without.low:.2f}-{each.p99_without.high:.2f}",
                f"{each.p99_beside.median:.2f}",
                f"{each.p99_beside.low:.2f}-{each.p99_beside.high:.2f}",
                f"{each.ratio:.2f}",
                f"{each.held:,}",
                f"{each.replaced:,}",
                f"{spread([s.requests_per_second for s in each.without]).median:,.0f}",
                f"{spread([s.requests_per_second for s in each.beside]).median:,.0f}",
            ]
            for each in latencies
        ],
    )  # fmt: skip


def _notes(memories: Sequence[Memory], latencies: Sequence[Latency]) -> list[str]:
    notes = []
    for memory in memories:
        if memory.still_open < memory.connections:
            notes.append(
                f"{memory.proxy} closed {memory.connections - memory.still_open} of "
                f"{memory.connections} idle connections while they were counted."
            )
    if memories[0].connections < IDLE_CONNECTIONS:
        notes.append(
            f"The limit of descriptors allowed {memories[0].connections:,} connections instead of "
            f"{IDLE_CONNECTIONS:,} (ulimit -Hn)."
        )
    for latency in latencies:
        for sample in (*latency.without, *latency.beside):
            if sample.error_count:
                notes.append(f"Errors: {latency.proxy}: {dict(sample.errors)}.")
    return notes


def _draw(memories: Sequence[Memory], latencies: Sequence[Latency], path: Path) -> None:
    figure = new_figure(2, 1, title="Connections that wait", width=10, height=3.8)
    each_opened = {memory.proxy: memory.per_connection(memory.silent) / 1024 for memory in memories}
    each_used = {
        memory.proxy: memory.per_connection(memory.after_a_request) / 1024 for memory in memories
    }
    draw_bars(
        figure.axes[0], ["only opened", "after one request"],
        {name: [_point(each_opened[name]), _point(each_used[name])] for name in each_opened},
        title=f"Memory per idle connection ({memories[0].connections:,} of them)",
        unit="KiB (lower is better)", form="{:.1f}",
    )  # fmt: skip
    draw_bars(
        figure.axes[1], ["without", f"beside {SLOW_CONNECTIONS:,} slow ones"],
        {
            each.proxy: [
                (p99.median, p99.low, p99.high) for p99 in (each.p99_without, each.p99_beside)
            ]
            for each in latencies
        },
        title=f"p99 of another client, {OTHER_CONNECTIONS} connections",
        unit="ms (lower is better)", form="{:.2f}",
    )  # fmt: skip
    save_figure(figure, path)


def _point(value: float) -> tuple[float, float, float]:
    return value, value, value
