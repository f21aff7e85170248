"""``platform.limiter(name)``: an app counts what the gateway cannot see, such as tries per account.

The figures are those of ``[rate_limits.NAME]``. Counted exactly over all processes and machines by
the bus's server (``stores.rate_counter``); while it is away each process counts for itself, from
what it last knew, so that many processes together may let more through (check 56). Nobody is
refused because the bus is away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from poruwa.config.model import RateLimit, ValkeyStore
from poruwa.config.problems import nearest
from poruwa.errors import ConfigError
from poruwa.rules.rate_limit import Decision, decide, quota_of, rate_limit_fields
from poruwa.stores.rate_counter import RateCounter
from poruwa.stores.valkey_wire import Failure

KEYS_HELD: Final = 20_000
"""Whom one process knows by itself, of a limit; whoever was counted longest ago is forgotten."""


class Limiter:
    """One limit, for whatever keys the app thinks of.

    Attributes:
        name: of the limit.
        quota: its figures.
        counts: requests by what came of them: ``allowed``, ``refused``, and ``alone`` for those of
            either kind that were decided without the bus.
    """

    __slots__ = ("_arrivals", "_limits", "counts", "name", "quota")

    def __init__(self, section: RateLimit, limits: Limits) -> None:
        self.name = section.name
        self.quota = quota_of(section.requests, section.window_seconds, section.burst)
        self.counts = {"allowed": 0, "refused": 0, "alone": 0}
        self._limits = limits
        self._arrivals: OrderedDict[str, float] = OrderedDict()  # TAT, monotonic

    async def take(self, key: str, *, cost: int = 1) -> Decision:
        """Count a request of ``key``; return whether it is taken, and if not, for how long.

        Takes 0.25 s at most, with the bus frozen, and no time while it is known to be away.
        Cancelling does not take it back. ``fields`` makes the fields of an answer from what is
        returned; its ``arrival`` is of the clock that counted.

        Args:
            key: whom to count: an account, a source. Kept as a hash on the bus.
            cost: 1 or more; more than the burst is never taken.
        """
        counter = self._limits.counter
        decision: Decision | Failure = Failure.REFUSED
        if counter is not None:
            decision = await counter.taken(self.quota, f"{self.name}\n{key}".encode(), cost=cost)
        now = monotonic()
        if isinstance(decision, Failure):
            self.counts["alone"] += 1
            decision = decide(self.quota, self._arrivals.get(key, 0.0), now, cost=cost)
        self._remember(key, now + decision.reset_seconds)
        self.counts["allowed" if decision.is_allowed else "refused"] += 1
        return decision

    def fields(self, decision: Decision) -> dict[str, str]:
        """Return ``RateLimit``, ``RateLimit-Policy`` and, for a refusal, ``Retry-After``."""
        return rate_limit_fields(self.name, self.quota, decision)

    def _remember(self, key: str, arrival: float) -> None:
        self._arrivals[key] = arrival
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > KEYS_HELD:
            self._arrivals.popitem(last=False)


class Limits:
    """Every limit of a policy.

    Args:
        store: of the bus; None: this process counts for itself.
        namespace: of its keys.

    Attributes:
        counter: None outside of ``running`` and without a bus.
    """

    def __init__(
        self, sections: Iterable[RateLimit], store: ValkeyStore | None, namespace: str
    ) -> None:
        self.counter: RateCounter | None = None
        self._store = store
        self._namespace = namespace
        self._limiters = {section.name: Limiter(section, self) for section in sections}

    def limiter(self, name: str) -> Limiter:
        """Return the limit ``[rate_limits.NAME]``.

        Raises:
            ConfigError: there is none.
        """
        limiter = self._limiters.get(name)
        if limiter is None:
            hint = nearest(name, self._limiters)
            raise ConfigError(f"there is no [rate_limits.{name}]; {hint}")
        return limiter

    def stats(self) -> dict[str, dict[str, int]]:
        """Return what came of requests, by limit."""
        return {name: dict(limiter.counts) for name, limiter in self._limiters.items()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Count together with all others; connects with the first request that is counted."""
        if self._store is None or not self._limiters:
            yield
            return
        self.counter = counter = RateCounter(self._store, self._namespace)
        try:
            yield
        finally:
            self.counter = None
            await counter.close()
