"""The site's read side: venues, vendors, reviews and places, from the database and the own index.

On a request's path this stands between the page and the database. Filters, sorting, facets and
text are answered by the index in this process; the documents themselves are then fetched by id in
one query, so that what a page shows is what the database holds.

What is read is tagged here (``poruwa.tag``), so that every page and answer made of it says what it
depends on: ``venue:12`` and ``vendor:7`` for a listing and its reviews, whether it exists or not;
``venues`` and ``vendors`` for which listings there are, in what order, and how many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from poruwa import tag
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
from weddinglk.search.entries import (
    VENDOR_PROJECTION,
    VENUE_PROJECTION,
    vendor_entry,
    venue_entry,
)
from weddinglk.search.index import Found
from weddinglk.search.listings import Listings
from weddinglk.search.query import (
    ItemT,
    Kind,
    Page,
    Result,
    SearchQuery,
    VendorQuery,
    VenueQuery,
)

READ_BATCH = 1_000  # documents a round trip when the index is built
READ_SECONDS = 120.0  # for all of it; usually half a second
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


class Catalogue:
    """Reads listings.

    Args:
        database: what ``weddinglk.database.open_database`` gave.
    """

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._listings = Listings()
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Build the search index from the database.

        Raises:
            pymongo.errors.PyMongoError: the database cannot be read.
        """

        async def read(collection: str, projection: dict[str, int]) -> list[Document]:
            cursor = self._database[collection].find({}, projection, batch_size=READ_BATCH)
            # Sorted here: the order decides nothing but which slot a listing gets.
            return sorted(await cursor.to_list(), key=lambda document: document["_id"])

        # One after the other, and with time: all instances of a stack do this at once, on a
        # database that answers from one core. What ran out of time would be asked again from the
        # beginning, while the database still works on what nobody waits for.
        with pymongo.timeout(READ_SECONDS):
            venues = await read("venues", VENUE_PROJECTION)
            vendors = await read("vendors", VENDOR_PROJECTION)
        self._listings = Listings(
            [venue_entry(document) for document in venues]
            + [vendor_entry(document) for document in vendors]
        )

    async def ready(self) -> bool:
        """Whether pages can be served: database answers, data is complete, index is built.

        Builds the index if the data has come since the start (not before: on the embedded server a
        long read beside the seeding holds both up). Never raises for the database.
        """
        if len(self._listings.index):
            return await is_healthy(self._database)
        try:
            marker = await self._database["meta"].find_one({"_id": MARKER_ID})
            if marker is None or "completed_at" not in marker:
                return False
            async with self._loading:
                if not len(self._listings.index):
                    await self.load()
        except PyMongoError:
            return False
        return len(self._listings.index) > 0

    async def venue(self, venue_id: int) -> Venue | None:
        """Return the venue, or ``None`` if there is none of this id."""
        tag(f"venue:{venue_id}")
        document = await self._database["venues"].find_one({"_id": venue_id})
        return venue_from_document(document) if document else None

    async def vendor(self, vendor_id: int) -> Vendor | None:
        """Return the vendor, or ``None`` if there is none of this id."""
        tag(f"vendor:{vendor_id}")
        document = await self._database["vendors"].find_one({"_id": vendor_id})
        return vendor_from_document(document) if document else None

    async def venues(self, venue_ids: Sequence[int]) -> tuple[Venue, ...]:
        """Return those that exist, in the order of the ids."""
        tag(*[f"venue:{venue_id}" for venue_id in venue_ids])
        documents = await self._documents("venues", venue_ids)
        return tuple(venue_from_document(document) for document in documents)

    async def vendors(self, vendor_ids: Sequence[int]) -> tuple[Vendor, ...]:
        """Return those that exist, in the order of the ids."""
        tag(*[f"vendor:{vendor_id}" for vendor_id in vendor_ids])
        documents = await self._documents("vendors", vendor_ids)
        return tuple(vendor_from_document(document) for document in documents)

    async def reviews(self, subject: str, page: int = 1, per_page: int = 10) -> Page[Review]:
        """Return reviews of ``venue:12`` or ``vendor:7``, newest first.

        A ``page`` past the last is answered by the last; ``per_page`` is 1 to 50.
        """
        tag(subject)
        per_page = min(max(1, per_page), REVIEWS_PER_PAGE_MAX)
        collection = self._database["reviews"]
        total = await collection.count_documents({"subject": subject})
        pages = max(1, -(-total // per_page))
        page = min(max(1, page), pages)
        cursor = (
            collection.find({"subject": subject})
            .sort([("written_on", -1), ("_id", -1)])
            .skip((page - 1) * per_page)
            .limit(per_page)
        )
        items = tuple([review_from_document(document) async for document in cursor])
        return Page(items=items, total=total, page=page, pages=pages)

    async def search_venues(self, query: VenueQuery) -> Result[Venue]:
        """Facets: ``district``, ``style``, ``setting``, ``guests``, ``price_max``."""
        tag("venues")
        found = self._listings.venues(query)
        return _result(found, await self.venues([listing_id for _, listing_id in found.items]))

    async def search_vendors(self, query: VendorQuery) -> Result[Vendor]:
        """Facets: ``category``, ``district``, ``language``, ``price_max``."""
        tag("vendors")
        found = self._listings.vendors(query)
        return _result(found, await self.vendors([listing_id for _, listing_id in found.items]))

    async def search(self, query: SearchQuery) -> Result[Venue | Vendor]:
        """Facets: ``kind``, ``district``, ``category``, ``style``."""
        tag("venues", "vendors")
        found = self._listings.everything(query)
        venues = await self.venues([key for kind, key in found.items if kind is Kind.VENUE])
        vendors = await self.vendors([key for kind, key in found.items if kind is Kind.VENDOR])
        by_key: dict[tuple[Kind, int], Venue | Vendor] = {
            (Kind.VENUE, venue.id): venue for venue in venues
        }
        by_key.update({(Kind.VENDOR, vendor.id): vendor for vendor in vendors})
        return _result(found, tuple(by_key[key] for key in found.items if key in by_key))

    async def similar_venues(self, venue: Venue, count: int = 4) -> tuple[Venue, ...]:
        """Return venues of the district that share a style with ``venue``, best first.

        Ones that take a party of the same size come first; ``venue`` itself is left out. A change
        of one shown reaches the page; which ones are shown may lag by the page's lifetime, or each
        new venue would put every venue's page out of date.
        """
        guests = (venue.guests_min + venue.guests_max) // 2
        wanted: dict[int, None] = {}
        for size in (guests, None):
            for style in venue.styles:
                query = VenueQuery(
                    district=venue.district, style=style, guests=size, per_page=count + 1
                )
                wanted.update(dict.fromkeys(key for _, key in self._listings.venues(query).items))
        wanted.pop(venue.id, None)
        return await self.venues(list(wanted)[:count])

    async def similar_vendors(self, vendor: Vendor, count: int = 4) -> tuple[Vendor, ...]:
        """Return others of the category who serve the district of ``vendor``, best first.

        As with venues, which ones are shown may lag.
        """
        query = VendorQuery(category=vendor.category, district=vendor.district, per_page=count + 1)
        keys = [key for _, key in self._listings.vendors(query).items if key != vendor.id]
        return await self.vendors(keys[:count])

    async def featured(self, venue_count: int = 6, vendor_count: int = 6) -> Featured:
        """Return the home page's choice: of each style and category the best, districts mixed."""
        tag("venues", "vendors")
        venues = await self.venues(self._mixed_venues(venue_count))
        vendors = await self.vendors(self._mixed_vendors(vendor_count))
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

    async def overview(self) -> Overview:
        """Return counts of what is listed; reviews are the database's estimate."""
        tag("venues", "vendors")
        count = self._listings.index.count
        return Overview(
            venues=count(Kind.VENUE),
            vendors=count(Kind.VENDOR),
            reviews=await self._database["reviews"].estimated_document_count(),
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

    async def refresh_venue(self, venue_id: int) -> None:
        """Bring the index up to date after a venue was written or deleted."""
        document = await self._database["venues"].find_one({"_id": venue_id}, VENUE_PROJECTION)
        if document is None:
            self._listings.index.remove(Kind.VENUE, venue_id)
        else:
            self._listings.index.replace(venue_entry(document))

    async def refresh_vendor(self, vendor_id: int) -> None:
        """Bring the index up to date after a vendor was written or deleted."""
        document = await self._database["vendors"].find_one({"_id": vendor_id}, VENDOR_PROJECTION)
        if document is None:
            self._listings.index.remove(Kind.VENDOR, vendor_id)
        else:
            self._listings.index.replace(vendor_entry(document))

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

    async def _documents(self, collection: str, ids: Sequence[int]) -> list[Document]:
        if not ids:
            return []
        cursor = self._database[collection].find({"_id": {"$in": list(ids)}})
        found = {document["_id"]: document async for document in cursor}
        return [found[listing_id] for listing_id in ids if listing_id in found]

    def _mixed_venues(self, count: int) -> list[int]:
        best = {
            style: self._listings.venues(VenueQuery(style=style, per_page=12))
            for style in VenueStyle
        }
        return _take_in_turn([[key for _, key in found.items] for found in best.values()], count)

    def _mixed_vendors(self, count: int) -> list[int]:
        best = {
            category: self._listings.vendors(VendorQuery(category=category, per_page=12))
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


def _result(found: Found, items: tuple[ItemT, ...]) -> Result[ItemT]:
    return Result(
        items=items,
        total=found.total,
        page=found.page,
        pages=found.pages,
        facets=found.facets,
        suggestion=found.suggestion,
    )
