"""Sessions that have ended before their time: known to every instance, kept in the database.

A token in a browser cannot be called back, so what must not open a session any more is remembered
until the token would have ended by itself: single sessions, and all sessions of a person that began
up to a moment. Every instance holds the whole list in memory, so that validating a session costs a
look-up; the log of changes brings what is added (``Change.keys``), and a revocation is acknowledged
once every instance has it or its lease has lapsed (``app.writes``).

An instance may lack some while its lease has lapsed, after it missed changes, and until it has read
the whole list: then it asks the database about each session. Where that does not answer either,
nobody is let in (fail closed). Without a log of changes the database is asked each time.

Memory: about 150 bytes a revocation; what has ended by itself is dropped as others come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import time
from typing import Any, Final, Protocol

from pymongo import ReadPreference
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from poruwa.errors import ErrorSource, PoruwaError, WriteUnacknowledged
from poruwa.rules.change import Change
from poruwa.rules.session import Claims

COLLECTION: Final = "poruwa_revocations"
CLASS: Final = "revocations"
_KEY: Final = b"revocations\n"
"""Before what a change says of a revocation: its name, moment and end, separated by blanks."""

_SWEEP_EVERY: Final = 1_000
_RELOAD_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.02

_logger = logging.getLogger("poruwa.app")

Document = dict[str, Any]


class Write(Protocol):
    """A write under way: what it changes, in which transaction."""

    session: AsyncClientSession

    def key(self, *keys: str) -> None:
        """State that a ``class:key`` changes."""


Run = Callable[[Callable[[Write], Awaitable[None]]], Awaitable[object]]
"""``Writes.run``: one transaction; returns when every layer has followed."""

IsSure = Callable[[], bool]
"""Whether this process has applied every change that was acknowledged."""


class RevocationsUnknown(PoruwaError):
    """It cannot be known whether a session was revoked: neither log nor database answers."""

    def __init__(self) -> None:
        super().__init__(
            "Whether the session was revoked cannot be known now; try again in a moment.",
            source=ErrorSource.STORE,
            retryable=True,
            status_hint=503,
        )


class Revocations:
    """The list of one instance.

    Until ``connect`` it is of this process alone, and has whatever was revoked through it.

    Attributes:
        asked: how often the database was asked about a session.
    """

    def __init__(self) -> None:
        # Name to the moment up to which sessions are meant, and the end of the last of them.
        self._known: dict[str, tuple[int, int]] = {}
        self._until_sweep = _SWEEP_EVERY
        self._collection: AsyncCollection[Document] | None = None
        self._is_sure: IsSure | None = None
        self._run: Run | None = None
        self._is_whole = False
        self._missed = asyncio.Event()
        self.asked = 0

    def __len__(self) -> int:
        return len(self._known)

    def connect(
        self,
        database: AsyncDatabase[Document],
        *,
        is_sure: IsSure | None = None,
        run: Run | None = None,
    ) -> None:
        """Share the list with all who use this database.

        Args:
            is_sure: of the log of changes whose changes come to ``apply``; None without a log.
            run: writes a transaction; None to write without one.
        """
        # A member that lags behind could lack what was acknowledged.
        self._collection = database.get_collection(
            COLLECTION,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority"),
        )
        self._is_sure = is_sure
        self._run = run
        self._is_whole = False
        self._missed = asyncio.Event()
        self._missed.set()

    async def follow(self) -> None:
        """Read the whole list whenever changes may have been missed, until cancelled."""
        assert self._collection is not None, "connect first"
        while True:
            await self._missed.wait()
            if self._is_sure is None:
                return  # the database is asked each time
            if not self._is_sure():
                # Before the log is followed, what others add meanwhile would not reach this list.
                await asyncio.sleep(_POLL_SECONDS)
                continue
            self._missed.clear()
            try:
                await self._load(self._collection)
            except PyMongoError as error:
                _logger.warning("the revocations cannot be read, tried again soon: %s", error)
                self._missed.set()
                await asyncio.sleep(_RELOAD_SECONDS)
                continue
            self._is_whole = not self._missed.is_set()

    def apply(self, change: Change) -> None:
        """Take over what a change says of revocations."""
        if change.everything:
            self._is_whole = False
            self._missed.set()
            return
        for key in change.keys:
            if key.startswith(_KEY):
                name, up_to, ends = key.removeprefix(_KEY).decode().rsplit(" ", 2)
                self._take(name, int(up_to), int(ends))

    def is_certain(self) -> bool:
        """Whether the list in memory is all there is."""
        return self._collection is None or (
            self._is_whole and self._is_sure is not None and self._is_sure()
        )

    async def is_revoked(self, claims: Claims) -> bool:
        """Whether a session has been ended.

        Raises:
            RevocationsUnknown: that cannot be known now.
        """
        if self.is_known(claims):
            return True
        if self.is_certain():
            return False
        await self._ask(session_name(claims.session_id), user_name(claims.user_id))
        return self.is_known(claims)

    def is_known(self, claims: Claims) -> bool:
        """Whether this instance knows that a session has been ended."""
        if session_name(claims.session_id) in self._known:
            return True
        person = self._known.get(user_name(claims.user_id))
        return person is not None and claims.started_at <= person[0]

    async def moment_of(self, user_id: str) -> int:
        """Return up to when sessions of a person are ended; 0 for none; raises as above."""
        name = user_name(user_id)
        if not self.is_certain():
            await self._ask(name)
        return self._known.get(name, (0, 0))[0]

    async def revoke_session(self, session_id: bytes, *, ends: int) -> None:
        """End one session, everywhere.

        Args:
            ends: when it would end by itself at the latest, in wall seconds.

        Raises:
            PoruwaError: it is not written, or not yet known everywhere (``Writes``).
            PyMongoError: the database cannot be written.
        """
        await self._revoke(session_name(session_id), 0, ends)

    async def revoke_user(self, user_id: str, *, up_to: int, ends: int) -> None:
        """End all sessions of a person that began at ``up_to`` or before; else as for one."""
        await self._revoke(user_name(user_id), up_to, ends)

    async def _revoke(self, name: str, up_to: int, ends: int) -> None:
        collection = self._collection
        if collection is not None and self._run is not None:

            async def write(change: Write) -> None:
                await _insert(collection, name, up_to, ends, session=change.session)
                change.key(f"{CLASS}:{name} {up_to} {ends}")

            try:
                await self._run(write)
            except WriteUnacknowledged as error:
                if error.is_stored:
                    self._take(name, up_to, ends)
                raise
        elif collection is not None:
            await _insert(collection, name, up_to, ends, session=None)
        self._take(name, up_to, ends)

    async def _ask(self, *names: str) -> None:
        assert self._collection is not None
        self.asked += 1
        try:
            async for document in self._collection.find({"_id": {"$in": names}}):
                self._take(document["_id"], document["up_to"], document["ends"])
        except PyMongoError as error:
            raise RevocationsUnknown from error

    async def _load(self, collection: AsyncCollection[Document]) -> None:
        await collection.create_index("until", expireAfterSeconds=0)
        async for document in collection.find({"ends": {"$gt": int(time())}}):
            self._take(document["_id"], document["up_to"], document["ends"])

    def _take(self, name: str, up_to: int, ends: int) -> None:
        known = self._known.get(name, (0, 0))
        self._known[name] = max(up_to, known[0]), max(ends, known[1])
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = max(_SWEEP_EVERY, len(self._known))
            now = time()
            self._known = {name: ends for name, ends in self._known.items() if ends[1] > now}


def session_name(session_id: bytes) -> str:
    """Return what a session is called in the list."""
    return f"s:{session_id.hex()}"


def user_name(user_id: str) -> str:
    """Return what a person is called in the list."""
    return f"u:{user_id}"


async def _insert(
    collection: AsyncCollection[Document],
    name: str,
    up_to: int,
    ends: int,
    *,
    session: AsyncClientSession | None,
) -> None:
    await collection.update_one(
        {"_id": name},
        {"$max": {"up_to": up_to, "ends": ends, "until": datetime.fromtimestamp(ends, UTC)}},
        upsert=True,
        session=session,
    )
