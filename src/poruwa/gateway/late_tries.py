"""Tries that are slower than usual: watched, hedged, given up.

Place on the path: beside it. A request costs an append when its try begins; a tick a hundred times
a second, while tries are under way, looks at those that have had no first byte for long. Then

1. after the route's hedge delay, a GET or HEAD is sent to another instance too, within the hedge
   budget, and the first answer wins;
2. after the route's try time-out, a try that is still alone is joined by another, within the retry
   budget. It is not cut off: a request that is slow by nature must not fail for it;
3. a try that another overtook counts as a failure of its instance when its time-out passes.

Both delays are learned from the route's answers (``rules.latency``). Never watched: uploads,
upgrades, event streams, routes without a first-byte time-out (long polls), and for a while paths
that were seen to be slow on two instances at a time. With one instance there is nobody else to ask.

Source: "The Tail at Scale" (Dean, Barroso, 2013).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from poruwa.config.model import Hedge
from poruwa.gateway.attempt import HEDGE, LATE, NEVER, Attempt
from poruwa.rules.retry import RetryBudget

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.gateway import Gateway
    from poruwa.gateway.routes import GatewayRoute

TICK_SECONDS = 0.01
SLOW_PATH_SECONDS = 10.0
SLOW_PATHS_KEPT = 1024
_EVENT_STREAM = b"text/event-stream"


class LateTries:
    """The tries of one worker that wait for a first byte.

    Args:
        gateway: whose metrics and retry budget are used.
        settings: of hedges.
    """

    __slots__ = (
        "_budget",
        "_gateway",
        "_is_enabled",
        "_is_ticking",
        "_launched",
        "_loop",
        "_slow_paths",
        "_watched",
    )

    def __init__(self, gateway: Gateway, settings: Hedge, loop: asyncio.AbstractEventLoop) -> None:
        self._gateway = gateway
        self._loop = loop
        self._is_enabled = settings.enabled
        # No minimum: hedges stay within their share however quiet the site is.
        self._budget = RetryBudget(settings.budget, 0.0, loop.time())
        self._launched: list[Attempt] = []  # since the last tick
        self._watched: list[Attempt] = []
        self._is_ticking = False
        self._slow_paths: dict[bytes, float] = {}

    def deposit(self) -> None:
        """Count one request for the hedge budget."""
        self._budget.deposit()

    def watch(self, attempt: Attempt, now: float) -> None:
        """Look after a try that has just begun."""
        exchange = attempt.exchange
        if exchange is None or not self._is_enabled or not attempt.pool.has_several:
            return
        route = exchange.route
        if not route.first_byte_seconds:
            return
        if self._slow_paths and self._slow_paths.get(exchange.path, 0.0) > now:
            return
        attempt.watch_at = now + route.hedge_seconds
        self._keep(attempt)

    def overtaken(self, attempt: Attempt, route: GatewayRoute) -> None:
        """Give a try that another overtook the rest of its time."""
        attempt.is_overtaken(attempt.started_at + route.try_seconds)
        self._keep(attempt)

    def act(self, exchange: Exchange, attempt: Attempt, now: float) -> None:
        """Ask another instance too, as far as budgets go."""
        gateway = self._gateway
        if _EVENT_STREAM in (exchange.head.field(b"accept") or b""):
            return
        if attempt.is_late:
            if (
                not exchange.has_others
                and exchange.tries < gateway.tries
                and exchange.add_try(LATE, now, self._take_retry)
            ):
                gateway.metrics.retried("late")
            return
        attempt.is_late = True
        attempt.watch_at = max(attempt.started_at + exchange.route.try_seconds, now + TICK_SECONDS)
        self._keep(attempt)
        if not exchange.has_others and exchange.tries < gateway.tries:
            if exchange.add_try(HEDGE, now, self._take_hedge):
                gateway.metrics.hedged("sent")
            else:
                gateway.metrics.hedged("not-sent")

    def is_slow_by_nature(self, path: bytes, now: float) -> None:
        """Leave a path alone for a while: two instances at a time were slow to answer it."""
        if len(self._slow_paths) >= SLOW_PATHS_KEPT:
            self._slow_paths.clear()
        self._slow_paths[path] = now + SLOW_PATH_SECONDS

    def _take_hedge(self, now: float) -> bool:
        return self._budget.take(now)

    def _take_retry(self, now: float) -> bool:
        return self._gateway.take_retry()

    def _keep(self, attempt: Attempt) -> None:
        self._launched.append(attempt)
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """Act on what is overdue; go on ticking while anything is watched."""
        now = self._loop.time()
        launched, self._launched = self._launched, []
        watched = [each for each in self._watched if each.watch_at != NEVER]
        for each in launched:
            if each.watch_at != NEVER:
                watched.append(each)
        self._watched = watched
        for each in watched:
            if each.watch_at <= now:
                each.overdue(now)
        for pool in self._gateway.pools.values():
            pool.publish_answers()
        if launched or watched:
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._is_ticking = False
