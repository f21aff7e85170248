"""Instances that fail live requests leave the pool, and come back with care (A3, G8)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.model import Ejection
from poruwa.rules.ejection import (
    SLOW_START_SLOWNESS,
    SLOWEST,
    EjectionReason,
    Member,
    Outcomes,
    PassiveState,
    Standing,
    is_panic,
    judge_pool,
    returned,
    slowness,
)

SETTINGS = Ejection()
GOOD = Outcomes(answered=20)
IDLE = Outcomes()


def bad(failures: int, *, answered: int = 0) -> Outcomes:
    return Outcomes(answered=answered, failed=failures, in_a_row=failures)


class Pool:
    """A pool that is judged step by step."""

    def __init__(self, count: int, settings: Ejection = SETTINGS) -> None:
        self.states = [PassiveState() for _ in range(count)]
        self.settings = settings
        self.now = 100.0
        self.is_up = [True] * count

    def judge(self, *outcomes: Outcomes, elapsed: float = 0.05) -> list[Standing]:
        self.now += elapsed
        members = [
            Member(state=state, outcomes=each, is_up=is_up)
            for state, each, is_up in zip(self.states, outcomes, self.is_up, strict=True)
        ]
        self.states = list(judge_pool(members, self.settings, now=self.now, elapsed=elapsed))
        return [state.standing for state in self.states]


IN, OUT, PROBE = Standing.ADMITTED, Standing.EJECTED, Standing.PROBING


def test_failures_in_a_row_eject_also_when_they_come_a_few_at_a_time() -> None:
    pool = Pool(3)
    assert pool.judge(bad(4), GOOD, GOOD) == [IN, IN, IN]
    assert pool.judge(Outcomes(failed=1, in_a_row=5), GOOD, GOOD) == [OUT, IN, IN]
    assert pool.states[0].reason is EjectionReason.FAILURES
    assert pool.states[0].until == pool.now + SETTINGS.base_seconds


def test_a_success_between_ends_the_row() -> None:
    pool = Pool(3)
    pool.judge(bad(4), GOOD, GOOD)
    pool.judge(Outcomes(answered=1), GOOD, GOOD)
    assert pool.judge(bad(4, answered=0), GOOD, GOOD) == [IN, IN, IN]


def test_a_share_of_errors_beyond_the_others_ejects() -> None:
    pool = Pool(3)
    mixed = Outcomes(answered=3, failed=9, in_a_row=1)
    assert pool.judge(mixed, GOOD, GOOD) == [OUT, IN, IN]
    assert pool.states[0].reason is EjectionReason.ERROR_SHARE


def test_nobody_is_ejected_where_all_fail_alike() -> None:
    """Then it is the site, or the request, that is broken."""
    pool = Pool(3)
    for _ in range(20):
        standings = pool.judge(bad(10), bad(10), bad(10))
    assert standings == [IN, IN, IN]


def test_nobody_is_ejected_when_all_begin_to_fail_at_once() -> None:
    """The window is still full of good answers: half the pool was ejected for it once."""
    pool = Pool(4)
    for _ in range(200):
        pool.judge(GOOD, GOOD, GOOD, GOOD)
    for failures in range(1, 200):
        rows = [max(failures - late, 0) for late in (0, 1, 2, 1)]  # not all at the same moment
        standings = pool.judge(*[Outcomes(failed=1, in_a_row=row) if row else IDLE for row in rows])
        assert standings == [IN, IN, IN, IN]


def test_an_instance_that_is_down_is_no_witness_of_the_others() -> None:
    """It has nothing to fail with: the two that serve do fail alike."""
    pool = Pool(3)
    pool.is_up = [True, True, False]
    for _ in range(20):
        pool.judge(GOOD, GOOD, IDLE)
    assert pool.judge(bad(5), bad(5), IDLE) == [IN, IN, IN]
    pool.judge(bad(5), GOOD, IDLE)
    assert pool.judge(bad(5), GOOD, IDLE) == [OUT, IN, IN]


def test_the_only_instance_is_never_ejected() -> None:
    assert Pool(1).judge(bad(100)) == [IN]


def test_the_last_that_serves_is_never_ejected() -> None:
    pool = Pool(2)
    pool.is_up = [True, False]
    assert pool.judge(bad(100), IDLE) == [IN, IN]


def test_back_off_doubles_until_the_longest_and_is_forgiven() -> None:
    pool = Pool(3)
    lengths = []
    pool.judge(bad(5), GOOD, GOOD)
    for _ in range(9):
        lengths.append(pool.states[0].until - pool.now)
        assert pool.judge(IDLE, GOOD, GOOD, elapsed=lengths[-1]) == [PROBE, IN, IN]
        assert pool.judge(bad(1), GOOD, GOOD) == [OUT, IN, IN]
        assert pool.states[0].reason is EjectionReason.PROBE_FAILED
    assert lengths[:3] == pytest.approx([5.0, 10.0, 20.0])
    assert max(lengths) == pytest.approx(SETTINGS.longest_seconds)
    pool.judge(IDLE, GOOD, GOOD, elapsed=400.0)
    assert pool.judge(Outcomes(answered=1), GOOD, GOOD) == [IN, IN, IN]
    pool.judge(GOOD, GOOD, GOOD, elapsed=SETTINGS.longest_seconds + 1)
    assert pool.states[0].ejections == 0


def test_who_returns_begins_slowly() -> None:
    pool = Pool(3)
    pool.judge(bad(5), GOOD, GOOD)
    pool.judge(IDLE, GOOD, GOOD, elapsed=5.0)
    pool.judge(Outcomes(answered=1), GOOD, GOOD)
    state = pool.states[0]
    factors = [
        slowness(state, SETTINGS, now=pool.now + share * SETTINGS.slow_start_seconds)
        for share in (0.0, 0.3, 0.6, 1.0)
    ]
    assert factors[0] == pytest.approx(SLOW_START_SLOWNESS)
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1.0
    assert slowness(returned(PassiveState(), 7.0), SETTINGS, now=7.0) == factors[0]


def test_failing_looks_slower_with_each_failure_and_is_forgotten_without_requests() -> None:
    pool = Pool(3, Ejection(enabled=False))
    pool.judge(GOOD, GOOD, GOOD)
    before = 1.0
    for _ in range(4):
        pool.judge(Outcomes(failed=1, in_a_row=1), GOOD, GOOD)
        now = slowness(pool.states[0], pool.settings, now=pool.now)
        assert now > before
        before = now
    assert before > 50.0  # enough to send nothing there while others have fewer than that
    for _ in range(400):
        pool.judge(IDLE, GOOD, GOOD, elapsed=0.5)
    assert slowness(pool.states[0], pool.settings, now=pool.now) < 1.1


@pytest.mark.parametrize(
    ("healthy", "total", "expected"),
    [(3, 3, False), (1, 3, False), (0, 3, True), (2, 10, True), (3, 10, False), (0, 1, False)],
)
def test_panic(healthy: int, total: int, *, expected: bool) -> None:
    assert is_panic(healthy, total, SETTINGS) is expected


OUTCOMES = st.builds(
    lambda answered, failed: Outcomes(
        answered=answered, failed=failed, in_a_row=failed if not answered else failed // 2
    ),
    st.integers(0, 50),
    st.integers(0, 50),
)


@given(
    count=st.integers(2, 6),
    answered=st.integers(0, 100),
    failures=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    elapsed=st.sampled_from([0.05, 1.0, 10.0]),
)
def test_who_fails_like_the_others_is_never_ejected(
    count: int, answered: int, failures: list[int], elapsed: float
) -> None:
    pool = Pool(count)
    pool.judge(*[Outcomes(answered=answered)] * count, elapsed=elapsed)
    for each in failures:
        assert pool.judge(*[bad(each)] * count, elapsed=elapsed) == [IN] * count


@given(
    ups=st.lists(st.booleans(), min_size=5, max_size=5),
    steps=st.lists(st.lists(OUTCOMES, min_size=5, max_size=5), max_size=40),
)
def test_one_of_those_that_are_up_stays(ups: list[bool], steps: list[list[Outcomes]]) -> None:
    """Whatever live traffic says, and also where all may be ejected."""
    pool = Pool(5, replace(SETTINGS, largest_share=1.0))
    pool.is_up = ups
    for outcomes in steps:
        standings = pool.judge(*outcomes)
        if any(ups):
            assert any(
                is_up and standing is IN for is_up, standing in zip(ups, standings, strict=True)
            )


@given(
    steps=st.lists(st.lists(OUTCOMES, min_size=5, max_size=5), max_size=40),
    share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    elapsed=st.sampled_from([0.05, 1.0, 10.0]),
)
def test_bounds_hold_whatever_happens(
    steps: list[list[Outcomes]], share: float, elapsed: float
) -> None:
    pool = Pool(5, replace(SETTINGS, largest_share=share))
    for outcomes in steps:
        standings = pool.judge(*outcomes, elapsed=elapsed)
        out = sum(each is not IN for each in standings)
        assert out <= max(1, int(share * 5)) if share else out == 0
        assert IN in standings
        for state in pool.states:
            assert 1.0 <= slowness(state, pool.settings, now=pool.now) <= SLOWEST
            if state.standing is OUT:
                assert state.until - state.since <= pool.settings.longest_seconds + 1e-6
