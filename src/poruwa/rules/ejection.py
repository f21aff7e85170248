"""Passive health: what live traffic says of each instance of a pool, and what follows from it.

Whoever counts outcomes (in the gateway the control process, once per machine) passes those of a
short while through ``judge_pool`` and publishes the standings. States are immutable, one per
instance.

| standing | leaves it on                                                   | for      |
|----------|----------------------------------------------------------------|----------|
| admitted | ``failures`` in a row, or an ``error_share`` above the others' | ejected  |
| ejected  | the end of its time                                            | probing  |
| probing  | an answer: slow start follows                                  | admitted |
| probing  | a failure: twice as long as the last time                      | ejected  |

Never more than ``largest_share`` of a pool is ejected, never the last instance that serves, and
nobody where the others fail alike: then it is the site, or the request, that is broken.

Between the first failure and the ejection, and where an ejection is not allowed, the *slowness*
keeps requests away: how many times more than it has a request to this instance is to be thought to
have under way. Balancing multiplies by it, so an instance that fails in a millisecond does not look
the least loaded of all.

Sources: outlier detection and panic threshold as in Envoy, the half-open state of a circuit breaker
(Nygard, "Release It!"), slow start as in HAProxy and Envoy. No clock: ``now`` is any one clock, in
seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import exp
from typing import Protocol

LEAST_REQUESTS = 10.0
"""In the window, before a share of errors means anything."""

SLOWEST = 256.0
"""Largest slowness: enough that hundreds of requests under way elsewhere still look better."""

SLOW_START_SLOWNESS = 10.0
"""With which an instance begins its slow start: a tenth of its share."""


class Standing(Enum):
    """What live traffic says of an instance."""

    ADMITTED = "admitted"
    EJECTED = "ejected"
    PROBING = "probing"  # one request at a time shows whether it serves again


class EjectionReason(Enum):
    """Why an instance was ejected; the same word in log, metrics, status and ``explain``."""

    NONE = "none"
    FAILURES = "failures-in-a-row"
    ERROR_SHARE = "error-share"
    PROBE_FAILED = "probe-failed"


class EjectionSettings(Protocol):
    """The part of ``config.model.Ejection`` that is read here."""

    @property
    def enabled(self) -> bool: ...
    @property
    def failures(self) -> int: ...
    @property
    def error_share(self) -> float: ...
    @property
    def window_seconds(self) -> float: ...
    @property
    def base_seconds(self) -> float: ...
    @property
    def longest_seconds(self) -> float: ...
    @property
    def largest_share(self) -> float: ...
    @property
    def panic_share(self) -> float: ...
    @property
    def slow_start_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What came of the requests to one instance since the last judgement.

    Attributes:
        answered: good answers.
        failed: failures: no answer, a late one that another instance overtook, an error status.
        in_a_row: the longest run of failures that is still going on, as one observer sees it.
    """

    answered: int = 0
    failed: int = 0
    in_a_row: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassiveState:
    """What is remembered of one instance.

    Attributes:
        since: when the standing last changed.
        until: when an ejection ends.
        reason: of the last ejection.
        ejections: in a row; the next lasts twice as long.
        good, bad: answers and failures within the window, fading.
        in_a_row: failures since the last answer.
        returned_at: when slow start began; 0.0 for none.
    """

    standing: Standing = Standing.ADMITTED
    since: float = 0.0
    until: float = 0.0
    reason: EjectionReason = EjectionReason.NONE
    ejections: int = 0
    good: float = 0.0
    bad: float = 0.0
    in_a_row: int = 0
    returned_at: float = 0.0

    @property
    def error_share(self) -> float:
        """Failed share of the window, 0-1."""
        total = self.good + self.bad
        return self.bad / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One instance of the pool that is judged; ``is_up`` is the active checks' word."""

    state: PassiveState
    outcomes: Outcomes
    is_up: bool = True


def judge_pool(
    members: Sequence[Member], settings: EjectionSettings, *, now: float, elapsed: float
) -> tuple[PassiveState, ...]:
    """Return the states of a pool's instances after the outcomes of ``elapsed`` seconds.

    A pool of one, or with ``enabled`` off, counts but ejects nobody.
    """
    states = [_counted(member, settings, elapsed) for member in members]
    may_eject = settings.enabled and len(members) > 1
    for index, member in enumerate(members):
        state, outcomes = states[index], member.outcomes
        if state.standing is Standing.EJECTED:
            if now >= state.until:
                states[index] = replace(state, standing=Standing.PROBING, since=now)
        elif state.standing is Standing.PROBING:
            if outcomes.failed:
                states[index] = _ejected(state, EjectionReason.PROBE_FAILED, settings, now)
            elif outcomes.answered:
                states[index] = _admitted(state, now)
        elif may_eject:
            reason = _reason_to_eject(members, states, index, settings)
            if reason is not None and _is_ejection_allowed(members, states, index, settings):
                states[index] = _ejected(state, reason, settings, now)
        if states[index].standing is Standing.ADMITTED:
            states[index] = _forgiven(states[index], settings, now)
    return tuple(states)


def returned(state: PassiveState, now: float) -> PassiveState:
    """Return the state of an instance that the active checks found up again: slow start."""
    return replace(state, returned_at=now, in_a_row=0, good=0.0, bad=0.0)


def is_panic(healthy: int, total: int, settings: EjectionSettings) -> bool:
    """Tell whether so few are healthy that health is to be ignored (panic threshold)."""
    return total > 1 and healthy < settings.panic_share * total


def slowness(state: PassiveState, settings: EjectionSettings, *, now: float) -> float:
    """Return how many times slower than it is an instance is to be thought, 1 to ``SLOWEST``.

    For its errors (the square of one over the good share) and for what slow start withholds. How
    fast its answers are is ``rules.speed``'s business.
    """
    factor = _withheld(state, settings, now)
    if state.bad:
        good_share = max(1.0 - _recent_error_share(state), 1.0 / 16.0)
        factor /= good_share * good_share
    return min(factor, SLOWEST)


def _counted(member: Member, settings: EjectionSettings, elapsed: float) -> PassiveState:
    """Return the state with the outcomes added and what is old faded."""
    state, outcomes = member.state, member.outcomes
    kept = exp(-elapsed / settings.window_seconds)
    in_a_row = outcomes.in_a_row if outcomes.answered else state.in_a_row + outcomes.failed
    return replace(
        state,
        good=state.good * kept + outcomes.answered,
        bad=state.bad * kept + outcomes.failed,
        in_a_row=in_a_row,
    )


def _reason_to_eject(
    members: Sequence[Member],
    states: Sequence[PassiveState],
    index: int,
    settings: EjectionSettings,
) -> EjectionReason | None:
    state = states[index]
    others_good = sum(other.good for at, other in enumerate(states) if at != index)
    others_bad = sum(other.bad for at, other in enumerate(states) if at != index)
    others_total = others_good + others_bad
    others_share = others_bad / others_total if others_total else 0.0
    if (
        state.in_a_row >= settings.failures
        and others_share < settings.error_share
        and not _are_failing_now(members, states, index, settings)
    ):
        return EjectionReason.FAILURES
    if (
        state.good + state.bad >= LEAST_REQUESTS
        and state.error_share - others_share >= settings.error_share
        and state.in_a_row > 0
    ):
        return EjectionReason.ERROR_SHARE
    return None


def _are_failing_now(
    members: Sequence[Member],
    states: Sequence[PassiveState],
    index: int,
    settings: EjectionSettings,
) -> bool:
    """Tell whether all others that serve have begun to fail too.

    The window does not say so yet: it is full of the good answers of before. Half the failures in
    a row are enough, for they come to each instance at a slightly different time.
    """
    rows = [
        states[at].in_a_row
        for at, member in enumerate(members)
        if at != index and member.is_up and states[at].standing is Standing.ADMITTED
    ]
    return bool(rows) and 2 * min(rows) >= settings.failures


def _is_ejection_allowed(
    members: Sequence[Member],
    states: Sequence[PassiveState],
    index: int,
    settings: EjectionSettings,
) -> bool:
    out = sum(state.standing is not Standing.ADMITTED for state in states)
    at_most = max(1, int(settings.largest_share * len(members))) if settings.largest_share else 0
    serving = sum(
        member.is_up and states[at].standing is Standing.ADMITTED
        for at, member in enumerate(members)
        if at != index
    )
    return out < at_most and serving > 0


def _ejected(
    state: PassiveState, reason: EjectionReason, settings: EjectionSettings, now: float
) -> PassiveState:
    return replace(
        state,
        standing=Standing.EJECTED,
        since=now,
        until=now + _ejection_seconds(state.ejections, settings),
        reason=reason,
        ejections=state.ejections + 1,
        returned_at=0.0,
    )


def _admitted(state: PassiveState, now: float) -> PassiveState:
    return replace(
        state,
        standing=Standing.ADMITTED,
        since=now,
        returned_at=now,
        in_a_row=0,
        good=0.0,
        bad=0.0,
    )


def _forgiven(state: PassiveState, settings: EjectionSettings, now: float) -> PassiveState:
    """Forget ejections once an instance has served as long as its last one lasted."""
    if state.ejections and now - state.since > _ejection_seconds(state.ejections - 1, settings):
        return replace(state, ejections=0)
    return state


def _ejection_seconds(before: int, settings: EjectionSettings) -> float:
    """Return how long an ejection lasts that comes after ``before`` others in a row."""
    doubled = settings.base_seconds * 2.0 ** min(before, 30)
    return float(min(doubled, settings.longest_seconds))


def _recent_error_share(state: PassiveState) -> float:
    """Return the error share that slowness goes by.

    Failures in a row weigh at once, and both fade with the window, so that an instance that gets
    nothing any more is tried again by and by.
    """
    share = state.bad / (state.good + state.bad + 1.0)
    return max(share, (1.0 - 0.5**state.in_a_row) * min(state.bad, 1.0))


def _withheld(state: PassiveState, settings: EjectionSettings, now: float) -> float:
    """Return the factor that slow start puts on an instance, falling to 1."""
    if not state.returned_at or settings.slow_start_seconds <= 0.0:
        return 1.0
    progress = (now - state.returned_at) / settings.slow_start_seconds
    if progress >= 1.0:
        return 1.0
    # Its share grows evenly: the factor is one over it.
    share = 1.0 / SLOW_START_SLOWNESS + (1.0 - 1.0 / SLOW_START_SLOWNESS) * max(progress, 0.0)
    return 1.0 / share
