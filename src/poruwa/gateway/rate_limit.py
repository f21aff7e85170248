"""How many requests a client may make: the limits of routes, before cache and instance.

Place on the path: after the guard. What does not get through has 429 with ``Retry-After``,
``RateLimit`` and ``RateLimit-Policy``, and is never stored.

| request                              | counted by                                               |
|--------------------------------------|----------------------------------------------------------|
| safe (GET, HEAD, ...), stored or not | this machine, in its shared memory (``rate_table``)      |
| any other                            | all machines, by the bus (``stores.rate_counter``)       |
| the same, without an answer of it    | this machine, from what it last knew (check 56)          |

The two count apart, so that reading uses up nobody's writes. Answers to requests that are not safe
say what is left; those to safe ones do not, since somebody may store them.

Per client: an address, or an IPv6 /64, as trusted hops say it. Per session: its cookie, unread; one
that was not seen before counts for its client as well, or made-up cookies would be a way around.
Per route: everybody together. Files, redirects and preflights, which the router answers, are not
counted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from poruwa.config.model import Policy, RateKey, RateLimit, Route
from poruwa.gateway.rate_table import RateTable
from poruwa.gateway.shared_state import SharedState
from poruwa.rules.affinity import find_cookie
from poruwa.rules.cookie import cookie_name
from poruwa.rules.rate_limit import Decision, client_bucket, quota_of, rate_limit_lines
from poruwa.rules.retry import SAFE_METHODS
from poruwa.stores.rate_counter import RateCounter
from poruwa.stores.valkey_wire import Failure

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

BUCKETS_HELD: Final = 10_000  # addresses whose bucket a worker knows by heart, of a limit

_log = structlog.get_logger(component="gateway")


class RateLimits:
    """What the limits of a worker count with.

    Attributes:
        counter: of all machines; None without a bus.
    """

    __slots__ = ("counter", "table")

    def __init__(self, shared: SharedState, row: int) -> None:
        self.table = RateTable(shared, row)
        self.counter: RateCounter | None = None

    def decide(self, limit: GatewayLimit, key: bytes, beside: bytes | None) -> Decision:
        """Count a request on this machine."""
        table, now = self.table, time.monotonic_ns()
        number = table.number(key)
        if beside is not None and not table.holds(number):
            decision = table.take(table.number(beside), limit.quota, now)
            if not decision.is_allowed:
                return decision
        return table.take(number, limit.quota, now)

    def learn(self, key: bytes, decision: Decision) -> None:
        """Remember what the bus says of a client, for when it is away."""
        self.table.learn(self.table.number(key), decision.reset_seconds, time.monotonic_ns())


class GatewayLimit:
    """The limit of one route."""

    __slots__ = ("_buckets", "_cookies", "_key", "_per", "name", "quota")

    def __init__(self, section: RateLimit, route: Route, policy: Policy) -> None:
        self.name = section.name
        self.quota = quota_of(section.requests, section.window_seconds, section.burst)
        self._per = section.per
        self._key = f"{section.name}\n{section.per}\n".encode()
        if section.per is RateKey.ROUTE:
            self._key += (route.name or route.path).encode()
        self._buckets: dict[str, bytes] = {}
        session, domain = policy.session, policy.cookies.domain
        # A browser keeps the prefixed name alone; over plain HTTP there is no other.
        self._cookies = tuple(
            cookie_name(
                session.cookie, secure=secure, http_only=True, domain=domain, path=session.path
            )
            for secure in (True, False)
        )

    def keys(self, exchange: Exchange) -> tuple[bytes, bytes | None]:
        """Return whom a request counts for, and whom beside where that is not known yet."""
        if self._per is RateKey.ROUTE:
            return self._key, None
        address = exchange.client_address
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_HELD:
                self._buckets.clear()
            self._buckets[address] = bucket = self._key + client_bucket(address).encode()
        if self._per is RateKey.SESSION:
            field = exchange.head.field(b"cookie") or b""
            for name in self._cookies:
                value = find_cookie(field, name) if name in field else None
                if value:
                    return self._key + b"cookie\n" + value, bucket
        return bucket, None

    def settle(self, exchange: Exchange, decision: Decision) -> bool:
        """Answer a request that is refused; else say what is left, where nobody stores it."""
        if decision.is_allowed:
            if exchange.method not in SAFE_METHODS:
                exchange.response_lines += rate_limit_lines(self.name, self.quota, decision)
            return False
        gateway = exchange.gateway
        gateway.metrics.refused(f"limit-{self.name}")
        _log.info(
            "refused",
            reason=f"limit-{self.name}",
            client=exchange.client_address,
            route=exchange.route.name,
            retry_seconds=round(decision.retry_seconds, 3),
            request_id=exchange.request_id.decode(),
        )
        exchange.response_lines += rate_limit_lines(self.name, self.quota, decision)
        exchange.answer_error(429)
        return True


class Asking:
    """A request that waits for what the bus says of it; the ``Sender`` of its exchange."""

    __slots__ = ("_beside", "_exchange", "_key", "_limit")

    def __init__(
        self, exchange: Exchange, limit: GatewayLimit, key: bytes, beside: bytes | None
    ) -> None:
        self._exchange: Exchange | None = exchange
        self._limit = limit
        self._key = key
        self._beside = beside
        exchange.wait_for_word(self)

    def ask(self, counter: RateCounter) -> None:
        # The prefix keeps what the gateway counts apart from what apps do (``app.limits``).
        beside = None if self._beside is None else b"gateway\n" + self._beside
        counter.take(self._limit.quota, b"gateway\n" + self._key, self._on_answer, beside=beside)

    def set_writable(self, *, writable: bool) -> None:
        """Nothing is sent yet."""

    def cancel(self) -> None:
        """The exchange ended: its client went away."""
        self._exchange = None

    def _on_answer(self, answer: Decision | Failure) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.leave_fill()
        gateway = exchange.gateway
        # Writes are counted apart from reads here as well.
        key, beside = b"unsafe\n" + self._key, self._beside
        if isinstance(answer, Failure):
            gateway.metrics.counted("limited_without_bus")
            beside = None if beside is None else b"unsafe\n" + beside
            answer = gateway.rate_limits.decide(self._limit, key, beside)
        else:
            gateway.rate_limits.learn(key, answer)
        if not self._limit.settle(exchange, answer):
            gateway.go_on(exchange)


def limit_rate(exchange: Exchange) -> bool:
    """Count a request of a route that has a limit; answer it, or have it wait for the bus."""
    limit = exchange.route.limit
    if limit is None:
        return False
    key, beside = limit.keys(exchange)
    rates = exchange.gateway.rate_limits
    if exchange.method in SAFE_METHODS:
        return limit.settle(exchange, rates.decide(limit, key, beside))
    if rates.counter is None:
        beside = None if beside is None else b"unsafe\n" + beside
        return limit.settle(exchange, rates.decide(limit, b"unsafe\n" + key, beside))
    Asking(exchange, limit, key, beside).ask(rates.counter)
    return True
