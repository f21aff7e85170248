"""``GET /_poruwa/session``: who somebody is, for scripts of shared pages. Never stored by anybody.

::

    {"signed_in": true, "user": "u17", "csrf_token": "...", "badges": {"shortlist": 3}}

Stands within ``SecurityMiddleware`` (which renews the session on it) and within the middleware that
waits for one's own writes, so that badges show them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from poruwa.app.security.request_security import csrf_token_of, session_of
from poruwa.app.security.sessions import Session
from poruwa.rules import own_paths

SESSION_PATH: Final = own_paths.SESSION_PATH.decode()

Badges = Callable[[Session], Awaitable[dict[str, Any]]]
"""What a site says of somebody signed in, beside who: ``{"shortlist": 3}``."""


async def no_badges(session: Session) -> dict[str, Any]:
    """Say nothing."""
    return {}


class SessionPage:
    """Answers for the session's page; all else goes to the app.

    Args:
        app: any ASGI app.
        badges: returns the badges of a session now.
    """

    def __init__(self, app: ASGIApp, *, badges: Badges = no_badges) -> None:
        self.app = app
        self._badges = badges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != SESSION_PATH:
            await self.app(scope, receive, send)
            return
        headers = {"Cache-Control": "no-store"}
        if scope["method"] not in ("GET", "HEAD"):
            refused = Response(status_code=405, headers={**headers, "Allow": "GET, HEAD"})
            await refused(scope, receive, send)
            return
        request = Request(scope)
        session = session_of(request)
        told: dict[str, Any] = {"signed_in": session is not None}
        if session is not None:
            told["user"] = session.user_id
            told["csrf_token"] = csrf_token_of(request)
            told["badges"] = await self._badges(session)
        body = msgspec.json.encode(told)
        await Response(body, headers=headers, media_type="application/json")(scope, receive, send)
