"""Statistics of repeated measurements: medians, spreads, and ratios taken round by round.

Rounds are interleaved (A B C, B C A, ...), so what disturbs the machine for a while meets all
proxies: a ratio within a round is steadier than the ratio of two medians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, least and greatest of some values. Few values: no deviation would mean much."""

    median: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 4) for name in ("median", "low", "high")}


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of ``values``.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("there are no values")
    return Spread(median=median(values), low=min(values), high=max(values))


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ``ours[i] / theirs[i]``, one ratio a round.

    Raises:
        ValueError: of different lengths, or empty, or a divisor of 0.
    """
    if 0 in theirs:
        raise ValueError("a divisor is 0")
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return ``items`` beginning with the one at ``by``: every round has another first."""
    start = by % len(items)
    return [*items[start:], *items[:start]]
