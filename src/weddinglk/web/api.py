"""The JSON API under ``/api/v1``: listings, reviews, days, districts, search and suggestions.

Reads only; ``editing`` adds the writes. The language of texts is ``?lang=`` or Accept-Language.
Unknown values of a filter are refused with 422 and a reason, where a page would ignore them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from weddinglk.domain import Vendor, VendorCategory, Venue, VenueSetting, VenueStyle
from weddinglk.search.query import (
    PER_PAGE,
    PER_PAGE_MAX,
    VENDOR_SORTS,
    Kind,
    Result,
    SearchQuery,
    Sort,
    VendorQuery,
    VenueQuery,
)
from weddinglk.web import availability
from weddinglk.web.api_models import (
    AvailabilityModel,
    DistrictModel,
    FacetModel,
    Model,
    PageModel,
    ResultModel,
    ReviewModel,
    SearchHit,
    Suggestion,
    VendorModel,
    VendorSummary,
    VenueModel,
    VenueSummary,
)
from weddinglk.web.filters import TEXT_MAX, district_id
from weddinglk.web.page import choice_of, language_headers
from weddinglk.web.problem import Problem, problem_response
from weddinglk.web.site import site_of
from weddinglk.web.venues import ID_MAX

_SUGGESTIONS = 8
_REVIEWS_PER_PAGE = 10
_PAGE_MAX = 100_000
_AVAILABILITY_DAYS = 365
_LAKHS_MAX = 100_000_000

_not_found: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such listing."}
}
router = APIRouter(
    prefix="/api/v1",
    responses={422: {"model": Problem, "description": "Parameters that were refused, each named."}},
)

ListingId = Annotated[int, Path(ge=1, le=ID_MAX, examples=[12])]
Text = Annotated[str, Query(max_length=TEXT_MAX, description="Words to look for.")]
PageNumber = Annotated[int, Query(ge=1, le=_PAGE_MAX)]
PerPage = Annotated[int, Query(ge=1, le=PER_PAGE_MAX)]
Guests = Annotated[int | None, Query(ge=1, le=10_000, description="Size of the party.")]
PriceMax = Annotated[int | None, Query(ge=1, le=_LAKHS_MAX, description="Highest price in LKR.")]
SpokenLanguage = Annotated[str | None, Query(pattern="^(en|si|ta)$", description="One spoken.")]


def _language(
    lang: Annotated[
        str | None, Query(pattern="^(en|si|ta)$", description="Language of texts.")
    ] = None,
) -> str | None:
    return lang  # applied by the middleware; stated here for validation and the schema


def _district(
    request: Request,
    district: Annotated[
        str | None, Query(description="A district's id or English name.", examples=["kandy"])
    ] = None,
) -> str | None:
    if not district:
        return None
    found = district_id(district, site_of(request).catalogue)
    if found is None:
        reason = "No such district; /api/v1/districts lists the 25 there are"
        raise RequestValidationError([{"loc": ("query", "district"), "msg": reason}])
    return found


Language = Annotated[str | None, Depends(_language)]
DistrictId = Annotated[str | None, Depends(_district)]


@router.get("/venues", response_model=ResultModel[VenueSummary], tags=["venues"])
async def list_venues(
    request: Request,
    lang: Language,
    district: DistrictId,
    q: Text = "",
    guests: Guests = None,
    price_max: PriceMax = None,
    style: VenueStyle | None = None,
    setting: VenueSetting | None = None,
    sort: Sort = Sort.RECOMMENDED,
    page: PageNumber = 1,
    per_page: PerPage = PER_PAGE,
) -> Response:
    """Return venues that match every filter given."""
    query = VenueQuery(
        text=q.strip(),
        district=district,
        guests=guests,
        price_max=price_max,
        style=style,
        setting=setting,
        sort=sort,
        page=page,
        per_page=per_page,
    )
    catalogue, language = site_of(request).catalogue, choice_of(request).language
    result = await catalogue.search_venues(query)
    items = [VenueSummary.of(venue, language, catalogue) for venue in result.items]
    return _answer(request, _result(ResultModel[VenueSummary], result, items, page))


@router.get("/venues/{venue_id}", response_model=VenueModel, responses=_not_found, tags=["venues"])
async def get_venue(request: Request, venue_id: ListingId, lang: Language) -> Response:
    """Return one venue."""
    catalogue = site_of(request).catalogue
    venue = await catalogue.venue(venue_id)
    if venue is None:
        return problem_response(request, 404, f"There is no venue {venue_id}.")
    site_of(request).demand.view(f"venue:{venue_id}")
    return _answer(request, VenueModel.of(venue, choice_of(request).language, catalogue))


@router.get(
    "/venues/{venue_id}/reviews",
    response_model=PageModel[ReviewModel],
    responses=_not_found,
    tags=["venues"],
)
async def list_venue_reviews(
    request: Request,
    venue_id: ListingId,
    lang: Language,
    page: PageNumber = 1,
    per_page: PerPage = _REVIEWS_PER_PAGE,
) -> Response:
    """Return reviews of a venue, newest first."""
    if await site_of(request).catalogue.venue(venue_id) is None:
        return problem_response(request, 404, f"There is no venue {venue_id}.")
    return await _reviews(request, f"venue:{venue_id}", page, per_page)


@router.get(
    "/venues/{venue_id}/availability",
    response_model=AvailabilityModel,
    responses=_not_found,
    tags=["venues"],
)
async def get_availability(request: Request, venue_id: ListingId, lang: Language) -> Response:
    """Return the booked days of the coming year."""
    venue = await site_of(request).catalogue.venue(venue_id)
    if venue is None:
        return problem_response(request, 404, f"There is no venue {venue_id}.")
    first = availability.shown_today()
    last = first + timedelta(days=_AVAILABILITY_DAYS - 1)
    booked = [day for day in venue.booked_dates if first.isoformat() <= day <= last.isoformat()]
    model = AvailabilityModel(
        venue_id=venue_id,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        booked_days=booked,
        free_days=_AVAILABILITY_DAYS - len(booked),
    )
    return _answer(request, model)


@router.get("/vendors", response_model=ResultModel[VendorSummary], tags=["vendors"])
async def list_vendors(
    request: Request,
    lang: Language,
    district: DistrictId,
    q: Text = "",
    category: VendorCategory | None = None,
    price_max: PriceMax = None,
    language: SpokenLanguage = None,
    sort: Annotated[Sort, Query(description="Not ``guests``.")] = Sort.RECOMMENDED,
    page: PageNumber = 1,
    per_page: PerPage = PER_PAGE,
) -> Response:
    """Return vendors that match every filter given; ``district`` is one they serve."""
    if sort not in VENDOR_SORTS:
        reason = f"Vendors sort by {', '.join(VENDOR_SORTS)}"
        raise RequestValidationError([{"loc": ("query", "sort"), "msg": reason}])
    query = VendorQuery(
        text=q.strip(),
        category=category,
        district=district,
        price_max=price_max,
        language=language,
        sort=sort,
        page=page,
        per_page=per_page,
    )
    catalogue = site_of(request).catalogue
    result = await catalogue.search_vendors(query)
    in_language = choice_of(request).language
    items = [VendorSummary.of(vendor, in_language, catalogue) for vendor in result.items]
    return _answer(request, _result(ResultModel[VendorSummary], result, items, page))


@router.get(
    "/vendors/{vendor_id}", response_model=VendorModel, responses=_not_found, tags=["vendors"]
)
async def get_vendor(request: Request, vendor_id: ListingId, lang: Language) -> Response:
    """Return one vendor."""
    catalogue = site_of(request).catalogue
    vendor = await catalogue.vendor(vendor_id)
    if vendor is None:
        return problem_response(request, 404, f"There is no vendor {vendor_id}.")
    site_of(request).demand.view(f"vendor:{vendor_id}")
    return _answer(request, VendorModel.of(vendor, choice_of(request).language, catalogue))


@router.get(
    "/vendors/{vendor_id}/reviews",
    response_model=PageModel[ReviewModel],
    responses=_not_found,
    tags=["vendors"],
)
async def list_vendor_reviews(
    request: Request,
    vendor_id: ListingId,
    lang: Language,
    page: PageNumber = 1,
    per_page: PerPage = _REVIEWS_PER_PAGE,
) -> Response:
    """Return reviews of a vendor, newest first."""
    if await site_of(request).catalogue.vendor(vendor_id) is None:
        return problem_response(request, 404, f"There is no vendor {vendor_id}.")
    return await _reviews(request, f"vendor:{vendor_id}", page, per_page)


@router.get("/districts", response_model=list[DistrictModel], tags=["places"])
async def list_districts(request: Request, lang: Language) -> Response:
    """Return the 25 districts."""
    catalogue, language = site_of(request).catalogue, choice_of(request).language
    counts = (await site_of(request).catalogue.overview()).venues_by_district
    models = [
        DistrictModel.of(district, language, counts.get(district.id, 0))
        for district in catalogue.districts()
    ]
    return _answer(request, *models, is_list=True)


@router.get("/search", response_model=ResultModel[SearchHit], tags=["search"])
async def search(
    request: Request,
    lang: Language,
    district: DistrictId,
    q: Text = "",
    kind: Kind | None = None,
    category: VendorCategory | None = None,
    style: VenueStyle | None = None,
    page: PageNumber = 1,
    per_page: PerPage = PER_PAGE,
) -> Response:
    """Return venues and vendors together, best match first; misspelt words are corrected."""
    query = SearchQuery(
        text=q.strip(),
        kind=kind,
        district=district,
        category=category,
        style=style,
        page=page,
        per_page=per_page,
    )
    result = await site_of(request).catalogue.search(query)
    hits = [_hit(request, item) for item in result.items]
    return _answer(request, _result(ResultModel[SearchHit], result, hits, page))


@router.get("/suggestions", response_model=list[Suggestion], tags=["search"])
async def list_suggestions(
    request: Request,
    lang: Language,
    q: Annotated[str, Query(min_length=1, max_length=TEXT_MAX)],
) -> Response:
    """Return a few listings to offer while somebody types."""
    catalogue, language = site_of(request).catalogue, choice_of(request).language
    result = await catalogue.search(SearchQuery(text=q.strip(), per_page=_SUGGESTIONS))
    suggestions = []
    for item in result.items:
        place = catalogue.place(item.place)
        kind = Kind.VENUE if isinstance(item, Venue) else Kind.VENDOR
        path = "venues" if isinstance(item, Venue) else f"vendors/{item.category}"
        suggestions.append(
            Suggestion(
                text=item.name,
                kind=kind,
                url=f"/{language}/{path}/{item.id}",
                place=place.name.in_language(language) if place else "",
            )
        )
    return _answer(request, *suggestions, is_list=True)


async def _reviews(request: Request, subject: str, page: int, per_page: int) -> Response:
    found = await site_of(request).catalogue.reviews(subject, page, per_page)
    past_the_end = page > found.pages
    model = PageModel[ReviewModel](
        items=[] if past_the_end else [ReviewModel.of(review) for review in found.items],
        total=found.total,
        page=page,
        pages=found.pages,
    )
    return _answer(request, model)


def _result(model: type[Any], result: Result[Any], items: list[Any], page: int) -> Model:
    """Return the page as the API states it: one past the last is empty, not the last again."""
    facets = {name: [FacetModel.of(f) for f in counts] for name, counts in result.facets.items()}
    answer = model(
        items=items if result.page == page else [],
        total=result.total,
        page=page,
        pages=result.pages,
        facets=facets,
        suggestion=result.suggestion,
    )
    assert isinstance(answer, Model)
    return answer


def _hit(request: Request, item: Venue | Vendor) -> SearchHit:
    catalogue, language = site_of(request).catalogue, choice_of(request).language
    if isinstance(item, Venue):
        return SearchHit(kind=Kind.VENUE, venue=VenueSummary.of(item, language, catalogue))
    return SearchHit(kind=Kind.VENDOR, vendor=VendorSummary.of(item, language, catalogue))


def _answer(request: Request, *models: Model, is_list: bool = False) -> Response:
    """Return the models as JSON in the language of the request."""
    texts = ",".join(model.model_dump_json() for model in models)
    body = f"[{texts}]" if is_list else texts
    headers = language_headers(choice_of(request))
    return Response(body, headers=headers, media_type="application/json")


def _answer_head_too() -> None:
    """Add HEAD to every GET (RFC 9110 section 9.3.2), unseen in the schema.

    A second route and not a second method of the same: the schema would list both.
    """
    for route in [route for route in router.routes if isinstance(route, APIRoute)]:
        path = route.path.removeprefix(router.prefix)
        router.add_api_route(path, route.endpoint, methods=["HEAD"], include_in_schema=False)


_answer_head_too()
