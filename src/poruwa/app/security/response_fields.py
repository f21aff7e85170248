"""The fields of a response that decide whose it is: who may keep it, and the cookies it sets.

Check 46: nothing that a shared cache may keep sets a cookie (RFC 9111 section 7.3). Which caches
may is decided in ``rules.affinity``, for the gateway's cookies and the app's alike.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from poruwa.rules.affinity import may_carry_cookie

Fields = list[tuple[bytes, bytes]]
"""As ASGI has them; names in any case."""

_TARGETED: Final = (b"cdn-cache-control", b"surrogate-control")
_OF_LIFETIME: Final = frozenset((b"cache-control", b"expires", *_TARGETED))


def may_set_cookie(scope: Scope, status: int, headers: Fields) -> bool:
    """Whether no shared cache may keep a response, so that a cookie on it is one person's."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name in _OF_LIFETIME:
            fields[name] = fields[name] + b", " + value if name in fields else value
    # A CDN heeds the one that is meant for it, and nobody knows which stands before.
    targeted: list[bytes | None] = [fields[name] for name in _TARGETED if name in fields]
    return all(
        may_carry_cookie(
            scope["method"].encode(),
            status,
            fields.get(b"cache-control"),
            targeted=each,
            has_expires=b"expires" in fields,
        )
        for each in targeted or [None]
    )


def says_who_may_store(headers: Fields) -> bool:
    """Whether the app said anything of keeping a response."""
    return any(name.lower() in _OF_LIFETIME for name, _ in headers)


def sets_cookie(headers: Fields) -> bool:
    """Whether the app sets a cookie itself."""
    return any(name.lower() == b"set-cookie" for name, _ in headers)


def forbid_storing(headers: Fields) -> None:
    """Mark a response as nobody's to keep, whatever it said, in place."""
    headers[:] = [each for each in headers if each[0].lower() not in _OF_LIFETIME]
    headers.append((b"cache-control", b"no-store"))


def field_of_line(line: bytes) -> tuple[bytes, bytes]:
    """Return a line, with or without its CRLF, as ASGI has fields."""
    name, _, value = line.rstrip(b"\r\n").partition(b": ")
    return name.lower(), value
