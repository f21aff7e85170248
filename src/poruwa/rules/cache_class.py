"""What a shared class of the policy makes of requests and responses: keys, permissions, tags.

A shared class has one copy for all who ask alike. What "alike" means is said by the policy alone:
the path, the query parameters it lists and the values of its dimensions. Everything else a client
sends is neither in the key nor passed to the origin, so that it cannot change what others get (web
cache poisoning). In the other direction a response is kept only if neither its status nor its
fields say that it was made for one client, and only under a path that no two parsers read
differently (web cache deception).

Pure decisions; ``gateway.cache_class`` applies them. Sources: RFC 9111 section 3; SECURITY-CHECKS;
the lifetimes are the policy's (REQUIREMENTS B1 to B3), which is why ``max-age`` and ``Expires`` of
the origin do not count here, while ``s-maxage`` and CDN-Cache-Control may shorten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from poruwa.rules.freshness import ResponseControl
from poruwa.rules.vary import parse_vary

if TYPE_CHECKING:
    from mypy_extensions import i64  # machine integers, where this is compiled; else just ints

KEPT_STATUSES: Final = frozenset((200, 203, 301, 308))
"""What is kept under a class: whole content and permanent redirects. An error would let whoever
provokes it once answer everybody with it."""

# Letters, digits, and what nobody's parser treats as a delimiter. Of percent codes only those of
# bytes above ASCII: ``%2f %5c %00 %23 %3f %3b %25`` mean one thing here and another elsewhere.
_KEY_PATH: Final = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[89A-F][0-9A-F])*+)+")
_IS_PLAIN_KEY: Final = bytes(  # 1 at the bytes that it takes singly
    [_KEY_PATH.fullmatch(b"/" + bytes((byte,))) is not None for byte in range(256)]
)
_SLASH: Final = 0x2F
_CODE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_COMPRESSIBLE: Final = re.compile(
    rb"(?:text/|application/(?:[a-z0-9.+-]*\+)?(?:json|javascript|xml|manifest)\b|"
    rb"application/wasm|image/(?:svg\+xml|x-icon|bmp)|font/(?:ttf|otf))",
    re.IGNORECASE,
)
_LEAST_BYTES: Final = 1024  # less fits into a packet as it is
_MOST_BYTES: Final = 8 << 20
_PRELOAD: Final = re.compile(rb";[ \t]*rel=\"?(?:preload|preconnect)\b", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# What a response may vary on although the policy does not name it: the gateway itself decides it,
# or sends every origin the same.
_SETTLED: Final = frozenset((b"accept-encoding", b"accept", b"origin"))


class ClassDecision(Enum):
    """Whether a response may be kept under a shared class, or the first reason why not."""

    KEEP = "keep"
    STATUS = "status"
    SET_COOKIE = "set-cookie"
    NO_STORE = "no-store"
    PRIVATE = "private"
    NO_CACHE = "no-cache"
    VARY = "vary"
    LIFETIME = "lifetime"  # s-maxage=0

    @property
    def is_personal(self) -> bool:
        """Whether somebody who is signed in might get another answer than a stranger did."""
        return self is not ClassDecision.LIFETIME


def is_key_path(path: bytes) -> bool:
    """Tell whether a path in normal form is read alike by everybody, so that it may be a key."""
    is_plain = _IS_PLAIN_KEY
    end: i64 = len(path)
    at: i64 = 0
    while at < end and is_plain[path[at]]:
        at += 1
    if at == end:
        return end > 0 and path[0] == _SLASH
    return _KEY_PATH.fullmatch(path) is not None


def allowed_query(query: bytes, names: frozenset[bytes]) -> bytes:
    """Return of a query what the policy lists, sorted by name, in one spelling.

    Parameters of one name keep their order, which may mean something. Names are compared decoded;
    a name that decodes to one in ``names`` is written as that.
    """
    if not query or not names:
        return b""
    kept: list[tuple[bytes, bytes]] = []
    for parameter in query.split(b"&"):
        name, equals, value = parameter.partition(b"=")
        if b"%" in name or b"+" in name:
            name = _CODE.sub(_decoded, name.replace(b"+", b" "))
        if name in names:
            kept.append((name, equals + _normal_codes(value)))
    if len(kept) > 1:
        kept.sort(key=_name_of)
    return b"&".join([name + rest for name, rest in kept])


def _name_of(parameter: tuple[bytes, bytes]) -> bytes:
    return parameter[0]


def _normal_codes(value: bytes) -> bytes:
    """Return a value in the spelling of RFC 3986 section 6.2.2."""
    return _CODE.sub(_normal_code, value) if b"%" in value else value


def _decoded(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _normal_code(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _UNRESERVED else match[0].upper()


def query_value(query: bytes, name: bytes) -> bytes | None:
    """Return the first value of a parameter, as it is written; None where there is none."""
    for parameter in query.split(b"&"):
        found, equals, value = parameter.partition(b"=")
        if equals and found == name:
            return value
    return None


def decide_class(
    status: int,
    fields: Mapping[bytes, bytes],
    control: ResponseControl,
    *,
    varies_on: frozenset[bytes],
) -> ClassDecision:
    """Decide whether a response to an anonymous request is kept under a shared class.

    Args:
        fields: of the response, by lower-case name.
        control: ``response_control`` of them.
        varies_on: the request fields that the class's dimensions are taken from.
    """
    if status not in KEPT_STATUSES:
        return ClassDecision.STATUS
    if b"set-cookie" in fields:
        return ClassDecision.SET_COOKIE
    directives = control.directives
    if directives.no_store:
        return ClassDecision.NO_STORE
    if directives.private or directives.private_fields:
        return ClassDecision.PRIVATE
    if directives.no_cache or directives.no_cache_fields:
        return ClassDecision.NO_CACHE
    names = parse_vary(fields.get(b"vary"))
    if names is None or not varies_on.issuperset(set(names) - _SETTLED):
        return ClassDecision.VARY
    if directives.s_maxage == 0:
        return ClassDecision.LIFETIME
    return ClassDecision.KEEP


def expand_tags(templates: Sequence[str], parameters: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """Return a class's tags for one path: ``venue:{venue_id}`` with what the route took of it.

    A tag whose place-holders the path does not fill is left out; the origin can name it.
    """
    tags: dict[bytes, None] = {}
    for template in templates:
        names = _PLACEHOLDER.findall(template)
        if any(not parameters.get(name) for name in names):
            continue
        tag = template
        for name in names:
            tag = tag.replace("{" + name + "}", parameters[name].decode("latin-1"))
        tags[tag.encode("latin-1")] = None
    return tuple(tags)


def is_compressible(fields: Mapping[bytes, bytes], length: int) -> bool:
    """Tell whether variants in content codings are to be made of a response.

    Args:
        length: of its content, -1 where it is not known yet.
    """
    if b"content-encoding" in fields or 0 <= length < _LEAST_BYTES or length > _MOST_BYTES:
        return False
    if b"no-transform" in fields.get(b"cache-control", b"").lower():  # RFC 9111 section 5.2.2.6
        return False
    etag = fields.get(b"etag", b"")
    if etag and not etag.endswith(b'"'):
        return False  # no valid one, so that none can be made of it
    return _COMPRESSIBLE.match(fields.get(b"content-type", b"")) is not None


def preload_lines(lines: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the Link lines that name what to load ahead, each with the CRLF before it."""
    return b"".join(
        [
            b"\r\nLink: " + value
            for name, value in lines
            if name == b"link" and _PRELOAD.search(value) is not None
        ]
    )


def browser_control(seconds: float | None, *, immutable: bool) -> bytes:
    """Return the Cache-Control that clients of a shared class get.

    0 lets browsers keep a copy and ask each time; with an ETag that costs no body.
    """
    if seconds is None:
        return b"no-store"
    if seconds <= 0:
        return b"no-cache"
    suffix = b", immutable" if immutable else b""
    return b"public, max-age=%d%b" % (int(seconds), suffix)
