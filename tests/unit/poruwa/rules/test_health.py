"""What a series of checks means (A3: interval 30 s, rise, fall 3, fast interval while changing)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.health import (
    CheckReason,
    CheckResult,
    HealthState,
    HealthStatus,
    advance,
    judge_response,
    next_check_delay,
)

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "spec/health/sequences.json").read_text()
)
LETTERS = {HealthStatus.UP: "U", HealthStatus.DOWN: "D", HealthStatus.UNKNOWN: "?"}
PASSED = CheckResult(ok=True, detail="status 200", seconds=0.01)
REFUSED = CheckResult(ok=False, reason=CheckReason.REFUSED, detail="connection refused")


@dataclass(frozen=True)
class Settings:
    interval_seconds: float = 30.0
    fast_interval_seconds: float = 1.0
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_sequences(case: dict[str, Any]) -> None:
    settings = Settings(rise=case.get("rise", 2), fall=case.get("fall", 3))
    state, seen = HealthState(), ""
    for second, check in enumerate(case["checks"]):
        state = advance(state, PASSED if check == "+" else REFUSED, settings, float(second))
        seen += LETTERS[state.status]
    assert seen == case["statuses"]


def test_since_and_reason_tell_what_happened() -> None:
    state = HealthState()
    for second, result in enumerate((PASSED, PASSED, REFUSED, REFUSED, REFUSED), start=10):
        state = advance(state, result, Settings(), float(second))
    assert (state.status, state.since, state.reason) == (
        HealthStatus.DOWN,
        14.0,
        CheckReason.REFUSED,
    )
    half_way = advance(state, PASSED, Settings(), 15.0)
    assert (half_way.since, half_way.reason) == (14.0, CheckReason.REFUSED)  # why it is still down
    back = advance(half_way, PASSED, Settings(), 16.0)
    assert (back.status, back.since, back.reason) == (HealthStatus.UP, 16.0, CheckReason.PASSED)
    assert back.detail == "status 200"


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_a_status_changes_only_after_rise_or_fall_in_a_row(
    checks: list[bool], rise: int, fall: int
) -> None:
    settings = Settings(rise=rise, fall=fall)
    state = HealthState()
    for place, ok in enumerate(checks):
        before = state
        state = advance(state, PASSED if ok else REFUSED, settings, float(place))
        assert (state.successes == 0) != (state.failures == 0)
        if before.status is HealthStatus.UP and state.status is HealthStatus.DOWN:
            assert not any(checks[place - fall + 1 : place + 1])
        if before.status is HealthStatus.DOWN and state.status is HealthStatus.UP:
            assert all(checks[place - rise + 1 : place + 1])


@pytest.mark.parametrize(
    ("checks", "delay"), [("", 0.0), ("+", 30.0), ("+-", 1.0), ("-", 1.0), ("-+", 1.0)]
)
def test_delay_in_the_middle_of_the_jitter(checks: str, delay: float) -> None:
    state = HealthState()
    for check in checks:
        state = advance(state, PASSED if check == "+" else REFUSED, Settings(), 0.0)
    expected = 0.05 if not checks else delay
    assert next_check_delay(state, Settings(), lambda: 0.5) == pytest.approx(expected)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 0.5))
def test_jitter_stays_within_its_share(draw: float, jitter: float) -> None:
    state = advance(HealthState(), PASSED, Settings(), 0.0)
    delay = next_check_delay(state, Settings(jitter=jitter), lambda: draw)
    assert 30 * (1 - jitter) - 1e-9 <= delay <= 30 * (1 + jitter) + 1e-9


def test_a_fast_interval_above_the_interval_slows_nothing_down() -> None:
    settings = Settings(interval_seconds=0.5, fast_interval_seconds=1.0)
    down = advance(HealthState(), REFUSED, settings, 0.0)
    assert next_check_delay(down, settings, lambda: 0.5) == pytest.approx(0.5)


def test_an_instance_that_live_traffic_ejected_is_checked_often() -> None:
    up = HealthState(status=HealthStatus.UP)
    settings = Settings()
    often = next_check_delay(up, settings, lambda: 0.5, is_doubted=True)
    assert often == settings.fast_interval_seconds < next_check_delay(up, settings, lambda: 0.5)


@pytest.mark.parametrize(
    ("status", "body", "expect_status", "expect_body", "reason"),
    [
        (200, b"ok", (200,), None, CheckReason.PASSED),
        (204, b"", ("2xx",), None, CheckReason.PASSED),
        (204, b"", (200, "3xx"), None, CheckReason.STATUS),
        (503, b"ok", (200,), "ok", CheckReason.STATUS),
        (200, b"all is ok here", (200,), "ok", CheckReason.PASSED),
        (200, b"starting", (200,), "ok", CheckReason.BODY),
    ],
)
def test_answers(
    status: int,
    body: bytes,
    expect_status: tuple[int | str, ...],
    expect_body: str | None,
    reason: CheckReason,
) -> None:
    result = judge_response(
        status, body, expect_status=expect_status, expect_body=expect_body, seconds=0.2
    )
    assert (result.ok, result.reason) == (reason is CheckReason.PASSED, reason)
    assert result.seconds == 0.2
