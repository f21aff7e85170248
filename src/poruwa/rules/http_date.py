"""Dates in header fields: text to seconds and back (RFC 9110 section 5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun",
           b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")  # fmt: skip
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# Senders use the first; RFC 9110 has recipients take the other two as well. Case is theirs to keep,
# and not ours to insist on (RFC 9111 section 4.2).
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        _DAY + rb", (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + rb" GMT",
        _LONG_DAY + rb", (?P<day>\d\d)-" + _MONTH + rb"-(?P<year>\d\d) " + _TIME + rb" GMT",
        _DAY + rb" " + _MONTH + rb" (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})",
    )
)


def parse_http_date(value: bytes, *, now: float) -> int | None:
    """Return the seconds since 1970-01-01 UTC that ``value`` names, or None if it is no date.

    Args:
        now: wall time in seconds; a year of two digits is the one at most 50 years ahead of it.
    """
    match = next((found for form in _FORMS if (found := form.fullmatch(value))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        this_year = datetime.fromtimestamp(now, UTC).year
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    leap_second = match["second"] == b"60"  # no datetime has one: the second before stands for it
    try:
        moment = datetime(
            year,
            _MONTHS.index(match["month"].capitalize()) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            59 if leap_second else int(match["second"]),
            tzinfo=UTC,
        )
    except ValueError:  # the 31st of June, the hour 25
        return None
    return int(moment.timestamp())


def format_http_date(seconds: int) -> bytes:
    """Return the field value for ``seconds`` since 1970-01-01 UTC."""
    return formatdate(seconds, usegmt=True).encode()
