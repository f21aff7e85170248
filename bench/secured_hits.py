"""What the gateway's security costs a hit: the same gateway and pages, with it and without.

Three gateways take turns on one core: with guard, forged-request checks and security fields taken
out of the policy; as policies have them; and with a limit on the route besides. The origin sends
the fields itself, so that all three send the same bytes and only the work differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.cache_hits import (
    SCORED,
    fill_pages,
    folder_in_memory,
    write_walks,
)
from bench.cache_origin import SMALL, CacheOrigin, page_path, running_cache_origin
from bench.cache_proxies import POOL, empty_logs, page_policy, require_pages
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pass_through import Measured, Measurements, measure_once
from bench.pinning import choose_cores
from bench.processes import fetch, find_program, free_port, start_server
from bench.proxies import Plan, Proxy, gateway_command
from bench.report import Report, Table, Target
from bench.samples import Spread, paired_ratios, rotated, spread
from bench.settings import Settings, say
from bench.wrk import Load

MOST_LOST = 0.03  # of requests/s: issue 6, Show 6
ROUNDS_EACH = 4  # differences are small: so many times the rounds asked for
BARE, SECURED, LIMITED = "nothing", "guard and fields", "guard, fields and a limit"
_SCORED_AGAINST_BARE = (SECURED, LIMITED)

_NOTHING = """
[gateway]
guard = false

[csrf]
enabled = false

[headers]
content_type_options = false
frame_options = false
xss_protection = false
referrer_policy = false
content_security_policy = false
permissions_policy = false
cross_origin_opener_policy = false
cross_origin_embedder_policy = false
cross_origin_resource_policy = false
"""
_LIMIT = """
[rate_limits.reading]
requests = 10000000
window = "1s"
"""
_POLICIES: Mapping[str, str] = {BARE: _NOTHING, SECURED: "", LIMITED: _LIMIT}


def run(settings: Settings) -> Report:
    """Measure all three.

    Raises:
        BenchError: wrk or nginx is not installed, or a gateway does not do its work.
    """
    for name in ("wrk", "nginx"):
        find_program(name)
    cores = choose_cores()
    with folder_in_memory(settings) as work:
        walk = write_walks(work)[SMALL]
        with running_cache_origin(work, core=cores.load) as origin, ExitStack() as stack:
            plan = Plan(
                upstreams=(origin.upstream,),
                cores=cores,
                work=work,
                access_log=True,
                ready_path=page_path(SMALL, 0),
            )
            gateways = [stack.enter_context(_running_gateway(name, plan)) for name in _POLICIES]
            _require_alike(gateways)
            for each in gateways:
                require_pages(each, origin)
                fill_pages(each, SMALL, origin, cores, work)
            load = Load(
                connections=SCORED.connections,
                seconds=settings.seconds,
                headers=SCORED.headers,
                paths=walk,
            )
            samples = list(_measure(gateways, load, origin, plan, settings))
    return _report(Measurements(samples), settings)


@contextmanager
def _running_gateway(name: str, plan: Plan) -> Iterator[Proxy]:
    port = free_port()
    path = plan.work / f"pages-{len(_POLICIES[name])}.toml"
    text = page_policy(plan.upstreams)
    path.write_text(
        text + ('rate_limit = "reading"\n' if name == LIMITED else "") + _POLICIES[name]
    )
    argv = gateway_command(replace(plan, policy=(path, POOL)), port)
    with start_server(name, argv, core=plan.cores.proxy, work=plan.work) as server:
        server.wait_until_ready(port, plan.ready_path)
        yield Proxy(name=name, port=port, server=server)


def _require_alike(gateways: Sequence[Proxy]) -> None:
    """Raise a `BenchError` unless forged requests are refused by those that are to, alone."""
    forged = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    for each in gateways:
        status, _ = fetch(each.port, page_path(SMALL, 0), forged, method="POST")
        if (status == 403) != (each.name != BARE):
            raise BenchError(f"{each.name}: a forged POST was answered with {status}.")


def _measure(
    gateways: Sequence[Proxy], load: Load, origin: CacheOrigin, plan: Plan, settings: Settings
) -> Iterator[Measured]:
    rounds = settings.rounds * ROUNDS_EACH
    for number in range(rounds):
        for each in rotated(gateways, number):
            asked = origin.requests()
            measured = measure_once(each, SCORED.variant, load, plan.cores, number)
            if origin.requests() != asked:
                raise BenchError(f"{each.name}: not all requests were hits.")
            empty_logs(plan.work)
            sample = measured.sample
            say(
                f"  round {number + 1}/{rounds}  {each.name:<26} "
                f"{sample.requests_per_second:>9,.0f}/s  p99 {sample.p99_ms:.2f} ms"
            )
            yield measured


def _lost(measured: Measurements, name: str) -> Spread:
    """Return which share of requests/s is lost against nothing, round by round."""
    variant, connections = SCORED.variant, SCORED.connections
    kept = paired_ratios(
        measured.rates(variant, connections, name), measured.rates(variant, connections, BARE)
    )
    return Spread(median=1 - kept.median, low=1 - kept.high, high=1 - kept.low)


def _report(measured: Measurements, settings: Settings) -> Report:
    return Report(
        name="secured_hits",
        title="What security costs a hit",
        method=(
            f"{SCORED.name}, {SCORED.connections} connections, everything stored before. One "
            f"worker each on one core, taking turns in {settings.rounds * ROUNDS_EACH} rounds of "
            f"{settings.seconds} s; medians, with the lowest and the highest. Losses are of "
            f"requests/s, taken within a round. All send the same bytes; metrics and access logs "
            f"on. The limit counts each request by its client in shared memory and is never "
            f"reached."
        ),
        tables=[
            Table(
                title="Hits",
                header=(
                    "policy has",
                    "requests/s",
                    "low-high",
                    "p99 ms",
                    "CPU us",
                    "lost",
                    "low-high",
                ),
                rows=[_row(measured, name) for name in _POLICIES],
            )
        ],
        targets=[
            Target(
                text=f"{name}: at most {MOST_LOST:.0%} of hits lost; "
                f"{_lost(measured, name).median:.1%}",
                met=_lost(measured, name).median <= MOST_LOST,
            )
            for name in _SCORED_AGAINST_BARE
        ],
        samples={"samples": [each.as_dict() for each in measured.samples]},
        draw=lambda path: _draw(measured, path),
        notes=[*measured.error_notes(), *measured.disturbance_notes()],
    )


def _row(measured: Measurements, name: str) -> list[str]:
    variant, connections = SCORED.variant, SCORED.connections
    rate = spread(measured.rates(variant, connections, name))
    lost = _lost(measured, name)
    return [
        name,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f}-{rate.high:,.0f}",
        f"{spread(measured.p99s(variant, connections, name)).median:.2f}",
        f"{measured.cpu_microseconds(variant, connections, name):.1f}",
        "" if name == BARE else f"{lost.median:.1%}",
        "" if name == BARE else f"{lost.low:.1%}-{lost.high:.1%}",
    ]


def _draw(measured: Measurements, path: Path) -> None:
    spreads = [spread(measured.rates(SCORED.variant, SCORED.connections, n)) for n in _POLICIES]
    figure = new_figure(1, 1, title="Hits by what the policy has", width=7, height=3)
    draw_bars(
        figure.axes[0], list(_POLICIES), {"": [(s.median, s.low, s.high) for s in spreads]},
        title="median, lowest and highest", unit="requests/s", form="{:,.0f}",
    )  # fmt: skip
    save_figure(figure, path)
