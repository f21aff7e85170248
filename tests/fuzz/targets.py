"""One function per parser of untrusted bytes; each holds it to an invariant or a second parser.

A target returns for any bytes, or raises: that is a finding. ``SEEDS`` start the search near what
the parser takes, ``WORDS`` are what it is worth to insert.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from fakes.cases import raw_cases
from fakes.second_parser import compare_request, compare_response
from poruwa.errors import ConfigError, ProtocolError
from poruwa.net import proxy_protocol
from poruwa.net.http1 import ChunkedDecoder, Refused
from poruwa.observe.access_line import access_line
from poruwa.rules.cache_control import parse_cache_control, parse_cdn_cache_control
from poruwa.rules.cache_groups import parse_groups
from poruwa.rules.cookie import CookieForm, TooManyCookies, find_cookie, parse_cookies
from poruwa.rules.csp import block_hash, is_as_strict, parse_csp, serialize_csp, with_sources
from poruwa.rules.csrf import CsrfTokens
from poruwa.rules.discovery import parse_instance_file
from poruwa.rules.forwarding import (
    ForwardingFields,
    TrustedNetworks,
    client_view,
    forwarded_fields,
    parse_forwarded,
)
from poruwa.rules.partial import format_content_range, parse_content_range, parse_ranges
from poruwa.rules.routing import RouteTable, normalise_path
from poruwa.rules.session import Claims, decode_claims, encode_claims
from poruwa.rules.token import Sealer
from poruwa.rules.vary import best_language, parse_vary, preferred_codings, variant_key
from poruwa.rules.violation_report import KINDS, MAX_REPORTS, clean_url, parse_reports


class FindingError(AssertionError):
    """An invariant that does not hold."""


def require(condition: object, what: str) -> None:
    if not condition:
        raise FindingError(what)


# Messages.


def request_head(data: bytes) -> None:
    """What we take as a request, h11 takes, and reads alike; body and rest too."""
    compare_request(data)


def response_head(data: bytes) -> None:
    """What we take as a response, h11 takes, and reads alike."""
    if data:
        compare_response(data[1:], answers_head=data[0] % 4 == 0)


def chunked(data: bytes) -> None:
    """The same content, end and refusal however the bytes are cut; h11 agrees."""
    if not data:
        return
    step, raw = data[0] % 17 + 1, data[1:]
    whole = _decode(raw, len(raw) or 1)
    pieces = _decode(raw, step)
    require(whole == pieces, f"whole {whole!r}, in pieces of {step} {pieces!r}")
    compare_request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)


def _decode(raw: bytes, step: int) -> tuple[bytes, bool, bytes] | None:
    decoder = ChunkedDecoder()
    body = b""
    at = 0
    try:
        while at < len(raw) and not decoder.is_complete:
            body += decoder.feed(raw[at : at + step])
            at += step
    except Refused:
        return None
    return body, decoder.is_complete, decoder.rest + raw[at:] if decoder.is_complete else b""


# Who the client is.

_TRUSTED = TrustedNetworks(("10.0.0.0/8", "fd00::/8", "192.0.2.1", "unix"))
_FORWARDING_LINE = re.compile(rb"X-Forwarded-(?:For|Proto|Port|Host): [\x21-\x7e ]+")
_PEERS = ("10.0.0.1", "203.0.113.9", None, "fd00::1")


def forwarding(data: bytes) -> None:
    """Nothing an untrusted peer says counts; what is sent on is addresses and no other bytes."""
    if not data:
        return
    peer = _PEERS[data[0] % 4]
    lines = [
        line for line in data[1:].split(b"\n") if not re.search(rb"[\x00-\x08\x0a-\x1f]", line)
    ]
    fields = ForwardingFields(
        x_forwarded_for=lines[:2],
        forwarded=lines[1:3],
        x_forwarded_proto=lines[3:4],
        x_forwarded_host=lines[4:5],
        x_forwarded_port=lines[5:6],
    )
    for line in lines:
        for hop in parse_forwarded(line):
            if hop is not None and hop.address is not None:
                require(str(ip_address(hop.address)) == hop.address, f"address {hop.address!r}")
    view = client_view(peer, b"http", 80, fields, _TRUSTED)
    if not _TRUSTED.contains(peer):
        require(
            view == client_view(peer, b"http", 80, ForwardingFields(), _TRUSTED),
            f"an untrusted peer was believed: {view!r}",
        )
    for hop in view.chain[1:]:
        require(_TRUSTED.contains(None if hop == "unix" else hop), f"{hop!r} is in the chain")
    sent = forwarded_fields(view, b"weddinglk.test")
    for line in sent.removesuffix(b"\r\n").split(b"\r\n"):
        require(_FORWARDING_LINE.fullmatch(line), f"line {line!r}")
    require(view.scheme in (b"http", b"https") and 0 < view.port < 65536, f"{view!r}")
    require(all(each == "unix" or ip_address(each) for each in view.chain), f"{view.chain!r}")


def proxy_header(data: bytes) -> None:
    """A header, a wish for more, or a refusal; the same with fewer or more bytes behind it."""
    try:
        header = proxy_protocol.parse(data)
    except ProtocolError:
        return
    if header is None:
        require(len(data) <= proxy_protocol.V2_MAX_BYTES, "waits for ever")
        return
    end = header.length
    require(0 < end <= len(data), f"length {end} of {len(data)} bytes")
    require(proxy_protocol.parse(data[:end]) == header, "bytes behind it count")
    require(proxy_protocol.parse(data[:end] + b"\r\n\0GET") == header, "bytes behind it count")
    for cut in {1, end // 3, end // 2, end - 1}:
        if 0 < cut < end:
            require(proxy_protocol.parse(data[:cut]) is None, f"{cut} bytes are a header")
    require((header.source is None) == (header.destination is None), f"{header!r}")
    if header.source is not None and header.destination is not None and not header.is_unix:
        ends = (header.source, header.destination, header.source_port, header.destination_port)
        for encode in (proxy_protocol.encode_v1, proxy_protocol.encode_v2):
            again = proxy_protocol.parse(encode(*ends))
            require(
                again is not None
                and (again.source, again.destination, again.source_port, again.destination_port)
                == ends,
                f"{ends!r} came back as {again!r}",
            )


# Sessions: cookies, tokens, policies.

_SESSION = b"__Host-Http-site.session"
_SEALER = Sealer([b"o" * 32, b"n" * 32], "session+jwe", random_bytes=lambda size: b"\7" * size)
_CLAIMS = encode_claims(Claims(b"i" * 16, "u1", "site", 1, 2, 3, 4))
_TOKEN = _SEALER.seal(_CLAIMS)


def cookies(data: bytes) -> None:
    """Read as the plainest reading does: a malformed pair harms no other, no name passes for it."""
    pairs = [pair.partition(b"=") for pair in data.split(b";")]
    values = [
        value.strip(b" \t")
        for name, equals, value in pairs
        if equals and name.strip(b" \t") == _SESSION and b"\0" not in value
    ]
    expected = values[0] if len(values) == 1 else None
    one = find_cookie(data, _SESSION)
    require(one == expected, f"the short way finds {one!r} instead of {expected!r}")
    try:
        found = parse_cookies(data)
    except TooManyCookies:
        require(len(data) > 16 * 1024 or data.count(b";") >= 180, "refused without need")
        return
    require(found.values.get(_SESSION) == expected, f"{found!r} instead of {expected!r}")
    require((_SESSION in found.duplicates) == (len(values) > 1), f"{found.duplicates!r}")
    require(not found.duplicates & set(found.values), "a duplicate has a value")
    try:
        line = CookieForm(name=_SESSION).line(data)
    except ValueError:
        return
    require(re.fullmatch(rb"[\x21-\x7e]*", data) and line.count(b"\r\n") == 1, f"line {line!r}")
    require(parse_cookies(_SESSION + b"=" + data).values == {_SESSION: data}, "not read back")


def token(data: bytes) -> None:
    """Only what was sealed opens, and in one spelling alone."""
    opened = _SEALER.open(data)
    require((opened == (_CLAIMS, True)) == (data == _TOKEN), f"opened {opened!r}")
    require(opened is None or data == _TOKEN, f"a second spelling {data!r}")
    rest = data.partition(b"\x1e")[2]
    for changed in (_TOKEN + data, data + _TOKEN, _TOKEN[: len(data)], _TOKEN[:-22] + rest):
        require(changed == _TOKEN or _SEALER.open(changed) is None, f"opened {changed!r}")
    claims = decode_claims(data)
    if claims is not None:
        require(len(claims.session_id) == 16, "an id of another length")
        require(decode_claims(encode_claims(claims)) == claims, "claims are not read back")
    sealed = _SEALER.seal(data[:2000])
    require(not data or _SEALER.open(sealed) == (data[:2000], True), "not read back")


def csrf_token(data: bytes) -> None:
    """No bytes but a session's own token are taken for it."""
    tokens = CsrfTokens((b"k" * 32,))
    mine = tokens.mint(b"i" * 16, 1_800_000_000)
    text = data.decode("latin-1")
    found = tokens.is_good(text, b"i" * 16, started_at=1_800_000_000, now=1_800_000_000)
    require(found == (text == mine), f"{text!r} is {'good' if found else 'bad'}")


def csp(data: bytes) -> None:
    """A policy is read back as it was written, is as strict as itself, and hides no second line."""
    one, _, two = data.decode("utf-8", "replace").partition("\x1e")
    try:
        found = parse_csp(one)
    except ValueError:
        return
    text = serialize_csp(found)
    require("\r" not in text and "\n" not in text, f"lines: {text!r}")
    require(parse_csp(text) == found, f"{found!r} is not read back from {text!r}")
    require(is_as_strict(found, found), f"{text!r} is laxer than itself")
    wider = with_sources(found, "script-src", [block_hash(two)])
    require(parse_csp(serialize_csp(wider)) == wider, f"{wider!r} is not read back")
    if found:
        require(not is_as_strict({}, found), f"nothing is as strict as {text!r}")


def violation_report(data: bytes) -> None:
    """Whatever was reported is short, in one line, without secrets, under one of few labels."""
    try:
        found = parse_reports(data)
    except ValueError:
        return
    require(len(found) <= MAX_REPORTS, f"{len(found)} reports")
    for each in found:
        require(each.kind in KINDS or each.kind == "other", f"kind {each.kind!r}")
        require(re.fullmatch("[a-z-]{1,30}", each.label) is not None, f"label {each.label!r}")
        for text in (each.directive, each.page, each.blocked, each.source, each.sample):
            plain = text.replace("\u200c", "").replace("\u200d", "")
            require(len(text) <= 220 and (not plain or plain.isprintable()), f"text {text!r}")
        for url in (each.page, each.blocked, each.source):
            require("?" not in url and "#" not in url, f"query in {url!r}")
            require(clean_url(url) == url or url == each.source, f"{url!r} is not clean")
            authority = re.match(r"(?:[a-z][a-z0-9+.-]*:)?[/\\]{2,}([^/\\]*)", url)
            require(authority is None or "@" not in authority[1], f"user in {url!r}")


# Paths, log lines.


@dataclass(frozen=True, slots=True)
class _Route:
    path: str
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = field(default=())


_ROUTES = (
    _Route("/*"),
    _Route("/venues/*"),
    _Route("/venues/{id}"),
    _Route("/venues/{id}/reviews"),
    _Route("/static/*"),
    _Route("/account"),
    _Route("/account/*", methods=("GET", "POST")),
    _Route("/a", hosts=("*.weddinglk.test",)),
    _Route("/venues/new", methods=("POST",)),
)
_TABLE = RouteTable(_ROUTES)
_SEGMENT = re.compile(rb"(?:\A|/)(?:\.|%2e){1,2}(?:;[^/]*)?(?:/|\Z)", re.IGNORECASE)


def path(data: bytes) -> None:
    """The normal form is one: normalising it again changes nothing; nothing in it misleads."""
    normal = normalise_path(data)
    if normal is None:
        return
    require(normal.startswith(b"/"), f"{normal!r}")
    require(normalise_path(normal) == normal, f"{normal!r} has another normal form")
    require(not _SEGMENT.search(normal), f"dot segment in {normal!r}")
    require(not re.search(rb"[\x00-\x20\x7f-\xff\\#?]", normal), f"a character in {normal!r}")
    require(not re.search(rb"%(?:0|1|7f|2f|5c)", normal, re.IGNORECASE), f"a code in {normal!r}")
    index = _TABLE.match(b"www.weddinglk.test:80", b"GET", normal)
    require(index is not None, f"no route for {normal!r}")
    assert index is not None
    _TABLE.parameters(index, normal)
    if normal.startswith(b"/static/"):
        require(_ROUTES[index].path == "/static/*", f"{normal!r} went to {_ROUTES[index]!r}")
    _TABLE.allowed_methods(b"a", normal)


def log_line(data: bytes) -> None:
    """One request is one line of JSON, whatever was in it."""
    parts = [*data.split(b"\x1e"), b"", b"", b"", b""][:4]
    line = access_line(
        time_text=b"2026-01-01T00:00:00.000Z",
        client="192.0.2.1",
        method=parts[0],
        target=parts[1],
        status=200,
        bytes_in=1,
        bytes_out=2,
        seconds=0.5,
        instance="a",
        route="r",
        request_id=b"id",
        tries=1,
        user_agent=parts[2],
        referer=parts[3],
    )
    require(line.endswith(b"\n") and line.count(b"\n") == 1, f"lines: {line!r}")
    require(isinstance(json.loads(line), dict), f"not an object: {line!r}")
    require(not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line), f"control characters: {line!r}")


# What may be kept.

_SECONDS = ("max_age", "s_maxage", "min_fresh", "stale_while_revalidate", "stale_if_error")


def directives(data: bytes) -> None:
    """No lifetime is negative or endless; what forbids keeping is heard wherever it stands."""
    found = [parse_cache_control(data), parse_cdn_cache_control(data)]
    for each in found:
        for name in _SECONDS if each is not None else ():
            value = getattr(each, name)
            require(value is None or 0 <= value <= 2**31, f"{name} is {value}")
    if b'"' not in data:
        require(parse_cache_control(data + b", no-store").no_store, "no-store was not heard")
        require(parse_cache_control(b"no-store," + data).no_store, "no-store was not heard first")
    parse_groups(data)


def vary(data: bytes) -> None:
    """Any ``*`` varies on all; what a client sends chooses one of few, and never two keys alike."""
    names = parse_vary(data)
    if any(each.strip(b" \t") == b"*" for each in data.split(b",")):
        require(names is None, f"{data!r} varies on {names!r}")
    value, _, other = data.partition(b"\x1e")
    require(best_language(value, (b"en", b"si", b"ta"), b"en") in (b"en", b"si", b"ta"), "language")
    require(set(preferred_codings(value)) <= {b"br", b"zstd", b"gzip", b"identity"}, "coding")
    keys = {
        variant_key((b"a", b"b"), fields)
        for fields in ({b"a": value}, {b"b": value}, {b"a": b"", b"b": value}, {})
    }
    require(len(keys) == 4, f"keys of {value!r} are alike")
    if value.replace(b" ", b"").replace(b"\t", b"") != other.replace(b" ", b"").replace(b"\t", b""):
        one = variant_key((b"a",), {b"a": value})
        require(one != variant_key((b"a",), {b"a": other}), f"{value!r} and {other!r} are one key")


def byte_range(data: bytes) -> None:
    """Ranges lie within, apart from one another, and are few; Content-Range is read back."""
    size = len(data)
    ranges = parse_ranges(data, size) or []
    require(len(ranges) <= 16, f"{len(ranges)} ranges")
    ordered = sorted(ranges)
    require(all(0 <= start < end <= size for start, end in ordered), f"{ranges!r} of {size}")
    require(all(one[1] < two[0] for one, two in pairwise(ordered)), f"{ranges!r}")
    found = parse_content_range(data)
    if found is not None:
        line = format_content_range(found.start, found.end, found.complete_length)
        require(parse_content_range(line) == found, f"{found!r} is not read back from {line!r}")


def instance_file(data: bytes) -> None:
    """A list of instances, each with an address and a name of its own, or the line at fault."""
    try:
        found = parse_instance_file(data, "instances")
    except ConfigError as error:
        require(re.match(r"instances:\d+: .", str(error), re.DOTALL), f"{error}")
        return
    for names in ([each.address for each in found], [each.name for each in found]):
        require(len(set(names)) == len(names), f"twice: {names!r}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request-head": request_head,
    "response-head": response_head,
    "chunked": chunked,
    "forwarding": forwarding,
    "proxy-header": proxy_header,
    "cookies": cookies,
    "token": token,
    "csrf-token": csrf_token,
    "csp": csp,
    "violation-report": violation_report,
    "path": path,
    "log-line": log_line,
    "directives": directives,
    "vary": vary,
    "byte-range": byte_range,
    "instance-file": instance_file,
}

MODULES = (
    "poruwa.net.http1",
    "poruwa.net.proxy_protocol",
    "poruwa.rules.message",
    "poruwa.rules.forwarding",
    "poruwa.rules.affinity",
    "poruwa.rules.cookie",
    "poruwa.rules.csp",
    "poruwa.rules.csrf",
    "poruwa.rules.routing",
    "poruwa.rules.session",
    "poruwa.rules.token",
    "poruwa.rules.violation_report",
    "poruwa.observe.access_line",
    "poruwa.rules.cache_control",
    "poruwa.rules.cache_groups",
    "poruwa.rules.discovery",
    "poruwa.rules.partial",
    "poruwa.rules.vary",
)
"""What coverage is measured in, so that the search is guided by it."""

_REQUEST = b"POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: x\r\nX: 1\r\n"
SEEDS: dict[str, list[bytes]] = {
    "request-head": [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        _REQUEST + b"Content-Length: 5\r\n\r\nhelloGET",
        _REQUEST + b'Transfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n\r\n",
        *(case.send for case in raw_cases("requests_refused")),
    ],
    "response-head": [
        b"\x01HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"\x00HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x01HTTP/1.0 999 X\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nhello",
        *(b"\x01" + case.send for case in raw_cases("responses_refused")),
    ],
    "chunked": [
        b"\x03" + b'5;a="b\\"c"\r\nhello\r\n0a\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nrest',
        *(b"\x04" + case.send.partition(b"\r\n\r\n")[2] for case in raw_cases("chunks_refused")),
    ],
    "forwarding": [
        b"\x00203.0.113.7, 10.1.2.3\nfor=203.0.113.7;proto=https\nhttps\na.test\n443",
        b'\x02[2001:db8::1]:80\nfor="[2001:db8::1]:80";host="a.test", for=_x, for=unknown',
    ],
    "proxy-header": [
        proxy_protocol.encode_v1("203.0.113.7", "192.0.2.1", 1, 2) + b"GET",
        proxy_protocol.encode_v1("2001:db8::1", "2001:db8::2", 1, 2),
        proxy_protocol.encode_v2("203.0.113.7", "192.0.2.1", 1, 2, checksum=True),
        proxy_protocol.encode_v2("2001:db8::1", "::1", 1, 2, tlvs=[(0x20, b"\1\0\0\0\0")]),
        proxy_protocol.encode_v2("/a", "/b"),
        proxy_protocol.encode_v2(None, None),
        b"PROXY UNKNOWN ffff\r\n",
    ],
    "cookies": [
        b"a=b; " + _SESSION + b"=x; c=d",
        _SESSION + b"=1;" + _SESSION + b"=2",
        _SESSION + b'="quoted;' + _SESSION + b"=",
        b"=" + _SESSION + b"=x; \xa0" + _SESSION + b"=y",
        b'$Version=1; a="' + _SESSION + b'=x"; ' + _SESSION + b" =z",
        b"abc_DEF-123.~",
    ],
    "token": [_TOKEN, _TOKEN[:-1] + b"\x1eA", _CLAIMS, b".." + _TOKEN, b"a..b.c.d"],
    "csrf-token": [CsrfTokens((b"k" * 32,)).mint(b"i" * 16, 1_800_000_000).encode(), b"A" * 32],
    "csp": [
        b"default-src 'none'; script-src 'self' 'sha256-x'; base-uri 'none'\x1ealert(1)",
        b"frame-ancestors 'none';; upgrade-insecure-requests; default-src *",
        b"require-trusted-types-for 'script'; trusted-types none; report-to a\x1e",
    ],
    "violation-report": [
        b'[{"type":"csp-violation","url":"https://u:p@a.test/b?c#d","body":{"sourceFile":"x:y",'
        b'"effectiveDirective":"img-src","lineNumber":3,"columnNumber":4,"sample":"a\\u001b"}}]',
        b'{"csp-report":{"violated-directive":"img-src *","blocked-uri":"//u:p@a.test",'
        b'"document-uri":"https://a.test/?b","source-file":"data:x","script-sample":"\\u200d"}}',
        b'[{"type":"coep","body":{"type":"corp","blockedURL":" \\\\\\\\a@b"}}]',
        b"[" * 2000,
    ],
    "path": [
        b"/venues/v-1/reviews",
        b"/a/..;/b",
        b"/%2e%2e/x",
        b"/static/%2f",
        b"/\xe0\xb6\xbd",
        b"/account;a=b/c",
        b"//a//b",
        b"/%41%7e%c3%a9",
    ],
    "directives": [
        b'public, max-age=100, no-cache="a, b", x="\\"", s-maxage=0',
        b'private="set-cookie", stale-while-revalidate=10,, max-age = 5, no-store',
        b"max-age=10, must-revalidate, no-store=?0, x;y=1",
        b'"a", "b";c',
    ],
    "vary": [b"Accept-Encoding, x", b"a, *", b"br;q=0.5, *;q=0\x1egzip", b"si-LK, en;q=0.1\x1ex"],
    "byte-range": [b"bytes=0-3, 5-, -2", b"bytes 0-3/10", b"bytes 5-9/*", b"bytes=-0"],
    "instance-file": [
        b"10.0.0.1:80 weight=3 name=a\n# x\n[::1]:80",
        b"unix:/a b\n10.0.0.1:80 #c",
        b"a.test:1 name=a\na.test:1",
    ],
    "log-line": [b'GET\x1e/a?q="b"\x1eMozilla\x1ehttp://a/', b"\\\x1e/\xff\x00\x1e\n\x1e\xc3"],
}

WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"Host: ",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked",
    b"chunked",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Connection: ",
    b"0\r\n\r\n",
    b"for=",
    b"proto=",
    b"host=",
    b"unknown",
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"UNKNOWN",
    b"127.0.0.1",
    b"::1",
    b"%2e",
    b"%2f",
    b"%00",
    b"..;",
    b"__Host-Http-WEDDINGLK_SESSION=",
    b"; ",
    b'\\"',
    b"\xa0",
    b"\x85",
    b"/static/",
    b"/venues/",
]
