"""Active health checks: one per instance per machine, run by the control process.

Workers do not check: they read the verdicts from the shared memory, where a change is seen by all
of them at once. Each instance has a task that checks, feeds the result to `rules.health.advance`,
tells the judge (``gateway.passive_health``), which publishes, and sleeps for as long as the rules
say; one that live traffic ejects is checked at once, and often until it is back. A draining
instance is checked as any other: bound clients go to it only while it is well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from poruwa.clock import Clock
from poruwa.config.model import Health
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState
from poruwa.net.health_check import check_instance
from poruwa.rules.health import HealthState, HealthStatus, advance, next_check_delay
from poruwa.rules.topology import DrainPhase

_STATES = {
    HealthStatus.UNKNOWN: InstanceState.UNKNOWN,
    HealthStatus.UP: InstanceState.UP,
    HealthStatus.DOWN: InstanceState.DOWN,
}

_log = structlog.get_logger(component="health")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance to check, its slot in the shared memory, and what the operator wants of it."""

    slot: int
    pool: str
    name: str
    address: str
    weight: int
    settings: Health
    drain: DrainPhase = DrainPhase.NONE

    def is_checked_like(self, other: Target | None) -> bool:
        """Tell whether a check of one is a check of the other."""
        return other is not None and (self.address, self.settings) == (
            other.address,
            other.settings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHealth:
    """What is known of an instance.

    Attributes:
        state: as it is published, from checks and drain together.
        health: what the checks say; times are wall time.
    """

    target: Target
    state: InstanceState
    health: HealthState


class HealthMonitor:
    """Checks targets until cancelled and tells the judge.

    Args:
        judge: who publishes what the checks, live traffic and the operator say together.
        random: returns floats of [0, 1); spreads checks over time.
    """

    def __init__(
        self,
        judge: Judge,
        targets: Iterable[Target],
        *,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._judge = judge
        self._targets: tuple[Target, ...] = ()
        self._clock = clock
        self._random = random
        self._known: dict[int, InstanceHealth] = {}
        self._group: asyncio.TaskGroup | None = None
        self._watches: dict[int, asyncio.Task[None]] = {}
        self._hurries: dict[int, asyncio.Event] = {}
        judge.on_ejected = self._hurry
        self.update(targets)

    @property
    def instances(self) -> tuple[InstanceHealth, ...]:
        """In the order of the targets."""
        return tuple(self._known[target.slot] for target in self._targets)

    async def run(self) -> None:
        """Check every target on its own schedule."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for target in self._targets:
                self._begin(target)
            await asyncio.get_running_loop().create_future()  # until cancelled

    def update(self, targets: Iterable[Target]) -> None:
        """Check ``targets`` from now on. What is known of those that stay stays known."""
        before = {target.slot: target for target in self._targets}
        self._targets = tuple(targets)
        for slot in before.keys() - {target.slot for target in self._targets}:
            self._forget(slot)
        for target in self._targets:
            old = before.get(target.slot)
            if old == target:
                continue
            self._publish(target, self._health_of(target, old))
            if not target.is_checked_like(old):
                self._end(target.slot)
                self._begin(target)

    def _health_of(self, target: Target, old: Target | None) -> HealthState:
        """Return what is known of an instance, or of one that nobody has checked yet."""
        known = self._known.get(target.slot)
        if (
            known is None
            or old is None
            or old.address != target.address
            or old.settings.enabled != target.settings.enabled
        ):
            detail = "not checked yet" if target.settings.enabled else "health checks are off"
            return HealthState(since=self._clock.wall(), detail=detail)
        return known.health

    def _begin(self, target: Target) -> None:
        if self._group is not None and target.settings.enabled:
            self._hurries[target.slot] = asyncio.Event()
            self._watches[target.slot] = self._group.create_task(
                self._watch(target.slot), name=f"health {target.name}"
            )

    def _end(self, slot: int) -> None:
        watch = self._watches.pop(slot, None)
        if watch is not None:
            watch.cancel()
            del self._hurries[slot]

    def _hurry(self, slot: int) -> None:
        """Check an instance now."""
        if slot in self._hurries:
            self._hurries[slot].set()

    async def _wait(self, slot: int) -> None:
        """Wait until it is time for the next check."""
        target, state = self._known[slot].target, self._known[slot].health
        delay = next_check_delay(
            state, target.settings, self._random, is_doubted=self._judge.is_ejected(slot)
        )
        hurry = self._hurries[slot]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), delay)
        hurry.clear()

    def _forget(self, slot: int) -> None:
        """Know nothing of an instance that went; what is published of it concerns nobody."""
        self._end(slot)
        self._judge.forget(slot)
        del self._known[slot]

    async def _watch(self, slot: int) -> None:
        while True:
            await self._wait(slot)
            target, state = self._known[slot].target, self._known[slot].health
            result = await check_instance(target.address, target.settings)
            before = state.status
            state = advance(state, result, target.settings, self._clock.wall())
            self._publish(self._known[slot].target, state)
            if state.status is not before:
                write = _log.info if state.is_up else _log.warning
                write(
                    f"instance is {state.status.value}",
                    pool=target.pool,
                    instance=target.name,
                    address=target.address,
                    reason=state.reason.value,
                    detail=state.detail,
                )

    def _publish(self, target: Target, health: HealthState) -> None:
        """Keep what is known of an instance, and tell the judge, who tells the workers."""
        state = _published_state(target, health)
        self._judge.hear(
            target.slot,
            pool=target.pool,
            name=target.name,
            weight=target.weight,
            state=state,
            health=health,
        )
        self._known[target.slot] = InstanceHealth(target=target, state=state, health=health)


def _published_state(target: Target, health: HealthState) -> InstanceState:
    state = _STATES[health.status] if target.settings.enabled else InstanceState.UP
    if target.drain is DrainPhase.DRAINED:
        return InstanceState.DOWN
    if target.drain is DrainPhase.DRAINING and state is not InstanceState.DOWN:
        return InstanceState.DRAINING
    return state
