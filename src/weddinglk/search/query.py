"""What a visitor asks of the listings, and the shape of the answer.

Pure records: no database, no HTTP. A value that is ``None`` (or an empty text) filters nothing.
Untrusted text becomes one of these records in the web layer, which refuses unknown values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from weddinglk.domain import VendorCategory, VenueSetting, VenueStyle

ItemT = TypeVar("ItemT")

PER_PAGE = 24  # divides by 2, 3 and 4: full rows of cards on every width
PER_PAGE_MAX = 100


class Sort(StrEnum):
    """The orders a list can have; equal ones are ordered by id, so that pages never overlap."""

    RECOMMENDED = "recommended"  # relevance to the text, if any, and a rating that counts its votes
    PRICE = "price"  # cheapest first
    RATING = "rating"  # best first
    GUESTS = "guests"  # largest capacity first; venues only


class Kind(StrEnum):
    """What a search over everything may be narrowed to."""

    VENUE = "venue"
    VENDOR = "vendor"


VENUE_SORTS = (Sort.RECOMMENDED, Sort.PRICE, Sort.RATING, Sort.GUESTS)
VENDOR_SORTS = (Sort.RECOMMENDED, Sort.PRICE, Sort.RATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueQuery:
    """Which venues.

    ``guests`` is the size of the party: venues that take it. ``price_max`` is LKR a guest.
    ``setting`` indoor or outdoor also finds venues that offer both.
    """

    text: str = ""
    district: str | None = None
    guests: int | None = None
    price_max: int | None = None
    style: VenueStyle | None = None
    setting: VenueSetting | None = None
    sort: Sort = Sort.RECOMMENDED
    page: int = 1
    per_page: int = PER_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorQuery:
    """Which vendors.

    ``district`` finds those who serve it. ``price_max`` is LKR and applies to the starting price,
    whose meaning differs by category. ``language`` is one spoken: ``en``, ``si`` or ``ta``.
    """

    text: str = ""
    category: VendorCategory | None = None
    district: str | None = None
    price_max: int | None = None
    language: str | None = None
    sort: Sort = Sort.RECOMMENDED
    page: int = 1
    per_page: int = PER_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """The search box: venues and vendors together. ``sort`` knows no ``guests`` here."""

    text: str = ""
    kind: Kind | None = None
    district: str | None = None
    category: VendorCategory | None = None
    style: VenueStyle | None = None
    page: int = 1
    per_page: int = PER_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetCount:
    """How many items choosing ``value`` would leave, all other filters kept."""

    value: str
    count: int
    selected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[ItemT]):
    """One page of a list. ``page`` counts from 1; ``pages`` is at least 1."""

    items: tuple[ItemT, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Page[ItemT]):
    """One page of what a query found.

    A ``page`` past the last is answered by the last: compare with the query's to redirect.
    ``facets`` maps a filter's name (as in the query class) to its choices in display order, those
    with count 0 included. ``suggestion`` is the corrected text when words had to be corrected.
    """

    facets: Mapping[str, tuple[FacetCount, ...]]
    suggestion: str | None
