"""Hits: requests a second, and their latency, of caches that have every page they are asked for.

wrk on the load core walks over 10,000 URLs as visitors would (Zipf) and drives each cache on its
own core. All caches run for the whole time and are filled before; each point is measured on one
after another, rounds begin with another cache each, and a ratio is taken within a round. That
nearly nothing reached the origin meanwhile, its own count says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.browser_headers import CHROMIUM
from bench.cache_origin import (
    ETAG,
    LARGE,
    SIZES,
    SMALL,
    CacheOrigin,
    page_path,
    running_cache_origin,
)
from bench.cache_profile import Live, Profile, measure_profile
from bench.cache_proxies import (
    CACHES,
    VARNISH,
    empty_logs,
    require_caches,
    require_pages,
    running_caches,
)
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pass_through import Measured, Measurements, Variant, measure_once
from bench.pinning import Cores, choose_cores
from bench.procfs import user_and_kernel_seconds
from bench.proxies import HAPROXY, NGINX, OURS, Plan, Proxy
from bench.report import Report, Table, Target
from bench.samples import rotated, spread
from bench.settings import Settings, say
from bench.wrk import Load, run_wrk
from bench.zipf import EXPONENT, zipf_walk

URLS = 10_000
LARGE_URLS = 1_000  # 100 MB in each store, and no more
WALK_REQUESTS = 100_000
LEAST_HIT_SHARE = 0.999
LEAST_OF = {NGINX: 1.0, VARNISH: 1.5, HAPROXY: 0.85}  # issue 4, Show 2
_WARM_UP_TRIES = 10
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A kind of request from so many clients; ``size`` is which pages it asks for."""

    name: str
    size: str = SMALL
    headers: Mapping[str, str] = field(default_factory=dict)
    connections: int = 32

    @property
    def least_bytes(self) -> int:
        """What an answer has at least: its body, where there is one."""
        return 0 if "If-None-Match" in self.headers else SIZES[self.size]

    @property
    def variant(self) -> Variant:
        return Variant(name=self.name, path=page_path(self.size, 0), headers=self.headers)


SCORED = Point(name="Chrome's headers, 4 KB", headers=CHROMIUM)
POINTS = (
    SCORED,
    Point(name="bare headers, 4 KB"),
    Point(name="Chrome's headers, 100 KB", headers=CHROMIUM, size=LARGE),
    Point(name="Chrome's headers, 304", headers={**CHROMIUM, "If-None-Match": ETAG}),
    Point(name="Chrome's headers, 4 KB, 256 connections", headers=CHROMIUM, connections=256),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What was measured, and how many of each sample's requests reached the origin.

    ``live`` is our gateway's time at the scored point, one a round.
    """

    measured: Measurements
    misses: Sequence[int]
    live: Sequence[Live]

    def least_share(self, point: Point, cache: str) -> float:
        """Return the lowest share of hits over the rounds."""
        return min(
            1 - missed / each.sample.requests
            for each, missed in zip(self.measured.samples, self.misses, strict=True)
            if (each.variant, each.connections, each.proxy)
            == (point.name, point.connections, cache)
        )

    def ratio(self, point: Point, cache: str) -> float:
        """Return the median of our requests/s over the cache's."""
        return self.measured.ratio(point.variant, point.connections, cache).median

    def p99(self, point: Point, cache: str) -> float:
        """Return the median of the 99th percentiles in milliseconds."""
        return spread(self.measured.p99s(point.variant, point.connections, cache)).median


def run(settings: Settings) -> Report:
    """Measure all points on all caches.

    Raises:
        BenchError: a program is missing, or a cache does not do its work.
    """
    require_caches()
    cores = choose_cores()
    with folder_in_memory(settings) as work:
        walks = write_walks(work)
        with running_cache_origin(work, core=cores.load) as origin:
            plan = Plan(
                upstreams=(origin.upstream,),
                cores=cores,
                work=work,
                access_log=True,
                ready_path=page_path(SMALL, 0),
            )
            with running_caches(plan) as caches:
                for cache in caches:
                    require_pages(cache, origin)
                    for size in (SMALL, LARGE):
                        fill_pages(cache, size, origin, cores, work)
                hits = _measure(caches, walks, origin, cores, settings, work)
        profile = measure_profile(_median_live(hits.live), work, cores)
    return _report(hits, profile, settings)


@contextmanager
def folder_in_memory(settings: Settings) -> Iterator[Path]:
    """Give logs and nginx's store a folder on tmpfs, where there is one."""
    parent = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else settings.work
    with tempfile.TemporaryDirectory(
        prefix="poruwa-bench-", dir=parent, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _paths(size: str) -> list[str]:
    count = LARGE_URLS if size == LARGE else URLS
    return [page_path(size, number) for number in range(count)]


def write_walks(work: Path) -> dict[str, Path]:
    """Write the walk over the pages of each size; return the files."""
    walks = {}
    for size in (SMALL, LARGE):
        walks[size] = work / f"walk-{size}.txt"
        walk = zipf_walk(_paths(size), WALK_REQUESTS)
        walks[size].write_text("".join(f"{path}\n" for path in walk))
    return walks


def fill_pages(cache: Proxy, size: str, origin: CacheOrigin, cores: Cores, work: Path) -> None:
    """Ask for every page until the cache asks the origin for none any more.

    Raises:
        BenchError: it goes on asking.
    """
    every = work / f"every-{size}.txt"
    every.write_text("".join(f"{path}\n" for path in _paths(size)))
    load = Load(connections=32, seconds=2, headers=CHROMIUM, paths=every)
    asked = origin.requests()
    for _ in range(_WARM_UP_TRIES):
        sample = run_wrk(cache.url("/"), load, core=cores.load)
        before, asked = asked, origin.requests()
        if asked == before and sample.requests >= len(_paths(size)):
            return
    raise BenchError(f"{cache.name} does not keep all pages: it still asks for some.")


def _measure(
    caches: Sequence[Proxy],
    walks: Mapping[str, Path],
    origin: CacheOrigin,
    cores: Cores,
    settings: Settings,
    work: Path,
) -> Hits:
    samples: list[Measured] = []
    misses: list[int] = []
    live: list[Live] = []
    for number in range(settings.rounds):
        for point in POINTS:
            load = Load(
                connections=point.connections,
                seconds=settings.seconds,
                headers=point.headers,
                paths=walks[point.size],
            )
            for cache in rotated(caches, number):
                asked = origin.requests()
                before = user_and_kernel_seconds(cache.server.pid)
                measured = measure_once(cache, point.variant, load, cores, number)
                after = user_and_kernel_seconds(cache.server.pid)
                misses.append(origin.requests() - asked)
                samples.append(measured)
                empty_logs(work)
                sample = measured.sample
                if sample.bytes_per_request < point.least_bytes:
                    raise BenchError(
                        f"{cache.name}, {point.name}: answers of {sample.bytes_per_request:.0f} B."
                    )
                if cache.name == OURS and point is SCORED:
                    user, kernel = (
                        (late - early) / sample.requests * 1e6
                        for early, late in zip(before, after, strict=True)
                    )
                    live.append(Live(user=user, kernel=kernel))
                say(
                    f"  round {number + 1}/{settings.rounds}  {point.name:<39} {cache.name:<8} "
                    f"{sample.requests_per_second:>9,.0f}/s  p99 {sample.p99_ms:.2f} ms  "
                    f"{misses[-1]} misses"
                )
    return Hits(measured=Measurements(samples), misses=misses, live=live)


def _median_live(live: Sequence[Live]) -> Live:
    return Live(
        user=spread([each.user for each in live]).median,
        kernel=spread([each.kernel for each in live]).median,
    )


def _report(hits: Hits, profile: Profile, settings: Settings) -> Report:
    measured = hits.measured
    return Report(
        name="cache_hits",
        title="Hits: Poruwa, nginx, Varnish and HAProxy",
        method=(
            f"Each cache has one worker on a core of its own and its store in memory; wrk and the "
            f"origin share another. {URLS:,} URLs ({LARGE_URLS:,} of 100 KB), asked for in a fixed "
            f"order drawn by Zipf's law with exponent {EXPONENT}, all of them stored before. "
            f"Metrics on, access logs on (a line per request, to memory). {settings.rounds} "
            f"interleaved rounds of {settings.seconds} s a point; medians, with the lowest and the "
            f"highest. Ratios are requests/s, taken within a round. The share of hits is the "
            f"lowest of the rounds, by the origin's count of requests."
        ),
        tables=[*(_table(hits, point) for point in POINTS), profile.table()],
        targets=list(_targets(hits)),
        samples={
            "settings": {"seconds": settings.seconds, "rounds": settings.rounds},
            "exponent": EXPONENT,
            "ratios": _ratios(hits),
            "samples": [
                {**each.as_dict(), "misses": missed}
                for each, missed in zip(measured.samples, hits.misses, strict=True)
            ],
            "profile": profile.as_dict(),
        },
        draw=lambda path: _draw(hits, path),
        notes=[
            *measured.error_notes(),
            *measured.disturbance_notes(),
            *profile.notes(),
            "CPU is the processor time per request charged to the cache's processes (Varnish's "
            "with varnishncsa, which writes its log); the kernel does part of the work of loopback "
            "in interrupts, which are charged to nobody.",
            "Where a cache's core is not busy to 100 %, the load generator was what held it back.",
        ],
    )


def _table(hits: Hits, point: Point) -> Table:
    return Table(
        title=f"{point.name}, {point.connections} connections"
        if "connections" not in point.name
        else point.name,
        header=(
            "cache", "requests/s", "low-high", "p50 ms", "p99 ms", "hits", "core busy", "CPU us",
            "ours / it", "low-high",
        ),
        rows=[_row(hits, point, name) for name in CACHES],
    )  # fmt: skip


def _row(hits: Hits, point: Point, name: str) -> list[str]:
    measured, variant, connections = hits.measured, point.variant, point.connections
    rate = spread(measured.rates(variant, connections, name))
    row = [
        name,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f}-{rate.high:,.0f}",
        f"{spread(measured.p50s(variant, connections, name)).median:.2f}",
        f"{hits.p99(point, name):.2f}",
        f"{hits.least_share(point, name):.2%}",
        f"{measured.busy(variant, connections, name):.0%}",
        f"{measured.cpu_microseconds(variant, connections, name):.1f}",
    ]
    if name == OURS:
        return [*row, "", ""]
    ratio = measured.ratio(variant, connections, name)
    return [*row, f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}"]


def _ratios(hits: Hits) -> list[dict[str, Any]]:
    return [
        {
            "point": point.name,
            "cache": name,
            **hits.measured.ratio(point.variant, point.connections, name).as_dict(),
        }
        for point in POINTS
        for name in LEAST_OF
    ]


def _targets(hits: Hits) -> Iterator[Target]:
    for name, least in LEAST_OF.items():
        ratio = hits.ratio(SCORED, name)
        yield Target(
            text=f"at least {least} times {name}'s requests/s; {ratio:.2f} times",
            met=ratio >= least,
        )
    ours, theirs = hits.p99(SCORED, OURS), hits.p99(SCORED, NGINX)
    yield Target(
        text=f"p99 no higher than nginx's; {ours:.2f} ms, nginx's {theirs:.2f} ms",
        met=ours <= theirs,
    )
    shares = [hits.least_share(point, name) for point in POINTS for name in CACHES]
    yield Target(
        text=f"what is measured are hits, to {LEAST_HIT_SHARE:.1%} at least; {min(shares):.3%}",
        met=min(shares) >= LEAST_HIT_SHARE,
    )


def _draw(hits: Hits, path: Path) -> None:
    figure = new_figure(1, 2, title="Hits, one worker each", width=11, height=6.6)
    groups = [point.name.replace(", ", ",\n", 1) for point in POINTS]
    rates: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CACHES}
    p99s: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CACHES}
    for name in CACHES:
        for point in POINTS:
            rate = spread(hits.measured.rates(point.variant, point.connections, name))
            p99 = spread(hits.measured.p99s(point.variant, point.connections, name))
            rates[name].append((rate.median / 1000, rate.low / 1000, rate.high / 1000))
            p99s[name].append((p99.median, p99.low, p99.high))
    draw_bars(
        figure.axes[0], groups, rates,
        title="Throughput", unit="1,000 requests/s (higher is better)", form="{:.1f}",
    )  # fmt: skip
    draw_bars(figure.axes[1], groups, p99s, title="p99", unit="ms (lower is better)", form="{:.2f}")
    save_figure(figure, path)
