"""The search index over venues and vendors: filters, text, order, facets and pages.

Built at start from a lean projection of the database and kept in the process. Every listing has a
slot; every value a filter can take has the set of its slots (``bitset``), so a filter is an
intersection and a facet a count. A changed listing keeps its slot, and a slot that is free is used
again: however often listings change, the index does not grow. An index that was changed answers
as one that was built anew.

Answers are ids: the documents themselves come from the database. Nothing here awaits, so a query
always sees whole listings.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
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

    @property
    def facts(self) -> tuple[object, ...]:
        """What decides filters, orders and counts: all but the texts."""
        return (
            self.values,
            self.price_lkr,
            self.guests_min,
            self.guests_max,
            self.rating,
            self.review_count,
        )


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
    """One page of ids, and what is said beside it; ``pages`` is at least 1.

    ``terms`` are those of the question that were looked up, ``is_guessed`` whether one of them was
    looked for among all there are (``dependencies``).
    """

    items: tuple[tuple[Kind, int], ...]
    total: int
    page: int
    pages: int
    facets: dict[str, tuple[FacetCount, ...]]
    suggestion: str | None
    terms: tuple[str, ...] = ()
    is_guessed: bool = False


class SearchIndex:
    """Listings by slot. ``load`` once, then ``replace`` and ``remove`` as listings change.

    Replacing takes 0.3 ms of a listing whose texts changed, next to nothing of one that is as it
    was.
    """

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
        self._entries: list[Entry | None] = []  # by slot, to know what a change takes away
        self._free: list[int] = []
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

    def replace(self, entry: Entry) -> bool:
        """Put ``entry`` in place of the listing of its kind and id, or add it.

        Returns whether anything changed.
        """
        slot = self._slot_of.get((entry.kind, entry.id))
        if slot is None:
            self._add(entry)
            return True
        old = self._entries[slot]
        assert old is not None, "a listing that has a slot has an entry"
        if old == entry:
            return False
        self._text.replace(slot, old.fields, entry.fields)
        if old.facts != entry.facts:
            self._withdraw(slot, old)
            self._set(slot, entry)
            self._offer(slot, entry)
        self._entries[slot] = entry
        return True

    def remove(self, kind: Kind, listing_id: int) -> None:
        """Forget a listing; unknown ones are no error."""
        slot = self._slot_of.pop((kind, listing_id), None)
        if slot is None:
            return
        old = self._entries[slot]
        assert old is not None, "a listing that has a slot has an entry"
        self._text.remove(slot, old.fields)
        self._withdraw(slot, old)
        self._entries[slot] = None
        self._free.append(slot)

    def keys(self) -> tuple[tuple[Kind, int], ...]:
        """Return kind and id of every listing."""
        return tuple(self._slot_of)

    def entry(self, kind: Kind, listing_id: int) -> Entry | None:
        """Return what the index knows of a listing, None if it does not know it."""
        slot = self._slot_of.get((kind, listing_id))
        return None if slot is None else self._entries[slot]

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
            terms=match.terms,
            is_guessed=match.is_guessed,
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
        """Give ``entry`` a new slot, with its texts but without filters and orders."""
        slot = len(self._ids)
        for column in (self._ids, self._price, self._guests_min, self._guests_max):
            column.append(0)
        self._kinds.append(entry.kind)
        self._rank.append(0.0)
        self._quality.append(0.0)
        self._entries.append(entry)
        self._slot_of[entry.kind, entry.id] = slot
        self._set(slot, entry)
        self._text.add(slot, entry.fields)
        return slot

    def _add(self, entry: Entry) -> None:
        if self._free:
            slot = self._free.pop()
            self._entries[slot] = entry
            self._slot_of[entry.kind, entry.id] = slot
            self._set(slot, entry)
            self._text.add(slot, entry.fields)
        else:
            slot = self._append(entry)
        self._offer(slot, entry)

    def _set(self, slot: int, entry: Entry) -> None:
        """Write the columns of a slot that is in no order."""
        self._kinds[slot] = entry.kind
        self._ids[slot] = entry.id
        self._price[slot] = entry.price_lkr
        self._guests_min[slot] = entry.guests_min
        self._guests_max[slot] = entry.guests_max
        votes = entry.review_count
        self._rank[slot] = entry.rating + votes / 1e6
        self._quality[slot] = (entry.rating * votes + RATING_EXPECTED * RATING_VOTES) / (
            votes + RATING_VOTES
        )

    def _offer(self, slot: int, entry: Entry) -> None:
        """Let filters and orders find a slot."""
        bit = 1 << slot
        self._alive |= bit
        for value in entry.values:
            self._values[value] = self._values.get(value, 0) | bit
        for sort, order in self._orders.items():
            insort(order, slot, key=self._keys[sort])
        self._thresholds.clear()

    def _withdraw(self, slot: int, entry: Entry) -> None:
        """Let neither filters nor orders find a slot; its columns are still those of ``entry``."""
        bit = 1 << slot
        self._alive &= ~bit
        for value in entry.values:
            self._values[value] &= ~bit
        for sort, order in self._orders.items():
            key = self._keys[sort]
            del order[bisect_left(order, key(slot), key=key)]  # no two keys are equal
        self._thresholds.clear()

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
