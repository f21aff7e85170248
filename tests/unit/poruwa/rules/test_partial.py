"""Parts of representations: RFC 9111 sections 3.3 and 3.4, RFC 9110 sections 14 and 15.3.7."""

from __future__ import annotations

import email
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.partial import (
    MAX_RANGES,
    MAX_SEGMENTS,
    ContentRange,
    Segments,
    combine,
    first_segment,
    format_content_range,
    is_rest,
    multipart_body,
    parse_content_range,
    parse_ranges,
)

MONDAY = b"Mon, 06 Nov 2023 08:49:37 GMT"
TUESDAY = b"Tue, 07 Nov 2023 08:49:37 GMT"
WHOLE = bytes(range(100))


def held(
    start: int,
    end: int,
    *,
    total: int | None = 100,
    etag: bytes = b'"a"',
    last_modified: bytes = b"",
    content: bytes = WHOLE,
) -> Segments:
    data = content[start:end]
    segments = first_segment(start, data, total=total, etag=etag, last_modified=last_modified)
    assert segments is not None
    return segments


def combined(*all_segments: Segments) -> Segments:
    result = all_segments[0]
    for segments in all_segments[1:]:
        both = combine(result, segments)
        assert both is not None
        result = both
    return result


@pytest.mark.parametrize(
    ("value", "start", "end", "complete"),
    [
        (b"bytes 0-0/1", 0, 1, 1),
        (b"bytes 42-1233/1234", 42, 1234, 1234),
        (b"bytes 42-1233/*", 42, 1234, None),
        (b"BYTES 0-9/10", 0, 10, 10),  # section 14.1: units are case-insensitive
    ],
)
def test_content_range(value: bytes, start: int, end: int, complete: int | None) -> None:
    """RFC 9110 section 14.4."""
    parsed = parse_content_range(value)
    assert parsed == ContentRange(start=start, end=end, complete_length=complete)
    assert format_content_range(start, end, complete) == b"bytes" + value[5:]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"bytes */1234",
        b"bytes 5-4/10",
        b"bytes 0-10/10",
        b"bytes 0-9",
        b"bytes 0-9/",
        b"bytes=0-9/10",
        b"bytes  0-9/10",
        b"bytes 0 - 9/10",
        b"bytes 0-9/10 ",
        b"bytes -9/10",
        b"bytes +0-9/10",
        b"items 0-9/10",
        b"bytes 0-9/10, bytes 0-9/10",
        b"bytes 0-" + b"9" * 5000 + b"/*",
    ],
)
def test_no_content_range(value: bytes | None) -> None:
    assert parse_content_range(value) is None


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        pytest.param(b"bytes=0-0", [(0, 1)], id="one"),
        pytest.param(b"bytes=0-0,-1", [(0, 1), (99, 100)], id="first-and-last"),
        pytest.param(b"bytes= 0-9 ,\t50-", [(0, 10), (50, 100)], id="white-space"),
        pytest.param(b"bytes=50-59, 0-9", [(50, 60), (0, 10)], id="order-is-kept"),
        pytest.param(b"bytes=0-9,,20-29,", [(0, 10), (20, 30)], id="5.6.1.2-empty-elements"),
        pytest.param(b"Bytes=0-999", [(0, 100)], id="cut-at-the-end"),
        pytest.param(b"bytes=-999", [(0, 100)], id="cut-at-the-start"),
        pytest.param(b"bytes=0-9,100-", [(0, 10)], id="unsatisfiable-left-out"),
        pytest.param(b"bytes=0-9,5-14", [(0, 15)], id="15.3.7.2-overlap"),
        pytest.param(b"bytes=0-9,10-19", [(0, 20)], id="touch"),
        pytest.param(b"bytes=0-9,11-19", [(0, 10), (11, 20)], id="gap"),
        pytest.param(b"bytes=0-9,20-29,5-24", [(0, 30)], id="one-that-joins-two"),
        pytest.param(b"bytes=80-,0-9,70-89,20-29", [(70, 100), (0, 10), (20, 30)], id="place"),
        pytest.param(b"bytes=0-,0-,0-", [(0, 100)], id="17.15-again-and-again"),
        pytest.param(b"bytes=100-", None, id="14.1.2-unsatisfiable"),
        pytest.param(b"bytes=-0, 200-300", None, id="14.1.2-all-unsatisfiable"),
        pytest.param(b"bytes=0-9,9-0", [], id="14.1.1-one-invalid-spoils-it"),
        pytest.param(b"bytes=0-9,x", [], id="one-malformed-spoils-it"),
        pytest.param(b"bytes=0-9, bytes=20-29", [], id="two-lines"),
        pytest.param(b"bytes=-", [], id="neither"),
        pytest.param(b"bytes=", [], id="no-range"),
        pytest.param(b"bytes=, ,", [], id="no-range-but-commas"),
        pytest.param(b"bytes", [], id="no-equals-sign"),
        pytest.param(b"items=0-9", [], id="14.2-other-unit"),
        pytest.param(b"bytes=0-" + b"9" * 5000, [], id="endless-number"),
    ],
)
def test_parse_ranges(value: bytes, ranges: list[tuple[int, int]] | None) -> None:
    assert parse_ranges(value, 100) == ranges


def test_too_many_ranges_are_ignored() -> None:
    """RFC 9110 section 17.15."""
    most = b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 2 * MAX_RANGES, 2))
    assert len(parse_ranges(most, 100) or ()) == MAX_RANGES
    assert parse_ranges(most + b",90-", 100) == []
    assert parse_ranges(b"bytes=" + b"0-," * 100_000, 100) == []


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=-5", b"bytes=0-0,1-1"])
def test_an_empty_representation_has_no_ranges(value: bytes) -> None:
    assert parse_ranges(value, 0) == []


def test_segments_become_the_whole() -> None:
    """RFC 9111 section 3.4."""
    segments = held(0, 30)
    assert segments.whole() is None
    segments = combined(segments, held(60, 100))
    assert [(start, len(data)) for start, data in segments.parts] == [(0, 30), (60, 40)]
    assert segments.whole() is None
    assert combined(segments, held(20, 70)).whole() == WHOLE
    assert combined(segments, held(30, 60)).whole() == WHOLE
    assert combined(segments, held(0, 100)).whole() == WHOLE


def test_whole_needs_the_beginning_the_end_and_the_total() -> None:
    assert held(0, 100).whole() == WHOLE
    assert held(1, 100).whole() is None
    assert held(0, 99).whole() is None
    assert held(0, 100, total=None).whole() is None
    assert combined(held(0, 50, total=None), held(50, 100)).whole() == WHOLE


def test_what_is_held() -> None:
    segments = combined(held(10, 30), held(60, 80))
    assert segments.read(10, 30)
    assert segments.read(60, 61)
    assert not segments.read(9, 11)
    assert not segments.read(29, 31)
    assert not segments.read(20, 70)
    assert not segments.read(40, 50)
    assert segments.read(12, 15) == WHOLE[12:15]
    assert segments.read(70, 80) == WHOLE[70:80]
    assert segments.read(25, 31) is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(held(50, 60, etag=b'"b"'), id="3.4-another-tag"),
        pytest.param(held(50, 60, etag=b'W/"a"'), id="3.4-weak-tag"),
        pytest.param(held(50, 60, etag=b""), id="3.4-no-validator"),
        pytest.param(held(50, 60, etag=b"", last_modified=MONDAY), id="3.4-none-in-common"),
        pytest.param(held(50, 60, total=101), id="another-length"),
        pytest.param(held(5, 15, content=bytes(100)), id="other-bytes"),
        pytest.param(held(0, 30, content=bytes(100)), id="other-bytes-around"),
    ],
)
def test_not_combined(other: Segments) -> None:
    assert combine(held(10, 20), other) is None
    assert combine(other, held(10, 20)) is None


@pytest.mark.parametrize(
    ("etag", "last_modified", "result"),
    [
        (b"", MONDAY, True),
        (b'W/"b"', MONDAY, True),
        (b"", TUESDAY, False),
        (b"", b"", False),
    ],
)
def test_a_strong_date_is_a_validator(etag: bytes, last_modified: bytes, result: bool) -> None:
    """RFC 9110 section 8.8.2.2."""
    ours = held(0, 10, last_modified=MONDAY)
    other = held(10, 20, etag=etag, last_modified=last_modified)
    assert (combine(ours, other) is not None) is result


def test_without_validators_nothing_is_combined() -> None:
    assert combine(held(0, 10, etag=b""), held(10, 20, etag=b"")) is None
    assert combine(held(0, 10, etag=b'W/"a"'), held(10, 20, etag=b'W/"a"')) is None


def test_same_tag_but_another_date_is_not_combined() -> None:
    assert combine(held(0, 9, last_modified=MONDAY), held(9, 20, last_modified=TUESDAY)) is None


def test_a_late_total_must_fit_what_is_held() -> None:
    assert combine(held(50, 60, total=None), held(0, 10, total=55)) is None
    both = combined(held(50, 60, total=None), held(0, 10, total=60))
    assert both.total == 60


def test_no_segment_of_nothing_nor_beyond_the_end() -> None:
    def segment(start: int, data: bytes) -> Segments | None:
        return first_segment(start, data, total=10, etag=b'"a"', last_modified=b"")

    assert segment(0, b"") is None
    assert segment(5, b"123456") is None
    assert segment(-1, b"1") is None
    assert segment(5, b"12345") is not None


def test_segments_are_bounded() -> None:
    """The smallest part is given up, here the one byte at 2."""
    segments = held(2, 3)
    for number in range(1, MAX_SEGMENTS + 1):
        segments = combined(segments, held(number * 5, number * 5 + 2))
        assert len(segments.parts) == min(number + 1, MAX_SEGMENTS)
    assert not segments.read(2, 3)
    assert segments.read(5, 7)
    assert segments.read(MAX_SEGMENTS * 5, MAX_SEGMENTS * 5 + 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), min_size=1, max_size=12))
def test_combined_segments_hold_what_was_given(ranges: list[tuple[int, int]]) -> None:
    given_ranges = [(start, min(start + length, 100)) for start, length in ranges]
    segments = combined(*[held(start, end) for start, end in given_ranges])
    bytes_held = {at for start, end in given_ranges for at in range(start, end)}
    for at in range(100):
        assert segments.read(at, at + 1) == (WHOLE[at : at + 1] if at in bytes_held else None)
    for before, after in zip(segments.parts, segments.parts[1:], strict=False):
        assert before[0] + len(before[1]) < after[0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), min_size=1, max_size=20))
def test_ranges_are_within_disjoint_and_all_that_was_asked(pairs: list[tuple[int, int]]) -> None:
    value = b"bytes=" + b",".join(b"%d-%d" % pair for pair in pairs)
    ranges = parse_ranges(value, 100)
    if len(pairs) > MAX_RANGES or any(last < first for first, last in pairs):
        assert ranges == []
        return
    asked = {at for first, last in pairs for at in range(first, last + 1) if at < 100}
    answered = [at for start, end in ranges or [] for at in range(start, end)]
    assert sorted(answered) == sorted(asked)
    assert (ranges is None) == (not asked)


def test_multipart_body() -> None:
    """RFC 9110 section 15.3.7.2."""
    body = multipart_body([(0, b"ab"), (500, b"xyz")], b"text/plain", b"B1", 1000)
    assert body == (
        b"--B1\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/1000\r\n\r\nab\r\n"
        b"--B1\r\nContent-Type: text/plain\r\nContent-Range: bytes 500-502/1000\r\n\r\nxyz\r\n"
        b"--B1--\r\n"
    )


def test_multipart_body_is_what_a_mime_parser_reads() -> None:
    body = multipart_body([(0, b"ab"), (7, b"--B1x")], None, b"B1", None)
    head = b"Content-Type: multipart/byteranges; boundary=B1\r\n\r\n"
    message = email.message_from_bytes(head + body, policy=HTTP)
    parts = [
        (part["Content-Range"], part["Content-Type"], part.get_payload(decode=True))
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]
    assert parts == [("bytes 0-1/*", None, b"ab"), ("bytes 7-11/*", None, b"--B1x")]


PIECES = (b"bytes", b"=", b"-", b",", b" ", b"0", b"9", b"/", b"*", b"\xff", b"\0")


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES)).map(b"".join)))
def test_no_bytes_break_it(value: bytes) -> None:
    parse_content_range(value)
    for start, end in parse_ranges(value, 100) or []:
        assert 0 <= start < end <= 100
    for start, end in parse_ranges(b"bytes=" + value, 100) or []:
        assert 0 <= start < end <= 100


@pytest.mark.parametrize(
    ("brought", "etag", "last_modified", "length", "result"),
    [
        pytest.param((40, 100, 100), b'"a"', b"", 60, True, id="3.4-the-rest"),
        pytest.param((40, 100, None), b'"a"', b"", 60, True, id="of-unknown-length"),
        pytest.param((40, 99, 100), b'"a"', b"", 59, False, id="not-all"),
        pytest.param((30, 100, 100), b'"a"', b"", 70, False, id="from-elsewhere"),
        pytest.param((40, 101, 101), b'"a"', b"", 61, False, id="another-length"),
        pytest.param((40, 100, 100), b'"b"', b"", 60, False, id="3.4-another-tag"),
        pytest.param((40, 100, 100), b'W/"a"', b"", 60, False, id="3.4-weak-tag"),
        pytest.param((40, 100, 100), b"", b"", 60, False, id="3.4-no-validator"),
        pytest.param((40, 100, 100), b'"a"', b"", -1, False, id="no-length"),
        pytest.param((40, 100, 100), b'"a"', b"", 59, False, id="fewer-bytes"),
        pytest.param((40, 100, 100), b"", MONDAY, 60, True, id="8.8.2.2-strong-date"),
        pytest.param((40, 100, 100), b"", TUESDAY, 60, False, id="another-date"),
    ],
)
def test_the_rest(
    brought: tuple[int, int, int | None],
    etag: bytes,
    last_modified: bytes,
    length: int,
    result: bool,
) -> None:
    start, end, complete = brought
    beginning = held(0, 40, last_modified=MONDAY)
    assert beginning.beginning() == WHOLE[:40]
    content_range = ContentRange(start=start, end=end, complete_length=complete)
    found = is_rest(beginning, content_range, etag=etag, last_modified=last_modified, length=length)
    assert found is result


def test_what_lacks_the_first_byte_is_no_beginning() -> None:
    assert held(1, 40).beginning() == b""
    assert combined(held(0, 10), held(20, 30)).beginning() == WHOLE[:10]
