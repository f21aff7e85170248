"""Closed-loop clients before simulated instances, in virtual time: what the learned speeds do.

Balanced as the gateway does it: by the exact requests under way and, every 50 ms, what
``poruwa.rules.speed`` has learned from the answers.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from poruwa.rules.balancing import expected_waits, least_connections, least_expected_wait
from poruwa.rules.speed import Expectation, Speed, compared, expectations, measured

TICK_SECONDS = 0.05
UNLIMITED_SLOTS = 1_000_000


@dataclass(slots=True)
class SimulatedInstance:
    """Answers after ``seconds``, at most ``slots`` at a time, others in their order."""

    seconds: float
    slots: int = UNLIMITED_SLOTS
    busy: int = 0
    queue: list[tuple[float, int]] = field(default_factory=list)
    under_way: int = 0
    answered: int = 0
    latency_seconds: float = 0.0


class SimulatedPool:
    """Runs until a moment of virtual time, again and again; counts answers by instance."""

    def __init__(self, instances: Sequence[SimulatedInstance], clients: int, seed: int = 1) -> None:
        self.instances = list(instances)
        self.answers: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.expected: tuple[Expectation, ...] = tuple(Expectation() for _ in instances)
        self._speeds = [Speed() for _ in instances]
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, int, float]] = []  # when, order, what, sent at
        self._order = 0
        self._turn = 0
        self._now = 0.0
        for client in range(clients):
            self._send(0.001 * client)
        self._push(TICK_SECONDS, -1, 0.0)

    def run(self, until: float) -> float:
        """Go on to ``until``; return the answers per second on the way."""
        began, before = self._now, self.answers.total()
        while self._events[0][0] < until:
            self._now, _, what, sent_at = heapq.heappop(self._events)
            if what < 0:
                self._learn()
            else:
                self._answer(what, sent_at)
        self._now = until
        return (self.answers.total() - before) / (until - began)

    def _push(self, when: float, what: int, sent_at: float) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, sent_at))

    def _choose(self) -> int:
        self._turn += 1
        weights = (1,) * len(self.instances)
        loads = [each.under_way for each in self.instances]
        if all(each == Expectation() for each in self.expected):
            return least_connections(weights, loads, self._turn)
        waits = expected_waits(
            weights,
            loads,
            [1.0] * len(loads),
            [each.ratio for each in self.expected],
            [each.capacity for each in self.expected],
        )
        return least_expected_wait(weights, waits, self._turn)

    def _send(self, now: float) -> None:
        index = self._choose()
        instance = self.instances[index]
        instance.under_way += 1
        if instance.busy < instance.slots:
            self._serve(index, now, now)
        else:
            instance.queue.append((now, index))

    def _serve(self, index: int, now: float, sent_at: float) -> None:
        self.instances[index].busy += 1
        seconds = self.instances[index].seconds * self._random.uniform(0.97, 1.03)
        self._push(now + seconds, index, sent_at)

    def _answer(self, index: int, sent_at: float) -> None:
        instance = self.instances[index]
        instance.busy -= 1
        instance.under_way -= 1
        instance.answered += 1
        instance.latency_seconds += self._now - sent_at
        self.answers[index] += 1
        self.latencies.append(self._now - sent_at)
        if instance.queue and instance.busy < instance.slots:
            waiting_since, _ = instance.queue.pop(0)
            self._serve(index, self._now, waiting_since)
        self._send(self._now)

    def _learn(self) -> None:
        self._speeds = [
            measured(
                speed,
                answered=each.answered,
                latency_seconds=each.latency_seconds,
                elapsed=TICK_SECONDS,
            )
            for speed, each in zip(self._speeds, self.instances, strict=True)
        ]
        for each in self.instances:
            each.answered, each.latency_seconds = 0, 0.0
        self._speeds = list(compared(self._speeds, elapsed=TICK_SECONDS))
        self.expected = expectations(self._speeds)
        self._push(self._now + TICK_SECONDS, -1, 0.0)
