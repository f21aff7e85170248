"""The search index over venues and vendors: filters, text, order, facets and pages.

Built at start from a lean projection of the database and kept in the process. Every listing has a
slot; every value a filter can take has the set of its slots (``bitset``), so a filter is an
intersection and a facet a count. Changing a listing gives it a new slot and forgets the old one.

Answers are ids: the documents themselves come from the database. Nothing here awaits, so a query
always sees whole listings.
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from weddinglk.search.bitset import bitset_of, members_in_order
from weddinglk.search.query import FacetCount, Kind, Sort
from weddinglk.search.text_index import TextIndex

RATING_EXPECTED = 4.0  # what a listing without reviews is taken to deserve
RATING_VOTES = 8.0  # reviews that weigh as much as that expectation
QUALITY_SHARE = 0.25  # how much of a text's score a five-star rating adds over a one-star one
THRESHOLDS_KEPT = 256  # sets of "at most this price" and the like that are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the index knows of one listing.

    ``values`` are pairs of a filter's name and a value the listing has of it; ``fields`` pairs of
    weight and text. Vendors take any number of guests: 0 to 0.
    """

    kind: Kind
    id: int
    values: tuple[tuple[str, str], ...]
    price_lkr: int
    guests_min: int = 0
    guests_max: int = 0
    rating: float
    review_count: int
    fields: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """A filter to count the choices of: values in display order.

    ``slots_of`` returns the set of one value's slots.
    """

    name: str
    values: tuple[str, ...]
    slots_of: Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of ids, and what is said beside it; ``pages`` is at least 1."""

    items: tuple[tuple[Kind, int], ...]
    total: int
    page: int
    pages: int
    facets: dict[str, tuple[FacetCount, ...]]
    suggestion: str | None


class SearchIndex:
    """Listings by slot. ``load`` once, then ``replace`` and ``remove`` as listings change."""

    def __init__(self) -> None:
        self._text = TextIndex()
        self._kinds: list[Kind] = []
        self._ids = array("I")
        self._price = array("I")
        self._guests_min = array("I")
        self._guests_max = array("I")
        self._rank = array("d")  # the rating, and among equal ones the number of reviews
        self._quality = array("f")
        self._values: dict[tuple[str, str], int] = {}
        self._alive = 0
        self._slot_of: dict[tuple[Kind, int], int] = {}
        self._orders: dict[Sort, list[int]] = {sort: [] for sort in Sort}
        self._thresholds: dict[tuple[str, int], int] = {}
        self._keys: dict[Sort, Callable[[int], tuple[float, str, int]]] = {
            Sort.RECOMMENDED: lambda slot: self._key(-self._quality[slot], slot),
            Sort.PRICE: lambda slot: self._key(self._price[slot], slot),
            Sort.RATING: lambda slot: self._key(-self._rank[slot], slot),
            Sort.GUESTS: lambda slot: self._key(-self._guests_max[slot], slot),
        }

    def __len__(self) -> int:
        return len(self._slot_of)

    def load(self, entries: Iterable[Entry]) -> None:
        """Fill the empty index."""
        members: dict[tuple[str, str], list[int]] = {}
        for entry in entries:
            slot = self._append(entry)
            for value in entry.values:
                members.setdefault(value, []).append(slot)
        size = len(self._ids)
        self._values = {value: bitset_of(slots, size) for value, slots in members.items()}
        self._alive = (1 << size) - 1
        for sort, key in self._keys.items():
            self._orders[sort] = sorted(range(size), key=key)
        self._text.seal()

    def replace(self, entry: Entry) -> None:
        """Put ``entry`` in place of the listing of its kind and id, or add it."""
        self.remove(entry.kind, entry.id)
        slot = self._append(entry)
        bit = 1 << slot
        self._alive |= bit
        for value in entry.values:
            self._values[value] = self._values.get(value, 0) | bit
        for sort, order in self._orders.items():
            insort(order, slot, key=self._keys[sort])
        self._thresholds.clear()

    def remove(self, kind: Kind, listing_id: int) -> None:
        """Forget a listing; unknown ones are no error."""
        slot = self._slot_of.pop((kind, listing_id), None)
        if slot is None:
            return
        self._alive &= ~(1 << slot)
        for order in self._orders.values():
            order.remove(slot)

    def count(self, kind: Kind, name: str = "", value: str = "") -> int:
        """Return how many listings of ``kind`` there are, or that have ``value`` of ``name``."""
        slots = self.slots_with("kind", kind)
        return (slots & self.slots_with(name, value) if name else slots).bit_count()

    def slots_with(self, name: str, value: str) -> int:
        """Return the set of listings that have ``value`` of ``name``."""
        return self._values.get((name, value), 0) & self._alive

    def slots_up_to_price(self, amount_lkr: int) -> int:
        """Return the set of listings whose price is at most ``amount_lkr``."""
        return self._threshold("price", amount_lkr, lambda slot: self._price[slot] <= amount_lkr)

    def slots_for_guests(self, guests: int) -> int:
        """Return the set of venues that take a party of ``guests``."""
        return self._threshold(
            "guests",
            guests,
            lambda slot: self._guests_min[slot] <= guests <= self._guests_max[slot],
        )

    def find(
        self,
        *,
        text: str,
        within: int,
        chosen: dict[str, str],
        facets: Sequence[Facet],
        sort: Sort,
        page: int,
        per_page: int,
    ) -> Found:
        """Answer a query.

        Args:
            text: the question, possibly empty.
            within: the set of slots to look at.
            chosen: values of the filters in use, by the names of ``facets``.
            facets: every filter the query knows.
            sort: the order; with a text, ``RECOMMENDED`` is by relevance.
            page: from 1; past the last means the last.
            per_page: 1 or more.
        """
        within &= self._alive
        match = self._text.match(text)
        if not match.empty:
            within &= bitset_of(match.scores, len(self._ids))
        sets = {
            facet.name: facet.slots_of(chosen[facet.name])
            for facet in facets
            if facet.name in chosen
        }
        selected = within
        for slots in sets.values():
            selected &= slots
        total = selected.bit_count()
        pages = max(1, -(-total // per_page))
        page = min(max(1, page), pages)
        if sort is Sort.RECOMMENDED and not match.empty:
            ordered = self._by_relevance(match.scores, selected)
        else:
            ordered = members_in_order(self._orders[sort], selected)
        shown = ordered[(page - 1) * per_page : page * per_page]
        return Found(
            items=tuple((self._kinds[slot], self._ids[slot]) for slot in shown),
            total=total,
            page=page,
            pages=pages,
            facets={facet.name: _counts(facet, within, sets, chosen) for facet in facets},
            suggestion=match.corrected if match.scores else None,
        )

    def _by_relevance(self, scores: dict[int, float], selected: int) -> list[int]:
        quality, ids, kinds = self._quality, self._ids, self._kinds
        ranked = [
            (
                -scores[slot] * (1.0 + QUALITY_SHARE * quality[slot] / 5.0),
                kinds[slot] is not Kind.VENUE,
                ids[slot],
                slot,
            )
            for slot in members_in_order(scores, selected)
        ]
        # Venues before vendors among equals, then by id: the same page for the same question.
        ranked.sort()
        return [row[3] for row in ranked]

    def _append(self, entry: Entry) -> int:
        slot = len(self._ids)
        self._kinds.append(entry.kind)
        self._ids.append(entry.id)
        self._price.append(entry.price_lkr)
        self._guests_min.append(entry.guests_min)
        self._guests_max.append(entry.guests_max)
        votes = entry.review_count
        self._rank.append(entry.rating + votes / 1e6)
        self._quality.append(
            (entry.rating * votes + RATING_EXPECTED * RATING_VOTES) / (votes + RATING_VOTES)
        )
        self._slot_of[entry.kind, entry.id] = slot
        self._text.add(slot, entry.fields)
        return slot

    def _key(self, value: float, slot: int) -> tuple[float, str, int]:
        return value, self._kinds[slot], self._ids[slot]

    def _threshold(self, name: str, limit: int, holds: Callable[[int], bool]) -> int:
        slots = self._thresholds.get((name, limit))
        if slots is None:
            size = len(self._ids)
            slots = bitset_of((slot for slot in range(size) if holds(slot)), size)
            if len(self._thresholds) >= THRESHOLDS_KEPT:
                self._thresholds.clear()
            self._thresholds[name, limit] = slots
        return slots & self._alive


def _counts(
    facet: Facet, within: int, sets: dict[str, int], chosen: dict[str, str]
) -> tuple[FacetCount, ...]:
    """Count each choice of ``facet`` under all the other filters."""
    for name, slots in sets.items():
        if name != facet.name:
            within &= slots
    current = chosen.get(facet.name)
    return tuple(
        FacetCount(
            value=value,
            count=(within & facet.slots_of(value)).bit_count(),
            selected=value == current,
        )
        for value in facet.values
    )
