"""Active health checks: one per instance per machine, run by the control process.

Workers do not check: they read the verdicts from the shared memory, where a change is seen by all
of them at once. Each instance has a task that checks, feeds the result to `rules.health.advance`,
tells the judge (``gateway.passive_health``), which publishes, and sleeps for as long as the rules
say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from poruwa.clock import Clock
from poruwa.config.model import Health
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState
from poruwa.net.health_check import check_instance
from poruwa.rules.health import HealthState, HealthStatus, advance, next_check_delay

_STATES = {
    HealthStatus.UNKNOWN: InstanceState.UNKNOWN,
    HealthStatus.UP: InstanceState.UP,
    HealthStatus.DOWN: InstanceState.DOWN,
}

_log = structlog.get_logger(component="health")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance to check, and its slot in the shared memory."""

    slot: int
    pool: str
    name: str
    address: str
    weight: int
    settings: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHealth:
    """What is known of an instance; times in ``health`` are wall time."""

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
            self._end(slot)
            self._judge.forget(slot)
            del self._known[slot]
        for target in self._targets:
            old = before.get(target.slot)
            if old == target:
                continue
            self._end(target.slot)
            if old is None or old.settings.enabled != target.settings.enabled:
                self._known.pop(target.slot, None)
                is_checked = target.settings.enabled
                state = InstanceState.UNKNOWN if is_checked else InstanceState.UP
                detail = "not checked yet" if is_checked else "health checks are off"
                self._publish(target, state, HealthState(since=self._clock.wall(), detail=detail))
            else:
                known = self._known.pop(target.slot)
                self._publish(target, known.state, known.health)
            self._begin(target)

    def _begin(self, target: Target) -> None:
        if self._group is not None and target.settings.enabled:
            self._watches[target.slot] = self._group.create_task(
                self._watch(target), name=f"health {target.name}"
            )

    def _end(self, slot: int) -> None:
        watch = self._watches.pop(slot, None)
        if watch is not None:
            watch.cancel()

    async def _watch(self, target: Target) -> None:
        state = self._known[target.slot].health
        while True:
            await asyncio.sleep(next_check_delay(state, target.settings, self._random))
            result = await check_instance(target.address, target.settings)
            before = state.status
            state = advance(state, result, target.settings, self._clock.wall())
            self._publish(target, _STATES[state.status], state)
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

    def _publish(self, target: Target, state: InstanceState, health: HealthState) -> None:
        self._judge.hear(
            target.slot,
            pool=target.pool,
            name=target.name,
            weight=target.weight,
            state=state,
            health=health,
        )
        self._known[target.slot] = InstanceHealth(target=target, state=state, health=health)
