"""The circuit breaker: who gets through, when, and how long the waits become."""

from __future__ import annotations

import pytest

from poruwa.stores.breaker import (
    CALM_SECONDS,
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    Breaker,
    BreakerState,
)

MIDDLE = 0.5  # of the random numbers: the delay itself


def test_one_failure_opens_and_one_answer_to_a_probe_closes() -> None:
    breaker = Breaker()
    assert breaker.is_closed
    breaker.fail(100.0)
    assert (breaker.state, breaker.is_closed) == (BreakerState.OPEN, False)
    assert breaker.begin_probe()
    assert (breaker.state, breaker.is_closed) == (BreakerState.HALF_OPEN, False)
    breaker.succeed(101.0)
    assert (breaker.state, breaker.is_closed, breaker.opened) == (BreakerState.CLOSED, True, 1)


def test_only_one_probes() -> None:
    breaker = Breaker()
    assert not breaker.begin_probe()
    breaker.fail(100.0)
    assert breaker.begin_probe()
    assert not breaker.begin_probe()


def test_failed_probes_come_at_growing_distances_up_to_the_longest() -> None:
    breaker = Breaker()
    delays = []
    for _ in range(8):
        breaker.fail(100.0)
        delays.append(breaker.delay_seconds(MIDDLE))
        breaker.begin_probe()
    assert delays[:3] == pytest.approx([FIRST_DELAY_SECONDS * 2**n for n in range(3)])
    assert delays[-1] == pytest.approx(LONGEST_DELAY_SECONDS)
    assert breaker.opened == 1


def test_failures_of_callers_from_before_the_opening_are_not_counted_again() -> None:
    breaker = Breaker()
    breaker.fail(100.0)
    before = breaker.delay_seconds(MIDDLE)
    breaker.fail(100.0)
    assert breaker.delay_seconds(MIDDLE) == before
    assert breaker.opened == 1


@pytest.mark.parametrize(
    ("closed_for", "delay"), [(CALM_SECONDS - 1, 2 * FIRST_DELAY_SECONDS), (CALM_SECONDS, None)]
)
def test_the_delay_is_forgotten_after_a_calm_time(closed_for: float, delay: float | None) -> None:
    breaker = Breaker()
    breaker.fail(100.0)
    breaker.begin_probe()
    breaker.succeed(101.0)
    breaker.fail(101.0 + closed_for)
    assert breaker.delay_seconds(MIDDLE) == pytest.approx(delay or FIRST_DELAY_SECONDS)


def test_processes_that_failed_together_do_not_return_together() -> None:
    breaker = Breaker()
    breaker.fail(100.0)
    first, last = breaker.delay_seconds(0.0), breaker.delay_seconds(0.999)
    assert last > 1.5 * first > 0
