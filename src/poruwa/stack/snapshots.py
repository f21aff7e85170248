"""The workers' metrics, gathered so that a counter never goes back.

A worker that does not answer counts with what it said last, one that is gone with its last counts
for ever. So that a worker killed between two scrapes takes little with it, snapshots are also
fetched in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from poruwa.observe.metrics import MetricsSnapshot, merge, without_gauges

REPLY_SECONDS = 0.25
BACKGROUND_SECONDS = 2.0

_log = structlog.get_logger(component="gateway")


class SnapshotKeeper:
    """The last snapshot of each live worker, and one sum of all that are gone.

    Args:
        indexes: of the workers there are now.
        request: asks the worker of an index, within a number of seconds; None without an answer.
    """

    def __init__(
        self,
        indexes: Callable[[], Sequence[int]],
        request: Callable[[int, float], Awaitable[bytes | None]],
    ) -> None:
        self._indexes = indexes
        self._request = request
        self._last: dict[int, bytes] = {}
        self._retired: bytes | None = None

    async def refresh(self) -> None:
        """Ask all workers at the same time; takes at most `REPLY_SECONDS`."""
        indexes = self._indexes()
        replies = await asyncio.gather(*(self._request(index, REPLY_SECONDS) for index in indexes))
        for index, reply in zip(indexes, replies, strict=True):
            if reply is not None:
                self.take(index, reply)

    def take(self, index: int, snapshot: bytes) -> None:
        """Keep what a worker says now."""
        self._last[index] = snapshot

    def retire(self, index: int) -> None:
        """Move the counts of a worker that ended to the sum of those that are gone."""
        last = self._last.pop(index, None)
        if last is None:
            return
        try:
            gone = merge((), retired=[last] if self._retired is None else [self._retired, last])
        except msgspec.MsgspecError:
            _log.exception("metrics of a worker are lost", worker=index)
            return
        self._retired = without_gauges(gone)

    def total(self) -> MetricsSnapshot:
        """Return the sum over all workers there are and were."""
        return merge(
            [self._last[index] for index in sorted(self._last)],
            () if self._retired is None else (self._retired,),
        )

    async def refresh_regularly(self) -> None:
        """Fetch snapshots in the background until cancelled."""
        while True:
            await asyncio.sleep(BACKGROUND_SECONDS)
            await self.refresh()
