"""What a balancer that knew everything would reach: closed-loop clients before unlike instances.

A discrete-event simulation in virtual time. The balancer knows each instance's slots, service time
and requests under way, and sends each request to where it will be answered first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Of one instance: what it serves at a time, each in ``seconds``."""

    seconds: float
    slots: int = 1_000_000


def optimum(capacities: Sequence[Capacity], clients: int, *, seconds: float = 60.0) -> float:
    """Return the requests per second of ``clients`` closed-loop clients under full knowledge."""
    free_at = [[0.0] * min(each.slots, clients) for each in capacities]
    for slots in free_at:
        heapq.heapify(slots)
    due = [(0.0, client) for client in range(clients)]
    heapq.heapify(due)
    answered = 0
    while due[0][0] < seconds:
        now, client = heapq.heappop(due)
        ends = [
            max(now, slots[0]) + each.seconds
            for slots, each in zip(free_at, capacities, strict=True)
        ]
        best = ends.index(min(ends))
        heapq.heapreplace(free_at[best], ends[best])
        heapq.heappush(due, (ends[best], client))
        answered += 1
    return answered / seconds
