"""Numbers, amounts and dates as text. Digits and separators are the same in the three languages.

Sri Lanka groups by thousands in all of them (1,250,000) and writes years last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as calendar_date

_CURRENCY = {"en": "Rs\u00a0", "si": "රු.\u00a0", "ta": "ரூ.\u00a0"}


def number(value: float) -> str:
    """Return ``1250000`` as ``1,250,000``, ``4.666`` as ``4.7`` and ``5.0`` as ``5.0``."""
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def money(language: str, amount_lkr: int) -> str:
    """Return whole rupees with the currency's sign, which never parts from the number."""
    return _CURRENCY[language] + f"{amount_lkr:,}"


def date(language: str, iso_date: str, months: Sequence[str]) -> str:
    """Return a day written out: ``14 February 2027``, in Sinhala ``2027 පෙබරවාරි 14``.

    Raises:
        ValueError: ``iso_date`` is no calendar day.
    """
    day = calendar_date.fromisoformat(iso_date)
    month = months[day.month - 1]
    return f"{day.year} {month} {day.day}" if language == "si" else f"{day.day} {month} {day.year}"


def plural_form(language: str, count: int) -> str:
    """Return the CLDR cardinal category: Sinhala counts 0 as ``one``, English and Tamil do not."""
    if count == 1 or (language == "si" and count == 0):
        return "one"
    return "other"
