"""Small pieces of markup that lists repeat a hundred times, made in Python once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from markupsafe import Markup, escape

from weddinglk.catalogue import Catalogue
from weddinglk.domain import Vendor, Venue


def icon_maker(sprite_url: str) -> Callable[..., Markup]:
    """Return ``icon(name, extra_class="")``, which draws a symbol of the sprite as decoration."""

    @lru_cache(maxsize=256)
    def icon(name: str, extra_class: str = "") -> Markup:
        classes = f"icon {extra_class}" if extra_class else "icon"
        return Markup(  # noqa: S704
            f'<svg class="{escape(classes)}" width="20" height="20" aria-hidden="true" '
            f'focusable="false"><use href="{escape(sprite_url)}#{escape(name)}"/></svg>'
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
