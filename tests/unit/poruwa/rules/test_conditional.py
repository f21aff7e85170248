"""Preconditions and ranges: RFC 9110 sections 13 and 14."""

from __future__ import annotations

import pytest

from poruwa.rules.conditional import Representation, Selection, select
from poruwa.rules.http_date import format_http_date

MODIFIED = 1_700_000_000
NOW = MODIFIED + 3600.0
FILE = Representation(size=1000, etag=b'"v1"', last_modified=MODIFIED)
WHOLE = Selection(status=200, end=1000)
SAME = format_http_date(MODIFIED)
BEFORE = format_http_date(MODIFIED - 1)
AFTER = format_http_date(MODIFIED + 1)


def selected(
    *,
    method: bytes = b"GET",
    now: float = NOW,
    file: Representation = FILE,
    for_cache: bool = False,
    **fields: bytes,
) -> Selection:
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return select(method, named, file, now=now, for_cache=for_cache)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        # Section 13.1.1: strong comparison.
        ({"if_match": b'"v1"'}, 200),
        ({"if_match": b'"v0", "v1"'}, 200),
        ({"if_match": b"*"}, 200),
        ({"if_match": b'"v0"'}, 412),
        ({"if_match": b'W/"v1"'}, 412),
        ({"if_match": b"v1"}, 412),
        # Section 13.1.2: weak comparison.
        ({"if_none_match": b'"v1"'}, 304),
        ({"if_none_match": b'W/"v1"'}, 304),
        ({"if_none_match": b'"v0","v1"'}, 304),
        ({"if_none_match": b'"a,b", W/"v1"'}, 304),
        ({"if_none_match": b"*"}, 304),
        ({"if_none_match": b'"v0"'}, 200),
        ({"if_none_match": b"v1"}, 200),
        ({"if_none_match": b'"V1"'}, 200),
        ({"if_none_match": b""}, 200),
        # Section 13.1.3.
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": b"yesterday"}, 200),
        ({"if_modified_since": SAME + b", " + SAME}, 200),
        # Section 13.1.4.
        ({"if_unmodified_since": SAME}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": b"yesterday"}, 200),
        # Section 13.2.2: which counts when there are several.
        ({"if_none_match": b'"v0"', "if_modified_since": AFTER}, 200),
        ({"if_match": b'"v1"', "if_unmodified_since": BEFORE}, 200),
        ({"if_match": b'"v0"', "if_none_match": b'"v1"'}, 412),
        ({"if_none_match": b'"v1"', "range": b"bytes=0-1"}, 304),
        ({"if_match": b'"v1"', "if_none_match": b'"v1"'}, 304),
    ],
)
def test_preconditions(fields: dict[str, bytes], status: int) -> None:
    assert selected(**fields).status == status
    without_range = {name: value for name, value in fields.items() if name != "range"}
    assert selected(method=b"HEAD", **without_range).status == status


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        (b"bytes=0-0", 0, 1),
        (b"bytes=0-499", 0, 500),
        (b"bytes=500-", 500, 1000),
        (b"bytes=999-999", 999, 1000),
        (b"bytes=900-5000", 900, 1000),
        (b"bytes=-1", 999, 1000),
        (b"bytes=-1000", 0, 1000),
        (b"bytes=-5000", 0, 1000),
        (b"BYTES=1-2", 1, 3),  # section 14.1: units are case-insensitive
    ],
)
def test_range(value: bytes, start: int, end: int) -> None:
    assert selected(range=value) == Selection(status=206, start=start, end=end)
    assert selected(range=value, method=b"HEAD") == WHOLE


@pytest.mark.parametrize("value", [b"bytes=1000-", b"bytes=1000-2000", b"bytes=-0"])
def test_range_outside_is_unsatisfiable(value: bytes) -> None:
    assert selected(range=value) == Selection(status=416)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=5-4",
        b"bytes=-",
        b"bytes=",
        b"bytes",
        b"bytes=a-b",
        b"bytes=0-1,5-6",
        b"bytes=0-1, bytes=2-3",
        b"bytes=+1-2",
        b"bytes=1 -2",
        b"items=0-5",
        b"bytes=" + b"9" * 5000 + b"-",
    ],
)
def test_what_is_no_single_range_is_ignored(value: bytes) -> None:
    assert selected(range=value) == WHOLE


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=-5", b"bytes=0-0"])
def test_an_empty_file_has_no_ranges(value: bytes) -> None:
    empty = Representation(size=0, etag=b'"v1"', last_modified=MODIFIED)
    assert selected(range=value, file=empty) == Selection(status=200)


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        (b'"v1"', 206),
        (b'"v0"', 200),
        (b'W/"v1"', 200),  # section 13.1.5: strong comparison
        (SAME, 206),
        (AFTER, 200),  # exactly the same, not merely later
        (BEFORE, 200),
        (b"v1", 200),
    ],
)
def test_if_range(if_range: bytes, status: int) -> None:
    assert selected(range=b"bytes=0-9", if_range=if_range).status == status


def test_a_date_of_this_very_second_does_not_vouch_for_a_range() -> None:
    """Section 8.8.2.2: the file may change once more within the same second."""
    assert selected(range=b"bytes=0-9", if_range=SAME, now=MODIFIED + 0.5).status == 200
    assert selected(range=b"bytes=0-9", if_range=SAME, now=MODIFIED + 1.0).status == 206


def test_if_range_without_range_means_nothing() -> None:
    assert selected(if_range=b'"v1"') == WHOLE


WEAK = Representation(size=1000, etag=b'W/"v1"', last_modified=MODIFIED)
UNTAGGED = Representation(size=1000, etag=b"", last_modified=MODIFIED)
UNDATED = Representation(size=1000, etag=b'"v1"', last_modified=None)
BARE = Representation(size=1000, etag=b"", last_modified=None)
STORED = Representation(size=1000, etag=b"", last_modified=None, date=MODIFIED)


@pytest.mark.parametrize(
    ("file", "fields", "status"),
    [
        # Section 13.1.1: strong comparison, which a weak tag never passes.
        pytest.param(WEAK, {"if_match": b'"v1"'}, 412, id="13.1.1-weak"),
        pytest.param(WEAK, {"if_match": b'W/"v1"'}, 412, id="13.1.1-weak-by-weak"),
        pytest.param(WEAK, {"if_match": b"*"}, 200, id="13.1.1-star-weak"),
        pytest.param(UNTAGGED, {"if_match": b'"v1"'}, 412, id="13.1.1-untagged"),
        pytest.param(UNTAGGED, {"if_match": b'""'}, 412, id="13.1.1-empty-tag-is-a-tag"),
        pytest.param(UNTAGGED, {"if_match": b"*"}, 200, id="13.1.1-star-untagged"),
        # Section 13.1.2: weak comparison.
        pytest.param(WEAK, {"if_none_match": b'"v1"'}, 304, id="13.1.2-weak"),
        pytest.param(WEAK, {"if_none_match": b'"v0", W/"v1"'}, 304, id="13.1.2-weak-by-weak"),
        pytest.param(WEAK, {"if_none_match": b'W/"v0"'}, 200, id="13.1.2-weak-other"),
        pytest.param(UNTAGGED, {"if_none_match": b'"v1"'}, 200, id="13.1.2-untagged"),
        pytest.param(UNTAGGED, {"if_none_match": b'""'}, 200, id="13.1.2-empty-tag-is-a-tag"),
        pytest.param(UNTAGGED, {"if_none_match": b"*"}, 304, id="13.1.2-star-untagged"),
        # Section 13.1.3.
        pytest.param(UNTAGGED, {"if_modified_since": SAME}, 304, id="13.1.3-untagged"),
        pytest.param(UNDATED, {"if_modified_since": AFTER}, 200, id="13.1.3-undated"),
        pytest.param(BARE, {"if_modified_since": AFTER}, 200, id="13.1.3-bare"),
        # RFC 9111 section 4.3.2: a stored response's Date stands in for its Last-Modified.
        pytest.param(STORED, {"if_modified_since": SAME}, 304, id="9111-4.3.2-date"),
        pytest.param(STORED, {"if_modified_since": BEFORE}, 200, id="9111-4.3.2-date-later"),
        # Section 13.1.4: ignored without a date of modification.
        pytest.param(UNDATED, {"if_unmodified_since": BEFORE}, 200, id="13.1.4-undated"),
        pytest.param(STORED, {"if_unmodified_since": BEFORE}, 200, id="13.1.4-not-by-date"),
    ],
)
def test_representations_without_strong_validators(
    file: Representation, fields: dict[str, bytes], status: int
) -> None:
    assert selected(file=file, **fields).status == status


@pytest.mark.parametrize(
    ("file", "if_range", "status"),
    [
        pytest.param(WEAK, b'W/"v1"', 200, id="weak-by-weak"),
        pytest.param(WEAK, b'"v1"', 200, id="weak-by-strong"),
        pytest.param(WEAK, SAME, 206, id="weak-by-date"),
        pytest.param(UNTAGGED, b'"v1"', 200, id="untagged"),
        pytest.param(UNTAGGED, SAME, 206, id="untagged-by-date"),
        pytest.param(UNDATED, SAME, 200, id="undated-by-date"),
        pytest.param(UNDATED, b'"v1"', 206, id="undated-by-tag"),
        pytest.param(BARE, b"yesterday", 200, id="no-date-is-not-no-date"),
        pytest.param(STORED, SAME, 200, id="not-by-the-stored-date"),
    ],
)
def test_if_range_needs_a_strong_validator(
    file: Representation, if_range: bytes, status: int
) -> None:
    """Section 13.1.5."""
    assert selected(file=file, range=b"bytes=0-9", if_range=if_range).status == status
    assert selected(file=file, range=b"bytes=0-9").status == 206


def test_a_stored_date_vouches_for_a_range_by_when_it_was_sent() -> None:
    """Section 8.8.2.2: no time in the store makes the origin's date strong."""
    early = Representation(size=1000, etag=b"", last_modified=MODIFIED, date=MODIFIED)
    late = Representation(size=1000, etag=b"", last_modified=MODIFIED, date=MODIFIED + 1)
    assert selected(file=early, range=b"bytes=0-9", if_range=SAME).status == 200
    assert selected(file=late, range=b"bytes=0-9", if_range=SAME).status == 206


def test_last_modified_counts_before_the_stored_date() -> None:
    """RFC 9111 section 4.3.2: Date is compared only where Last-Modified is missing."""
    file = Representation(size=1000, etag=b"", last_modified=MODIFIED, date=MODIFIED + 3600)
    assert selected(file=file, if_modified_since=SAME).status == 304


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if_match": b'"v0"'}, 200),
        ({"if_unmodified_since": BEFORE}, 200),
        ({"if_match": b'"v0"', "if_none_match": b'"v1"'}, 304),
        ({"if_unmodified_since": BEFORE, "if_modified_since": SAME}, 304),
        ({"if_match": b'"v0"', "range": b"bytes=0-9"}, 206),
    ],
)
def test_a_cache_leaves_the_origin_its_preconditions(fields: dict[str, bytes], status: int) -> None:
    """RFC 9111 section 4.3.2."""
    assert selected(for_cache=True, **fields).status == status
