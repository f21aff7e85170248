"""Validators: the ETag of a body and whether a client already has it (RFC 9110 section 13).

ETags are strong and made from the bytes; whoever encodes the body on the way weakens them.
"""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

REVALIDATED = "public, max-age=0, must-revalidate"


def etag_of(body: bytes) -> str:
    """Return the strong entity tag of ``body``, with its quotes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def is_not_modified(request: Request, etag: str) -> bool:
    """Whether If-None-Match names ``etag``, by weak comparison (RFC 9110 section 13.1.2)."""
    field = request.headers.get("if-none-match")
    if field is None or request.method not in ("GET", "HEAD"):
        return False
    if field.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in field.split(","))


def shared_response(
    request: Request,
    body: bytes,
    media_type: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return ``body``, the same for everybody, or 304 where the client has it.

    Errors (status 400 and above) are not stored: what one client provoked is nobody else's.
    """
    all_headers = headers or {}
    if status >= 400:
        all_headers["Cache-Control"] = "no-store"
        return Response(body, status, all_headers, media_type)
    all_headers.setdefault("Cache-Control", REVALIDATED)
    all_headers["ETag"] = etag_of(body)
    if is_not_modified(request, all_headers["ETag"]):
        return Response(status_code=304, headers=all_headers)
    return Response(body, status, all_headers, media_type)
