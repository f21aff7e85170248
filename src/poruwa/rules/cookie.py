"""Cookies, byte by byte: what a request carries, and the lines that set and clear them.

Reading follows what browsers send (RFC 6265bis section 5.8.3): ``;`` separates, space and tab are
trimmed, the first ``=`` divides, and nothing else has a meaning. Quotes, ``$Version`` and a
backslash are bytes like others, so that no pair hides in another one's value; bytes that Unicode
calls blanks (A0, 85, 1F) are not trimmed, so that no name passes for a ``__Host-`` one; a malformed
pair drops itself and not its neighbours. Two cookies of one name are nobody's: a subdomain, or
somebody on the wire, has planted one of them (section 8.6, "cookie tossing").

Writing refuses what a browser would refuse or change. Sources: RFC 6265bis, CHIPS (Partitioned).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_COOKIE_BYTES: Final = 4096  # name and value (RFC 6265bis section 5.6)
MAX_COOKIES: Final = 180  # browsers keep so many of a site; more are an attack
MAX_FIELD_BYTES: Final = 16 * 1024

_SPACE: Final = ord(" ")
_TAB: Final = ord("\t")
_SEMICOLON: Final = ord(";")
_EQUALS: Final = ord("=")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_PREFIXED: Final = re.compile(rb"__(?:host-|http-|secure-)", re.IGNORECASE)
_PATH: Final = re.compile(rb"/[\x20-\x3a\x3c-\x7e]*")
_DOMAIN: Final = re.compile(rb"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


class TooManyCookies(ValueError):
    """A Cookie field that no browser with our cookies alone would send."""


@dataclass(frozen=True, slots=True)
class RequestCookies:
    """The cookies of a request.

    Attributes:
        values: by exact name, those that came once.
        duplicates: names that came twice or more; they are in no other way there.
    """

    values: Mapping[bytes, bytes]
    duplicates: frozenset[bytes]


def parse_cookies(field: bytes) -> RequestCookies:
    """Return the cookies of a Cookie field; several lines are joined by ``"; "`` first.

    Pairs without ``=``, without a name, or with a name or value that could not have been set by
    anybody's rules are left out.

    Raises:
        TooManyCookies: more than ``MAX_COOKIES``, or more than ``MAX_FIELD_BYTES``.
    """
    if is_cookie_bomb(field):
        if len(field) > MAX_FIELD_BYTES:
            raise TooManyCookies(f"{len(field)} bytes of cookies; {MAX_FIELD_BYTES} is the most")
        raise TooManyCookies(f"{field.count(b';') + 1} cookies; {MAX_COOKIES} is the most")
    values: dict[bytes, bytes] = {}
    duplicates: set[bytes] = set()
    for pair in field.split(b";"):
        name, equals, value = pair.partition(b"=")
        name = name.strip(b" \t")
        value = value.strip(b" \t")
        if not equals or _NAME.fullmatch(name) is None or b"\0" in value:
            continue
        if name in values:
            duplicates.add(name)
        values[name] = value
    for name in duplicates:
        del values[name]
    return RequestCookies(values, frozenset(duplicates))


def find_cookie(field: bytes, name: bytes) -> bytes | None:
    """Return the value of the one cookie called exactly ``name``: None for none, or two of them.

    The same as ``parse_cookies`` says, in a tenth of the time; of a field of any length.
    """
    value: bytes | None = None
    at = field.find(name)
    while at >= 0:
        before, after = at - 1, at + len(name)
        while before >= 0 and _is_blank(field[before]):
            before -= 1
        end = field.find(b";", after)
        stop = end if end >= 0 else len(field)
        if before < 0 or field[before] == _SEMICOLON:
            while after < stop and _is_blank(field[after]):
                after += 1
            if after < stop and field[after] == _EQUALS:
                stated = field[after + 1 : stop]
                if b"\0" not in stated:
                    if value is not None:
                        return None
                    value = stated.strip(b" \t")
        # A later place in this pair could not be its name.
        at = field.find(name, end + 1) if end >= 0 else -1
    return value


def _is_blank(byte: int) -> bool:
    return byte in (_SPACE, _TAB)


def is_cookie_bomb(field: bytes) -> bool:
    """Whether no browser with our cookies alone would send so many, or so long ones."""
    return len(field) > MAX_FIELD_BYTES or field.count(b";") >= MAX_COOKIES


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieForm:
    """How one cookie is always set.

    Args:
        name: with its prefix; ``cookie_name`` makes it.
        max_age_seconds: None until the browser closes.
        same_site: ``Strict``, ``Lax`` or ``None``.
        domain: None for this host alone.

    Raises:
        ValueError: what a browser would refuse, each with its reason.
    """

    name: bytes
    max_age_seconds: int | None = None
    http_only: bool = True
    secure: bool = True
    same_site: str = "Lax"
    path: bytes = b"/"
    domain: bytes | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        shown = self.name.decode("latin-1")
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"{shown!r} is no name of a cookie: a token of RFC 9110 is")
        if _PATH.fullmatch(self.path) is None:
            raise ValueError(f"cookie {shown}: a path begins with '/' and holds no ';'")
        if self.domain is not None and _DOMAIN.fullmatch(self.domain) is None:
            raise ValueError(f"cookie {shown}: {self.domain.decode('latin-1')!r} is no domain name")
        if self.same_site not in ("Strict", "Lax", "None"):
            raise ValueError(f"cookie {shown}: SameSite is Strict, Lax or None")
        prefix = self.name.lower()
        if not self.secure and (
            prefix.startswith((b"__host-", b"__secure-", b"__http-"))
            or self.same_site == "None"
            or self.partitioned
        ):
            raise ValueError(f"cookie {shown}: browsers refuse it without Secure")
        if prefix.startswith(b"__host-") and (self.domain is not None or self.path != b"/"):
            raise ValueError(f"cookie {shown}: __Host- wants no Domain, and Path=/")
        if prefix.startswith((b"__host-http-", b"__http-")) and not self.http_only:
            raise ValueError(f"cookie {shown}: its prefix wants HttpOnly")

    def line(self, value: bytes) -> bytes:
        """Return the Set-Cookie line of a value, CRLF included.

        Raises:
            ValueError: a value that no cookie may have, or one that is too long: never cut.
        """
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"cookie {self.name.decode()}: a value holds no blank, '\"', ',', ';'")
        if len(self.name) + len(value) > MAX_COOKIE_BYTES:
            raise ValueError(
                f"cookie {self.name.decode()} is {len(self.name) + len(value)} bytes long; "
                f"{MAX_COOKIE_BYTES} is the most that browsers keep"
            )
        return self._line(value, self.max_age_seconds)

    def clearing_line(self) -> bytes:
        """Return the Set-Cookie line that makes a browser forget it, CRLF included."""
        return self._line(b"", 0)

    def _line(self, value: bytes, max_age_seconds: int | None) -> bytes:
        parts = [b"Set-Cookie: " + self.name + b"=" + value, b"Path=" + self.path]
        if self.domain is not None:
            parts.append(b"Domain=" + self.domain)
        if max_age_seconds is not None:
            parts.append(b"Max-Age=%d" % max_age_seconds)
        if self.http_only:
            parts.append(b"HttpOnly")
        if self.secure:
            parts.append(b"Secure")
        parts.append(b"SameSite=" + self.same_site.encode())
        if self.partitioned:
            parts.append(b"Partitioned")
        return b"; ".join(parts) + b"\r\n"


def cookie_name(
    name: str, *, secure: bool, http_only: bool, domain: str | None, path: str = "/"
) -> bytes:
    """Return a cookie's name with the strongest prefix that its attributes allow.

    ``__Host-Http-`` for host-only cookies that scripts cannot reach (browsers that do not know it
    still hold it to ``__Host-``), ``__Host-`` for the other host-only ones, ``__Secure-`` for those
    of a domain or of a path below ``/``, none without Secure. A name that has one keeps it.
    """
    plain = name.encode("ascii")
    if not secure or _PREFIXED.match(plain):
        return plain
    if domain is not None or path != "/":
        return b"__Secure-" + plain
    return (b"__Host-Http-" if http_only else b"__Host-") + plain
