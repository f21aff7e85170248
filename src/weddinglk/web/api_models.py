"""The shapes of the JSON API: Pydantic models, which are its OpenAPI schema too.

Texts are in one language, the one the response's Content-Language names. Amounts are whole rupees
(LKR), days ISO 8601, positions degrees of WGS 84.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from weddinglk.art.picture import picture_url
from weddinglk.catalogue import Catalogue
from weddinglk.domain import (
    District,
    Place,
    Position,
    PriceLine,
    Review,
    Vendor,
    VendorCategory,
    Venue,
    VenueSetting,
    VenueStyle,
)
from weddinglk.search.query import FacetCount, Kind

ItemT = TypeVar("ItemT")


class Model(BaseModel):
    """Base of what the API sends."""

    model_config = ConfigDict(frozen=True)


class PositionModel(Model):
    latitude: float = Field(ge=-90, le=90, examples=[7.2906])
    longitude: float = Field(ge=-180, le=180, examples=[80.6337])
    approximate: bool = Field(description="Only the town's or district's centre is known.")

    @classmethod
    def of(cls, position: Position) -> PositionModel:
        return cls(
            latitude=position.latitude,
            longitude=position.longitude,
            approximate=position.approximate,
        )


class NamedModel(Model):
    id: str = Field(examples=["kandy"])
    name: str = Field(examples=["Kandy"])


class PriceModel(Model):
    label: str = Field(examples=["Buffet menu"])
    amount_lkr: int = Field(ge=0, examples=[6500])
    per_guest: bool

    @classmethod
    def of(cls, line: PriceLine, language: str) -> PriceModel:
        return cls(
            label=line.label.in_language(language),
            amount_lkr=line.amount_lkr,
            per_guest=line.per_guest,
        )


class VenueSummary(Model):
    """A venue as lists show it."""

    id: int
    name: str
    tagline: str
    url: str = Field(description="Path of its page.", examples=["/en/venues/12"])
    picture: str = Field(description="Path of its drawn picture (SVG).")
    district: NamedModel
    place: NamedModel
    styles: list[VenueStyle]
    setting: VenueSetting
    guests_min: int
    guests_max: int
    price_per_guest_lkr: int = Field(description="The cheapest menu.")
    rating: float = Field(ge=0, le=5, description="Mean of its reviews; 0 without any.")
    review_count: int

    @classmethod
    def of(cls, venue: Venue, language: str, catalogue: Catalogue) -> VenueSummary:
        return cls(**_venue_summary(venue, language, catalogue))


class VenueModel(VenueSummary):
    """A venue with all that its page shows; reviews and days have addresses of their own."""

    description: str
    position: PositionModel
    prices: list[PriceModel]
    facilities: list[str]

    @classmethod
    def of(cls, venue: Venue, language: str, catalogue: Catalogue) -> VenueModel:
        return cls(
            **_venue_summary(venue, language, catalogue),
            description=venue.description.in_language(language),
            position=PositionModel.of(venue.position),
            prices=[PriceModel.of(line, language) for line in venue.prices],
            facilities=list(venue.facilities),
        )


class VendorSummary(Model):
    """A vendor as lists show it."""

    id: int
    name: str
    category: VendorCategory
    tagline: str
    url: str = Field(description="Path of its page.", examples=["/en/vendors/cakes/7"])
    picture: str = Field(description="Path of its drawn picture (SVG).")
    district: NamedModel
    place: NamedModel
    price_from_lkr: int
    rating: float = Field(ge=0, le=5, description="Mean of its reviews; 0 without any.")
    review_count: int

    @classmethod
    def of(cls, vendor: Vendor, language: str, catalogue: Catalogue) -> VendorSummary:
        return cls(**_vendor_summary(vendor, language, catalogue))


class VendorModel(VendorSummary):
    """A vendor with all that its page shows."""

    description: str
    serves_districts: list[str]
    prices: list[PriceModel]
    languages: list[str] = Field(description="Spoken: en, si, ta.")
    years_in_business: int

    @classmethod
    def of(cls, vendor: Vendor, language: str, catalogue: Catalogue) -> VendorModel:
        return cls(
            **_vendor_summary(vendor, language, catalogue),
            description=vendor.description.in_language(language),
            serves_districts=list(vendor.serves_districts),
            prices=[PriceModel.of(line, language) for line in vendor.prices],
            languages=list(vendor.languages),
            years_in_business=vendor.years_in_business,
        )


class ReviewModel(Model):
    id: int
    author: str
    written_on: str = Field(examples=["2026-08-14"])
    rating: int = Field(ge=1, le=5)
    language: str = Field(description="The language of ``text``; reviews are not translated.")
    text: str

    @classmethod
    def of(cls, review: Review) -> ReviewModel:
        return cls(
            id=review.id,
            author=review.author,
            written_on=review.written_on,
            rating=review.rating,
            language=review.language,
            text=review.text,
        )


class AvailabilityModel(Model):
    """The days of a venue from ``first_day`` to ``last_day``: those not booked are free."""

    venue_id: int
    first_day: str = Field(examples=["2026-11-23"])
    last_day: str
    booked_days: list[str]
    free_days: int = Field(description="How many days of the period are free.")


class DistrictModel(NamedModel):
    province: str
    position: PositionModel
    venue_count: int

    @classmethod
    def of(cls, district: District, language: str, venue_count: int) -> DistrictModel:
        return cls(
            id=district.id,
            name=district.name.in_language(language),
            province=district.province.in_language(language),
            position=PositionModel.of(district.position),
            venue_count=venue_count,
        )


class FacetModel(Model):
    value: str
    count: int = Field(description="Items left if this value were chosen.")
    selected: bool

    @classmethod
    def of(cls, facet: FacetCount) -> FacetModel:
        return cls(value=facet.value, count=facet.count, selected=facet.selected)


class PageModel(Model, Generic[ItemT]):
    """One page of a list; ``page`` counts from 1."""

    items: list[ItemT]
    total: int
    page: int
    pages: int


class ResultModel(PageModel[ItemT], Generic[ItemT]):
    """One page of what a query found, with the counts of its filters."""

    facets: dict[str, list[FacetModel]]
    suggestion: str | None = Field(description="The corrected text, if words were corrected.")


class SearchHit(Model):
    """A venue or a vendor; exactly one of the two is present."""

    kind: Kind
    venue: VenueSummary | None = None
    vendor: VendorSummary | None = None


class Suggestion(Model):
    """One line of a search box's list."""

    text: str
    kind: Kind
    url: str
    place: str


def _venue_summary(venue: Venue, language: str, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "id": venue.id,
        "name": venue.name,
        "tagline": venue.tagline.in_language(language),
        "url": f"/{language}/venues/{venue.id}",
        "picture": picture_url(venue),
        "district": _named(catalogue.district(venue.district), venue.district, language),
        "place": _named(catalogue.place(venue.place), venue.place, language),
        "styles": list(venue.styles),
        "setting": venue.setting,
        "guests_min": venue.guests_min,
        "guests_max": venue.guests_max,
        "price_per_guest_lkr": venue.price_per_guest_lkr,
        "rating": venue.rating,
        "review_count": venue.review_count,
    }


def _vendor_summary(vendor: Vendor, language: str, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "id": vendor.id,
        "name": vendor.name,
        "category": vendor.category,
        "tagline": vendor.tagline.in_language(language),
        "url": f"/{language}/vendors/{vendor.category}/{vendor.id}",
        "picture": picture_url(vendor),
        "district": _named(catalogue.district(vendor.district), vendor.district, language),
        "place": _named(catalogue.place(vendor.place), vendor.place, language),
        "price_from_lkr": vendor.price_from_lkr,
        "rating": vendor.rating,
        "review_count": vendor.review_count,
    }


def _named(known: District | Place | None, item_id: str, language: str) -> NamedModel:
    return NamedModel(id=item_id, name=known.name.in_language(language) if known else item_id)
