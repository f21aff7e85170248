"""Keeps the index of this process with the database: dirty listings are read before a search.

Every change that reaches this process marks the listings it names. Whoever searches has them read
first, in one batch, so that a search is never older than the position its process had applied when
the search began. The rules (proved in tests/integration/site/test_index_upkeep.py):

1. A mark is cleared before its listing is read: a change that comes meanwhile marks it again.
2. Rounds of reading follow one another, so that no older read overwrites a newer one.
3. A search that finds a round under way did not begin it and may have marks that it left out:
   it waits for it, and for the next one if there are still marks.
4. While the process is *unsure* (it may have missed changes, or has not applied yet what the
   client of this request wrote) each search waits for a round that began after it and asks the
   database which listings changed since the index was last complete: every write of ours sets
   ``changed_at`` by the server's clock.
5. ``everything`` does the same once, and has the whole index compared with the database behind it,
   a slice at a time: that finds what others deleted or wrote without ``changed_at``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any, Final

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from weddinglk.documents import Document
from weddinglk.search.entries import (
    VENDOR_PROJECTION,
    VENUE_PROJECTION,
    vendor_entry,
    venue_entry,
)
from weddinglk.search.index import Entry
from weddinglk.search.listings import Listings
from weddinglk.search.query import Kind

Key = tuple[Kind, int]

READ_BATCH: Final = 500  # documents a round trip of a long read; their entries take 20 ms
READ_SECONDS: Final = 120.0  # for all of a long read; usually half a second
CHANGED_MARGIN_SECONDS: Final = 30.0
"""How far before the last complete state is looked for changes: longer than any transaction takes
from its update to its commit, and than clocks step."""

_COLLECTIONS: Final = {Kind.VENUE: "venues", Kind.VENDOR: "vendors"}
_PROJECTIONS: Final = {Kind.VENUE: VENUE_PROJECTION, Kind.VENDOR: VENDOR_PROJECTION}
_ENTRIES: Final = {Kind.VENUE: venue_entry, Kind.VENDOR: vendor_entry}
_log = logging.getLogger("weddinglk")


class Upkeep:
    """The index of this process, and what of it is to be read again.

    Args:
        database: the listings' database.
        is_sure: whether this process has certainly applied every acknowledged change, and whoever
            asks sees all that the client of this request wrote.

    Attributes:
        listings: what searches ask, after ``current``.
        rounds: of reading, so far.
    """

    def __init__(
        self, database: AsyncDatabase[Document], *, is_sure: Callable[[], bool] = lambda: True
    ) -> None:
        self.listings = Listings()
        self.rounds = 0
        self._database = database
        self._is_sure = is_sure
        self._dirty: dict[Key, None] = {}
        self._may_have_changed = False  # anything: ask what changed lately
        self._round: asyncio.Task[None] | None = None
        self._comparison: asyncio.Task[None] | None = None
        self._compare_again = False
        self._newer: set[Key] = set()  # marked or read while a comparison reads
        self._complete_at = -math.inf  # server's wall seconds: all commits before are in the index
        self._clock_ahead = 0.0  # of the server's clock before ours

    def note(self, tags: Iterable[bytes], *, everything: bool = False) -> None:
        """Mark what a change names; call it before the process says that it applied the change."""
        if everything:
            self._mark_all()
            return
        names = [tag.decode("ascii", "replace") for tag in tags]
        keys = [key for key in map(_key_of, names) if key is not None]
        for key in keys:
            self._mark(key)
        if not keys and not _WHOLE.isdisjoint(names):
            self._mark_all()  # somebody knows that something changed, not which

    async def load(self) -> None:
        """Build the index from the database.

        Raises:
            pymongo.errors.PyMongoError: the database cannot be read.
        """
        while self._round is not None:
            await asyncio.wait((self._round,))
        self._round = _background(self._load())
        await asyncio.shield(self._round)

    async def current(self) -> None:
        """Return once the index has every change that was applied here before the call.

        Cancelling leaves the round to others who wait.

        Raises:
            pymongo.errors.PyMongoError: the database cannot be read.
        """
        if not self._is_sure():
            self._may_have_changed = True  # for whichever round begins next
        under_way = self._round
        if under_way is not None:
            await asyncio.wait((under_way,))  # it began before us; its failure is not ours
        if self._round is None:
            if not self._dirty and not self._may_have_changed:
                return
            self._round = _background(self._run_round())
        await asyncio.shield(self._round)

    async def close(self) -> None:
        """End what runs behind."""
        tasks = [task for task in (self._round, self._comparison) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _mark(self, key: Key) -> None:
        self._dirty[key] = None
        if self._comparison is not None:
            self._newer.add(key)

    def _mark_all(self) -> None:
        self._may_have_changed = True
        if self._comparison is None and len(self.listings.index):
            self._comparison = _background(self._compare())
        else:
            self._compare_again = True

    async def _load(self) -> None:
        try:
            began = await self._server_time()
            # Before reading: what comes from now on stays marked.
            self._dirty.clear()
            self._may_have_changed = self._compare_again = False
            entries: list[Entry] = []
            # One after the other, and with time: all instances of a stack do this at once, on a
            # database that answers from one core. What ran out of time would be asked again from
            # the beginning, while the database still works on what nobody waits for.
            with pymongo.timeout(READ_SECONDS):
                for kind in Kind:
                    cursor = self._database[_COLLECTIONS[kind]].find(
                        {}, _PROJECTIONS[kind], batch_size=2 * READ_BATCH
                    )
                    entries += [_ENTRIES[kind](document) for document in await cursor.to_list()]
            # Sorted: the order decides nothing but which slot a listing gets.
            entries.sort(key=lambda entry: (entry.kind is not Kind.VENUE, entry.id))
            self.listings = Listings(entries)
            self._complete_at = began
            if self._compare_again:
                self._mark_all()
        finally:
            self._round = None

    async def _run_round(self) -> None:
        self.rounds += 1
        dirty, self._dirty = self._dirty, {}
        asks, self._may_have_changed = self._may_have_changed, False
        is_complete = asks or self._is_sure()  # else there may be changes of which we know nothing
        began = time() + self._clock_ahead
        try:
            found: dict[Key, Entry | None] = dict.fromkeys(dirty)
            for kind in Kind:
                conditions: list[Mapping[str, Any]] = []
                ids = [listing_id for of, listing_id in dirty if of is kind]
                if ids:
                    conditions.append({"_id": {"$in": ids}})
                if asks:
                    conditions.append({"changed_at": {"$gte": self._changed_since()}})
                for condition in conditions:
                    cursor = self._database[_COLLECTIONS[kind]].find(condition, _PROJECTIONS[kind])
                    for document in await cursor.to_list():
                        found[kind, document["_id"]] = _ENTRIES[kind](document)
            for key, entry in found.items():
                self._put(key, entry)
            if self._comparison is not None:
                self._newer.update(found)
            if is_complete:
                self._complete_at = max(self._complete_at, began)
        except BaseException:
            self._dirty = dirty | self._dirty
            self._may_have_changed = self._may_have_changed or asks
            raise
        finally:
            self._round = None

    def _changed_since(self) -> datetime:
        since = max(0.0, self._complete_at - CHANGED_MARGIN_SECONDS)
        return datetime.fromtimestamp(since, UTC)

    def _put(self, key: Key, entry: Entry | None) -> None:
        if entry is None:
            self.listings.index.remove(*key)
        else:
            self.listings.index.replace(entry)

    async def _compare(self) -> None:
        """Read everything, a slice at a time, and put right what differs."""
        delay_seconds = 0.5
        try:
            while True:
                self._compare_again = False
                self._newer.clear()
                try:
                    await self._compare_once()
                except PyMongoError as error:
                    reason = " ".join(str(error).split())[:200]
                    _log.warning("the search index cannot be compared yet: %s", reason)
                    await asyncio.sleep(delay_seconds)
                    delay_seconds = min(2 * delay_seconds, 30.0)
                    continue
                if not self._compare_again:
                    return
        finally:
            self._comparison = None
            self._newer.clear()

    async def _compare_once(self) -> None:
        self._clock_ahead = await self._server_time() - time()
        known = set(self.listings.index.keys())
        with pymongo.timeout(READ_SECONDS):
            for kind in Kind:
                cursor = self._database[_COLLECTIONS[kind]].find(
                    {}, _PROJECTIONS[kind], batch_size=READ_BATCH
                )
                while documents := await cursor.to_list(READ_BATCH):
                    for document in documents:
                        key = kind, document["_id"]
                        known.discard(key)
                        if key not in self._newer:
                            self._put(key, _ENTRIES[kind](document))
                    await asyncio.sleep(0)
        for key in known - self._newer:
            self._put(key, None)

    async def _server_time(self) -> float:
        """Return the server's wall seconds; ours if it does not say."""
        answer = await self._database.command("hello")
        local = answer.get("localTime")
        if not isinstance(local, datetime):
            return time()
        seconds = local.replace(tzinfo=UTC).timestamp()
        self._clock_ahead = seconds - time()
        return seconds


_WHOLE: Final = frozenset(("venues", "vendors", "texts"))


def _key_of(tag: str) -> Key | None:
    """Return the listing that a tag names: ``venue:12``."""
    name, colon, number = tag.partition(":")
    if not colon or not (number.isascii() and number.isdigit()) or len(number) > 10:
        return None
    try:
        return Kind(name), int(number)
    except ValueError:
        return None


def _background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task whose failure its waiters hear of, if there are any."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
