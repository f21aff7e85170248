"""Cookies by the byte (SECURITY-CHECKS 1, 2, 3, 5, 6, 7, 8, 9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.cookie import (
    MAX_COOKIES,
    CookieForm,
    TooManyCookies,
    cookie_name,
    find_cookie,
    parse_cookies,
)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (b"", {}),
        (b"a=1; b=2", {b"a": b"1", b"b": b"2"}),
        (b"a=1;b=2;", {b"a": b"1", b"b": b"2"}),
        (b" a = 1 \t; b=", {b"a": b"1", b"b": b""}),
        (b"a=b=c", {b"a": b"b=c"}),
        (b"__Host-x=evil; =__Host-x=evil", {b"__Host-x": b"evil"}),  # 7: the nameless one is none
        (b"\xa0__Host-x=evil", {}),  # 5
        (b"\x85__Host-x=evil; \x1f__Host-x=evil; a=1", {b"a": b"1"}),
        ("\u2000__Host-x=evil".encode(), {}),
        (b'$Version=1; a="x; b=y"; c=1', {b"$Version": b"1", b"a": b'"x', b"b": b'y"', b"c": b"1"}),
        (b"a=1; ;;=; b; \x00=2; c d=3; e=4", {b"a": b"1", b"e": b"4"}),  # 8
        (b"a=1\x00; b=2", {b"b": b"2"}),
        (b"A=1; a=2", {b"A": b"1", b"a": b"2"}),  # names are told apart by case
    ],
)
def test_cookies_are_read_as_browsers_write_them(field: bytes, values: dict[bytes, bytes]) -> None:
    assert parse_cookies(field).values == values


# What some language calls white space, as bytes of a Cookie field; a browser trims two of them.
BLANKS = [
    *(bytes((code,)) for code in (*range(0x0A, 0x0E), *range(0x1C, 0x20), 0x85, 0xA0)),
    *map(str.encode, "\u0085\u00a0\u1680\u2000\u2028\u3000\ufeff"),
]


@pytest.mark.parametrize("blank", BLANKS)
def test_5_no_blank_but_space_and_tab_is_trimmed(blank: bytes) -> None:
    """Check 5: a sibling host sets such a name, as browsers see no prefix in it."""
    for field in (blank + b"__Host-x=evil", b"a=1;" + blank + b"__Host-x=evil", b"a=1; " + blank):
        assert parse_cookies(field + b"; b=2").values.keys() <= {b"a", b"b"}
    assert parse_cookies(b"__Host-x" + blank + b"=evil").values == {}
    # RFC 6265bis section 5.6 trims no more of values: what was set is what is read.
    for value in (blank + b"v", b"v" + blank):
        assert parse_cookies(b"a=" + value).values == {b"a": value}
        assert find_cookie(b"a=" + value, b"a") in (value, None)
        assert find_cookie(b"a=" + value + b"; b=2", b"a") in (value, None)


@pytest.mark.parametrize("blank", BLANKS)
def test_5_the_short_way_sees_no_prefix_behind_a_blank_either(blank: bytes) -> None:
    """Check 5: found without parsing, a name stands at the start or behind ``"; "``."""
    for before in (blank, b"a=1;" + blank, b"a=1; " + blank):
        assert find_cookie(before + b"__Host-x=evil", b"__Host-x") is None


def test_two_of_one_name_are_nobodys() -> None:
    cookies = parse_cookies(b"s=mine; a=1; s=planted; s=again")
    assert cookies.values == {b"a": b"1"}
    assert cookies.duplicates == {b"s"}


def test_more_than_a_browser_sends_is_refused() -> None:
    parse_cookies(b"; ".join(b"c%d=1" % number for number in range(MAX_COOKIES)))
    with pytest.raises(TooManyCookies, match="181 cookies; 180 is the most"):
        parse_cookies(b"; ".join(b"c%d=1" % number for number in range(MAX_COOKIES + 1)))
    with pytest.raises(TooManyCookies, match="bytes of cookies"):
        parse_cookies(b"a=" + b"x" * 20_000)


@given(st.binary(max_size=300))
def test_reading_never_fails_and_finds_no_name_twice(field: bytes) -> None:
    cookies = parse_cookies(field)
    assert not cookies.duplicates & cookies.values.keys()
    assert not any(b";" in value or b"\0" in value for value in cookies.values.values())


def test_what_is_written_is_read_again() -> None:
    form = CookieForm(name=b"__Host-Http-s", max_age_seconds=60)
    line = form.line(b"abc.def")
    assert line == (
        b"Set-Cookie: __Host-Http-s=abc.def; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax\r\n"
    )
    pair = line.removeprefix(b"Set-Cookie: ").partition(b";")[0]
    assert parse_cookies(pair).values == {b"__Host-Http-s": b"abc.def"}
    assert b"Max-Age=0" in form.clearing_line()


@pytest.mark.parametrize("value", [b"a b", b'a"', b"a,b", b"a;b", b"a\\", b"a\r\nX: y", b"\xff"])
def test_values_that_no_cookie_may_have_are_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="a value holds no"):
        CookieForm(name=b"a").line(value)


def test_what_is_too_long_is_refused_and_never_cut() -> None:
    with pytest.raises(ValueError, match="4096 is the most"):
        CookieForm(name=b"a").line(b"x" * 4096)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": b"a b"}, "no name"),
        ({"name": b"__Host-a", "secure": False}, "without Secure"),
        ({"name": b"__host-a", "secure": False}, "without Secure"),
        ({"name": b"a", "secure": False, "same_site": "None"}, "without Secure"),
        ({"name": b"a", "secure": False, "partitioned": True}, "without Secure"),
        ({"name": b"__Host-a", "domain": b"example.lk"}, "no Domain"),
        ({"name": b"__Host-a", "path": b"/x"}, "Path=/"),
        ({"name": b"__Host-Http-a", "http_only": False}, "wants HttpOnly"),
        ({"name": b"a", "path": b"/;x"}, "path"),
        ({"name": b"a", "domain": b".example.lk"}, "no domain"),
        ({"name": b"a", "same_site": "lax"}, "SameSite is"),
    ],
)
def test_cookies_that_browsers_refuse_are_refused(form: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CookieForm(**form)  # type: ignore[arg-type]


def test_names_take_the_strongest_prefix() -> None:
    assert cookie_name("s", secure=True, http_only=True, domain=None) == b"__Host-Http-s"
    assert cookie_name("s", secure=True, http_only=False, domain=None) == b"__Host-s"
    assert cookie_name("s", secure=True, http_only=True, domain="a.lk") == b"__Secure-s"
    assert cookie_name("s", secure=False, http_only=True, domain=None) == b"s"


@pytest.mark.parametrize(
    ("field", "value"),
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
        (b"sid =1; sid=2", None),
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
def test_one_cookie_is_found(field: bytes, value: bytes | None) -> None:
    """Checks 5 to 8, as affinity, limits, positions and sessions ask."""
    assert find_cookie(field, b"sid") == value


@given(
    st.lists(
        st.sampled_from(
            [b"name=1", b"name", b"=name", b" name=2 ", b"xname=3", b"name =4", b"a=name", b"b=1",
             b"name=\xa0", b"name=", b'name="q"', b"\xa0name=5", b"name=6\0", b"\tname=7",
             b"namename=8", b"name=name", b"b=name=9", b"=name=10"]
        ),
        max_size=4,
    ),
    st.sampled_from([b";", b"; ", b" ; "]),
)  # fmt: skip
def test_one_cookie_is_found_where_parsing_all_finds_it(pairs: list[bytes], between: bytes) -> None:
    field = between.join(pairs)
    assert find_cookie(field, b"name") == parse_cookies(field).values.get(b"name")


@given(st.binary(max_size=200))
def test_one_cookie_is_found_in_whatever_is_sent(field: bytes) -> None:
    field = field.replace(b"\0", b"sid=").replace(b"\x01", b"; ")
    assert find_cookie(field, b"sid") == parse_cookies(field).values.get(b"sid")


def test_one_cookie_is_found_among_more_than_are_parsed() -> None:
    """A gateway without a guard refuses no bombs."""
    assert find_cookie(b"a=1; " * 200 + b"name=v", b"name") == b"v"
