"""``poruwa audit URL``: fetch a live site as a browser would, score its security, say what to mend.

For CI and cron: the exit code is 1 where the score is too low or something is to be mended.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urljoin, urlsplit

import typer

from poruwa.errors import PoruwaError
from poruwa.rules.audit import Audit, audit
from poruwa.rules.audit_observed import Observed, Visit

TIMEOUT_SECONDS = 10.0
MAX_BODY_BYTES = 2 << 20
MAX_REDIRECTIONS = 5
FOREIGN_ORIGIN = "https://elsewhere.example"
EXIT_FINDINGS = 1
_ACCEPT = {
    "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    "User-Agent": "poruwa-audit",
}


def audit_site(
    url: Annotated[str, typer.Argument(help="Page to begin with, https://host[:port]/path.")],
    *,
    least: Annotated[int, typer.Option(help="Score below which the exit code is 1.")] = 100,
    strict: Annotated[
        bool, typer.Option("--strict", help="Findings beside the score fail, too.")
    ] = False,
    ca: Annotated[
        Path | None, typer.Option(help="Certificates to trust instead of the system's.")
    ] = None,
    connect: Annotated[
        str | None, typer.Option(help="ADDRESS:PORT to connect to instead of the URL's host.")
    ] = None,
    connect_http: Annotated[
        str | None, typer.Option(help="The same for plain HTTP; 'none': nothing listens there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Score a live site's security headers, cookies and scripts, and say what to mend."""
    found = audit(visit(url, Reach(ca=ca, secure=connect, plain=connect_http)))
    typer.echo(json.dumps(asdict(found), indent=2) if as_json else describe(found))
    if found.score < least or (strict and found.findings):
        raise typer.Exit(EXIT_FINDINGS)


def describe(found: Audit) -> str:
    """Return the page that people read."""
    lines = [f"{found.score} ({found.grade})", ""]
    for result in found.results:
        lines.append(f"  {result.modifier:+4d}  {result.test}: {result.outcome}")
    if found.findings:
        lines += ["", "To mend:"]
        lines += [f"  {each.subject}: {each.text}" for each in found.findings]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How to reach a site that is not where its name says, or not publicly certified."""

    ca: Path | None = None
    secure: str | None = None
    plain: str | None = None


def visit(url: str, reach: Reach) -> Visit:
    """Fetch what an audit looks at.

    Raises:
        PoruwaError: the URL is none, or nothing answers there.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PoruwaError(f"{url!r} is no URL to audit; write https://host/path.")
    chain = _follow(url, reach)
    page = chain[-1]
    origin = urljoin(page.url, "/")
    etag = page.first("etag")
    others = [_fetch(urljoin(origin, f"/not-there-{secrets.token_hex(4)}"), reach)]
    if etag is not None:
        others.append(_fetch(page.url, reach, {"If-None-Match": etag}))
    others.append(_fetch(page.url, reach, method="BREW"))
    preflight = {"Origin": FOREIGN_ORIGIN, "Access-Control-Request-Method": "GET"}
    return Visit(
        page=page,
        redirections=chain if parts.scheme == "http" else _plain_redirections(parts, reach),
        robots=_fetch(urljoin(origin, "/robots.txt"), reach),
        preflight=_fetch(page.url, reach, preflight, method="OPTIONS"),
        others=others,
    )


def _plain_redirections(parts: SplitResult, reach: Reach) -> list[Observed]:
    """Return where plain HTTP leads; nothing where nobody listens there."""
    if reach.plain == "none" or (parts.port is not None and reach.plain is None):
        return []  # beside another port than the usual one, there is no usual one for HTTP
    try:
        return _follow(f"http://{parts.hostname}/", reach)
    except PoruwaError:
        return []


def _follow(url: str, reach: Reach) -> list[Observed]:
    chain = [_fetch(url, reach)]
    while 300 <= chain[-1].status < 400 and len(chain) <= MAX_REDIRECTIONS:
        location = chain[-1].first("location")
        if location is None:
            break
        chain.append(_fetch(urljoin(chain[-1].url, location), reach))
    return chain


def _fetch(
    url: str, reach: Reach, fields: dict[str, str] | None = None, *, method: str = "GET"
) -> Observed:
    """Return one response.

    Raises:
        PoruwaError: nothing answers, or what comes is no HTTP.
    """
    try:
        return _ask(url, reach, {**_ACCEPT, **(fields or {})}, method, is_verified=True)
    except ssl.SSLCertVerificationError:
        return _ask(url, reach, {**_ACCEPT, **(fields or {})}, method, is_verified=False)
    except (OSError, http.client.HTTPException) as error:
        raise PoruwaError(f"{url} does not answer: {error}") from error


def _ask(
    url: str, reach: Reach, fields: dict[str, str], method: str, *, is_verified: bool
) -> Observed:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    host = parts.hostname or ""
    place = reach.secure if is_secure else reach.plain
    if place is None:
        address = (host, parts.port or (443 if is_secure else 80))
    else:
        name, _, port = place.rpartition(":")
        address = (name.strip("[]"), int(port))
    sock = socket.create_connection(address, TIMEOUT_SECONDS)
    if is_secure:
        sock = _context(reach.ca, is_verified=is_verified).wrap_socket(sock, server_hostname=host)
    connection = http.client.HTTPConnection(host, parts.port or (443 if is_secure else 80))
    connection.sock = sock
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, headers={"Host": parts.netloc, **fields})
        answer = connection.getresponse()
        body = answer.read(MAX_BODY_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()
    return Observed(
        url=url,
        status=answer.status,
        fields=tuple((name.lower(), value) for name, value in answer.getheaders()),
        body=body,
        is_verified=is_verified,
    )


def _context(ca: Path | None, *, is_verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if not is_verified:  # to look at the fields all the same; the audit says that it is not good
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
