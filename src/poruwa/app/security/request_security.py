"""What ``SecurityMiddleware`` knows of one request, and what its response is to set."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from poruwa.app.security.route_rules import RouteLookup
from poruwa.app.security.sessions import NoSession, Session, Sessions
from poruwa.rules.security_headers import SecurityFields
from poruwa.rules.session import SessionRefusal

SCOPE_KEY = "poruwa.security"


@dataclass(slots=True)
class RequestSecurity:
    """One request.

    Attributes:
        session: valid; None for somebody who is not signed in.
        reason: why there is none.
        sessions: of the middleware; None for an app without any.
        lines: that the response carries, CRLF included; each makes it one person's.
        route: where the policy's rules for it are; None without a policy.
        fields: of every response, without a policy.
    """

    session: Session | None
    reason: NoSession | SessionRefusal | None = None
    sessions: Sessions | None = None
    lines: list[bytes] = field(default_factory=list)
    route: RouteLookup | None = None
    fields: SecurityFields | None = None

    def change(self, session: Session | None, cookie_line: bytes) -> None:
        """Have this request, from now on, and the browser have another session."""
        self.session = session
        self.set_cookie(cookie_line)

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
    found = connection.scope.get(SCOPE_KEY)
    if not isinstance(found, RequestSecurity):
        raise RuntimeError("install SecurityMiddleware: platform.install(app) does")
    return found


def session_of(connection: HTTPConnection) -> Session | None:
    """Return the valid session of a request; None for somebody who is not signed in.

    Raises:
        RuntimeError: the middleware is not installed.
    """
    return security_of(connection).session


def csrf_token_of(connection: HTTPConnection) -> str:
    """Return the token for the forms of a page; empty without a session; raises alike."""
    security = security_of(connection)
    if security.session is None or security.sessions is None:
        return ""
    return security.sessions.csrf_token(security.session)


def content_security_policy_of(connection: HTTPConnection) -> str | None:
    """Return the Content-Security-Policy that holds for a page, for its own hashes to be added.

    That of its route, where the policy has one for it (``[routes.headers]``), else the site's; None
    where there is none. ::

        csp = blocks.policy(content_security_policy_of(request))

    Raises:
        RuntimeError: the middleware is not installed.
    """
    security = security_of(connection)
    if security.route is not None:
        return security.route.rule_or_site.content_security_policy
    return None if security.fields is None else security.fields.content_security_policy
