"""The site's write side: one edit of one listing, acknowledged by every cache or refused.

On a request's path this stands between the API and the database. The listing is read and written in
one transaction, which also says what changes: the tags of ``search.dependencies``. Returning means
that no cache and no index serves the old listing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from poruwa import Acknowledgement, BusUnavailable, Platform
from weddinglk.documents import Document
from weddinglk.search.dependencies import tags_of_change
from weddinglk.search.entries import vendor_entry, venue_entry
from weddinglk.search.query import Kind

TRIES: Final = 8  # of a transaction that met another one's
_PAUSE_SECONDS: Final = 0.01  # before the second try; doubled for each further one
_COLLECTIONS: Final = {Kind.VENUE: "venues", Kind.VENDOR: "vendors"}
_ENTRIES: Final = {Kind.VENUE: venue_entry, Kind.VENDOR: vendor_entry}

Change = Callable[[Document], Document]
"""Takes the stored document and returns the fields to set; none for nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What became of an edit.

    ``document`` is the listing as it is now; ``acknowledgement`` is None where nothing changed.
    """

    document: Document
    acknowledgement: Acknowledgement | None


class EditNotTaken(Exception):
    """An edit that cannot be acknowledged.

    Attributes:
        is_stored: it is in the database all the same, and reaches the caches when they can be told.
    """

    def __init__(self, message: str, *, is_stored: bool) -> None:
        super().__init__(message)
        self.is_stored = is_stored


class Editor:
    """Edits listings.

    Args:
        database: the listings'.
        platform: tells every cache.
    """

    def __init__(self, database: AsyncDatabase[Document], platform: Platform) -> None:
        self._database = database
        self._platform = platform

    async def edit(self, kind: Kind, listing_id: int, change: Change) -> Edited | None:
        """Edit a listing; return None if there is none of this id.

        Args:
            change: called within the transaction, once for each try.

        Raises:
            EditNotTaken: the caches cannot be told.
            pymongo.errors.PyMongoError: the database cannot be written.
            Exception: what ``change`` raised; nothing was written.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return await self._edit_once(kind, listing_id, change)
            except PyMongoError as error:
                is_transient = error.has_error_label("TransientTransactionError")
                if not is_transient or attempt == TRIES:
                    raise
                # Not at the same time as the other one, who waits as long.
                spread = uniform(0.5, 1.0)  # noqa: S311 -- no secret
                await asyncio.sleep(spread * _PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _edit_once(self, kind: Kind, listing_id: int, change: Change) -> Edited | None:
        if not self._platform.is_sure():
            raise EditNotTaken(
                "The caches cannot be told of changes at present; nothing was written.",
                is_stored=False,
            )
        collection = self._database[_COLLECTIONS[kind]]
        async with (
            self._database.client.start_session() as session,
            await session.start_transaction(),
        ):
            before = await collection.find_one({"_id": listing_id}, session=session)
            if before is None:
                return None
            fields = change(before)
            if not fields:
                return Edited(document=before, acknowledgement=None)
            update: dict[str, Any] = {
                "$set": fields,
                # Beside the seed's, an edited listing is left as people made it; and the index asks
                # for what changed lately, by the server's clock.
                "$currentDate": {"edited_at": True, "changed_at": True},
            }
            await collection.update_one({"_id": listing_id}, update, session=session)
            after = {**before, **fields}
            tags = tags_of_change(_ENTRIES[kind](before), _ENTRIES[kind](after))
        try:
            acknowledgement = await self._platform.invalidate(*tags)
        except BusUnavailable as error:
            raise EditNotTaken("", is_stored=True) from error
        return Edited(document=after, acknowledgement=acknowledgement)
