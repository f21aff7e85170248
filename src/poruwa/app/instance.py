"""One instance of a ``LoadBalancer``: what is known of it, inside and as shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from poruwa.config.address import Address
from poruwa.rules.ejection import EjectionReason, Outcomes, PassiveState
from poruwa.rules.health import CheckReason, HealthState, HealthStatus
from poruwa.rules.speed import Expectation, Speed, measured


class InstanceState(Enum):
    """Whether an instance gets work."""

    UP = "up"
    DOWN = "down"  # by the health checks
    EJECTED = "ejected"  # by failures of live work, until a time
    PROBING = "probing"  # that time is over: one piece of work shows whether it serves again


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """What a balancer knows of an instance at one moment.

    Attributes:
        instance: as given to the balancer.
        reason: why it is in this state: the last check's word, or why it was ejected.
        detail: the last check or failure in words for people; "" for neither.
        in_flight: leases that are open.
        latency_seconds: smoothed time to an answer; 0.0 while unknown.
        error_share: failed share of the last seconds' work, 0-1.
        slowness: how many times more loaded than it is it is taken to be, for errors and slow
            start; 1.0 for a full share.
        returns_in_seconds: until an ejection ends; 0.0 for none.
    """

    instance: str
    state: InstanceState
    reason: CheckReason | EjectionReason
    detail: str
    weight: int
    in_flight: int
    latency_seconds: float
    error_share: float
    slowness: float
    returns_in_seconds: float


class Instance:
    """One instance and the outcomes that were not judged yet."""

    __slots__ = (
        "address",
        "answered",
        "expected",
        "failed",
        "failure",
        "health",
        "in_a_row",
        "in_flight",
        "measured_answers",
        "measured_seconds",
        "name",
        "passive",
        "peak_at",
        "peak_seconds",
        "probes",
        "slowness",
        "speed",
        "weight",
    )

    def __init__(self, name: str, address: Address, weight: int) -> None:
        self.name = name
        self.address = address
        self.weight = weight
        self.in_flight = 0
        self.probes = 0  # leases under way that show whether it serves again: 0 or 1
        self.health = HealthState()
        self.passive = PassiveState()
        self.failure = ""
        self.slowness = 1.0
        self.speed = Speed()
        self.expected = Expectation()
        self.answered = self.failed = self.in_a_row = 0
        self.measured_answers, self.measured_seconds = 0, 0.0
        self.peak_seconds = self.peak_at = 0.0

    @property
    def is_up(self) -> bool:
        """Whether no check says otherwise."""
        return self.health.status is not HealthStatus.DOWN

    def take_outcomes(self) -> Outcomes:
        """Return what came of its work since the last call."""
        outcomes = Outcomes(answered=self.answered, failed=self.failed, in_a_row=self.in_a_row)
        self.answered = self.failed = 0
        return outcomes

    def measure(self, elapsed: float) -> None:
        """Take the answers since the last call, ``elapsed`` seconds ago, into its speed."""
        self.speed = measured(
            self.speed,
            answered=self.measured_answers,
            latency_seconds=self.measured_seconds,
            elapsed=elapsed,
        )
        self.measured_answers, self.measured_seconds = 0, 0.0
