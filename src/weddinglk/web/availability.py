"""A venue's coming months as a calendar, and whether one day is free.

Days are days in Sri Lanka, which is UTC+05:30 all year. What shows them is tagged with the present
one; ``weddinglk.midnight`` declares it over.
"""

from __future__ import annotations

import calendar
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum

from poruwa import tag

SRI_LANKA_TIME = timezone(timedelta(hours=5, minutes=30))
MONTHS_SHOWN = 12
_WEEKS = calendar.Calendar(firstweekday=0)


class DayState(Enum):
    """What a day of the calendar is to a couple."""

    FREE = "free"
    BOOKED = "booked"
    PAST = "past"
    OUTSIDE = "outside"  # belongs to the month before or after


@dataclass(frozen=True, slots=True)
class Day:
    """One cell: its ISO date, number and state."""

    iso: str
    number: int
    state: DayState


@dataclass(frozen=True, slots=True)
class Month:
    """One table: weeks from Monday; ``free`` counts the days one can still have."""

    year: int
    month: int
    weeks: tuple[tuple[Day, ...], ...]
    free: int


def today() -> date:
    """Return the present day in Sri Lanka."""
    return datetime.now(UTC).astimezone(SRI_LANKA_TIME).date()


def day_tag(day: date) -> str:
    """Return the tag of what is made of ``day`` as the present one."""
    return f"day:{day.isoformat()}"


def shown_today() -> date:
    """Return the present day, and tag the response with it: at midnight it is out of date."""
    day = today()
    tag(day_tag(day))
    return day


def months_from(first: date, booked: Collection[str], count: int = MONTHS_SHOWN) -> list[Month]:
    """Return ``count`` months beginning with that of ``first``; days before it are past."""
    taken = frozenset(booked)
    months = []
    for offset in range(count):
        year, month = first.year + (first.month - 1 + offset) // 12, (first.month - 1 + offset) % 12
        months.append(_month(year, month + 1, first, taken))
    return months


def state_of(iso_date: str, first: date, booked: Collection[str]) -> tuple[str, DayState] | None:
    """Return the day that ``iso_date`` names, normalised, and its state; ``None`` if it is none."""
    try:
        day = date.fromisoformat(iso_date[:10])
    except ValueError:
        return None
    if day < first:
        return day.isoformat(), DayState.PAST
    state = DayState.BOOKED if day.isoformat() in booked else DayState.FREE
    return day.isoformat(), state


def _month(year: int, month: int, first: date, taken: frozenset[str]) -> Month:
    weeks, free = [], 0
    for week in _WEEKS.monthdatescalendar(year, month):
        days = []
        for day in week:
            iso = day.isoformat()
            if day.month != month:
                state = DayState.OUTSIDE
            elif day < first:
                state = DayState.PAST
            else:
                state = DayState.BOOKED if iso in taken else DayState.FREE
                free += state is DayState.FREE
            days.append(Day(iso, day.day, state))
        weeks.append(tuple(days))
    return Month(year, month, tuple(weeks), free)
