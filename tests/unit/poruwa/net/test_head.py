"""The loop that reads heads, held to the grammar of RFC 9112 written as one expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.net.head import HOST, FieldNames, Head, trimmed
from poruwa.net.http1 import (
    ENDING_IN_REQUESTS,
    ENDING_IN_RESPONSES,
    Refused,
    take_request_head,
    take_response_head,
)
from poruwa.rules.message import RefusalReason

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELDS = rb"(?:" + _TOKEN + rb"++:[\x20-\x7e\x80-\xff\t]*+\r\n)*+\r\n"
_REQUEST = re.compile(
    rb"(?!CONNECT |TRACE )" + _TOKEN + rb"{1,32}+ [\x21-\x7e]++ HTTP/1\.[01]\r\n" + _FIELDS
)
_RESPONSE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\x20-\x7e\x80-\xff\t]*+)?\r\n" + _FIELDS)
# What the grammar allows and rules refuse.
_BY_RULES = {
    RefusalReason.HOST_MISSING, RefusalReason.HOST_REPEATED, RefusalReason.HOST_INVALID,
    RefusalReason.TARGET_INVALID,
}  # fmt: skip

_WORDS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b" ", b"\t", b"\x00", b"\x7f", b"\x80", b"\xff",
        b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"GET", b"CONNECT", b"TRACE", b"TRACER",
        b"/", b"/a?b", b"?", b"#", b"%41", b"|", b"*", b"http://a/x", b"a" * 33, b"a" * 64,
        b"Host: a", b"HOST:b", b"Content-Length: 5", b"content-length:6 ", b"X-Forwarded-For: 1",
        b"Transfer-Encoding: chunked", b"x_forwarded_for: 1", b"CONNECTION: x-a, close", b"X-A: 1",
        b"Te: trailers", b"TraceParent: 00", b"X-Request-ID: a", b"Date: x", b"Cookie: a",
        b"Poruwa-Csrf: a", b"poruwa_x: 1", b"Poruwan: 1",
        b"200", b"099", b"1000", b"999 \xe9",
    ]
)  # fmt: skip
_HEADS = st.sampled_from(
    [
        b"GET /a?b HTTP/1.1\r\nHost: a\r\nCookie: a\r\nX-A: \t1 \r\ncookie:b\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\nTe: x\r\nX-Real-Ip: 1\r\nConnection: close\r\n\r\n",
        b"PUT http://a/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\nKeep-Alive: 1\r\nVia: 1\r\n\r\n",
        b"HTTP/1.0 999\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nx-request-id: 1\r\n\r\n",
    ]
)


@st.composite
def _altered_heads(draw: st.DrawFn) -> bytes:
    """A head with a few places replaced, removed or filled, up to its first empty line."""
    head = draw(_HEADS)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(head)))
        upto = draw(st.integers(at, min(at + 3, len(head))))
        head = head[:at] + draw(_WORDS | st.binary(max_size=2)) + head[upto:]
    return head[: head.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in head else head


@settings(max_examples=500, deadline=None)
@given(_altered_heads())
def test_what_is_read_is_what_the_grammar_says(raw: bytes) -> None:
    own = (b"poruwa-", b"poruwa_")
    for grammar, ending, family, take in (
        (_REQUEST, ENDING_IN_REQUESTS, own, take_request_head),
        (_RESPONSE, ENDING_IN_RESPONSES, (), take_response_head),
    ):
        head: Head | None = None
        is_by_rules = False
        try:
            head = take(raw)
        except Refused as refused:
            is_by_rules = refused.reason in _BY_RULES
        assert bool(grammar.fullmatch(raw)) == (head is not None or is_by_rules)
        if head is not None:
            assert head.raw == raw
            lines = raw.split(b"\r\n")[1:-2]
            kept = [
                line
                for line in lines
                if (name := line.partition(b":")[0].lower()) not in ending
                and not name.startswith(family)
            ]
            assert head.passed_on == b"".join(b"\r\n" + line for line in kept)
            assert head.lines() == [
                (name.lower(), value.strip(b" \t"))
                for name, _, value in (line.partition(b":") for line in lines)
            ]


@settings(max_examples=60, deadline=None)
@given(_HEADS, st.binary(max_size=8))
def test_a_head_ends_at_its_empty_line_whatever_follows(raw: bytes, after: bytes) -> None:
    take = take_response_head if raw.startswith(b"HTTP") else take_request_head
    head = take(raw + after)
    assert head is not None
    assert head.raw == raw
    for end in range(len(raw)):
        assert take(raw[:end]) is None


@pytest.mark.parametrize("name", sorted(ENDING_IN_REQUESTS))
def test_fields_that_end_here_do_so_in_every_spelling(name: bytes) -> None:
    for spelled in (name, name.title(), name.upper(), name[:1].upper() + name[1:]):
        head = take_request_head(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + spelled + b": 1\r\nY-" + spelled + b": 1\r\n\r\n"
        )
        assert head is not None
        assert head.passed_on == b"\r\nHost: a\r\nY-" + spelled + b": 1"


@pytest.mark.parametrize("name", [b"Poruwa-Csrf", b"poruwa_x", b"PORUWA-", b"Poruwa-" + b"x" * 90])
def test_a_family_of_fields_ends_here_by_how_its_names_begin(name: bytes) -> None:
    near = b"\r\nPoruwa: 1\r\nPoruwan: 2\r\nX-Poruwa-A: 3\r\nPragma: 4"
    start = b"GET / HTTP/1.1\r\nHost: a"
    head = take_request_head(start + b"\r\n" + name + b": 1" + near + b"\r\n\r\n")
    assert head is not None
    assert head.passed_on == b"\r\nHost: a" + near
    response = take_response_head(b"HTTP/1.1 200 OK\r\n" + name + b": 1\r\n\r\n")
    assert response is not None
    assert response.passed_on == b"\r\n" + name + b": 1"


def test_fields_that_end_here_are_cut_wherever_they_stand() -> None:
    names = FieldNames({b"host": HOST}, (b"te", b"upgrade"))
    for block, passed_on in {
        b"": b"",
        b"Te: a": b"",
        b"Te: a\r\nA: 1": b"\r\nA: 1",
        b"A: 1\r\nTE: a": b"\r\nA: 1",
        b"A: 1\r\nte:\r\nUpgrade: b\r\nB: 2": b"\r\nA: 1\r\nB: 2",
        b"te:\r\nA: 1\r\nupgrade:\r\nTe:": b"\r\nA: 1",
    }.items():
        head = Head()
        assert head.read_lines(b"\r\n" + block + b"\r\n" * (2 if block else 1), 0, names)
        assert head.passed_on == passed_on


def test_repeated_fields_are_joined() -> None:
    head = take_request_head(
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nAccept: x\r\nCOOKIE: b=2\r\naccept:y\r\n"
        b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n"
    )
    assert head is not None
    assert (head.field(b"accept"), head.content_length) == (b"x, y", b"1, 1")
    assert head.line_count == 7
    assert head.field(b"cookie") == b"a=1; b=2"
    assert head.field(b"via") is None


@pytest.mark.parametrize(
    ("target", "plain_path"),
    [
        (b"/", b"/"),
        (b"/a/b;c=d?e/f", b"/a/b;c=d"),
        (b"/a?", b"/a"),
        (b"/a??b", b"/a"),
        (b"/a|b", b""),
        (b"/%41", b""),
        (b"/a?b|{}", b"/a"),
    ],
)
def test_plain_paths(target: bytes, plain_path: bytes) -> None:
    head = take_request_head(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head is not None
    assert (head.target, head.plain_path) == (target, plain_path)


def test_values_are_trimmed() -> None:
    assert trimmed(b"x: \t a b\t ", 2, 9) == b"a b"
    assert trimmed(b" \t ", 0, 3) == b""
