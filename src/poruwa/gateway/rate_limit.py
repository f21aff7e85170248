"""How many requests a client may make: the limits of routes, before cache and instance.

Place on the path: after the guard, before the gateway's own answers, so that a limited route of
files or of a redirect is counted like one of instances. What does not get through has 429 with
``Retry-After``, ``RateLimit`` and ``RateLimit-Policy``, and is never stored.

| request                              | counted by                                               |
|--------------------------------------|----------------------------------------------------------|
| GET and HEAD, stored or not          | this machine, in its shared memory (``rate_table``)      |
| any other                            | all machines, by the bus (``stores.rate_counter``)       |
| the same, without an answer of it    | this machine, from what it last knew (check 56)          |

The two count apart, so that reading uses up nobody's writes. Answers to requests that are not safe
say what is left; those to safe ones do not, since somebody may store them.

Reads are counted some at a time: a worker takes up to ``PREPAID_SHARE`` of a client's burst off the
table at once and lets so many pass by its own count, which costs a hit next to nothing. Stated
error: all workers together may let a client make that share too many at once, or, where its
connections go to other workers than before, as many too few; the steady rate is exact.

Per client: an address, or an IPv6 /64, as trusted hops say it. Per session: its cookie, unread; one
that was not seen before counts for its client as well, or made-up cookies would be a way around.
Per route: everybody together.

Preflights are not counted. A browser shows a page nothing of a preflight's answer: a 429 would look
like a broken network, without ``Retry-After``. No instance is asked for them, and the request that
follows is counted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from poruwa.config.model import Policy, RateKey, RateLimit, Route
from poruwa.gateway.rate_table import RateTable
from poruwa.gateway.shared_state import SharedState
from poruwa.rules.cookie import cookie_name, find_cookie
from poruwa.rules.cors import is_preflight
from poruwa.rules.rate_limit import Decision, client_bucket, quota_of, rate_limit_lines
from poruwa.rules.retry import SAFE_METHODS
from poruwa.stores.valkey_wire import Failure

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.stores.rate_counter import RateCounter

BUCKETS_HELD: Final = 10_000  # addresses, or sessions, that a worker knows by heart, of a limit
PREPAID_SHARE: Final = 1 / 8  # of a burst: taken off the table by all workers before its use

_log = structlog.get_logger(component="gateway")


class Bucket:
    """Whom requests count for, as a worker knows it.

    Attributes:
        prepaid: reads that are counted in the table and were not made yet.
    """

    __slots__ = ("key", "number", "prepaid")

    def __init__(self, key: bytes, number: int) -> None:
        self.key = key
        self.number = number
        self.prepaid = 0


class RateLimits:
    """What the limits of a worker count with.

    Attributes:
        counter: of all machines; None without a bus.
    """

    __slots__ = ("_shared", "counter", "table")

    def __init__(self, shared: SharedState, row: int) -> None:
        self._shared = shared
        self.table = RateTable(shared, row)
        self.counter: RateCounter | None = None

    def prepay(self, limit: GatewayLimit, bucket: Bucket, now: int) -> bool:
        """Count a read and some that follow; False where it has to be counted by itself."""
        count = int(limit.quota.burst * PREPAID_SHARE) // self._shared.row_count()
        if count < 2 or not self.table.prepay(bucket.number, limit.quota, count, now):
            return False
        bucket.prepaid = count - 1
        return True

    def decide(self, limit: GatewayLimit, number: int, beside: int) -> Decision:
        """Count a request on this machine.

        Args:
            beside: who counts for it besides, where ``number`` is not known yet; 0 for nobody.
        """
        table, now = self.table, time.monotonic_ns()
        if beside and not table.holds(number):
            decision = table.take(beside, limit.quota, now)
            if not decision.is_allowed:
                return decision
        return table.take(number, limit.quota, now)

    def decide_unsafe(self, limit: GatewayLimit, bucket: Bucket, beside: Bucket | None) -> Decision:
        """The same for a request that is not safe: reads use up nobody's writes."""
        return self.decide(
            limit, self._unsafe(bucket), 0 if beside is None else self._unsafe(beside)
        )

    def learn(self, bucket: Bucket, decision: Decision) -> None:
        """Remember what the bus says of a client's writes, for when it is away."""
        self.table.learn(self._unsafe(bucket), decision.reset_seconds, time.monotonic_ns())

    def _unsafe(self, bucket: Bucket) -> int:
        return self.table.number(b"unsafe\n" + bucket.key)


class GatewayLimit:
    """The limit of one route.

    Attributes:
        is_per_session: whether browsers with a session have a bucket of their own.
    """

    __slots__ = (
        "_clients",
        "_cookies",
        "_key",
        "_route",
        "_sessions",
        "is_per_session",
        "name",
        "quota",
    )

    def __init__(self, section: RateLimit, route: Route, policy: Policy) -> None:
        self.name = section.name
        self.quota = quota_of(section.requests, section.window_seconds, section.burst)
        self.is_per_session = section.per is RateKey.SESSION
        self._key = f"{section.name}\n{section.per}\n".encode()
        # Everybody's where the route is counted as one.
        self._route = (route.name or route.path) if section.per is RateKey.ROUTE else None
        self._clients: dict[str, Bucket] = {}
        self._sessions: dict[bytes, Bucket] = {}
        session, domain = policy.session, policy.cookies.domain
        # A browser keeps the prefixed name alone; over plain HTTP there is no other.
        self._cookies = tuple(
            cookie_name(
                session.cookie, secure=secure, http_only=True, domain=domain, path=session.path
            )
            for secure in (True, False)
        )

    def bucket(self, exchange: Exchange, table: RateTable) -> Bucket:
        """Return the bucket of a request's client, or the one of all."""
        address = exchange.client_address if self._route is None else self._route
        bucket = self._clients.get(address)
        if bucket is None:
            name = client_bucket(address) if self._route is None else address
            key = self._key + name.encode()
            bucket = Bucket(key, table.number(key))
            if len(self._clients) >= BUCKETS_HELD:
                self._clients.clear()
            self._clients[address] = bucket
        return bucket

    def session(self, exchange: Exchange, table: RateTable) -> Bucket | None:
        """Return the bucket of a request's session; None without one."""
        field = exchange.head.field(b"cookie") or b""
        for name in self._cookies:
            value = find_cookie(field, name)
            if value:
                bucket = self._sessions.get(value)
                if bucket is None:
                    key = self._key + b"cookie\n" + value
                    bucket = Bucket(key, table.number(key))
                    if len(self._sessions) >= BUCKETS_HELD:
                        self._sessions.clear()
                    self._sessions[value] = bucket
                return bucket
        return None

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

    __slots__ = ("_beside", "_bucket", "_exchange", "_limit")

    def __init__(
        self, exchange: Exchange, limit: GatewayLimit, bucket: Bucket, beside: Bucket | None
    ) -> None:
        self._exchange: Exchange | None = exchange
        self._limit = limit
        self._bucket = bucket
        self._beside = beside
        exchange.wait_for_word(self)

    def ask(self, counter: RateCounter) -> None:
        # The prefix keeps what the gateway counts apart from what apps do (``app.limits``).
        key = b"gateway\n" + self._bucket.key
        beside = None if self._beside is None else b"gateway\n" + self._beside.key
        counter.take(self._limit.quota, key, self._on_answer, beside=beside)

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
        if isinstance(answer, Failure):
            gateway.metrics.counted("limited_without_bus")
            answer = gateway.rate_limits.decide_unsafe(self._limit, self._bucket, self._beside)
        else:
            gateway.rate_limits.learn(self._bucket, answer)
        if not self._limit.settle(exchange, answer):
            gateway.go_on(exchange)


def limit_rate(exchange: Exchange) -> bool:
    """Count a request of a route that has a limit; answer it, or have it wait for the bus."""
    limit = exchange.route.limit
    if limit is None:
        return False
    rates = exchange.gateway.rate_limits
    bucket = limit.bucket(exchange, rates.table)
    beside: Bucket | None = None
    if limit.is_per_session:
        session = limit.session(exchange, rates.table)
        if session is not None:
            bucket, beside = session, bucket
    if exchange.is_safe or exchange.method in SAFE_METHODS:
        return not _is_read_let_in(exchange, limit, bucket, beside)
    if exchange.route.cors is not None and is_preflight(exchange.method, exchange.head.fields):
        return False
    if rates.counter is None:
        return limit.settle(exchange, rates.decide_unsafe(limit, bucket, beside))
    Asking(exchange, limit, bucket, beside).ask(rates.counter)
    return True


def _is_read_let_in(
    exchange: Exchange, limit: GatewayLimit, bucket: Bucket, beside: Bucket | None
) -> bool:
    if bucket.prepaid:
        bucket.prepaid -= 1
        return True
    rates = exchange.gateway.rate_limits
    is_known = beside is None or rates.table.holds(bucket.number)
    if is_known and rates.prepay(limit, bucket, time.monotonic_ns()):
        return True
    number = 0 if beside is None else beside.number
    return not limit.settle(exchange, rates.decide(limit, bucket.number, number))
