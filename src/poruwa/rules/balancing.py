"""Which of the eligible instances takes the next request.

Called once per request by the gateway's balancer, after health, drain and limits have decided who
is eligible. Every function takes parallel sequences (one place per eligible instance) and returns
an index into them; each raises ValueError when they are empty. State that must move between
requests (a turn counter, loads, latencies) belongs to the caller.

Sources: smooth weighted round-robin as nginx describes it; shortest expected delay as in Linux
virtual server; "The Power of Two Choices in Randomized Load Balancing" (Mitzenmacher, 2001); peak
EWMA as in Finagle; "Consistent Hashing with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import ceil, exp, gcd

MAX_SEQUENCE_SLOTS = 1024
"""Upper bound of a weighted sequence; with more than 64 instances, 16 slots for each."""

MAX_SEQUENCE_STEPS = 100_000
"""Slots times instances up to which nginx's algorithm is run: about 5 ms."""

POINTS_PER_WEIGHT = 64
"""Points of the hash ring per unit of weight; shares differ by about 1/sqrt(points)."""

MAX_RING_POINTS = 65_536

UNKNOWN_LATENCY_PENALTY_SECONDS = 10.0
"""Cost of an instance that is busy but has not answered yet: Finagle's guard against a pile-up."""

_UNKNOWN = float("inf")  # of a capacity
_LOAD_SCALE = 1e4
"""So many requests under way weigh as much as doubling the latency to expect."""

_NOBODY = "no eligible instance to choose from"


def round_robin(count: int, turn: int) -> int:
    """Return the index whose turn it is: ``turn`` counts requests, from any start."""
    if count <= 0:
        raise ValueError(_NOBODY)
    return turn % count


def weighted_sequence(weights: Sequence[int]) -> tuple[int, ...]:
    """Return one period of smooth weighted round-robin: an index per slot.

    Each index occurs in proportion to its weight and as far from itself as possible: weights
    5, 1, 1 give 0 0 1 0 2 0 0. Weights are reduced by their greatest common divisor; where the
    period would still pass ``MAX_SEQUENCE_SLOTS`` they are scaled down, each keeping one slot.
    To be computed when the topology changes: milliseconds for large pools. Very large ones are
    laid out by dividing the period evenly for each index, which is as fair and slightly less even.

    Raises:
        ValueError: empty, or a weight below 1.
    """
    if not weights:
        raise ValueError(_NOBODY)
    if min(weights) < 1:
        raise ValueError(f"weights must be at least 1, not {min(weights)}")
    reduced = _bounded_weights(weights)
    total = sum(reduced)
    if total == len(reduced):
        return tuple(range(total))
    if total * len(reduced) > MAX_SEQUENCE_STEPS:
        due = [
            ((slot + 0.5) / weight, index)
            for index, weight in enumerate(reduced)
            for slot in range(weight)
        ]
        return tuple([index for _, index in sorted(due)])
    current = [0] * len(reduced)
    slots: list[int] = []
    for _ in range(total):
        current = [have + weight for have, weight in zip(current, reduced, strict=True)]
        chosen = current.index(max(current))
        current[chosen] -= total
        slots.append(chosen)
    return tuple(slots)


def smooth_weighted(weights: tuple[int, ...], turn: int) -> int:
    """Return the index of slot ``turn`` of the (memoised) weighted sequence of ``weights``."""
    sequence = _memoised_sequence(weights)
    return sequence[turn % len(sequence)]


def least_connections(weights: Sequence[int], in_flight: Sequence[float], turn: int) -> int:
    """Return the index with the least in-flight requests per unit of weight.

    Ties rotate by ``turn``, in proportion to weight: without load this is weighted round-robin,
    so that an idle site does not send everything to its first instance.
    """
    if not in_flight:
        raise ValueError(_NOBODY)
    first = weights[0]
    if weights.count(first) == len(weights):  # at C speed: the common case of equal weights
        least = min(in_flight)
        if in_flight.count(least) == 1:
            return in_flight.index(least)
        ties = [index for index, load in enumerate(in_flight) if load == least]
        return ties[turn % len(ties)]
    ratios = [load / weight for load, weight in zip(in_flight, weights, strict=True)]
    lowest = min(ratios)
    if ratios.count(lowest) == 1:
        return ratios.index(lowest)
    ties = [index for index, ratio in enumerate(ratios) if ratio == lowest]
    return ties[smooth_weighted(tuple([weights[index] for index in ties]), turn)]


def expected_waits(
    weights: Sequence[int],
    in_flight: Sequence[float],
    slowness: Sequence[float],
    ratios: Sequence[float],
    capacities: Sequence[float],
) -> list[float]:
    """Return a figure per instance: the lower, the sooner a further request is likely answered.

    First by the latency to expect (``rules.speed``): the ratio of an instance's base latency to the
    fastest one's, times how far a further request would go beyond its capacity. Among those alike,
    by requests under way per unit of weight, as least connections does.

    ``slowness`` multiplies what is under way, also where that is held against the capacity, and an
    instance of unknown capacity with any slowness counts as having the smallest that is known: else
    one that only fails would look best as soon as the good ones are full.

    Args:
        weights: at least 1.
        in_flight: requests in flight.
        slowness: of errors and slow start, at least 1.
        ratios: at least 1.
        capacities: requests at a time before they queue, at least 1, infinite if unknown.
    """
    smallest = min(capacities, default=1.0)
    waits = []
    for weight, load, slow, ratio, capacity in zip(
        weights, in_flight, slowness, ratios, capacities, strict=True
    ):
        taken = (load + 1) * slow
        room = smallest if slow > 1.0 and capacity == _UNKNOWN else capacity
        waits.append(ratio * max(1.0, taken / room) + (taken - 1.0) / weight / _LOAD_SCALE)
    return waits


def least_expected_wait(weights: Sequence[int], waits: Sequence[float], turn: int) -> int:
    """Return the index with the least of ``expected_waits``; ties rotate by ``turn`` and weight."""
    if not waits:
        raise ValueError(_NOBODY)
    shortest = min(waits)
    ties = [index for index, wait in enumerate(waits) if wait == shortest]
    if len(ties) == 1:
        return ties[0]
    return ties[smooth_weighted(tuple([weights[index] for index in ties]), turn)]


def power_of_two(
    weights: Sequence[int], in_flight: Sequence[float], random: Callable[[], float]
) -> int:
    """Return the less loaded (per unit of weight) of two instances drawn by weight.

    Args:
        weights: one per instance, at least 1.
        in_flight: requests in flight, one per instance.
        random: returns floats of [0, 1).
    """
    one, other = _two_drawn(weights, random)
    if in_flight[other] * weights[one] < in_flight[one] * weights[other]:
        return other
    return one


def peak_ewma(
    weights: Sequence[int],
    in_flight: Sequence[float],
    latency_seconds: Sequence[float],
    random: Callable[[], float],
) -> int:
    """Return the cheaper of two instances drawn by weight: expected wait is latency times queue.

    A latency of 0 means not measured yet: such an instance is free while idle, so that it gets
    its first request, and dear while that first one is on its way.
    """
    one, other = _two_drawn(weights, random)
    cost_of_one = _cost(in_flight[one], latency_seconds[one]) / weights[one]
    cost_of_other = _cost(in_flight[other], latency_seconds[other]) / weights[other]
    return other if cost_of_other < cost_of_one else one


def updated_peak(
    peak_seconds: float, sample_seconds: float, elapsed_seconds: float, decay_seconds: float
) -> float:
    """Return the peak-sensitive moving average after one more sample.

    It jumps to a worse sample at once and forgets it at ``decay_seconds`` (time constant).
    ``elapsed_seconds`` is the time since the previous sample. Errors count when the caller passes
    the time they are to cost as their sample: else an instance failing in 1 ms would look fast.
    """
    if sample_seconds >= peak_seconds:
        return sample_seconds
    kept = exp(-elapsed_seconds / decay_seconds)
    return peak_seconds * kept + sample_seconds * (1.0 - kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class HashRing:
    """Points of a consistent-hash ring, ascending, and the index that owns each."""

    points: tuple[int, ...]
    owners: tuple[int, ...]
    weights: tuple[int, ...]


def hash_ring(names: Sequence[str], weights: Sequence[int]) -> HashRing:
    """Return the ring of ``names``: points depend on a name alone, so others' keys stay put.

    Raises:
        ValueError: empty, a repeated name, or a weight below 1.
    """
    if not names:
        raise ValueError(_NOBODY)
    if len(set(names)) != len(names) or min(weights) < 1:
        raise ValueError("a hash ring needs distinct names and weights of at least 1")
    per_weight = max(1, min(POINTS_PER_WEIGHT, MAX_RING_POINTS // sum(weights)))
    placed = sorted(
        (_hash64(f"{name}\0{point}".encode()), index)
        for index, (name, weight) in enumerate(zip(names, weights, strict=True))
        for point in range(weight * per_weight)
    )
    return HashRing(
        points=tuple(point for point, _ in placed),
        owners=tuple(owner for _, owner in placed),
        weights=tuple(weights),
    )


def consistent_hash(
    ring: HashRing, key: bytes, in_flight: Sequence[float] | None = None, bound: float = 1.25
) -> int:
    """Return the index that owns ``key``, or the next one clockwise with room for it.

    Args:
        ring: made of the eligible instances.
        key: what sticks together, such as a client's address.
        in_flight: requests in flight per instance; None means no bound (sticky hashing).
        bound: how many times its fair share an instance may hold, above 1.
    """
    points, owners = ring.points, ring.owners
    start = bisect_right(points, _hash64(key)) % len(points)
    if in_flight is None:
        return owners[start]
    share = bound * (sum(in_flight) + 1) / sum(ring.weights)
    full: set[int] = set()
    for step in range(len(points)):
        owner = owners[(start + step) % len(points)]
        if owner in full:
            continue
        if in_flight[owner] + 1 <= ceil(share * ring.weights[owner]):
            return owner
        full.add(owner)
    return owners[start]  # only by rounding: a bound above 1 leaves somebody below it


_memoised_sequence = lru_cache(maxsize=256)(weighted_sequence)


def _bounded_weights(weights: Sequence[int]) -> list[int]:
    divisor = gcd(*weights)
    reduced = [weight // divisor for weight in weights]
    limit = max(MAX_SEQUENCE_SLOTS, 16 * len(reduced))
    total = sum(reduced)
    if total <= limit:
        return reduced
    # One slot for each, the rest in proportion: rounding down keeps the sum within the limit.
    spare = limit - len(reduced)
    return [1 + spare * weight // total for weight in reduced]


def _two_drawn(weights: Sequence[int], random: Callable[[], float]) -> tuple[int, int]:
    """Return two distinct indices drawn by weight (the same one twice where there is but one)."""
    count = len(weights)
    if count <= 1:
        if count == 0:
            raise ValueError(_NOBODY)
        return 0, 0
    if weights.count(weights[0]) == count:
        one = int(random() * count)
        other = int(random() * (count - 1))
        return one, other + 1 if other >= one else other
    ends = list(accumulate(weights))
    one = bisect_left(ends, int(random() * ends[-1]) + 1)
    # The second draw runs over the line of weights with the first one's piece cut out.
    at = int(random() * (ends[-1] - weights[one])) + 1
    if at > ends[one] - weights[one]:
        at += weights[one]
    return one, bisect_left(ends, at)


def _cost(in_flight: float, latency_seconds: float) -> float:
    if latency_seconds > 0.0:
        return latency_seconds * (in_flight + 1)
    return UNKNOWN_LATENCY_PENALTY_SECONDS * in_flight


def _hash64(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
