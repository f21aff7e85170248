"""Which stored responses a request that changes something makes invalid.

Asked when the response to it comes. Source: RFC 9111 section 4.4, RFC 3986 section 5.2 (resolving
references). Names URLs only; what is dropped for them, and groups (RFC 9875), are the caller's
business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from poruwa.rules.routing import normalise_path

_SAFE: Final = frozenset(
    (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY")
)
_REFERRING: Final = (b"location", b"content-location")

_REFERENCE: Final = re.compile(
    rb"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*+):)?"
    rb"(?://(?P<authority>[^/?#]*+))?"
    rb"(?P<path>[^?#]*+)"
    rb"(?P<query>\?[^#]*+)?"
    rb"(?:#.*+)?",
    re.DOTALL,
)
_AUTHORITY: Final = re.compile(
    rb"(?P<host>\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._~!$&'()*+,;=%-]++)(?::(?P<port>[0-9]{0,5}))?"
)
_NOT_IN_QUERY: Final = re.compile(rb"[\x00-\x20\x7f]")
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}


def is_safe(method: bytes) -> bool:
    """Tell whether a method is known to change nothing; one that is not known may.

    RFC 9110 section 9.2.1, and the specifications of PROPFIND (4918), REPORT (3253), SEARCH (5323)
    and QUERY.
    """
    return method in _SAFE


def normalise_origin(scheme: bytes, authority: bytes) -> bytes | None:
    """Return ``scheme://host[:port]`` in lower case, without the scheme's default port.

    None where there is none such: other schemes than http and https, no host, user names, no port.
    """
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        return None
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    host = match["host"].lower().removesuffix(b".")
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if not host or not 0 < port < 65_536:
        return None
    if port == _DEFAULT_PORTS[scheme]:
        return scheme + b"://" + host
    return scheme + b"://%b:%d" % (host, port)


def normalise_target(target: bytes) -> bytes | None:
    """Return a path and query with the path in normal form; None where we would refuse it."""
    path, mark, query = target.partition(b"?")
    if _NOT_IN_QUERY.search(query):
        return None
    normal = normalise_path(path)
    return None if normal is None else normal + mark + query


def invalidated_keys(
    method: bytes, status: int, *, origin: bytes, target: bytes, fields: Mapping[bytes, bytes]
) -> tuple[tuple[bytes, bytes], ...]:
    """Return the ``(origin, target)`` of what a response makes invalid, its own target first.

    Nothing, unless the method may change something and the response is no error (2xx or 3xx). Of
    what Location and Content-Location name, only what is of the same origin: no site may empty
    another's cache.

    Args:
        method: of the request.
        status: of the response.
        origin: of the request, as ``normalise_origin`` returns it.
        target: of the request: path and query.
        fields: of the response.
    """
    if method in _SAFE or not 200 <= status < 400:
        return ()
    targets: list[bytes] = []
    own = normalise_target(target)
    if own is not None:  # "*" is no resource
        targets.append(own)
    for name in _REFERRING:
        value = fields.get(name)
        if value is None:
            continue
        named = _resolve(value, origin, target)
        normal = None if named is None else normalise_target(named)
        if normal is not None and normal not in targets:
            targets.append(normal)
    return tuple([(origin, each) for each in targets])


def answers_get(
    method: bytes, status: int, *, origin: bytes, target: bytes, fields: Mapping[bytes, bytes]
) -> bool:
    """Tell whether a response to a POST may be what a GET of its target would bring.

    So it is where it is a 200 whose Content-Location names that target (RFC 9110 sections 8.7 and
    9.3.3); it must have an explicit lifetime besides, and be storable as the answer to a GET is.
    Arguments as for ``invalidated_keys``.
    """
    location = fields.get(b"content-location")
    if method != b"POST" or status != 200 or location is None:
        return False
    named = _resolve(location, origin, target)
    own = normalise_target(target)
    return named is not None and own is not None and normalise_target(named) == own


def _resolve(reference: bytes, origin: bytes, target: bytes) -> bytes | None:
    """Return the path and query a reference means; None if they are of another origin.

    The steps are those of RFC 3986 section 5.2.2.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    scheme, authority, path = match["scheme"], match["authority"], match["path"]
    query = match["query"] or b""
    if scheme is not None or authority is not None:
        own_scheme = origin.partition(b":")[0]
        if authority is None or normalise_origin(scheme or own_scheme, authority) != origin:
            return None
        return (_remove_dot_segments(path) or b"/") + query
    own_path, own_mark, own_query = target.partition(b"?")
    if not path:
        return own_path + (query or own_mark + own_query)
    if not path.startswith(b"/"):
        path = own_path[: own_path.rfind(b"/") + 1] + path
        if not path.startswith(b"/"):  # relative to "*"
            return None
    return _remove_dot_segments(path) + query


def _remove_dot_segments(path: bytes) -> bytes:
    """Return an absolute path without ``.`` and ``..`` segments (RFC 3986 section 5.2.4)."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
