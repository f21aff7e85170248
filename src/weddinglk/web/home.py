"""The front page and the page that says what the site is."""

from __future__ import annotations

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.domain import VendorCategory, VenueStyle
from weddinglk.web import island
from weddinglk.web.page import render
from weddinglk.web.site import site_of

_DISTRICTS_SHOWN = 8
_GUEST_CHOICES = (50, 100, 150, 200, 300, 400, 500, 800)


async def home_page(request: Request) -> Response:
    """``GET /``"""
    catalogue = site_of(request).catalogue
    overview = await catalogue.overview()
    featured = await catalogue.featured()
    districts = catalogue.districts()
    counted = overview.venues_by_district
    liveliest = sorted(districts, key=lambda district: -counted.get(district.id, 0))
    return render(
        request,
        "home.html",
        overview=overview,
        featured=featured,
        districts=districts,
        liveliest=list(islice(liveliest, _DISTRICTS_SHOWN)),
        categories=list(VendorCategory),
        styles=list(VenueStyle),
        guest_choices=_GUEST_CHOICES,
        dots=[(district, *island.point_on_map(district.position)) for district in districts],
        island=island,
    )


async def about_page(request: Request) -> Response:
    """``GET /about``"""
    return render(request, "about.html")


routes = [Route("/", home_page), Route("/about", about_page)]
