"""What is searched, switched and counted when the site is measured with its cache and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.edits import EditSample
from bench.site_stack import policy_file
from bench.visits import Visits, api_paths, most_held, page_paths
from bench.with_without import cache_outcomes, policy_for, shares_of_hits
from bench.wrk import Sample

from poruwa.config.load import load_policy

METRICS = """\
# HELP poruwa_cache_requests_total What the cache did for requests.
# TYPE poruwa_cache_requests_total counter
poruwa_cache_requests_total{class="home",outcome="hit"} 100.0
poruwa_cache_requests_total{class="api",outcome="hit"} 20.0
poruwa_cache_requests_total{class="api",outcome="miss"} 1e+01
poruwa_cache_requests_total{class="api",outcome="stored"} 9.0
poruwa_requests_total{route="home"} 77.0
"""


@pytest.mark.parametrize("capacity", [0, 7, 8, 9, 100, 129, 1000, 5000])
def test_the_largest_number_held_is_found_within_a_tenth(capacity: int) -> None:
    asked: list[int] = []

    def is_held(visitors: int) -> bool:
        asked.append(visitors)
        return visitors <= capacity

    found = most_held(is_held, start=8, most=1000)
    if capacity < 8:
        assert found == 0
    else:
        assert min(capacity, 1000) * 0.9 <= found <= min(capacity, 1000)
    assert max(asked) <= 1000
    assert len(asked) == len(set(asked))


def test_pages_come_in_all_languages_and_each_once() -> None:
    pages = page_paths(["/venues/1", "/venues/2"], ["/vendors/cakes/3"])
    assert pages[:3] == ["/", "/si", "/ta"]
    assert len(set(pages)) == len(pages)
    for language in ("", "/si", "/ta"):
        assert {f"{language}/venues/2", f"{language}/vendors/cakes/3"} <= set(pages)
    assert page_paths(["/venues/1", "/venues/2"], ["/vendors/cakes/3"]) == pages
    assert "/api/v1/venues/1" in api_paths(["/venues/1"])


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    "section", ["", "[cache]\nmemory = '64MiB'\n", "[cache]\nenabled = true\n"]
)
def test_only_the_cache_differs_between_the_policies(
    cached: bool, section: str, tmp_path: Path
) -> None:
    """And the site's own policy is one that can be changed so, whatever else is in it."""
    text = policy_file().read_text()
    if section and "\n[cache]\n" not in text:
        text += section
    path = tmp_path / "site.toml"
    path.write_text(policy_for(text, cached=cached))
    keys = {"PORUWA_AFFINITY_KEYS": "k" * 43, "PORUWA_SESSION_KEYS": "s" * 43}
    policy = load_policy(path, environ=keys)
    assert policy.cache.enabled is cached
    inner = {each.name for each in policy.classes if each.lifetimes.memory_seconds is not None}
    assert bool(inner) is cached
    assert policy.limits.connections_per_client == 0


def test_outcomes_are_read_from_the_metrics() -> None:
    assert cache_outcomes(METRICS) == {
        "home": {"hit": 100.0},
        "api": {"hit": 20.0, "miss": 10.0, "stored": 9.0},
    }


def test_the_share_of_hits_is_of_requests_not_of_what_followed_from_them() -> None:
    before = {"api": {"hit": 120.0, "miss": 10.0}}
    after = {
        "api": {
            "hit": 150.0, "stale": 10.0, "miss": 30.0, "joined": 10.0, "pass": 20.0, "stored": 99,
        },
        "home": {"hit": 10.0},
    }  # fmt: skip
    assert shares_of_hits(before, after) == pytest.approx(
        {"api": 40 / 90, "home": 1.0, "": 50 / 100}
    )
    assert shares_of_hits({}, {}) == {"": 0.0}


@pytest.mark.parametrize(("answered", "kept_up"), [(8 * 8, True), (8 * 4, False)])
def test_visitors_who_could_not_ask_are_not_held(answered: int, kept_up: bool) -> None:
    """Eight who ask once a second have asked some 64 times in nine, the first a second late."""
    assert _visits(8, answered, seconds=9.0).kept_up is kept_up


def test_changes_that_could_not_be_made_are_not_held() -> None:
    assert not _visits(8, 72, seconds=9.0, changes=6).kept_up


def _visits(visitors: int, answered: int, *, seconds: float, changes: int = 10) -> Visits:
    thirds = [
        Sample(
            requests=answered // 3, seconds=seconds, requests_per_second=answered / 3 / seconds,
            bytes_per_request=9000.0, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0, max_ms=4.0, errors={},
        )
        for _ in range(3)
    ]  # fmt: skip
    return Visits(
        visitors=visitors,
        pages=thirds[0],
        signed_in=thirds[1],
        api=thirds[2],
        edits=EditSample(changes=changes, due=10),
    )
