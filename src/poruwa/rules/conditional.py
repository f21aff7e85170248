"""Whether a client needs the whole answer: preconditions and byte ranges.

Of use to whoever has a representation and its validators: the static folder, the cache. Follows
the order of RFC 9110 section 13.2.2, for a cache with what RFC 9111 section 4.3.2 says of it;
ranges are section 14. One range is served; for a request of several the whole representation is
sent, which section 14.2 leaves to the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from poruwa.rules.http_date import parse_http_date

_ENTITY_TAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ONE_RANGE = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What can be sent: its size in bytes and its validators.

    ``etag`` is with its quotes, and with ``W/`` if weak; empty where there is none.
    ``last_modified`` is in seconds since 1970-01-01 UTC; None where it is not known.

    A stored response has a ``date`` besides: that of its Date field or, without one, of its
    arrival. Where last_modified is None, If-Modified-Since is compared with it (RFC 9111 section
    4.3.2), and the age of last_modified is taken at that time.
    """

    size: int
    etag: bytes
    last_modified: int | None
    date: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to send: the status, and the bytes from ``start`` up to, not including, ``end``.

    Both are 0 for 304, 412 and 416, which have no content of the representation.
    """

    status: int
    start: int = 0
    end: int = 0


def select(
    method: bytes,
    fields: Mapping[bytes, bytes],
    representation: Representation,
    *,
    now: float,
    for_cache: bool = False,
) -> Selection:
    """Return what the answer to a GET or HEAD is: status 200, 206, 304, 412 or 416.

    Args:
        method: ``GET`` or ``HEAD``.
        fields: by lower-case name, repeated lines joined by ``", "``.
        now: wall time in seconds.
        for_cache: If-Match and If-Unmodified-Since are not looked at: they are the origin's to
            decide (RFC 9111 section 4.3.2). There is no 412 then.
    """
    refused = _failed_precondition(fields, representation, now=now, for_cache=for_cache)
    if refused:
        return Selection(status=refused)
    size = representation.size
    whole = Selection(status=200, end=size)
    # Step 5: Range is defined for GET only.
    if method != b"GET" or b"range" not in fields:
        return whole
    if not range_applies(fields.get(b"if-range"), representation, now=now):
        return whole
    return _select_range(fields[b"range"], size) or whole


def _failed_precondition(
    fields: Mapping[bytes, bytes], representation: Representation, *, now: float, for_cache: bool
) -> int:
    """Return 412, or 304, for the first precondition that is false; 0 when all hold."""
    modified = representation.last_modified
    # Steps 1 and 2.
    if not for_cache:
        if_match = fields.get(b"if-match")
        if if_match is not None:
            if not _names_tag(if_match, representation.etag, strong=True):
                return 412
        else:
            since = _date_in(fields, b"if-unmodified-since", now=now)
            # Section 13.1.4: ignored where no date of modification is known.
            if since is not None and modified is not None and modified > since:
                return 412
    # Steps 3 and 4.
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        return 304 if _names_tag(if_none_match, representation.etag, strong=False) else 0
    if modified is None:
        modified = representation.date
    since = _date_in(fields, b"if-modified-since", now=now)
    return 304 if since is not None and modified is not None and modified <= since else 0


def _names_tag(value: bytes, etag: bytes, *, strong: bool) -> bool:
    """Tell whether a list of entity tags has ``etag``, or is ``*`` (RFC 9110 section 8.8.3.2).

    ``*`` is true of any representation, with or without a tag.
    """
    if value == b"*":
        return True
    if not etag:
        return False
    if etag.startswith(b"W/"):
        if strong:
            return False
        etag = etag[2:]
    return any(
        match[2] == etag and not (strong and match[1]) for match in _ENTITY_TAG.finditer(value)
    )


def _date_in(fields: Mapping[bytes, bytes], name: bytes, *, now: float) -> int | None:
    value = fields.get(name)
    return None if value is None else parse_http_date(value, now=now)


def range_applies(if_range: bytes | None, representation: Representation, *, now: float) -> bool:
    """Tell whether ``If-Range`` lets a range be sent (RFC 9110 section 13.1.5).

    A weak tag never does. A date must be the very one we send, and be past: what changed within
    the present second may change again with the same date (section 8.8.2.2). For a stored
    response, present is when the origin sent it.
    """
    if if_range is None:
        return True
    if if_range.startswith((b'"', b"W/")):
        return if_range == representation.etag and not if_range.startswith(b"W/")
    modified = representation.last_modified
    if modified is None or parse_http_date(if_range, now=now) != modified:
        return False
    sent_at = now if representation.date is None else representation.date
    return sent_at - modified >= 1


def _select_range(value: bytes, size: int) -> Selection | None:
    """Return the selection for a ``Range`` field; None where it is to be ignored.

    Ignored are units other than bytes, several ranges, what is no range, and any range of an
    empty file, of which no Content-Range can speak.
    """
    match = _ONE_RANGE.fullmatch(value)
    if match is None or not size:
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        length = min(int(last), size)
        return Selection(status=206, start=size - length, end=size) if length else _UNSATISFIABLE
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return _UNSATISFIABLE
    return Selection(status=206, start=start, end=min(int(last) + 1, size) if last else size)


_UNSATISFIABLE = Selection(status=416)
