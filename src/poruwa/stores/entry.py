"""What a store holds under a key: the part of an entry that stores and the tag index work with.

The gateway's cache subclasses it with what it serves (head, body, validators). One object of plain
attributes an entry: a hit reads some of them, and the collector has little to walk (DESIGN section
6, hot path). Nothing here knows HTTP or a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

try:
    from mypy_extensions import mypyc_attr
except ModuleNotFoundError:  # it comes with the compiler, and only the compiler heeds it

    def mypyc_attr(**_: bool) -> Callable[[type], type]:  # type: ignore[misc]
        return lambda decorated: decorated


OVERHEAD_BYTES: Final = 768
"""Charged for each entry on top of head and body: the object, a short key, its place in the index,
and three tags with theirs. Measured: 700, of 200,000 entries with one tag of their own each."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Entry:
    """One stored object.

    Attributes:
        key: what it is found by.
        size: bytes it is charged: head, body and ``OVERHEAD_BYTES``. Not to be changed while it is
            stored; put a new entry instead.
        tags: what it is purged by, without repetition.
        expires_at: until when it is fresh, in wall seconds. A soft purge sets it back.
        alive: whether it may still be served. Once cleared it stays so.
        frequency: how often it was read since its queue last looked, at most 3.
        queue, older, newer: its place in the store, which alone uses them.
    """

    __slots__ = (
        "alive",
        "expires_at",
        "frequency",
        "key",
        "newer",
        "older",
        "queue",
        "size",
        "tags",
    )

    def __init__(
        self, key: bytes, size: int, tags: tuple[bytes, ...] = (), expires_at: float = 0.0
    ) -> None:
        self.key = key
        self.size = size
        self.tags = tags
        self.expires_at = expires_at
        self.alive = True
        self.frequency = 0
        self.queue = NOWHERE
        self.older: Entry | None = None
        self.newer: Entry | None = None


NOWHERE: Final = 0
"""``Entry.queue`` of what is in no store."""

EntryT = TypeVar("EntryT", bound=Entry)
