"""Which listings people look at, and loading those again as soon as they have changed.

Views of pages and API answers that reach the application are counted here (``poruwa.Tally``),
those that the gateway answers from its cache by the gateway, as the policy's classes say
(``views``). What is asked for often is asked for again soon after each change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

from poruwa import Change, Tally

HOT: Final = 64
"""Listings that are loaded again at once when they change."""
RELOADS_AT_ONCE: Final = 2
"""Loads ahead of need at one time in one process: visitors come first."""
WAITING_MOST: Final = 32
"""Reloads that wait; more are left to who asks."""


class Demand:
    """Counts views and keeps the most viewed listings loaded.

    Args:
        tally: of the views, by the listing's tag.
        load: loads the listing of a tag into the caches.
    """

    def __init__(self, tally: Tally, load: Callable[[str], Awaitable[object]]) -> None:
        self.tally = tally
        self._load = load
        self._waiting: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def view(self, tag: str) -> None:
        """Count a view of ``venue:12`` or ``vendor:7``."""
        self.tally.add(tag)

    def note(self, change: Change) -> None:
        """Have what is hot of a change loaded again, once it is applied."""
        if change.soft or change.everything:
            return
        hot = frozenset(islice(self.tally.ranking, HOT))
        for name in change.tags:
            tag = name.decode("ascii", "replace")
            if tag in hot and len(self._waiting) < WAITING_MOST:
                self._waiting[tag] = None
        if self._waiting and len(self._tasks) < RELOADS_AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._reload())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what runs behind."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reload(self) -> None:
        while self._waiting:
            tag = next(iter(self._waiting))
            del self._waiting[tag]
            try:
                await self._load(tag)
            except Exception:  # noqa: S112 -- whoever needs it loads it, and hears why not
                continue
