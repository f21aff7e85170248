"""Requests a second, and their latency, of a proxy that passes everything through.

wrk on the load core drives each proxy on its own core, the origin sits on the load core as well.
All proxies run for the whole time; each point is measured on one after another, rounds begin with
another proxy each, and a ratio is taken within a round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.browser_headers import CHROMIUM
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.origin import LARGE_PATH, SMALL_PATH, Origin, running_origin
from bench.pinning import Cores, choose_cores
from bench.procfs import core_times
from bench.proxies import (
    HAPROXY,
    NAMES,
    NGINX,
    OURS,
    Plan,
    Proxy,
    require_alike,
    require_programs,
    running_proxies,
)
from bench.report import Report, Table, Target
from bench.samples import Spread, paired_ratios, rotated, spread
from bench.settings import Settings, say
from bench.wrk import Load, Sample, run_wrk

CONNECTIONS = (1, 32, 256)
LEAST_OF_HAPROXY = 0.6  # issue 2, Show 6
DISTURBED = 0.05  # a share of the core that changes a ratio by more than rounds differ anyway
_DIRECT_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A kind of request."""

    name: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


VARIANTS = (
    Variant(name="200 B", path=SMALL_PATH),
    Variant(name="200 B, browser headers", path=SMALL_PATH, headers=CHROMIUM),
    Variant(name="100 KB", path=LARGE_PATH),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of wrk on one proxy.

    Attributes:
        core_busy: share of the proxy's core that was not idle.
        cpu_seconds: processor time of the proxy's own processes.
        disturbance: share of that core taken by others: programs beside us, or the machine's host.
    """

    variant: str
    connections: int
    proxy: str
    round: int
    core_busy: float
    cpu_seconds: float
    disturbance: float
    sample: Sample

    def as_dict(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "connections": self.connections,
            "proxy": self.proxy,
            "round": self.round,
            "core_busy": round(self.core_busy, 3),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "disturbance": round(self.disturbance, 3),
            **self.sample.as_dict(),
        }


class Measurements:
    """All samples of a run, asked for by point and proxy in the order of the rounds."""

    def __init__(self, samples: Sequence[Measured]) -> None:
        self.samples = samples

    def rates(self, variant: Variant, connections: int, proxy: str) -> list[float]:
        return [each.sample.requests_per_second for each in self._of(variant, connections, proxy)]

    def p50s(self, variant: Variant, connections: int, proxy: str) -> list[float]:
        return [each.sample.p50_ms for each in self._of(variant, connections, proxy)]

    def p99s(self, variant: Variant, connections: int, proxy: str) -> list[float]:
        return [each.sample.p99_ms for each in self._of(variant, connections, proxy)]

    def busy(self, variant: Variant, connections: int, proxy: str) -> float:
        """Median share of the proxy's core that was not idle."""
        return spread([each.core_busy for each in self._of(variant, connections, proxy)]).median

    def cpu_microseconds(self, variant: Variant, connections: int, proxy: str) -> float:
        """Median processor time per request, as far as it is charged to the proxy."""
        runs = self._of(variant, connections, proxy)
        return spread([each.cpu_seconds / each.sample.requests * 1e6 for each in runs]).median

    def ratio(self, variant: Variant, connections: int, peer: str) -> Spread:
        """Our requests/s over the peer's, round by round."""
        return paired_ratios(
            self.rates(variant, connections, OURS), self.rates(variant, connections, peer)
        )

    def error_notes(self) -> Iterator[str]:
        for each in self.samples:
            if each.sample.error_count:
                kinds = ", ".join(f"{n} {kind}" for kind, n in each.sample.errors.items() if n)
                yield (
                    f"Errors: {each.proxy}, {each.variant}, {each.connections} connections, "
                    f"round {each.round + 1}: {kinds} in {each.sample.requests} requests."
                )

    def disturbance_notes(self) -> Iterator[str]:
        disturbed = [each for each in self.samples if each.disturbance > DISTURBED]
        if disturbed:
            worst = max(each.disturbance for each in disturbed)
            yield (
                f"Disturbed: in {len(disturbed)} of {len(self.samples)} samples something else "
                f"took more than {DISTURBED:.0%} of the proxy's core, up to {worst:.0%}. Ratios "
                "suffer from it; run again on a quiet machine."
            )

    def _of(self, variant: Variant, connections: int, proxy: str) -> list[Measured]:
        return [
            each
            for each in self.samples
            if (each.variant, each.connections, each.proxy) == (variant.name, connections, proxy)
        ]


def run(settings: Settings) -> Report:
    """Measure all points on all proxies.

    Raises:
        BenchError: a program is missing, or a proxy does not do its work.
    """
    require_programs()
    cores = choose_cores()
    with running_origin(settings.work, core=cores.load) as origin:
        plan = Plan(
            upstreams=origin.upstreams,
            cores=cores,
            work=settings.work,
            access_log=settings.access_log,
        )
        with running_proxies(plan) as proxies:
            for proxy in proxies:
                require_alike(proxy)
                run_wrk(proxy.url(SMALL_PATH), Load(connections=32, seconds=1), core=cores.load)
            measured = Measurements(list(_measure(proxies, cores, settings)))
        direct = _measure_direct(origin, cores)
    return _report(measured, direct, settings)


def _measure(proxies: Sequence[Proxy], cores: Cores, settings: Settings) -> Iterator[Measured]:
    for number in range(settings.rounds):
        for variant in VARIANTS:
            for connections in CONNECTIONS:
                load = Load(
                    connections=connections, seconds=settings.seconds, headers=variant.headers
                )
                for proxy in rotated(proxies, number):
                    measured = measure_once(proxy, variant, load, cores, number)
                    sample = measured.sample
                    say(
                        f"  round {number + 1}/{settings.rounds}  {variant.name:<23} "
                        f"{connections:>3} connections  {proxy.name:<8} "
                        f"{sample.requests_per_second:>9,.0f}/s  p99 {sample.p99_ms:.2f} ms"
                    )
                    yield measured


def measure_once(proxy: Proxy, variant: Variant, load: Load, cores: Cores, number: int) -> Measured:
    """Put ``load`` on ``proxy`` in round ``number``, beside what its core did meanwhile."""
    core_before, cpu_before = core_times(cores.proxy), proxy.cpu_seconds()
    try:
        sample = run_wrk(proxy.url(variant.path), load, core=cores.load)
    except BenchError as error:
        raise BenchError(f"{proxy.name}, {variant.name}: {error}") from error
    cpu_seconds = proxy.cpu_seconds() - cpu_before
    core = core_times(cores.proxy).since(core_before)
    proxy.server.require_alive()
    others = core.processes - cpu_seconds + core.stolen
    return Measured(
        variant=variant.name,
        connections=load.connections,
        proxy=proxy.name,
        round=number,
        core_busy=core.busy_share,
        cpu_seconds=cpu_seconds,
        disturbance=max(0.0, others) / sample.seconds,
        sample=sample,
    )


def _measure_direct(origin: Origin, cores: Cores) -> dict[str, float]:
    """Return the requests/s of the origin alone: no proxy can seem faster than this."""
    rates: dict[str, float] = {}
    for variant in VARIANTS:
        load = Load(connections=32, seconds=_DIRECT_SECONDS, headers=variant.headers)
        url = f"http://{origin.upstreams[0]}{variant.path}"
        rates[variant.name] = round(run_wrk(url, load, core=cores.load).requests_per_second)
    return rates


def _report(measured: Measurements, direct: Mapping[str, float], settings: Settings) -> Report:
    tables = [
        Table(
            title=variant.name,
            header=(
                "connections", "proxy", "requests/s", "low-high", "p50 ms", "p99 ms", "core busy",
                "CPU us", "ours / it", "low-high",
            ),
            rows=[
                _row(measured, variant, connections, name)
                for connections in CONNECTIONS
                for name in NAMES
            ],
        )
        for variant in VARIANTS
    ]  # fmt: skip
    ceilings = ", ".join(f"{name}: {rate:,.0f}" for name, rate in direct.items())
    return Report(
        name="pass_through",
        title="Passing through: Poruwa, nginx and HAProxy",
        method=(
            f"Each proxy has one worker on a core of its own; wrk and the origin (nginx, two "
            f"ports) share another. Least connections, keep-alive on both sides, access logs "
            f"{'on' if settings.access_log else 'off'}. {settings.rounds} interleaved rounds of "
            f"{settings.seconds} s a point after a second of warming up; medians, with the lowest "
            f"and the highest. Ratios are requests/s, taken within a round."
        ),
        tables=tables,
        targets=[_target(measured)],
        samples={
            "settings": {"seconds": settings.seconds, "rounds": settings.rounds,
                         "access_log": settings.access_log},
            "direct_requests_per_second": direct,
            "ratios": _ratios(measured),
            "samples": [each.as_dict() for each in measured.samples],
        },
        draw=lambda path: _draw(measured, path),
        notes=[
            *measured.error_notes(),
            *measured.disturbance_notes(),
            f"The origin asked without a proxy, 32 connections, load and origin on one core, "
            f"answers this many requests/s: {ceilings}.",
            "CPU is the processor time per request charged to the proxy's processes; the kernel "
            "does part of the work of loopback in interrupts, which are charged to nobody.",
            "Where a proxy's core is not busy to 100 %, the load generator or the origin, or with "
            "one connection the round trip, was what held it back.",
        ],
    )  # fmt: skip


def _row(measured: Measurements, variant: Variant, connections: int, name: str) -> list[str]:
    rate = spread(measured.rates(variant, connections, name))
    row = [
        str(connections),
        name,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f}-{rate.high:,.0f}",
        f"{spread(measured.p50s(variant, connections, name)).median:.2f}",
        f"{spread(measured.p99s(variant, connections, name)).median:.2f}",
        f"{measured.busy(variant, connections, name):.0%}",
        f"{measured.cpu_microseconds(variant, connections, name):.0f}",
    ]
    if name == OURS:
        return [*row, "", ""]
    ratio = measured.ratio(variant, connections, name)
    return [*row, f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}"]


def _ratios(measured: Measurements) -> list[dict[str, Any]]:
    return [
        {
            "variant": variant.name,
            "connections": connections,
            "peer": peer,
            **measured.ratio(variant, connections, peer).as_dict(),
        }
        for variant in VARIANTS
        for connections in CONNECTIONS
        for peer in (NGINX, HAPROXY)
    ]


def _target(measured: Measurements) -> Target:
    ratios = [
        (measured.ratio(variant, connections, HAPROXY).median, variant.name, connections)
        for variant in VARIANTS
        for connections in CONNECTIONS
    ]
    least, name, connections = min(ratios)
    return Target(
        text=(
            f"at least {LEAST_OF_HAPROXY} times HAProxy's requests/s at every point; lowest "
            f"{least:.2f} ({name}, {connections} connections), "
            f"highest {max(ratios)[0]:.2f}"
        ),
        met=least >= LEAST_OF_HAPROXY,
    )


def _draw(measured: Measurements, path: Path) -> None:
    figure = new_figure(
        len(VARIANTS), 2, title="Pass-through, one worker each", width=12, height=6.4
    )
    groups = [f"{connections} conn." for connections in CONNECTIONS]
    for column, variant in enumerate(VARIANTS):
        rates: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
        p99s: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
        for name in NAMES:
            for connections in CONNECTIONS:
                rate = spread(measured.rates(variant, connections, name))
                p99 = spread(measured.p99s(variant, connections, name))
                rates[name].append((rate.median / 1000, rate.low / 1000, rate.high / 1000))
                p99s[name].append((p99.median, p99.low, p99.high))
        draw_bars(
            figure.axes[column], groups, rates,
            title=f"{variant.name}: throughput", unit="1,000 requests/s (higher is better)",
            form="{:.1f}",
        )  # fmt: skip
        draw_bars(
            figure.axes[len(VARIANTS) + column], groups, p99s,
            title=f"{variant.name}: p99", unit="ms (lower is better)", form="{:.2f}",
        )  # fmt: skip
    save_figure(figure, path)
