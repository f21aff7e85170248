"""Filters: query parameters to queries and back to links (requirement F)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from weddinglk.domain import District, VendorCategory, VenueSetting, VenueStyle
from weddinglk.places import place_table
from weddinglk.search.query import Kind, Sort, VenueQuery
from weddinglk.web.compare import compared_ids
from weddinglk.web.filters import (
    TEXT_MAX,
    links_of,
    page_numbers,
    search_query,
    vendor_query,
    venue_query,
)


class Districts:
    """The part of the catalogue that filters ask, without a database."""

    def district(self, district_id: str) -> District | None:
        return place_table().district_by_id.get(district_id)


CATALOGUE = Districts()


def test_all_filters_of_venues() -> None:
    """F: district, guests, price, style, setting, order, page and words."""
    query = venue_query(
        QueryParams("q=+sea++view+&district=Nuwara+Eliya&guests=1,200&price_max=9000&style=beach"
                    "&setting=both&sort=price&page=3"),
        CATALOGUE,
    )  # fmt: skip
    assert query == VenueQuery(
        text="sea view", district="nuwara-eliya", guests=1200, price_max=9000,
        style=VenueStyle.BEACH, setting=VenueSetting.BOTH, sort=Sort.PRICE, page=3,
    )  # fmt: skip


@pytest.mark.parametrize("value", ["", "0", "-5", "1e9", "٣", "nan", "99999999999999999999", "1.5"])
def test_what_is_no_number_filters_nothing(value: str) -> None:
    """F: a page ignores nonsense instead of failing."""
    query = venue_query(QueryParams({"guests": value, "page": value, "style": value}), CATALOGUE)
    assert query == VenueQuery()


PARAMETERS = ("q", "district", "guests", "style", "sort", "page", "kind", "language", "setting")


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.text()))
def test_any_parameters_make_a_query(params: dict[str, str]) -> None:
    """F: whatever is sent, a query comes out, and its text is bounded."""
    query_params = QueryParams(params)
    assert len(venue_query(query_params, CATALOGUE).text) <= TEXT_MAX
    assert vendor_query(query_params, CATALOGUE, None).page >= 1
    assert search_query(query_params, CATALOGUE).page >= 1


def test_links_lead_back_to_the_same_query() -> None:
    """F: the link to page 2 holds every filter; taking one off leaves the others."""
    params = QueryParams("q=a%26b&district=kandy&style=garden&sort=rating&page=4")
    query = venue_query(params, CATALOGUE)
    links = links_of("/venues", query)
    assert links.to_page(1) == "/venues?q=a%26b&district=kandy&style=garden&sort=rating"
    assert venue_query(QueryParams(links.to_page(4).partition("?")[2]), CATALOGUE) == query
    assert links.without("district") == "/venues?q=a%26b&style=garden&sort=rating"
    assert links.with_value("style", "beach").endswith("sort=rating&style=beach")
    assert links.chosen() == (("q", "a&b"), ("district", "kandy"), ("style", "garden"))


def test_vendor_category_is_in_the_path_only() -> None:
    """F: ``/vendors/cakes`` needs no ``category=cakes``; the search has no path for it."""
    query = vendor_query(QueryParams("language=ta&sort=guests"), CATALOGUE, VendorCategory.CAKES)
    assert query.sort is Sort.RECOMMENDED
    assert links_of("/vendors/cakes", query).to_page(2) == "/vendors/cakes?language=ta&page=2"
    found = search_query(QueryParams("q=x&kind=vendor&category=cakes"), CATALOGUE)
    assert found.kind is Kind.VENDOR
    assert links_of("/search", found).to_page(1) == "/search?q=x&kind=vendor&category=cakes"


@pytest.mark.parametrize(
    ("page", "pages", "numbers"),
    [(1, 1, [1]), (1, 8, [1, 2, 0, 8]), (4, 8, [1, 2, 3, 4, 5, 0, 8]),
     (5, 9, [1, 0, 4, 5, 6, 0, 9]),
     (3, 5, [1, 2, 3, 4, 5]),
     (8, 8, [1, 0, 7, 8]), (2, 3, [1, 2, 3])],
)  # fmt: skip
def test_page_numbers(page: int, pages: int, numbers: list[int]) -> None:
    """F: the first, the last, the neighbours; a gap only where more than one is left out."""
    assert page_numbers(page, pages) == numbers


def test_compare_takes_four_different_venues() -> None:
    """F: repeats, a fifth, and what is no id are left out."""
    assert compared_ids(["3", "x", "3", "-1", "1", "9999999999", "2", "4", "5"]) == [3, 1, 2, 4]
