"""What is refused for what it is, before the cache or an instance sees it.

Place on the path: fourth stage of the gateway, after the router, for whatever route was found and
for requests without one: also what is redirected, a preflight, or answered with a file.

| refused                                                       | with | counted as          |
|---------------------------------------------------------------|------|---------------------|
| what another site's page sent to change something             | 403  | `csrf-` and verdict |
| a WebSocket that another site's page opens                    | 403  | `csrf-` and verdict |
| a body of another type than the route's ``accepts`` names     | 415  | `type-not-accepted` |
| more cookies than a browser has of this site alone            | 431  | `too-many-cookies`  |
| a path below ``/_poruwa/``, but for the two that are for all  | 404  | `internal-path`     |

Where a request comes from is decided in ``poruwa.rules.csrf``. The one case in which a browser says
nothing but sends cookies is the app's to decide: it gets ``Poruwa-Csrf: token-needed`` (fields of
that kind are never taken from clients, ``net.http1``). Answers are not stored, nor is the cache
asked. Only under a policy (``gateway.guard``); a safe request without cookies costs two look-ups.

Sources: OWASP CSRF Prevention cheat sheet; ASVS 5.0 sections 3.5, 4.2.5, 4.4.2; RFC 6455 section
10.2; Fetch Metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from poruwa.config.model import Policy, Route
from poruwa.gateway.reports import take_report
from poruwa.net.head import COOKIE
from poruwa.rules.cookie import MAX_COOKIES, MAX_FIELD_BYTES, is_cookie_bomb
from poruwa.rules.csrf import (
    CsrfVerdict,
    WantedOrigins,
    origin_of,
)
from poruwa.rules.own_paths import REPORTS_PATH, SESSION_PATH, is_own_path
from poruwa.rules.routing import normalise_path

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.net.http1 import RequestHead

TOKEN_NEEDED_LINE: Final = b"Poruwa-Csrf: token-needed\r\n"
_COOKIE: Final = 1 << COOKIE
_LEAST_OF_A_BOMB: Final = MAX_COOKIES  # bytes: a cookie has one
_UNDERSCORE: Final = ord("_")
_SLASH: Final = ord("/")
_HOST_LINE: Final = b"X-Forwarded-Host: "

_log = structlog.get_logger(component="gateway")


class Guard:
    """What the requests of one route are held to.

    Attributes:
        accepts: media types of bodies, in lower case; empty for all.
        is_rewritten: whether another path than the client's goes to the instance.
    """

    __slots__ = (
        "_accept_line",
        "_is_csrf_checked",
        "_origins",
        "accepts",
        "is_rewritten",
    )

    def __init__(self, route: Route, policy: Policy) -> None:
        self.is_rewritten = route.rewrite is not None
        self.accepts = frozenset(each.lower().encode() for each in route.accepts)
        self._accept_line = b": " + ", ".join(route.accepts).encode() + b"\r\n"
        self._is_csrf_checked = policy.csrf.enabled
        self._origins = WantedOrigins(policy.csrf.trusted_origins, route.cors)

    def refuses(self, exchange: Exchange) -> bool:
        """Answer a request that is forged, or has a body of another type than the route takes."""
        if self._is_csrf_checked:
            verdict = self.verdict(exchange)
            if verdict.is_refused:
                _refuse(exchange, 403, "csrf-" + verdict.value)
                return True
            if verdict is CsrfVerdict.TOKEN_NEEDED:
                exchange.identity = exchange.identity_lines() + TOKEN_NEEDED_LINE
        if self.accepts and exchange.framing != 0:
            stated = exchange.head.field(b"content-type") or b""
            if stated.partition(b";")[0].strip(b" \t").lower() not in self.accepts:
                # What would be accepted: RFC 9110 section 15.5.16, RFC 5789 section 2.2.
                name = b"Accept-Patch" if exchange.method == b"PATCH" else b"Accept"
                exchange.response_lines += name + self._accept_line
                _refuse(exchange, 415, "type-not-accepted")
                return True
        return False

    def verdict(self, exchange: Exchange) -> CsrfVerdict:
        """Return what a request's fields say of where it comes from."""
        head = exchange.head
        return self._origins.judge(
            exchange.method,
            own_origin=own_origin(exchange),
            origin=head.field(b"origin"),
            fetch_site=head.field(b"sec-fetch-site"),
            has_cookies=head.has_any(_COOKIE),
            authorization=head.field(b"authorization"),
            is_handshake=exchange.is_upgrade,
        )


def guard_request(exchange: Exchange) -> bool:
    """Refuse what the module says."""
    guard = exchange.route.guard
    if guard is None:
        return False
    head = exchange.head
    if head.cookie_bytes >= _LEAST_OF_A_BOMB and has_too_many_cookies(head):
        _refuse(exchange, 431, "too-many-cookies")
        return True
    if may_be_own(exchange.path) and is_own_path(exchange.path):
        return answer_own_path(exchange)
    if guard.is_rewritten and _is_rewritten_to_own(exchange.target):
        _refuse(exchange, 404, "internal-path")
        return True
    return not exchange.is_safe and guard.refuses(exchange)


def may_be_own(path: bytes) -> bool:
    """Whether a path needs the look that ``is_own_path`` takes; for nearly none it does."""
    return len(path) > 1 and (path[1] == _UNDERSCORE or path[1] == _SLASH)


def answer_own_path(exchange: Exchange) -> bool:
    """Answer for a path of ours: two are for everybody, the others for this machine alone."""
    routes = exchange.gateway.routes
    if exchange.path == SESSION_PATH and exchange.is_safe:
        if routes.canonical_host(exchange.head.host) is not None:
            return False  # an alias's session is asked of its host: it is redirected, too
        route = routes.session_route(exchange.route)
        if route is not None:
            exchange.route = route  # not cached, whatever class its path would have
            return False
    if exchange.path == REPORTS_PATH and exchange.method == b"POST":
        return take_report(exchange)
    _refuse(exchange, 404, "internal-path")
    return True


def own_origin(exchange: Exchange) -> bytes:
    """Return ``scheme://host[:port]`` that a request was sent to, as browsers write origins.

    The host is the one that instances are told: a trusted hop's word for it, else the request's.
    """
    scheme = b"https" if exchange.is_secure else b"http"
    lines = exchange.forwarding
    at = lines.find(_HOST_LINE)
    if at < 0:
        host = exchange.head.host
    else:
        at += len(_HOST_LINE)
        host = lines[at : lines.find(b"\r\n", at)]
    return origin_of(scheme, host)


def has_too_many_cookies(head: RequestHead) -> bool:
    """Whether ``rules.cookie`` would not take a request's cookies: no honest browser sends them."""
    lines = head.line_count  # each could be a Cookie field, and a cookie
    if (
        head.cookie_bytes + 2 * lines <= MAX_FIELD_BYTES
        and head.raw.count(b";") + lines < MAX_COOKIES
    ):
        return False
    return is_cookie_bomb(head.field(b"cookie") or b"")


def _is_rewritten_to_own(target: bytes) -> bool:
    path = normalise_path(target.partition(b"?")[0])
    return path is None or is_own_path(path)


def _refuse(exchange: Exchange, status: int, reason: str) -> None:
    """Answer with an error page; count and log why."""
    exchange.gateway.metrics.refused(reason)
    _log.info(
        "refused",
        reason=reason,
        client=exchange.client_address,
        route=exchange.route.name,
        origin=_shown(exchange.head.field(b"origin")),
        request_id=exchange.request_id.decode(),
    )
    exchange.answer_error(status)


def _shown(origin: bytes | None) -> str | None:
    return None if origin is None else origin[:200].decode("latin-1")
