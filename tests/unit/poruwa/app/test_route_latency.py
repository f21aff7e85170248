"""What is learned of each route, and of how many."""

from __future__ import annotations

from poruwa.app.route_latency import MAX_ROUTES, READ_SECONDS, RouteLatency
from poruwa.config.model import Hedge
from poruwa.rules.latency import UNKNOWN_SECONDS


def learned(latency: RouteLatency, route: str, seconds: float) -> None:
    latency.patience(route, 0.0)
    for _ in range(100):
        latency.record(route, seconds)


def test_each_route_has_its_own_patience() -> None:
    latency = RouteLatency(Hedge(least_seconds=0.05))
    learned(latency, "GET fast", 0.001)
    learned(latency, "GET slow", 0.4)
    later = 2 * READ_SECONDS
    assert latency.patience("GET fast", later).hedge_seconds == 0.05
    assert 0.8 <= latency.patience("GET slow", later).hedge_seconds <= 0.96  # two medians
    assert latency.patience("GET new", later).hedge_seconds == UNKNOWN_SECONDS


def test_only_the_routes_used_last_are_kept() -> None:
    latency = RouteLatency(Hedge(least_seconds=0.05))
    learned(latency, "GET kept", 0.001)
    learned(latency, "GET forgotten", 0.001)
    now = 2 * READ_SECONDS
    for number in range(MAX_ROUTES - 1):
        latency.patience("GET kept", now)
        latency.patience(f"GET {number}", now)
    assert latency.patience("GET kept", now).hedge_seconds == 0.05
    latency.record("GET forgotten", 0.001)  # of an answer that came too late: nothing happens
    assert latency.patience("GET forgotten", now).hedge_seconds == UNKNOWN_SECONDS
