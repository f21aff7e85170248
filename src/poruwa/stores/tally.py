"""Counts of what is in demand, over all processes: cheap to add to, read back as a ranking.

Counted in the process and carried to the bus store in one batch every few seconds (write-behind):
no count waits for anything. One sorted set a day (UTC), which goes by itself after a week. What a
process has not carried when it dies is lost, and a batch of which the answer was lost may count
twice: it is a measure of demand, not an account.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from poruwa.config.model import ValkeyStore
from poruwa.stores.valkey_connection import make_client

CARRIED_SECONDS: Final = 5.0
KEPT_DAYS: Final = 7
RANKED: Final = 200
"""Names that a process knows the rank of, if it does not say otherwise."""
NAMES_HELD: Final = 20_000
"""Names that wait to be carried, at most: what comes while the store is away is bounded."""

_YESTERDAY: Final = 0.5  # what a count of yesterday weighs beside one of today
_log = logging.getLogger("poruwa.stores")


def tally_key(namespace: str, name: str) -> str:
    """Return the key of a tally's sorted sets, without the day."""
    return f"{{{namespace}}}:tally:{name}"


class Tally:
    """One ranking.

    Args:
        store: of the bus; None: this process counts for itself.
        key: of the sorted sets, without the day.
        ranked: names to know the rank of; 0: it is only counted here, the ranking stays empty.

    Attributes:
        ranking: the names most in demand, with what they count, as of the last look.
    """

    def __init__(self, store: ValkeyStore | None, key: str, *, ranked: int = RANKED) -> None:
        self.ranking: dict[str, float] = {}
        self._ranked = ranked
        self._store = store
        self._key = key
        self._waiting: dict[str, int] = {}
        self._client: Redis | None = None
        self._is_away = False

    def add(self, name: str, count: int = 1) -> None:
        """Count ``name``."""
        waiting = self._waiting
        if name in waiting or len(waiting) < NAMES_HELD:
            waiting[name] = waiting.get(name, 0) + count

    async def run(
        self,
        *,
        every_seconds: float = CARRIED_SECONDS,
        collect: Callable[[Tally], None] | None = None,
    ) -> None:
        """Carry counts and read the ranking, until cancelled; what waits then is carried still.

        Args:
            collect: called before each time to add what was counted elsewhere.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            await self.carry()
            # A client's own time-out can take the cancellation's place, and end as an error of the
            # store; asked here, it is not lost.
            while not task.cancelling():
                await asyncio.sleep(every_seconds)
                if collect is not None:
                    collect(self)
                await self.carry()
        finally:
            if collect is not None:
                collect(self)
            with suppress(RedisError, OSError):
                await self._send()
            if self._client is not None:
                await self._client.aclose()
                self._client = None

    async def carry(self) -> None:
        """Carry what waits and read the ranking; a store that is away is tried again later."""
        try:
            await self._send()
            await self._look()
            self._is_away = False
        except (RedisError, OSError) as error:
            if not self._is_away:
                _log.warning("counts wait until the bus answers: %s", error)
            self._is_away = True

    async def _send(self) -> None:
        if not self._waiting or self._store is None:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            pipeline = self._connected().pipeline(transaction=False)
            today = self._keys()[0]
            for name, count in waiting.items():
                pipeline.zincrby(today, count, name)
            pipeline.expire(today, timedelta(days=KEPT_DAYS + 1))
            await pipeline.execute()
        except BaseException:
            for name, count in waiting.items():
                self._waiting[name] = self._waiting.get(name, 0) + count
            raise

    async def _look(self) -> None:
        if not self._ranked:
            return
        if self._store is None:
            counts = dict(self._waiting)
            # Nobody takes them away: halving them lets what is no longer in demand go.
            self._waiting = {name: count // 2 for name, count in counts.items() if count > 1}
            merged = _merged([(1.0, counts.items()), (0.5, self.ranking.items())])
        else:
            pipeline = self._connected().pipeline(transaction=False)
            for key in self._keys():
                pipeline.zrange(key, 0, self._ranked - 1, desc=True, withscores=True)
            today, yesterday = await pipeline.execute()
            merged = _merged([(1.0, _texts(today)), (_YESTERDAY, _texts(yesterday))])
        best = sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))
        self.ranking = dict(best[: self._ranked])

    def _connected(self) -> Redis:
        if self._client is None:
            assert self._store is not None
            self._client = make_client(self._store, retries=0)  # again would be counted twice
        return self._client

    def _keys(self) -> tuple[str, str]:
        today = datetime.now(UTC).date()
        return f"{self._key}:{today}", f"{self._key}:{today - timedelta(days=1)}"


def _texts(pairs: Iterable[tuple[Any, float]]) -> Iterable[tuple[str, float]]:
    return ((name.decode("utf-8", "replace"), count) for name, count in pairs)


def _merged(parts: Iterable[tuple[float, Iterable[tuple[str, float]]]]) -> dict[str, float]:
    merged: dict[str, float] = {}
    for weight, pairs in parts:
        for name, count in pairs:
            merged[name] = merged.get(name, 0.0) + weight * count
    return merged
