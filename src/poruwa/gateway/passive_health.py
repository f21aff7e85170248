"""The verdicts on instances: active checks, live traffic and the operator's word brought together.

Run by the control process, once per machine, so that no worker learns anew what another knows, and
the bounds on ejection hold for the machine. Twenty times a second it reads from the shared memory
what came of the workers' tries, judges each pool (``rules.ejection``), and publishes what changed.

| published | when                                                                    |
|-----------|-------------------------------------------------------------------------|
| down      | the active checks say so, or the instance was drained to its end         |
| draining  | the operator asked for it                                               |
| ejected   | live requests failed                                                    |
| probing   | an ejection is over                                                     |
| up        | else, once checked; with its slowness                                   |

In a *panic*, when fewer than ``panic_share`` of a pool are well, ejections count for nothing, and
neither do failed checks of instances that do accept connections: then the checks are more likely
wrong than nearly all instances.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from poruwa.clock import Clock
from poruwa.config.model import BalancingMethod, Ejection, Pool
from poruwa.gateway.shared_state import (
    FIXED_POINT,
    InstanceState,
    SharedState,
    SlotCounts,
    Verdict,
)
from poruwa.rules.ejection import (
    Member,
    Outcomes,
    PassiveState,
    Standing,
    is_panic,
    judge_pool,
    returned,
    slowness,
)
from poruwa.rules.health import CheckReason, HealthState
from poruwa.rules.speed import (
    UNLIMITED,
    Expectation,
    Speed,
    compared,
    expectations,
    measured,
)

TICK_SECONDS = 0.05
_NO_COUNTS = SlotCounts(answered=0, failed=0, latency_micros=0, in_a_row=0)
# Nobody listens there, or (down although the checks found nothing wrong) it was drained: no panic
# makes such an instance worth a try.
_ABSENT = frozenset(
    (
        CheckReason.REFUSED,
        CheckReason.UNREACHABLE,
        CheckReason.PASSED,
        CheckReason.NOT_CHECKED,
    )
)
_MICROS = 1e6

_log = structlog.get_logger(component="health")


@dataclass(slots=True, kw_only=True)
class Judged:
    """One instance as the judge knows it.

    Attributes:
        active: what the checks and the operator say, before live traffic is heard.
        reason: of the last check.
        was_refused: whether nobody accepted the checks' connections since it was ejected.
        published: as it stands in the shared memory; None before the first.
    """

    slot: int
    pool: str
    name: str
    weight: int
    active: InstanceState
    reason: CheckReason = CheckReason.NOT_CHECKED
    passive: PassiveState = field(default_factory=PassiveState)
    speed: Speed = field(default_factory=Speed)
    counts: SlotCounts = _NO_COUNTS
    was_refused: bool = False
    published: Verdict | None = None


class Judge:
    """Publishes the verdict on every instance.

    Args:
        shared: where outcomes are read and verdicts go.
        pools: of the policy.

    Attributes:
        on_ejected: told the slot of an instance that was ejected: it is worth a check now.
    """

    def __init__(self, shared: SharedState, pools: Iterable[Pool], *, clock: Clock) -> None:
        self._shared = shared
        self._settings: dict[str, Ejection] = {}
        self._adaptive: set[str] = set()
        self.configure(pools)
        self._clock = clock
        self._judged: dict[int, Judged] = {}
        self._panics: set[str] = set()
        self._judged_at = clock.monotonic()
        self.ejections: Counter[str] = Counter()  # by reason, since the start
        self.on_ejected: Callable[[int], None] | None = None

    def find(self, slot: int) -> Judged | None:
        """Return what is known of the instance in ``slot``."""
        return self._judged.get(slot)

    def is_ejected(self, slot: int) -> bool:
        """Whether live traffic keeps the instance in ``slot`` out now."""
        judged = self._judged.get(slot)
        return judged is not None and judged.passive.standing is Standing.EJECTED

    def is_in_panic(self, pool: str) -> bool:
        """Whether health is ignored in ``pool`` now."""
        return pool in self._panics

    def configure(self, pools: Iterable[Pool]) -> None:
        """Take the settings of ``pools`` from now on."""
        self._settings = {pool.name: pool.health.ejection for pool in pools}
        self._adaptive = {
            pool.name
            for pool in pools
            if pool.adaptive and pool.method is BalancingMethod.LEAST_CONNECTIONS
        }

    def hear(
        self,
        slot: int,
        *,
        pool: str,
        name: str,
        weight: int,
        state: InstanceState,
        health: HealthState,
    ) -> None:
        """Take the active checks' and the operator's word on an instance, and publish.

        One that the checks found down is forgiven what live traffic held against it, and begins
        slowly, when they find it up again. One that was ejected and did not even accept connections
        since has been started anew when a check passes: its ejection ends early, with a probe.
        """
        judged = self._judged.get(slot)
        if judged is None or judged.name != name or judged.pool != pool:
            judged = Judged(slot=slot, pool=pool, name=name, weight=weight, active=state)
            judged.counts = self._shared.counts(slot)
            self._judged[slot] = judged
        elif judged.active is InstanceState.DOWN and state is InstanceState.UP:
            judged.passive = returned(PassiveState(), self._clock.monotonic())
            judged.speed = Speed()
        elif judged.passive.standing is Standing.EJECTED:
            if health.failures and health.reason is CheckReason.REFUSED:
                judged.was_refused = True
            elif health.successes and judged.was_refused:
                judged.passive = replace(judged.passive, until=self._clock.monotonic())
        judged.active = state
        judged.reason = health.reason
        judged.weight = weight
        self._publish_pool(pool, self._clock.monotonic())

    def forget(self, slot: int) -> None:
        """Drop an instance that left its pool."""
        self._judged.pop(slot, None)

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.judge()

    def judge(self) -> None:
        """Hear what came of requests since the last time, and publish what changed."""
        now = self._clock.monotonic()
        elapsed, self._judged_at = now - self._judged_at, now
        for pool in {each.pool for each in self._judged.values()}:
            self._judge_pool(pool, now, elapsed)
            self._publish_pool(pool, now)

    def _judge_pool(self, pool: str, now: float, elapsed: float) -> None:
        judged = self._members(pool)
        members = []
        for each in judged:
            before, each.counts = each.counts, self._shared.counts(each.slot)
            outcomes = _outcomes(before, each.counts)
            is_up = each.active in (InstanceState.UP, InstanceState.UNKNOWN)
            members.append(Member(state=each.passive, outcomes=outcomes, is_up=is_up))
            each.speed = measured(
                each.speed,
                answered=outcomes.answered,
                latency_seconds=max(each.counts.latency_micros - before.latency_micros, 0)
                / _MICROS,
                elapsed=elapsed,
            )
        states = judge_pool(members, self._settings[pool], now=now, elapsed=elapsed)
        speeds = compared([each.speed for each in judged], elapsed=elapsed)
        for each, state, speed in zip(judged, states, speeds, strict=True):
            standing_before, each.passive = each.passive, state
            each.speed = speed
            if state.standing is not standing_before.standing:
                if standing_before.standing is Standing.PROBING:
                    each.speed = Speed()
                self._tell(each, standing_before, state, now)

    def _publish_pool(self, pool: str, now: float) -> None:
        judged, settings = self._members(pool), self._settings[pool]
        states = [_combined(each) for each in judged]
        healthy = sum(state in (InstanceState.UP, InstanceState.UNKNOWN) for state in states)
        present = [each for each in judged if each.active is not InstanceState.DRAINING]
        in_panic = is_panic(healthy, len(present), settings)
        if in_panic:
            states = [
                _ignoring_health(each, state) for each, state in zip(judged, states, strict=True)
            ]
        self._note_panic(pool, in_panic)
        serving = [
            each
            for each, state in zip(judged, states, strict=True)
            if state in (InstanceState.UP, InstanceState.UNKNOWN)
        ]
        expected: dict[int, Expectation] = {}
        if pool in self._adaptive:
            speeds = expectations([each.speed for each in serving])
            expected = {each.slot: speed for each, speed in zip(serving, speeds, strict=True)}
        for each, state in zip(judged, states, strict=True):
            verdict = _verdict(
                each,
                state,
                slowness(each.passive, settings, now=now),
                expected.get(each.slot, Expectation()),
            )
            if verdict != each.published:
                each.published = verdict
                self._shared.set_instance(each.slot, verdict)

    def _members(self, pool: str) -> list[Judged]:
        return [each for each in self._judged.values() if each.pool == pool]

    def _note_panic(self, pool: str, in_panic: bool) -> None:
        if in_panic and pool not in self._panics:
            self._panics.add(pool)
            _log.warning("panic: too few instances are well, health is ignored", pool=pool)
        elif not in_panic and pool in self._panics:
            self._panics.discard(pool)
            _log.info("panic over", pool=pool)

    def _tell(self, judged: Judged, before: PassiveState, state: PassiveState, now: float) -> None:
        about = {"pool": judged.pool, "instance": judged.name}
        if state.standing is Standing.EJECTED:
            self.ejections[state.reason.value] += 1
            judged.was_refused = False
            if self.on_ejected is not None:
                self.on_ejected(judged.slot)
            _log.warning(
                "instance ejected",
                reason=state.reason.value,
                failures_in_a_row=state.in_a_row,
                error_share=round(state.error_share, 3),
                seconds=round(state.until - now, 1),
                **about,
            )
        elif state.standing is Standing.PROBING:
            _log.info("ejection over, one request at a time", **about)
        elif before.standing is Standing.PROBING:
            _log.info("instance serves again", **about)


def published_instances(judged: Iterable[Judged]) -> dict[str, InstanceState]:
    """Return the published state of each instance by name."""
    return {each.name: each.published.state for each in judged if each.published is not None}


def _combined(judged: Judged) -> InstanceState:
    """Return the state that the checks, the operator and live traffic together make."""
    if judged.active in (InstanceState.UP, InstanceState.UNKNOWN):
        if judged.passive.standing is Standing.EJECTED:
            return InstanceState.EJECTED
        if judged.passive.standing is Standing.PROBING:
            return InstanceState.PROBING
    return judged.active


def _ignoring_health(judged: Judged, state: InstanceState) -> InstanceState:
    """Return the state in a panic: everybody who may be there serves."""
    if state is InstanceState.DOWN and judged.reason in _ABSENT:
        return state
    return state if state in (InstanceState.DRAINING, InstanceState.UNKNOWN) else InstanceState.UP


def _outcomes(before: SlotCounts, counts: SlotCounts) -> Outcomes:
    """Return what was counted since the last time; what a replaced worker counted is gone."""
    return Outcomes(
        answered=max(counts.answered - before.answered, 0),
        failed=max(counts.failed - before.failed, 0),
        in_a_row=counts.in_a_row,
    )


def _verdict(
    judged: Judged, state: InstanceState, slow: float, expectation: Expectation
) -> Verdict:
    """Return what is published: figures in steps, so that not every breath is news to workers."""
    return Verdict(
        state=state,
        weight=judged.weight,
        slowness=round(FIXED_POINT * _in_steps(slow)),
        ratio=round(FIXED_POINT * _in_steps(expectation.ratio)),
        capacity=(
            0
            if expectation.capacity == UNLIMITED
            else round(FIXED_POINT * _in_steps(expectation.capacity))
        ),
    )


def _in_steps(figure: float) -> float:
    """Return the largest power of ``_STEP`` that is no more than ``figure``, at least 1."""
    step = 1.0
    while step * _STEP <= figure:
        step *= _STEP
    return step


_STEP = 2.0**0.25  # 19 %
