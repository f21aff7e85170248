"""What of a response is stored, and how later responses change what is stored.

Used by the cache when it stores, when it asks the origin whether a stored response still holds,
and when the answer, a 304 or the answer to a HEAD, brings newer fields.

Source: RFC 9111 sections 3.1, 3.2 and 4.3.1, 4.3.4, 4.3.5. Header lines are ``(name, value)`` as
they came; names are compared in lower case. Whether to store at all is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

NEVER_STORED: Final = frozenset(
    (
        # RFC 9111 section 3.1: what must be removed before forwarding ...
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # ... and what a proxy between here and the origin said to us alone.
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        # Section 4: computed anew for each response that is sent.
        b"age",
    )
)
"""Response fields that are not stored."""

NEVER_UPDATED: Final = frozenset(
    (b"content-length", b"content-encoding", b"content-range", b"content-md5", b"content-digest")
)
"""Fields of the stored response that its bytes decide; see ``updated_lines``."""


def storable_lines(
    lines: Sequence[tuple[bytes, bytes]],
    connection_names: frozenset[bytes] | None,
    *,
    drop: frozenset[bytes],
) -> list[tuple[bytes, bytes]]:
    """Return the header lines to store, in order (RFC 9111 section 3.1).

    Args:
        lines: of a response.
        connection_names: those its Connection field nominates, in lower case.
        drop: other names not to store, in lower case: those in ``no-cache="..."`` and
            ``private="..."`` (sections 5.2.2.4 and 5.2.2.7).
    """
    out = (
        NEVER_STORED | drop if connection_names is None else NEVER_STORED | drop | connection_names
    )
    return [line for line in lines if line[0].lower() not in out]


def updated_lines(
    stored: Sequence[tuple[bytes, bytes]],
    newer: Sequence[tuple[bytes, bytes]],
    connection_names: frozenset[bytes] | None = None,
    *,
    drop: frozenset[bytes] = frozenset(),
) -> list[tuple[bytes, bytes]]:
    """Return the stored lines after a 304, a 206 or the answer to a HEAD brought newer ones.

    Section 3.2 has every field of the newer response replace those of its name, and lets a cache
    except few. Excepted here:

    - what section 3.1 does not store (``storable_lines``, with the same arguments);
    - Content-Length, which section 3.2 names: it counts the stored bytes;
    - Content-Encoding: the bytes are stored as they came. The same coding changes nothing, and
      with another one no client could read them;
    - Content-MD5 and Content-Digest (RFC 9530): they are of the stored bytes, likewise;
    - Content-Range, which section 3.2 allows to drop: the cache itself keeps track of which part
      of the whole it has, and a 304 has none;
    - a strong ETag in place of the same tag stored weak: that these very bytes deserve it has not
      been said (``selects``, step 1), and ranges would be put together by it.

    Not excepted: Content-Type and all others that begin with Content-, which describe bytes that
    are sent on unread; Vary and Cache-Control, so variant and freshness are to be decided anew;
    ETag, since ``selects`` lets a 304 with another strong one, or ``matches_head`` an answer with
    any other, not come this far.
    """
    weak = [value for name, value in stored if value[:2] == b"W/" and name.lower() == b"etag"]
    brought = [
        line
        for line in storable_lines(newer, connection_names, drop=drop)
        if line[0].lower() not in NEVER_UPDATED
        and not (weak and b"W/" + line[1] in weak and line[0].lower() == b"etag")
    ]
    replaced = {name.lower() for name, _ in brought}
    return [line for line in stored if line[0].lower() not in replaced] + brought


def revalidation_fields(etag: bytes | None, last_modified: bytes | None) -> bytes:
    """Return the header lines that ask whether a stored response still holds (section 4.3.1).

    Both validators are sent: the entity tag counts, the date is for an origin that knows no tags.
    Empty where the stored response has neither; then only the whole can be asked for.

    Args:
        etag: the stored field value, as it came.
        last_modified: likewise.
    """
    lines = b""
    if etag:
        lines += b"If-None-Match: %b\r\n" % etag
    if last_modified:
        lines += b"If-Modified-Since: %b\r\n" % last_modified
    return lines


def selects(
    stored_etag: bytes | None,
    stored_last_modified: bytes | None,
    not_modified_fields: Mapping[bytes, bytes],
    *,
    date_is_strong: bool = False,
) -> bool:
    """Tell whether a 304 speaks of this stored response, whose validators were sent for it.

    Where not, its fields must not be used, and the whole is to be asked for. Section 4.3.4:

    1. A strong entity tag in the 304 is that of the stored response. A weak stored one is not the
       same, but then a strong date can stand in: nginx weakens a tag when it compresses, not when
       it answers 304.
    2. A weak tag matches weakly; where one side has no tag, the dates are the same.
    3. A 304 without validators is taken. The section demands that the stored response has none
       either, with a client in mind that made up its condition; here the condition was this
       response's validators, and the answer is that they hold.

    Args:
        stored_etag: field values as they came; None or empty where missing.
        stored_last_modified: likewise; dates are compared as they are written.
        not_modified_fields: of the 304, by lower-case name.
        date_is_strong: the stored response's Last-Modified is a second or more before its Date
            (RFC 9110 section 8.8.2.2).
    """
    etag = not_modified_fields.get(b"etag")
    last_modified = not_modified_fields.get(b"last-modified")
    if not etag and not last_modified:
        return True
    same_date = bool(last_modified) and last_modified == stored_last_modified
    if not etag:
        return same_date
    if etag == stored_etag:
        return True
    if not etag.startswith(b"W/"):
        stored_strong = bool(stored_etag) and not (stored_etag or b"").startswith(b"W/")
        return same_date and date_is_strong and not stored_strong
    if not stored_etag:
        return same_date
    return _opaque(etag) == _opaque(stored_etag)


def matches_head(
    stored_etag: bytes | None,
    stored_last_modified: bytes | None,
    stored_length: int,
    head_fields: Mapping[bytes, bytes],
) -> bool:
    """Tell whether a 200 to HEAD says that the stored response to GET still holds.

    If so, its fields update the stored ones; if not, the stored response counts as stale from now
    on (section 4.3.5). Each validator that the answer has must be the stored one, and so must its
    Content-Length; what it lacks says nothing.

    Args:
        stored_etag: field values as they came; None or empty where missing.
        stored_last_modified: likewise.
        stored_length: bytes of the stored content.
        head_fields: of the answer, by lower-case name.
    """
    etag = head_fields.get(b"etag")
    if etag is not None and etag != stored_etag:
        return False
    last_modified = head_fields.get(b"last-modified")
    if last_modified is not None and last_modified != stored_last_modified:
        return False
    length = head_fields.get(b"content-length")
    return length is None or _is_number(length, stored_length)


def _opaque(etag: bytes) -> bytes:
    return etag[2:] if etag.startswith(b"W/") else etag


def _is_number(digits: bytes, number: int) -> bool:
    """Tell whether ``digits`` writes ``number``, with no more than leading zeros besides."""
    return digits.isdigit() and (digits.lstrip(b"0") or b"0") == b"%d" % number
