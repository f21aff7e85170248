"""``SecurityMiddleware``: sessions, forged requests and security fields, around any ASGI app.

On a request's path this stands outermost but for what compresses. It reads the session cookie
(``session_of`` gives handlers what it says), refuses requests that other sites' pages made, and
writes the cookie's next token on the way out, on responses that no shared cache may keep alone.

Behind a Poruwa gateway much is decided before: it has refused what browsers say is of another site,
and says in ``Poruwa-Csrf`` where a token must be seen; it adds the security fields. Used alone, the
middleware does both itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poruwa.app.security.revocations import RevocationsUnknown
from poruwa.app.security.sessions import NoSession, Session, Sessions
from poruwa.rules.affinity import may_carry_cookie
from poruwa.rules.cookie import TooManyCookies
from poruwa.rules.csrf import CsrfTokens, CsrfVerdict, judge_origin
from poruwa.rules.security_headers import SecurityFields
from poruwa.rules.session import SessionRefusal

SESSION_PATH: Final = "/_poruwa/session"
GATEWAY_VERDICT: Final = b"poruwa-csrf"
TOKEN_NEEDED: Final = b"token-needed"
MAX_FORM_BYTES: Final = 1 << 20
_SCOPE_KEY: Final = "poruwa.security"
_OF_LIFETIME: Final = frozenset((b"cache-control", b"cdn-cache-control", b"expires"))
_FORM: Final = b"application/x-www-form-urlencoded"

_logger = logging.getLogger("poruwa.app")

Badges = Callable[[Session], Awaitable[dict[str, Any]]]
"""What a site says of somebody signed in, beside who: ``{"shortlist": 3}``."""


@dataclass(slots=True)
class RequestSecurity:
    """What is known of one request, and what its response is to set."""

    session: Session | None
    reason: NoSession | SessionRefusal | None
    lines: list[bytes] = field(default_factory=list)
    token: str | None = None

    def set_cookie(self, line: bytes) -> None:
        """Have the response carry a Set-Cookie line; the last of a cookie stands."""
        name = line.partition(b"=")[0]
        self.lines = [each for each in self.lines if each.partition(b"=")[0] != name]
        self.lines.append(line)


def security_of(connection: HTTPConnection) -> RequestSecurity:
    """Return what is known of a request.

    Raises:
        RuntimeError: the middleware is not installed.
    """
    found = connection.scope.get(_SCOPE_KEY)
    if not isinstance(found, RequestSecurity):
        raise RuntimeError("install SecurityMiddleware: platform.install(app) does")
    return found


def session_of(connection: HTTPConnection) -> Session | None:
    """Return the valid session of a request; None for somebody who is not signed in."""
    return security_of(connection).session


def csrf_token_of(connection: HTTPConnection) -> str:
    """Return the token for the forms of a page; empty without a session.

    Raises:
        RuntimeError: the middleware is not installed.
    """
    return security_of(connection).token or ""


class SecurityMiddleware:
    """Validates sessions, refuses forged requests, sets security fields.

    Args:
        app: any ASGI app.
        sessions: None for an app without any.
        tokens: for forms; None where every browser that matters says where a request is from.
        token_header: where scripts put the token.
        token_field: where forms put it.
        own_origin: ``https://host[:port]`` of the site; None to go by the request's own.
        trusted: further origins whose pages may send forms, in lower case.
        fields: None behind a gateway, which sets them.
        badges: for ``GET /_poruwa/session``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions | None = None,
        tokens: CsrfTokens | None = None,
        token_header: str = "X-CSRF-Token",  # noqa: S107
        token_field: str = "csrf_token",  # noqa: S107
        own_origin: str | None = None,
        trusted: Iterable[str] = (),
        fields: SecurityFields | None = None,
        badges: Badges | None = None,
    ) -> None:
        self.app = app
        self._sessions = sessions
        self._tokens = tokens
        self._token_header = token_header.lower().encode()
        self._token_field = token_field
        self._own_origin = None if own_origin is None else own_origin.lower().encode()
        self._trusted = frozenset(each.lower().encode() for each in trusted)
        self._fields = fields
        self._badges = badges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _fields_of(scope)
        try:
            known = await self.validate_session(headers)
        except TooManyCookies:
            await self._refuse(scope, send, 431, "This browser sends too many cookies.")
            return
        except RevocationsUnknown as error:
            await self._refuse(scope, send, 503, error.message)
            return
        scope[_SCOPE_KEY] = known
        refusal, receive = await self.csrf_protection(scope, headers, known, receive)
        if refusal is not None:
            await self._refuse(scope, send, 403, refusal)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        answer = _Answer(self, scope, headers, known, send)
        if scope["path"] == SESSION_PATH and self._sessions is not None:
            await self._tell_session(scope, known, answer.send)
        else:
            await self.app(scope, receive, answer.send)

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
            return RequestSecurity(None, NoSession.NO_COOKIE)
        found = await sessions.of(cookies)
        if not isinstance(found, Session):
            return RequestSecurity(None, found)
        known = RequestSecurity(found, None)
        if self._tokens is not None:
            known.token = self._tokens.mint(found.session_id, sessions.now())
        return known

    async def csrf_protection(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        known: RequestSecurity,
        receive: Receive,
    ) -> tuple[str | None, Receive]:
        """Return why a request is refused (None if it is not), and what to receive its body by."""
        is_handshake = scope["type"] == "websocket"
        method = b"GET" if is_handshake else scope["method"].encode()
        own = self._own_origin
        if own is None:
            scheme = scope["scheme"].replace("ws", "http").encode()
            own = scheme + b"://" + headers.get(b"host", b"").lower()
        verdict = judge_origin(
            method,
            own_origin=own,
            origin=headers.get(b"origin"),
            fetch_site=headers.get(b"sec-fetch-site"),
            has_cookies=b"cookie" in headers,
            trusted=self._trusted,
            is_handshake=is_handshake,
        )
        if headers.get(GATEWAY_VERDICT) == TOKEN_NEEDED:
            verdict = CsrfVerdict.TOKEN_NEEDED
        if verdict.is_refused:
            _logger.warning("refused as forged: %s %s (%s)", method, scope["path"], verdict.value)
            return "This request comes from another site.", receive
        if verdict is not CsrfVerdict.TOKEN_NEEDED or known.session is None:
            # Without a session there is nothing that a forged request could act with.
            return None, receive
        return await self._check_token(headers, known.session, receive)

    async def _check_token(
        self, headers: dict[bytes, bytes], session: Session, receive: Receive
    ) -> tuple[str | None, Receive]:
        assert self._sessions is not None
        missing = "Reload the page and send the form again: its token is missing or too old."
        if self._tokens is None:
            return missing, receive
        token = headers.get(self._token_header, b"").decode("latin-1")
        if not token and headers.get(b"content-type", b"").partition(b";")[0].strip() == _FORM:
            body = await _read(receive)
            if body is None:
                return "The form is too large.", receive
            receive = _again(body)
            try:
                form = dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=1000))
            except ValueError:
                return missing, receive
            token = form.get(self._token_field, "")
        is_good = self._tokens.is_good(
            token,
            session.session_id,
            started_at=session.claims.started_at,
            now=self._sessions.now(),
        )
        return (None if is_good else missing), receive

    def set_security_headers(
        self, headers: list[tuple[bytes, bytes]], *, is_secure: bool
    ) -> list[tuple[bytes, bytes]]:
        """Return a response's fields with the policy's; the stricter value of two stands."""
        fields = self._fields
        if fields is None:
            return headers
        own = {name.lower(): value for name, value in headers if name.lower() in fields.names}
        lines = fields.lines_beside(own, is_secure=is_secure)
        kept = [each for each in headers if each[0].lower() not in fields.names]
        return kept + [_pair(line) for line in lines.split(b"\r\n") if line]

    async def on_start(
        self,
        scope: Scope,
        known: RequestSecurity,
        status: int,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        """Add the cookies that a response is to set, in place.

        What a handler set (a session that begins or ends) makes the response one person's: it is
        marked ``no-store``. A renewal is worth nothing of that kind; it waits for a response that
        no shared cache may keep.
        """
        sessions = self._sessions
        if sessions is None:
            return
        if known.lines:
            headers[:] = [each for each in headers if each[0].lower() not in _OF_LIFETIME]
            headers.append((b"cache-control", b"no-store"))
            headers += [_pair(line.rstrip(b"\r\n")) for line in known.lines]
            return
        session = known.session
        if session is None or not may_set_cookie(scope, status, headers):
            return
        await sessions.touch(session)
        line = sessions.renewal(session)
        if line is not None:
            headers.append(_pair(line.rstrip(b"\r\n")))

    async def _tell_session(self, scope: Scope, known: RequestSecurity, send: Send) -> None:
        """Answer ``GET /_poruwa/session``: who somebody is, for scripts of shared pages."""
        if scope["method"] not in ("GET", "HEAD"):
            await self._refuse(scope, send, 405, "Ask with GET.")
            return
        session = known.session
        told: dict[str, Any] = {"signed_in": session is not None}
        if session is not None:
            told |= {"user": session.user_id, "csrf_token": known.token}
            if self._badges is not None:
                told["badges"] = await self._badges(session)
        await _answer(send, 200, json.dumps(told).encode(), b"application/json")

    async def _refuse(self, scope: Scope, send: Send, status: int, text: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": text})
            return
        body = json.dumps({"type": "about:blank", "status": status, "title": text}).encode()
        await _answer(send, status, body, b"application/problem+json")


class _Answer:
    """One response on its way: gets its cookies and its fields."""

    __slots__ = ("_headers", "_known", "_middleware", "_scope", "_send")

    def __init__(
        self,
        middleware: SecurityMiddleware,
        scope: Scope,
        headers: dict[bytes, bytes],
        known: RequestSecurity,
        send: Send,
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._headers = headers
        self._known = known
        self._send = send

    async def send(self, message: Message) -> None:
        """Take one message of the app."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            await self._middleware.on_start(self._scope, self._known, message["status"], headers)
            message = {**message, "headers": self._middleware.set_security_headers(
                headers, is_secure=self._scope["scheme"] == "https"
            )}  # fmt: skip
        await self._send(message)


def _fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return a request's fields; several Cookie lines are one (RFC 9113 section 8.2.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in fields:
            fields[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            fields[name] = value
    return fields


async def _read(receive: Receive) -> bytes | None:
    """Return a whole body; None where it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_FORM_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes) -> Receive:
    """Return what gives a body that was read already to the app."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name.lower(), value


async def _answer(send: Send, status: int, body: bytes, content_type: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"vary", b"Cookie"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def may_set_cookie(scope: Scope, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether no shared cache may keep a response, so that a cookie on it is one person's."""
    fields = {name.lower(): value for name, value in headers}
    return may_carry_cookie(
        scope["method"].encode(),
        status,
        fields.get(b"cache-control"),
        targeted=fields.get(b"cdn-cache-control"),
        has_expires=b"expires" in fields,
    )
