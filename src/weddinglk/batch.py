"""Reads documents by id, all that one turn of the event loop asks for in one query.

Below the cache: each listing is kept by itself, so that a change of one reloads one; a list that
finds several missing still asks the database once.
"""

from __future__ import annotations

import asyncio

from pymongo.asynchronous.collection import AsyncCollection

from weddinglk.documents import Document


class BatchReader:
    """Reads documents of one collection by their ``_id``.

    Args:
        collection: where from.

    Attributes:
        queries: sent so far.
    """

    def __init__(self, collection: AsyncCollection[Document]) -> None:
        self.queries = 0
        self._collection = collection
        self._wanted: dict[int, asyncio.Future[Document | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, document_id: int) -> Document | None:
        """Return the document, or ``None``; cancelling leaves the query to the others.

        The query begins after the call, so that what was committed before it is seen.

        Raises:
            pymongo.errors.PyMongoError: the database cannot be read.
        """
        future = self._wanted.get(document_id)
        if future is None:
            loop = asyncio.get_running_loop()
            if not self._wanted:
                loop.call_soon(self._send)
            future = self._wanted[document_id] = loop.create_future()
        return await asyncio.shield(future)

    def _send(self) -> None:
        wanted, self._wanted = self._wanted, {}
        task = asyncio.get_running_loop().create_task(self._read(wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, wanted: dict[int, asyncio.Future[Document | None]]) -> None:
        self.queries += 1
        try:
            ids = list(wanted)
            if len(ids) == 1:
                only = await self._collection.find_one({"_id": ids[0]})
                found = {ids[0]: only}
            else:
                documents = await self._collection.find({"_id": {"$in": ids}}).to_list()
                found = {document["_id"]: document for document in documents}
        except BaseException as error:
            for future in wanted.values():
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                        future.exception()  # told to those who wait; others have gone
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for document_id, future in wanted.items():
            if not future.done():
                future.set_result(found.get(document_id))
