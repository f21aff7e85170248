"""What the cache says of how it answered: the ``Cache-Status`` field (RFC 9211).

One member per cache, ours on a line after those nearer to the origin (section 2). Written for each
response, read by nobody here.
"""

from __future__ import annotations

import re
from typing import Final

# Section 2.2: why the request went on to the origin.
FWD_BYPASS: Final = b"bypass"  # this cache is set not to handle it
FWD_METHOD: Final = b"method"
FWD_URI_MISS: Final = b"uri-miss"  # nothing stored for this target
FWD_VARY_MISS: Final = b"vary-miss"  # stored, but for other request fields
FWD_MISS: Final = b"miss"  # one of the two before; which one is not known
FWD_REQUEST: Final = b"request"  # the request's own directives asked for it
FWD_STALE: Final = b"stale"
FWD_PARTIAL: Final = b"partial"  # stored, but not all of what was asked for

_TOKEN: Final = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_NOT_IN_STRING: Final = re.compile(rb"[^\x20-\x7e]")
_LARGEST_INTEGER: Final = 999_999_999_999_999  # RFC 9651 section 3.3.1: fifteen digits


def cache_status_member(
    cache_name: bytes,
    *,
    hit: bool,
    fwd: bytes | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: bytes | None = None,
    detail: bytes | None = None,
) -> bytes:
    """Return our member of the list.

    What contradicts ``hit`` or has no meaning without ``fwd`` is left out, so that a caller need
    not: sections 2.2 to 2.6 define ``fwd-status``, ``stored`` and ``collapsed`` for forwarded
    requests only, and a member has one of ``hit`` and ``fwd``.

    Args:
        cache_name: of this cache; the same on all its responses.
        hit: answered from the store, without asking the origin.
        fwd: one of the ``FWD_`` reasons.
        fwd_status: what the origin answered, left out by custom where it is what the client gets.
        ttl: seconds of freshness that remain; below 0 for a stale response.
        stored: the origin's answer was stored.
        collapsed: waited for another request's answer.
        key: what it is stored under; bytes that no string may have are percent-encoded.
        detail: anything else, for people.
    """
    member = _token_or_string(cache_name)
    if hit:
        member += b"; hit"
    elif fwd is not None:
        member += b"; fwd=" + _token_or_string(fwd)
        if fwd_status is not None:
            member += b"; fwd-status=%d" % _within_integers(fwd_status)
    if ttl is not None:
        member += b"; ttl=%d" % _within_integers(ttl)
    if not hit and fwd is not None:
        if stored:
            member += b"; stored"
        if collapsed:
            member += b"; collapsed"
    if key is not None:
        member += b"; key=" + _string(key)
    if detail is not None:
        member += b"; detail=" + _token_or_string(detail)
    return member


def _token_or_string(value: bytes) -> bytes:
    """Return a Structured Fields token if ``value`` can be one, else a string."""
    return value if _TOKEN.fullmatch(value) else _string(value)


def _string(value: bytes) -> bytes:
    """Return a Structured Fields string (RFC 9651 section 4.1.6)."""
    ascii_only = _NOT_IN_STRING.sub(_percent_encoded, value)
    return b'"%b"' % ascii_only.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _percent_encoded(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _within_integers(number: int) -> int:
    return max(-_LARGEST_INTEGER, min(number, _LARGEST_INTEGER))
