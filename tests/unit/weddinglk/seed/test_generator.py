"""The generated marketplace: repeatable, complete, plausible (requirement F)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from datetime import date, timedelta

import pytest

from weddinglk.domain import FACILITIES, LANGUAGES, Text, VendorCategory, VenueStyle
from weddinglk.places import place_table
from weddinglk.seed.calendar import poya_days
from weddinglk.seed.fragments import sections
from weddinglk.seed.generator import DEFAULT_ANCHOR, Marketplace, Size, generate
from weddinglk.seed.geography import COAST, DISTRICT_WEIGHTS, HILLS, shares
from weddinglk.seed.venues import MENU_MAX_LKR, MENU_MIN_LKR


@pytest.fixture(scope="module")
def full() -> Marketplace:
    return generate(Size.FULL)


@pytest.fixture(scope="module")
def small() -> Marketplace:
    return generate(Size.SMALL)


def _digest(marketplace: Marketplace) -> str:
    return hashlib.sha256(repr(marketplace).encode()).hexdigest()


def test_same_marketplace_every_time(small: Marketplace) -> None:
    assert _digest(generate(Size.SMALL)) == _digest(small)


def test_anchor_moves_dates_only(small: Marketplace) -> None:
    later = generate(Size.SMALL, DEFAULT_ANCHOR + timedelta(days=200))
    assert [v.name for v in later.venues] == [v.name for v in small.venues]
    assert [v.rating for v in later.vendors] == [v.rating for v in small.vendors]
    assert later.venues[0].booked_dates != small.venues[0].booked_dates


@pytest.mark.parametrize("size", Size)
def test_counts_and_coverage(size: Size, full: Marketplace, small: Marketplace) -> None:
    marketplace = full if size is Size.FULL else small
    counts = (len(marketplace.venues), len(marketplace.vendors), len(marketplace.reviews))
    assert counts == size.value
    districts = {district.id for district in place_table().districts}
    assert {venue.district for venue in marketplace.venues} == districts
    assert {vendor.district for vendor in marketplace.vendors} == districts
    assert {vendor.category for vendor in marketplace.vendors} == set(VendorCategory)
    assert {style for venue in marketplace.venues for style in venue.styles} == set(VenueStyle)
    assert {review.language for review in marketplace.reviews} == set(LANGUAGES)
    for records in (marketplace.venues, marketplace.vendors, marketplace.reviews):
        assert [record.id for record in records] == list(range(1, len(records) + 1))


def test_every_venue_is_plausible(full: Marketplace) -> None:
    table = place_table()
    last_day = (DEFAULT_ANCHOR + timedelta(days=365)).isoformat()
    poya = {day.isoformat() for day in poya_days(DEFAULT_ANCHOR, 366)}
    for venue in full.venues:
        assert table.place_by_id[venue.place].district == venue.district
        assert 0 < venue.guests_min < venue.guests_max <= 1_000
        assert MENU_MIN_LKR <= venue.price_per_guest_lkr <= MENU_MAX_LKR
        menus = [price.amount_lkr for price in venue.prices if price.per_guest]
        assert min(menus) == venue.price_per_guest_lkr
        assert all(price.amount_lkr > 0 for price in venue.prices)
        assert set(venue.facilities) <= set(FACILITIES)
        assert list(venue.booked_dates) == sorted(set(venue.booked_dates))
        assert all(DEFAULT_ANCHOR.isoformat() <= day < last_day for day in venue.booked_dates)
        assert not poya.intersection(venue.booked_dates)
        assert 5.8 < venue.position.latitude < 9.95
        assert 79.6 < venue.position.longitude < 82.0
        if VenueStyle.BEACH in venue.styles:
            assert venue.place in COAST
        if VenueStyle.ESTATE in venue.styles:
            assert venue.place in HILLS
    assert len({venue.name for venue in full.venues}) == len(full.venues)


def test_every_vendor_is_plausible(full: Marketplace) -> None:
    for vendor in full.vendors:
        assert vendor.district in vendor.serves_districts
        assert set(vendor.serves_districts) <= set(DISTRICT_WEIGHTS)
        assert vendor.languages
        assert set(vendor.languages) <= set(LANGUAGES)
        assert vendor.prices[0].amount_lkr == vendor.price_from_lkr > 0
        assert 1 <= vendor.years_in_business <= 38
        if vendor.category is VendorCategory.PHOTOGRAPHY:
            assert 80_000 <= vendor.price_from_lkr <= 450_000
    assert len({vendor.name for vendor in full.vendors}) == len(full.vendors)


def test_ratings_are_the_means_of_reviews(full: Marketplace) -> None:
    stars: dict[str, list[int]] = defaultdict(list)
    for review in full.reviews:
        assert 1 <= review.rating <= 5
        assert review.written_on < DEFAULT_ANCHOR.isoformat()
        assert review.text
        assert review.author
        stars[review.subject].append(review.rating)
    subjects = {f"venue:{v.id}": (v.rating, v.review_count) for v in full.venues}
    subjects |= {f"vendor:{v.id}": (v.rating, v.review_count) for v in full.vendors}
    for subject, (rating, count) in subjects.items():
        given = stars[subject]
        assert count == len(given)
        assert rating == pytest.approx(sum(given) / count if count else 0.0, abs=0.006)
    shares_of_stars = Counter(review.rating for review in full.reviews)
    assert shares_of_stars[5] > shares_of_stars[3] > shares_of_stars[1] > 0


def test_a_page_of_results_is_varied(full: Marketplace) -> None:
    """No page of 24 shows one tagline again and again."""
    for style in VenueStyle:
        page = [venue for venue in full.venues if venue.styles[0] is style][:24]
        assert max(Counter(venue.tagline.en for venue in page).values()) <= 4
        assert len({venue.tagline.en for venue in page}) >= 12


def test_no_template_is_left_unfilled(full: Marketplace) -> None:
    for record in (*full.venues, *full.vendors):
        for text in (record.tagline, record.description):
            assert isinstance(text, Text)
            assert "{" not in text.en + text.si + text.ta
        assert "{" not in record.name


@pytest.mark.parametrize("name", ["venues", "vendors", "reviews"])
def test_fragments_are_written_in_their_scripts(name: str) -> None:
    sinhala, tamil = re.compile("[\u0d80-\u0dff]"), re.compile("[\u0b80-\u0bff]")
    for section, lines in sections(name).items():
        for line in lines:
            if section.endswith(".names"):
                continue
            assert len(line) >= 3, (section, line)
            assert sinhala.search(line[1]), (section, line)
            assert tamil.search(line[2]), (section, line)
            assert not tamil.search(line[1]), (section, line)
            assert not sinhala.search(line[2]), (section, line)


def test_poya_days_of_2025() -> None:
    """The twelve gazetted ones."""
    gazetted = "01-13 02-12 03-13 04-12 05-12 06-10 07-10 08-08 09-07 10-06 11-05 12-04"
    found = sorted(day.strftime("%m-%d") for day in poya_days(date(2025, 1, 1), 365))
    assert " ".join(found) == gazetted


def test_shares_add_up_and_leave_nobody_out() -> None:
    counts = shares(100, DISTRICT_WEIGHTS)
    assert sum(counts.values()) == 100
    assert min(counts.values()) >= 1
    assert counts["colombo"] == max(counts.values())
