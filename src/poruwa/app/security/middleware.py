"""``SecurityMiddleware``: sessions, forged requests and security fields, around any ASGI app.

On a request's path this stands outermost but for what compresses. It reads the session cookie
(``session_of`` gives handlers what it says), refuses requests that other sites' pages made, and
writes the cookie's next token on the way out, on responses that no shared cache may keep alone.

Behind a Poruwa gateway much is decided before: it has refused what browsers say is of another site,
and says in ``Poruwa-Csrf`` where a token must be seen; it adds the security fields. Used alone, the
middleware does both itself::

    keys = SessionKeys(lambda: os.environ["SESSION_KEYS"])
    form = CookieForm(name=b"__Host-Http-id", max_age_seconds=30 * 86_400)
    sessions = Sessions(SessionRules.of(config.model_security.Session(), "my-site"), keys, form)
    fields = SecurityFields(config.model_security.Headers(), domain="my-site.example")
    app.add_middleware(SecurityMiddleware, sessions=sessions, fields=fields)

Revocations are then of this process alone, until ``sessions.revocations.connect``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poruwa.app.security.request_security import SCOPE_KEY, RequestSecurity
from poruwa.app.security.sessions import NoSession, Session, Sessions
from poruwa.errors import ErrorSource, PoruwaError
from poruwa.rules.affinity import may_carry_cookie
from poruwa.rules.cookie import TooManyCookies
from poruwa.rules.csrf import CsrfVerdict, cannot_be_forged, judge_origin
from poruwa.rules.security_headers import SecurityFields

GATEWAY_VERDICT: Final = b"poruwa-csrf"
TOKEN_NEEDED: Final = b"token-needed"
MAX_FORM_BYTES: Final = 1 << 20
_OF_LIFETIME: Final = frozenset((b"cache-control", b"cdn-cache-control", b"expires"))
_FORM: Final = b"application/x-www-form-urlencoded"

FOREIGN: Final = "This request comes from another site."
UNKNOWN_ORIGIN: Final = "This browser does not say which page the form was on; use a newer one."
NO_TOKEN: Final = "Reload the page and send the form again: its token is missing or too old."  # noqa: S105
TOO_LARGE: Final = "The form is too large."

_logger = logging.getLogger("poruwa.app")

_Fields = list[tuple[bytes, bytes]]


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
        fields: None behind a gateway, which sets them.
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
    ) -> None:
        self.app = app
        self._sessions = sessions
        self._is_csrf_checked = is_csrf_checked
        self._token_header = token_header.lower().encode()
        self._token_field = token_field
        self._own_origin = None if own_origin is None else own_origin.lower().encode()
        self._trusted = frozenset(each.lower().encode() for each in trusted)
        self._fields = fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _fields_of(scope)
        answer = _Answer(self, scope, send)
        try:
            known = await self.validate_session(headers)
            scope[SCOPE_KEY] = answer.known = known
            refusal, receive = await self.csrf_protection(scope, headers, known, receive)
            if refusal is not None:
                await answer.refuse(403, refusal)
                return
            await self.app(scope, receive, answer.send)
        except TooManyCookies:
            await answer.refuse(431, "This browser sends too many cookies.")
        except PoruwaError as error:
            # Of ours: revocations that cannot be known. Or of the app, where it has no own answer:
            # a sign-out that cannot be told to everybody.
            if error.source is not ErrorSource.STORE or answer.has_begun:
                raise
            _logger.warning("%s %s: %s", scope.get("method", "WS"), scope["path"], error.message)
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
        own = self._own_origin
        if own is None:
            scheme = scope["scheme"].replace("ws", "http").encode()
            own = scheme + b"://" + headers.get(b"host", b"").lower()
        verdict = judge_origin(
            method,
            own_origin=own,
            origin=headers.get(b"origin"),
            fetch_site=headers.get(b"sec-fetch-site"),
            has_cookies=b"cookie" in headers
            and not cannot_be_forged(headers.get(b"authorization")),
            trusted=self._trusted,
            is_handshake=is_handshake,
        )
        if headers.get(GATEWAY_VERDICT) == TOKEN_NEEDED and not verdict.is_refused:
            verdict = CsrfVerdict.TOKEN_NEEDED
        if verdict.is_refused:
            _logger.warning("refused as forged: %s %s (%s)", method, scope["path"], verdict.value)
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
        if not token and headers.get(b"content-type", b"").partition(b";")[0].strip() == _FORM:
            body = await _read(receive)
            if body is None:
                return TOO_LARGE, receive
            receive = _again(body, receive)
            try:
                form = dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=1000))
            except ValueError:
                return NO_TOKEN, receive
            token = form.get(self._token_field, "")
        is_good = self._sessions.is_csrf_token_good(session, token)
        return None if is_good else NO_TOKEN, receive

    def set_security_headers(self, headers: _Fields, *, is_secure: bool) -> _Fields:
        """Return a response's fields with the policy's; the stricter value of two stands."""
        fields = self._fields
        if fields is None:
            return headers
        own: dict[bytes, bytes] = {}
        for name, value in headers:
            name = name.lower()
            if name in fields.names:
                own[name] = own[name] + b", " + value if name in own else value
        lines = fields.lines_beside(own, is_secure=is_secure)
        kept = [each for each in headers if each[0].lower() not in fields.names]
        return kept + [_pair(line) for line in lines.split(b"\r\n") if line]

    async def on_start(
        self, scope: Scope, known: RequestSecurity, status: int, headers: _Fields
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


class _Answer:
    """One response on its way: gets its cookies and its fields."""

    __slots__ = ("_middleware", "_scope", "_send", "has_begun", "known")

    def __init__(self, middleware: SecurityMiddleware, scope: Scope, send: Send) -> None:
        self._middleware = middleware
        self._scope = scope
        self._send = send
        self.has_begun = False
        self.known: RequestSecurity | None = None

    async def send(self, message: Message) -> None:
        """Take one message of the app."""
        if message["type"] == "http.response.start":
            middleware, scope = self._middleware, self._scope
            headers = list(message.get("headers", ()))
            if self.known is not None:
                await middleware.on_start(scope, self.known, message["status"], headers)
            headers = middleware.set_security_headers(headers, is_secure=scope["scheme"] == "https")
            message = {**message, "headers": headers}
        self.has_begun = True
        await self._send(message)

    async def refuse(self, status: int, text: str) -> None:
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
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if status == 431:  # else the browser could never come back
            headers.append((b"clear-site-data", b'"cookies"'))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def may_set_cookie(scope: Scope, status: int, headers: _Fields) -> bool:
    """Whether no shared cache may keep a response, so that a cookie on it is one person's."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name in _OF_LIFETIME:
            fields[name] = fields[name] + b", " + value if name in fields else value
    return may_carry_cookie(
        scope["method"].encode(),
        status,
        fields.get(b"cache-control"),
        targeted=fields.get(b"cdn-cache-control"),
        has_expires=b"expires" in fields,
    )


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


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already to the app, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def _pair(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name.lower(), value
