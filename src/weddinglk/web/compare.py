"""Up to four venues side by side."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.domain import Venue
from weddinglk.web import availability
from weddinglk.web.page import render
from weddinglk.web.site import site_of
from weddinglk.web.venues import ID_MAX

COMPARED_MAX = 4


async def compare_page(request: Request) -> Response:
    """``GET /compare?venue=1&venue=2``; what is no venue, and a fifth one, is left out."""
    catalogue = site_of(request).catalogue
    venues = await catalogue.venues(compared_ids(request.query_params.getlist("venue")))
    first = availability.shown_today() if venues else availability.today()
    return render(
        request,
        "compare.html",
        venues=venues,
        columns=[
            {
                "venue": venue,
                "district": catalogue.district(venue.district),
                "place": catalogue.place(venue.place),
                "without_url": _url_without(venues, venue),
                "free_days": sum(
                    month.free for month in availability.months_from(first, venue.booked_dates, 6)
                ),
            }
            for venue in venues
        ],
        facilities=sorted({facility for venue in venues for facility in venue.facilities}),
        best=_best(venues),
    )


def compared_ids(texts: list[str]) -> list[int]:
    """Return the first four different ids among the values of ``venue``."""
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 11]
    return [number for number in dict.fromkeys(numbers) if number <= ID_MAX][:COMPARED_MAX]


def _url_without(venues: tuple[Venue, ...], left_out: Venue) -> str:
    others = [("venue", venue.id) for venue in venues if venue.id != left_out.id]
    return f"/compare?{urlencode(others)}" if others else "/compare"


def _best(venues: tuple[Venue, ...]) -> dict[str, float]:
    """Return the value of each row that deserves a mark; none where there is no choice."""
    if len(venues) < 2:
        return {}
    return {
        "price": min(venue.price_per_guest_lkr for venue in venues),
        "guests": max(venue.guests_max for venue in venues),
        "rating": max(venue.rating for venue in venues),
    }


routes = [Route("/compare", compare_page)]
