"""Records of ``domain`` as database documents and back.

Documents keep the records' field names; ``_id`` is the record's id. A text is a list of its
three languages (en, si, ta), a price a list, so that 60,000 of them stay small. Fields that a
document has beyond the record are not the record's and are ignored: ``seed``, ``edited_at`` (by a
person), ``changed_at`` (by any write of ours), both by the server's clock.
"""

from __future__ import annotations

from typing import Any

from weddinglk.domain import (
    Position,
    PriceLine,
    Review,
    Text,
    Vendor,
    VendorCategory,
    Venue,
    VenueSetting,
    VenueStyle,
)

Document = dict[str, Any]

MARKER_ID = "seed"  # the document of ``meta`` that says whether the seeded data is complete


def venue_to_document(venue: Venue) -> Document:
    """Return the document that ``venue_from_document`` reads."""
    return {
        "_id": venue.id,
        "name": venue.name,
        "tagline": _text_to_list(venue.tagline),
        "description": _text_to_list(venue.description),
        "district": venue.district,
        "place": venue.place,
        "position": [
            venue.position.latitude,
            venue.position.longitude,
            venue.position.approximate,
        ],
        "styles": [style.value for style in venue.styles],
        "setting": venue.setting.value,
        "guests_min": venue.guests_min,
        "guests_max": venue.guests_max,
        "price_per_guest_lkr": venue.price_per_guest_lkr,
        "prices": [_price_to_list(price) for price in venue.prices],
        "facilities": list(venue.facilities),
        "booked_dates": list(venue.booked_dates),
        "rating": venue.rating,
        "review_count": venue.review_count,
        "art_seed": venue.art_seed,
    }


def venue_from_document(document: Document) -> Venue:
    """Return the record.

    Raises:
        KeyError, ValueError: the document is not a venue's.
    """
    latitude, longitude, approximate = document["position"]
    return Venue(
        id=document["_id"],
        name=document["name"],
        tagline=_text_from_list(document["tagline"]),
        description=_text_from_list(document["description"]),
        district=document["district"],
        place=document["place"],
        position=Position(latitude=latitude, longitude=longitude, approximate=approximate),
        styles=tuple(VenueStyle(style) for style in document["styles"]),
        setting=VenueSetting(document["setting"]),
        guests_min=document["guests_min"],
        guests_max=document["guests_max"],
        price_per_guest_lkr=document["price_per_guest_lkr"],
        prices=tuple(_price_from_list(price) for price in document["prices"]),
        facilities=tuple(document["facilities"]),
        booked_dates=tuple(document["booked_dates"]),
        rating=document["rating"],
        review_count=document["review_count"],
        art_seed=document["art_seed"],
    )


def vendor_to_document(vendor: Vendor) -> Document:
    """Return the document that ``vendor_from_document`` reads."""
    return {
        "_id": vendor.id,
        "name": vendor.name,
        "category": vendor.category.value,
        "tagline": _text_to_list(vendor.tagline),
        "description": _text_to_list(vendor.description),
        "district": vendor.district,
        "place": vendor.place,
        "serves_districts": list(vendor.serves_districts),
        "price_from_lkr": vendor.price_from_lkr,
        "prices": [_price_to_list(price) for price in vendor.prices],
        "languages": list(vendor.languages),
        "years_in_business": vendor.years_in_business,
        "rating": vendor.rating,
        "review_count": vendor.review_count,
        "art_seed": vendor.art_seed,
    }


def vendor_from_document(document: Document) -> Vendor:
    """Return the record.

    Raises:
        KeyError, ValueError: the document is not a vendor's.
    """
    return Vendor(
        id=document["_id"],
        name=document["name"],
        category=VendorCategory(document["category"]),
        tagline=_text_from_list(document["tagline"]),
        description=_text_from_list(document["description"]),
        district=document["district"],
        place=document["place"],
        serves_districts=tuple(document["serves_districts"]),
        price_from_lkr=document["price_from_lkr"],
        prices=tuple(_price_from_list(price) for price in document["prices"]),
        languages=tuple(document["languages"]),
        years_in_business=document["years_in_business"],
        rating=document["rating"],
        review_count=document["review_count"],
        art_seed=document["art_seed"],
    )


def review_to_document(review: Review) -> Document:
    """Return the document that ``review_from_document`` reads."""
    return {
        "_id": review.id,
        "subject": review.subject,
        "author": review.author,
        "written_on": review.written_on,
        "rating": review.rating,
        "language": review.language,
        "text": review.text,
    }


def review_from_document(document: Document) -> Review:
    """Return the record.

    Raises:
        KeyError: the document is not a review's.
    """
    return Review(
        id=document["_id"],
        subject=document["subject"],
        author=document["author"],
        written_on=document["written_on"],
        rating=document["rating"],
        language=document["language"],
        text=document["text"],
    )


def _text_to_list(text: Text) -> list[str]:
    return [text.en, text.si, text.ta]


def _text_from_list(values: list[str]) -> Text:
    return Text(en=values[0], si=values[1], ta=values[2])


def _price_to_list(price: PriceLine) -> list[Any]:
    return [price.label.en, price.label.si, price.label.ta, price.amount_lkr, price.per_guest]


def _price_from_list(values: list[Any]) -> PriceLine:
    return PriceLine(
        label=Text(en=values[0], si=values[1], ta=values[2]),
        amount_lkr=values[3],
        per_guest=values[4],
    )
