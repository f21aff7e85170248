"""Unlike instances get unlike loads (A2, issue 3 Show 4), in virtual time."""

from __future__ import annotations

import pytest

from fakes.simulated_pool import SimulatedInstance, SimulatedPool
from poruwa.rules.speed import (
    FORGET_SECONDS,
    UNLIMITED,
    Expectation,
    Speed,
    compared,
    expectations,
    measured,
)

LEARNING_SECONDS = 8.0
SERVICE_SECONDS = 0.05


def pool(*instances: tuple[float, int], clients: int = 16) -> SimulatedPool:
    return SimulatedPool([SimulatedInstance(*each) for each in instances], clients)


@pytest.mark.parametrize("clients", [3, 16, 64])
def test_nothing_is_published_of_equals(clients: int) -> None:
    equal = pool(*[(SERVICE_SECONDS, 1_000_000)] * 3, clients=clients)
    equal.run(10.0)
    assert equal.expected == (Expectation(),) * 3
    assert max(equal.answers.values()) - min(equal.answers.values()) <= clients


def test_what_an_instance_takes_at_a_time_is_learned() -> None:
    """16, 4 and 1: 21 places for 16 clients. Least connections reaches 0.63 of what is possible."""
    unlike = pool((SERVICE_SECONDS, 16), (SERVICE_SECONDS, 4), (SERVICE_SECONDS, 1))
    unlike.run(LEARNING_SECONDS)
    optimum = 16 / SERVICE_SECONDS
    assert unlike.run(30.0) >= 0.95 * optimum


def test_the_fast_get_what_they_can_take() -> None:
    """16 times as fast: 12.5, 50 and 200 ms. Least connections reaches 0.42."""
    unlike = pool((0.0125, 1_000_000), (0.05, 1_000_000), (0.2, 1_000_000))
    unlike.run(LEARNING_SECONDS)
    assert unlike.run(30.0) >= 0.95 * 16 / 0.0125


def test_one_that_turns_slow_is_spared_and_gets_its_share_back() -> None:
    turning = pool(*[(SERVICE_SECONDS, 1_000_000)] * 3)
    turning.run(5.0)
    turning.instances[0].seconds = 10 * SERVICE_SECONDS
    turning.run(8.0)
    turning.answers.clear()
    assert turning.run(20.0) >= 0.94 * 16 / SERVICE_SECONDS
    assert turning.answers[0] < 0.02 * turning.answers.total()
    turning.instances[0].seconds = SERVICE_SECONDS
    turning.run(80.0)
    turning.answers.clear()
    turning.run(90.0)
    assert turning.answers[0] > 0.25 * turning.answers.total()


def test_where_all_queue_alike_nobody_is_held_back() -> None:
    """An overload is no difference between instances."""
    full = pool(*[(SERVICE_SECONDS, 2)] * 3, clients=64)
    full.run(LEARNING_SECONDS)
    full.answers.clear()
    assert full.run(20.0) >= 0.97 * 6 / SERVICE_SECONDS
    assert min(full.answers.values()) > 0.3 * full.answers.total()


def test_little_differences_are_noise() -> None:
    near = pool((0.001, 1_000_000), (0.004, 1_000_000))
    near.run(5.0)
    assert near.expected == (Expectation(),) * 2


def seen(latency: float, *, seconds: float = 10.0, at_a_time: float = 1.0) -> Speed:
    """Return what is known of an instance after so many seconds of such answers."""
    speed = Speed()
    for _ in range(round(seconds / 0.5)):
        answered = max(round(0.5 * at_a_time / latency), 1)
        speed = measured(speed, answered=answered, latency_seconds=answered * latency, elapsed=0.5)
        (speed,) = compared([speed], elapsed=0.5)
    return speed


def test_what_is_known_of_an_idle_instance_is_forgotten() -> None:
    slow, fast = seen(0.5), seen(0.05)
    assert expectations([slow, fast])[0].ratio == pytest.approx(10.0, rel=0.1)
    for _ in range(round(8 * FORGET_SECONDS)):
        slow = measured(slow, answered=0, latency_seconds=0.0, elapsed=1.0)
    assert expectations([slow, fast])[0].ratio < 1.1


def test_no_time_changes_nothing() -> None:
    speed = seen(0.05)
    assert measured(speed, answered=3, latency_seconds=1.0, elapsed=0.0) == speed
    assert Speed().capacity == UNLIMITED
    assert compared([Speed(), Speed()], elapsed=0.05) == (Speed(), Speed())
