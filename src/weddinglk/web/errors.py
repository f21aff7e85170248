"""The site's own error pages: nothing here, not allowed, not at present, and our fault.

Below ``/api/`` the same failures are problem+json (``weddinglk.web.problem``).
"""

from __future__ import annotations

import logging
import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from weddinglk.web.page import redirect, render
from weddinglk.web.problem import is_api, problem_response

RETRY_AFTER_SECONDS = 5  # the embedded database is back after a restart within two
# Plain names only: "//host/" must not become a redirect to another host.
_WITH_TRAILING_SLASH = re.compile(r"(/[\w-]+)+/", re.ASCII)
_logger = logging.getLogger("weddinglk")


def not_found(request: Request) -> Response:
    """Return the page for what does not exist."""
    return error_page(request, 404)


def error_page(request: Request, status: int) -> Response:
    """Return the page for ``status``; those without words of their own read as 404 or 500."""
    known = status if status in (404, 405, 500, 503) else (404 if status < 500 else 500)
    return render(request, "error.html", status=status, code=status, kind=str(known))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what routing refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 404 and _WITH_TRAILING_SLASH.fullmatch(path):
        query = request.url.query
        return redirect(request, path.rstrip("/") + (f"?{query}" if query else ""))
    if is_api(request):
        return problem_response(request, error.status_code, headers=error.headers)
    response = error_page(request, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def on_database_failure(request: Request, error: Exception) -> Response:
    """Answer a database that is away or too slow: 503, to be tried again soon."""
    _logger.warning("database: %s", " ".join(str(error).split())[:300])
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if is_api(request):
        return problem_response(request, 503, "Please try again in a moment.", headers=headers)
    response = error_page(request, 503)
    response.headers.update(headers)
    return response


async def on_failure(request: Request, error: Exception) -> Response:
    """Answer an exception nobody caught; it is logged by the server, never shown."""
    if is_api(request):
        return problem_response(request, 500)
    return error_page(request, 500)
