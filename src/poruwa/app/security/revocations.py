"""Sessions that have ended before their time: known to every instance, kept in the database.

A token in a browser cannot be called back, so what must not open a session any more is remembered
until the token would have ended by itself: single sessions, and all sessions of a person that began
up to a moment. Every instance holds the whole list in memory, so that validating a session costs a
look-up; the log of changes brings what is added (``Change.keys``), and a revocation is acknowledged
once every instance has it or its lease has lapsed.

An instance whose lease has lapsed may lack some, and asks the database. Where that does not answer
either, nobody is let in (fail closed). Without a log of changes the database is asked each time.

Memory: about 150 bytes a revocation; what has ended by itself is dropped as others come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Final, Protocol

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from poruwa.errors import ErrorSource, PoruwaError
from poruwa.rules.change import Change
from poruwa.rules.session import Claims

COLLECTION: Final = "poruwa_revocations"
KEY: Final = b"revocations\n"
"""Before what a change says of a revocation: its name, moment and end, separated by blanks."""

_SWEEP_EVERY: Final = 1_000

Document = dict[str, Any]


class Log(Protocol):
    """The log of changes, as far as its lease goes."""

    sure_until: float  # monotonic seconds


class Write(Protocol):
    """A write under way: what it changes, in which transaction."""

    session: AsyncClientSession

    def key(self, *keys: bytes) -> None:
        """State that a key changes."""


Run = Callable[[Callable[[Write], Awaitable[None]]], Awaitable[object]]
"""``Writes.run``: one transaction; returns when every layer has followed."""


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

    Args:
        collection: None for a list in this process alone, e.g. in tests of an app.
        log: None where no log tells of what others revoke.
        run: writes a transaction; None to write without one.
    """

    def __init__(
        self,
        collection: AsyncCollection[Document] | None = None,
        log: Log | None = None,
        run: Run | None = None,
    ) -> None:
        self._collection = collection
        self._log = log
        self._run = run
        # Name to the moment up to which sessions are meant, and the end of the last of them.
        self._known: dict[str, tuple[int, int]] = {}
        self._until_sweep = _SWEEP_EVERY

    def __len__(self) -> int:
        return len(self._known)

    async def load(self) -> None:
        """Take over what is in the database: at the start, after the log is followed, and whenever
        the log says that anything may have changed.

        Raises:
            PyMongoError: it cannot be read.
        """
        if self._collection is None:
            return
        await self._collection.create_index("until", expireAfterSeconds=0)
        async for document in self._collection.find({"ends": {"$gt": int(time())}}):
            self._take(document["_id"], document["up_to"], document["ends"])

    def apply(self, change: Change) -> None:
        """Take over what a change says of revocations."""
        for key in change.keys:
            if key.startswith(KEY):
                name, up_to, ends = key.removeprefix(KEY).decode().rsplit(" ", 2)
                self._take(name, int(up_to), int(ends))

    async def is_revoked(self, claims: Claims) -> bool:
        """Whether a session has been ended.

        Raises:
            RevocationsUnknown: that cannot be known now.
        """
        if self.is_known(claims):
            return True
        log = self._log
        if self._collection is None or (log is not None and monotonic() < log.sure_until):
            return False
        names = [session_name(claims.session_id), user_name(claims.user_id)]
        try:
            async for document in self._collection.find({"_id": {"$in": names}}):
                self._take(document["_id"], document["up_to"], document["ends"])
        except PyMongoError as error:
            raise RevocationsUnknown from error
        return self.is_known(claims)

    def is_known(self, claims: Claims) -> bool:
        """Whether this instance knows that a session has been ended."""
        if session_name(claims.session_id) in self._known:
            return True
        person = self._known.get(user_name(claims.user_id))
        return person is not None and claims.started_at <= person[0]

    def moment_of(self, user_id: str) -> int:
        """Return up to when sessions of a person are ended; 0 for none."""
        return self._known.get(user_name(user_id), (0, 0))[0]

    async def revoke_session(self, session_id: bytes, *, ends: int) -> None:
        """End one session, everywhere.

        Args:
            ends: when it would end by itself at the latest, in wall seconds.

        Raises:
            PoruwaError: it is not written, or not yet known everywhere (``Writes``).
        """
        await self._revoke(session_name(session_id), 0, ends)

    async def revoke_user(self, user_id: str, *, up_to: int, ends: int) -> None:
        """End all sessions of a person that began at ``up_to`` or before; else as for one."""
        await self._revoke(user_name(user_id), up_to, ends)

    async def _revoke(self, name: str, up_to: int, ends: int) -> None:
        if self._collection is None:
            self._take(name, up_to, ends)
            return
        collection = self._collection
        text = KEY + f"{name} {up_to} {ends}".encode()

        async def write(change: Write) -> None:
            await _insert(collection, name, up_to, ends, session=change.session)
            change.key(text)

        if self._run is not None:
            await self._run(write)
        else:
            await _insert(collection, name, up_to, ends, session=None)
        self._take(name, up_to, ends)

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
