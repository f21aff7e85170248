"""Whose a response is: which may carry a cookie (check 46; RFC 9111 section 7.3)."""

from __future__ import annotations

from typing import Any

import pytest

from poruwa.app.security.response_fields import field_of_line, forbid_storing, may_set_cookie

PRIVATE, NO_STORE = (b"cache-control", b"private"), (b"cache-control", b"no-store")
PUBLIC = (b"Cache-Control", b"public, max-age=60")
ETAG = (b"etag", b'"1"')


def scope(method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method}


@pytest.mark.check(46)
@pytest.mark.parametrize(
    ("method", "status", "fields", "may"),
    [
        ("GET", 200, [PRIVATE], True),
        ("GET", 200, [NO_STORE], True),
        ("GET", 200, [ETAG, (b"CACHE-CONTROL", b"max-age=60, PRIVATE")], True),
        ("GET", 200, [], False),  # a cache may keep it by its own judgement (section 4.2.2)
        ("GET", 200, [PUBLIC], False),
        ("GET", 200, [(b"cache-control", b"max-age=60")], False),
        ("GET", 200, [(b"cache-control", b"no-cache")], False),  # kept, and asked about
        ("GET", 200, [(b"cache-control", b'private="x-name"')], False),
        ("GET", 200, [(b"cache-control", b"no-store, must-understand")], False),
        ("GET", 200, [(b"cache-control", b"private"), (b"cache-control", b"max-age=1")], True),
        ("GET", 200, [(b"cache-control", b"max-age=1"), (b"cache-control", b"no-store")], True),
        ("GET", 200, [(b"expires", b"Thu, 01 Jan 2099 00:00:00 GMT")], False),
        ("GET", 200, [PRIVATE, (b"cdn-cache-control", b"max-age=60")], False),
        ("GET", 200, [PRIVATE, (b"CDN-Cache-Control", b"no-store")], True),
        ("GET", 200, [PRIVATE, (b"surrogate-control", b"max-age=60")], False),
        (
            "GET",
            200,
            [PRIVATE, (b"cdn-cache-control", b"no-store"), (b"surrogate-control", b"max-age=9")],
            False,
        ),
        ("HEAD", 200, [PUBLIC], False),
        ("POST", 200, [PUBLIC], False),
        ("POST", 200, [], True),
        ("PUT", 200, [PUBLIC], True),
        ("GET", 404, [], False),
        ("GET", 403, [], True),
        ("GET", 403, [(b"expires", b"Thu, 01 Jan 2099 00:00:00 GMT")], False),
        ("GET", 303, [PUBLIC], False),
    ],
)
def test_46_what_no_shared_cache_may_keep_may_carry_a_cookie(
    method: str, status: int, fields: list[tuple[bytes, bytes]], may: bool
) -> None:
    assert may_set_cookie(scope(method), status, fields) is may


@pytest.mark.check(46)
def test_46_what_is_marked_is_nobodys_to_keep_whatever_it_said() -> None:
    headers = [
        PUBLIC,
        ETAG,
        (b"Expires", b"Thu, 01 Jan 2099 00:00:00 GMT"),
        (b"CDN-Cache-Control", b"max-age=60"),
        (b"Surrogate-Control", b"max-age=60"),
    ]
    forbid_storing(headers)
    assert headers == [ETAG, NO_STORE]
    assert may_set_cookie(scope(), 200, headers)


def test_a_line_becomes_a_field() -> None:
    assert field_of_line(b"Set-Cookie: a=b: c\r\n") == (b"set-cookie", b"a=b: c")
