"""The outbox: changes that are stored with the data they tell of, until the bus has them.

A write puts its change here in the same database transaction (DESIGN section 6, rule 4), so that
either both are stored or neither is. Whoever published it removes it; what a crash left behind the
relay publishes. A change may thus be published twice, never not at all.

A document: ``_id`` ObjectId, made by the writer; ``tags``, ``keys``, ``urls`` lists of text;
``everything``; ``at`` the writer's wall time; ``source``. Read in the order of ``_id``, which is
nearly that of writing: no further index is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from poruwa.config.check_stores import OUTBOX
from poruwa.rules.change import Change

_PAUSE_SECONDS: Final = 0.25  # after a failed removal
_MOST_REMOVED: Final = 500  # in one call
_MOST_WAITING: Final = 50_000  # ids to remove; more are left to the relay

_log = structlog.get_logger(component="writes")


def document_of(change: Change) -> dict[str, Any]:
    """Return the outbox document of a change, with an id of its own."""
    return {
        "_id": ObjectId(),
        "tags": [tag.decode() for tag in change.tags],
        "keys": [key.decode() for key in change.keys],
        "urls": [url.decode() for url in change.urls],
        "everything": change.everything,
        "at": change.written_at,
        "source": change.source,
    }


def change_of(document: Mapping[str, Any]) -> Change:
    """Return the change of an outbox document; everything where it cannot be read."""
    try:
        return Change(
            tags=_encoded(document.get("tags", ())),
            keys=_encoded(document.get("keys", ())),
            urls=_encoded(document.get("urls", ())),
            everything=bool(document.get("everything", False)),
            written_at=float(document.get("at", 0.0)),
            source=str(document.get("source", "")),
        )
    except (TypeError, ValueError, AttributeError):
        return Change(everything=True, source="unreadable")


def _encoded(texts: object) -> tuple[bytes, ...]:
    if not isinstance(texts, list | tuple):
        raise TypeError(f"{texts!r} is no list")
    return tuple(text.encode() for text in texts)


__all__ = ["OUTBOX", "Outbox", "change_of", "document_of"]


class Outbox:
    """The outbox of one database.

    Removing is done by a task (``run``), many at a time, which nobody waits for.

    Attributes:
        own: ids of documents that this process is publishing or has published; the relay of this
            process leaves them alone.
    """

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.own: set[ObjectId] = set()
        self._client = database.client
        self._collection = database.get_collection(
            OUTBOX,
            # Where the transactions are, not where reads are spread to.
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w=1),
        )
        self._published: list[ObjectId] = []
        self._wake = asyncio.Event()

    async def add(self, document: dict[str, Any], session: AsyncClientSession) -> None:
        """Store a document within the transaction of ``session``.

        Raises:
            pymongo.errors.PyMongoError: it is not stored.
        """
        await self._collection.insert_one(document, session=session)

    async def has(self, document_id: ObjectId) -> bool:
        """Tell whether a document is stored, which means that its transaction is."""
        return await self._collection.find_one({"_id": document_id}, {"_id": 1}) is not None

    async def oldest(self, most: int) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
        """Return up to ``most`` documents, and an operation time not before they were stored."""
        async with self._client.start_session() as session:
            cursor = self._collection.find({}, session=session).sort("_id", 1).limit(most)
            documents = await cursor.to_list()
            time = session.operation_time
        return documents, None if time is None else (time.time, time.inc)

    def published(self, document_ids: Iterable[ObjectId]) -> None:
        """Have documents removed soon. What fails for long is published once more."""
        self._published += document_ids
        self._wake.set()

    async def run(self) -> None:
        """Remove what was published, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._published:
                batch = self._published[:_MOST_REMOVED]
                if await self._remove(batch):
                    del self._published[: len(batch)]
                    self.own.difference_update(batch)
                elif len(self._published) > _MOST_WAITING:
                    self.own.difference_update(self._published)
                    self._published.clear()
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def flush(self) -> None:
        """Remove what was published, once: at the end."""
        with contextlib.suppress(PyMongoError):
            await self._remove(self._published)

    async def _remove(self, document_ids: Sequence[ObjectId]) -> bool:
        if not document_ids:
            return True
        try:
            await self._collection.delete_many({"_id": {"$in": list(document_ids)}})
        except PyMongoError as error:
            _log.warning("published changes stay in the outbox for now", error=str(error))
            return False
        return True
