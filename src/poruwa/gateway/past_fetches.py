"""Fetches past the cache, each for all who came before it began.

While a worker cannot know what has changed, nobody may join what is under way: it may have been
answered before the change that the newcomer knows of. But who waits for the *next* fetch of a page
gets what is no older than their request. So of one page one fetch is under way at a time, and those
who come meanwhile share the one after it. A page that a thousand ask for costs the origin two
fetches at a time instead of a thousand, just when the cache does not help it. Nobody waits longer
than ``SHARE_SECONDS`` for a fetch to begin, however slow the one before is. (Without it, instances
that are late with their leases get every request there is, and stay late: seen in the checker.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from poruwa.gateway.fill import Fill
from poruwa.rules.coherence_fields import take_position

if TYPE_CHECKING:
    from poruwa.gateway.cache import CachePlan, GatewayCache
    from poruwa.gateway.exchange import Exchange

SHARE_SECONDS: Final = 0.5


class PastFetches:
    """The fetches past the cache of one worker."""

    __slots__ = ("_cache", "_loop", "_under_way")

    def __init__(self, cache: GatewayCache, loop: asyncio.AbstractEventLoop) -> None:
        self._cache = cache
        self._loop = loop
        self._under_way: dict[bytes, PastFetch] = {}

    def ask(self, exchange: Exchange, plan: CachePlan) -> None:
        """Have the origin asked for a request, now or together with others in a moment."""
        waiter = PastWaiter(exchange, plan)
        fetch = self._under_way.get(plan.key)
        if fetch is None:
            self._begin([waiter])
            return
        waiter.queue = fetch.waiting
        fetch.waiting.append(waiter)
        exchange.wait_for_fill(waiter)
        if fetch.timer is None:
            fetch.timer = self._loop.call_later(SHARE_SECONDS, self._begin, fetch.waiting)

    def on_ended(self, fill: Fill) -> None:
        """Begin the next fetch, if somebody waits for it. May be told more than once."""
        key = fill.plan.key
        fetch = self._under_way.get(key)
        if fetch is None or fetch.fill is not fill:
            return
        del self._under_way[key]
        if fetch.timer is not None:
            fetch.timer.cancel()
            self._loop.call_soon(self._begin, fetch.waiting)

    def _begin(self, waiting: list[PastWaiter]) -> None:
        """Fetch for all of ``waiting``; for none where all have gone."""
        if not waiting:
            return
        # The instance is told the latest position that one of them has seen.
        leader = max(waiting, key=_position)
        cache = self._cache
        fill = Fill(cache, leader.plan, None, as_of=cache.changes.position, is_listed=False)
        fill.is_bypass = True
        self._under_way[leader.plan.key] = PastFetch(fill)
        for waiter in waiting:
            waiter.exchange.leave_fill()
            fill.join(waiter.exchange, waiter.plan)
        fill.begin(leader.exchange, b"")


class PastFetch:
    """A fetch under way, and who waits for the next; ``timer`` is set while somebody does."""

    __slots__ = ("fill", "timer", "waiting")

    def __init__(self, fill: Fill) -> None:
        self.fill = fill
        self.waiting: list[PastWaiter] = []
        self.timer: asyncio.TimerHandle | None = None


class PastWaiter:
    """A request that waits for a fetch to begin; its exchange's sender until then."""

    __slots__ = ("exchange", "plan", "queue")

    def __init__(self, exchange: Exchange, plan: CachePlan) -> None:
        self.exchange = exchange
        self.plan = plan
        self.queue: list[PastWaiter] = []

    def set_writable(self, *, writable: bool) -> None:
        """Nothing is being sent."""

    def cancel(self) -> None:
        """The client is gone."""
        if self in self.queue:
            self.queue.remove(self)


def _position(waiter: PastWaiter) -> int:
    return take_position(waiter.exchange.identity)[1]
