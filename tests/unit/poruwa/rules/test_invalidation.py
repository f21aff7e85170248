"""Invalidation by unsafe methods: RFC 9111 section 4.4."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.invalidation import (
    answers_get,
    invalidated_keys,
    is_safe,
    normalise_origin,
    normalise_target,
)

ORIGIN = b"https://example.com"
TARGET = b"/a/b?q=1"


def targets(
    *, method: bytes = b"POST", status: int = 200, target: bytes = TARGET, **named: bytes
) -> list[bytes]:
    """Return the targets that are invalidated; all must be of the one origin."""
    fields = {name.replace("_", "-").encode(): value for name, value in named.items()}
    keys = invalidated_keys(method, status, origin=ORIGIN, target=target, fields=fields)
    assert {origin for origin, _ in keys} <= {ORIGIN}
    return [found for _, found in keys]


@pytest.mark.parametrize(
    "method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"MKCOL", b"FOO", b"get", b"CONNECT"]
)
def test_methods_that_may_change_something(method: bytes) -> None:
    """Unknown ones as well; methods are case-sensitive (RFC 9110 section 9.1)."""
    assert not is_safe(method)
    assert targets(method=method) == [TARGET]


@pytest.mark.parametrize(
    "method",
    [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"],
)
def test_safe_methods(method: bytes) -> None:
    """RFC 9110 section 9.2.1, RFC 4918, 3253, 5323 and that of QUERY."""
    assert is_safe(method)
    assert targets(method=method, location=b"/other") == []


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (199, False),
        (200, True),
        (204, True),
        (299, True),
        (303, True),
        (399, True),
        (400, False),
        (404, False),
        (500, False),
        (599, False),
    ],
)
def test_errors_change_nothing(status: int, counts: bool) -> None:
    found = targets(status=status, location=b"/other", content_location=b"/more")
    assert found == ([TARGET, b"/other", b"/more"] if counts else [])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        pytest.param(b"/other", b"/other", id="absolute path"),
        pytest.param(b"/other?x=1&y", b"/other?x=1&y", id="query"),
        pytest.param(b"/other#part", b"/other", id="9111 4 fragment"),
        pytest.param(b"https://example.com/other", b"/other", id="URL"),
        pytest.param(b"HTTPS://EXAMPLE.com:443/other", b"/other", id="3986 6.2.3 default port"),
        pytest.param(b"https://example.com:/other", b"/other", id="3986 6.2.3 empty port"),
        pytest.param(b"https://example.com./other", b"/other", id="final dot"),
        pytest.param(b"https://example.com", b"/", id="3986 6.2.3 empty path"),
        pytest.param(b"https://example.com?x", b"/?x", id="3986 6.2.3 empty path, query"),
        pytest.param(b"//example.com/other", b"/other", id="3986 5.2.2 network path"),
        pytest.param(b"other", b"/a/other", id="3986 5.2.3 merge"),
        pytest.param(b"./other", b"/a/other", id="3986 5.2.4 dot"),
        pytest.param(b"../other", b"/other", id="3986 5.2.4 dots"),
        pytest.param(b"../../../other", b"/other", id="3986 5.4.2 too many dots"),
        pytest.param(b"..", b"/", id="3986 5.2.4 dots at the end"),
        pytest.param(b".", b"/a/", id="3986 5.2.4 dot at the end"),
        pytest.param(b"/x/./y/../z/", b"/x/z/", id="3986 5.2.4 within"),
        pytest.param(b"/x/...", b"/x/...", id="3986 5.2.4 three dots are a name"),
        pytest.param(b"/x//y", b"/x//y", id="empty segment is kept"),
        pytest.param(b"?x=2", b"/a/b?x=2", id="3986 5.2.2 query only"),
        pytest.param(b"/%7eme/%c3%a9", b"/~me/%C3%A9", id="3986 6.2.2 percent codes"),
        pytest.param(b"/caf\xc3\xa9", b"/caf%C3%A9", id="raw bytes"),
    ],
)
def test_same_origin_is_named(reference: bytes, expected: bytes) -> None:
    assert targets(location=reference) == [TARGET, expected]
    assert targets(content_location=reference) == [TARGET, expected]


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param(b"https://example.org/other", id="host"),
        pytest.param(b"https://www.example.com/other", id="subdomain"),
        pytest.param(b"https://example.com.evil.org/other", id="longer host"),
        pytest.param(b"http://example.com/other", id="scheme"),
        pytest.param(b"https://example.com:8443/other", id="port"),
        pytest.param(b"https://example.com:0/other", id="no port"),
        pytest.param(b"https://example.com:00080/other", id="port with zeros"),
        pytest.param(b"https://example.com:x/other", id="word for a port"),
        pytest.param(b"//example.org/other", id="network path"),
        pytest.param(b"https://me@example.com/other", id="user name"),
        pytest.param(b"https://example.com@example.org/other", id="host as user name"),
        pytest.param(b"https:///other", id="no host"),
        pytest.param(b"https:/other", id="no authority"),
        pytest.param(b"mailto:me@example.com", id="another kind"),
        pytest.param(b"https://example.com\\@example.org/other", id="backslash"),
        pytest.param(b"https://exa mple.com/other", id="space in the host"),
        # Of our origin, but nothing that could be stored.
        pytest.param(b"/a b", id="space"),
        pytest.param(b"/x?a b", id="space in the query"),
        pytest.param(b"/a\\b", id="backslash in the path"),
        pytest.param(b"/x/%2e%2e/y", id="encoded dots"),
        pytest.param(b"/x%2fy", id="encoded slash"),
        pytest.param(b"/%zz", id="broken code"),
        pytest.param(b"/one, /two", id="two lines joined"),
        pytest.param(b"", id="empty: the target itself"),
        pytest.param(b"#part", id="fragment: the target itself"),
        pytest.param(b"b?q=1", id="the target itself"),
        pytest.param(b"https://example.com/a/b?q=1", id="the target itself in full"),
    ],
)
def test_nothing_more_is_named(reference: bytes) -> None:
    assert targets(location=reference) == [TARGET]
    assert targets(content_location=reference) == [TARGET]


def test_both_fields_name_each_once() -> None:
    found = targets(location=b"/x", content_location=b"/y")
    assert found == [TARGET, b"/x", b"/y"]
    assert targets(location=b"/x", content_location=b"./../x") == [TARGET, b"/x"]


def test_own_target_is_in_normal_form() -> None:
    """Keys are compared as bytes: whoever stores must normalise alike."""
    assert targets(target=b"/%7eme?%7e") == [b"/~me?%7e"]
    assert targets(target=b"*", location=b"x") == []
    assert targets(target=b"*", location=b"/x") == [b"/x"]
    assert targets(target=b"/a?x", location=b"") == [b"/a?x"]


@pytest.mark.parametrize(
    ("scheme", "authority", "expected"),
    [
        (b"http", b"A.example:80", b"http://a.example"),
        (b"HTTPS", b"a.example:443", b"https://a.example"),
        (b"http", b"a.example:443", b"http://a.example:443"),
        (b"http", b"a.example:08080", b"http://a.example:8080"),
        (b"http", b"[::1]:8080", b"http://[::1]:8080"),
        (b"http", b"[::FF]", b"http://[::ff]"),
        (b"http", b"a.example:65536", None),
        (b"http", b"", None),
        (b"http", b".", None),
        (b"http", b":80", None),
        (b"http", b"[::1", None),
        (b"http", b"a:b:1", None),
        (b"ftp", b"a.example", None),
    ],
)
def test_origin(scheme: bytes, authority: bytes, expected: bytes | None) -> None:
    """RFC 3986 section 6.2.3, RFC 9110 section 4.3.1."""
    assert normalise_origin(scheme, authority) == expected


PIECES = st.sampled_from(
    b"https: http: // / ? # . .. : :443 @ example.com evil.org a b %2e %7e \\ \xff \t".split(b" ")
)
REFERENCES = st.one_of(st.binary(max_size=30), st.lists(PIECES, max_size=8).map(b"".join))


@given(REFERENCES, REFERENCES)
def test_any_reference_is_read(target: bytes, reference: bytes) -> None:
    for own in (target, b"/" + target):
        for found in targets(target=own, location=reference):
            assert found.startswith(b"/")
            assert b"#" not in found.partition(b"?")[0]
            assert normalise_target(found) == found


@given(REFERENCES)
def test_no_other_site_is_named(path: bytes) -> None:
    assert targets(location=b"https://evil.org/" + path) == [TARGET]


@pytest.mark.parametrize(
    "reference",
    [
        b"/." * 60_000,
        b"/.." * 40_000,
        b"/x" * 60_000,
        b"a" * 120_000,
        b"a+" * 60_000 + b" ",
        b"//" + b"a." * 60_000 + b"@",
        b"//[" + b":" * 120_000,
        b"/%2e" * 30_000,
    ],
    ids=lambda value: value[:4],
)
def test_time_grows_with_length_only(reference: bytes) -> None:
    began = process_time()
    targets(location=reference, target=reference)
    assert process_time() - began < 2.0


@pytest.mark.parametrize(
    ("method", "status", "location", "result"),
    [
        pytest.param(b"POST", 200, TARGET, True, id="9110-9.3.3"),
        pytest.param(b"POST", 200, ORIGIN + b"/a/./b?q=1#here", True, id="however-it-is-written"),
        pytest.param(b"POST", 200, b"?q=1", True, id="3986-5.2.2-relative"),
        pytest.param(b"POST", 200, b"/a/b", False, id="another-target"),
        pytest.param(b"POST", 200, b"https://example.org/a/b?q=1", False, id="another-origin"),
        pytest.param(b"POST", 200, None, False, id="nothing-said"),
        pytest.param(b"POST", 201, TARGET, False, id="another-status"),
        pytest.param(b"PUT", 200, TARGET, False, id="another-method"),
    ],
)
def test_answers_get(method: bytes, status: int, location: bytes | None, result: bool) -> None:
    fields = {} if location is None else {b"content-location": location}
    found = answers_get(method, status, origin=ORIGIN, target=TARGET, fields=fields)
    assert found is result
