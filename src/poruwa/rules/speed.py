"""How fast each instance of a pool is, and how much it takes at a time, learned from its answers.

Least connections spreads well over instances that are alike. Over unlike ones it keeps the slow
ones as full as the fast. So whoever counts answers (in the gateway the control process) learns for
each instance

- its *base*: how long an answer takes when nothing is queued there. It is taken for that of the
  fastest until the instance is seen to be slow with one request at a time;
- its *capacity*: how many requests it serves at a time before they begin to queue, by Little's law
  the throughput times the base once latency has risen above the base;

and the balancer compares the latency that a further request is to expect: the base, times how far
it would go beyond the capacity. What does not queue may hold a little more than it held so far, so
that an instance shows step by step what it can do, and is found out where it cannot.

In a pool of equals ``expectations`` says so, and plain least connections is used: differences below
``NORMAL_RATIO`` or ``NOISE_SECONDS`` are nothing that a user could notice.

Sources: Little's law; the queue estimate of TCP Vegas (Brakmo, Peterson, 1995). No clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

MEMORY_SECONDS = 1.0
"""Time constant of throughput and latency: some requests of a busy instance, and not too late."""

BASE_RISE_SECONDS = 300.0
"""Time constant with which a base follows a latency that stays above it: the work may change."""

BASE_RISE_ALONE_SECONDS = 2.0
"""The same where requests come one at a time: what is slow without a queue is slow."""

ALONE, ALONE_SECONDS = 1.2, 2.0
"""Requests under way, on average, up to which nothing can be queued, and for how long it must have
been so: until then the smoothed latency still remembers a queue."""

NORMAL_RATIO = 1.5
"""Bases within this factor of the fastest are alike."""

QUEUE_RISE = 1.15
"""A latency so many times the base, and more so than another instance's, means a queue."""

NOISE_SECONDS = 0.005
HEADROOM, HEADROOM_REQUESTS = 1.1, 0.5
"""What an instance may have beyond the most that it was seen to hold without a queue."""

LIMIT_MEMORY_SECONDS = 30.0
"""How long after its last queue an instance's capacity is still minded."""

FORGET_SECONDS = 5.0
"""Time constant with which what an idle instance was like is forgotten."""

UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What is known of one instance.

    Attributes:
        rate: answers per second, smoothed.
        under_way: requests under way, smoothed: the sum of latencies per second (Little's law).
        latency_seconds: smoothed time to the first byte; 0.0 while unknown.
        base_seconds: the same without a queue; 0.0 while unknown.
        capacity: requests served at a time.
        alone_seconds: for how long requests have come one at a time.
        unseen_seconds: since the last answer.
        unlimited_seconds: since a queue was last seen there.
    """

    rate: float = 0.0
    under_way: float = 0.0
    latency_seconds: float = 0.0
    base_seconds: float = 0.0
    capacity: float = UNLIMITED
    alone_seconds: float = 0.0
    unseen_seconds: float = 0.0
    unlimited_seconds: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a further request is to expect of an instance.

    Attributes:
        ratio: of its base to the fastest one's, at least 1.
        capacity: requests at a time beyond which they queue; ``UNLIMITED`` while none is known.
    """

    ratio: float = 1.0
    capacity: float = UNLIMITED


def measured(speed: Speed, *, answered: int, latency_seconds: float, elapsed: float) -> Speed:
    """Return what is known after ``elapsed`` seconds with ``answered`` answers.

    Args:
        latency_seconds: sum of the answers' times to their first byte.
    """
    if elapsed <= 0.0:
        return speed
    weight = 1.0 - exp(-elapsed / MEMORY_SECONDS)
    if not answered and speed.unseen_seconds > MEMORY_SECONDS:
        return replace(
            speed,
            rate=speed.rate * (1.0 - weight),
            under_way=speed.under_way * (1.0 - weight),
            unseen_seconds=speed.unseen_seconds + elapsed,
            unlimited_seconds=speed.unlimited_seconds + elapsed,
        )
    rate = speed.rate + (answered / elapsed - speed.rate) * weight
    under_way = speed.under_way + (latency_seconds / elapsed - speed.under_way) * weight
    latency = under_way / rate if rate > 0.0 else 0.0
    if answered and speed.unseen_seconds > FORGET_SECONDS:
        latency = latency_seconds / answered  # what was known is too old to be mixed in
        rate, under_way = answered / elapsed * weight, latency_seconds / elapsed * weight
    return replace(
        speed,
        rate=rate,
        under_way=under_way,
        latency_seconds=latency,
        alone_seconds=speed.alone_seconds + elapsed if under_way <= ALONE else 0.0,
        unseen_seconds=0.0 if answered else speed.unseen_seconds + elapsed,
        unlimited_seconds=speed.unlimited_seconds + elapsed,
    )


def compared(speeds: Sequence[Speed], *, elapsed: float) -> tuple[Speed, ...]:
    """Return the speeds of a pool's instances with what each is learned to be beside the others.

    An instance queues when its latency is well above its base and more so than another's: where all
    slow down alike, it is the work that has changed.
    """
    latencies = [each.latency_seconds for each in speeds if each.latency_seconds and _is_new(each)]
    if not latencies:
        return tuple(speeds)
    fastest = min(latencies)
    based = [_with_base(speed, fastest, elapsed) for speed in speeds]
    least_rise = min(_rise(speed) for speed in based if speed.latency_seconds and _is_new(speed))
    return tuple([_with_capacity(speed, least_rise, elapsed) for speed in based])


def expectations(speeds: Sequence[Speed]) -> tuple[Expectation, ...]:
    """Return what a further request is to expect of each instance, beside the others."""
    bases = [speed.base_seconds for speed in speeds if speed.base_seconds and _is_new(speed)]
    fastest = min(bases, default=0.0)
    ratios = [_ratio(speed, fastest) for speed in speeds]
    are_limited = [speed.unlimited_seconds < LIMIT_MEMORY_SECONDS for speed in speeds]
    if not any(are_limited) and all(ratio == 1.0 for ratio in ratios):
        return tuple(Expectation() for _ in speeds)
    return tuple(
        Expectation(ratio=ratio, capacity=max(speed.capacity, 1.0))
        for speed, ratio in zip(speeds, ratios, strict=True)
    )


def _with_base(speed: Speed, fastest: float, elapsed: float) -> Speed:
    latency, base = speed.latency_seconds, speed.base_seconds
    if not latency or not _is_new(speed):
        return speed
    if not base:
        return replace(speed, base_seconds=fastest)
    if latency < base:
        return replace(speed, base_seconds=latency)
    is_alone = speed.alone_seconds > ALONE_SECONDS
    rise = BASE_RISE_ALONE_SECONDS if is_alone else BASE_RISE_SECONDS
    return replace(speed, base_seconds=base + (latency - base) * (1.0 - exp(-elapsed / rise)))


def _with_capacity(speed: Speed, least_rise: float, elapsed: float) -> Speed:
    latency, base = speed.latency_seconds, speed.base_seconds
    if not latency or not base or not _is_new(speed):
        return speed
    rise = _rise(speed)
    if latency - base > NOISE_SECONDS and rise > QUEUE_RISE * max(least_rise, 1.0):
        served = speed.rate * base
        capacity = speed.capacity
        if capacity == UNLIMITED:
            capacity = served
        else:
            capacity += (served - capacity) * (1.0 - exp(-2.0 * elapsed / MEMORY_SECONDS))
        return replace(speed, capacity=capacity, unlimited_seconds=0.0)
    if rise > QUEUE_RISE or (speed.under_way <= 1.0 and speed.capacity == UNLIMITED):
        return speed
    shown = HEADROOM * speed.under_way + HEADROOM_REQUESTS
    known = 0.0 if speed.capacity == UNLIMITED else speed.capacity
    return replace(speed, capacity=max(known, shown))


def _rise(speed: Speed) -> float:
    return speed.latency_seconds / speed.base_seconds


def _is_new(speed: Speed) -> bool:
    return speed.unseen_seconds <= MEMORY_SECONDS


def _ratio(speed: Speed, fastest: float) -> float:
    """Return how many times slower than the fastest an instance is; 1.0 where that is noise.

    What is known of an idle instance fades, so that one that has recovered is tried again.
    """
    base = speed.base_seconds
    if not fastest or base - fastest <= NOISE_SECONDS or base <= NORMAL_RATIO * fastest:
        return 1.0
    kept = exp(-max(speed.unseen_seconds - MEMORY_SECONDS, 0.0) / FORGET_SECONDS)
    faded = (base / fastest) ** float(kept)
    return float(faded) if faded > 1.0 else 1.0
