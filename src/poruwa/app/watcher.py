"""The watcher: publishes what others wrote to the database, found by its change stream.

For writes that do not pass ``app.writes``: mongosh, scripts, other programs. The policy maps
collections to tags (``database.watch``). One watcher of all instances works at a time, by a lease
on the bus; when it dies or is paused another takes over within two seconds. After each publication
the stream's resume token is kept on the bus, so that who takes over, or starts later, publishes
what nobody has. Some may be published twice, which does no harm; nothing is left out: where the
database does not know the token any more (its history is lost), everything is said to have changed.

A write is published when its event is there, a few milliseconds after its commit; nobody waits
for an acknowledgement, as nobody asked for one. Events that come together (a bulk update) are
published together. Transactions of ours are left out (``app.watch_rules``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from pymongo.asynchronous.change_stream import AsyncDatabaseChangeStream
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from poruwa.app.ending import end_tasks
from poruwa.app.watch_rules import Event, WatchRules, transaction_of
from poruwa.app.watch_store import LEASE_SECONDS, WatchStore
from poruwa.config.model import ValkeyStore, WatchedCollection
from poruwa.errors import BusUnavailable
from poruwa.rules.change import Change
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.valkey_connection import FAILURES

TRY_SECONDS: Final = 0.3
"""Between tries to become the leader."""

BATCH: Final = 1_000
"""Events published as one change, and the rest of the transaction they end in."""

_RENEW_SECONDS: Final = 0.4
_GATHER_SECONDS: Final = 0.003  # events that follow one another so closely go together
_LARGEST_BATCH: Final = 20 * BATCH
_AWAIT_MILLISECONDS: Final = 1_000  # of one question for events
_KEEP_SECONDS: Final = 10.0  # a quiet stream's token is kept so often, before history goes past it

# BadValue-like answers to a token of another database, and those of the change stream
# specification that say the position is gone.
_LOST_CODES: Final = frozenset({9, 136, 260, 280, 286, 40615, 40647, 40649, 50811})

_NOT_FOUND: Final = 26
_FAILED: Final = (PyMongoError, BusUnavailable, *FAILURES)
_log = structlog.get_logger(component="watcher")


class Watcher:
    """The watcher of this process.

    Args:
        database: whose collections are watched.
        watched: which, and their tags.
        bus: where the watchers agree.

    Attributes:
        is_leading: this one publishes.
        published: changes that it published.
    """

    def __init__(
        self,
        log: ChangeLog,
        database: AsyncDatabase[dict[str, Any]],
        watched: Sequence[WatchedCollection],
        *,
        bus: ValkeyStore,
        namespace: str,
    ) -> None:
        self.is_leading = False
        self.published = 0
        self._log = log
        self._database = database
        self._rules = WatchRules(watched)
        self._store = WatchStore(bus, namespace=namespace)
        self._kept: Mapping[str, Any] | None = None
        self._kept_at = 0.0
        self._bare: set[str] = set()  # collections that did not exist

    async def run(self) -> None:
        """Watch whenever nobody else does, until cancelled."""
        while True:
            try:
                if await self._store.hold():
                    await self._lead()
                    await self._store.leave()
            except _FAILED as error:
                _log.warning("nothing is watched by this process now", error=str(error))
            except Exception:
                _log.exception("the watcher failed; trying again")
            await asyncio.sleep(TRY_SECONDS * random.uniform(0.7, 1.0))  # noqa: S311

    async def close(self) -> None:
        """Let another watcher begin at once. To be called when ``run`` has ended."""
        with suppress(*FAILURES):
            await self._store.leave()
        await self._store.disconnect()

    async def _lead(self) -> None:
        """Watch until the lease is lost or something fails."""
        held_until = time.monotonic() + LEASE_SECONDS
        watching = asyncio.create_task(self._watch(), name="watcher")
        self.is_leading = True
        try:
            while time.monotonic() < held_until:
                await asyncio.wait([watching], timeout=_RENEW_SECONDS)
                if watching.done():
                    return watching.result()
                asked_at = time.monotonic()
                with suppress(*FAILURES):
                    if not await self._store.hold():
                        return None
                    held_until = asked_at + LEASE_SECONDS
        finally:
            self.is_leading = False
            await end_tasks(watching)

    async def _watch(self) -> None:
        await self._keep_documents(self._rules.needs_documents)
        token = await self._store.token()
        while True:
            try:
                stream = await self._open(token)
            except OperationFailure as error:
                if token is None or not is_lost(error):
                    raise
                _log.warning("the database does not go back so far; all changed", error=str(error))
                token = None
                continue
            async with stream:
                if token is None:
                    # Whatever was written while nobody watched: all of it is before the stream.
                    await self._publish(Change(everything=True, source="watch"))
                    await self._keep(stream.resume_token)
                await self._follow(stream)
            token = None

    async def _open(
        self, token: Mapping[str, Any] | None
    ) -> AsyncDatabaseChangeStream[dict[str, Any]]:
        needs = bool(self._rules.needs_documents)
        return await self._database.watch(
            self._rules.pipeline(),
            full_document="updateLookup" if needs else None,
            full_document_before_change="whenAvailable" if needs else None,
            resume_after=token,
            max_await_time_ms=_AWAIT_MILLISECONDS,
            batch_size=BATCH,
        )

    async def _follow(self, stream: AsyncDatabaseChangeStream[dict[str, Any]]) -> None:
        """Publish what comes; return when the stream ends or its history is lost."""
        reader = _BatchReader(stream)
        try:
            while stream.alive:
                events = await reader.next_batch()
                change = self._rules.change_of(events)
                if change is not None:
                    await self._publish(change)
                if events:
                    if self._bare:
                        seen = {each.get("ns", {}).get("coll") for each in events}
                        await self._keep_documents(self._bare & seen)
                    await self._keep(events[-1]["_id"])
                    if events[-1]["operationType"] == "invalidate":
                        return
                elif time.monotonic() >= self._kept_at + _KEEP_SECONDS:
                    await self._keep(stream.resume_token)
        except OperationFailure as error:
            if not is_lost(error):
                raise
            _log.warning("the change stream was lost; all changed", error=str(error))
        finally:
            await reader.close()

    async def _publish(self, change: Change) -> None:
        await self._log.append(change)
        self.published += 1

    async def _keep(self, token: Mapping[str, Any] | None) -> None:
        self._kept_at = time.monotonic()
        if token is not None and token != self._kept and await self._store.save(token):
            self._kept = token

    async def _keep_documents(self, names: Iterable[str]) -> None:
        """Have the database keep documents of before, where tags need their fields."""
        for name in names:
            try:
                await self._database.command(
                    "collMod", name, changeStreamPreAndPostImages={"enabled": True}
                )
                self._bare.discard(name)
            except OperationFailure as error:
                if error.code == _NOT_FOUND:  # to be created: its first event will tell
                    self._bare.add(name)
                    continue
                self._bare.discard(name)
                _log.warning(
                    "changes to fields that tags need will be published as: all changed; switch "
                    "the collection's changeStreamPreAndPostImages on",
                    collection=name,
                    error=str(error),
                )


class _BatchReader:
    """Reads events that come together as one batch, and a transaction as a whole."""

    def __init__(self, stream: AsyncDatabaseChangeStream[dict[str, Any]]) -> None:
        self._stream = stream
        self._next: asyncio.Task[dict[str, Any] | None] | None = None

    async def next_batch(self) -> list[Event]:
        """Wait for events; return none after ``_AWAIT_MILLISECONDS`` without."""
        events: list[Event] = []
        while len(events) < _LARGEST_BATCH:
            if len(events) >= BATCH and transaction_of(events[-1]) is None:
                break
            # Awaiting must not cancel it: that would close the connection under the stream.
            pending = self._next = self._next or asyncio.create_task(_next_of(self._stream))
            timeout = _GATHER_SECONDS if events else None
            done, _ = await asyncio.wait([pending], timeout=timeout)
            if not done:
                break
            self._next = None
            event = pending.result()
            if event is None:
                break
            events.append(event)
        return events

    async def close(self) -> None:
        if self._next is not None:
            await end_tasks(self._next)


def _next_of(
    stream: AsyncDatabaseChangeStream[dict[str, Any]],
) -> Coroutine[Any, Any, dict[str, Any] | None]:
    return stream.try_next()


def is_lost(error: OperationFailure) -> bool:
    """Tell whether the database cannot go on from the token, now or ever."""
    return error.code in _LOST_CODES
