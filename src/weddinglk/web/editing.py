"""``PATCH`` of a listing: a JSON merge patch by the operator (RFC 5789, RFC 7396).

The answer is what GET answers from now on, in the same language, with its entity tag. It comes when
every cache has the change: ``Poruwa-Acknowledged`` says how many milliseconds that took (the
platform adds the position, for this client's next reads). 503 says whether the change was refused,
or is stored and on its way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from poruwa import WriteRefused, WriteUnacknowledged
from weddinglk.documents import Document, vendor_from_document, venue_from_document
from weddinglk.edits import EditRefused, edited, schema_of
from weddinglk.search.query import Kind
from weddinglk.web.api import Language, ListingId
from weddinglk.web.api_models import Model, VendorModel, VenueModel
from weddinglk.web.operator import refusal
from weddinglk.web.page import choice_of, language_headers
from weddinglk.web.problem import Problem, problem_response
from weddinglk.web.site import site_of

MERGE_PATCH: Final = "application/merge-patch+json"
BODY_MAX: Final = 64 * 1024  # bytes; all texts of a listing at their longest, escaped, are 80 kB
RETRY_AFTER_SECONDS: Final = 1  # leases lapse, and the bus is found again, within that
_ETAG_BYTES = 16  # as CacheHeadersMiddleware makes them of the same bytes
# A cache that compressed the representation names the coding within its tag; it is the same one.
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*?)(?:-(?:br|zstd|gzip))?"')
_WHERE = {
    400: "The body is no JSON.",
    401: "The operator's token is missing or wrong.",
    403: "Nobody may edit here.",
    404: "No such listing.",
    412: "The listing is no longer the one that If-Match names.",
    413: "The body is too long.",
    415: f"The body is no {MERGE_PATCH}.",
    422: "Members that were refused, each named.",
    503: "Refused, or stored and not yet acknowledged; the member `write` says which.",
}
_problems: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text} for status, text in _WHERE.items()
}


router = APIRouter(prefix="/api/v1", responses=_problems)


def _takes(kind: Kind) -> dict[str, Any]:
    """Return what the schema says of the body."""
    content = {MERGE_PATCH: {"schema": schema_of(kind)}}
    return {"requestBody": {"required": True, "content": content}, "security": [{"operator": []}]}


@router.patch(
    "/venues/{venue_id}",
    response_model=VenueModel,
    tags=["venues"],
    openapi_extra=_takes(Kind.VENUE),
)
async def edit_venue(request: Request, venue_id: ListingId, lang: Language) -> Response:
    """Change what a JSON merge patch names of a venue; answered once every cache has it."""
    return await _edit(request, Kind.VENUE, venue_id)


@router.patch(
    "/vendors/{vendor_id}",
    response_model=VendorModel,
    tags=["vendors"],
    openapi_extra=_takes(Kind.VENDOR),
)
async def edit_vendor(request: Request, vendor_id: ListingId, lang: Language) -> Response:
    """Change what a JSON merge patch names of a vendor; answered once every cache has it."""
    return await _edit(request, Kind.VENDOR, vendor_id)


class _Stale(Exception):
    """If-Match names another representation than the present one."""


async def _edit(request: Request, kind: Kind, listing_id: int) -> Response:
    site = site_of(request)
    refused = refusal(request, site.operator_token) or _wrong_type(request)
    if refused is not None:
        return refused
    body = await _body(request)
    if body is None:
        return problem_response(request, 413, f"{BODY_MAX} bytes are the most.")
    try:
        patch = _parsed(body)
    except ValueError as error:
        return problem_response(request, 400, f"The body is no JSON: {error}.")

    def change(document: Document) -> Document:
        conditions = request.headers.getlist("if-match")
        if conditions and not _names(conditions, _representation(request, kind, document)):
            raise _Stale
        return edited(kind, document, patch)

    try:
        done = await site.editor.edit(kind, listing_id, change)
    except _Stale:
        detail = "It was changed since; GET it anew, in the same language, and send its ETag."
        return problem_response(request, 412, detail)
    except EditRefused as error:
        return _refused(request, error)
    except WriteRefused as error:
        return _not_taken(request, error.message, "refused")
    except WriteUnacknowledged as error:
        became = "unknown" if error.is_stored is None else "stored"
        return _not_taken(request, error.message, became)
    if done is None:
        return problem_response(request, 404, f"There is no {kind} {listing_id}.")
    representation = _representation(request, kind, done.document)
    headers = language_headers(choice_of(request)) | {
        "ETag": _entity_tag(representation),
        "Content-Location": request.url.path,
        "Cache-Control": "no-store",
    }
    if done.acknowledgement is not None:
        headers["Poruwa-Acknowledged"] = f"{done.acknowledgement.seconds * 1000:.1f}"
    return Response(representation, headers=headers, media_type="application/json")


def _wrong_type(request: Request) -> Response | None:
    """Return the refusal of a body that is no merge patch (RFC 5789 section 2.2)."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != MERGE_PATCH:
        detail = f"Send Content-Type: {MERGE_PATCH} (RFC 7396), not {given[:80] or 'nothing'}."
        return problem_response(request, 415, detail, headers={"Accept-Patch": MERGE_PATCH})
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        # RFC 9110 section 15.5.16
        detail = "Send the body without Content-Encoding."
        return problem_response(request, 415, detail, headers={"Accept-Encoding": "identity"})
    return None


async def _body(request: Request) -> bytes | None:
    """Return the body, None if it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            return None
    return bytes(body)


def _parsed(body: bytes) -> object:
    """Return what the JSON says.

    Raises:
        ValueError: it is none, or not one that all readers read alike (RFC 8259 section 4).
    """
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_once_each, parse_constant=_no_such_number
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _no_such_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _representation(request: Request, kind: Kind, document: Document) -> bytes:
    """Return the bytes that GET answers, in the language of the request."""
    catalogue, language = site_of(request).catalogue, choice_of(request).language
    model: Model
    if kind is Kind.VENUE:
        model = VenueModel.of(venue_from_document(document), language, catalogue)
    else:
        model = VendorModel.of(vendor_from_document(document), language, catalogue)
    return model.model_dump_json().encode()


def _entity_tag(representation: bytes) -> str:
    return f'"{hashlib.sha256(representation).hexdigest()[: 2 * _ETAG_BYTES]}"'


def _names(conditions: list[str], representation: bytes) -> bool:
    """Tell whether If-Match holds: RFC 9110 section 13.1.1, with strong comparison."""
    wanted = ", ".join(conditions)
    if wanted.strip() == "*":
        return True
    current = _entity_tag(representation).strip('"')
    return any(match[2] == current and not match[1] for match in _ENTITY_TAG.finditer(wanted))


def _refused(request: Request, error: EditRefused) -> Response:
    errors: list[Mapping[str, str]] = [
        {"parameter": refusal.member[:80] or "body", "reason": refusal.reason}
        for refusal in error.refusals
    ]
    names = ", ".join(entry["parameter"] for entry in errors[:20])
    return problem_response(request, 422, f"Refused: {names}.", errors=errors[:20])


def _not_taken(request: Request, message: str, became: str) -> Response:
    detail = f"{message[:1].upper()}{message[1:]}."
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return problem_response(request, 503, detail, headers=headers, extra={"write": became})
