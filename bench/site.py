"""The real site behind each proxy: pages a second and their latency over a fixed walk.

The database and the instances use all cores, as on a small machine; the proxy under test has one
worker, pinned to one core that it shares with them, and wrk is pinned to another, alike for every
proxy. What a proxy costs is then processor time the site does not get, which is what a visitor
would notice.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.browser_headers import CHROMIUM
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pinning import Cores, choose_cores
from bench.processes import environment, fetch
from bench.proxies import NAMES, NGINX, OURS, Plan, Proxy, require_programs, running_proxies
from bench.report import Report, Table, Target
from bench.samples import Spread, paired_ratios, rotated, spread
from bench.settings import Settings, say
from bench.site_stack import INSTANCES, POOL, SiteStack, choose_walk, running_site
from bench.wrk import Load, Sample, run_wrk

CONNECTIONS = 16
LEAST_OF_NGINX = 0.95  # issue 2, Show 6
SECONDS_FACTOR = 2  # a page takes milliseconds: for as many samples a point must last longer
ROUNDS_FACTOR = 2  # the target is a matter of hundredths
_WARM_UP_SECONDS = 3
_KEY_RINGS = ("PORUWA_AFFINITY_KEYS", "PORUWA_SESSION_KEYS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of wrk; ``cpu_seconds`` is what the proxy's own processes took meanwhile."""

    proxy: str
    round: int
    cpu_seconds: float
    sample: Sample


class Measurements:
    """All samples, asked for by proxy in the order of the rounds."""

    def __init__(self, samples: Sequence[Measured]) -> None:
        self.samples = samples

    def rates(self, proxy: str) -> list[float]:
        return [each.sample.requests_per_second for each in self._of(proxy)]

    def p50(self, proxy: str) -> Spread:
        return spread([each.sample.p50_ms for each in self._of(proxy)])

    def p99(self, proxy: str) -> Spread:
        return spread([each.sample.p99_ms for each in self._of(proxy)])

    def cpu_microseconds(self, proxy: str) -> float:
        return spread(
            [each.cpu_seconds / each.sample.requests * 1e6 for each in self._of(proxy)]
        ).median

    def ratio(self, peer: str) -> Spread:
        """Our requests/s over the peer's, round by round."""
        return paired_ratios(self.rates(OURS), self.rates(peer))

    def _of(self, proxy: str) -> list[Measured]:
        return [each for each in self.samples if each.proxy == proxy]


def run(settings: Settings) -> Report:
    """Start the site and measure it behind every proxy.

    Raises:
        BenchError: something is missing, does not start, or a page is not answered with 200.
    """
    require_programs()
    cores = choose_cores()
    with running_site(settings.work) as site:
        walk = choose_walk(site.port)
        paths = settings.work / "walk.txt"
        paths.write_text("".join(f"{path}\n" for path in walk))
        plan = _plan(site, cores, settings)
        load = Load(
            connections=CONNECTIONS,
            seconds=settings.seconds * SECONDS_FACTOR,
            headers=CHROMIUM,
            paths=paths,
        )
        with running_proxies(plan) as proxies:
            for proxy in proxies:
                _require_pages(proxy, walk)
                warm = Load(
                    connections=CONNECTIONS, seconds=_WARM_UP_SECONDS, headers=CHROMIUM, paths=paths
                )
                run_wrk(proxy.url("/"), warm, core=cores.load)
            measured = Measurements(_measure(proxies, load, cores, settings))
    return _report(measured, walk, load, settings)


def _plan(site: SiteStack, cores: Cores, settings: Settings) -> Plan:
    return Plan(
        upstreams=site.upstreams,
        cores=cores,
        work=settings.work,
        access_log=settings.access_log,
        policy=(site.policy, POOL),
        env=environment({name: secrets.token_urlsafe(32) for name in _KEY_RINGS}),
        ready_path="/healthz",
    )


def _require_pages(proxy: Proxy, walk: Sequence[str]) -> None:
    for path in walk:
        status, body = fetch(proxy.port, path)
        if status != 200 or not body:
            raise BenchError(f"{path} behind {proxy.name}: status {status}, {len(body)} bytes.")


def _measure(
    proxies: Sequence[Proxy], load: Load, cores: Cores, settings: Settings
) -> list[Measured]:
    samples = []
    rounds = settings.rounds * ROUNDS_FACTOR
    for number in range(rounds):
        for proxy in rotated(proxies, number):
            before = proxy.cpu_seconds()
            sample = run_wrk(proxy.url("/"), load, core=cores.load)
            proxy.server.require_alive()
            samples.append(
                Measured(
                    proxy=proxy.name,
                    round=number,
                    cpu_seconds=proxy.cpu_seconds() - before,
                    sample=sample,
                )
            )
            say(
                f"  round {number + 1}/{rounds}  {proxy.name:<8} "
                f"{sample.requests_per_second:>7,.0f}/s  p50 {sample.p50_ms:.1f} ms  "
                f"p99 {sample.p99_ms:.1f} ms"
            )
    return samples


def _report(measured: Measurements, walk: Sequence[str], load: Load, settings: Settings) -> Report:
    ratio = measured.ratio(NGINX)
    return Report(
        name="site",
        title="The WeddingLK site behind Poruwa, nginx and HAProxy",
        method=(
            f"`poruwa up` runs the database and {INSTANCES} instances of the site; each proxy "
            f"stands in front of the same Unix sockets with one worker and least connections, ours "
            f"under the site's own policy (routes, affinity, health). wrk walks {len(walk)} pages "
            f"with a browser's headers over {CONNECTIONS} connections. Nothing is cached. "
            f"{settings.rounds * ROUNDS_FACTOR} interleaved rounds of {load.seconds} s; medians, "
            f"with the lowest and the highest; ratios are requests/s within a round."
        ),
        tables=[_table(measured)],
        targets=[
            Target(
                text=(
                    f"at least {LEAST_OF_NGINX} times the requests/s of the site behind nginx; "
                    f"it is {ratio.median:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"
                ),
                met=ratio.median >= LEAST_OF_NGINX,
            )
        ],
        samples={
            "walk": list(walk),
            "ratios": {peer: measured.ratio(peer).as_dict() for peer in NAMES if peer != OURS},
            "samples": [_as_dict(each) for each in measured.samples],
        },
        draw=lambda path: _draw(measured, path),
        notes=[*_error_notes(measured), f"The walk: {', '.join(f'`{path}`' for path in walk)}."],
    )


def _table(measured: Measurements) -> Table:
    rows = []
    for name in NAMES:
        rate = spread(measured.rates(name))
        row = [
            name,
            f"{rate.median:,.0f}",
            f"{rate.low:,.0f}-{rate.high:,.0f}",
            f"{measured.p50(name).median:.1f}",
            f"{measured.p99(name).median:.1f}",
            f"{measured.cpu_microseconds(name):.0f}",
        ]
        if name == OURS:
            rows.append([*row, "", ""])
        else:
            ratio = measured.ratio(name)
            rows.append([*row, f"{ratio.median:.3f}", f"{ratio.low:.3f}-{ratio.high:.3f}"])
    return Table(
        title=f"Pages over {CONNECTIONS} connections",
        header=(
            "proxy", "requests/s", "low-high", "p50 ms", "p99 ms", "proxy CPU us", "ours / it",
            "low-high",
        ),
        rows=rows,
    )  # fmt: skip


def _error_notes(measured: Measurements) -> list[str]:
    return [
        f"Errors: {each.proxy}, round {each.round + 1}: {dict(each.sample.errors)}."
        for each in measured.samples
        if each.sample.error_count
    ]


def _as_dict(measured: Measured) -> Mapping[str, Any]:
    return {
        "proxy": measured.proxy,
        "round": measured.round,
        "cpu_seconds": round(measured.cpu_seconds, 2),
        **measured.sample.as_dict(),
    }


def _draw(measured: Measurements, path: Path) -> None:
    figure = new_figure(3, 1, title="The site, three instances", width=10, height=3.4)
    rates = {name: [_bar(spread(measured.rates(name)))] for name in NAMES}
    p50s = {name: [_bar(measured.p50(name))] for name in NAMES}
    p99s = {name: [_bar(measured.p99(name))] for name in NAMES}
    axes = figure.axes
    draw_bars(axes[0], [""], rates, title="Pages a second", unit="requests/s (higher is better)")
    draw_bars(axes[1], [""], p50s, title="p50", unit="ms (lower is better)", form="{:.1f}")
    draw_bars(axes[2], [""], p99s, title="p99", unit="ms (lower is better)", form="{:.1f}")
    save_figure(figure, path)


def _bar(found: Spread) -> tuple[float, float, float]:
    return found.median, found.low, found.high
