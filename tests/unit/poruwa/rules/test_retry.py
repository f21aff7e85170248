"""Second sends (A5; DESIGN section 5): never of a POST that may have been received."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.retry import (
    FailureKind,
    RetryBudget,
    RetryDecision,
    is_failure_status,
    may_retry,
)

SAFE = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"QUERY")
UNSAFE = (b"POST", b"PATCH", b"LOCK", b"BREW", b"get")
BOOLEANS = (False, True)


def decide(method: bytes, **changes: object) -> RetryDecision:
    situation: dict[str, object] = {
        "idempotency_key": False,
        "bytes_sent": True,
        "connection_reused": False,
        "response_begun": False,
        "body_replayable": True,
        "failure": FailureKind.CLOSED,
    }
    return may_retry(method=method, **{**situation, **changes})  # type: ignore[arg-type]


def test_decisions_by_situation() -> None:
    assert decide(b"GET") is RetryDecision.IDEMPOTENT
    assert decide(b"POST") is RetryDecision.MAYBE_DONE
    assert decide(b"POST", idempotency_key=True) is RetryDecision.KEYED
    assert decide(b"POST", bytes_sent=False) is RetryDecision.NOTHING_SENT
    assert decide(b"POST", failure=FailureKind.CONNECT) is RetryDecision.NOT_CONNECTED
    assert decide(b"POST", failure=FailureKind.CONNECT_TIMEOUT).is_retry
    assert decide(b"POST", connection_reused=True) is RetryDecision.MAYBE_DONE
    assert decide(b"GET", response_begun=True) is RetryDecision.RESPONSE_BEGUN
    assert decide(b"PUT", body_replayable=False) is RetryDecision.BODY_GONE
    assert decide(b"GET", failure=FailureKind.FIRST_BYTE_TIMEOUT).is_retry


@pytest.mark.parametrize("method", UNSAFE)
def test_no_second_send_of_what_may_have_been_received(method: bytes) -> None:
    """RFC 9110 section 9.2.2, in every situation there is."""
    for failure, reused, replayable, begun in product(FailureKind, BOOLEANS, BOOLEANS, BOOLEANS):
        decision = decide(
            method,
            failure=failure,
            connection_reused=reused,
            body_replayable=replayable,
            response_begun=begun,
        )
        never_connected = failure in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT)
        assert decision.is_retry == (never_connected and not begun)


@pytest.mark.parametrize("method", SAFE)
def test_safe_ones_are_tried_again_until_the_response_begins(method: bytes) -> None:
    for failure, reused, sent in product(FailureKind, BOOLEANS, BOOLEANS):
        changes = {"failure": failure, "connection_reused": reused, "bytes_sent": sent}
        assert decide(method, **changes).is_retry
        assert not decide(method, **changes, response_begun=True).is_retry


def test_budget_begins_with_ten_seconds_of_the_minimum() -> None:
    budget = RetryBudget(0.2, 10.0, now=100.0)
    assert sum(budget.take(100.0) for _ in range(500)) == 100


def test_budget_covers_the_crash_of_a_busy_instance() -> None:
    """2,000 requests/s: the 256 in flight when an instance dies are all tried again (show 5)."""
    budget = RetryBudget(0.2, 10.0, now=0.0)
    for tick in range(20_000):
        budget.deposit()
        if tick % 100 == 0:
            budget.tokens(tick / 2000)
    assert all(budget.take(10.0) for _ in range(256))


def test_budget_bounds_retries_to_its_share() -> None:
    """When every request fails, the extra load is the share and the minimum, not a doubling."""
    budget = RetryBudget(0.2, 1.0, now=0.0)
    retries = requests = 0
    for tick in range(60_000):  # 1,000 requests/s for a minute
        now = tick / 1000
        budget.deposit()
        requests += 1
        retries += budget.take(now)
    assert retries <= 0.2 * requests + 1.0 * 60 + 10
    assert retries >= 0.19 * requests


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_budget_never_gives_more_than_it_got(steps: list[tuple[float, int, int]]) -> None:
    budget, now, deposits, taken = RetryBudget(0.2, 2.0, now=0.0), 0.0, 0, 0
    for pause, requests, retries in steps:
        now += pause
        deposits += requests
        for _ in range(requests):
            budget.deposit()
        taken += sum(budget.take(now) for _ in range(retries))
        assert taken <= 0.2 * deposits + 2.0 * (now + 10.0) + 1e-6
        assert budget.tokens(now) >= 0


def test_clock_going_back_changes_nothing() -> None:
    budget = RetryBudget(0.2, 1.0, now=50.0)
    for _ in range(5):
        assert budget.take(50.0)
    assert budget.tokens(10.0) == 5.0
    assert budget.tokens(50.0) == 5.0


def test_budget_is_never_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        RetryBudget(-0.1, 1.0, 0.0)


@pytest.mark.parametrize(
    ("statuses", "is_failure"),
    [
        ((200, 204, 304, 400, 404, 408, 429, 499), False),  # the client's business
        ((501, 505, 510, 511), False),  # of the request, not of who got it
        ((500, 502, 503, 504, 507, 599), True),
    ],
)
def test_which_statuses_count_against_an_instance(
    statuses: tuple[int, ...], *, is_failure: bool
) -> None:
    assert {is_failure_status(status) for status in statuses} == {is_failure}
