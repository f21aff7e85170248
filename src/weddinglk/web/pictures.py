"""``/art/{version}/{kind}/{style}/{seed}.svg``: the drawn pictures, kept for a year by anyone."""

from __future__ import annotations

from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weddinglk.art.picture import ART_VERSION, SEEDS, draw, is_known
from weddinglk.web.errors import not_found
from weddinglk.web.static import IMMUTABLE

_KEPT = 2048  # pictures of about 5 KB: 10 MB a process


async def picture(request: Request) -> Response:
    """``GET /art/{version}/{kind}/{style}/{seed}.svg``

    Another version (of a page drawn by another build) gets the present picture, not to be kept.
    """
    params = request.path_params
    kind, style, seed = params["kind"], params["style"], params["seed"]
    if not is_known(kind, style) or seed >= SEEDS:
        return not_found(request)
    body = _drawn(kind, style, seed)
    exact = params["version"] == ART_VERSION
    headers = {
        "Cache-Control": IMMUTABLE if exact else "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, headers=headers, media_type="image/svg+xml")


@lru_cache(maxsize=_KEPT)
def _drawn(kind: str, style: str, seed: int) -> bytes:
    return draw(kind, style, seed).encode()


routes = [Route("/art/{version}/{kind}/{style}/{seed:int}.svg", picture)]
