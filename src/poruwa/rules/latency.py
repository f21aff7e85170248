"""How long answers of a route usually take, and from when on one is late.

Place on the path: the gateway notes the time to the first byte of each answer (``record``, one
list cell), and reads four times a second from when on a try is late (``patience``). What is then
done, a hedge or a further try, is decided by the caller and paid from budgets (``rules.retry``).

The histogram has four buckets to each doubling, evenly wide as in HdrHistogram, so that a quantile
is right within one bucket's width (25 %) from a third of a millisecond to a minute. It
forgets with a time constant, so that it follows a site through its day.

Has no clock. Does not know instances: a slow instance is ``rules.ejection``'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Protocol

_MICROS = 1e6
_SMALLEST_BITS = 9  # 256 us: below it nothing is worth a second send
_LARGEST_BITS = 26  # 67 s
_BUCKETS = 4 * (_LARGEST_BITS - _SMALLEST_BITS + 1)
MEMORY_SECONDS = 30.0
"""Time constant of forgetting: long enough for rare requests, short enough for a new build."""

LEAST_SAMPLES = 20.0
"""With fewer, a quantile is a guess and ``UNKNOWN_SECONDS`` stands in for it."""

UNKNOWN_SECONDS = 0.5
"""From when on a try is late while nothing is known of its route."""

MEDIANS = 2.0
"""No answer within so many medians is late: on an even route the 95th percentile is a hair above
the median, and a twentieth of all requests would be sent twice for nothing."""

TRY_TIMEOUT_HEDGES = 2.0
"""A try's time-out in units of its hedge delay: the hedge has then had its chance."""


class HedgeSettings(Protocol):
    """The part of ``config.model.Hedge`` that is read here."""

    @property
    def quantile(self) -> float: ...
    @property
    def least_seconds(self) -> float: ...
    @property
    def try_timeout_floor_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a first byte: until a hedge, and until the try counts as failed."""

    hedge_seconds: float
    try_seconds: float


class LatencyHistogram:
    """Times to the first byte of one route, in seconds, forgetting."""

    __slots__ = ("_at", "_counts")

    def __init__(self, now: float) -> None:
        self._counts = [0.0] * _BUCKETS
        self._at = now

    def record(self, seconds: float) -> None:
        """Note one answer's time to its first byte."""
        self._counts[_bucket(int(seconds * _MICROS))] += 1.0

    def fade(self, now: float) -> None:
        """Forget what the time since the last call takes away; called every second or so."""
        kept = exp((self._at - now) / MEMORY_SECONDS)
        self._at = now
        self._counts = [count * kept for count in self._counts]

    @property
    def samples(self) -> float:
        """How many answers it remembers."""
        return sum(self._counts)

    def quantile(self, share: float) -> float:
        """Return the seconds within which ``share`` of the answers came; 0.0 without any.

        The upper edge of the bucket: at most 25 % above the truth, never below it.
        """
        wanted = share * self.samples
        below = 0.0
        for at, count in enumerate(self._counts):
            below += count
            if count and below >= wanted:
                return _upper_edge(at)
        return 0.0


def patience(histogram: LatencyHistogram, settings: HedgeSettings) -> Patience:
    """Return from when on a try is late, learned from the route's answers.

    A hedge waits for the ``quantile`` of the settings, at least ``MEDIANS`` medians and
    ``least_seconds``; a try counts as failed after ``TRY_TIMEOUT_HEDGES`` times that, at the
    earliest after ``try_timeout_floor_seconds``.
    """
    if histogram.samples < LEAST_SAMPLES:
        hedge = max(UNKNOWN_SECONDS, settings.least_seconds)
    else:
        hedge = max(
            settings.least_seconds,
            histogram.quantile(settings.quantile),
            MEDIANS * histogram.quantile(0.5),
        )
    return Patience(
        hedge_seconds=hedge,
        try_seconds=max(settings.try_timeout_floor_seconds, TRY_TIMEOUT_HEDGES * hedge),
    )


def _bucket(micros: int) -> int:
    """Return the bucket of a time: by its leading bit and the two bits after it."""
    bits = micros.bit_length()
    if bits < _SMALLEST_BITS:
        return 0
    if bits > _LARGEST_BITS:
        return _BUCKETS - 1
    return 4 * (bits - _SMALLEST_BITS) + ((micros >> (bits - 3)) & 3)


def _upper_edge(bucket: int) -> float:
    """Return the seconds below which all times of a bucket are."""
    doublings, quarter = divmod(bucket, 4)
    return float(2 ** (_SMALLEST_BITS - 1 + doublings) * (5 + quarter) / 4 / _MICROS)
