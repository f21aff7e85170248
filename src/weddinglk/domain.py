"""What the marketplace is about: plain, immutable records shared by the database, search and pages.

Nothing here knows of HTTP, MongoDB or templates. Amounts are whole Sri Lankan rupees (LKR), dates
ISO 8601 calendar days, positions degrees of WGS 84.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LANGUAGES = ("en", "si", "ta")

# Every value that Venue.facilities can have; labels are in search/vocabulary.py.
FACILITIES = (
    "air-conditioning",
    "beach-access",
    "bridal-suite",
    "car-park",
    "children-area",
    "dance-floor",
    "garden",
    "generator",
    "guest-rooms",
    "halal-kitchen",
    "hill-view",
    "lake-view",
    "liquor-licence",
    "outside-catering",
    "poruwa",
    "prayer-room",
    "sound-system",
    "step-free",
    "swimming-pool",
    "valet-parking",
    "vegetarian-kitchen",
    "wifi",
)


class VendorCategory(StrEnum):
    """What a vendor does for a wedding; the values are used in URLs."""

    PHOTOGRAPHY = "photography"
    CATERING = "catering"
    DECORATION = "decoration"
    FLOWERS = "flowers"
    MUSIC_AND_DANCE = "music-and-dance"
    MAKE_UP = "make-up"
    CAKES = "cakes"
    TRANSPORT = "transport"
    CEREMONY = "ceremony"


class VenueStyle(StrEnum):
    """The look of a venue."""

    BALLROOM = "ballroom"
    GARDEN = "garden"
    BEACH = "beach"
    COLONIAL = "colonial"
    ESTATE = "estate"
    RESORT = "resort"
    BOUTIQUE = "boutique"
    COMMUNITY = "community"


class VenueSetting(StrEnum):
    """Where guests are."""

    INDOOR = "indoor"
    OUTDOOR = "outdoor"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text in the three languages of the site."""

    en: str
    si: str
    ta: str

    def in_language(self, language: str) -> str:
        """Return the text for ``language`` (``en``, ``si`` or ``ta``)."""
        return str(getattr(self, language))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Degrees north and east; ``approximate`` where only the town's centre is known."""

    latitude: float
    longitude: float
    approximate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A town or divisional secretariat; ``district`` is a district's id such as ``kandy``."""

    id: str
    name: Text
    district: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class District:
    """One of the 25 districts; ``id`` is its lower-case English name with hyphens."""

    id: str
    name: Text
    province: Text
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """One price a listing states, e.g. hall hire or a menu per guest."""

    label: Text
    amount_lkr: int
    per_guest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A place to hold a wedding, as listed by its owner."""

    id: int
    name: str
    tagline: Text
    description: Text
    district: str
    place: str  # Place.id
    position: Position
    styles: tuple[VenueStyle, ...]
    setting: VenueSetting
    guests_min: int
    guests_max: int
    price_per_guest_lkr: int  # the cheapest menu, what lists sort by
    prices: tuple[PriceLine, ...]
    facilities: tuple[str, ...]  # members of FACILITIES
    booked_dates: tuple[str, ...]  # ISO dates taken, sorted; the rest of the next year is free
    rating: float  # mean of its reviews, 1.0-5.0; 0.0 without reviews
    review_count: int
    art_seed: int  # decides its drawn picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """Somebody who works at weddings: photographer, caterer, ..."""

    id: int
    name: str
    category: VendorCategory
    tagline: Text
    description: Text
    district: str
    place: str
    serves_districts: tuple[str, ...]
    price_from_lkr: int
    prices: tuple[PriceLine, ...]
    languages: tuple[str, ...]  # spoken: "en", "si", "ta"
    years_in_business: int
    rating: float
    review_count: int
    art_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a couple wrote about a venue or vendor; ``subject`` is ``venue:12`` or ``vendor:7``."""

    id: int
    subject: str
    author: str
    written_on: str
    rating: int  # 1-5
    language: str
    text: str
