"""Writes that every cache knows of: acknowledged or refused, never half.

::

    async with writes.transaction() as change:
        await database.venues.update_one({"_id": 12}, update, session=change.session)
        change.tag("venue:12", "venues")
    change.acknowledgement

On a write's path this stands between the app and the database:

1. Refuse it while the bus is known to be away: nothing is written.
2. Run the app's operations and put the change into the outbox, in one transaction.
3. Commit. From here on the change gets published, whatever happens to this process: its own
   ``append``, else the relay of any instance (``app.relay``).
4. Append it to the log of changes; have the outbox document removed (nobody waits for that).
5. Wait until every layer applied it or its lease lapsed.

Source: DESIGN section 6, rules 4 and 5; the transactional outbox pattern. What writes by other ways
changes, ``app.watcher`` finds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from poruwa.app.ending import end_tasks
from poruwa.app.outbox import Outbox, document_of
from poruwa.app.relay import Relay
from poruwa.app.watcher import Watcher
from poruwa.app.written import WrittenChange, causal_session
from poruwa.config.model import Coherence, Database, ValkeyStore
from poruwa.errors import BusUnavailable, WriteRefused, WriteUnacknowledged
from poruwa.rules.change import Change
from poruwa.stores.change_leases import Acknowledgement, Appended
from poruwa.stores.change_log import ChangeLog

__all__ = ["Writes", "WrittenChange", "causal_session"]

T = TypeVar("T")

# As pymongo's with_transaction: exponential, jittered; a conflict is over after milliseconds.
_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.5
_SURE_POLL_SECONDS: Final = 0.005
_TRANSIENT: Final = "TransientTransactionError"
_UNKNOWN: Final = "UnknownTransactionCommitResult"
_MAJORITY: Final = WriteConcern(w="majority")  # or a failover takes back what was acknowledged

_log = structlog.get_logger(component="writes")


def ignore(position: int) -> None:
    """Do nothing: nobody wants to know the position of a write."""


class Writes:
    """The writes of one process.

    Args:
        log: of changes; started and closed by whoever made it.
        database: the site's; transactions need a replica set or the embedded database.
        settings: the policy's ``database``.
        coherence: the policy's ``stores.coherence``.
        bus: where the log is: there the watchers agree on one. None: this process does not watch.
        on_written: called with a write's position, in the context of the writer, once it is in the
            log: for read your writes.
    """

    def __init__(
        self,
        log: ChangeLog,
        database: AsyncDatabase[dict[str, Any]],
        *,
        settings: Database,
        coherence: Coherence,
        bus: ValkeyStore | None = None,
        on_written: Callable[[int], None] = ignore,
    ) -> None:
        self._log = log
        self._client = database.client
        self._on_written = on_written
        self._wait_seconds = settings.acknowledge_seconds
        self._write_seconds = settings.operation_seconds
        self._relay_seconds = settings.relay_after_seconds
        self._sure_wait_seconds = 2 * coherence.heartbeat_seconds
        self._outbox = Outbox(database)
        self.relay = Relay(log, self._outbox, after_seconds=settings.relay_after_seconds)
        self.watcher = (
            Watcher(log, database, settings.watch, bus=bus, namespace=coherence.namespace)
            if bus is not None and settings.watch
            else None
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: set[asyncio.Task[Appended]] = set()

    async def start(self) -> None:
        """Start relay and watcher. Waits for nothing, raises nothing."""
        runs = [("outbox", self._outbox.run()), ("relay", self.relay.run())]
        if self.watcher is not None:
            runs.append(("watcher", self.watcher.run()))
        self._tasks = [asyncio.create_task(run, name=name) for name, run in runs]

    async def close(self) -> None:
        """End them; publish and remove what is under way. Call it before the log is closed."""
        if self._publishing:
            await asyncio.wait(self._publishing)
        tasks, self._tasks = self._tasks, []
        if tasks:
            await end_tasks(*tasks)
            await self._outbox.flush()
            if self.watcher is not None:
                await self.watcher.close()

    @asynccontextmanager
    async def transaction(
        self, *, wait_seconds: float | None = None
    ) -> AsyncIterator[WrittenChange]:
        """Run a block as one transaction, and tell every cache what it changes.

        An exception in the block aborts: nothing is stored, nothing published. A block cannot be
        run again: where two writes may meet, use ``run``. Cancelling it before the commit aborts;
        later the change is published all the same.

        Args:
            wait_seconds: for the caches' answers, from the append; None for the policy's
                ``database.acknowledge``.

        Raises:
            WriteRefused: the bus is away, or the transaction met another or lost its connection;
                nothing is stored.
            WriteUnacknowledged: stored (or perhaps), and told to the caches later.
            pymongo.errors.PyMongoError: of the block's operations; nothing is stored.
        """
        await self._refuse_while_unsure()
        async with self._client.start_session() as session:
            change = WrittenChange(session)
            try:
                document = None
                await session.start_transaction(write_concern=_MAJORITY)
                try:
                    yield change
                    document = await self._finish_block(change)
                except BaseException:
                    await self._abort(session)
                    raise
                await self._commit(session, document)
            except PyMongoError as error:
                if _is_passing(error):
                    raise _refusal(error) from error
                raise
            await self._tell(change, document, wait_seconds)

    async def run(
        self,
        callback: Callable[[WrittenChange], Awaitable[T]],
        *,
        wait_seconds: float | None = None,
    ) -> T:
        """Run ``callback`` as one transaction, again where it met another, and tell every cache.

        Args:
            callback: called with the change, once for each try, with all names taken back: it must
                do nothing but these operations. Its ``change`` can be kept for what is known after.
            wait_seconds: as for ``transaction``.

        Returns:
            What ``callback`` returned in the try that was stored.

        Raises:
            WriteRefused: the bus is away, or tries failed for ``database.operation``; nothing is
                stored.
            WriteUnacknowledged: stored (or perhaps), and told to the caches later.
            Exception: what ``callback`` raised; nothing is stored.
        """
        await self._refuse_while_unsure()
        deadline = time.monotonic() + self._write_seconds
        pause = _FIRST_PAUSE_SECONDS
        async with self._client.start_session() as session:
            change = WrittenChange(session)
            while True:
                change.forget()
                try:
                    result, document = await self._try(callback, change)
                    break
                except PyMongoError as error:
                    if not _is_passing(error):
                        raise
                    if time.monotonic() + pause >= deadline:
                        raise _refusal(error) from error
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
            await self._tell(change, document, wait_seconds)
        return result

    async def _try(
        self, callback: Callable[[WrittenChange], Awaitable[T]], change: WrittenChange
    ) -> tuple[T, dict[str, Any] | None]:
        session = change.session
        await session.start_transaction(write_concern=_MAJORITY)
        try:
            result = await callback(change)
            document = await self._finish_block(change)
        except BaseException:
            await self._abort(session)
            raise
        await self._commit(session, document)
        return result, document

    async def _refuse_while_unsure(self) -> None:
        """Step 1.

        A process back from a pause is sure again after one answer of the bus: that is waited for.
        A process without caches (a command) is never sure; it learns by appending.
        """
        if not self._log.is_cache:
            return
        deadline = time.monotonic() + self._sure_wait_seconds
        while not self._log.is_sure():
            if time.monotonic() >= deadline:
                raise WriteRefused(
                    "the bus does not answer, so the caches could not be told of this write; "
                    "nothing was written, repeat it when the bus is back"
                )
            await asyncio.sleep(_SURE_POLL_SECONDS)

    async def _finish_block(self, change: WrittenChange) -> dict[str, Any] | None:
        """Step 2: put the change into the outbox."""
        if change.is_empty():
            return None
        document = document_of(change.as_change())
        self._outbox.own.add(document["_id"])
        try:
            await self._outbox.add(document, change.session)
        except BaseException:
            self._outbox.own.discard(document["_id"])
            raise
        return document

    async def _abort(self, session: AsyncClientSession) -> None:
        if session.in_transaction:
            with suppress(PyMongoError):  # the server aborts by itself
                await session.abort_transaction()

    async def _commit(self, session: AsyncClientSession, document: dict[str, Any] | None) -> None:
        """Step 3.

        A commit whose answer was lost is repeated: the server knows whether it did it. The embedded
        database does not after a restart and says that there is no such transaction; then the
        outbox document tells.
        """
        outbox_id: ObjectId | None = None if document is None else document["_id"]
        began = time.monotonic()
        try:
            await self._commit_until(session, outbox_id, began)
        except BaseException:
            # Perhaps it is stored: then the relay finds it.
            if outbox_id is not None:
                self._outbox.own.discard(outbox_id)
            raise

    async def _commit_until(
        self, session: AsyncClientSession, outbox_id: ObjectId | None, began: float
    ) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await session.commit_transaction()
            except PyMongoError as error:
                if error.has_error_label(_TRANSIENT):
                    if await self._is_committed(outbox_id, began, error):
                        return None
                    raise
                if not (error.has_error_label(_UNKNOWN) or isinstance(error, ConnectionFailure)):
                    raise
                if time.monotonic() + pause >= began + self._write_seconds:
                    raise _unknown_outcome(error) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _is_committed(
        self, outbox_id: ObjectId | None, began: float, error: PyMongoError
    ) -> bool:
        """Tell whether a transaction that the server does not know (any more) is stored.

        Raises:
            WriteUnacknowledged: that cannot be told: a relay may have published it meanwhile.
        """
        if outbox_id is None:
            return False
        try:
            if await self._outbox.has(outbox_id):
                return True
        except PyMongoError:
            raise _unknown_outcome(error) from error
        if time.monotonic() - began >= self._relay_seconds:
            raise _unknown_outcome(error) from error
        return False

    async def _tell(
        self, change: WrittenChange, document: dict[str, Any] | None, wait_seconds: float | None
    ) -> None:
        """Steps 4 and 5."""
        stamp = change.session.operation_time
        if stamp is not None:
            change.operation_time = (stamp.time, stamp.inc)
        if document is None:
            return
        # A task of its own: who cancels the writer does not stop what others must know.
        publishing = asyncio.create_task(self._publish(change.as_change(), document["_id"]))
        self._publishing.add(publishing)
        publishing.add_done_callback(self._forget_publishing)
        try:
            appended = await asyncio.shield(publishing)
        except BusUnavailable as error:
            raise WriteUnacknowledged(
                "the write is stored, but the bus was lost before it took the change; the caches "
                "are told when it is back; do not repeat the write"
            ) from error
        change.position = appended.position
        self._on_written(appended.position)
        wait = self._wait_seconds if wait_seconds is None else wait_seconds
        change.acknowledgement = await self._acknowledged(appended, wait)

    async def _publish(self, change: Change, outbox_id: ObjectId) -> Appended:
        try:
            appended = await self._log.append(change)
        except BaseException:
            self._outbox.own.discard(outbox_id)  # to the relay
            raise
        self._outbox.published([outbox_id])
        return appended

    def _forget_publishing(self, task: asyncio.Task[Appended]) -> None:
        self._publishing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("a stored write is left to the relay", error=str(task.exception()))

    async def _acknowledged(self, appended: Appended, wait_seconds: float) -> Acknowledgement:
        acknowledgement = await self._log.acknowledged(appended, timeout=wait_seconds)
        if acknowledgement.is_complete:
            return acknowledgement
        late = [name for name, each in acknowledgement.layers.items() if each.applied_after is None]
        raise WriteUnacknowledged(
            f"the write is stored and published; {', '.join(late) or 'a cache'} did not say within "
            f"{wait_seconds:g} s that it knows; do not repeat the write",
            position=appended.position,
        )


def _is_passing(error: PyMongoError) -> bool:
    """Whether nothing is stored and the same may succeed when tried again."""
    return error.has_error_label(_TRANSIENT) or isinstance(error, ConnectionFailure)


def _refusal(error: PyMongoError) -> WriteRefused:
    return WriteRefused(
        f"the database did not take the write: {error}; nothing was written, repeat it"
    )


def _unknown_outcome(error: PyMongoError) -> WriteUnacknowledged:
    return WriteUnacknowledged(
        f"the database did not say whether the write is stored: {error}; if it is, the caches are "
        "told; read before you repeat it",
        is_stored=None,
    )
