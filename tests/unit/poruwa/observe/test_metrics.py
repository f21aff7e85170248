"""Counters of a worker, their sum over workers, and the page Prometheus reads (E1, E2)."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from poruwa.observe.metrics import (
    GatewayMetrics,
    merge,
    render_prometheus,
    without_gauges,
)
from poruwa.observe.response_counts import BUCKETS_SECONDS, MAX_ROUTES


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the page with Prometheus's own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(page: bytes, name: str, **labels: str) -> float | None:
    return samples(page).get((name, frozenset(labels.items())))


def worker() -> GatewayMetrics:
    metrics = GatewayMetrics(started_at=1000.0)
    metrics.record("venues", 200, "app1", 0.15, 10, 2000)
    metrics.record("venues", 200, "app2", 0.2, 0, 1000)
    metrics.record("venues", 404, "app1", 7.0, 0, 100)
    metrics.record("none", 503, None, 99.0, 0, 300)
    metrics.retried("not-connected")
    metrics.refused("length-invalid")
    metrics.connected("app1")
    metrics.connect_failed("app2")
    metrics.counted("upgraded")
    metrics.in_flight = {"app1": 3}
    metrics.connections = {"active": 2, "idle": 5}
    metrics.instance_up = {"app": {"app1": True, "app2": False}}
    return metrics


def test_page_of_one_worker() -> None:
    page = render_prometheus(merge([worker().snapshot()]))
    assert value(page, "poruwa_requests_total", route="venues", status="200", instance="app1") == 1
    assert value(page, "poruwa_requests_total", route="none", status="503", instance="none") == 1
    assert value(page, "poruwa_request_seconds_bucket", route="venues", le="0.1") == 0
    assert value(page, "poruwa_request_seconds_bucket", route="venues", le="0.2") == 2
    assert value(page, "poruwa_request_seconds_bucket", route="venues", le="+Inf") == 3
    assert value(page, "poruwa_request_seconds_bucket", route="none", le="10.0") == 0
    assert value(page, "poruwa_request_seconds_count", route="venues") == 3
    assert value(page, "poruwa_request_seconds_sum", route="venues") == pytest.approx(7.35)
    assert value(page, "poruwa_bytes_total", direction="in") == 10
    assert value(page, "poruwa_bytes_total", direction="out") == 3400
    assert value(page, "poruwa_retries_total", reason="not-connected") == 1
    assert value(page, "poruwa_refusals_total", reason="length-invalid") == 1
    assert value(page, "poruwa_connects_total", instance="app1") == 1
    assert value(page, "poruwa_connect_failures_total", instance="app2") == 1
    assert value(page, "poruwa_events_total", event="upgraded") == 1
    assert value(page, "poruwa_in_flight", instance="app1") == 3
    assert value(page, "poruwa_connections", state="idle") == 5
    assert value(page, "poruwa_instance_up", pool="app", instance="app2") == 0
    assert value(page, "poruwa_worker_start_time_seconds", pid=str(os.getpid())) == 1000.0
    assert (value(page, "poruwa_worker_resident_bytes", pid=str(os.getpid())) or 0) > 1_000_000


def test_workers_add_up_and_the_dead_keep_their_counters_only() -> None:
    live = [worker().snapshot(), worker().snapshot()]
    page = render_prometheus(merge(live, retired=[worker().snapshot()]))
    assert value(page, "poruwa_requests_total", route="venues", status="200", instance="app1") == 3
    assert value(page, "poruwa_in_flight", instance="app1") == 6
    assert value(page, "poruwa_workers") == 2
    assert value(page, "poruwa_instance_up", pool="app", instance="app1") == 1


def test_what_a_supervisor_keeps_of_the_dead() -> None:
    kept = without_gauges(merge([worker().snapshot(), worker().snapshot()]))
    again = merge([], retired=[kept, worker().snapshot()])
    assert sum(sum(row.values[:14]) for row in again.rows) == 12
    assert again.retries == {"not-connected": 3}
    assert (again.in_flight, again.workers, again.instance_up) == ({}, [], {})


def test_one_doubt_is_enough_to_call_an_instance_down() -> None:
    one, other = worker(), worker()
    other.instance_up = {"app": {"app1": False}}
    for pair in ((one, other), (other, one)):
        assert merge([each.snapshot() for each in pair]).instance_up["app"]["app1"] is False


def test_labels_are_bounded() -> None:
    metrics = GatewayMetrics()
    for number in range(3 * MAX_ROUTES):
        metrics.record(f"route{number}", 200, None, 0.01, 0, 0)
    for status in range(100, 1000):
        metrics.record("venues", status, None, 0.01, 0, 0)
    snapshot = merge([metrics.snapshot()])
    assert len({row.route for row in snapshot.rows}) == MAX_ROUTES + 1
    statuses = {row.status for row in snapshot.rows}
    assert {"200", "404", "499", "7xx", "9xx"} <= statuses
    assert len(statuses) < 80
    assert sum(sum(row.values[: len(BUCKETS_SECONDS) + 1]) for row in snapshot.rows) == (
        3 * MAX_ROUTES + 900
    )


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(100, 999)), max_size=50))
def test_histogram_counts_what_was_recorded(exchanges: list[tuple[float, int]]) -> None:
    metrics = GatewayMetrics()
    for seconds, status in exchanges:
        metrics.record("r", status, "i", seconds, 1, 1)
    page = render_prometheus(merge([metrics.snapshot()]))
    for bound in BUCKETS_SECONDS:
        wanted = sum(seconds <= bound for seconds, _ in exchanges)
        assert value(page, "poruwa_request_seconds_bucket", route="r", le=str(bound)) == (
            wanted if exchanges else None
        )


def test_nothing_yet() -> None:
    assert value(render_prometheus(merge([])), "poruwa_workers") == 0
