"""What an operator's purge means: URLs and patterns, in the form the store knows them.

Pure; who finds and removes is ``gateway.purge``. Sources: RFC 3986 section 6.2.2 for the normal
form; patterns are those of shells (``*`` any characters, ``?`` one, ``[ab]`` one of them).
"""

from __future__ import annotations

import fnmatch
import re

from poruwa.rules.invalidation import normalise_origin, normalise_target


class PurgeTarget:
    """A URL to purge, taken apart.

    Attributes:
        origin: ``scheme://authority`` in normal form, None where only a path was given.
        path, query: in normal form; the query without its question mark.
    """

    __slots__ = ("origin", "path", "query")

    def __init__(self, origin: bytes | None, path: bytes, query: bytes) -> None:
        self.origin = origin
        self.path = path
        self.query = query


def parse_purge_url(text: str) -> PurgeTarget:
    """Return what an absolute URL, or a path with a query, is in normal form.

    Raises:
        ValueError: neither; the message says what would be right.
    """
    url = text.encode("utf-8").partition(b"#")[0]
    origin: bytes | None = None
    target = url
    if not url.startswith(b"/"):
        scheme, separator, rest = url.partition(b"://")
        authority, slash, path = rest.partition(b"/")
        if not slash:
            authority, mark, query = rest.partition(b"?")
            path = mark + query
        origin = normalise_origin(scheme, authority) if separator else None
        if origin is None:
            raise ValueError(f"{text!r} is no URL; write http://host/path, or /path for every host")
        target = b"/" + path
    normal = normalise_target(target)
    if normal is None:
        raise ValueError(
            f"{text!r} has a path that the gateway refuses, so nothing is stored of it"
        )
    path, _, query = normal.partition(b"?")
    return PurgeTarget(origin, path, query)


def compile_pattern(text: str) -> re.Pattern[bytes]:
    """Return an expression for what is stored under URLs that match a shell's pattern.

    A pattern that begins with ``/`` is compared with path and query, on every host.

    Raises:
        ValueError: it is empty.
    """
    if not text:
        raise ValueError("the pattern is empty; write e.g. '/venues/*', or '*' for everything")
    expression = fnmatch.translate(text)
    if text.startswith("/"):
        expression = "https?://[^/]*" + expression
    return re.compile(expression.encode("utf-8"), re.DOTALL)
