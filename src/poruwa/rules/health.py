"""What a series of health checks means: when an instance goes up or down, and when to ask again.

The checker (in the control process) makes a check, passes its result through ``advance`` and waits
``next_check_delay``. Every state carries its reason, which the log, metrics and ``explain`` show.

| status  | a check passes                     | a check fails                      |
|---------|------------------------------------|------------------------------------|
| unknown | up: the first word is believed     | down                               |
| up      | failures forgotten                 | down after ``fall`` in a row       |
| down    | up after ``rise`` in a row         | successes forgotten                |

Passive health (from live traffic) and draining are decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol


class HealthStatus(Enum):
    """The verdict on an instance."""

    UNKNOWN = "unknown"  # never checked since it joined
    UP = "up"
    DOWN = "down"


class CheckReason(Enum):
    """What one check found, or why a status is as it is."""

    NOT_CHECKED = "not-checked"
    PASSED = "passed"
    REFUSED = "connection-refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect-timeout"
    TIMEOUT = "timeout"
    CLOSED = "closed-early"
    NOT_HTTP = "not-http"
    STATUS = "unexpected-status"
    BODY = "unexpected-body"
    FAILED = "failed"  # any other failure; the detail says which


class HealthSettings(Protocol):
    """The part of ``config.model.Health`` that is read here."""

    @property
    def interval_seconds(self) -> float: ...
    @property
    def fast_interval_seconds(self) -> float: ...
    @property
    def rise(self) -> int: ...
    @property
    def fall(self) -> int: ...
    @property
    def jitter(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check: whether it passed, why not, in words for people, and how long it took."""

    ok: bool
    reason: CheckReason = CheckReason.PASSED
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """What is known of one instance.

    Attributes:
        since: when the status last changed, on the clock of ``advance``'s ``now``.
        reason, detail: of the check that last changed the status, or that now contradicts it.
        successes, failures: checks in a row; one of them is 0.
        seconds: how long the last check took.
    """

    status: HealthStatus = HealthStatus.UNKNOWN
    since: float = 0.0
    reason: CheckReason = CheckReason.NOT_CHECKED
    detail: str = ""
    successes: int = 0
    failures: int = 0
    seconds: float = 0.0

    @property
    def is_up(self) -> bool:
        return self.status is HealthStatus.UP

    @property
    def is_settled(self) -> bool:
        """Whether nothing points at a change: up, and the last check passed."""
        return self.status is HealthStatus.UP and self.failures == 0


def advance(
    state: HealthState, result: CheckResult, settings: HealthSettings, now: float
) -> HealthState:
    """Return the state after one more check. ``now`` is any one clock, in seconds."""
    successes = state.successes + 1 if result.ok else 0
    failures = 0 if result.ok else state.failures + 1
    status = _status_after(state.status, successes, failures, settings)
    has_changed = status is not state.status
    # A passing check of a down instance does not explain why it is still down: keep the cause.
    explains = has_changed or not result.ok or status is HealthStatus.UP
    return replace(
        state,
        status=status,
        since=now if has_changed else state.since,
        reason=result.reason if explains else state.reason,
        detail=result.detail if explains else state.detail,
        successes=successes,
        failures=failures,
        seconds=result.seconds,
    )


def next_check_delay(
    state: HealthState,
    settings: HealthSettings,
    random: Callable[[], float],
    *,
    is_doubted: bool = False,
) -> float:
    """Return the seconds until the next check of an instance.

    The interval once it is settled; the fast one while a check contradicts the status, while live
    traffic does (``is_doubted``) and while the instance is down, since each second of a recovered
    instance's absence is capacity lost. A new instance is checked within one fast interval times
    ``jitter``. Spread by ``jitter`` both ways; ``random`` returns floats of [0, 1).
    """
    fast = min(settings.fast_interval_seconds, settings.interval_seconds)
    if state.status is HealthStatus.UNKNOWN:
        return fast * settings.jitter * random()
    interval = settings.interval_seconds if state.is_settled and not is_doubted else fast
    return interval * (1.0 + settings.jitter * (2.0 * random() - 1.0))


def judge_response(
    status: int,
    body: bytes,
    *,
    expect_status: Sequence[int | str],
    expect_body: str | None,
    seconds: float,
) -> CheckResult:
    """Return what an HTTP answer to a check means.

    Args:
        status: of the final response.
        body: as much of it as was read; ``expect_body`` is looked for in it.
        expect_status: numbers, or classes such as ``"2xx"``.
        expect_body: text that must occur, or None.
        seconds: how long the check took.
    """
    if not is_expected_status(status, expect_status):
        return CheckResult(
            ok=False, reason=CheckReason.STATUS, detail=f"status {status}", seconds=seconds
        )
    if expect_body is not None and expect_body.encode() not in body:
        detail = f"the body does not contain {expect_body!r}"
        return CheckResult(ok=False, reason=CheckReason.BODY, detail=detail, seconds=seconds)
    return CheckResult(ok=True, detail=f"status {status}", seconds=seconds)


def is_expected_status(status: int, expected: Sequence[int | str]) -> bool:
    """Whether ``status`` is one of ``expected``: numbers, or classes such as ``"2xx"``."""
    return any(
        status == item if isinstance(item, int) else f"{status // 100}xx" == item.lower()
        for item in expected
    )


def _status_after(
    status: HealthStatus, successes: int, failures: int, settings: HealthSettings
) -> HealthStatus:
    if status is HealthStatus.UNKNOWN:
        return HealthStatus.UP if successes else HealthStatus.DOWN
    if status is HealthStatus.UP:
        return HealthStatus.DOWN if failures >= settings.fall else status
    return HealthStatus.UP if successes >= settings.rise else status
