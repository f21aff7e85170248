"""The site's write side: one edit of one listing, acknowledged by every cache or refused.

On a request's path this stands between the API and the database. The listing is read and written in
one transaction, which also says what changes: the tags of ``search.dependencies``. Returning means
that no cache and no index serves the old listing any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase

from poruwa import Acknowledgement
from weddinglk.documents import Document
from weddinglk.search.dependencies import TEXTS, tags_of_change
from weddinglk.search.entries import vendor_entry, venue_entry
from weddinglk.search.query import Kind

T = TypeVar("T")
Change = Callable[[Document], Document]
"""Takes the stored document and returns the fields to set."""

_COLLECTIONS: Final = {Kind.VENUE: "venues", Kind.VENDOR: "vendors"}
_ENTRIES: Final = {Kind.VENUE: venue_entry, Kind.VENDOR: vendor_entry}


class Writing(Protocol):
    """A transaction under way; ``poruwa.WrittenChange`` is one."""

    @property
    def session(self) -> AsyncClientSession: ...

    @property
    def acknowledgement(self) -> Acknowledgement | None: ...

    def tag(self, *tags: str) -> None: ...


class Transactions(Protocol):
    """Who runs transactions that every cache is told of; ``poruwa.Writes`` does."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, callback: Callable[[Any], Awaitable[T]]) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What became of an edit.

    ``document`` is the listing as it is now; ``acknowledgement`` is None where nothing was named.
    """

    document: Document
    acknowledgement: Acknowledgement | None


class Editor:
    """Edits listings.

    Args:
        database: the listings'.
        transactions: runs the writes.
    """

    def __init__(self, database: AsyncDatabase[Document], transactions: Transactions) -> None:
        self._database = database
        self._transactions = transactions

    async def edit(self, kind: Kind, listing_id: int, change: Change) -> Edited | None:
        """Edit a listing; return None if there is none of this id.

        What is set to what it is already is told to the caches all the same: the write may be the
        second try of one that was stored, but not acknowledged.

        Args:
            change: called within the transaction, once for each try.

        Raises:
            WriteRefused: nothing was written; the same may succeed later.
            WriteUnacknowledged: it is stored, and the caches are told later.
            pymongo.errors.PyMongoError: the database cannot be read.
            Exception: what ``change`` raised; nothing was written.
        """
        collection = self._database[_COLLECTIONS[kind]]
        writing: Writing | None = None

        async def run(current: Writing) -> Document | None:
            nonlocal writing
            writing = current
            before = await collection.find_one({"_id": listing_id}, session=current.session)
            if before is None:
                return None
            fields = change(before)
            after = {**before, **fields}
            if not fields:
                return before
            if after == before:
                current.tag(f"{kind}:{listing_id}", _COLLECTIONS[kind], TEXTS)
                return before
            update = {
                "$set": fields,
                # Beside the seed's, an edited listing is left as people made it; and the index asks
                # for what changed lately, by the server's clock.
                "$currentDate": {"edited_at": True, "changed_at": True},
            }
            await collection.update_one({"_id": listing_id}, update, session=current.session)
            current.tag(*tags_of_change(_ENTRIES[kind](before), _ENTRIES[kind](after)))
            return after

        document = await self._transactions.run(run)
        if document is None:
            return None
        assert writing is not None, "it was run"
        return Edited(document=document, acknowledgement=writing.acknowledgement)
