"""Where somebody is signed in: the sessions of a person, as the person is shown them.

One document a session, written when it begins and touched at most every 24 hours (requirement D2):
what is shown says "today", not to the minute. It decides nothing: whether a session is good says
its token, and the list of revocations. Each write goes through to the cache of the class
``session``, where the policy has one, for programs that ask about one session often.

A session's id stays in its token and in here; pages show ``Device.handle`` (ASVS 5.0 14.2.1).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from poruwa.rules.session import Claims

COLLECTION: Final = "poruwa_sessions"
CLASS: Final = "session"
TOUCH_SECONDS: Final = 86_400
_LONGEST_AGENT: Final = 200
_REMEMBERED: Final = 50_000

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """A session as its owner sees it. Times are wall seconds."""

    session_id: bytes
    user_id: str
    agent: str
    address: str
    began_at: int
    seen_at: int

    @property
    def handle(self) -> str:
        """What forms name it by; nobody can sign in with it."""
        return handle_of(self.session_id)


Keep = Callable[[str, Device | None], Awaitable[object]]
"""Called after each write with the handle and the record; None where it is gone."""


class Devices:
    """The sessions that have begun. Operations raise PyMongoError where the database is away.

    Args:
        keep: write-through; None to write to the database alone.
        touch_seconds: how often a session's last visit is written, at most.
    """

    def __init__(
        self,
        database: AsyncDatabase[Document],
        keep: Keep | None = None,
        *,
        touch_seconds: int = TOUCH_SECONDS,
    ) -> None:
        self._collection: AsyncCollection[Document] = database[COLLECTION]
        self._keep = keep
        self._touch_seconds = touch_seconds
        self._touched: dict[bytes, int] = {}  # by this process: asks the database less often

    async def prepare(self) -> None:
        """Make the indexes."""
        await self._collection.create_index("user")
        await self._collection.create_index("until", expireAfterSeconds=0)

    async def begin(self, claims: Claims, *, agent: str, address: str, ends: int) -> None:
        """Write down that a session has begun."""
        device = Device(
            claims.session_id,
            claims.user_id,
            agent[:_LONGEST_AGENT],
            address,
            claims.issued_at,
            claims.issued_at,
        )
        await self._collection.insert_one(
            {
                "_id": claims.session_id,
                "user": device.user_id,
                "agent": device.agent,
                "address": device.address,
                "began_at": device.began_at,
                "seen_at": device.seen_at,
                "until": datetime.fromtimestamp(ends, UTC),
            }
        )
        await self._kept(device.handle, device)

    def is_due(self, claims: Claims, now: int) -> bool:
        """Whether a visit now is worth a write, as far as this process knows."""
        return now - self._touched.get(claims.session_id, claims.issued_at) >= self._touch_seconds

    async def touch(self, claims: Claims, now: int) -> bool:
        """Write down a visit, if none was for ``touch_seconds``; tell whether it was written."""
        if len(self._touched) >= _REMEMBERED:
            self._touched.clear()
        self._touched[claims.session_id] = now
        written = await self._collection.update_one(
            {"_id": claims.session_id, "seen_at": {"$lte": now - self._touch_seconds}},
            {"$set": {"seen_at": now}},
        )
        if not written.modified_count:
            return False
        document = await self._collection.find_one({"_id": claims.session_id})
        if document is not None:
            device = _device(document)
            await self._kept(device.handle, device)
        return True

    async def of(self, user_id: str) -> list[Device]:
        """Return a person's sessions, the latest visit first; ended ones are not among them."""
        documents = await self._collection.find({"user": user_id}).to_list()
        return sorted(map(_device, documents), key=lambda device: -device.seen_at)

    async def forget(self, session_id: bytes) -> None:
        """Take a session off the list."""
        await self._collection.delete_one({"_id": session_id})
        await self._kept(handle_of(session_id), None)

    async def forget_user(self, user_id: str) -> None:
        """Take a person's sessions off the list."""
        for device in await self.of(user_id):
            await self.forget(device.session_id)

    async def _kept(self, handle: str, device: Device | None) -> None:
        if self._keep is not None:
            await self._keep(handle, device)


def handle_of(session_id: bytes) -> str:
    """Return what pages call a session: 128 bits of a hash."""
    return sha256(b"poruwa-device\0" + session_id).hexdigest()[:32]


def _device(document: Document) -> Device:
    return Device(
        bytes(document["_id"]),
        document["user"],
        document["agent"],
        document["address"],
        document["began_at"],
        document["seen_at"],
    )
