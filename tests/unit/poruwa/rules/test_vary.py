"""Variants: RFC 9111 section 4.1, RFC 9110 section 12.5, RFC 4647 section 3.4."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.vary import (
    CODINGS,
    best_language,
    canonical_accept_encoding,
    parse_vary,
    preferred_codings,
    variant_key,
)

SITE = (b"en", b"si", b"ta")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        pytest.param(None, (), id="absent"),
        pytest.param(b"", (), id="empty"),
        pytest.param(b" , ,", (), id="9110-5.6.1.2-empty-elements"),
        pytest.param(b"Accept-Encoding", (b"accept-encoding",), id="one"),
        pytest.param(b"foo,\tBar , foo, FOO", (b"bar", b"foo"), id="sorted-unique-lower"),
        pytest.param(b"*", None, id="9111-4.1-star"),
        pytest.param(b"accept, *", None, id="9111-4.1-star-on-another-line"),
        pytest.param(b"*, accept", None, id="9111-4.1-star-first"),
        pytest.param(b"a,,*", None, id="star-after-empty"),
        pytest.param(b"*foo", (b"*foo",), id="star-in-a-token-is-a-name"),
        pytest.param(b"accept encoding", None, id="9110-5.6.2-space-in-name"),
        pytest.param(b"accept;q=1", None, id="no-parameters"),
        pytest.param(b"caf\xe9", None, id="not-ascii"),
        pytest.param(b'"accept"', None, id="quoted"),
    ],
)
def test_parse_vary(value: bytes | None, names: tuple[bytes, ...] | None) -> None:
    assert parse_vary(value) == names


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        pytest.param(None, (b"identity",), id="12.5.3-absent"),
        pytest.param(b"", (b"identity",), id="12.5.3-empty"),
        pytest.param(b"gzip, deflate, br, zstd", (b"br", b"zstd", b"gzip", b"identity"), id="all"),
        pytest.param(b"gzip;q=1.0, br;q=0.5", (b"gzip", b"br", b"identity"), id="client-weighs"),
        pytest.param(b"gzip;Q=0.5,br ; q=0.501", (b"br", b"gzip", b"identity"), id="three-digits"),
        pytest.param(b"gzip;q=0", (b"identity",), id="refused"),
        pytest.param(b"gzip;q=0.000, br;q=0.", (b"identity",), id="zero-with-digits"),
        pytest.param(b"*", (b"br", b"zstd", b"gzip", b"identity"), id="star"),
        pytest.param(b"*, br;q=0", (b"zstd", b"gzip", b"identity"), id="star-but-br"),
        pytest.param(b"gzip, *;q=0", (b"gzip",), id="12.5.3-star-refuses-identity"),
        pytest.param(b"identity;q=0, gzip", (b"gzip",), id="12.5.3-identity-refused"),
        pytest.param(b"*;q=0, identity", (b"identity",), id="12.5.3-identity-named"),
        pytest.param(b"*;q=0", (), id="nothing-left"),
        pytest.param(b"identity, gzip;q=0.5", (b"identity", b"gzip"), id="identity-preferred"),
        pytest.param(b"gzip;q=0.001", (b"gzip", b"identity"), id="identity-unweighed-is-last"),
        pytest.param(b"GZip", (b"gzip", b"identity"), id="8.4.1-case"),
        pytest.param(b"x-gzip", (b"gzip", b"identity"), id="8.4.1.3-x-gzip"),
        pytest.param(b"gzip;q=2, br;q=x, zstd;q=0.0001", (b"identity",), id="12.4.2-no-weight"),
        pytest.param(b"gzip, gzip;q=0", (b"identity",), id="named-twice"),
        pytest.param(b"deflate, compress", (b"identity",), id="not-ours"),
        pytest.param(b"gzip;level=9", (b"identity",), id="no-other-parameters"),
    ],
)
def test_preferred_codings(value: bytes | None, codings: tuple[bytes, ...]) -> None:
    assert preferred_codings(value) == codings


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (b"gzip, deflate, br, zstd", b"br,zstd,gzip"),
        (b"br;q=0.1, gzip", b"br,gzip"),
        (b"deflate", b""),
        (b"", b""),
        (b"identity", b""),
        (b"*", b"br,zstd,gzip"),
        (b"gzip, identity;q=0", b"gzip,identity;q=0"),
        (b"*;q=0", b"identity;q=0"),
        (b"x" * 300 + b", gzip", b"gzip"),
    ],
)
def test_canonical_accept_encoding(value: bytes, canonical: bytes) -> None:
    assert canonical_accept_encoding(value) == canonical


@pytest.mark.parametrize(
    ("value", "language"),
    [
        pytest.param(None, b"en", id="absent"),
        pytest.param(b"", b"en", id="empty"),
        pytest.param(b"si", b"si", id="the-same"),
        pytest.param(b"SI-lk", b"si", id="4647-3.4-truncated-any-case"),
        pytest.param(b"ta-Taml-LK, si", b"ta", id="4647-3.4-truncated-twice"),
        pytest.param(b"si;q=0.5, ta;q=0.7", b"ta", id="12.5.4-weights"),
        pytest.param(b"si;q=0.5, ta;q=0.5", b"si", id="equal-weights-in-order"),
        pytest.param(b"fr, si;q=0.1", b"si", id="first-is-not-there"),
        pytest.param(b"fr", b"en", id="none-is-there"),
        pytest.param(b"*", b"en", id="star-is-the-default"),
        pytest.param(b"*, en;q=0", b"si", id="star-but-not-the-default"),
        pytest.param(b"fr, *;q=0.5, ta;q=0.4", b"en", id="star-before-ta"),
        pytest.param(b"si;q=0", b"en", id="refused"),
        pytest.param(b"si-LK, si;q=0, ta;q=0.1", b"ta", id="truncation-to-a-refused-one"),
        pytest.param(b"*, en;q=0, si;q=0, ta;q=0", b"en", id="all-refused"),
        pytest.param(b"si;q=nine, ta", b"ta", id="12.4.2-no-weight"),
        pytest.param(b"_, si--x, ta", b"ta", id="no-language-range"),
    ],
)
def test_best_language(value: bytes | None, language: bytes) -> None:
    assert best_language(value, SITE, b"en") == language
    if value is not None:  # too long to be remembered, and the same
        assert best_language(value + b", " * 200, SITE, b"en") == language


def test_lookup_cuts_single_letters_with_what_follows() -> None:
    """RFC 4647 section 3.4: zh-Hant-CN-x-private1 falls back to zh-Hant-CN, not to ...-x."""
    languages = (b"zh-Hant-CN-x", b"zh-Hant", b"zh-Hant-CN")
    assert best_language(b"zh-hant-cn-x-private1-private2", languages, b"en") == b"zh-Hant-CN"


def test_star_passes_over_regions_of_a_refused_language() -> None:
    assert best_language(b"*, en;q=0", (b"en-GB", b"ta"), b"en-GB") == b"ta"


SAME_KEY = [
    pytest.param(b"accept-encoding", b"gzip, br", b"br;q=0.9,gzip", id="codings-as-a-set"),
    pytest.param(b"accept-encoding", b"gzip, deflate", b"gzip, identity", id="unknown-codings"),
    pytest.param(b"accept-language", b"en-GB, si", b"EN-gb ,\tSI", id="language-case-and-space"),
    pytest.param(b"accept-language", b"en, si", b"si, en", id="9110-12.5.4-order-says-nothing"),
    pytest.param(
        b"accept-language", b"si;q=0.5, en", b"en;q=1.0,si;q=0.50", id="weights-in-any-form"
    ),
    pytest.param(b"accept", b"text/html , a/b", b"text/html,a/b", id="9111-4.1-white-space"),
    pytest.param(b"foo", b" bar\t", b"bar", id="white-space-around"),
]
OTHER_KEY = [
    pytest.param(b"accept-encoding", b"gzip", b"gzip, br", id="another-set"),
    pytest.param(b"accept-encoding", b"gzip", b"gzip, identity;q=0", id="identity-refused"),
    pytest.param(b"accept-language", b"en, si;q=0.5", b"si, en;q=0.5", id="other-weights"),
    pytest.param(b"accept-language", b"en, si", b"si, en, ta", id="another-language"),
    pytest.param(b"accept-language", b"en, ?", b"?, en", id="no-list-of-languages"),
    pytest.param(b"accept", b"text/html", b"Text/html", id="case-of-other-fields"),
    pytest.param(b"accept", b"a/b,c/d", b"c/d,a/b", id="order-of-other-fields"),
    pytest.param(b"foo", b"a b", b"ab", id="space-within"),
    pytest.param(b"foo", b'"a, b"', b'"a,b"', id="quoted-comma"),
]


@pytest.mark.parametrize(("name", "one", "other"), SAME_KEY)
def test_same_meaning_same_key(name: bytes, one: bytes, other: bytes) -> None:
    assert variant_key((name,), {name: one}) == variant_key((name,), {name: other})


@pytest.mark.parametrize(("name", "one", "other"), OTHER_KEY)
def test_other_meaning_other_key(name: bytes, one: bytes, other: bytes) -> None:
    assert variant_key((name,), {name: one}) != variant_key((name,), {name: other})


def test_language_of_the_site_is_the_key() -> None:
    def key(value: bytes) -> bytes:
        return variant_key((b"accept-language",), {b"accept-language": value}, languages=SITE)

    assert key(b"si-LK,si;q=0.9,en-US;q=0.8") == key(b"si")
    assert key(b"fr") == key(b"en")
    assert key(b"si") != key(b"ta")


def test_absent_is_not_empty_nor_a_dash() -> None:
    """RFC 9111 section 4.1: a field absent from one request must be absent from the other."""
    names = (b"foo",)
    requests: list[dict[bytes, bytes]] = [{}, {b"foo": b""}, {b"foo": b"-"}]
    assert len({variant_key(names, fields) for fields in requests}) == 3
    assert variant_key((), {b"foo": b"bar"}) == b""


VALUES = st.one_of(st.none(), st.binary(max_size=12), st.sampled_from((b":-;", b"1:a;", b"b:0:;")))


@settings(deadline=None)
@given(VALUES, VALUES, VALUES, VALUES)
def test_values_cannot_imitate_each_other(
    a: bytes | None, b: bytes | None, c: bytes | None, d: bytes | None
) -> None:
    def key(one: bytes | None, two: bytes | None) -> bytes:
        fields = {b"x": one, b"y": two}
        present = {name: value for name, value in fields.items() if value is not None}
        return variant_key((b"x", b"y"), present)

    alone = key(a, None) == key(c, None) and key(None, b) == key(None, d)
    assert (key(a, b) == key(c, d)) == alone


PIECES = (b"gzip", b"*", b";q=", b"0", b"1.", b",", b" ", b"identity", b"si-", b"x-", b"\xff", b'"')
MESSY = st.lists(st.sampled_from(PIECES)).map(b"".join)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), MESSY))
def test_no_bytes_break_it(value: bytes) -> None:
    names = parse_vary(value)
    assert names is None or b"*" not in names
    codings = preferred_codings(value)
    assert set(codings) <= {*CODINGS, b"identity"}
    canonical = canonical_accept_encoding(value)
    # What is sent to the origin instead allows the same as what the client sent.
    assert set(preferred_codings(canonical)) == set(codings)
    assert best_language(value, SITE, b"en") in SITE
    for name in (b"accept-encoding", b"accept-language", b"other"):
        variant_key((name,), {name: value}, languages=SITE)


@pytest.mark.parametrize("piece", [b" ", b",", b"-a", b"-x", b";q=", b",gzip", b" , ", b",*"])
def test_long_values_take_linear_time(piece: bytes) -> None:
    """A quadratic step over 200,000 pieces would take minutes."""
    value = b"a" + piece * 200_000 + b"b"
    parse_vary(value)
    preferred_codings(value)
    best_language(value, SITE, b"en")
    variant_key((b"foo",), {b"foo": value})
