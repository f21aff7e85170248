"""One response of every kind and origin: what is promised of every response is asked of these."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import httpx

from fakes.tls_stack import SESSION, TlsStack

PAGES = (
    "/", "/en", "/si", "/ta", "/venues", "/si/venues", "/ta/venues", "/venues/1", "/si/venues/2",
    "/ta/venues/3", "/venues/4?date=2027-05-01", "/vendors", "/si/vendors", "/vendors/photography",
    "/search?q=beach", "/ta/search?q=kandy", "/compare?venue=1&venue=2", "/about", "/si/about",
    "/venues?district=kandy",
)  # fmt: skip
FILES = ("/robots.txt", "/sitemap.xml", "/manifest.webmanifest", "/favicon.ico", "/api/v1/venues")
FOREIGN = "https://elsewhere.example"


@dataclass(frozen=True, slots=True)
class Kind:
    """A response, and what kind of one it is; ``is_own`` where the gateway made it alone."""

    name: str
    response: httpx.Response
    is_own: bool = False


@functools.cache
def every_response(stack: TlsStack) -> tuple[Kind, ...]:
    """Return one of each; asked once a stack."""
    found = [Kind(f"page {path}", stack.get(path)) for path in (*PAGES[:12], *FILES)]
    found += [Kind(f"hit {path}", stack.get(path)) for path in PAGES[:3]]
    home = found[0].response
    found.append(Kind("304", stack.get("/", fields={"If-None-Match": home.headers["etag"]})))
    style = next(
        part for part in home.text.split('"') if part.startswith("/static/") and "css" in part
    )
    found += [
        Kind("style sheet", stack.get(style)),
        Kind("206", stack.get(style, fields={"Range": "bytes=0-99"})),
        Kind("HEAD", stack.post("/", method="HEAD", fields={})),
        Kind("404 of the site", stack.get("/not-there")),
        Kind("404 of the API", stack.get("/api/v1/venues/999999")),
        Kind("422 of the API", stack.get("/api/v1/venues?guests=many")),
        Kind("405", stack.post("/venues/1", method="DELETE")),
        Kind("400 of the gateway", stack.get("/venues/..%2fvenues"), is_own=True),
        Kind("414", stack.get("/" + "x" * 9000), is_own=True),
        Kind("431", stack.get("/", fields={"X-Large": "x" * 40_000}), is_own=True),
        Kind("501", stack.post("/", method="BREW", fields={})),
        Kind("401", stack.get("/doors/account")),
        Kind("403 of a foreign post", stack.post("/doors/note", fields={"Origin": FOREIGN})),
        Kind("500", stack.get("/doors/cookie?bytes=5000")),
    ]
    preflight = {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"}
    found += [
        Kind("preflight", stack.post("/api/v1/venues", method="OPTIONS", fields=preflight)),
        Kind("refused preflight", stack.post("/", method="OPTIONS", fields=preflight)),
        Kind("cross-origin read", stack.get("/api/v1/venues", fields={"Origin": FOREIGN})),
        Kind("signed out", stack.get("/_poruwa/session")),
    ]
    signed_in = stack.post("/doors/sign-in?user=everybody")
    (line,) = [each for each in signed_in.headers.get_list("set-cookie") if SESSION in each]
    token = line.partition(";")[0].partition("=")[2]
    found += [
        Kind("sign-in", signed_in),
        Kind("signed in", stack.get("/_poruwa/session", token)),
        Kind("signed in on a shared page", stack.get("/venues/5", token)),
        Kind("private", stack.get("/doors/me", token)),
        Kind("renewed", stack.get("/doors/me", stack.token("everybody", days_ago=25))),
        Kind("another cookie", stack.get("/doors/cookie?bytes=20", token)),
        Kind("step-up", stack.post("/doors/prove", token)),
        Kind("edit", _edit(stack)),
        Kind("sign-out", stack.post("/doors/sign-out", stack.sign_in("everybody"))),
    ]
    return tuple(found)


def _edit(stack: TlsStack) -> httpx.Response:
    token = (stack.state / "operator-token").read_text().strip()
    fields = {
        "Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json",
    }  # fmt: skip
    body = b'{"tagline": {"en": "Under palms", "si": "Under palms", "ta": "Under palms"}}'
    return stack.post("/api/v1/venues/6", method="PATCH", fields=fields, content=body)
