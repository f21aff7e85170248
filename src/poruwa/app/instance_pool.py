"""The instances of one ``LoadBalancer``: what is known of each, and which takes the next work.

Decides without ``await``: the choice is a function of ``rules.balancing``, who may be chosen one of
``rules.ejection`` (live traffic) and ``rules.health`` (checks). Live traffic is judged in passing,
at most every ``JUDGE_SECONDS`` and after each failure, so that no task is needed for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from math import exp

from poruwa.app.instance import Instance, InstanceState, InstanceStatus
from poruwa.clock import Clock
from poruwa.config.model import BalancingMethod, Ejection, Health
from poruwa.rules.balancing import (
    HashRing,
    consistent_hash,
    expected_waits,
    hash_ring,
    least_connections,
    least_expected_wait,
    peak_ewma,
    power_of_two,
    round_robin,
    smooth_weighted,
    updated_peak,
)
from poruwa.rules.ejection import (
    EjectionReason,
    Member,
    PassiveState,
    Standing,
    is_panic,
    judge_pool,
    returned,
    slowness,
)
from poruwa.rules.health import CheckReason, CheckResult, HealthState, HealthStatus, advance
from poruwa.rules.penalty import penalised_weights
from poruwa.rules.speed import Expectation, Speed, compared, expectations

JUDGE_SECONDS = 0.1
"""Between two judgements while nothing fails: short beside every time that depends on them."""

LEAST_LATENCY_SECONDS = 0.001
"""What an instance that fails is taken to need at least: see ``_peak_latencies``."""

PEAK_DECAY_SECONDS = 10.0
"""Time constant with which the peak latency is forgotten, as in Finagle."""

MAX_RINGS = 64
"""Hash rings kept, one per set of instances that could be chosen from lately."""

HASH_METHODS = frozenset((BalancingMethod.CONSISTENT_HASH, BalancingMethod.STICKY_HASH))

_ABSENT = frozenset((CheckReason.REFUSED, CheckReason.UNREACHABLE))
"""Nobody listens there: no panic makes such an instance worth a try."""

_log = logging.getLogger("poruwa.balancer")


class InstancePool:
    """The instances of one balancer and their states.

    Args:
        instances: at least one, names distinct.
        method: how one is chosen.
        health: of which the ejection part and rise and fall are read here.
        clock: monotonic, for windows and back-off.
        random: returns floats of [0, 1).
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        *,
        method: BalancingMethod,
        health: Health,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self.instances = tuple(instances)
        self._method = method
        self._health = health
        self._ejection: Ejection = health.ejection
        self._clock = clock
        self._random = random
        self._turn = -1
        self._judged_at = clock.monotonic()
        self._is_judgement_due = False
        self._rings: dict[tuple[str, ...], HashRing] = {}
        self._measured_at = self._judged_at
        self._is_degraded = False
        self._eligible = list(self.instances)
        self._probing: list[Instance] = []
        self._is_panic = False

    @property
    def is_panic(self) -> bool:
        """Whether so few are healthy that health is ignored."""
        self._judge_if_due()
        return self._is_panic

    def now(self) -> float:
        """Return the time on the pool's clock."""
        return self._clock.monotonic()

    def choose(
        self, *, key: bytes | None, avoid: Collection[str] = (), probe: bool | None = None
    ) -> Instance:
        """Return the instance for the next work.

        Instances named in ``avoid`` are passed over while anybody else is left. If nobody is
        healthy, all are chosen from: a wrong verdict must not stop everything.

        Args:
            key: what the hash methods hash.
            probe: whether the work may show if an ejected instance serves again. Work that is not
                fit for it (False) does so all the same where none that is has come for a whole
                ejection time: a caller that only does unrepeatable work needs the instance too.
                None, for work of which no outcome will be reported: never.
        """
        self._judge_if_due()
        self._turn += 1
        probing: list[Instance] = []
        if self._probing and probe is not None:
            probing = self._probing_ready(avoid, 0.0 if probe else self._ejection.base_seconds)
        if probing and self._method not in HASH_METHODS:
            return probing[0]
        candidates = [*self._eligible, *probing] if probing else self._eligible
        if avoid:
            candidates = (
                [each for each in candidates if each.name not in avoid]
                or [each for each in self.instances if each.name not in avoid]
                or candidates
            )
        return candidates[0] if len(candidates) == 1 else self._choose_among(candidates, key)

    def is_probing(self, instance: Instance) -> bool:
        """Tell whether work given to ``instance`` now shows whether it serves again."""
        return instance.passive.standing is Standing.PROBING

    def succeeded(self, instance: Instance, seconds: float) -> None:
        """Note a good answer after ``seconds``."""
        instance.answered += 1
        instance.in_a_row = 0
        instance.measured_answers += 1
        instance.measured_seconds += seconds
        now = self.now()
        instance.peak_seconds = updated_peak(
            instance.peak_seconds, seconds, now - instance.peak_at, PEAK_DECAY_SECONDS
        )
        instance.peak_at = now
        if instance.passive.standing is Standing.PROBING:
            self._is_judgement_due = True

    def failed(self, instance: Instance, detail: str) -> None:
        """Note a failure; ``detail`` is for people."""
        instance.failed += 1
        instance.in_a_row += 1
        instance.failure = detail
        self._is_judgement_due = True

    def checked(self, instance: Instance, result: CheckResult, *, at_once: bool) -> None:
        """Note a health check; ``at_once`` believes it without a further one.

        An instance that is found up again is forgiven what live work held against it, and begins
        slowly.
        """
        before, now = instance.health, self.now()
        after = advance(HealthState() if at_once else before, result, self._health, now)
        instance.health = after
        if after.status is before.status:
            return
        self._is_judgement_due = True
        if after.status is HealthStatus.DOWN:
            _log.warning(
                "instance %s is down: %s (%s)", instance.name, after.reason.value, after.detail
            )
        elif before.status is HealthStatus.DOWN:
            _log.info("instance %s is up again", instance.name)
            instance.passive = returned(PassiveState(), now)
            instance.speed = Speed()

    def status(self) -> tuple[InstanceStatus, ...]:
        """Return what is known of each instance, in their order."""
        self._judge(self.now())
        return tuple(self._status(each) for each in self.instances)

    def _status(self, instance: Instance) -> InstanceStatus:
        passive, health = instance.passive, instance.health
        reason: CheckReason | EjectionReason = health.reason
        detail = health.detail or instance.failure
        state = InstanceState.UP if instance.is_up else InstanceState.DOWN
        if instance.is_up and passive.standing is not Standing.ADMITTED:
            is_probing = passive.standing is Standing.PROBING
            state = InstanceState.PROBING if is_probing else InstanceState.EJECTED
            reason, detail = passive.reason, instance.failure
        is_out = passive.standing is Standing.EJECTED
        return InstanceStatus(
            instance=instance.name,
            state=state,
            reason=reason,
            detail=detail,
            weight=instance.weight,
            in_flight=instance.in_flight,
            latency_seconds=instance.speed.latency_seconds,
            error_share=passive.error_share,
            slowness=instance.slowness,
            returns_in_seconds=max(passive.until - self.now(), 0.0) if is_out else 0.0,
        )

    def _judge_if_due(self) -> None:
        now = self.now()
        if self._is_judgement_due or now - self._judged_at >= JUDGE_SECONDS:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Let the rules judge what came of the work since the last time, and sort who gets more."""
        members = [
            Member(state=each.passive, outcomes=each.take_outcomes(), is_up=each.is_up)
            for each in self.instances
        ]
        states = judge_pool(members, self._ejection, now=now, elapsed=now - self._judged_at)
        self._judged_at = now
        self._is_judgement_due = False
        for instance, state in zip(self.instances, states, strict=True):
            _log_change(instance, state, now)
            if (
                instance.passive.standing is Standing.PROBING
                and state.standing is Standing.ADMITTED
            ):
                instance.speed = Speed()
            instance.passive = state
            instance.slowness = slowness(state, self._ejection, now=now)
        self._sort()
        if now - self._measured_at >= JUDGE_SECONDS:
            self._measure(now - self._measured_at)
            self._measured_at = now
        self._is_degraded = any(
            each.slowness > 1.0 or each.expected != Expectation() for each in self._eligible
        )

    def _measure(self, elapsed: float) -> None:
        """Learn how fast the instances are, beside each other."""
        for instance in self.instances:
            instance.measure(elapsed)
        speeds = compared([each.speed for each in self.instances], elapsed=elapsed)
        for instance, speed in zip(self.instances, speeds, strict=True):
            instance.speed = speed
            instance.expected = Expectation()
        expected = expectations([each.speed for each in self._eligible])
        for instance, expectation in zip(self._eligible, expected, strict=True):
            instance.expected = expectation

    def _sort(self) -> None:
        """Sort out who gets work and who is to be tried out."""
        admitted = [each for each in self.instances if each.passive.standing is Standing.ADMITTED]
        healthy = [each for each in admitted if each.is_up]
        self._is_panic = is_panic(len(healthy), len(self.instances), self._ejection)
        if self._is_panic:
            healthy = [
                each for each in self.instances if each.is_up or each.health.reason not in _ABSENT
            ]
        self._eligible = healthy or list(self.instances)
        self._probing = [
            each
            for each in self.instances
            if each.is_up and each.passive.standing is Standing.PROBING
        ]

    def _probing_ready(self, avoid: Collection[str], patience_seconds: float) -> list[Instance]:
        """Return those that nobody tries out and that have waited for it long enough."""
        now = self.now()
        return [
            each
            for each in self._probing
            if not each.probes
            and each.name not in avoid
            and each not in self._eligible
            and now - each.passive.since >= patience_seconds
        ]

    def _choose_among(self, candidates: list[Instance], key: bytes | None) -> Instance:
        method, turn = self._method, self._turn
        if method in HASH_METHODS:
            assert key is not None
            bound = method is BalancingMethod.CONSISTENT_HASH
            loads = [each.in_flight for each in candidates] if bound else None
            return candidates[consistent_hash(self._ring(candidates), key, loads)]
        weights = tuple([each.weight for each in candidates])
        in_flight = [each.in_flight for each in candidates]
        if method is BalancingMethod.LEAST_CONNECTIONS:
            if not self._is_degraded:
                return candidates[least_connections(weights, in_flight, turn)]
            waits = _expected_waits(candidates, weights, in_flight)
            return candidates[least_expected_wait(weights, waits, turn)]
        if method is BalancingMethod.PEAK_EWMA:
            latencies = self._peak_latencies(candidates)
            return candidates[peak_ewma(weights, in_flight, latencies, self._random)]
        if method is BalancingMethod.ROUND_ROBIN:
            weights = (1,) * len(candidates)
        if method is BalancingMethod.POWER_OF_TWO:
            factors = [each.slowness * each.expected.ratio for each in candidates]
            weights = penalised_weights(weights, factors)
            return candidates[power_of_two(weights, in_flight, self._random)]
        # Turns stay turns, however fast each answers.
        weights = penalised_weights(weights, [each.slowness for each in candidates])
        if weights.count(weights[0]) == len(weights):
            return candidates[round_robin(len(candidates), turn)]
        return candidates[smooth_weighted(weights, turn)]

    def _peak_latencies(self, candidates: Sequence[Instance]) -> list[float]:
        """Return the peak latencies as of now, ``slowness`` times longer.

        An instance that fails and was never seen to answer is not an unknown one, which would be
        free while idle.
        """
        now = self.now()
        latencies = []
        for instance in candidates:
            latency = instance.peak_seconds
            if latency > 0.0:
                latency *= exp((instance.peak_at - now) / PEAK_DECAY_SECONDS)
            if instance.slowness > 1.0:
                latency = max(latency, LEAST_LATENCY_SECONDS) * instance.slowness
            latencies.append(latency)
        return latencies

    def _ring(self, candidates: Sequence[Instance]) -> HashRing:
        names = tuple([each.name for each in candidates])
        ring = self._rings.get(names)
        if ring is None:
            if len(self._rings) >= MAX_RINGS:
                self._rings.clear()
            ring = self._rings[names] = hash_ring(names, [each.weight for each in candidates])
        return ring


def _expected_waits(
    candidates: Sequence[Instance], weights: Sequence[int], in_flight: Sequence[int]
) -> list[float]:
    """Return what least connections compares, slowness counted as load.

    As load it also takes up capacity: else an idle instance that only fails would look better than
    any good one with a queue. One of unknown capacity is then taken for the smallest known.
    """
    smallest = min(each.expected.capacity for each in candidates)
    loads = [
        (load + 1) * each.slowness - 1 for each, load in zip(candidates, in_flight, strict=True)
    ]
    capacities = [
        each.expected.capacity if each.slowness == 1.0 else min(each.expected.capacity, smallest)
        for each in candidates
    ]
    ratios = [each.expected.ratio for each in candidates]
    return expected_waits(weights, loads, [1.0] * len(candidates), ratios, capacities)


def _log_change(instance: Instance, state: PassiveState, now: float) -> None:
    if state.standing is instance.passive.standing:
        return
    if state.standing is Standing.EJECTED:
        _log.warning(
            "instance %s is ejected for %.1f s: %s (%s)",
            instance.name,
            state.until - now,
            state.reason.value,
            instance.failure,
        )
    elif state.standing is Standing.ADMITTED:
        _log.info("instance %s serves again", instance.name)
