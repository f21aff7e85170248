"""How an instance's slowness (``rules.ejection``) changes its share of turns.

Called before ``rules.balancing`` by a balancer whose instances are judged by live traffic, for the
methods that go by weight. Least connections takes slowness as it is (``expected_waits``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

from poruwa.rules.ejection import SLOWEST

WEIGHT_STEPS = int(SLOWEST)
"""Turns per unit of weight from which slowness takes away: enough to leave one to the slowest."""


def penalised_weights(weights: Sequence[int], slowness: Sequence[float]) -> tuple[int, ...]:
    """Return weights divided by slowness, at least 1 of ``WEIGHT_STEPS`` per unit.

    Slowness is rounded up to a power of two: the sequence of a weighted round-robin is then laid
    out anew at a few steps of a recovery and not at every request.
    """
    if all(factor <= 1.0 for factor in slowness):
        return tuple(weights)
    return tuple(
        max(1, weight * WEIGHT_STEPS // 2 ** ceil(log2(max(factor, 1.0))))
        for weight, factor in zip(weights, slowness, strict=True)
    )
