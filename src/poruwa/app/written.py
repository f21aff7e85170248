"""What a write changes: filled in during its transaction, read after it."""

from __future__ import annotations

from time import time
from typing import Any

from bson import Timestamp
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.mongo_client import AsyncMongoClient

from poruwa.app.tags import check_tag
from poruwa.rules.change import Change
from poruwa.stores.change_leases import Acknowledgement


class WrittenChange:
    """The change of one transaction.

    Name what the write changes with ``tag``, ``key`` and ``url``, before or after the operations.
    Where nothing is named nothing is published; the watcher tells what the policy maps.

    Attributes:
        session: give it to each operation (``session=change.session``).
        acknowledgement: after the block; None while it runs, and where nothing was named.
        position: in the log of changes, after the block; None likewise.
        operation_time: the database's (seconds, increment) of the commit; see ``causal_session``.
    """

    def __init__(self, session: AsyncClientSession) -> None:
        self.session = session
        self.acknowledgement: Acknowledgement | None = None
        self.position: int | None = None
        self.operation_time: tuple[int, int] | None = None
        self._tags: dict[bytes, None] = {}
        self._keys: dict[bytes, None] = {}
        self._urls: dict[bytes, None] = {}
        self._everything = False

    def tag(self, *tags: str) -> None:
        """Name tags that change: ``change.tag("venue:12", "venues")``.

        Raises:
            ValueError: one of them is no tag; none is taken then.
        """
        for tag in tags:
            check_tag(tag)
        self._tags.update((tag.encode(), None) for tag in tags)

    def key(self, *keys: str) -> None:
        """Name objects of the cache manager, as ``class:key``.

        Raises:
            ValueError: one of them is no such key; none is taken then.
        """
        parts = [key.partition(":") for key in keys]
        for name, (data_class, _, key) in zip(keys, parts, strict=True):
            if not data_class or not key:
                raise ValueError(f'{name!r} is no key; write "class:key", such as "venue:12"')
        self._keys.update((f"{each[0]}\n{each[2]}".encode(), None) for each in parts)

    def url(self, *urls: str) -> None:
        """Name URLs, as ``poruwa purge`` takes them."""
        self._urls.update((url.encode(), None) for url in urls)

    def everything(self) -> None:
        """State that anything may change: an import, a migration."""
        self._everything = True

    def forget(self) -> None:
        """Take all names back: the transaction is tried again."""
        self._tags.clear()
        self._keys.clear()
        self._urls.clear()
        self._everything = False

    def is_empty(self) -> bool:
        return not (self._tags or self._keys or self._urls or self._everything)

    def as_change(self) -> Change:
        return Change(
            tags=tuple(self._tags),
            keys=tuple(self._keys),
            urls=tuple(self._urls),
            everything=self._everything,
            operation_time=self.operation_time,
            written_at=time(),
            source="write",
        )


def causal_session(
    client: AsyncMongoClient[Any], operation_time: tuple[int, int] | None
) -> AsyncClientSession:
    """Return a session whose reads see everything up to ``operation_time``, on any member.

    On a replica they wait until it has got so far; on the primary this costs nothing. To be used
    as ``async with causal_session(...) as session``.

    Args:
        operation_time: of ``Change`` or ``WrittenChange``; None for an ordinary session.

    The cluster time is left as this client knows it: it is signed by the server, and a member that
    has not seen the operation time yet learns it by replication.
    """
    session = client.start_session(causal_consistency=True)
    if operation_time is not None:
        session.advance_operation_time(Timestamp(*operation_time))
    return session
