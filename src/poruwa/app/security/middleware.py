"""``SecurityMiddleware``: sessions, forged requests and security fields, around any ASGI app.

On a request's path this stands outermost but for what compresses. It reads the session cookie
(``session_of`` gives handlers what it says), refuses requests that other sites' pages made, and
writes the cookie's next token on the way out, on responses that no shared cache may keep alone.

Behind a Poruwa gateway much is decided before: it has refused what browsers say is of another site,
and says in ``Poruwa-Csrf`` where a token must be seen; it adds the security fields. Used alone, the
middleware does both itself. Around the whole app, the answers to its failures carry them, too::

    app = SecurityMiddleware(
        Starlette(routes=routes),
        sessions=Sessions.alone("my-site", "env:SESSION_KEYS"),
        fields=SecurityFields(Headers(), domain="my-site.example"),
    )

Revocations are then of this process alone, until ``sessions.revocations.connect``. Routes, cookies
and limits of a policy file come by ``Platform.install``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poruwa.app.security.own_origin import checked_origin, sent_to, trusted_networks
from poruwa.app.security.request_body import has_body, once_more, read_body
from poruwa.app.security.request_security import SCOPE_KEY, RequestSecurity
from poruwa.app.security.response_fields import (
    Fields,
    field_of_line,
    forbid_storing,
    may_set_cookie,
    says_who_may_store,
    sets_cookie,
)
from poruwa.app.security.route_rules import RouteLookup, RouteRule, RouteRules
from poruwa.app.security.sessions import NoSession, Session, Sessions
from poruwa.errors import ErrorSource, PoruwaError
from poruwa.rules.cookie import TooManyCookies
from poruwa.rules.csrf import (
    SAFE_METHODS,
    CsrfVerdict,
    WantedOrigins,
    origin_of,
)
from poruwa.rules.security_headers import SecurityFields

GATEWAY_VERDICT: Final = b"poruwa-csrf"
TOKEN_NEEDED: Final = b"token-needed"
_STARTS: Final = frozenset(("http.response.start", "websocket.http.response.start"))
_SHOWN_CHARACTERS: Final = 200
_FORM: Final = b"application/x-www-form-urlencoded"

FOREIGN: Final = "This request comes from another site."
UNKNOWN_ORIGIN: Final = "This browser does not say which page the form was on; use a newer one."
NO_TOKEN: Final = "Reload the page and send the form again: its token is missing or too old."  # noqa: S105
TOO_LARGE: Final = "The form is too large."
TWO_READINGS: Final = "This address could be read in two ways."
WRONG_TYPE: Final = "A body of this type is not taken here."

_NO_OTHERS: Final = WantedOrigins((), None)

_logger = logging.getLogger("poruwa.app")


class SecurityMiddleware:
    """Validates sessions, refuses forged requests, sets security fields.

    A request that changes something is taken from the site's own pages alone. Where a browser does
    not say where it is from, a form of somebody signed in carries a token (a field of a urlencoded
    form, or a header); without a session there is none, and the request is refused: that is how a
    forged sign-in would look like. Programs that send no cookies are not asked.

    Args:
        app: any ASGI app.
        sessions: None for an app without any.
        is_csrf_checked: False for an API without cookies.
        token_header: where scripts put the token.
        token_field: where forms put it.
        own_origin: ``https://host[:port]`` of the site; None to go by the request's own.
        trusted: further origins whose pages may send forms.
        fields: of every response; None where a gateway sets them, or ``routes`` says them.
        routes: what a policy says of each route.
        proxies: addresses, networks and ``"unix"``: peers whose word on the site's host and scheme
            counts (``X-Forwarded-Host``, ``-Proto``, ``Forwarded``). A server that reads these
            itself and puts the client's address in the peer's place (uvicorn: ``--proxy-headers``)
            hides the peer; then name ``own_origin``.

    Attributes:
        is_alone: no gateway stands before: it sets the security fields.

    Raises:
        ConfigError: an origin or a network that is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions | None = None,
        is_csrf_checked: bool = True,
        token_header: str = "X-CSRF-Token",  # noqa: S107
        token_field: str = "csrf_token",  # noqa: S107
        own_origin: str | None = None,
        trusted: Iterable[str] = (),
        fields: SecurityFields | None = None,
        routes: RouteRules | None = None,
        proxies: Iterable[str] = (),
    ) -> None:
        self.app = app
        self._sessions = sessions
        self._is_csrf_checked = is_csrf_checked
        self._token_header = token_header.lower().encode()
        self._token_field = token_field
        self._own_origin = None if own_origin is None else checked_origin(own_origin, "own_origin")
        self._trusted = frozenset(checked_origin(each, "trusted") for each in trusted)
        self._fields = fields
        self._routes = routes
        self._proxies = trusted_networks(proxies)
        self.is_alone = fields is not None or (routes is not None and not routes.has_gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _fields_of(scope)
        route = None if self._routes is None else RouteLookup(self._routes, scope, headers)
        answer = _Answer(self, scope, headers, send, route)
        try:
            if self.is_alone and route is not None and route.rule is None:
                await answer.refuse(400, TWO_READINGS)
                return
            known = await self.validate_session(headers)
            known.route, known.fields = route, self._fields
            scope[SCOPE_KEY] = answer.known = known
            refusal, receive = await self.csrf_protection(scope, headers, known, receive)
            if refusal is not None:
                await answer.refuse(403, refusal)
                return
            if route is not None and route.rules.judges_bodies:
                is_taken, receive = await _takes_body(route.rule_or_site, scope, headers, receive)
                if not is_taken:
                    # RFC 9110 section 15.5.16: what would be accepted.
                    accept = (b"accept", route.rule_or_site.accept)
                    await answer.refuse(415, WRONG_TYPE, accept)
                    return
            await self.app(scope, receive, answer.send)
        except TooManyCookies:
            await answer.refuse(431, "This browser sends too many cookies.")
        except PoruwaError as error:
            # Of ours: revocations that cannot be known. Or of the app, where it has no own answer:
            # a sign-out that cannot be told to everybody.
            if error.source is not ErrorSource.STORE or answer.has_begun:
                raise
            _logger.warning("%s: %s", _shown(scope), error.message)
            await answer.refuse(error.status_hint, error.message)

    async def validate_session(self, headers: dict[bytes, bytes]) -> RequestSecurity:
        """Return what the session cookie of a request says.

        Args:
            headers: by name in lower case.

        Raises:
            TooManyCookies, RevocationsUnknown: as ``Sessions.of``.
        """
        sessions = self._sessions
        cookies = headers.get(b"cookie")
        if sessions is None or cookies is None:
            return RequestSecurity(None, NoSession.NO_COOKIE, sessions)
        found = await sessions.of(cookies)
        if isinstance(found, Session):
            return RequestSecurity(found, None, sessions)
        return RequestSecurity(None, found, sessions)

    async def csrf_protection(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        known: RequestSecurity,
        receive: Receive,
    ) -> tuple[str | None, Receive]:
        """Return why a request is refused (None if it is not), and what to receive its body by."""
        if not self._is_csrf_checked:
            return None, receive
        is_handshake = scope["type"] == "websocket"
        method = b"GET" if is_handshake else scope["method"].encode()
        if method in SAFE_METHODS and not is_handshake:
            return None, receive
        own = self._own_origin
        if own is None:
            own = origin_of(*sent_to(scope, headers, self._proxies))
        origins = _NO_OTHERS if known.route is None else known.route.rule_or_site.origins
        verdict = origins.judge(
            method,
            own_origin=own,
            origin=headers.get(b"origin"),
            fetch_site=headers.get(b"sec-fetch-site"),
            has_cookies=b"cookie" in headers,
            authorization=headers.get(b"authorization"),
            is_handshake=is_handshake,
            further=self._trusted,
        )
        if headers.get(GATEWAY_VERDICT) == TOKEN_NEEDED and not verdict.is_refused:
            verdict = CsrfVerdict.TOKEN_NEEDED
        if verdict.is_refused:
            _logger.warning("refused as forged: %s (%s)", _shown(scope), verdict.value)
            return FOREIGN, receive
        if verdict is not CsrfVerdict.TOKEN_NEEDED:
            return None, receive
        if known.session is None or is_handshake:
            return UNKNOWN_ORIGIN, receive
        return await self._check_token(headers, known.session, receive)

    async def _check_token(
        self, headers: dict[bytes, bytes], session: Session, receive: Receive
    ) -> tuple[str | None, Receive]:
        assert self._sessions is not None
        token = headers.get(self._token_header, b"").decode("latin-1")
        if not token and _media_type(headers) == _FORM:
            body = await read_body(receive)
            if body is None:
                return TOO_LARGE, receive
            receive = once_more({"type": "http.request", "body": body, "more_body": False}, receive)
            try:
                form = dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=1000))
            except ValueError:
                return NO_TOKEN, receive
            token = form.get(self._token_field, "")
        is_good = self._sessions.is_csrf_token_good(session, token)
        return None if is_good else NO_TOKEN, receive

    def set_security_headers(
        self, headers: Fields, *, is_secure: bool, route: RouteLookup | None = None
    ) -> Fields:
        """Return a response's fields with the policy's; the stricter value of two stands."""
        fields = self._fields
        if fields is None and self.is_alone and route is not None:
            fields = route.rule_or_site.fields
        if fields is None:
            return headers
        own: dict[bytes, bytes] = {}
        for name, value in headers:
            name = name.lower()
            if name in fields.names:
                own[name] = own[name] + b", " + value if name in own else value
        lines = fields.lines_beside(own, is_secure=is_secure)
        kept = [each for each in headers if each[0].lower() not in fields.names]
        return kept + [field_of_line(line) for line in lines.split(b"\r\n") if line]

    async def on_start(
        self, scope: Scope, known: RequestSecurity, status: int, headers: Fields
    ) -> None:
        """Add the cookies that a response is to set, in place.

        What a handler set (a session that begins or ends) makes the response one person's: it is
        marked ``no-store``, and so is one that would be shared, with a cookie that the app sets by
        other means. A renewal is worth nothing of that kind; it waits for a response that no shared
        cache may keep. Without a gateway, whose classes say what is kept and how long, a response
        to somebody signed in that says nothing of it is ``private``.
        """
        if known.lines:
            forbid_storing(headers)
            headers += [field_of_line(line) for line in known.lines]
            return
        if sets_cookie(headers) and not may_set_cookie(scope, status, headers):
            forbid_storing(headers)
        session, sessions = known.session, self._sessions
        if session is None or sessions is None:
            return
        if self.is_alone and not says_who_may_store(headers):
            headers.append((b"cache-control", b"private"))
        if not may_set_cookie(scope, status, headers):
            return
        await sessions.touch(session)
        line = sessions.renewal(session)
        if line is not None:
            headers.append(field_of_line(line))

    def is_secure(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether the client's connection is over TLS: its own, or a trusted hop's word for it."""
        return sent_to(scope, headers, self._proxies)[0] == b"https"


class _Answer:
    """One response on its way: gets its cookies and its fields."""

    __slots__ = ("_headers", "_middleware", "_route", "_scope", "_send", "has_begun", "known")

    def __init__(
        self,
        middleware: SecurityMiddleware,
        scope: Scope,
        headers: dict[bytes, bytes],
        send: Send,
        route: RouteLookup | None,
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._headers = headers
        self._send = send
        self._route = route
        self.has_begun = False
        self.known: RequestSecurity | None = None

    async def send(self, message: Message) -> None:
        """Take one message of the app."""
        if message["type"] in _STARTS:
            middleware, scope = self._middleware, self._scope
            headers = list(message.get("headers", ()))
            if self.known is not None and scope["type"] == "http":
                await middleware.on_start(scope, self.known, message["status"], headers)
            if middleware.is_alone:
                is_secure = middleware.is_secure(scope, self._headers)
                headers = middleware.set_security_headers(
                    headers, is_secure=is_secure, route=self._route
                )
            message = {**message, "headers": headers}
        self.has_begun = True
        await self._send(message)

    async def refuse(self, status: int, text: str, *fields: tuple[bytes, bytes]) -> None:
        """Answer with an error of ours; it sets no cookie."""
        self.known = None
        if self._scope["type"] == "websocket":  # before it is accepted: 403 to the client
            await self._send({"type": "websocket.close", "code": 1008, "reason": text})
            return
        body = json.dumps({"type": "about:blank", "status": status, "title": text}).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *fields,
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if status == 431:  # else the browser could never come back
            headers.append((b"clear-site-data", b'"cookies"'))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return a request's fields; several Cookie lines are one (RFC 9113 section 8.2.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in fields:
            fields[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            fields[name] = value
    return fields


def _shown(scope: Scope) -> str:
    """Return method and path for the log: as repr writes it, on one line whatever was encoded."""
    method = scope.get("method", "WS")
    return f"{method} {scope['path'][:_SHOWN_CHARACTERS]!r}"


async def _takes_body(
    rule: RouteRule, scope: Scope, headers: dict[bytes, bytes], receive: Receive
) -> tuple[bool, Receive]:
    """Return whether a route takes the body of a request, and what to receive it by."""
    if not rule.accepts or scope["type"] == "websocket":
        return True, receive
    if scope["method"].encode() in SAFE_METHODS or _media_type(headers) in rule.accepts:
        return True, receive
    is_there, receive = await has_body(headers, receive)
    return not is_there, receive


def _media_type(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()
