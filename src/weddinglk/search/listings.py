"""The queries of ``query`` answered by the index: which filters each has, and their choices.

Stands between the catalogue and ``index``; knows what filters mean, not how they are computed.
"""

from __future__ import annotations

from collections.abc import Iterable

from weddinglk.domain import LANGUAGES, VendorCategory, VenueSetting, VenueStyle
from weddinglk.places import place_table
from weddinglk.search.index import Entry, Facet, Found, SearchIndex
from weddinglk.search.query import PER_PAGE_MAX, Kind, SearchQuery, Sort, VendorQuery, VenueQuery

GUEST_CHOICES = (50, 100, 150, 200, 300, 400, 500, 750, 1000)
VENUE_PRICE_CHOICES_LKR = (4_000, 5_000, 6_500, 8_000, 10_000, 13_000, 18_000)  # a guest
VENDOR_PRICE_CHOICES_LKR = (25_000, 50_000, 100_000, 200_000, 400_000, 800_000)  # starting prices


class Listings:
    """The index with the site's filters.

    A filter's value that does not exist finds nothing; ``None`` and zero filter nothing.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.index = SearchIndex()
        self.index.load(entries)
        self._districts = tuple(district.id for district in place_table().districts)

    def venues(self, query: VenueQuery) -> Found:
        """Answer with facets district, style, setting, guests, price_max."""
        index = self.index
        chosen = _chosen(
            district=query.district,
            style=query.style,
            setting=query.setting,
            guests=query.guests,
            price_max=query.price_max,
        )
        facets = (
            self._by_value("district", self._districts),
            self._by_value("style", tuple(VenueStyle)),
            Facet(name="setting", values=tuple(VenueSetting), slots_of=self._slots_of_setting),
            Facet(
                name="guests",
                values=tuple(str(guests) for guests in GUEST_CHOICES),
                slots_of=lambda guests: index.slots_for_guests(int(guests)),
            ),
            self._by_price(VENUE_PRICE_CHOICES_LKR),
        )
        return index.find(
            text=query.text,
            within=index.slots_with("kind", Kind.VENUE),
            chosen=chosen,
            facets=facets,
            sort=query.sort,
            page=query.page,
            per_page=_per_page(query.per_page),
        )

    def vendors(self, query: VendorQuery) -> Found:
        """Answer with facets category, district, language, price_max."""
        return self.index.find(
            text=query.text,
            within=self.index.slots_with("kind", Kind.VENDOR),
            chosen=_chosen(
                category=query.category,
                district=query.district,
                language=query.language,
                price_max=query.price_max,
            ),
            facets=(
                self._by_value("category", tuple(VendorCategory)),
                self._by_value("district", self._districts),
                self._by_value("language", LANGUAGES),
                self._by_price(VENDOR_PRICE_CHOICES_LKR),
            ),
            sort=Sort.RECOMMENDED if query.sort is Sort.GUESTS else query.sort,
            page=query.page,
            per_page=_per_page(query.per_page),
        )

    def everything(self, query: SearchQuery) -> Found:
        """Answer over venues and vendors with facets kind, district, category, style."""
        return self.index.find(
            text=query.text,
            within=self.index.slots_with("kind", Kind.VENUE)
            | self.index.slots_with("kind", Kind.VENDOR),
            chosen=_chosen(
                kind=query.kind,
                district=query.district,
                category=query.category,
                style=query.style,
            ),
            facets=(
                self._by_value("kind", tuple(Kind)),
                self._by_value("district", self._districts),
                self._by_value("category", tuple(VendorCategory)),
                self._by_value("style", tuple(VenueStyle)),
            ),
            sort=Sort.RECOMMENDED,
            page=query.page,
            per_page=_per_page(query.per_page),
        )

    def _by_value(self, name: str, values: tuple[str, ...]) -> Facet:
        return Facet(
            name=name, values=values, slots_of=lambda value: self.index.slots_with(name, value)
        )

    def _by_price(self, choices: tuple[int, ...]) -> Facet:
        return Facet(
            name="price_max",
            values=tuple(str(amount) for amount in choices),
            slots_of=lambda amount: self.index.slots_up_to_price(int(amount)),
        )

    def _slots_of_setting(self, setting: str) -> int:
        both = self.index.slots_with("setting", VenueSetting.BOTH)
        return self.index.slots_with("setting", setting) | both


def _chosen(**filters: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in filters.items() if value}


def _per_page(wanted: int) -> int:
    return min(max(1, wanted), PER_PAGE_MAX)
