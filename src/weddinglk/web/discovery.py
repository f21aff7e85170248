"""What machines read first: robots.txt, the sitemap, the manifest, the icon; and readiness."""

from __future__ import annotations

import asyncio
import json
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from weddinglk.domain import LANGUAGES, VendorCategory
from weddinglk.web.errors import not_found
from weddinglk.web.site import site_of

_PRIVATE = ("/account", "/shortlist", "/sign-in")
READY_TIMEOUT_SECONDS = 2.0  # below the usual 5 s of a health check, so that it hears the reason


async def healthz(request: Request) -> Response:
    """``GET /healthz``: 200 when pages can be served, else 503 with the reason."""
    headers = {"Cache-Control": "no-store"}
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            ready = await site_of(request).catalogue.ready()
        reason = "" if ready else "the catalogue is empty or still loading"
    except TimeoutError:
        reason = f"the database did not answer within {READY_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # whatever is wrong, the balancer wants a reason, not a 500
        reason = f"the catalogue failed: {type(error).__name__}"
    if reason:
        return PlainTextResponse(f"not ready: {reason}\n", 503, headers)
    return PlainTextResponse("ready\n", 200, headers)


async def robots(request: Request) -> Response:
    """``GET /robots.txt``"""
    lines = ["User-agent: *", "Disallow: /api/", "Disallow: /compare", "Disallow: /*/compare"]
    lines += [f"Disallow: {start}{page}" for page in _PRIVATE for start in ("", "/*")]
    lines.append(f"Sitemap: {_origin(request)}/sitemap.xml")
    body = "\n".join([*lines, ""])
    return PlainTextResponse(body)


async def sitemap(request: Request) -> Response:
    """``GET /sitemap.xml``: the pages that lead to every listing, in each language."""
    catalogue = site_of(request).catalogue
    paths = ["/", "/venues", "/vendors", "/about"]
    paths += [f"/venues?district={district.id}" for district in catalogue.districts()]
    paths += [f"/vendors/{category}" for category in VendorCategory]
    origin = _origin(request)
    entries = "".join(
        f"<url><loc>{escape(f'{origin}/{language}{path}')}</loc></url>"
        for path in paths
        for language in LANGUAGES
    )
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'
    )
    return Response(body, media_type="application/xml")


async def manifest(request: Request) -> Response:
    """``GET /manifest.webmanifest``"""
    content = {
        "name": "WeddingLK",
        "short_name": "WeddingLK",
        "start_url": "/",
        "display": "browser",
        "background_color": "#fbf6ec",
        "theme_color": "#6b1430",
        "icons": [
            {
                "src": site_of(request).static.url("favicon.svg"),
                "sizes": "any",
                "type": "image/svg+xml",
            }
        ],
    }
    return Response(json.dumps(content), media_type="application/manifest+json")


async def favicon(request: Request) -> Response:
    """``GET /favicon.ico``: browsers ask for it whatever the page says."""
    return site_of(request).static.response("favicon.svg")


async def static_file(request: Request) -> Response:
    """``GET /static/{fingerprint}/{name}``"""
    return await site_of(request).static.respond(request) or not_found(request)


def _origin(request: Request) -> str:
    """Return ``https://host``: as configured, else as the client addressed us."""
    return site_of(request).public_url or f"{request.url.scheme}://{request.url.netloc}"


routes = [
    Route("/healthz", healthz),
    Route("/robots.txt", robots),
    Route("/sitemap.xml", sitemap),
    Route("/manifest.webmanifest", manifest),
    Route("/favicon.ico", favicon),
    Route("/static/{fingerprint}/{name}", static_file),
]
