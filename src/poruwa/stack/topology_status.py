"""What the admin listener tells about pools, and about what operators changed of an instance."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from poruwa.gateway.active_health import HealthMonitor, Target
from poruwa.gateway.discovery import PoolDiscovery
from poruwa.gateway.shared_state import InstanceState
from poruwa.rules.topology import Change, Drain, DrainPhase, is_empty
from poruwa.stack.topology import RunningTopology


def pool_statuses(
    topology: RunningTopology, health: HealthMonitor, discovery: Iterable[PoolDiscovery]
) -> list[dict[str, Any]]:
    """Return the JSON of each pool: its method, its instances, and changes that concern none."""
    looks = {each.pool: _look(each) for each in discovery}
    states = [(known.target.pool, known.state) for known in health.instances]
    return [
        {
            "name": section.name,
            "method": section.method.value,
            "instances": [each.name for each in topology.pools[section.name].members],
            "up": states.count((section.name, InstanceState.UP)),
            "discovery": looks.get(section.name),
            "removed": sorted(topology.pools[section.name].removed),
            "passed_over": list(topology.pools[section.name].passed_over),
            "changes_without_effect": list(topology.pools[section.name].without_effect),
        }
        for section in topology.policy.pools
    ] + [
        {"name": pool, "changes_without_effect": list(changes)}
        for pool, changes in topology.changes.items()
        if pool not in topology.pools
    ]


def _look(discovery: PoolDiscovery) -> dict[str, Any]:
    """Return what the last look for a pool's instances brought."""
    state = discovery.state
    return {
        "kind": discovery.section.kind.value,
        "source": discovery.section.source,
        "found": len(state.instances),
        "changed_at": _iso(state.changed_at),
        "looked_at": _iso(discovery.looked_at),
        "problem": state.problem.value if state.problem is not None else None,
        "detail": state.detail,
    }


def _iso(wall: float | None) -> str | None:
    if wall is None:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def change_status(topology: RunningTopology, target: Target, *, in_flight: int) -> dict[str, Any]:
    """Return where an instance comes from, and what was changed of it at run time."""
    member = topology.pools[target.pool].find(target.name)
    assert member is not None  # targets are made of members
    told: dict[str, Any] = {
        "source": member.source.value,
        "changes": _changes(member.change),
        "drain": None,
    }
    drain = member.change.drain
    if drain is not None:
        section = next(each for each in topology.policy.pools if each.name == target.pool)
        told["drain"] = _drain(
            drain, target.drain, in_flight=in_flight, binds_clients=section.affinity is not None
        )
        if target.drain is DrainPhase.DRAINED:
            told |= {"state": "drained", "reason": "drained", "detail": "by an operator"}
    return told


def _changes(change: Change) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if change.address is not None:
        told["address"] = change.address
    if change.weight is not None:
        told["weight"] = change.weight
    return told


def _drain(
    drain: Drain, phase: DrainPhase, *, in_flight: int, binds_clients: bool
) -> dict[str, Any]:
    now = time.time()
    return {
        "phase": phase.value,
        "since": _iso(drain.since),
        "limit_seconds": drain.limit_seconds,
        "remaining_seconds": round(max(drain.since + drain.limit_seconds - now, 0.0), 1),
        "empty": is_empty(drain, now, in_flight=in_flight, binds_clients=binds_clients),
        "in_flight": in_flight,
        "binds_clients": binds_clients,
        "then_remove": drain.remove,
    }
