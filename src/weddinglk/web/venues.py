"""Venues: the list with its filters, and one venue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.search.query import VENUE_SORTS
from weddinglk.web import availability, island
from weddinglk.web.errors import not_found
from weddinglk.web.filters import links_of, page_numbers, venue_query
from weddinglk.web.page import redirect, render
from weddinglk.web.site import site_of

ID_MAX = 2**31 - 1  # no listing has a larger one; keeps absurd numbers from the database
_REVIEWS_PER_PAGE = 6


async def venue_list(request: Request) -> Response:
    """``GET /venues``"""
    catalogue = site_of(request).catalogue
    query = venue_query(request.query_params, catalogue)
    result = await catalogue.search_venues(query)
    links = links_of("/venues", query)
    if result.page != query.page:
        return redirect(request, links.to_page(result.page), status=302)
    page = {} if result.page == 1 else {"page": str(result.page)}
    kept = {"district": query.district} if query.district else {}
    return render(
        request,
        "venues.html",
        canonical_query=kept | page,
        query=query,
        result=result,
        links=links,
        numbers=page_numbers(result.page, result.pages),
        sorts=VENUE_SORTS,
        district=catalogue.district(query.district) if query.district else None,
    )


async def venue_page(request: Request) -> Response:
    """``GET /venues/{venue_id}``, with ``reviews`` for their page and ``date`` for one day."""
    catalogue = site_of(request).catalogue
    venue_id = request.path_params["venue_id"]
    venue = await catalogue.venue(venue_id) if venue_id <= ID_MAX else None
    if venue is None:
        return not_found(request)
    site_of(request).demand.view(f"venue:{venue.id}")
    reviews = await catalogue.reviews(f"venue:{venue.id}", review_page(request), _REVIEWS_PER_PAGE)
    first = availability.shown_today()
    asked = request.query_params.get("date", "")
    return render(
        request,
        "venue.html",
        venue=venue,
        district=catalogue.district(venue.district),
        place=catalogue.place(venue.place),
        reviews=reviews,
        numbers=page_numbers(reviews.page, reviews.pages),
        similar=await catalogue.similar_venues(venue),
        months=availability.months_from(first, venue.booked_dates),
        first_day=first.isoformat(),
        last_day=first.replace(year=first.year + 1, day=1).isoformat(),
        asked=availability.state_of(asked, first, venue.booked_dates) if asked else None,
        dot=island.point_on_map(venue.position),
        island=island,
    )


def review_page(request: Request) -> int:
    """Return the page of reviews asked for; 1 unless ``reviews`` is a plain number."""
    text = request.query_params.get("reviews", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1


routes = [
    Route("/venues", venue_list),
    Route("/venues/{venue_id:int}", venue_page),
]
