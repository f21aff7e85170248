"""The connection to the database: one persistent pool a process, and its health check (C1).

The pool opens lazily, keeps ``min_pool_size`` connections warm and never waits long: a request
that cannot get a connection or an answer in time fails, so that a frozen database does not
collect every request of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

DATABASE_NAME = "weddinglk"  # when the URL names none
CONNECT_TIMEOUT_MILLISECONDS = 2_000
SOCKET_TIMEOUT_MILLISECONDS = 10_000  # the longest read is the index's, half a second
SELECTION_TIMEOUT_MILLISECONDS = (
    3_000  # a restart of the embedded database takes one to two seconds
)
WAIT_QUEUE_TIMEOUT_MILLISECONDS = 2_000
IDLE_LIFETIME_MILLISECONDS = (
    600_000  # persistent (B4), yet below the idle limits of usual firewalls
)


@asynccontextmanager
async def open_database(
    url: str, *, max_pool_size: int = 20, min_pool_size: int = 2
) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """Open the pool; leaving the context closes every connection.

    Nothing is awaited on entering: the first operation connects. The arguments and time-outs here
    win over options of the same name in the URL.

    Args:
        url: ``mongodb://host:port/name?options``; the name defaults to ``weddinglk``. The embedded
            server wants ``retryWrites=false&directConnection=true``.
        max_pool_size: connections at most, 1 or more.
        min_pool_size: connections kept open, 0 to ``max_pool_size``.

    Raises:
        pymongo.errors.InvalidURI, pymongo.errors.ConfigurationError: the URL cannot be used.
    """
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        url,
        maxPoolSize=max_pool_size,
        minPoolSize=min_pool_size,
        maxIdleTimeMS=IDLE_LIFETIME_MILLISECONDS,
        connectTimeoutMS=CONNECT_TIMEOUT_MILLISECONDS,
        socketTimeoutMS=SOCKET_TIMEOUT_MILLISECONDS,
        serverSelectionTimeoutMS=SELECTION_TIMEOUT_MILLISECONDS,
        waitQueueTimeoutMS=WAIT_QUEUE_TIMEOUT_MILLISECONDS,
        appname="weddinglk",
    )
    try:
        yield client.get_default_database(DATABASE_NAME)
    finally:
        await client.close()


async def is_healthy(
    database: AsyncDatabase[dict[str, Any]], *, timeout_seconds: float = 1.0
) -> bool:
    """Whether the database answers a ping within ``timeout_seconds``; never raises for it."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await database.command("ping")
    except (PyMongoError, TimeoutError):
        return False
    return True
