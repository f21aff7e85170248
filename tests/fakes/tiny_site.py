"""A site of a few lines for tests of the stack: counts its seeds in the real database.

Started by uvicorn as ``tiny_site:app`` and seeded by ``tiny_site:seed``, with this folder on
PYTHONPATH. ``/slow?seconds=1`` answers late, ``/pid`` tells who answers.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from pymongo import MongoClient

URL_VARIABLE = "TINY_SITE_DATABASE_URL"


def seed() -> int:
    """Count this run, so that a second start can show that data were kept."""
    sys.stdout.write("seeding the tiny site\n3 accounts: ada, ben, cleo\n")
    sys.stdout.flush()
    client: MongoClient[dict[str, Any]] = MongoClient(os.environ[URL_VARIABLE])
    client.get_default_database().runs.insert_one({"pid": os.getpid()})
    client.close()
    return int(os.environ.get("TINY_SITE_SEED_CODE", "0"))


def count_runs() -> int:
    client: MongoClient[dict[str, Any]] = MongoClient(os.environ[URL_VARIABLE])
    runs = client.get_default_database().runs.count_documents({})
    client.close()
    return runs


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer a few paths in plain text."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/slow":
        query = parse_qs(scope["query_string"].decode())
        await asyncio.sleep(float(query["seconds"][0]))
    elif path == "/runs":
        path = str(await asyncio.to_thread(count_runs))
    elif path == "/pid":
        path = str(os.getpid())
    body = path.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
