"""What of a stored listing goes into the index, and with what weight.

Reads documents as ``documents`` writes them, but only the projected fields: descriptions, prices
and dates stay in the database.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from weddinglk.domain import Text, VendorCategory, VenueSetting, VenueStyle
from weddinglk.places import place_table
from weddinglk.search.index import Entry
from weddinglk.search.query import Kind
from weddinglk.search.vocabulary import (
    CATEGORY_LABELS,
    CATEGORY_WORDS,
    FACILITY_LABELS,
    SETTING_LABELS,
    STYLE_LABELS,
    STYLE_WORDS,
)

VENUE_PROJECTION = {
    "name": 1,
    "tagline": 1,
    "district": 1,
    "place": 1,
    "styles": 1,
    "setting": 1,
    "guests_min": 1,
    "guests_max": 1,
    "price_per_guest_lkr": 1,
    "facilities": 1,
    "rating": 1,
    "review_count": 1,
}
VENDOR_PROJECTION = {
    "name": 1,
    "category": 1,
    "tagline": 1,
    "district": 1,
    "place": 1,
    "serves_districts": 1,
    "languages": 1,
    "price_from_lkr": 1,
    "rating": 1,
    "review_count": 1,
}

# What something is and where it is outweighs what it says of itself.
LABEL_WEIGHT = 4.0  # style, category
PLACE_WEIGHT = 3.0  # town, district
NAME_WEIGHT = 3.0
WORDS_WEIGHT = 2.0  # other words for the style or category
FACILITY_WEIGHT = 1.0
TAGLINE_WEIGHT = 0.7
SERVED_WEIGHT = 0.5  # districts a vendor travels to


def venue_entry(document: dict[str, Any]) -> Entry:
    """Return the entry of a venue's document (``VENUE_PROJECTION`` of it is enough)."""
    styles = [VenueStyle(style) for style in document["styles"]]
    fields = [
        (NAME_WEIGHT, document["name"]),
        *((TAGLINE_WEIGHT, line) for line in document["tagline"]),
        *_where(document),
        (FACILITY_WEIGHT, _in_all_languages(SETTING_LABELS[VenueSetting(document["setting"])])),
    ]
    for style in styles:
        fields.append((LABEL_WEIGHT, _in_all_languages(STYLE_LABELS[style])))
        fields.append((WORDS_WEIGHT, STYLE_WORDS[style]))
    for facility in document["facilities"]:
        label = FACILITY_LABELS.get(facility)
        if label is not None:
            fields.append((FACILITY_WEIGHT, _in_all_languages(label)))
    return Entry(
        kind=Kind.VENUE,
        id=document["_id"],
        values=(
            ("kind", Kind.VENUE),
            ("district", document["district"]),
            ("setting", document["setting"]),
            *(("style", style) for style in document["styles"]),
        ),
        price_lkr=document["price_per_guest_lkr"],
        guests_min=document["guests_min"],
        guests_max=document["guests_max"],
        rating=document["rating"],
        review_count=document["review_count"],
        fields=tuple(fields),
    )


def vendor_entry(document: dict[str, Any]) -> Entry:
    """Return the entry of a vendor's document (``VENDOR_PROJECTION`` of it is enough)."""
    category = VendorCategory(document["category"])
    served = sorted({document["district"], *document["serves_districts"]})
    return Entry(
        kind=Kind.VENDOR,
        id=document["_id"],
        values=(
            ("kind", Kind.VENDOR),
            ("category", category),
            *(("district", district) for district in served),
            *(("language", language) for language in document["languages"]),
        ),
        price_lkr=document["price_from_lkr"],
        rating=document["rating"],
        review_count=document["review_count"],
        fields=(
            (NAME_WEIGHT, document["name"]),
            *((TAGLINE_WEIGHT, line) for line in document["tagline"]),
            *_where(document),
            (LABEL_WEIGHT, _in_all_languages(CATEGORY_LABELS[category])),
            (WORDS_WEIGHT, CATEGORY_WORDS[category]),
            *(
                (SERVED_WEIGHT, _district_words(district))
                for district in served
                if district != document["district"]
            ),
        ),
    )


def _where(document: dict[str, Any]) -> tuple[tuple[float, str], ...]:
    return (
        (PLACE_WEIGHT, _place_words(document["place"])),
        (PLACE_WEIGHT, _district_words(document["district"])),
    )


@cache
def _place_words(place_id: str) -> str:
    place = place_table().place_by_id.get(place_id)
    return _in_all_languages(place.name) if place else ""


@cache
def _district_words(district_id: str) -> str:
    district = place_table().district_by_id.get(district_id)
    return _in_all_languages(district.name) if district else ""


@cache  # one string for all listings that say it: the index keeps them
def _in_all_languages(text: Text) -> str:
    return f"{text.en} {text.si} {text.ta}"
