"""Declares each day over at midnight in Sri Lanka: what shows a calendar is out of date then.

Pages that show which days are free carry the tag of the day they were made on (``day:2026-11-26``).
Every instance, once its own clock has passed midnight, declares the tag of the day before changed.
No instance leads: repeating it harms nobody, since what was made since carries the new day's tag,
and no instance still makes pages of the old day after its own declaration. So neither a clock that
is late nor an instance that was down leaves an old calendar, and lifetimes need no cutting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from poruwa import BusUnavailable, Platform
from weddinglk.web.availability import day_tag, today

LOOK_SECONDS: Final = 1.0  # between looks at the clock, which may be set or stand still meanwhile
RETRY_SECONDS: Final = 1.0
_log = logging.getLogger("weddinglk")


async def declare_days_over(
    platform: Platform,
    *,
    now: Callable[[], date] = today,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Do so for ever, first for yesterday: midnight may have passed while no instance ran.

    Args:
        now: returns the present day.
        look_seconds: between looks at it.
    """
    over = now() - timedelta(days=2)
    while True:
        while over < now() - timedelta(days=1):
            over += timedelta(days=1)  # usually one; several after a standstill
            await _declare_over(platform, over)
        await asyncio.sleep(look_seconds)


async def _declare_over(platform: Platform, day: date) -> None:
    while True:
        try:
            await platform.invalidate(day_tag(day))
        except BusUnavailable:
            # Nothing tagged is served from the caches meanwhile; they must be told all the same.
            await asyncio.sleep(RETRY_SECONDS)
        else:
            _log.info("%s is over", day.isoformat())
            return
