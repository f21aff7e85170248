"""Vendors: all of them, those of a category, and one vendor."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.domain import VendorCategory
from weddinglk.search.query import VENDOR_SORTS
from weddinglk.web.errors import not_found
from weddinglk.web.filters import links_of, page_numbers, vendor_query
from weddinglk.web.page import redirect, render
from weddinglk.web.site import site_of
from weddinglk.web.venues import ID_MAX, review_page

_REVIEWS_PER_PAGE = 6


async def vendor_list(request: Request) -> Response:
    """``GET /vendors`` and ``GET /vendors/{category}``"""
    site = site_of(request)
    category = _category(request)
    if category is None and "category" in request.path_params:
        return not_found(request)
    query = vendor_query(request.query_params, site.catalogue, category)
    result = await site.catalogue.search_vendors(query)
    links = links_of(f"/vendors/{category}" if category else "/vendors", query)
    if result.page != query.page:
        return redirect(request, links.to_page(result.page), status=302)
    return render(
        request,
        "vendors.html",
        canonical_query={} if result.page == 1 else {"page": str(result.page)},
        query=query,
        result=result,
        links=links,
        numbers=page_numbers(result.page, result.pages),
        sorts=VENDOR_SORTS,
        categories=list(VendorCategory),
        district=site.catalogue.district(query.district) if query.district else None,
    )


async def vendor_page(request: Request) -> Response:
    """``GET /vendors/{category}/{vendor_id}``; under a wrong category it leads to the right one."""
    catalogue = site_of(request).catalogue
    category = _category(request)
    vendor_id = request.path_params["vendor_id"]
    vendor = await catalogue.vendor(vendor_id) if category and vendor_id <= ID_MAX else None
    if vendor is None:
        return not_found(request)
    if vendor.category is not category:
        return redirect(request, f"/vendors/{vendor.category}/{vendor.id}")
    site_of(request).demand.view(f"vendor:{vendor.id}")
    reviews = await catalogue.reviews(
        f"vendor:{vendor.id}", review_page(request), _REVIEWS_PER_PAGE
    )
    return render(
        request,
        "vendor.html",
        vendor=vendor,
        district=catalogue.district(vendor.district),
        place=catalogue.place(vendor.place),
        served=[d for d in catalogue.districts() if d.id in vendor.serves_districts],
        reviews=reviews,
        numbers=page_numbers(reviews.page, reviews.pages),
        others=await catalogue.similar_vendors(vendor),
    )


def _category(request: Request) -> VendorCategory | None:
    try:
        return VendorCategory(request.path_params.get("category", ""))
    except ValueError:
        return None


routes = [
    Route("/vendors", vendor_list),
    Route("/vendors/{category}", vendor_list),
    Route("/vendors/{category}/{vendor_id:int}", vendor_page),
]
