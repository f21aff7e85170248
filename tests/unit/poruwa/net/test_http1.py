"""Heads and chunked bodies: what is read, what is kept, and against h11 as a second parser."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.second_parser import compare_request, compare_response
from poruwa.net.http1 import (
    LAST_CHUNK,
    ChunkedDecoder,
    Refused,
    encode_chunk,
    has_bare_line_end,
    parse_request_head,
    parse_response_head,
)
from poruwa.rules.message import UNTIL_CLOSE, response_framing

HEAD = (
    b"GET /a?b HTTP/1.1\r\nHost: Weddinglk.Test:80\r\nCookie: a=1\r\nX-Any: 1\r\n"
    b"cookie: b=2\r\n\r\n"
)


def test_request_head_is_read() -> None:
    head = parse_request_head(HEAD)
    assert (head.method, head.target, head.host) == (b"GET", b"/a?b", b"weddinglk.test:80")
    assert head.plain_path == b"/a"
    assert head.fields == {
        b"host": b"Weddinglk.Test:80", b"cookie": b"a=1; b=2", b"x-any": b"1"
    }  # fmt: skip
    assert head.passed_on == (
        b"\r\nHost: Weddinglk.Test:80\r\nCookie: a=1\r\nX-Any: 1\r\ncookie: b=2"
    )
    assert head.passed_on_without(frozenset((b"cookie",))) == (
        b"\r\nHost: Weddinglk.Test:80\r\nX-Any: 1"
    )


def test_names_of_fields_are_whole_names() -> None:
    """A field whose name only begins or ends like one that counts is another field."""
    head = parse_request_head(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Host: b\r\nHosts: c\r\nContent-Length-X: 1\r\n"
        b"XTransfer-Encoding: chunked\r\n\r\n"
    )
    assert b"content-length" not in head.fields
    assert b"transfer-encoding" not in head.fields
    assert head.host == b"a"


def test_values_that_look_like_fields_are_values() -> None:
    head = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Any: Content-Length: 5\r\n\r\n")
    assert b"content-length" not in head.fields


def test_connection_options() -> None:
    def options(minor: int, value: bytes) -> tuple[bool, bool, frozenset[bytes] | None]:
        raw = b"GET / HTTP/1.%d\r\nHost: a\r\n%b\r\n" % (minor, value)
        return parse_request_head(raw).connection_options()

    assert options(1, b"") == (False, False, None)
    assert options(0, b"") == (True, False, None)
    assert options(0, b"Connection: Keep-Alive\r\n") == (False, False, None)
    assert options(1, b"Connection: keep-alive\r\nConnection: CLOSE\r\n") == (True, False, None)
    assert options(1, b"Connection: X-Hop ,\t, upgrade\r\n") == (
        False,
        True,
        frozenset((b"x-hop",)),
    )
    assert options(1, b"Connection: host, content-length\r\n") == (False, False, None)


@pytest.mark.parametrize(
    ("start", "status", "text"),
    [
        (b"HTTP/1.1 200 OK", 200, b"200 OK"),
        (b"HTTP/1.0 999 ", 999, b"999 "),
        (b"HTTP/1.1 204", 204, b"204 "),
        (b"HTTP/1.1 599 \xe9 x\ty", 599, b"599 \xe9 x\ty"),
    ],
)
def test_response_head_is_read(start: bytes, status: int, text: bytes) -> None:
    head = parse_response_head(start + b"\r\nX-Any: 1\r\n\r\n")
    assert (head.status, head.status_text) == (status, text)
    assert head.passed_on == b"\r\nX-Any: 1"


@pytest.mark.parametrize("status", [100, 103, 199, 204, 304])
def test_responses_without_body(status: int) -> None:
    fields = {b"transfer-encoding": b"chunked"}
    assert response_framing(fields, status=status, minor_version=1, answers_head=False) == 0
    assert response_framing({}, status=200, minor_version=1, answers_head=True) == 0
    assert response_framing({}, status=200, minor_version=1, answers_head=False) == UNTIL_CLOSE


def test_large_heads_take_linear_time() -> None:
    """What looks like much backtracking is none: half a megabyte, good or bad, in moments."""
    for tail in (b"\r\n\r\n", b"\x00\r\n\r\n", b" : \r\n\r\n"):
        for filler in (
            b"a" * 500_000,
            b"X-Any: " + b"\t " * 250_000,
            b"Host: a\r\n" * 50_000 + b"A:",
        ):
            raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + filler + tail
            start = time.perf_counter()
            with contextlib.suppress(Refused):
                parse_request_head(raw)
            assert time.perf_counter() - start < 20.0  # quadratic, it would be hours


# Against h11.

TOKENS = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"HEAD",
        b"OPTIONS",
        b" ",
        b"  ",
        b"/",
        b"/a?b=c",
        b"*",
        b"http://a/",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b":",
        b": ",
        b"Host: a",
        b"Host:a",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"chunked",
        b",",
        b";",
        b"\t",
        b"\x00",
        b"\x0b",
        b"\xa0",
        b"\x85",
        b"5",
        b"hello",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"X-A: b",
        b"Connection: x-a",
        b"Upgrade: x",
        b"a" * 40,
    ]
)
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"PUT /c HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\n"
    b"X-A: 1\r\n\r\n"
    b'5;a="b"\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
    b"GET http://a/x HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\nhello",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 204 \r\nConnection: close\r\n\r\n",
]


@st.composite
def altered(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A sound message with a few places replaced, removed or filled."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        upto = draw(st.integers(at, min(at + 3, len(data))))
        data = data[:at] + draw(TOKENS | st.binary(max_size=2)) + data[upto:]
    return data + draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))


@settings(max_examples=600, deadline=None)
@given(altered(REQUESTS) | st.lists(TOKENS, max_size=20).map(b"".join))
def test_requests_are_read_as_h11_reads_them(data: bytes) -> None:
    """Show 3: whatever we accept, h11 accepts, with the same method, target, fields and body."""
    compare_request(data)


@settings(max_examples=400, deadline=None)
@given(altered(RESPONSES), st.booleans())
def test_responses_are_read_as_h11_reads_them(data: bytes, answers_head: bool) -> None:
    compare_response(data, answers_head=answers_head)


@pytest.mark.parametrize("data", REQUESTS)
def test_sound_requests_are_taken(data: bytes) -> None:
    """The comparison above is not empty."""
    assert compare_request(data)


@pytest.mark.parametrize("data", RESPONSES)
def test_sound_responses_are_taken(data: bytes) -> None:
    assert compare_response(data)


# Chunked bodies.

CHUNKED_BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b'; a = "x;\\"\\\\"', b";a;b=c"])
TRAILERS = st.sampled_from([b"", b"X-T: 1\r\n", b"A: \xff\r\nB:\r\n"])


@st.composite
def encoded(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and one of its chunked encodings, by an encoder of the test's own."""
    chunks = draw(CHUNKED_BODIES)
    raw = b""
    for chunk in chunks:
        size = format(len(chunk), draw(st.sampled_from(["x", "X", "06x"]))).encode()
        raw += size + draw(EXTENSIONS) + b"\r\n" + chunk + b"\r\n"
    last = draw(st.sampled_from([b"0", b"000"]))
    return b"".join(chunks), raw + last + draw(EXTENSIONS) + b"\r\n" + draw(TRAILERS) + b"\r\n"


@settings(max_examples=200, deadline=None)
@given(encoded(), st.binary(max_size=5), st.lists(st.integers(0, 400), max_size=6))
def test_chunks_decode_however_they_are_cut(
    case: tuple[bytes, bytes], after: bytes, cuts: list[int]
) -> None:
    body, raw = case
    data = raw + after
    decoder = ChunkedDecoder()
    got = b""
    start = 0
    for end in [*sorted(cut for cut in cuts if cut < len(raw)), len(data)]:
        got += decoder.feed(data[start:end])
        start = end
    assert (got, decoder.is_complete, decoder.rest) == (body, True, after)


@settings(max_examples=60, deadline=None)
@given(encoded())
def test_chunks_decode_byte_by_byte(case: tuple[bytes, bytes]) -> None:
    body, raw = case
    decoder = ChunkedDecoder()
    got = b""
    for at in range(len(raw)):
        assert not decoder.is_complete
        got += decoder.feed(raw[at : at + 1])
    assert (got, decoder.is_complete, decoder.rest) == (body, True, b"")


@settings(max_examples=300, deadline=None)
@given(encoded(), st.integers(0, 500), TOKENS | st.binary(max_size=2), st.integers(1, 9))
def test_refusal_of_chunks_does_not_depend_on_cuts(
    case: tuple[bytes, bytes], at: int, inserted: bytes, step: int
) -> None:
    """Altered bytes, whole and in pieces: the same content or the same refusal."""
    raw = case[1]
    data = raw[:at] + inserted + raw[at + 1 :]

    def outcome(size: int) -> tuple[bytes, bool] | None:
        decoder = ChunkedDecoder()
        got = b""
        try:
            for start in range(0, len(data), size):
                if not decoder.is_complete:
                    got += decoder.feed(data[start : start + size])
        except Refused:
            return None
        return got, decoder.is_complete

    assert outcome(len(data) or 1) == outcome(step)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), max_size=10))
def test_our_chunks_are_chunks(pieces: list[bytes]) -> None:
    decoder = ChunkedDecoder()
    data = b"".join(encode_chunk(piece) for piece in pieces) + LAST_CHUNK
    assert decoder.feed(data) == b"".join(pieces)
    assert decoder.is_complete


def test_many_tiny_chunks_take_linear_time() -> None:
    """A megabyte of one-byte chunks in one read: four times the work, four times as long."""

    def seconds(count: int) -> float:
        data = b"1\r\nx\r\n" * count
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            assert len(ChunkedDecoder().feed(data)) == count
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(160_000) < 4 * 4 * seconds(40_000)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"\r\n", False),
        (b"a\r", False),
        (b"\n", True),
        (b"\r\r\n", True),
        (b"a\rb", True),
        (b"\r\n\n", True),
        (b"\n\r", True),
    ],
)
def test_bare_line_ends(data: bytes, expected: bool) -> None:
    assert has_bare_line_end(data) is expected
