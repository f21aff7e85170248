"""The relay: publishes what a crash, or the bus's absence, left behind in the outbox.

One runs in every instance. A document that it still sees ``after_seconds`` after it first saw it
was left by its writer: no wall clock decides, as those of machines differ, and a long transaction
shows its document only when it is committed. So a change is published within twice that time of its
commit, as long as one instance and the bus live.

Several relays may publish the same document: that does no harm, since what changed has changed.
Each tells its documents in random turns, so that it is seldom more than one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import structlog
from bson import ObjectId
from pymongo.errors import PyMongoError

from poruwa.app.outbox import Outbox, change_of
from poruwa.errors import BusUnavailable
from poruwa.rules.change import Change
from poruwa.stores.change_log import ChangeLog

BATCH: Final = 500
"""Documents of one look: a few hundred kilobytes at most."""

MOST_NAMES: Final = 500
"""Tags, keys and URLs of one published change, unless one document has more."""

_LOOKS: Final = 4  # in ``after_seconds``
_LONGEST_PAUSE_SECONDS: Final = 1.0

_log = structlog.get_logger(component="relay")


class Relay:
    """The relay of this process.

    Args:
        after_seconds: for how long a document is left to its writer.

    Attributes:
        published: documents that it published.
    """

    def __init__(self, log: ChangeLog, outbox: Outbox, *, after_seconds: float) -> None:
        self.published = 0
        self._log = log
        self._outbox = outbox
        self._after = after_seconds
        self._seen: dict[ObjectId, float] = {}  # monotonic, when first seen

    async def run(self) -> None:
        """Look and publish, until cancelled."""
        pause = self._after / _LOOKS
        while True:
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311
            try:
                while await self.publish_left_behind() == BATCH:
                    pass
                pause = self._after / _LOOKS
            except (PyMongoError, BusUnavailable) as error:
                _log.debug("nothing can be published from the outbox now", error=str(error))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except Exception:
                _log.exception("the relay failed; trying again")
                pause = _LONGEST_PAUSE_SECONDS

    async def publish_left_behind(self) -> int:
        """Publish the oldest documents that were left behind, and have them removed.

        Returns:
            How many, at most ``BATCH``.

        Raises:
            pymongo.errors.PyMongoError, BusUnavailable: some of them stay for the next time.
        """
        # Those of this process's own are among them: there must be room for others.
        most = BATCH + len(self._outbox.own)
        documents, operation_time = await self._outbox.oldest(most)
        now = time.monotonic()
        self._seen = {each["_id"]: self._seen.get(each["_id"], now) for each in documents}
        left = [
            each
            for each in documents
            if now >= self._seen[each["_id"]] + self._after and each["_id"] not in self._outbox.own
        ][:BATCH]
        for batch in _batches(left):
            change = merged([each for _, each in batch], operation_time, source="relay")
            await self._log.append(change)
            ids = [document_id for document_id, _ in batch]
            self._outbox.own.update(ids)
            self._outbox.published(ids)
            self.published += len(ids)
            _log.warning("published what its writer had left in the outbox", writes=len(ids))
        return len(left)


def _batches(documents: Sequence[dict[str, Any]]) -> Iterator[list[tuple[ObjectId, Change]]]:
    batch: list[tuple[ObjectId, Change]] = []
    names = 0
    for document in documents:
        change = change_of(document)
        more = len(change.tags) + len(change.keys) + len(change.urls)
        if batch and names + more > MOST_NAMES:
            yield batch
            batch, names = [], 0
        batch.append((document["_id"], change))
        names += more
    if batch:
        yield batch


def merged(
    changes: Sequence[Change], operation_time: tuple[int, int] | None, *, source: str
) -> Change:
    """Return one change that says what all of ``changes`` say; at least one."""
    written = [change.written_at for change in changes if change.written_at]
    return Change(
        tags=tuple(dict.fromkeys(tag for change in changes for tag in change.tags)),
        keys=tuple(dict.fromkeys(key for change in changes for key in change.keys)),
        urls=tuple(dict.fromkeys(url for change in changes for url in change.urls)),
        everything=any(change.everything for change in changes),
        operation_time=operation_time,
        written_at=min(written, default=0.0),
        source=source,
    )
