"""The affinity cookie (A4; SECURITY-CHECKS 1, 10, 46)."""

from __future__ import annotations

import re

import pytest

from poruwa.rules.affinity import AffinityTable, affinity_forms, may_carry_cookie

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


def test_it_is_set_for_this_host_alone_out_of_reach_of_scripts() -> None:
    """Checks 1 and 10: prefixed where browsers keep that, which is over TLS."""
    plain, secure = affinity_forms("who", 60.0)
    assert plain.line(b"abc") == (
        b"Set-Cookie: who=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Lax\r\n"
    )
    assert secure.line(b"abc") == (
        b"Set-Cookie: __Host-Http-who=abc; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax\r\n"
    )
    assert b"Max-Age" not in affinity_forms("who", 0.0)[1].line(b"abc")


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
