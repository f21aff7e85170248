"""What is stored and how it is updated: RFC 9111 sections 3.1, 3.2 and 4.3."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.stored_response import (
    matches_head,
    revalidation_fields,
    selects,
    storable_lines,
    updated_lines,
)

MONDAY = b"Mon, 06 Nov 2023 08:49:37 GMT"
TUESDAY = b"Tue, 07 Nov 2023 08:49:37 GMT"
NONE: frozenset[bytes] = frozenset()

Lines = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"keep-alive",
        b"Proxy-Connection",
        b"TE",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Trailer",
        b"Proxy-Authenticate",
        b"Proxy-Authentication-Info",
        b"PROXY-AUTHORIZATION",
        b"Age",
    ],
)
def test_not_stored(name: bytes) -> None:
    """Section 3.1; Age is computed (section 4)."""
    lines = [(b"A", b"1"), (name, b"x"), (b"B", b"2")]
    assert storable_lines(lines, None, drop=NONE) == [(b"A", b"1"), (b"B", b"2")]


def test_what_is_nominated_or_qualified_is_not_stored() -> None:
    """Sections 3.1, 5.2.2.4 and 5.2.2.7."""
    lines = [(b"Foo", b"1"), (b"Set-Cookie", b"a=b"), (b"Bar", b"2"), (b"set-cookie", b"c=d")]
    kept = storable_lines(lines, frozenset((b"foo",)), drop=frozenset((b"set-cookie",)))
    assert kept == [(b"Bar", b"2")]


def test_order_spelling_and_repetition_are_stored() -> None:
    lines = [(b"X-a", b"1"), (b"Set-Cookie", b"a"), (b"x-A", b"2"), (b"Set-Cookie", b"b")]
    assert storable_lines(lines, None, drop=NONE) == lines


@pytest.mark.parametrize(
    ("stored", "newer", "result"),
    [
        pytest.param(
            [(b"A", b"1"), (b"B", b"2")],
            [(b"a", b"3")],
            [(b"B", b"2"), (b"a", b"3")],
            id="3.2-replaced",
        ),
        pytest.param([(b"A", b"1")], [(b"B", b"2")], [(b"A", b"1"), (b"B", b"2")], id="3.2-added"),
        pytest.param([(b"A", b"1")], [], [(b"A", b"1")], id="3.2-the-rest-stays"),
        pytest.param(
            [(b"V", b"1"), (b"V", b"2")],
            [(b"V", b"3"), (b"V", b"4"), (b"V", b"5")],
            [(b"V", b"3"), (b"V", b"4"), (b"V", b"5")],
            id="3.2-all-lines-of-a-name",
        ),
        pytest.param(
            [(b"Content-Length", b"10")],
            [(b"Content-Length", b"0")],
            [(b"Content-Length", b"10")],
            id="3.2-content-length",
        ),
        pytest.param(
            [(b"Content-Encoding", b"gzip")],
            [(b"content-encoding", b"br")],
            [(b"Content-Encoding", b"gzip")],
            id="3.2-content-encoding",
        ),
        pytest.param([], [(b"Content-Encoding", b"gzip")], [], id="3.2-no-coding-for-plain-bytes"),
        pytest.param([], [(b"Content-Range", b"bytes 0-1/2")], [], id="3.2-content-range"),
        pytest.param(
            [(b"Content-MD5", b"rL0Y"), (b"Content-Digest", b"sha-256=:AA==:")],
            [(b"Content-MD5", b"N7Ud"), (b"Content-Digest", b"sha-256=:BB==:")],
            [(b"Content-MD5", b"rL0Y"), (b"Content-Digest", b"sha-256=:AA==:")],
            id="3.2-digests-of-the-stored-bytes",
        ),
        pytest.param(
            [(b"Content-Type", b"text/plain")],
            [(b"Content-Type", b"text/html")],
            [(b"Content-Type", b"text/html")],
            id="3.2-content-type-is-updated",
        ),
        pytest.param(
            [(b"ETag", b'"a"'), (b"Last-Modified", MONDAY)],
            [(b"ETag", b'W/"a"'), (b"Last-Modified", TUESDAY)],
            [(b"ETag", b'W/"a"'), (b"Last-Modified", TUESDAY)],
            id="3.2-validators",
        ),
        pytest.param(
            [(b"ETag", b'W/"a"'), (b"Foo", b'W/"a"')],
            [(b"etag", b'"a"'), (b"foo", b'"a"')],
            [(b"ETag", b'W/"a"'), (b"foo", b'"a"')],
            id="3.2-a-weak-tag-stays-weak",
        ),
        pytest.param(
            [(b"ETag", b'W/"a"')],
            [(b"ETag", b'"b"')],
            [(b"ETag", b'"b"')],
            id="3.2-another-tag",
        ),
        pytest.param(
            [(b"A", b"1")],
            [(b"Age", b"5"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close")],
            [(b"A", b"1")],
            id="3.1-nor-stored-now",
        ),
    ],
)
def test_updated_lines(stored: Lines, newer: Lines, result: Lines) -> None:
    assert updated_lines(stored, newer) == result


def test_what_is_not_to_be_stored_leaves_the_stored_line() -> None:
    stored = [(b"Foo", b"1"), (b"Bar", b"1")]
    newer = [(b"Foo", b"2"), (b"Bar", b"2"), (b"Baz", b"2")]
    updated = updated_lines(stored, newer, frozenset((b"foo",)), drop=frozenset((b"bar",)))
    assert updated == [*stored, (b"Baz", b"2")]


@pytest.mark.parametrize(
    ("etag", "last_modified", "lines"),
    [
        (b'"a"', None, b'If-None-Match: "a"\r\n'),
        (b'W/"a"', b"", b'If-None-Match: W/"a"\r\n'),
        (None, MONDAY, b"If-Modified-Since: " + MONDAY + b"\r\n"),
        (b'"a"', MONDAY, b'If-None-Match: "a"\r\nIf-Modified-Since: ' + MONDAY + b"\r\n"),
        (None, None, b""),
        (b"", b"", b""),
    ],
)
def test_revalidation_fields(etag: bytes | None, last_modified: bytes | None, lines: bytes) -> None:
    """Section 4.3.1."""
    assert revalidation_fields(etag, last_modified) == lines


@pytest.mark.parametrize(
    ("etag", "date", "new_etag", "new_date", "result"),
    [
        # First: strong validators.
        pytest.param(b'"a"', None, b'"a"', None, True, id="same-strong"),
        pytest.param(b'"a"', None, b'"b"', None, False, id="other-strong"),
        pytest.param(b'"a"', MONDAY, b'"b"', MONDAY, False, id="other-strong-same-date"),
        pytest.param(b'"a"', MONDAY, b'"a"', TUESDAY, True, id="same-strong-other-date"),
        pytest.param(b'W/"a"', None, b'"a"', None, False, id="strong-for-weak"),
        pytest.param(None, None, b'"a"', None, False, id="strong-for-none"),
        pytest.param(b"", MONDAY, b'"a"', TUESDAY, False, id="strong-for-none-other-date"),
        # Second: weak ones.
        pytest.param(b'"a"', None, b'W/"a"', None, True, id="weak-for-strong"),
        pytest.param(b'W/"a"', None, b'W/"a"', None, True, id="weak-for-weak"),
        pytest.param(b'W/"a"', None, b'W/"b"', None, False, id="other-weak"),
        pytest.param(b'W/"a"', MONDAY, b'W/"b"', MONDAY, False, id="other-weak-same-date"),
        pytest.param(None, MONDAY, b'W/"a"', MONDAY, True, id="weak-for-none-same-date"),
        pytest.param(None, MONDAY, b'W/"a"', None, False, id="weak-for-none"),
        pytest.param(b'"a"', MONDAY, None, MONDAY, True, id="same-date"),
        pytest.param(b'"a"', MONDAY, None, TUESDAY, False, id="other-date"),
        pytest.param(b'"a"', None, None, TUESDAY, False, id="date-for-none"),
        # Third: none.
        pytest.param(b'"a"', MONDAY, None, None, True, id="none-for-both"),
        pytest.param(None, None, None, None, True, id="none-for-none"),
        pytest.param(None, None, b"", b"", True, id="empty"),
    ],
)
def test_selects(
    etag: bytes | None,
    date: bytes | None,
    new_etag: bytes | None,
    new_date: bytes | None,
    result: bool,
) -> None:
    """Section 4.3.4."""
    fields = {b"etag": new_etag, b"last-modified": new_date}
    present = {name: value for name, value in fields.items() if value is not None}
    assert selects(etag, date, present) is result


@pytest.mark.parametrize(
    ("etag", "new_date", "result"),
    [
        (b'W/"a"', MONDAY, True),
        (b"", MONDAY, True),
        (None, MONDAY, True),
        (b'W/"a"', TUESDAY, False),
        (b'"b"', MONDAY, False),
    ],
)
def test_a_strong_date_selects_in_place_of_a_weak_tag(
    etag: bytes | None, new_date: bytes, result: bool
) -> None:
    """RFC 9110 section 8.8.2.2; without it, section 4.3.4 forbids to use the strong tag's 304."""
    fields = {b"etag": b'"a"', b"last-modified": new_date}
    assert selects(etag, MONDAY, fields, date_is_strong=True) is result
    assert selects(etag, MONDAY, fields) is False


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        pytest.param({}, True, id="says-nothing"),
        pytest.param({b"etag": b'"a"'}, True, id="same-tag"),
        pytest.param({b"etag": b'"b"'}, False, id="other-tag"),
        pytest.param({b"etag": b'W/"a"'}, False, id="weakened-tag"),
        pytest.param({b"last-modified": MONDAY}, True, id="same-date"),
        pytest.param({b"last-modified": TUESDAY, b"etag": b'"a"'}, False, id="other-date"),
        pytest.param({b"content-length": b"100"}, True, id="same-length"),
        pytest.param({b"content-length": b"0100"}, True, id="same-length-leading-zero"),
        pytest.param({b"content-length": b"101", b"etag": b'"a"'}, False, id="other-length"),
        pytest.param({b"content-length": b"100, 100"}, False, id="no-length"),
        pytest.param({b"content-length": b"9" * 5000}, False, id="endless-length"),
        pytest.param({b"content-type": b"a/b"}, True, id="other-fields-do-not-count"),
    ],
)
def test_matches_head(fields: dict[bytes, bytes], result: bool) -> None:
    """Section 4.3.5."""
    assert matches_head(b'"a"', MONDAY, 100, fields) is result


def test_head_of_an_empty_response() -> None:
    assert matches_head(None, None, 0, {b"content-length": b"0"})
    assert matches_head(None, None, 0, {b"content-length": b"00"})
    assert not matches_head(None, None, 0, {b"content-length": b""})
    assert not matches_head(None, None, 0, {b"etag": b'"a"'})


NAMES = st.sampled_from((b"A", b"a", b"B", b"Content-Length", b"content-encoding", b"Age"))
LINES = st.lists(st.tuples(NAMES, st.binary(max_size=3)), max_size=6)


@settings(deadline=None)
@given(LINES, LINES)
def test_each_name_comes_from_one_response(stored: Lines, newer: Lines) -> None:
    """Section 3.2, and updating twice with the same fields is updating once."""
    stored = storable_lines(stored, None, drop=NONE)
    updated = updated_lines(stored, newer)
    assert updated_lines(updated, newer) == updated
    for name in (b"a", b"b"):
        in_newer = [value for key, value in newer if key.lower() == name]
        in_stored = [value for key, value in stored if key.lower() == name]
        assert [value for key, value in updated if key.lower() == name] == (in_newer or in_stored)


@settings(deadline=None)
@given(*[st.binary(max_size=12)] * 5)
def test_no_bytes_break_it(a: bytes, b: bytes, c: bytes, d: bytes, e: bytes) -> None:
    fields = {b"etag": c, b"last-modified": d, b"content-length": e}
    selects(a, b, fields)
    selects(a, b, fields, date_is_strong=True)
    matches_head(a, b, 7, fields)
