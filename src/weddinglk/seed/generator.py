"""The whole marketplace from one number: the same listings on every machine, every time.

Chance comes from ``random.Random`` with fixed seeds, dates from ``anchor``; no clock is read.
The anchor moves dates only: ids, names, prices and ratings stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum
from random import Random

from weddinglk.domain import Review, Vendor, VendorCategory, Venue
from weddinglk.seed.calendar import booked_dates
from weddinglk.seed.fragments import Deck
from weddinglk.seed.geography import DISTRICT_WEIGHTS, shares
from weddinglk.seed.people import NameMaker
from weddinglk.seed.reviews import make_review
from weddinglk.seed.vendors import make_vendor
from weddinglk.seed.venues import make_venue

GENERATOR_VERSION = 1  # raise when generated data changes: older seeded documents are replaced
DEFAULT_ANCHOR = date(2026, 1, 1)
_SEED = "poruwa"


class Size(Enum):
    """How many venues, vendors and reviews."""

    FULL = (2_000, 6_000, 60_000)
    SMALL = (100, 300, 3_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marketplace:
    """What is generated, each sorted by id; ids count from 1."""

    venues: tuple[Venue, ...]
    vendors: tuple[Vendor, ...]
    reviews: tuple[Review, ...]


def generate(size: Size = Size.FULL, anchor: date = DEFAULT_ANCHOR) -> Marketplace:
    """Return the marketplace.

    Args:
        size: how much of it.
        anchor: the day it is seen from: reviews lie before, bookings in the year after.
    """
    venue_count, vendor_count, review_count = size.value
    rng = Random(f"{_SEED}/listings")  # noqa: S311 -- repeatable, not secret
    names, deck = NameMaker(), Deck()
    venue_quality = [_quality(rng) for _ in range(venue_count)]
    venues = [
        make_venue(rng, names, deck, index + 1, district, venue_quality[index])
        for index, district in enumerate(_districts(rng, venue_count))
    ]
    vendor_quality = [_quality(rng) for _ in range(vendor_count)]
    categories = tuple(VendorCategory)
    vendors = [
        make_vendor(
            rng,
            names,
            deck,
            index + 1,
            district,
            vendor_quality[index],
            # The first few cover every category, so that a small marketplace has all of them.
            categories[index] if index < len(categories) else None,
        )
        for index, district in enumerate(_districts(rng, vendor_count))
    ]
    reviews = list(_reviews(venues, venue_quality, vendors, vendor_quality, review_count, anchor))
    ratings = _ratings(reviews)
    return Marketplace(
        venues=tuple(
            replace(
                venue,
                booked_dates=_bookings(venue, quality, anchor),
                rating=ratings.get(f"venue:{venue.id}", (0.0, 0))[0],
                review_count=ratings.get(f"venue:{venue.id}", (0.0, 0))[1],
            )
            for venue, quality in zip(venues, venue_quality, strict=True)
        ),
        vendors=tuple(
            replace(
                vendor,
                rating=ratings.get(f"vendor:{vendor.id}", (0.0, 0))[0],
                review_count=ratings.get(f"vendor:{vendor.id}", (0.0, 0))[1],
            )
            for vendor in vendors
        ),
        reviews=tuple(reviews),
    )


def _quality(rng: Random) -> float:
    return rng.betavariate(4.2, 2.4)


def _districts(rng: Random, count: int) -> list[str]:
    """Return a district for each of ``count`` listings, in shuffled order."""
    counts = shares(count, DISTRICT_WEIGHTS)
    districts = [district for district, times in counts.items() for _ in range(times)]
    rng.shuffle(districts)
    return districts


def _reviews(
    venues: list[Venue],
    venue_quality: list[float],
    vendors: list[Vendor],
    vendor_quality: list[float],
    count: int,
    anchor: date,
) -> Iterator[Review]:
    """Deal ``count`` reviews out: some listings get many, some none; venues get more."""
    rng = Random(f"{_SEED}/reviews")  # noqa: S311 -- repeatable, not secret
    subjects: list[tuple[str, str, VendorCategory | None, float]] = [
        (f"venue:{venue.id}", venue.district, None, quality)
        for venue, quality in zip(venues, venue_quality, strict=True)
    ]
    subjects += [
        (f"vendor:{vendor.id}", vendor.district, vendor.category, quality)
        for vendor, quality in zip(vendors, vendor_quality, strict=True)
    ]
    popularity = [
        rng.lognormvariate(0.0, 0.8) * (0.5 + quality) * (2.6 if category is None else 1.0)
        for _, _, category, quality in subjects
    ]
    for review_id, chosen in enumerate(rng.choices(subjects, popularity, k=count), start=1):
        subject, district, category, quality = chosen
        yield make_review(
            rng,
            review_id,
            subject,
            district=district,
            category=category,
            quality=quality,
            anchor=anchor,
        )


def _ratings(reviews: list[Review]) -> dict[str, tuple[float, int]]:
    """Return mean and number of the stars of each subject."""
    sums: dict[str, tuple[int, int]] = {}
    for review in reviews:
        total, number = sums.get(review.subject, (0, 0))
        sums[review.subject] = (total + review.rating, number + 1)
    return {subject: (round(total / n, 2), n) for subject, (total, n) in sums.items()}


def _bookings(venue: Venue, quality: float, anchor: date) -> tuple[str, ...]:
    rng = Random(f"{_SEED}/bookings/{venue.id}")  # noqa: S311 -- repeatable, not secret
    return booked_dates(rng, anchor, 0.15 + 0.75 * quality * rng.uniform(0.5, 1.0))
