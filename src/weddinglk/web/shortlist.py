"""The shortlist: venues and vendors that somebody signed in keeps for later.

Pages of listings are everybody's: their heart is a link to a page of one's own that asks, and a
script makes it a button (``static/site.js``).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poruwa import Session, session_of
from weddinglk.domain import Vendor, Venue
from weddinglk.web.errors import not_found
from weddinglk.web.private import NOBODY_STORES, form_of, private_page, see_other, to_sign_in
from weddinglk.web.site import Site, site_of
from weddinglk.web.venues import ID_MAX

_LISTING: Final = re.compile(r"(venue|vendor):([1-9][0-9]{0,9})", re.ASCII)


async def badges_of(site: Site, session: Session) -> dict[str, Any]:
    """Return what scripts of shared pages show to somebody signed in."""
    kept = await site.accounts.shortlist(session.user_id)
    name = await site.accounts.name_of(session.user_id)
    return {"name": name, "shortlist": len(kept), "listings": list(kept)}


async def shortlist_page(request: Request) -> Response:
    """``GET /shortlist``; listings that are there no more are left out."""
    session = session_of(request)
    if session is None:
        return to_sign_in(request, back="/shortlist")
    catalogue = site_of(request).catalogue
    kept = await site_of(request).accounts.shortlist(session.user_id)
    found = [(name, await _listing(request, name)) for name in kept]
    return private_page(
        request,
        "shortlist.html",
        listings=[(name, listing) for name, listing in found if listing is not None],
        catalogue=catalogue,
    )


async def keep_page(request: Request) -> Response:
    """``GET /shortlist/keep?listing=venue:1``: asks, for browsers without scripts."""
    name = request.query_params.get("listing", "")
    listing = await _listing(request, name)
    if listing is None:
        return not_found(request)
    query = urlencode({"listing": name}, safe=":")
    session = session_of(request)
    if session is None:
        return to_sign_in(request, back=f"/shortlist/keep?{query}")
    kept = await site_of(request).accounts.shortlist(session.user_id)
    return private_page(
        request, "keep.html", query=query, name=name, listing=listing, is_kept=name in kept
    )


async def keep(request: Request) -> Response:
    """``POST /shortlist/keep``: 303, or for a script what the badges are now."""
    form = await form_of(request)
    session = session_of(request)
    name = form.get("listing", "")
    if session is None:
        return _unknown(request)
    if await _listing(request, name) is None:
        return not_found(request)
    if not await site_of(request).accounts.keep(session.user_id, name):
        return private_page(request, "full.html", status=422)
    return await _done(request, session)


async def drop(request: Request) -> Response:
    """``POST /shortlist/drop``: alike."""
    form = await form_of(request)
    session = session_of(request)
    name = form.get("listing", "")
    if session is None:
        return _unknown(request)
    if not _LISTING.fullmatch(name):
        return not_found(request)
    await site_of(request).accounts.drop(session.user_id, name)
    return await _done(request, session)


async def _done(request: Request, session: Session) -> Response:
    if not _is_script(request):
        return see_other(request, "/shortlist")
    body = json.dumps(await badges_of(site_of(request), session))
    return Response(body, 200, NOBODY_STORES, "application/json")


def _unknown(request: Request) -> Response:
    if _is_script(request):
        body = json.dumps({"type": "about:blank", "status": 401, "title": "Sign in first"})
        headers = {**NOBODY_STORES, "WWW-Authenticate": "Session"}
        return Response(body, 401, headers, "application/problem+json")
    return to_sign_in(request, back="/shortlist")


def _is_script(request: Request) -> bool:
    return request.headers.get("accept", "").startswith("application/json")


async def _listing(request: Request, name: str) -> Venue | Vendor | None:
    match = _LISTING.fullmatch(name)
    number = int(match[2]) if match else ID_MAX + 1
    if match is None or number > ID_MAX:
        return None
    catalogue = site_of(request).catalogue
    return await (catalogue.venue(number) if match[1] == "venue" else catalogue.vendor(number))


routes = [
    Route("/shortlist", shortlist_page),
    Route("/shortlist/keep", keep_page),
    Route("/shortlist/keep", keep, methods=["POST"]),
    Route("/shortlist/drop", drop, methods=["POST"]),
]
