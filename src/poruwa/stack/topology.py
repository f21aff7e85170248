"""The instances of a running gateway: merged from their sources, told to health checks and workers.

What is there is decided by ``rules.topology``. This module keeps what it decides on (the policy in
force, what discovery found, what operators changed), and passes every new answer on. A change is
kept on disk before it takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from poruwa.clock import Clock
from poruwa.config.model import Affinity, Policy, Pool
from poruwa.errors import PoruwaError, StackError
from poruwa.gateway.active_health import Target
from poruwa.gateway.local_bus import InstanceEntry, PoolTopology, Topology
from poruwa.rules.topology import (
    Change,
    Changes,
    DrainPhase,
    Listed,
    Member,
    Members,
    NoSlotLeft,
    SlotKey,
    Slots,
    assign_slots,
    changed,
    drain_phase,
    is_to_leave,
    merge_members,
)
from poruwa.stack.kept_changes import KeptChanges

TICK_SECONDS = 0.25  # how late a drain may end

_DRAIN_WORDS = {
    DrainPhase.NONE: "instance takes requests again",
    DrainPhase.DRAINING: "instance is draining",
    DrainPhase.DRAINED: "instance is drained: bound clients go elsewhere",
}

_log = structlog.get_logger(component="topology")


class RunningTopology:
    """Which instances there are now.

    Args:
        kept: where operators' changes are read from and kept.
        capacity: slots of the shared memory.
        in_flight: returns the requests under way in a slot.
        is_held: whether workers of an older policy still use a slot.
        on_change: called when instances, weights or drains are others than before.

    Raises:
        StackError: the kept changes cannot be used, or there are more instances than slots.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        kept: KeptChanges,
        capacity: int,
        in_flight: Callable[[int], int],
        is_held: Callable[[int], bool],
        on_change: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.kept = kept
        self._policy = policy
        self._capacity = capacity
        self._in_flight = in_flight
        self._is_held = is_held
        self._on_change = on_change
        self._clock = clock
        self._found: dict[str, tuple[Listed, ...]] = {}
        self._slots = Slots()
        self.changes: Changes = kept.read()
        self._reread: Changes | None = None
        self.pools, self._slots = self._merged(policy, self.changes)
        self.targets = self._make_targets()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def message(self) -> Topology:
        """What workers are told."""
        return _message(self._policy, self.pools, self._slots)

    def slot(self, pool: str, member: Member) -> int:
        """Return the slot of a member of ``pool``."""
        return self._slots.held[_key(pool, member)]

    # What changes it.

    def preview(self, policy: Policy) -> Topology:
        """Return what would be told under ``policy``, and read the kept changes again.

        Raises:
            StackError: the kept changes cannot be used, or there are more instances than slots.
        """
        self._reread = self.kept.read()
        pools, slots = self._merged(policy, self._reread)
        return _message(policy, pools, slots)

    def set_policy(self, policy: Policy) -> None:
        """Go by ``policy`` from now on, and by the changes that `preview` read.

        Raises:
            StackError: there are more instances than slots; all is as before.
        """
        changes = self.changes if self._reread is None else self._reread
        self._apply(policy, changes)
        self._reread = None

    def set_found(self, pool: str, found: Sequence[Listed]) -> None:
        """Take what discovery found for ``pool``; more than there is room for changes nothing."""
        before = self._found.get(pool, ())
        self._found[pool] = tuple(found)
        try:
            self._apply(self._policy, self.changes)
        except StackError as error:
            self._found[pool] = before
            _log.error("found instances are not taken", pool=pool, reason=error.message)

    def change(self, pool: str, name: str, change: Change | None) -> None:
        """Let ``change`` be all that an operator changed of an instance; None for nothing.

        Raises:
            StackError: there are more instances than slots, or it cannot be kept; all is as before.
        """
        changes = changed(self.changes, pool, name, change)
        self._merged(self._policy, changes)  # refused before it is kept
        self.kept.write(changes)
        self._reread = None  # the file has this change now, so what was read is out of date
        self._apply(self._policy, changes)

    def tick(self) -> None:
        """End drains whose time has come; to be called every `TICK_SECONDS`."""
        now = self._clock.wall()
        for section in self._policy.pools:
            for member in self.pools[section.name].members:
                drain = member.change.drain
                if drain is not None and is_to_leave(
                    drain,
                    now,
                    in_flight=self._in_flight(self.slot(section.name, member)),
                    binds_clients=section.affinity is not None,
                ):
                    self._let_leave(section.name, member)
        self._publish()

    def _let_leave(self, pool: str, member: Member) -> None:
        try:
            self.change(pool, member.name, without_member(member))
        except PoruwaError as error:  # a full disk: tried again with the next tick
            _log.error("a removal is not kept", instance=member.name, reason=error.message)
            return
        _log.info("drained instance is removed", pool=pool, instance=member.name)

    # How.

    def _merged(self, policy: Policy, changes: Changes) -> tuple[dict[str, Members], Slots]:
        pools = merge_pools(policy, self._found, changes)
        keys = [_key(name, each) for name, merged in pools.items() for each in merged.members]
        try:
            slots = assign_slots(
                self._slots,
                keys,
                now=self._clock.monotonic(),
                is_idle=lambda slot: not self._in_flight(slot) and not self._is_held(slot),
                capacity=self._capacity,
            )
        except NoSlotLeft as error:
            raise StackError(str(error), status_hint=409) from None
        return pools, slots

    def _apply(self, policy: Policy, changes: Changes) -> None:
        self.pools, self._slots = self._merged(policy, changes)
        self._policy, self.changes = policy, changes
        self._publish()

    def _publish(self) -> None:
        before, self.targets = self.targets, self._make_targets()
        if self.targets == before:
            return
        drains = {target.slot: target.drain for target in before}
        for target in self.targets:
            if drains.get(target.slot, target.drain) is not target.drain:
                _log.info(
                    _DRAIN_WORDS[target.drain],
                    pool=target.pool,
                    instance=target.name,
                    in_flight=self._in_flight(target.slot),
                )
        self._on_change()

    def _make_targets(self) -> list[Target]:
        now = self._clock.wall()
        return [
            Target(
                slot=self.slot(section.name, member),
                pool=section.name,
                name=member.name,
                address=member.address,
                weight=member.weight,
                settings=section.health,
                drain=drain_phase(member.change.drain, now),
            )
            for section in self._policy.pools
            for member in self.pools[section.name].members
        ]


def merge_pools(
    policy: Policy, found: Mapping[str, Sequence[Listed]], changes: Changes
) -> dict[str, Members]:
    """Return the instances of every pool; ``found`` counts where the policy wants discovery."""
    return {
        section.name: merge_members(
            section.instances,
            found.get(section.name, ()) if section.discovery is not None else (),
            changes.get(section.name, {}),
        )
        for section in policy.pools
    }


def make_topology(policy: Policy, *, max_instances: int) -> Topology:
    """Return the topology of ``policy`` alone.

    Raises:
        NoSlotLeft: more instances than slots.
    """
    pools = merge_pools(policy, {}, {})
    keys = [_key(name, each) for name, merged in pools.items() for each in merged.members]
    slots = assign_slots(Slots(), keys, now=0.0, is_idle=lambda slot: True, capacity=max_instances)
    return _message(policy, pools, slots)


def without_member(member: Member) -> Change | None:
    """Return the change that takes ``member`` away: none is left of one that was only added."""
    return None if member.base is None else Change(removed=True)


def drain_limit(section: Pool) -> float:
    """Return how long clients bound to a draining instance of a pool may stay, in seconds."""
    return (section.affinity or Affinity()).drain_seconds


def _key(pool: str, member: Member) -> SlotKey:
    return SlotKey(pool, member.name, member.address)


def _message(policy: Policy, pools: Mapping[str, Members], slots: Slots) -> Topology:
    return Topology(
        [
            PoolTopology(
                section.name,
                [
                    InstanceEntry(
                        slots.held[_key(section.name, each)], each.name, each.address, each.weight
                    )
                    for each in pools[section.name].members
                ],
            )
            for section in policy.pools
        ]
    )
