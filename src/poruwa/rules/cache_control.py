"""What Cache-Control and CDN-Cache-Control say: field values to ``Directives``.

Read once for each response that is fetched, and for the few requests that send such a field;
decisions are made elsewhere (``poruwa.rules.freshness``). Two grammars: the tolerant one of
Cache-Control (RFC 9111 section 5.2, with RFC 5861 and RFC 8246), and the strict one of targeted
fields (RFC 9213), which are Structured Field Dictionaries (RFC 9651).

Where a member is malformed, what restricts reuse is still read from it and what permits reuse is
not. Nothing here raises, and the time taken grows with the length of the value, no faster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import http_sf

MAX_DELTA_SECONDS: Final = 1 << 31
"""Longer times are taken for this one, 68 years (RFC 9111 section 1.2.2)."""

ANY_STALENESS: Final = -1
"""``max_stale`` of a request that sets it no limit."""

_OWS: Final = b" \t"
_QUOTE: Final = 0x22

# Possessive, so that what was read is never read again.
_MEMBER: Final = re.compile(rb'(?:[^",]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_DIRECTIVE: Final = re.compile(
    rb"(?P<name>" + _TOKEN + rb")"
    rb'(?:=(?:(?P<token>' + _TOKEN + rb')|"(?P<quoted>(?:[^"\\]++|\\.)*+)"))?',
    re.DOTALL,
)  # fmt: skip
_LEADING_TOKEN: Final = re.compile(_TOKEN)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)

_SECONDS: Final = frozenset(
    (
        b"max-age",
        b"s-maxage",
        b"min-fresh",
        b"max-stale",
        b"stale-while-revalidate",
        b"stale-if-error",
    )
)
_QUALIFIABLE: Final = frozenset((b"no-cache", b"private"))
_PERMISSIONS: Final = frozenset((b"public", b"immutable", b"must-understand"))
"""Flags that let more be reused: a malformed member must not set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The directives of one field, of a request or a response.

    Attributes:
        no_cache, private: without field names; with names, these are in the attribute below.
        no_cache_fields, private_fields: lower-case names a directive is limited to.
        max_stale: in seconds; ``ANY_STALENESS`` without an argument.
        max_age, s_maxage, min_fresh, stale_while_revalidate, stale_if_error: in seconds, at most
            ``MAX_DELTA_SECONDS``; an argument that is no number of seconds counts as 0.
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: tuple[bytes, ...] = ()
    private: bool = False
    private_fields: tuple[bytes, ...] = ()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    immutable: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None


NO_DIRECTIVES: Final = Directives()
"""Of a message without such a field; may be compared with ``is``."""


def parse_cache_control(value: bytes | None) -> Directives:
    """Return what a Cache-Control field says; None and empty values say nothing.

    Names are compared without case; arguments may be tokens or quoted (RFC 9111 section 5.2). Of a
    directive given twice the first counts, and seconds that are no whole number are 0, which makes
    a response stale (section 4.2.1).
    """
    if not value:
        return NO_DIRECTIVES
    flags: set[bytes] = set()
    seconds: dict[bytes, int] = {}
    names: dict[bytes, list[bytes]] = {}
    for member in _split(value):
        text = member.strip(_OWS)
        if not text:
            continue
        match = _DIRECTIVE.fullmatch(text)
        argument: bytes | None
        if match is not None:
            name = match["name"].lower()
            quoted = match["quoted"]
            argument = match["token"] if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted)
        else:
            leading = _LEADING_TOKEN.match(text)
            if leading is None:
                continue
            name = leading[0].lower()
            argument = b""  # never a number, never a name
        if name in _SECONDS:
            if name not in seconds:
                bare = name == b"max-stale" and argument is None
                seconds[name] = ANY_STALENESS if bare else _delta_seconds(argument)
        elif name in _QUALIFIABLE and argument is not None:
            fields = _field_names(argument)
            if fields:
                names.setdefault(name, []).extend(fields)
            else:
                flags.add(name)
        elif match is not None or name not in _PERMISSIONS:
            flags.add(name)
    return _directives(flags, seconds, names)


def parse_cdn_cache_control(value: bytes) -> Directives | None:
    """Return what a CDN-Cache-Control field says; None if it must be ignored as a whole.

    It must when it is empty or not a Dictionary (RFC 9213 section 2.1). A directive whose value is
    of another type than it should be is left out; parameters mean nothing. Negative seconds are 0.
    Of a key given twice the last counts (RFC 9651 section 4.2.2).
    """
    try:
        members = http_sf.parse(value, tltype="dictionary")
    except ValueError:  # StructuredFieldError is one
        return None
    if not isinstance(members, dict) or not members:
        return None
    flags: set[bytes] = set()
    seconds: dict[bytes, int] = {}
    names: dict[bytes, list[bytes]] = {}
    for key, member in members.items():
        item = member[0] if isinstance(member, tuple) else member
        name = key.encode("ascii")
        if name in _SECONDS:
            if isinstance(item, int) and not isinstance(item, bool):
                seconds[name] = min(max(item, 0), MAX_DELTA_SECONDS)
        elif isinstance(item, bool):
            if item:
                flags.add(name)
        elif name in _QUALIFIABLE and isinstance(item, str):
            fields = _field_names(item.encode("ascii"))
            if fields:
                names[name] = fields
            else:
                flags.add(name)
    return _directives(flags, seconds, names)


def _split(value: bytes) -> list[bytes]:
    """Return the members of a list; commas within quotes divide none.

    A quote that is never closed does not hide what follows: from there on every comma divides.
    """
    if b'"' not in value:
        return value.split(b",")
    members: list[bytes] = []
    start = 0
    while start <= len(value):
        match = _MEMBER.match(value, start)
        stop = len(value) if match is None else match.end()
        if stop < len(value) and value[stop] == _QUOTE:
            members += value[start:].split(b",")
            break
        members.append(value[start:stop])
        start = stop + 1
    return members


def _delta_seconds(argument: bytes | None) -> int:
    """Return the seconds that an argument states, at most 2^31; 0 if it states none."""
    if argument is None or not argument.isdigit():
        return 0
    digits = argument.lstrip(b"0")
    if len(digits) > 10:  # before int(), whose time grows with the square of the length
        return MAX_DELTA_SECONDS
    return min(int(digits or b"0"), MAX_DELTA_SECONDS)


def _field_names(argument: bytes) -> list[bytes]:
    """Return the lower-case names in a list; none if any of them is not a field name.

    A qualified directive is weaker than the same one without names, so that it must be understood
    whole or taken for the latter.
    """
    names: list[bytes] = []
    for part in argument.split(b","):
        name = part.strip(_OWS)
        if not name:
            continue
        if _LEADING_TOKEN.fullmatch(name) is None:
            return []
        names.append(name.lower())
    return names


def _directives(
    flags: set[bytes], seconds: dict[bytes, int], names: dict[bytes, list[bytes]]
) -> Directives:
    return Directives(
        no_store=b"no-store" in flags,
        no_cache=b"no-cache" in flags,
        no_cache_fields=tuple(names.get(b"no-cache", ())),
        private=b"private" in flags,
        private_fields=tuple(names.get(b"private", ())),
        public=b"public" in flags,
        must_revalidate=b"must-revalidate" in flags,
        proxy_revalidate=b"proxy-revalidate" in flags,
        must_understand=b"must-understand" in flags,
        no_transform=b"no-transform" in flags,
        immutable=b"immutable" in flags,
        only_if_cached=b"only-if-cached" in flags,
        max_age=seconds.get(b"max-age"),
        s_maxage=seconds.get(b"s-maxage"),
        min_fresh=seconds.get(b"min-fresh"),
        max_stale=seconds.get(b"max-stale"),
        stale_while_revalidate=seconds.get(b"stale-while-revalidate"),
        stale_if_error=seconds.get(b"stale-if-error"),
    )
