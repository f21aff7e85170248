"""Small pieces of markup that lists repeat a hundred times, made in Python once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from markupsafe import Markup, escape

from weddinglk.catalogue import Catalogue
from weddinglk.domain import Vendor, Venue
from weddinglk.web.availability import Day, DayState, Month


def icon_maker(sprite_url: str) -> Callable[..., Markup]:
    """Return ``icon(name, extra_class="")``, which draws a symbol of the sprite as decoration."""

    @lru_cache(maxsize=256)
    def icon(name: str, extra_class: str = "") -> Markup:
        classes = f"icon {extra_class}" if extra_class else "icon"
        return Markup(  # noqa: S704
            f'<svg class="{escape(classes)}" aria-hidden="true">'
            f'<use href="{escape(sprite_url)}#{escape(name)}"/></svg>'
        )

    return icon


def place_namer(catalogue: Catalogue) -> Callable[[Venue | Vendor, str], str]:
    """Return ``place_line(listing, language)``: ``Peradeniya, Kandy``, or ``Kandy`` alone."""

    @lru_cache(maxsize=4096)
    def named(place_id: str, district_id: str, language: str) -> str:
        known = (catalogue.place(place_id), catalogue.district(district_id))
        names = [item.name.in_language(language) for item in known if item is not None]
        return ", ".join(dict.fromkeys(names))

    def place_line(listing: Venue | Vendor, language: str) -> str:
        return named(listing.place, listing.district, language)

    return place_line


def calendar_rows(month: Month, booked_word: str) -> Markup:
    """Return the rows of a month's table; ``booked_word`` tells those who hear the page."""
    taken = f'<span class="vh"> {escape(booked_word)}</span>'
    rows = ("".join(_cell(day, taken) for day in week) for week in month.weeks)
    return Markup("".join(f"<tr>{row}</tr>" for row in rows))  # noqa: S704


def _cell(day: Day, taken: str) -> str:
    state = day.state
    if state is DayState.FREE:
        return f'<td class="free" data-day="{day.iso}">{day.number}</td>'
    if state is DayState.BOOKED:
        return f'<td class="booked" data-day="{day.iso}">{day.number}{taken}</td>'
    return f'<td class="past">{day.number}</td>' if state is DayState.PAST else "<td></td>"
