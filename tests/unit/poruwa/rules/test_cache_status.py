"""Cache-Status: RFC 9211, written as Structured Fields (RFC 9651)."""

from __future__ import annotations

from typing import Any

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.cache_status import (
    FWD_BYPASS,
    FWD_METHOD,
    FWD_MISS,
    FWD_PARTIAL,
    FWD_REQUEST,
    FWD_STALE,
    FWD_URI_MISS,
    FWD_VARY_MISS,
    cache_status_member,
)


@pytest.mark.parametrize(
    ("options", "member"),
    [
        pytest.param({"hit": True, "ttl": 376}, b"poruwa; hit; ttl=376", id="2.1-hit"),
        pytest.param({"hit": True, "ttl": -412}, b"poruwa; hit; ttl=-412", id="2.4-stale"),
        pytest.param({"hit": False, "fwd": FWD_MISS}, b"poruwa; fwd=miss", id="2.2-forwarded"),
        pytest.param(
            {"hit": False, "fwd": FWD_STALE, "fwd_status": 304, "ttl": 60, "stored": True},
            b"poruwa; fwd=stale; fwd-status=304; ttl=60; stored",
            id="2.3-revalidated",
        ),
        pytest.param(
            {"hit": False, "fwd": FWD_URI_MISS, "collapsed": True},
            b"poruwa; fwd=uri-miss; collapsed",
            id="2.6-collapsed",
        ),
        pytest.param(
            {"hit": True, "fwd": FWD_MISS, "fwd_status": 200, "stored": True, "collapsed": True},
            b"poruwa; hit",
            id="2.2-never-both",
        ),
        pytest.param(
            {"hit": False, "fwd_status": 200, "stored": True, "collapsed": True},
            b"poruwa",
            id="2.3-nothing-without-fwd",
        ),
        pytest.param(
            {"hit": True, "key": b'/a?b="c\\d"'},
            b'poruwa; hit; key="/a?b=\\"c\\\\d\\""',
            id="2.7-key-escaped",
        ),
        pytest.param(
            {"hit": True, "key": b"/caf\xc3\xa9\r\n"},
            b'poruwa; hit; key="/caf%C3%A9%0D%0A"',
            id="2.7-key-without-line-ends",
        ),
        pytest.param({"hit": True, "detail": b"unsure"}, b"poruwa; hit; detail=unsure", id="2.8"),
        pytest.param(
            {"hit": True, "detail": b"not sure"}, b'poruwa; hit; detail="not sure"', id="2.8-string"
        ),
        pytest.param({"hit": True, "detail": b""}, b'poruwa; hit; detail=""', id="2.8-empty"),
        pytest.param(
            {"hit": True, "ttl": 10**20}, b"poruwa; hit; ttl=999999999999999", id="9651-3.3.1"
        ),
    ],
)
def test_member(options: dict[str, Any], member: bytes) -> None:
    assert cache_status_member(b"poruwa", **options) == member


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"poruwa", b"poruwa; hit"),
        (b"cache.example.net:80", b"cache.example.net:80; hit"),
        (b"my cache", b'"my cache"; hit'),
        (b"1cache", b'"1cache"; hit'),
        (b"", b'""; hit'),
    ],
)
def test_name_is_a_token_or_a_string(name: bytes, written: bytes) -> None:
    """Section 2: the member is an sf-string or sf-token."""
    assert cache_status_member(name, hit=True) == written


def test_reasons_are_those_registered() -> None:
    """Section 2.2; other values would need detail."""
    assert {FWD_BYPASS, FWD_METHOD, FWD_URI_MISS, FWD_VARY_MISS, FWD_MISS, FWD_REQUEST, FWD_STALE,
            FWD_PARTIAL} == {b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request",
                             b"stale", b"partial"}  # fmt: skip


@settings(deadline=None)
@given(
    name=st.binary(min_size=1, max_size=20),
    key=st.binary(max_size=60),
    detail=st.binary(max_size=60),
    ttl=st.integers(),
)
def test_it_is_always_a_structured_field(name: bytes, key: bytes, detail: bytes, ttl: int) -> None:
    ours = cache_status_member(name, hit=False, fwd=FWD_MISS, ttl=ttl, key=key, detail=detail)
    (before, _), (_, parameters) = http_sf.parse(b"a, " + ours, tltype="list")
    assert str(before) == "a"
    assert list(parameters) == ["fwd", "ttl", "key", "detail"]
    assert parameters["ttl"] == max(-(10**15) + 1, min(ttl, 10**15 - 1))
    if key.isascii() and key.decode().isprintable():
        assert parameters["key"] == key.decode()
