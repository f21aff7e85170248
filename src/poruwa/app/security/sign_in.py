"""Signing in, proving oneself again, signing out: what handlers call.

::

    async def post_sign_in(request: Request) -> Response:
        account = await accounts.checked(form["email"], form["password"])
        await sign_in(request, account.id)
        return RedirectResponse("/account", 303)

Each changes the session's cookie on the response of this request, whichever response that is, and
marks it ``no-store``. Each ends the session's old id everywhere before it returns, so that with the
bus or the database away it raises (503) and nothing has changed.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from poruwa.app.security.request_security import RequestSecurity, security_of
from poruwa.app.security.sessions import Session, Sessions

CLEAR_SITE_DATA = b'Clear-Site-Data: "cache", "storage"\r\n'
"""Not ``"cookies"``: the choice of consent, and other people's cookies of the browser, survive."""


async def sign_in(connection: HTTPConnection, user_id: str, *, level: int = 0) -> Session:
    """Begin a session for somebody who has just proved who they are; one of before ends.

    Raises:
        RuntimeError: the middleware is not installed, or has no sessions.
        PoruwaError: stores are away; nothing has changed.
        PyMongoError: alike.
    """
    security, sessions = _of(connection)
    if security.session is not None:
        await sessions.end(security.session)
    agent, address = _client(connection)
    session, line = await sessions.begin(user_id, level=level, agent=agent, address=address)
    security.change(session, line)
    return session


async def prove_again(connection: HTTPConnection, *, level: int | None = None) -> Session:
    """Take over that they have proved who they are again, or have another level: a new id.

    Raises:
        RuntimeError: nobody is signed in; else as ``sign_in``.
        PoruwaError: as ``sign_in``.
    """
    security, sessions = _of(connection)
    if security.session is None:
        raise RuntimeError("nobody is signed in; ask session_of first")
    agent, address = _client(connection)
    session, line = await sessions.prove(
        security.session, level=level, agent=agent, address=address
    )
    security.change(session, line)
    return session


async def end_other_sessions(connection: HTTPConnection) -> Session:
    """End all sessions of whoever is signed in, and begin a new one here: after a new password.

    Raises:
        RuntimeError: nobody is signed in; else as ``sign_in``.
        PoruwaError: as ``sign_in``.
    """
    security, sessions = _of(connection)
    if security.session is None:
        raise RuntimeError("nobody is signed in; ask session_of first")
    user_id, level = security.session.user_id, security.session.level
    await sessions.end_all(user_id)
    agent, address = _client(connection)
    session, line = await sessions.begin(user_id, level=level, agent=agent, address=address)
    security.change(session, line)
    return session


async def sign_out(connection: HTTPConnection, *, everywhere: bool = False) -> None:
    """End the session of this browser, or all of its person.

    The response clears the cookie and has the browser drop what it stored of the site. Without a
    session it does that alone.

    Raises:
        RuntimeError: as ``sign_in``.
        PoruwaError: not ended everywhere yet (503); the cookie stays, so that it can be repeated.
    """
    security, sessions = _of(connection)
    session = security.session
    if session is not None and everywhere:
        await sessions.end_all(session.user_id)
    elif session is not None:
        await sessions.end(session)
    security.change(None, sessions.form.clearing_line())
    security.lines.append(CLEAR_SITE_DATA)


def _of(connection: HTTPConnection) -> tuple[RequestSecurity, Sessions]:
    security = security_of(connection)
    if security.sessions is None:
        raise RuntimeError("the policy's session.keys names no key ring, so there are no sessions")
    return security, security.sessions


def _client(connection: HTTPConnection) -> tuple[str, str]:
    agent = connection.headers.get("user-agent", "")
    return agent, "" if connection.client is None else connection.client.host
