"""What samples become: shares of hits, ratios, targets, the steps of a hit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench import cache_profile
from bench.cache_hits import POINTS, SCORED, Hits, _targets
from bench.cache_profile import STEPS, WHOLE, Live, Profile
from bench.cache_proxies import CACHES, VARNISH
from bench.pass_through import Measured, Measurements
from bench.proxies import HAPROXY, NGINX, OURS
from bench.wrk import Sample

RATES = {OURS: 30_000.0, NGINX: 30_000.0, VARNISH: 15_000.0, HAPROXY: 40_000.0}


def _measured(point: str, connections: int, proxy: str, *, p99_ms: float = 1.0) -> Measured:
    rate = RATES[proxy]
    sample = Sample(
        requests=int(rate), seconds=1.0, requests_per_second=rate, bytes_per_request=4500.0,
        p50_ms=0.5, p95_ms=0.8, p99_ms=p99_ms, max_ms=2.0, errors={},
    )  # fmt: skip
    return Measured(
        variant=point, connections=connections, proxy=proxy, round=0, core_busy=1.0,
        cpu_seconds=1.0, disturbance=0.0, sample=sample,
    )  # fmt: skip


def _hits(*, misses: int = 0, our_p99_ms: float = 1.0) -> Hits:
    """Return one round; ``misses`` are nginx's at the scored point."""
    places = [(point, name) for point in POINTS for name in CACHES]
    return Hits(
        measured=Measurements(
            [
                _measured(
                    point.name,
                    point.connections,
                    name,
                    p99_ms=our_p99_ms if name == OURS else 1.0,
                )
                for point, name in places
            ]
        ),
        misses=[misses if place == (SCORED, NGINX) else 0 for place in places],
        live=[],
    )


def test_the_share_of_hits_is_told_by_point_and_cache() -> None:
    hits = _hits(misses=300)
    assert hits.least_share(SCORED, NGINX) == pytest.approx(0.99)
    assert hits.least_share(SCORED, OURS) == 1.0
    assert hits.least_share(POINTS[1], NGINX) == 1.0


def test_targets_are_about_the_scored_point() -> None:
    met = {target.text: target.met for target in _targets(_hits())}
    assert met == {
        "at least 1.0 times nginx's requests/s; 1.00 times": True,
        "at least 1.5 times Varnish's requests/s; 2.00 times": True,
        "at least 0.85 times HAProxy's requests/s; 0.75 times": False,
        "p99 no higher than nginx's; 1.00 ms, nginx's 1.00 ms": True,
        "what is measured are hits, to 99.9% at least; 100.000%": True,
    }


def test_misses_and_a_higher_p99_miss_their_targets() -> None:
    met = [target.met for target in _targets(_hits(misses=31, our_p99_ms=1.01))]
    assert met == [True, True, False, False, False]


def test_what_is_inside_a_step_is_not_counted_twice() -> None:
    timed = dict.fromkeys(STEPS, 1.0) | {"consult": 7.0, "answer": 5.0, WHOLE: 12.0}
    profile = Profile(microseconds=timed, live=Live(user=20.0, kernel=5.0), is_compiled=True)
    own = {name: microseconds for name, _, microseconds in profile.rows()}
    assert own["consult"] == 2.0  # less answer
    assert own["answer"] == 2.0  # less write, record and log
    assert own["between"] == pytest.approx(12.0 - 11.0)
    assert own["loop"] == 8.0
    assert sum(own.values()) == pytest.approx(25.0)


def test_the_steps_are_those_of_a_real_hit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every page is stored and served by the gateway's own objects, or it raises."""
    for name in ("_URLS", "_WALK"):
        monkeypatch.setattr(cache_profile, name, 300)
    monkeypatch.setattr(cache_profile, "_REPETITIONS", 1)
    log = tmp_path / "access.log"
    times = asyncio.run(cache_profile._measure(log))
    assert set(times) == {*STEPS, WHOLE}
    assert all(values[0] > 0 for name, values in times.items() if name != "log")
    lines = log.read_text().splitlines()
    # Filled, checked, by hand, logged, answered, consulted: a line for each page.
    assert len(lines) == 6 * 300
