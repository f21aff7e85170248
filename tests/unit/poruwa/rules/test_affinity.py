"""The affinity cookie (A4; SECURITY-CHECKS 5-8, 10)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.affinity import AffinityTable, find_cookie, may_carry_cookie, set_cookie_line

NAMES = ("app1", "app2", "127.0.0.1:9001")


def test_value_is_opaque_and_finds_its_instance() -> None:
    table = AffinityTable("app", NAMES, [b"old", b"new"])
    for name in NAMES:
        assert re.fullmatch(rb"[A-Za-z0-9_-]{24}", table.value(name))
        assert table.instance(table.value(name)) == name


def test_old_keys_are_read_and_the_newest_writes() -> None:
    before = AffinityTable("app", NAMES, [b"old"])
    after = AffinityTable("app", NAMES, [b"old", b"new"])
    assert after.instance(before.value("app1")) == "app1"
    assert after.value("app1") == AffinityTable("app", NAMES, [b"new"]).value("app1")
    assert AffinityTable("app", NAMES, [b"new"]).instance(before.value("app1")) is None


def test_values_of_another_pool_and_forged_ones_are_unknown() -> None:
    table = AffinityTable("app", NAMES, [b"key"])
    assert table.instance(AffinityTable("api", NAMES, [b"key"]).value("app1")) is None
    # Names are kept apart: "a" with "bc" is not "ab" with "c".
    assert AffinityTable("ab", ["c"], [b"k"]).value("c") != AffinityTable(
        "a", ["bc"], [b"k"]
    ).value("bc")
    for forged in (b"", b"app1", b"127.0.0.1:9001", table.value("app1")[:-1], b"\xff" * 24):
        assert table.instance(forged) is None


@pytest.mark.parametrize("keys", [[], [b""], [b"one", b""]])
def test_a_table_needs_keys(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        AffinityTable("app", NAMES, keys)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"sid=1", b"1"),
        (b"a=b; sid=1; c=d", b"1"),
        (b"a=b;sid=1;c=d", b"1"),
        (b"a=b;\t sid= 1 ", b"1"),
        (b"sid=", b""),
        (b"sid=a=b", b"a=b"),
        (b'sid="1"', b'"1"'),
        (b"sid", None),  # a cookie without a name, whose value is "sid"
        (b"=sid=1", None),  # check 7: nameless
        (b"xsid=1; sidx=2", None),
        (b"SID=1", None),  # names are case-sensitive
        (b"x sid=1", None),
        (b"sid=1; sid=2", None),  # check 6: tossed
        (b"sid=1; a=b; sid=1", None),
        (b"\xa0sid=1", None),  # check 5
        (b"a=b; \x85sid=1", None),
        (b"\x1fsid=1", None),
        (b"\xe2\x80\x80sid=1", None),
        (b'$Version=1; a="; sid=1; b="', b"1"),  # check 7: quotes do not hide a separator
        (b"bad cookie; ;;=;\xff\xfe; sid=1; [}", b"1"),  # check 8: neighbours
        (b"a=sid=1", None),
        (b"a=b, sid=1", None),
        (b"", None),
    ],
)
def test_find_cookie(header: bytes, value: bytes | None) -> None:
    assert find_cookie(header, b"sid") == value


@given(st.binary(max_size=200))
def test_find_cookie_never_raises_and_agrees_with_splitting(header: bytes) -> None:
    header = header.replace(b"\0", b"sid=").replace(b"\x01", b"; ")
    found = [
        pair.partition(b"=")[2].strip(b" \t")
        for part in header.split(b";")
        if (pair := part.strip(b" \t")).startswith(b"sid=")
    ]
    assert find_cookie(header, b"sid") == (found[0] if len(found) == 1 else None)


def test_line() -> None:
    assert (
        set_cookie_line(b"WEDDINGLK_SESSION", b"abc", secure=True, max_age=60)
        == b"Set-Cookie: WEDDINGLK_SESSION=abc; Path=/; HttpOnly; SameSite=Lax; Secure; "
        b"Max-Age=60\r\n"
    )
    assert b"Max-Age" not in set_cookie_line(b"a", b"b", secure=False)
    assert b"Domain" not in set_cookie_line(b"a", b"b", secure=False)


@pytest.mark.parametrize(
    ("name", "value", "secure"),
    [
        (b"", b"x", True),
        (b"a b", b"x", True),
        (b"a", b"x;y", True),
        (b"a", b"x\r\nSet-Cookie: y=1", True),
        (b"__Host-a", b"x", False),
        (b"__Host-Http-a", b"x", False),
        (b"__secure-a", b"x", False),
        (b"a", b"x" * 4096, True),
    ],
)
def test_what_cannot_be_set(name: bytes, value: bytes, secure: bool) -> None:
    with pytest.raises(ValueError):
        set_cookie_line(name, value, secure=secure)


@pytest.mark.parametrize(
    ("method", "status", "cache_control", "may"),
    [
        (b"GET", 200, None, False),  # heuristically storable
        (b"GET", 200, b"private", True),
        (b"GET", 200, b"no-store", True),
        (b"GET", 200, b"No-Store, max-age=0", True),
        (b"GET", 200, b"no-cache", False),  # storable, to be revalidated
        (b"GET", 200, b"private, max-age=3600", True),
        (b"GET", 200, b'private="set-cookie"', False),  # covers a field only
        (b"GET", 200, b'x="private"', False),
        (b"GET", 200, b"no-store, must-understand", False),
        (b"GET", 200, b"public, max-age=60", False),
        (b"GET", 200, b'private, x="unclosed', False),
        (b"GET", 200, b"privately", False),
        (b"GET", 302, None, True),
        (b"GET", 302, b"max-age=60", False),
        (b"GET", 301, None, False),
        (b"GET", 404, None, False),
        (b"GET", 304, None, False),
        (b"HEAD", 200, None, False),
        (b"GET", 500, None, True),
        (b"POST", 200, None, True),
        (b"POST", 303, None, True),
        (b"POST", 200, b"max-age=60", False),
        (b"PUT", 200, b"max-age=60", True),
        (b"DELETE", 200, None, True),
        (b"QUERY", 200, None, False),
        (b"BREW", 500, None, False),
        (b"GET", 101, None, True),
    ],
)
def test_only_where_no_shared_cache_may_store(
    method: bytes, status: int, cache_control: bytes | None, may: bool
) -> None:
    """RFC 9111 section 3; checks 10 and 46."""
    assert may_carry_cookie(method, status, cache_control) is may


def test_a_cdn_told_otherwise_counts() -> None:
    """RFC 9213: CDN-Cache-Control stands in place of Cache-Control."""
    assert not may_carry_cookie(b"GET", 200, b"private", targeted=b"max-age=600")
    assert may_carry_cookie(b"GET", 200, b"private", targeted=b"no-store")
    assert not may_carry_cookie(b"GET", 302, None, has_expires=True)
    assert may_carry_cookie(b"GET", 302, b"private", has_expires=True)
