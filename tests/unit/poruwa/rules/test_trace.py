"""Trace context and request ids."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.trace import (
    POOL_BYTES,
    RandomIds,
    accepted_request_id,
    child_traceparent,
    parse_traceparent,
)

TRACE, PARENT = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def test_a_valid_one() -> None:
    assert parse_traceparent(b"00-" + TRACE + b"-" + PARENT + b"-01") == (TRACE, PARENT, 1)


def test_a_later_version_may_be_longer() -> None:
    """Trace Context section 3.2.2: versioning."""
    assert parse_traceparent(b"cc-" + TRACE + b"-" + PARENT + b"-01-what") == (TRACE, PARENT, 1)
    assert parse_traceparent(b"cc-" + TRACE + b"-" + PARENT + b"-01") is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-" + TRACE + b"-" + PARENT,
        b"00-" + TRACE + b"-" + PARENT + b"-01-",
        b"00-" + TRACE + b"-" + PARENT + b"-01-more",
        b"00-" + TRACE.upper() + b"-" + PARENT + b"-01",
        b"ff-" + TRACE + b"-" + PARENT + b"-01",
        b"00-" + b"0" * 32 + b"-" + PARENT + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
        b"00-" + TRACE + b"-" + PARENT + b"-0x",
        b" 00-" + TRACE + b"-" + PARENT + b"-01",
        b"cc-" + TRACE + b"-" + PARENT + b"-01.what",
        b"cc-" + TRACE + b"-" + PARENT + b"-01-" + b"x" * 500,
    ],
)
def test_invalid_ones(value: bytes) -> None:
    assert parse_traceparent(value) is None


@given(st.binary(max_size=80))
def test_parse_never_raises(value: bytes) -> None:
    parse_traceparent(value)


@given(st.integers(0, 2**64 - 1), st.integers(0, 255), st.booleans())
def test_children_are_valid(number: int, flags: int, sampled: bool) -> None:
    incoming = parse_traceparent(b"00-%b-%b-%02x" % (TRACE, PARENT, flags))
    child = parse_traceparent(child_traceparent(incoming, lambda: number))
    assert child is not None
    assert (child.trace_id, child.flags) == (TRACE, flags & 3)
    assert int(child.parent_id, 16) == (number or 1)
    fresh = parse_traceparent(child_traceparent(None, lambda: number, sampled=sampled))
    assert fresh is not None
    assert fresh.flags == (3 if sampled else 2)


def test_ids_are_distinct_and_well_formed() -> None:
    ids = RandomIds()
    many = [ids.request_id() for _ in range(5 * POOL_BYTES // 16)]
    assert len(set(many)) == len(many)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", each) for each in many)
    parents = [ids.traceparent(sampled=True) for _ in range(500)]
    assert len({parent[3:35] for parent in parents}) == 500
    assert all(parse_traceparent(parent) for parent in parents)


def test_entropy_is_fetched_by_the_page_and_never_reused() -> None:
    fetched: list[int] = []

    def entropy(count: int) -> bytes:
        fetched.append(count)
        return bytes([len(fetched)]) * count

    ids = RandomIds(entropy)
    seen = [ids.random64() for _ in range(POOL_BYTES // 8 + 1)]
    assert fetched == [POOL_BYTES, POOL_BYTES]
    assert seen[-1] == 0x0202020202020202


@pytest.mark.parametrize(
    ("value", "is_trusted", "accepted"),
    [
        (b"abc-DEF_1.2", True, True),
        (b"abc-DEF_1.2", False, False),
        (b"short", True, False),
        (b"x" * 128, True, True),
        (b"x" * 129, True, False),
        (b"has space in it", True, False),
        (b"line\r\nbreak-in-it", True, False),
        (b"12345678\n", True, False),
        (None, True, False),
    ],
)
def test_request_id_of_others(value: bytes | None, is_trusted: bool, accepted: bool) -> None:
    assert accepted_request_id(value, is_trusted=is_trusted) == (value if accepted else None)
