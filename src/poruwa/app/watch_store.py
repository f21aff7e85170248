"""What watchers share on the bus: who of them watches, and up to where it has published.

Keys ``{ns}:watcher`` (the leader's token, expires with its lease) and ``{ns}:watched`` (the resume
token of the change stream, BSON). Both are written only by who holds the lease, in one step. The
lease is not replicated nor in the append-only file: it would cost an fsync each time, and two
leaders for a moment do no harm but publish twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final

import bson
from bson.errors import BSONError
from redis.asyncio import Redis

from poruwa.config.model import ValkeyStore
from poruwa.stores.valkey_connection import FAILURES, cancellable, find_primary, make_client

LEASE_SECONDS: Final = 1.5
"""With ``watcher.TRY_SECONDS``: another watcher takes over within two seconds."""

_HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.set_repl(redis.REPL_NONE)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_SAVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
_LEAVE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.set_repl(redis.REPL_NONE)
  redis.call('DEL', KEYS[1])
end
return 1
"""


class WatchStore:
    """One watcher's access. Calls raise what ``valkey_connection.FAILURES`` lists."""

    def __init__(self, store: ValkeyStore, *, namespace: str) -> None:
        self._store = store
        self._keys = [f"{{{namespace}}}:watcher", f"{{{namespace}}}:watched"]
        self._me = token_hex(16)
        self._client: Redis | None = None

    async def hold(self) -> bool:
        """Take or keep the lease; return whether it is this watcher's for ``LEASE_SECONDS``."""
        return bool(await self._run(_HOLD, self._me, int(LEASE_SECONDS * 1000)))

    async def save(self, token: Mapping[str, Any]) -> bool:
        """Keep the resume token; return False where another watcher leads."""
        return bool(await self._run(_SAVE, self._me, bson.encode(token)))

    async def token(self) -> dict[str, Any] | None:
        """Return the resume token; None where there is none, or none that can be read."""
        client = await self._connected()
        try:
            data = await cancellable(client.get(self._keys[1]))
        except FAILURES:
            await self.disconnect()
            raise
        try:
            return bson.decode(data) if isinstance(data, bytes) else None
        except BSONError:
            return None

    async def leave(self) -> None:
        """Give the lease back."""
        await self._run(_LEAVE, self._me)

    async def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _connected(self) -> Redis:
        if self._client is None:
            node = await find_primary(self._store)
            if self._client is None:  # the watcher's other task may have been here meanwhile
                self._client = make_client(self._store, node=node)
        return self._client

    async def _run(self, script: str, *values: str | bytes | int) -> Any:
        client = await self._connected()
        try:
            return await cancellable(client.eval(script, len(self._keys), *self._keys, *values))
        except FAILURES:
            await self.disconnect()  # another node may be the primary now
            raise
