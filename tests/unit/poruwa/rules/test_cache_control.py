"""Cache-Control (RFC 9111 section 5.2, RFC 5861, RFC 8246) and CDN-Cache-Control (RFC 9213)."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.cache_control import (
    ANY_STALENESS,
    MAX_DELTA_SECONDS,
    NO_DIRECTIVES,
    Directives,
    parse_cache_control,
    parse_cdn_cache_control,
)


def says(**directives: object) -> Directives:
    return Directives(**directives)


@pytest.mark.parametrize("value", [None, b"", b" ", b",", b" , ,\t,"])
def test_nothing_is_said(value: bytes | None) -> None:
    """RFC 9110 section 5.6.1: empty list members are ignored."""
    assert parse_cache_control(value) == NO_DIRECTIVES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 9111 section 5.2.1.
        pytest.param(b"no-cache", says(no_cache=True), id="5.2.1.4 no-cache"),
        pytest.param(b"no-store", says(no_store=True), id="5.2.1.5 no-store"),
        pytest.param(b"no-transform", says(no_transform=True), id="5.2.1.6 no-transform"),
        pytest.param(b"only-if-cached", says(only_if_cached=True), id="5.2.1.7 only-if-cached"),
        pytest.param(b"max-stale", says(max_stale=ANY_STALENESS), id="5.2.1.2 any max-stale"),
        pytest.param(b"max-stale=7", says(max_stale=7), id="5.2.1.2 max-stale"),
        pytest.param(b"max-stale=x", says(max_stale=0), id="5.2.1.2 invalid max-stale"),
        pytest.param(b"max-stale=", says(max_stale=0), id="5.2.1.2 empty max-stale"),
        pytest.param(b"min-fresh=8", says(min_fresh=8), id="5.2.1.3 min-fresh"),
        # Section 5.2.2.
        pytest.param(b"private", says(private=True), id="5.2.2.7 private"),
        pytest.param(b"public", says(public=True), id="5.2.2.9 public"),
        pytest.param(b"must-revalidate", says(must_revalidate=True), id="5.2.2.2 must-revalidate"),
        pytest.param(
            b"proxy-revalidate", says(proxy_revalidate=True), id="5.2.2.8 proxy-revalidate"
        ),
        pytest.param(b"must-understand", says(must_understand=True), id="5.2.2.3 must-understand"),
        pytest.param(b"s-maxage=9", says(s_maxage=9), id="5.2.2.10 s-maxage"),
        # RFC 5861 and RFC 8246.
        pytest.param(b"stale-while-revalidate=3", says(stale_while_revalidate=3), id="5861 3"),
        pytest.param(b"stale-if-error=4", says(stale_if_error=4), id="5861 4"),
        pytest.param(b"immutable", says(immutable=True), id="8246 2"),
        pytest.param(b"immutable=1", says(immutable=True), id="8246 2 argument means nothing"),
        # Section 5.2: names without case, other directives ignored.
        pytest.param(b"MaX-aGe=1, PUBLIC", says(max_age=1, public=True), id="5.2 case"),
        pytest.param(b"foo, bar=1, max-age=1", says(max_age=1), id="5.2.3 unknown ones"),
        pytest.param(b"a,,max-age=1, ,\tpublic\t", says(max_age=1, public=True), id="white space"),
    ],
)
def test_directive(value: bytes, expected: Directives) -> None:
    assert parse_cache_control(value) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(b"max-age=0", 0, id="0"),
        pytest.param(b"max-age=0010", 10, id="leading zeros"),
        pytest.param(b'max-age="10"', 10, id="5.2 quoted"),
        pytest.param(b'max-age="1\\0"', 10, id="9110 5.6.4 quoted pair"),
        pytest.param(b"max-age=2147483647", MAX_DELTA_SECONDS - 1, id="1.2.2 below the cap"),
        pytest.param(b"max-age=2147483649", MAX_DELTA_SECONDS, id="1.2.2 above the cap"),
        pytest.param(b"max-age=" + b"9" * 5000, MAX_DELTA_SECONDS, id="1.2.2 no int() takes it"),
        pytest.param(b"max-age=" + b"0" * 5000 + b"7", 7, id="1.2.2 long and small"),
        # Section 4.2.1: invalid freshness is stale.
        pytest.param(b"max-age", 0, id="4.2.1 no argument"),
        pytest.param(b"max-age=", 0, id="4.2.1 empty"),
        pytest.param(b'max-age=""', 0, id="4.2.1 empty quoted"),
        pytest.param(b"max-age=abc", 0, id="4.2.1 word"),
        pytest.param(b"max-age=1.5", 0, id="4.2.1 fraction"),
        pytest.param(b"max-age=-5", 0, id="4.2.1 negative"),
        pytest.param(b"max-age=+5", 0, id="4.2.1 plus"),
        pytest.param(b"max-age=5s", 0, id="4.2.1 unit"),
        pytest.param(b"max-age=1e3", 0, id="4.2.1 exponent"),
        pytest.param(b"max-age='5'", 0, id="4.2.1 other quotes"),
        pytest.param(b"max-age=\xb2", 0, id="4.2.1 a digit in Latin-1 only"),
        pytest.param(b'max-age="5', 0, id="4.2.1 quote not closed"),
        pytest.param(b'max-age="5"0', 0, id="4.2.1 more after the quote"),
        pytest.param(b"max-age=5 6", 0, id="4.2.1 two words"),
        pytest.param(b"max-age=5;foo", 0, id="4.2.1 parameter"),
        pytest.param(b"max-age = 5", 0, id="4.2.1 white space around ="),
        pytest.param(b"max-age =5", 0, id="4.2.1 white space before ="),
        pytest.param(b"max-age= 5", 0, id="4.2.1 white space after ="),
        # Section 4.2.1: the first of several.
        pytest.param(b"max-age=5, max-age=6", 5, id="4.2.1 first is smaller"),
        pytest.param(b"max-age=6, max-age=5", 6, id="4.2.1 first is greater"),
        pytest.param(b"max-age=x, max-age=5", 0, id="4.2.1 first is invalid"),
        # Arguments of others.
        pytest.param(b'foo="max-age=1, max-age=2", max-age=3', 3, id="quoted commas"),
        pytest.param(b'foo="\\"max-age=1, ", max-age=3', 3, id="quoted quote"),
        pytest.param(b'"max-age=1, x", max-age=3', 3, id="quote begins a member"),
        pytest.param(b'foo="x, max-age=3', 3, id="quote not closed hides nothing"),
        pytest.param(b"xmax-age=1, max-age=3", 3, id="name within a name"),
        pytest.param(b"foo=max-age=1, max-age=3", 3, id="name as an argument"),
    ],
)
def test_seconds(value: bytes, seconds: int) -> None:
    """``s-maxage`` and the others are read alike: see the next test."""
    assert parse_cache_control(value).max_age == seconds


@pytest.mark.parametrize(
    "name", [b"s-maxage", b"min-fresh", b"stale-while-revalidate", b"stale-if-error"]
)
def test_other_seconds(name: bytes) -> None:
    attribute = name.decode().replace("-", "_")
    for argument, seconds in ((b"=5", 5), (b'="5"', 5), (b"=x", 0), (b"", 0), (b" =5", 0)):
        assert getattr(parse_cache_control(name + argument), attribute) == seconds, argument


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b'="Set-Cookie"', (b"set-cookie",), id="one"),
        pytest.param(b'="Set-Cookie, x-A,,"', (b"set-cookie", b"x-a"), id="several"),
        pytest.param(b"=Set-Cookie", (b"set-cookie",), id="token form"),
        pytest.param(b'="a", no-store, %b="b"', (b"a", b"b"), id="twice"),
    ],
)
def test_qualified(value: bytes, expected: tuple[bytes, ...]) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7."""
    no_cache = parse_cache_control(b"no-cache" + value.replace(b"%b", b"no-cache"))
    assert (no_cache.no_cache, no_cache.no_cache_fields) == (False, expected)
    private = parse_cache_control(b"private" + value.replace(b"%b", b"private"))
    assert (private.private, private.private_fields) == (False, expected)


@pytest.mark.parametrize(
    "argument",
    [b'=""', b"=", b'="a b"', b'="a', b'=", "', b' ="a"', b"=a b", b'="\xe9"', b";x", b'="a", %b'],
)
def test_not_clearly_qualified_counts_for_all(argument: bytes) -> None:
    """A limited directive is the weaker one: in doubt it is unlimited."""
    assert parse_cache_control(b"no-cache" + argument.replace(b"%b", b"no-cache")).no_cache
    assert parse_cache_control(b"private" + argument.replace(b"%b", b"private")).private


@pytest.mark.parametrize("after", [b";x", b" x", b" = x", b"=x y", b'="x', b"\xff"])
def test_malformed_members_restrict_and_permit_nothing(after: bytes) -> None:
    for name in (b"no-store", b"must-revalidate", b"proxy-revalidate", b"no-cache", b"private"):
        attribute = name.decode().replace("-", "_")
        assert getattr(parse_cache_control(name + after), attribute), name
    for name in (b"public", b"immutable", b"must-understand"):
        assert parse_cache_control(name + after) == NO_DIRECTIVES, name
    for name in (b"stale-while-revalidate=9", b"stale-if-error=9", b"max-stale=9"):
        found = parse_cache_control(name + after)
        windows = (found.stale_while_revalidate, found.stale_if_error, found.max_stale)
        assert not any(windows), name


@given(st.binary(max_size=200))
def test_any_bytes_are_read_and_hide_no_directive_after_them(value: bytes) -> None:
    found = parse_cache_control(value + b", no-store, s-maxage=x")
    assert found.no_store
    assert found.s_maxage is not None
    assert parse_cache_control(b"private, max-age=5, " + value).max_age == 5


PIECES = st.sampled_from(
    [b"max-age", b"no-cache", b"private", b"=", b'"', b"\\", b",", b" ", b"\t", b"5", b"a", b"\xff"]
)


@given(st.lists(PIECES, max_size=20))
def test_any_pieces_are_read(pieces: list[bytes]) -> None:
    found = parse_cache_control(b"".join(pieces))
    assert found.max_age is None or 0 <= found.max_age <= MAX_DELTA_SECONDS
    assert all(b"," not in name and name.strip() for name in found.no_cache_fields)


SIZE = 1 << 17


@pytest.mark.parametrize(
    "value",
    [
        b'"' * SIZE,
        b'"' * (SIZE - 1),
        b'"' + b'\\"' * (SIZE // 2),
        b'"\\' * (SIZE // 2),
        b'a="' * (SIZE // 3),
        b"," * SIZE,
        b"a" * SIZE,
        b"a=" * (SIZE // 2),
        b"max-age=" + b"9" * SIZE,
        b"private=a," * (SIZE // 10),
        b'private="' + b"a," * (SIZE // 2) + b'"',
        b'private="' + b"\\a" * (SIZE // 2) + b'"',
        b"\t" * SIZE + b"x",
    ],
    ids=lambda value: value[:8],
)
def test_time_grows_with_length_only(value: bytes) -> None:
    """A quadratic reading of 128 KiB takes minutes, a linear one some milliseconds."""
    began = process_time()
    parse_cache_control(value)
    parse_cdn_cache_control(value)
    assert process_time() - began < 2.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"max-age=10", says(max_age=10), id="2.1 integer"),
        pytest.param(b"max-age=10, public", says(max_age=10, public=True), id="2.1 several"),
        pytest.param(b"no-store=?1", says(no_store=True), id="2.1 boolean"),
        pytest.param(b"no-store=?0", says(), id="2.1 false"),
        pytest.param(b"no-store, no-store=?0", says(), id="9651 4.2.2 the last counts"),
        pytest.param(b"max-age=1, max-age=2", says(max_age=2), id="9651 4.2.2 last seconds"),
        pytest.param(b"max-age=10;a=1;b", says(max_age=10), id="2.1 parameters"),
        pytest.param(b"no-store;a=1", says(no_store=True), id="2.1 parameters of a flag"),
        pytest.param(b"foo=1, bar=(1 2), max-age=1", says(max_age=1), id="2.1 unknown ones"),
        pytest.param(b'max-age="10"', says(), id="2.1 string for seconds"),
        pytest.param(b"max-age=10.5", says(), id="2.1 decimal for seconds"),
        pytest.param(b"max-age=ten", says(), id="2.1 token for seconds"),
        pytest.param(b"max-age", says(), id="2.1 boolean for seconds"),
        pytest.param(b"max-age=(10)", says(), id="2.1 inner list for seconds"),
        pytest.param(b"max-age=@10", says(), id="9651 date for seconds"),
        pytest.param(b"max-age=-1", says(max_age=0), id="negative is stale"),
        pytest.param(
            b"max-age=999999999999999", says(max_age=MAX_DELTA_SECONDS), id="9111 1.2.2 cap"
        ),
        pytest.param(b"no-store=1", says(), id="2.1 integer for a flag"),
        pytest.param(b"public=yes", says(), id="2.1 token for a flag"),
        pytest.param(
            b'private="Set-Cookie, X"', says(private_fields=(b"set-cookie", b"x")), id="qualified"
        ),
        pytest.param(b'no-cache="a b"', says(no_cache=True), id="no names: for all"),
        pytest.param(b"private=?0", says(), id="false private"),
        pytest.param(
            b"s-maxage=1,\tstale-while-revalidate=2 , stale-if-error=3, must-revalidate",
            says(
                s_maxage=1, stale_while_revalidate=2, stale_if_error=3, must_revalidate=True
            ),
            id="all sorts",
        ),
    ],
)  # fmt: skip
def test_targeted(value: bytes, expected: Directives) -> None:
    """RFC 9213 section 2.1."""
    assert parse_cdn_cache_control(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="2.1 empty"),
        pytest.param(b"  ", id="2.1 blank"),
        pytest.param(b"max-age=10,", id="9651 4.2.2 final comma"),
        pytest.param(b"max-age=10,,public", id="9651 4.2.2 empty member"),
        pytest.param(b"Max-Age=10", id="9651 4.2.3.3 upper case"),
        pytest.param(b"max-age = 10", id="9651 4.2.2 white space around ="),
        pytest.param(b"max-age=10 public", id="9651 4.2.2 no comma"),
        pytest.param(b"max-age=", id="9651 4.2.3.1 no item"),
        pytest.param(b'max-age="10', id="9651 4.2.5 quote not closed"),
        pytest.param(b"max-age=1234567890123456", id="9651 4.2.4 sixteen digits"),
        pytest.param(b"max-age=10, x=\xe9", id="9651 4.2 not ASCII"),
        pytest.param(b"max-age=10;A=1", id="9651 4.2.3.2 parameter"),
        pytest.param(b"x=:a:b, max-age=10", id="9651 4.2.7 byte sequence"),
    ],
)
def test_targeted_is_ignored_as_a_whole(value: bytes) -> None:
    assert parse_cdn_cache_control(value) is None


@given(st.binary(max_size=100))
def test_targeted_never_raises(value: bytes) -> None:
    parse_cdn_cache_control(value)
    found = parse_cdn_cache_control(b"max-age=5, x=" + value)
    assert found is None or found.max_age is not None or b"max-age" in value


SF_PIECES = st.sampled_from(
    b'max-age no-cache private s-maxage = =5 =-5 =1.5 ="a" ="\\"" =?1 =?0 =@1 =@99999999999999 '
    b'=:YQ==: =:a =(1 =(1) =%"a" =%"%ff" =%"%c3 ;a ;a=1 , * a \xff'.split(b" ")
)


@given(st.lists(SF_PIECES, max_size=12))
def test_targeted_pieces_never_raise(pieces: list[bytes]) -> None:
    found = parse_cdn_cache_control(b"".join(pieces))
    assert found is None or found.max_age in (None, 0, 5)
