"""The search over venues and vendors together."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.web.filters import links_of, page_numbers, search_query
from weddinglk.web.page import redirect, render
from weddinglk.web.site import site_of


async def search_page(request: Request) -> Response:
    """``GET /search?q=``; without a text it shows what can be searched for."""
    catalogue = site_of(request).catalogue
    query = search_query(request.query_params, catalogue)
    result = await catalogue.search(query)
    links = links_of("/search", query)
    if result.page != query.page:
        return redirect(request, links.to_page(result.page), status=302)
    return render(
        request,
        "search.html",
        query=query,
        result=result,
        links=links,
        numbers=page_numbers(result.page, result.pages),
    )


routes = [Route("/search", search_page)]
