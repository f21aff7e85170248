"""The filters of the lists: from query parameters to a query, and back to the links of a page.

A page is lenient: a value that is none of the choices filters nothing, as if it were not there.
The API states the same filters strictly (``weddinglk.web.api``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from weddinglk.catalogue import Catalogue
from weddinglk.domain import LANGUAGES, VendorCategory, VenueSetting, VenueStyle
from weddinglk.search.query import (
    VENDOR_SORTS,
    Kind,
    SearchQuery,
    Sort,
    VendorQuery,
    VenueQuery,
)

# All that pages read of a query but ``lang``, in the order of links. The policy's
# ``query_parameters`` name for each class those it reads: a cache gives us no others.
PAGE_PARAMETERS = (
    "q", "kind", "category", "district", "guests", "price_max", "style", "setting", "language",
    "sort", "page", "venue", "date", "reviews",
)  # fmt: skip
TEXT_MAX = 100  # characters of a search that are looked at
_NUMBER_MAX = 10_000_000
ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the URLs of a list: the same filters with one thing changed.

    ``path`` is without language prefix; ``active`` holds the filters that are set, in the order
    the form has them, without page number.
    """

    path: str
    active: tuple[tuple[str, str], ...]

    def to_page(self, number: int) -> str:
        """Return the URL of page ``number``."""
        pairs = self.active if number == 1 else (*self.active, ("page", str(number)))
        return self._url(pairs)

    def without(self, name: str) -> str:
        """Return the URL of the list without the filter ``name``."""
        return self._url(pair for pair in self.active if pair[0] != name)

    def with_value(self, name: str, value: str) -> str:
        """Return the URL of the list with filter ``name`` set to ``value``."""
        return self._url((*(pair for pair in self.active if pair[0] != name), (name, value)))

    def chosen(self) -> tuple[tuple[str, str], ...]:
        """Return the filters that narrow the list: all but the order."""
        return tuple(pair for pair in self.active if pair[0] != "sort")

    def _url(self, pairs: Iterable[tuple[str, str]]) -> str:
        encoded = urlencode(list(pairs))
        return f"{self.path}?{encoded}" if encoded else self.path


def venue_query(params: QueryParams, catalogue: Catalogue) -> VenueQuery:
    """Return the query for venues that the parameters of a page state."""
    return VenueQuery(
        text=_text(params),
        district=_district(params, catalogue),
        guests=_number(params, "guests"),
        price_max=_number(params, "price_max"),
        style=_one_of(VenueStyle, params, "style"),
        setting=_one_of(VenueSetting, params, "setting"),
        sort=_one_of(Sort, params, "sort") or Sort.RECOMMENDED,
        page=_number(params, "page") or 1,
    )


def vendor_query(
    params: QueryParams, catalogue: Catalogue, category: VendorCategory | None
) -> VendorQuery:
    """Return the query for vendors that the parameters of a page state."""
    sort = _one_of(Sort, params, "sort")
    language = params.get("language", "")
    return VendorQuery(
        text=_text(params),
        category=category,
        district=_district(params, catalogue),
        price_max=_number(params, "price_max"),
        language=language if language in LANGUAGES else None,
        sort=sort if sort in VENDOR_SORTS else Sort.RECOMMENDED,
        page=_number(params, "page") or 1,
    )


def search_query(params: QueryParams, catalogue: Catalogue) -> SearchQuery:
    """Return the query of the search box that the parameters of a page state."""
    return SearchQuery(
        text=_text(params),
        kind=_one_of(Kind, params, "kind"),
        district=_district(params, catalogue),
        category=_one_of(VendorCategory, params, "category"),
        style=_one_of(VenueStyle, params, "style"),
        page=_number(params, "page") or 1,
    )


def links_of(path: str, query: VenueQuery | VendorQuery | SearchQuery) -> Links:
    """Return the links of the list that ``query`` describes, at ``path``.

    A vendor's category is part of the path and therefore no parameter.
    """
    names = ("kind", "category", "district", "guests", "price_max", "style", "setting", "language")
    pairs = [("q", query.text)] if query.text else []
    for name in names:
        value = getattr(query, name, None)
        if value is not None and not (name == "category" and isinstance(query, VendorQuery)):
            pairs.append((name, str(value)))
    sort = getattr(query, "sort", Sort.RECOMMENDED)
    if sort is not Sort.RECOMMENDED:
        pairs.append(("sort", str(sort)))
    return Links(path, tuple(pairs))


def district_id(text: str, catalogue: Catalogue) -> str | None:
    """Return the district that ``text`` names by id or English name, whatever the case."""
    candidate = "-".join(text.lower().split())
    return candidate if catalogue.district(candidate) else None


def page_numbers(page: int, pages: int) -> list[int]:
    """Return the numbers a pager shows, with 0 for a gap: ``[1, 0, 4, 5, 6, 0, 12]``."""
    shown = sorted({1, pages, *range(max(1, page - 1), min(pages, page + 1) + 1)})
    numbers: list[int] = []
    for number in shown:
        if numbers and number - numbers[-1] == 2:
            numbers.append(number - 1)
        elif numbers and number - numbers[-1] > 2:
            numbers.append(0)
        numbers.append(number)
    return numbers


def _text(params: QueryParams) -> str:
    return " ".join(params.get("q", "")[:TEXT_MAX].split())


def _district(params: QueryParams, catalogue: Catalogue) -> str | None:
    return district_id(params.get("district", ""), catalogue)


def _number(params: QueryParams, name: str) -> int | None:
    text = params.get(name, "").replace(",", "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    number = int(text)
    return number if 0 < number <= _NUMBER_MAX else None


def _one_of(choices: type[ChoiceT], params: QueryParams, name: str) -> ChoiceT | None:
    try:
        return choices(params.get(name, ""))
    except ValueError:
        return None
