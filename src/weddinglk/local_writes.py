"""Writes of a process without a bus: its own caches are told, there are no others to tell.

Stands in for ``poruwa.Writes`` where ``uvicorn weddinglk.app:app`` runs alone. Needs no outbox:
nobody waits for what is published later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Final, TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from poruwa import Acknowledgement, Platform
from weddinglk.documents import Document

T = TypeVar("T")

TRIES: Final = 8  # of a transaction that met another one
_PAUSE_SECONDS: Final = 0.005  # before the second try; doubled for each further one


class LocalWriting:
    """A transaction under way."""

    def __init__(self, session: AsyncClientSession) -> None:
        self.session = session
        self.acknowledgement: Acknowledgement | None = None
        self.tags: dict[str, None] = {}

    def tag(self, *tags: str) -> None:
        """Name tags that change."""
        self.tags.update(dict.fromkeys(tags))


class LocalWrites:
    """Runs transactions.

    Args:
        database: the site's; transactions need a replica set or the embedded database.
        platform: whose caches are told.
    """

    def __init__(self, database: AsyncDatabase[Document], platform: Platform) -> None:
        self._client = database.client
        self._platform = platform

    async def start(self) -> None:
        """Nothing runs behind."""

    async def close(self) -> None:
        """Nothing runs behind."""

    async def run(self, callback: Callable[[LocalWriting], Awaitable[T]]) -> T:
        """Run ``callback`` as one transaction, again where it met another.

        Raises:
            pymongo.errors.PyMongoError: the database failed.
            Exception: what ``callback`` raised; nothing is stored.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return await self._run_once(callback)
            except PyMongoError as error:
                if attempt == TRIES or not error.has_error_label("TransientTransactionError"):
                    raise
            # Not at the same time as the other one, who waits as long.
            spread = uniform(0.5, 1.0)  # noqa: S311 -- no secret
            await asyncio.sleep(spread * _PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _run_once(self, callback: Callable[[LocalWriting], Awaitable[T]]) -> T:
        async with self._client.start_session() as session:
            writing = LocalWriting(session)
            async with await session.start_transaction():
                result = await callback(writing)
        if writing.tags:
            writing.acknowledgement = await self._platform.invalidate(*writing.tags)
        return result
