"""The site with the gateway's cache and without it: what visitors, and the machine, notice.

`poruwa up` runs the database and the instances; before the same instances stand two gateways of
the site's own policy, alike but for ``[cache] enabled``. Signed-out visitors walk over the site by
Zipf's law and think between two pages. First it is searched how many of them the site holds without
the cache; then as many visit either gateway in turn; then it is searched how many it holds with it.
Everything runs on the same cores, the load generators too.
"""

from __future__ import annotations

import re
import secrets
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import procfs
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.processes import Server, environment, find_program, free_port, start_server
from bench.report import Report, Table, Target
from bench.samples import Spread, rotated, spread
from bench.settings import Settings, say
from bench.site_stack import INSTANCES, POOL, SiteStack, policy_file, running_site
from bench.visits import (
    API_SHARE,
    THINK_MILLISECONDS,
    Visits,
    Walk,
    fill_caches,
    most_held,
    visit,
    write_walk,
)

WITH, WITHOUT = "with the cache", "without"
NAMES = (WITH, WITHOUT)
HELD_MILLISECONDS = 200.0  # issue 4, Show 7
SECONDS_FACTOR = 3  # a visitor asks once a second: a point must last longer than with wrk's loop
LEAST_HIT_SHARE = 0.9  # targets.hit_ratio of the site's policy
_FEWEST, _MOST = 8, 16_384
_TRIES = 2
_FILL_SECONDS = 10  # for pages, and as many for the API
_AFFINITY_KEYS = "PORUWA_AFFINITY_KEYS"
_STEP = 997  # requests of the walks between the beginnings of two visits


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway before the site's instances; ``admin`` is where it tells its metrics."""

    name: str
    server: Server
    port: int
    admin: int

    def outcomes(self) -> dict[str, float]:
        """Return what the cache did for requests so far, by outcome."""
        url = f"http://127.0.0.1:{self.admin}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return cache_outcomes(answer.read().decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One visit by the fixed number; processor time is of gateway, instances and database."""

    gateway: str
    round: int
    visits: Visits
    cpu_seconds: float
    database_requests: int
    hit_share: float

    @property
    def cpu_per_thousand(self) -> float:
        """Processor seconds per 1,000 requests."""
        return self.cpu_seconds / self.visits.requests * 1000

    @property
    def database_per_thousand(self) -> float:
        """Requests to the database per 1,000 to the gateway."""
        return self.database_requests / self.visits.requests * 1000

    def as_dict(self) -> dict[str, Any]:
        return {
            "gateway": self.gateway,
            "round": self.round,
            "cpu_seconds": round(self.cpu_seconds, 2),
            "database_requests": self.database_requests,
            "hit_share": round(self.hit_share, 4),
            **self.visits.as_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that was measured; ``held`` is visitors by gateway, ``tries`` how it was found."""

    walk: Walk
    visitors: int
    held: Mapping[str, int]
    tries: Sequence[Mapping[str, Any]]
    samples: Sequence[Measured]

    def of(self, name: str) -> list[Measured]:
        """Return the samples of one gateway in the order of the rounds."""
        return [each for each in self.samples if each.gateway == name]


def run(settings: Settings) -> Report:
    """Start the site, visit it, return what was found.

    Raises:
        BenchError: something is missing or does not start, or visitors met with errors.
    """
    find_program("wrk")
    own = policy_file().read_text()
    policy = settings.work / "site.toml"
    policy.write_text(policy_for(own, cached=True))
    with running_site(settings.work, policy=policy) as site, ExitStack() as stack:
        gateways = {
            name: stack.enter_context(_running_gateway(name, own, site, settings.work))
            for name in NAMES
        }
        walk = write_walk(gateways[WITHOUT].port, settings.work)
        say(f"  {walk.page_count} pages and {walk.api_count} URLs of the API")
        seconds = settings.seconds * SECONDS_FACTOR
        for gateway in gateways.values():
            fill_caches(gateway.port, walk, seconds=_FILL_SECONDS)
        tries: list[dict[str, Any]] = []
        held = {WITHOUT: _most_held(gateways[WITHOUT], walk, seconds, tries)}
        visitors = max(held[WITHOUT], _FEWEST)
        samples = list(_measure(gateways, site, walk, visitors, seconds, settings.rounds))
        held[WITH] = _most_held(gateways[WITH], walk, seconds, tries)
    found = Found(walk=walk, visitors=visitors, held=held, tries=tries, samples=samples)
    return _report(found, seconds, settings)


def policy_for(text: str, *, cached: bool) -> str:
    """Return the site's policy with its cache on or off, for one client address with thousands of
    connections, and with time to start beside other programs.
    """
    text = re.sub(r"^connections_per_client = .*$", "connections_per_client = 0", text, flags=re.M)
    text = re.sub(r"^\[stack\]$", '[stack]\nready = "10min"', text, flags=re.M)
    if cached:
        return text
    if not re.search(r"^\[cache\]$", text, re.M):
        return text + "\n[cache]\nenabled = false\n"
    text = re.sub(r"(^\[cache\]\n(?:[^\[].*\n|\n)*?)enabled = .*\n", r"\1", text, flags=re.M)
    return re.sub(r"^\[cache\]$", "[cache]\nenabled = false", text, flags=re.M)


def cache_outcomes(metrics: str) -> dict[str, float]:
    """Return the counts of ``poruwa_cache_requests`` by outcome, of all classes."""
    outcomes: dict[str, float] = {}
    lines = re.findall(
        r'^poruwa_cache_requests(?:_total)?\{[^}]*outcome="([^"]+)"[^}]*\} (\S+)$', metrics, re.M
    )
    for outcome, count in lines:
        outcomes[outcome] = outcomes.get(outcome, 0.0) + float(count)
    return outcomes


@contextmanager
def _running_gateway(name: str, text: str, site: SiteStack, work: Path) -> Iterator[Gateway]:
    policy = work / f"{'with' if name == WITH else 'without'}.toml"
    policy.write_text(policy_for(text, cached=name == WITH))
    port, admin = free_port(), free_port()
    argv = [
        sys.executable, "-m", "poruwa.cli.main", "gateway", "--policy", str(policy),
        "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--access-log", "none",
    ]  # fmt: skip
    for upstream in site.upstreams:
        argv += ["--upstream", f"{POOL}={upstream}"]
    env = environment({_AFFINITY_KEYS: secrets.token_urlsafe(32)})
    with start_server(policy.stem, argv, core=None, work=work, env=env) as server:
        server.wait_until_ready(port, "/healthz")
        yield Gateway(name=name, server=server, port=port, admin=admin)


def _most_held(gateway: Gateway, walk: Walk, seconds: int, tries: list[dict[str, Any]]) -> int:
    """Return the largest number of visitors whose p95 stays below `HELD_MILLISECONDS`."""

    def is_held(visitors: int) -> bool:
        # What the machine does beside us for a moment must not end the search.
        return any(_is_held(gateway, visitors, walk, seconds, tries) for _ in range(_TRIES))

    return most_held(is_held, start=_FEWEST, most=_MOST)


def _is_held(
    gateway: Gateway, visitors: int, walk: Walk, seconds: int, tries: list[dict[str, Any]]
) -> bool:
    found = visit(gateway.port, visitors, walk, seconds=seconds, start=len(tries) * _STEP)
    held = found.p95_ms < HELD_MILLISECONDS and found.kept_up and not found.errors
    tries.append({"gateway": gateway.name, "held": held, **found.as_dict()})
    say(
        f"  {gateway.name:<14} {visitors:>6} visitors  {found.requests_per_second:>8,.1f}/s  "
        f"p95 {found.p95_ms:>7.1f} ms  {'held' if held else 'not held'}"
    )
    return held


def _measure(
    gateways: Mapping[str, Gateway],
    site: SiteStack,
    walk: Walk,
    visitors: int,
    seconds: int,
    rounds: int,
) -> Iterator[Measured]:
    for number in range(rounds):
        for name in rotated(NAMES, number):
            gateway = gateways[name]
            pids = (site.server.pid, gateway.server.pid)
            outcomes, asked = gateway.outcomes(), _database_requests(site)
            before = sum(map(procfs.cpu_seconds, pids))
            found = visit(gateway.port, visitors, walk, seconds=seconds, start=(number + 1) * _STEP)
            measured = Measured(
                gateway=name,
                round=number,
                visits=found,
                cpu_seconds=sum(map(procfs.cpu_seconds, pids)) - before,
                database_requests=_database_requests(site) - asked,
                hit_share=share_of_hits(outcomes, gateway.outcomes()),
            )
            if found.errors:
                raise BenchError(f"{name}: {found.pages.errors}, API {found.api.errors}.")
            say(
                f"  round {number + 1}/{rounds}  {name:<14} pages p95 {found.pages.p95_ms:.1f} ms  "
                f"API p95 {found.api.p95_ms:.1f} ms  {measured.cpu_per_thousand:.2f} CPU s per "
                f"1,000  {measured.hit_share:.1%} hits"
            )
            yield measured


def _database_requests(site: SiteStack) -> int:
    """Return how many commands the database was sent so far, those of drivers themselves too."""
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]]("127.0.0.1", site.database_port) as client:
        return int(client.admin.command("serverStatus")["network"]["numRequests"])


def share_of_hits(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Return how many of the requests between two counts the cache answered, 0 to 1."""
    counts = {name: count - before.get(name, 0.0) for name, count in after.items()}
    hits = counts.get("hit", 0.0) + counts.get("stale", 0.0)
    asked = hits + sum(counts.get(name, 0.0) for name in ("miss", "joined", "pass"))
    return hits / asked if asked else 0.0


def _report(found: Found, seconds: int, settings: Settings) -> Report:
    return Report(
        name="with_without",
        title="The site with the gateway's cache and without it",
        method=(
            f"`poruwa up` runs the database and {INSTANCES} instances; two gateways of the site's "
            f"policy stand before them, alike but for the cache. Signed-out visitors, "
            f"{1 - API_SHARE:.0%} of them browsers and {API_SHARE:.0%} programs, walk over "
            f"{found.walk.page_count} pages in three languages and {found.walk.api_count} URLs of "
            f"the API by Zipf's law and think for {THINK_MILLISECONDS / 1000:g} s on average. "
            f"{found.visitors} visitors, as many as are held without the cache, in "
            f"{settings.rounds} interleaved rounds of {seconds} s; medians. The number held is the "
            f"largest whose p95, of pages and of the API, stays below {HELD_MILLISECONDS:.0f} ms, "
            f"found by doubling and halving, within a tenth, in one of two tries, and who ask as "
            f"often as visitors do whom nothing delays. Before all that, each gateway is asked for "
            f"what is popular. The load generators share the cores."
        ),
        tables=[_times_table(found), _cost_table(found)],
        targets=list(_targets(found)),
        samples={
            "held": dict(found.held),
            "tries": list(found.tries),
            "samples": [each.as_dict() for each in found.samples],
        },
        draw=lambda path: _draw(found, path),
        notes=[
            "Processor time is that of the gateway, the instances and the database, per 1,000 "
            "requests; the load generators' is not in it.",
            f"No more than {_MOST:,} visitors were tried.",
        ],
    )


def _times_table(found: Found) -> Table:
    rows = []
    for name in NAMES:
        for kind in ("pages", "api"):
            samples = [getattr(each.visits, kind) for each in found.of(name)]
            quantiles = [
                f"{spread([getattr(sample, each) for sample in samples]).median:.1f}"
                for each in ("p50_ms", "p95_ms", "p99_ms")
            ]
            rows.append([f"{'API' if kind == 'api' else kind}, {name}", *quantiles])
    return Table(
        title=f"Response times, {found.visitors} visitors",
        header=("what", "p50 ms", "p95 ms", "p99 ms"),
        rows=rows,
    )


def _cost_table(found: Found) -> Table:
    return Table(
        title="What it takes, and how many it holds",
        header=(
            "gateway", "requests/s", "answered by the cache", "CPU s per 1,000 requests",
            "database requests per 1,000", f"visitors held under {HELD_MILLISECONDS:.0f} ms",
        ),
        rows=[
            [
                name,
                f"{spread([s.visits.requests_per_second for s in found.of(name)]).median:,.1f}",
                f"{_hit_share(found, name):.1%}",
                f"{_cpu(found, name).median:.2f}",
                f"{spread([s.database_per_thousand for s in found.of(name)]).median:,.0f}",
                f"{found.held[name]:,}",
            ]
            for name in NAMES
        ],
    )  # fmt: skip


def _targets(found: Found) -> Iterator[Target]:
    share = _hit_share(found, WITH)
    yield Target(
        text=f"the cache answers at least {LEAST_HIT_SHARE:.0%} of the requests; {share:.1%}",
        met=share >= LEAST_HIT_SHARE,
    )
    with_cache, without = _cpu(found, WITH).median, _cpu(found, WITHOUT).median
    yield Target(
        text=(
            f"less processor time with it, and more visitors held; {without / with_cache:.1f} "
            f"times less, {found.held[WITH] / max(found.held[WITHOUT], 1):.1f} times as many"
        ),
        met=with_cache < without and found.held[WITH] > found.held[WITHOUT],
    )


def _hit_share(found: Found, name: str) -> float:
    return spread([each.hit_share for each in found.of(name)]).median


def _cpu(found: Found, name: str) -> Spread:
    return spread([each.cpu_per_thousand for each in found.of(name)])


def _draw(found: Found, path: Path) -> None:
    figure = new_figure(
        4, 1, title="The site with the gateway's cache and without", width=12, height=3.4
    )
    quantiles = ("p50_ms", "p95_ms", "p99_ms")
    for axes, kind in zip(figure.axes, ("pages", "api"), strict=False):
        series = {
            name: [
                _bar(spread([getattr(getattr(s.visits, kind), each) for s in found.of(name)]))
                for each in quantiles
            ]
            for name in NAMES
        }
        draw_bars(
            axes, ["p50", "p95", "p99"], series,
            title="Pages" if kind == "pages" else "API", unit="ms (lower is better)", form="{:.1f}",
        )  # fmt: skip
    draw_bars(
        figure.axes[2], [""], {name: [_bar(_cpu(found, name))] for name in NAMES},
        title="Processor time", unit="s per 1,000 requests", form="{:.2f}",
    )  # fmt: skip
    draw_bars(
        figure.axes[3], [""], {name: [(found.held[name],) * 3] for name in NAMES},
        title=f"Visitors held under {HELD_MILLISECONDS:.0f} ms", unit="visitors",
    )  # fmt: skip
    save_figure(figure, path)


def _bar(found: Spread) -> tuple[float, float, float]:
    return found.median, found.low, found.high
