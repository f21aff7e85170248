"""The rate limit's arithmetic, and what clients are told (SECURITY-CHECKS 53, 54, 55)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.rate_limit import Quota, client_bucket, decide, rate_limit_lines


def test_a_burst_is_taken_and_then_one_an_interval() -> None:
    quota = Quota(requests=60, window_seconds=60.0, burst=3)
    arrival, now = 0.0, 1000.0
    for remaining in (2, 1, 0):
        decision = decide(quota, arrival, now)
        assert decision.is_allowed
        assert decision.remaining == remaining
        arrival = decision.arrival
    refused = decide(quota, arrival, now)
    assert not refused.is_allowed
    assert refused.arrival == arrival
    assert refused.retry_seconds == pytest.approx(1.0)
    assert decide(quota, arrival, now + refused.retry_seconds).is_allowed
    assert decide(quota, arrival, now + 3.0).remaining == 2


def test_what_costs_more_than_the_burst_is_never_taken() -> None:
    quota = Quota(requests=10, window_seconds=10.0, burst=2)
    assert decide(quota, 0.0, 5.0, cost=2).is_allowed
    assert not decide(quota, 0.0, 5.0, cost=3).is_allowed


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200),
)
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(
    requests: int, burst: int, gaps: list[float]
) -> None:
    quota = Quota(requests=requests, window_seconds=10.0, burst=burst)
    arrival = now = 0.0
    taken: list[float] = []
    for gap in gaps:
        now += gap
        decision = decide(quota, arrival, now)
        assert decision.remaining <= burst
        if decision.is_allowed:
            arrival = decision.arrival
            taken.append(now)
        else:
            assert decide(quota, arrival, now + decision.retry_seconds).is_allowed
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + (taken[last] - begin) / quota.interval_seconds
            assert last - first + 1 <= allowed + 0.01


def test_clients_are_told_the_policy_and_when_to_come_again() -> None:
    quota = Quota(requests=5, window_seconds=60.0, burst=1)
    taken = decide(quota, 0.0, 100.0)
    assert rate_limit_lines("sign-in", quota, taken) == (
        b'RateLimit-Policy: "sign-in";q=5;w=60\r\nRateLimit: "sign-in";r=0;t=12\r\n'
    )
    refused = decide(quota, taken.arrival, 100.5)
    assert rate_limit_lines("sign-in", quota, refused).endswith(b"Retry-After: 12\r\n")


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:/run/a", "unix:/run/a"),
    ],
)
def test_a_household_is_one_client(address: str, bucket: str) -> None:
    assert client_bucket(address) == bucket


@pytest.mark.parametrize("figures", [(0, 1.0, 1), (1, 0.0, 1), (1, 1.0, 0)])
def test_quotas_that_cannot_be_are_refused(figures: tuple[int, float, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Quota(*figures)
