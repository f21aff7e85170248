"""From when on a try is late is learned from a route's answers (G7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.model import Hedge
from poruwa.rules.latency import (
    LEAST_SAMPLES,
    MEDIANS,
    MEMORY_SECONDS,
    TRY_TIMEOUT_HEDGES,
    UNKNOWN_SECONDS,
    LatencyHistogram,
    patience,
)

BUCKET = 1.25


def histogram(*seconds: float) -> LatencyHistogram:
    made = LatencyHistogram(0.0)
    for each in seconds:
        made.record(each)
    return made


@given(st.lists(st.floats(0.0003, 60.0), min_size=1, max_size=200), st.floats(0.01, 0.999))
def test_a_quantile_is_within_one_bucket_of_the_truth(seconds: list[float], share: float) -> None:
    ordered = sorted(seconds)
    wanted = share * len(ordered)
    truth = next(each for at, each in enumerate(ordered, start=1) if at >= wanted)
    found = histogram(*seconds).quantile(share)
    assert truth * 0.999 <= found <= truth * BUCKET * 1.001


@given(st.floats(0.0, 1e9))
def test_any_time_has_a_bucket(seconds: float) -> None:
    assert histogram(seconds).samples == 1.0


def test_nothing_is_known_at_first() -> None:
    found = patience(histogram(), Hedge())
    assert found.hedge_seconds == UNKNOWN_SECONDS
    few = patience(histogram(*[0.01] * (round(LEAST_SAMPLES) - 1)), Hedge())
    assert few.hedge_seconds == UNKNOWN_SECONDS


def test_an_even_route_is_given_two_medians() -> None:
    found = patience(histogram(*[0.05] * 100), Hedge())
    assert MEDIANS * 0.05 <= found.hedge_seconds <= MEDIANS * 0.05 * BUCKET
    assert found.try_seconds >= TRY_TIMEOUT_HEDGES * found.hedge_seconds


def test_a_route_with_a_slow_tail_is_given_its_tail() -> None:
    found = patience(histogram(*[0.01] * 90, *[1.0] * 10), Hedge(quantile=0.95))
    assert 1.0 <= found.hedge_seconds <= BUCKET


def test_floors_hold() -> None:
    settings = Hedge(least_seconds=0.2, try_timeout_floor_seconds=2.0)
    found = patience(histogram(*[0.001] * 100), settings)
    assert (found.hedge_seconds, found.try_seconds) == (0.2, 2.0)


def test_what_was_is_forgotten() -> None:
    made = histogram(*[1.0] * 100)
    made.fade(3 * MEMORY_SECONDS)
    assert made.samples < 6
    for _ in range(100):
        made.record(0.01)
    assert made.quantile(0.9) < 0.02
