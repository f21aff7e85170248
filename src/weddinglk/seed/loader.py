"""Writes the generated marketplace into the database: once, resumably, never over what users did.

Documents carry ``seed``, the stamp of the generator that made them. A run inserts what is missing
and replaces what an older stamp made; it leaves documents that carry ``edited_at`` (everything
that writes to a listing sets it) or no stamp. ``meta`` holds the marker: written first without
``completed_at``, so that an interrupted run is finished with the same anchor, and last with it.

Indexes are made first: on the embedded server one over 60,000 documents takes 12 s to build
and next to nothing on an empty collection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Protocol

from pymongo import ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from weddinglk.documents import (
    MARKER_ID,
    Document,
    review_to_document,
    vendor_to_document,
    venue_to_document,
)
from weddinglk.seed.generator import GENERATOR_VERSION, Marketplace, Size, generate

BATCH = 1_000  # documents a message; 500 to 5,000 are equally fast
_DUPLICATE_KEY = 11_000


class Progress(Protocol):
    """Is told what the loader does."""

    def step(self, name: str, total: int) -> None:
        """A step of ``total`` units begins."""
        ...

    def advance(self, amount: int) -> None:
        """``amount`` units of the step are done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. ``written`` is 0 when the data was complete."""

    written: int
    venues: int
    vendors: int
    reviews: int
    anchor: date
    already_complete: bool


def stamp_of(size: Size) -> int:
    """Return the ``seed`` value of documents: newer generators, and the full size, replace."""
    return GENERATOR_VERSION * 10 + (1 if size is Size.FULL else 0)


async def seed(
    database: AsyncDatabase[Document],
    *,
    size: Size,
    anchor: date,
    progress: Progress,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Outcome:
    """Bring the seeded data to the current generator's; safe to repeat and to interrupt.

    Args:
        database: where to.
        size: how much; data of the full size is not made small again.
        anchor: the day the data is seen from; a begun run keeps its own.
        progress: is told about every step.
        now: the wall clock, for the marker.

    Raises:
        pymongo.errors.PyMongoError: the database failed; run again.
    """
    stamp = stamp_of(size)
    await _create_indexes(database)  # also those that came after the data
    meta = database["meta"]
    marker = await meta.find_one({"_id": MARKER_ID})
    if marker and marker.get("completed_at") and marker["stamp"] >= stamp:
        return _outcome(marker, written=0, already_complete=True)
    if marker and not marker.get("completed_at") and marker["stamp"] == stamp:
        anchor = date.fromisoformat(marker["anchor"])
    await meta.replace_one(
        {"_id": MARKER_ID}, {"stamp": stamp, "anchor": anchor.isoformat()}, upsert=True
    )
    progress.step("composing", 1)
    marketplace = generate(size, anchor)
    progress.advance(1)
    written = await _write_all(database, marketplace, stamp, progress)
    complete = {
        "stamp": stamp,
        "generator_version": GENERATOR_VERSION,
        "anchor": anchor.isoformat(),
        "venues": len(marketplace.venues),
        "vendors": len(marketplace.vendors),
        "reviews": len(marketplace.reviews),
        "completed_at": now(),
    }
    await meta.replace_one({"_id": MARKER_ID}, complete, upsert=True)
    return _outcome(complete, written=written, already_complete=False)


async def _write_all(
    database: AsyncDatabase[Document], marketplace: Marketplace, stamp: int, progress: Progress
) -> int:
    """Write reviews last: whoever sees a listing early sees fewer reviews, never strays."""
    work: tuple[tuple[str, Sequence[Any], Callable[[Any], Document]], ...] = (
        ("venues", marketplace.venues, venue_to_document),
        ("vendors", marketplace.vendors, vendor_to_document),
        ("reviews", marketplace.reviews, review_to_document),
    )
    written = 0
    for name, records, to_document in work:
        progress.step(name, len(records))
        written += await _write(database[name], records, to_document, stamp, progress)
    return written


async def _create_indexes(database: AsyncDatabase[Document]) -> None:
    """Make the indexes the site needs; everything else is found by id or by the search index.

    The reviews of one subject are few, so their order is not worth a longer index: on the embedded
    server that would take a quarter of the whole seeding. ``changed_at`` is what edits set: the
    search index asks for the latest of them, and what was only seeded has none.
    """
    await database["reviews"].create_index("subject")
    for collection in ("venues", "vendors"):
        await database[collection].create_index("changed_at", sparse=True)


async def _write(
    collection: AsyncCollection[Document],
    records: Sequence[Any],
    to_document: Callable[[Any], Document],
    stamp: int,
    progress: Progress,
) -> int:
    present: dict[int, int | None] = {}
    if await collection.find_one({}, {"_id": 1}):
        cursor = collection.find({}, {"_id": 1, "seed": 1}, batch_size=5_000)
        present = {document["_id"]: document.get("seed") async for document in cursor}
    written = 0
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        missing = [record for record in batch if record.id not in present]
        outdated = [record for record in batch if (present.get(record.id) or stamp) < stamp]
        if missing:
            written += await insert_missing(
                collection, [to_document(record) | {"seed": stamp} for record in missing]
            )
        if outdated:
            written += await _replace(
                collection, [to_document(record) | {"seed": stamp} for record in outdated]
            )
        progress.advance(len(batch))
    return written


async def insert_missing(collection: AsyncCollection[Document], documents: list[Document]) -> int:
    """Insert; documents that somebody else inserted meanwhile are left as they are."""
    try:
        result = await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        failures = error.details.get("writeErrors", [])
        if any(failure.get("code") != _DUPLICATE_KEY for failure in failures):
            raise
        return len(documents) - len(failures)
    return len(result.inserted_ids)


async def _replace(collection: AsyncCollection[Document], documents: list[Document]) -> int:
    """Replace what an older generator wrote and nobody has edited since."""
    result = await collection.bulk_write(
        [
            ReplaceOne(
                {
                    "_id": document["_id"],
                    "seed": {"$lt": document["seed"]},
                    "edited_at": {"$exists": False},
                },
                document,
            )
            for document in documents
        ],
        ordered=False,
    )
    return result.modified_count


def _outcome(marker: Document, *, written: int, already_complete: bool) -> Outcome:
    return Outcome(
        written=written,
        venues=marker["venues"],
        vendors=marker["vendors"],
        reviews=marker["reviews"],
        anchor=date.fromisoformat(marker["anchor"]),
        already_complete=already_complete,
    )
