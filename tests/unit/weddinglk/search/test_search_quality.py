"""What a couple types and what must come first, over the small generated marketplace (F)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weddinglk.documents import vendor_to_document, venue_to_document
from weddinglk.domain import Vendor, VendorCategory, Venue, VenueSetting, VenueStyle
from weddinglk.search.entries import vendor_entry, venue_entry
from weddinglk.search.listings import Listings
from weddinglk.search.query import Kind, SearchQuery, Sort, VendorQuery, VenueQuery
from weddinglk.seed.generator import Marketplace, Size, generate

MARKETPLACE = generate(Size.SMALL)


def _listings(marketplace: Marketplace) -> Listings:
    entries = [venue_entry(venue_to_document(venue)) for venue in marketplace.venues]
    entries += [vendor_entry(vendor_to_document(vendor)) for vendor in marketplace.vendors]
    return Listings(entries)


LISTINGS = _listings(MARKETPLACE)
VENUES = {venue.id: venue for venue in MARKETPLACE.venues}
VENDORS = {vendor.id: vendor for vendor in MARKETPLACE.vendors}


def _record(key: tuple[Kind, int]) -> Venue | Vendor:
    return VENUES[key[1]] if key[0] is Kind.VENUE else VENDORS[key[1]]


@pytest.mark.parametrize(
    ("text", "style", "district"),
    [
        ("beach", VenueStyle.BEACH, None),
        ("beaches", VenueStyle.BEACH, None),
        ("beech", VenueStyle.BEACH, None),
        ("beech galle", VenueStyle.BEACH, "galle"),
        ("වෙරළ", VenueStyle.BEACH, None),
        ("ගාල්ලේ වෙරළ", VenueStyle.BEACH, "galle"),
        ("கடற்கரை", VenueStyle.BEACH, None),
        ("காலியில் கடற்கரை", VenueStyle.BEACH, "galle"),
        ("tea estate nuwara elia", VenueStyle.ESTATE, "nuwara-eliya"),
        ("උද්‍යානය", VenueStyle.GARDEN, None),
        ("උද්යානයේ", VenueStyle.GARDEN, None),  # typed without the joiner, in another case
    ],
)
def test_venues_first(text: str, style: VenueStyle, district: str | None) -> None:
    found = LISTINGS.everything(SearchQuery(text=text))
    assert found.items
    for key in found.items[:3]:
        first = _record(key)
        assert isinstance(first, Venue), text
        assert style in first.styles, text
        assert district in (None, first.district), text


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("photografer", VendorCategory.PHOTOGRAPHY),
        ("fotographer colombo", VendorCategory.PHOTOGRAPHY),
        ("photogr", VendorCategory.PHOTOGRAPHY),
        ("ඡායාරූප", VendorCategory.PHOTOGRAPHY),
        ("புகைப்படம்", VendorCategory.PHOTOGRAPHY),
        ("biriyani caterer", VendorCategory.CATERING),
        ("florist", VendorCategory.FLOWERS),
        ("makeup", VendorCategory.MAKE_UP),
        ("කේක්", VendorCategory.CAKES),
    ],
)
def test_vendors_first(text: str, category: VendorCategory) -> None:
    found = LISTINGS.everything(SearchQuery(text=text))
    first = _record(found.items[0])
    assert isinstance(first, Vendor)
    assert first.category is category


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("photografer", "photographer"),
        ("beech galle", "beach galle"),
        ("hotel in colmbo", "hotel colombo"),
        ("beach", None),
        ("", None),
        ("xqzvwk", None),
    ],
)
def test_suggestions(text: str, suggestion: str | None) -> None:
    assert LISTINGS.everything(SearchQuery(text=text)).suggestion == suggestion


def test_own_name_comes_first() -> None:
    for record in (*MARKETPLACE.venues[:40], *MARKETPLACE.vendors[:40]):
        found = LISTINGS.everything(SearchQuery(text=record.name))
        assert record.name in {_record(key).name for key in found.items[:6]}, record.name


def test_words_of_every_question_narrow_nothing() -> None:
    every = LISTINGS.everything(SearchQuery())
    assert LISTINGS.everything(SearchQuery(text="a wedding in Sri Lanka")).total == every.total


QUERIES = st.builds(
    VenueQuery,
    text=st.sampled_from(["", "beach", "garden hall", "කොළඹ", "xqzvwk"]),
    district=st.sampled_from([None, "colombo", "kandy", "galle", "atlantis"]),
    guests=st.sampled_from([None, 60, 150, 10_000]),
    price_max=st.sampled_from([None, 5_000, 9_000, 1]),
    style=st.sampled_from([None, *VenueStyle]),
    setting=st.sampled_from([None, *VenueSetting]),
    sort=st.sampled_from(list(Sort)),
    per_page=st.integers(1, 30),
)


@settings(max_examples=150, deadline=None)
@given(query=QUERIES)
def test_filters_hold_pages_partition_and_facets_tell_the_truth(query: VenueQuery) -> None:
    first = LISTINGS.venues(query)
    keys = []
    for page in range(1, first.pages + 1):
        keys += LISTINGS.venues(replace(query, page=page)).items
    assert len(keys) == len(set(keys)) == first.total
    venues = [VENUES[key[1]] for key in keys]
    for venue in venues:
        assert query.district in (None, venue.district)
        assert query.style is None or query.style in venue.styles
        assert query.setting in (None, venue.setting) or venue.setting is VenueSetting.BOTH
        assert query.price_max is None or venue.price_per_guest_lkr <= query.price_max
        assert query.guests is None or venue.guests_min <= query.guests <= venue.guests_max
    if query.sort is Sort.PRICE:
        prices = [venue.price_per_guest_lkr for venue in venues]
        assert prices == sorted(prices)
    if query.sort is Sort.RATING:
        ratings = [venue.rating for venue in venues]
        assert ratings == sorted(ratings, reverse=True)
    if query.sort is Sort.GUESTS:
        sizes = [venue.guests_max for venue in venues]
        assert sizes == sorted(sizes, reverse=True)
    for choice in first.facets["setting"]:
        chosen = replace(query, setting=VenueSetting(choice.value))
        assert choice.count == LISTINGS.venues(chosen).total
    for choice in first.facets["price_max"]:
        assert choice.count == LISTINGS.venues(replace(query, price_max=int(choice.value))).total


def test_district_facet_sums_to_all_venues() -> None:
    found = LISTINGS.venues(VenueQuery(district="kandy"))
    assert sum(choice.count for choice in found.facets["district"]) == len(VENUES)
    assert [choice.value for choice in found.facets["district"] if choice.selected] == ["kandy"]


def test_vendor_filters() -> None:
    query = VendorQuery(
        category=VendorCategory.PHOTOGRAPHY, district="kandy", language="ta", per_page=100
    )
    found = LISTINGS.vendors(query)
    for _, vendor_id in found.items:
        vendor = VENDORS[vendor_id]
        assert vendor.category is VendorCategory.PHOTOGRAPHY
        assert "kandy" in vendor.serves_districts
        assert "ta" in vendor.languages


def test_page_past_the_end_is_the_last() -> None:
    last = LISTINGS.venues(VenueQuery(page=10_000))
    assert last.page == last.pages
    assert last.items
    assert LISTINGS.venues(VenueQuery(page=-3)).page == 1


def test_edited_venue_is_found_by_its_new_words_only() -> None:
    listings = _listings(MARKETPLACE)
    venue = replace(MARKETPLACE.venues[0], name="Zanzibarina Pavilion", price_per_guest_lkr=3_500)
    listings.index.replace(venue_entry(venue_to_document(venue)))
    found = listings.everything(SearchQuery(text="zanzibarina"))
    assert found.items == ((Kind.VENUE, venue.id),)
    assert listings.venues(VenueQuery()).total == len(VENUES)
    cheap = listings.venues(VenueQuery(price_max=3_500, per_page=100))
    assert (Kind.VENUE, venue.id) in cheap.items
    listings.index.remove(Kind.VENUE, venue.id)
    assert listings.everything(SearchQuery(text="zanzibarina")).total == 0
    assert listings.venues(VenueQuery()).total == len(VENUES) - 1


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    found = LISTINGS.everything(SearchQuery(text=text))
    assert 0 <= found.total <= len(VENUES) + len(VENDORS)
