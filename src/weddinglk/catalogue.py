"""The site's read side: venues, vendors, reviews and places, from the caches and the own index.

On a request's path this stands between the page and the cache manager. Filters, sorting, facets and
text are answered by the index in this process (``search.upkeep`` keeps it current); the listings
are then loaded by id, each kept by itself, those that are missing in one query.

What is read is tagged here (``poruwa.tag``), so that every page and answer made of it says what it
depends on: ``venue:12`` and ``vendor:7`` for a listing and its reviews, whether it exists or not;
``search.dependencies`` says what lists and searches depend on besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from poruwa import Change, Platform, collect_tags, tag
from weddinglk.batch import BatchReader
from weddinglk.database import is_healthy
from weddinglk.documents import (
    MARKER_ID,
    Document,
    review_from_document,
    vendor_from_document,
    venue_from_document,
)
from weddinglk.domain import District, Place, Review, Vendor, VendorCategory, Venue, VenueStyle
from weddinglk.places import place_table
from weddinglk.search.dependencies import tags_of_question
from weddinglk.search.index import Found
from weddinglk.search.query import (
    ItemT,
    Kind,
    Page,
    Result,
    SearchQuery,
    VendorQuery,
    VenueQuery,
)
from weddinglk.search.upkeep import Upkeep

P = ParamSpec("P")
R = TypeVar("R")
Loader = Callable[P, Coroutine[Any, Any, R]]

COUNTED_SECONDS = 60.0
SIMILAR_COUNT = 4
FEATURED_VENUES, FEATURED_VENDORS = 8, 4  # full rows of four cards
REVIEWS_PER_PAGE_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Counts for the home page and the status page."""

    venues: int
    vendors: int
    reviews: int
    districts: int
    venues_by_district: dict[str, int]
    venues_by_style: dict[VenueStyle, int]
    vendors_by_category: dict[VendorCategory, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Featured:
    """What the home page shows: a good and mixed choice, the same for everybody."""

    venues: tuple[Venue, ...]
    vendors: tuple[Vendor, ...]
    reviews: tuple[Review, ...]  # five stars, of the featured venues


ReviewPage = Page[Review]


async def _nothing() -> None:
    """Do nothing once the data is complete."""


class Catalogue:
    """Reads listings.

    Args:
        database: what ``weddinglk.database.open_database`` gave.
        platform: whose caches keep what is read, by the classes of the policy.
        when_complete: awaited once the data is complete, before the index is built: who watches for
            the writes of others need not watch the seeding.

    Attributes:
        upkeep: of the search index.
        venue: returns the venue of an id, ``None`` if there is none.
        vendor: returns the vendor of an id, ``None`` if there is none.
        overview: returns counts of what is listed; that of reviews may be a minute old.
        featured: returns the home page's choice: of each style and category the best.
    """

    def __init__(
        self,
        database: AsyncDatabase[Document],
        platform: Platform,
        *,
        when_complete: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._database = database
        self._when_complete = when_complete
        self._is_complete = False
        self._counted = (0, 0.0)  # reviews, and until when that is believed
        self._loading = asyncio.Lock()
        self.upkeep = Upkeep(database, is_sure=platform.is_sure)
        platform.on_change(self._note)
        self._venues = BatchReader(database["venues"])
        self._vendors = BatchReader(database["vendors"])
        cached = platform.cached
        self.venue: Loader[[int], Venue | None] = cached(
            "venue", tags=("venue:{venue_id}",), key="{venue_id}"
        )(self._load_venue)
        self.vendor: Loader[[int], Vendor | None] = cached(
            "vendor", tags=("vendor:{vendor_id}",), key="{vendor_id}"
        )(self._load_vendor)
        self._venue_reviews: Loader[[int, int, int], ReviewPage] = cached(
            "venue", tags=("venue:{venue_id}",), key="reviews:{venue_id}:{page}:{per_page}",
            is_query=True,
        )(self._load_venue_reviews)  # fmt: skip
        self._vendor_reviews: Loader[[int, int, int], ReviewPage] = cached(
            "vendor", tags=("vendor:{vendor_id}",), key="reviews:{vendor_id}:{page}:{per_page}",
            is_query=True,
        )(self._load_vendor_reviews)  # fmt: skip
        self._found_venues: Loader[[VenueQuery], Found] = cached("venue-list", tags=("venues",))(
            self._find_venues
        )
        self._found_vendors: Loader[[VendorQuery], Found] = cached(
            "vendor-list", tags=("vendors",)
        )(self._find_vendors)
        self._found: Loader[[SearchQuery], Found] = cached("search", tags=("venues", "vendors"))(
            self._find
        )
        self._alike_venues: Loader[[int], tuple[int, ...]] = cached(
            "venue", tags=("venues",), key="similar:{venue_id}", is_query=True
        )(self._find_similar_venues)
        self._alike_vendors: Loader[[int], tuple[int, ...]] = cached(
            "vendor", tags=("vendors",), key="similar:{vendor_id}", is_query=True
        )(self._find_similar_vendors)
        self.overview: Loader[[], Overview] = cached(
            "home", tags=("venues", "vendors"), key="overview"
        )(self._load_overview)
        self.featured: Loader[[], Featured] = cached(
            "home", tags=("venues", "vendors"), key="featured"
        )(self._load_featured)

    async def load(self) -> None:
        """Build the search index from the database.

        Raises:
            pymongo.errors.PyMongoError: the database cannot be read.
        """
        await self.upkeep.load()

    async def ready(self) -> bool:
        """Whether pages can be served: database answers, data is complete, index is built.

        Builds the index if the data has come since the start (not before: on the embedded server a
        long read beside the seeding holds both up). Never raises for the database.
        """
        if len(self.upkeep.listings.index):
            return await is_healthy(self._database)
        try:
            marker = await self._database["meta"].find_one({"_id": MARKER_ID})
            if marker is None or "completed_at" not in marker:
                return False
            async with self._loading:
                if not self._is_complete:
                    await self._when_complete()
                    self._is_complete = True
                if not len(self.upkeep.listings.index):
                    await self.load()
        except PyMongoError:
            return False
        return len(self.upkeep.listings.index) > 0

    async def load_tagged(self, name: str) -> None:
        """Have the caches load what the tag ``venue:12`` or ``vendor:7`` names."""
        kind, _, number = name.partition(":")
        await (self.venue if kind == Kind.VENUE else self.vendor)(int(number))

    async def venues(self, venue_ids: Sequence[int]) -> tuple[Venue, ...]:
        """Return those that exist, in the order of the ids."""
        tag(*[f"venue:{venue_id}" for venue_id in venue_ids])  # in this order in every process
        found = await asyncio.gather(*map(self.venue, venue_ids))
        return tuple(venue for venue in found if venue is not None)

    async def vendors(self, vendor_ids: Sequence[int]) -> tuple[Vendor, ...]:
        """Return those that exist, in the order of the ids."""
        tag(*[f"vendor:{vendor_id}" for vendor_id in vendor_ids])
        found = await asyncio.gather(*map(self.vendor, vendor_ids))
        return tuple(vendor for vendor in found if vendor is not None)

    async def reviews(self, subject: str, page: int = 1, per_page: int = 10) -> Page[Review]:
        """Return reviews of ``venue:12`` or ``vendor:7``, newest first.

        A ``page`` past the last is answered by the last; ``per_page`` is 1 to 50.
        """
        kind, _, number = subject.partition(":")
        load = self._venue_reviews if kind == Kind.VENUE else self._vendor_reviews
        per_page = min(max(1, per_page), REVIEWS_PER_PAGE_MAX)
        return await load(int(number), max(1, page), per_page)

    async def search_venues(self, query: VenueQuery) -> Result[Venue]:
        """Facets: ``district``, ``style``, ``setting``, ``guests``, ``price_max``."""
        found = await self._found_venues(query)
        return _result(found, await self.venues([listing_id for _, listing_id in found.items]))

    async def search_vendors(self, query: VendorQuery) -> Result[Vendor]:
        """Facets: ``category``, ``district``, ``language``, ``price_max``."""
        found = await self._found_vendors(query)
        return _result(found, await self.vendors([listing_id for _, listing_id in found.items]))

    async def search(self, query: SearchQuery) -> Result[Venue | Vendor]:
        """Facets: ``kind``, ``district``, ``category``, ``style``."""
        found = await self._found(query)
        venues = await self.venues([key for kind, key in found.items if kind is Kind.VENUE])
        vendors = await self.vendors([key for kind, key in found.items if kind is Kind.VENDOR])
        by_key: dict[tuple[Kind, int], Venue | Vendor] = {
            (Kind.VENUE, venue.id): venue for venue in venues
        }
        by_key.update({(Kind.VENDOR, vendor.id): vendor for vendor in vendors})
        return _result(found, tuple(by_key[key] for key in found.items if key in by_key))

    async def similar_venues(self, venue: Venue) -> tuple[Venue, ...]:
        """Return four venues of the district that share a style with ``venue``, best first.

        Ones that take a party of the same size come first; ``venue`` itself is left out. A change
        of one shown reaches the page; which ones are shown may lag by the page's lifetime, or each
        new venue would put every venue's page out of date.
        """
        with collect_tags():
            venue_ids = await self._alike_venues(venue.id)
        return await self.venues(venue_ids)

    async def similar_vendors(self, vendor: Vendor) -> tuple[Vendor, ...]:
        """Return four others of the category who serve the district of ``vendor``, best first.

        As with venues, which ones are shown may lag.
        """
        with collect_tags():
            vendor_ids = await self._alike_vendors(vendor.id)
        return await self.vendors(vendor_ids)

    async def close(self) -> None:
        """End what runs behind."""
        await self.upkeep.close()

    def _note(self, change: Change) -> None:
        """Mark what a change names; called before the process says that it applied it."""
        if not change.soft:
            self.upkeep.note(change.tags, everything=change.everything)

    async def _load_venue(self, venue_id: int) -> Venue | None:
        document = await self._venues.get(venue_id)
        return venue_from_document(document) if document else None

    async def _load_vendor(self, vendor_id: int) -> Vendor | None:
        document = await self._vendors.get(vendor_id)
        return vendor_from_document(document) if document else None

    async def _load_venue_reviews(self, venue_id: int, page: int, per_page: int) -> ReviewPage:
        return await self._load_reviews(f"venue:{venue_id}", page, per_page)

    async def _load_vendor_reviews(self, vendor_id: int, page: int, per_page: int) -> ReviewPage:
        return await self._load_reviews(f"vendor:{vendor_id}", page, per_page)

    async def _load_reviews(self, subject: str, page: int, per_page: int) -> ReviewPage:
        collection = self._database["reviews"]
        total = await collection.count_documents({"subject": subject})
        pages = max(1, -(-total // per_page))
        page = min(page, pages)
        cursor = (
            collection.find({"subject": subject})
            .sort([("written_on", -1), ("_id", -1)])
            .skip((page - 1) * per_page)
            .limit(per_page)
        )
        items = tuple([review_from_document(document) async for document in cursor])
        return Page(items=items, total=total, page=page, pages=pages)

    async def _find_venues(self, query: VenueQuery) -> Found:
        await self.upkeep.current()
        return _tagged(self.upkeep.listings.venues(query))

    async def _find_vendors(self, query: VendorQuery) -> Found:
        await self.upkeep.current()
        return _tagged(self.upkeep.listings.vendors(query))

    async def _find(self, query: SearchQuery) -> Found:
        await self.upkeep.current()
        return _tagged(self.upkeep.listings.everything(query))

    async def _find_similar_venues(self, venue_id: int) -> tuple[int, ...]:
        venue = await self.venue(venue_id)
        if venue is None:
            return ()
        await self.upkeep.current()
        guests = (venue.guests_min + venue.guests_max) // 2
        wanted: dict[int, None] = {}
        for size in (guests, None):
            for style in venue.styles:
                query = VenueQuery(
                    district=venue.district, style=style, guests=size, per_page=SIMILAR_COUNT + 1
                )
                found = self.upkeep.listings.venues(query)
                wanted.update(dict.fromkeys(key for _, key in found.items))
        wanted.pop(venue.id, None)
        return tuple(wanted)[:SIMILAR_COUNT]

    async def _find_similar_vendors(self, vendor_id: int) -> tuple[int, ...]:
        vendor = await self.vendor(vendor_id)
        if vendor is None:
            return ()
        await self.upkeep.current()
        query = VendorQuery(
            category=vendor.category, district=vendor.district, per_page=SIMILAR_COUNT + 1
        )
        found = self.upkeep.listings.vendors(query)
        return tuple(key for _, key in found.items if key != vendor.id)[:SIMILAR_COUNT]

    async def _load_featured(self) -> Featured:
        await self.upkeep.current()
        venues = await self.venues(self._mixed_venues(FEATURED_VENUES))
        vendors = await self.vendors(self._mixed_vendors(FEATURED_VENDORS))
        cursor = (
            self._database["reviews"]
            .find({"subject": {"$in": [f"venue:{venue.id}" for venue in venues]}, "rating": 5})
            .sort([("written_on", -1), ("_id", -1)])
            .limit(60)
        )
        by_subject: dict[str, Review] = {}
        async for document in cursor:
            by_subject.setdefault(document["subject"], review_from_document(document))
        return Featured(venues=venues, vendors=vendors, reviews=tuple(by_subject.values())[:3])

    async def _review_count(self) -> int:
        """Return the database's estimate of a minute ago, at most: counting takes it 0.3 s."""
        count, until = self._counted
        if monotonic() >= until:
            count = await self._database["reviews"].estimated_document_count()
            self._counted = count, monotonic() + COUNTED_SECONDS
        return count

    async def _load_overview(self) -> Overview:
        await self.upkeep.current()
        count = self.upkeep.listings.index.count
        return Overview(
            venues=count(Kind.VENUE),
            vendors=count(Kind.VENDOR),
            reviews=await self._review_count(),
            districts=len(self.districts()),
            venues_by_district={
                district.id: count(Kind.VENUE, "district", district.id)
                for district in self.districts()
            },
            venues_by_style={style: count(Kind.VENUE, "style", style) for style in VenueStyle},
            vendors_by_category={
                category: count(Kind.VENDOR, "category", category) for category in VendorCategory
            },
        )

    def districts(self) -> tuple[District, ...]:
        """Return the 25 districts in English alphabetical order."""
        return place_table().districts

    def district(self, district_id: str) -> District | None:
        """Return the district, or ``None``."""
        return place_table().district_by_id.get(district_id)

    def places(self, district_id: str | None = None) -> tuple[Place, ...]:
        """Return the places of one district, or all, in English alphabetical order."""
        if district_id is None:
            return place_table().places
        return place_table().places_by_district.get(district_id, ())

    def place(self, place_id: str) -> Place | None:
        """Return the place, or ``None``."""
        return place_table().place_by_id.get(place_id)

    def _mixed_venues(self, count: int) -> list[int]:
        best = {
            style: self.upkeep.listings.venues(VenueQuery(style=style, per_page=12))
            for style in VenueStyle
        }
        return _take_in_turn([[key for _, key in found.items] for found in best.values()], count)

    def _mixed_vendors(self, count: int) -> list[int]:
        best = {
            category: self.upkeep.listings.vendors(VendorQuery(category=category, per_page=12))
            for category in VendorCategory
        }
        return _take_in_turn([[key for _, key in found.items] for found in best.values()], count)


def _take_in_turn(rows: list[list[int]], count: int) -> list[int]:
    """Return ``count`` distinct values, one of each row in turn."""
    taken: dict[int, None] = {}
    for column in range(max((len(row) for row in rows), default=0)):
        for row in rows:
            if column < len(row) and len(taken) < count:
                taken[row[column]] = None
    return list(taken)


def _tagged(found: Found) -> Found:
    """Tag what an answer to a question with words depends on besides the collections."""
    if found.terms:
        tag(*tags_of_question(found.terms, is_corrected=found.is_guessed))
    return found


def _result(found: Found, items: tuple[ItemT, ...]) -> Result[ItemT]:
    return Result(
        items=items,
        total=found.total,
        page=found.page,
        pages=found.pages,
        facets=found.facets,
        suggestion=found.suggestion,
    )
