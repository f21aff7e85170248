"""When Sri Lankans marry: auspicious months, weekends, and never on a full-moon (poya) day.

Pure functions of dates. The full moon's moment is computed by the leading terms of Meeus,
"Astronomical Algorithms", chapter 49, good to a few minutes. The poya day is the day in Sri Lanka
on which the moon is full, or the day before if that is in the morning or about noon: so it was
with all twelve of 2025. The gazette can still differ by a day when it is in the afternoon.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_J2000_JULIAN_DAY = 2_451_545.0
_LUNATION_DAYS = 29.530588861
_POYA_OFFSET = timedelta(hours=5.5 - 14.5)  # Sri Lanka's time, and a day that begins at 14:30

# Share of a good month's weddings: few in April around the new year, many in December's holidays.
_MONTH_DEMAND = (1.0, 1.15, 0.75, 0.35, 0.9, 1.1, 1.0, 1.1, 1.15, 0.8, 0.85, 1.2)
# Monday first. Tuesday is thought unlucky; Thursday and Friday are liked as much as the weekend.
_WEEKDAY_DEMAND = (0.22, 0.04, 0.3, 0.62, 0.55, 0.8, 0.85)
_DAYS_AHEAD = 365


@cache
def poya_days(first: date, days: int) -> frozenset[date]:
    """Return the poya days among ``days`` days from ``first``."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    lunation = math.floor((start - _J2000).days / _LUNATION_DAYS) - 1
    moons = (_full_moon(lunation + step) for step in range(days // 29 + 4))
    found = ((moon + _POYA_OFFSET).date() for moon in moons)
    return frozenset(day for day in found if first <= day < first + timedelta(days=days))


def booked_dates(rng: Random, anchor: date, demand: float) -> tuple[str, ...]:
    """Return the dates of the year from ``anchor`` that are taken, as sorted ISO dates.

    Args:
        rng: where chance comes from.
        anchor: the first day that may be taken.
        demand: 0.0-1.0, how sought after the venue is; far dates are less booked than near ones.
    """
    days = _demand_of_days(anchor)
    return tuple(iso for iso, wanted in days if rng.random() < wanted * demand)


@cache
def _demand_of_days(anchor: date) -> tuple[tuple[str, float], ...]:
    poya = poya_days(anchor, _DAYS_AHEAD)
    rows = []
    for ahead in range(_DAYS_AHEAD):
        day = anchor + timedelta(days=ahead)
        wanted = _MONTH_DEMAND[day.month - 1] * _WEEKDAY_DEMAND[day.weekday()]
        wanted *= 1.0 - 0.6 * ahead / _DAYS_AHEAD
        if (day.month, day.day) in ((4, 13), (4, 14)) or day in poya:
            wanted = 0.0
        if wanted:
            rows.append((day.isoformat(), wanted))
    return tuple(rows)


def _full_moon(lunation: int) -> datetime:
    """Return the moment of the full moon in the ``lunation``-th month after January 2000."""
    k = lunation + 0.5
    century = k / 1236.85
    day = 2_451_550.09766 + _LUNATION_DAYS * k + 0.00015437 * century**2
    sun = math.radians(2.5534 + 29.10535670 * k)
    moon = math.radians(201.5643 + 385.81693528 * k + 0.0107582 * century**2)
    node = math.radians(160.7108 + 390.67050284 * k - 0.0016118 * century**2)
    day += (
        -0.40614 * math.sin(moon)
        + 0.17302 * math.sin(sun)
        + 0.01614 * math.sin(2 * moon)
        + 0.01043 * math.sin(2 * node)
        + 0.00734 * math.sin(moon - sun)
        - 0.00515 * math.sin(moon + sun)
        + 0.00209 * math.sin(2 * sun)
    )
    return _J2000 + timedelta(days=day - _J2000_JULIAN_DAY)
