"""``BalancedTransport``: httpx requests to the instances of a ``LoadBalancer``.

On the path of a request: the client's middlewares and authentication come before, connections per
instance (``httpx.AsyncHTTPTransport``) after. Needs the extra ``client``; on asyncio only.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from types import TracebackType

from poruwa.app.load_balancer import LoadBalancer
from poruwa.app.ranges import check_ranges
from poruwa.app.route_latency import RouteLatency
from poruwa.clock import SystemClock
from poruwa.config.model import Hedge, Retry
from poruwa.errors import ConfigError
from poruwa.rules.latency import Patience
from poruwa.rules.retry import RetryBudget, is_failure_status

try:
    import httpx
except ModuleNotFoundError as error:
    raise ConfigError(
        "poruwa.BalancedTransport needs httpx, which is not installed; install poruwa[client]."
    ) from error

from poruwa.app.http_exchange import Exchange, SendRules
from poruwa.app.http_sender import HttpSender

DEFAULT_LIMITS = httpx.Limits(
    max_connections=100, max_keepalive_connections=100, keepalive_expiry=4.0
)
"""Per instance. Idle connections end below the 5 s after which uvicorn closes its side: a close
that crosses a POST makes it fail, for it may have been received."""

READ_SHARE = 0.5
"""Of the caller's read time-out, after which a try is late whatever was learned: a further one must
have its chance within it."""

_EVENT_STREAM = "text/event-stream"


class BalancedTransport(httpx.AsyncBaseTransport):
    """Sends each request of an ``httpx.AsyncClient`` to one of several instances of a service::

        transport = poruwa.BalancedTransport(["10.0.0.1:80", "10.0.0.2:80", "unix:/run/r.sock"])
        async with httpx.AsyncClient(transport=transport, base_url="http://reviews.internal") as c:
            reviews = (await c.get("/venues/7/reviews")).json()

    The Host header, and with https the name in the certificate, stay those of the URL. Requests
    that fail go to another instance within a budget, but never one that may have been received and
    is not safe to do twice: a POST or PATCH goes again only if no connection was made, or if it
    carries Idempotency-Key. Error statuses of ``retry.statuses`` are asked again once. A GET or
    HEAD that is slower than usual is sent to a second instance within a budget, and the first
    answer is taken: a frozen instance does not freeze the caller. The caller's time-outs hold for
    each try. A response holds its place in the balancer until closed. ``response.extensions`` has
    ``"poruwa.instance"`` and ``"poruwa.tries"``. Send long polls with the extension
    ``"poruwa.hedge": False``, which lets a slow one be, as ``Accept: text/event-stream`` does.

    Args:
        balancer: one, or the instances for one by least connections. Its background checks are
            its own: enter it with ``async with`` for those.
        retry, hedge: as a policy's ``[routes.retry]`` and ``[routes.hedge]``, same defaults.
        key: for the hash methods: what is hashed; the path by default.
        route: names the kind of a request, whose usual latency is learned; by default its method
            and the first part of its path.
        limits: of the connections to each instance.
        verify: for https: as in httpx.

    Raises:
        ConfigError: httpx is not installed, or a setting is outside its range.
    """

    def __init__(
        self,
        balancer: LoadBalancer | Sequence[str],
        *,
        retry: Retry | None = None,
        hedge: Hedge | None = None,
        key: Callable[[httpx.Request], str | bytes] | None = None,
        route: Callable[[httpx.Request], str] | None = None,
        limits: httpx.Limits = DEFAULT_LIMITS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        if not isinstance(balancer, LoadBalancer):
            balancer = LoadBalancer(balancer, method="least-connections")
        self.balancer = balancer
        self._retry = retry or Retry()
        self._hedge = hedge or Hedge()
        check_ranges(self._retry)
        check_ranges(self._hedge)
        self._sender = HttpSender(balancer, key=key or _path_of, limits=limits, verify=verify)
        self._route = route or _method_and_first_part
        self._clock = SystemClock().monotonic
        now = self._clock()
        self._latency = RouteLatency(self._hedge)
        self._retries = RetryBudget(self._retry.budget, self._retry.budget_minimum_per_second, now)
        self._hedges = RetryBudget(self._hedge.budget, 0.0, now)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` to an instance, and to others as the rules allow.

        Cancelling closes what is under way and gives every lease back.

        Raises:
            httpx.TransportError: as httpx does, of the last try.
        """
        route = self._route(request)
        rules = self._rules(request, route)
        self._retries.deposit()
        if rules.is_raced:
            self._hedges.deposit()
        exchange = Exchange(
            self._sender,
            request,
            rules,
            retries=self._retries,
            hedges=self._hedges,
            clock=self._clock,
        )
        winner = await exchange.answer()
        response = winner.task.result()
        if not is_failure_status(response.status_code):
            self._latency.record(route, self._clock() - winner.started_at)
        response.extensions["poruwa.instance"] = winner.lease.instance
        response.extensions["poruwa.tries"] = exchange.tries
        return response

    async def __aenter__(self) -> BalancedTransport:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections, after those of tries that lost. The balancer stays usable."""
        await self._sender.aclose()

    def _rules(self, request: httpx.Request, route: str) -> SendRules:
        is_small = (
            isinstance(request.stream, httpx.ByteStream)
            and len(request.content) <= self._retry.replay_body_bytes
        )
        return SendRules(
            method=request.method.encode("ascii"),
            is_keyed="idempotency-key" in request.headers,
            is_replayable=is_small,
            may_hedge=self._hedge.enabled,
            further_tries=self._retry.attempts,
            retried_statuses=self._retry.statuses,
            patience=_limited(self._latency.patience(route, self._clock()), request),
        )


def _limited(patience: Patience, request: httpx.Request) -> Patience | None:
    """Return the patience within the caller's read time-out; None to be as patient as the caller.

    Event streams are slow by nature and are waited for.
    """
    is_patient = request.extensions.get("poruwa.hedge") is False
    if is_patient or _EVENT_STREAM in request.headers.get("accept", ""):
        return None
    read = request.extensions.get("timeout", {}).get("read")
    if read is None:
        return patience
    return Patience(
        hedge_seconds=min(patience.hedge_seconds, READ_SHARE * read),
        try_seconds=min(patience.try_seconds, READ_SHARE * read),
    )


def _path_of(request: httpx.Request) -> str:
    return request.url.path


def _method_and_first_part(request: httpx.Request) -> str:
    return f"{request.method} {request.url.path.partition('/')[2].partition('/')[0]}"
