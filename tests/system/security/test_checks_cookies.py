"""Security checks 1 to 10: cookies, as they are set and as they are read."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode

import httpx
import pytest

from fakes.every_response import every_response
from fakes.tls_stack import AFFINITY, SESSION, TlsStack, lines_of, token_of
from poruwa.rules.affinity import may_carry_cookie

USER = "cookie-user"


def parts_of(line: str) -> tuple[str, str, dict[str, str]]:
    """Return name, value and attributes of a Set-Cookie line; attributes' names in lower case."""
    pair, *others = line.split(";")
    name, _, value = pair.partition("=")
    attributes = [each.strip().partition("=") for each in others]
    return name, value, {key.lower(): text for key, _, text in attributes}


@pytest.fixture(scope="module")
def token(stack: TlsStack) -> str:
    return stack.sign_in(USER)


def user_of(stack: TlsStack, cookie_field: bytes) -> str | None:
    """Return whom the very bytes of a Cookie field sign in, by the gateway."""
    with stack.raw() as client:
        answer = client.get("/doors/me", f"Cookie: {cookie_field.decode('latin-1')}\r\n")
    if answer.status == 400:  # the field itself is refused
        return None
    assert answer.status == 200, answer.raw
    found: str | None = json.loads(answer.body).get("user")
    return found


@pytest.mark.check(1)
def test_1_every_cookie_is_secure_and_has_a_prefix(stack: TlsStack) -> None:
    """D1: whatever response sets it."""
    names = set()
    for kind in every_response(stack):
        for line in lines_of(kind.response):
            name, _, attributes = parts_of(line)
            assert name.startswith(("__Host-", "__Secure-")), (kind.name, line)
            assert "secure" in attributes, (kind.name, line)
            assert attributes.get("samesite") in ("Lax", "Strict"), (kind.name, line)
            assert "domain" not in attributes, (kind.name, line)
            names.add(name)
    # Sessions, affinity, what one has written, a cookie of the site's own.
    assert {SESSION, AFFINITY, "__Host-theme"} < names
    assert any(name.endswith("-seen") for name in names)


@pytest.mark.check(2)
def test_2_the_attributes_of_the_sessions_cookie(stack: TlsStack) -> None:
    response = stack.post(f"/doors/sign-in?user={USER}")
    (line,) = [each for each in lines_of(response) if each.startswith(SESSION)]
    assert parts_of(line)[2] == {
        "path": "/", "max-age": str(30 * 86_400), "httponly": "", "secure": "", "samesite": "Lax",
    }  # fmt: skip
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.check(3)
def test_3_a_cookie_that_no_browser_would_keep_is_not_written(stack: TlsStack) -> None:
    """Nor cut in pieces: one line or none."""
    whole = stack.get("/doors/cookie?bytes=4084")  # with its name of 12 bytes: 4,096
    (line,) = [each for each in lines_of(whole) if "theme" in each]
    assert len(line.partition(";")[0]) - 1 == 4096
    for path in ("/doors/cookie?bytes=4085", "/doors/cookie?bytes=7000"):
        refused = stack.get(path)
        assert refused.status_code == 500
        assert not [each for each in lines_of(refused) if "theme" in each]
    refused = stack.post(f"/doors/sign-in?user={'u' * 4000}")
    assert refused.status_code == 500
    assert not [each for each in lines_of(refused) if SESSION in each]


@pytest.mark.check(4)
def test_4_ids_and_tokens_are_in_no_url_body_or_log(stack: TlsStack) -> None:
    token = stack.sign_in("quiet-user")
    claims = stack.claims(token)
    bodies, urls = [], []
    for path in ("/", "/doors/me", "/doors/devices", "/_poruwa/session", "/not-there"):
        response = stack.get(path, token)
        bodies.append(response.text)
        urls += [response.headers.get("location", ""), *re.findall(r'href="([^"]*)"', bodies[-1])]
    stack.post("/doors/note", token, {"Origin": "https://elsewhere.example"})  # refused, and logged
    stack.get("/doors/me", f"{token}; {SESSION}={token}")  # alike
    renewed = token_of(stack.get("/doors/me", stack.token("quiet-user", days_ago=25)))
    stack.post("/doors/sign-out", token)
    stack.until(lambda: "/doors/sign-out" in stack.access_log(), "the access log's last line")
    logs = [stack.log(), stack.access_log()]
    secret_of = {
        "token": token,
        "renewed token": renewed,
        "ciphertext": token.split(".")[3],
        "id in hex": claims.session_id.hex(),
        "id in base64": urlsafe_b64encode(claims.session_id).decode().rstrip("="),
        "key": stack.ring.read().sealing.secret.decode(),
    }
    for what, secret in secret_of.items():
        for place in (*bodies, *urls, *logs):
            assert secret not in place, f"the {what} is told"


@pytest.mark.check(5)
@pytest.mark.parametrize(
    "before",
    [b"\xa0", b"\x85", b"\x1f", b"\x0b", b"\x0c", "\u2000".encode(), "\u00a0".encode(), b"\\"],
    ids=lambda value: value.hex(),
)
def test_5_bytes_before_the_prefix_make_another_name(
    stack: TlsStack, token: str, before: bytes
) -> None:
    """PortSwigger: frameworks that strip them take a sibling host's cookie for a __Host- one."""
    planted = SESSION.encode() + b"=" + token.encode()
    assert user_of(stack, planted) == USER
    assert user_of(stack, before + planted) is None
    assert user_of(stack, b"a=b; " + before + planted) is None


@pytest.mark.check(6)
def test_6_of_two_session_cookies_neither_is_taken(stack: TlsStack, token: str) -> None:
    """Cookie tossing (RFC 6265bis section 8.6): nobody can tell which was planted; it is logged."""
    mine = f"{SESSION}={token}".encode()
    other = f"{SESSION}={stack.sign_in('tosser')}".encode()
    for field in (mine + b"; " + other, other + b"; " + mine, mine + b"; " + mine):
        assert user_of(stack, field) is None
    with stack.raw() as client:
        two = f"Cookie: {mine.decode()}\r\nCookie: {other.decode()}\r\n"
        assert json.loads(client.get("/doors/me", two).body) == {}
    assert f"two cookies {SESSION} in one request" in stack.log()


@pytest.mark.check(7)
def test_7_nameless_cookies_quotes_and_versions_change_no_parsing(
    stack: TlsStack, token: str
) -> None:
    pair = f"{SESSION}={token}".encode()
    assert user_of(stack, b"=" + pair) is None
    assert user_of(stack, b'a="' + pair + b'"') is None
    assert user_of(stack, b'a="x; ' + pair + b'; b=y"') == USER
    assert user_of(stack, b'$Version="1"; a="x; ' + pair + b'; $Path="/"; b=y"') == USER
    assert user_of(stack, f'{SESSION}="{token}"'.encode()) is None
    assert user_of(stack, b"=" + pair + b"; " + pair) == USER


@pytest.mark.check(8)
@pytest.mark.parametrize(
    "malformed",
    [b"a b=c", b"]=x", b'{"json": [1, 2]}', b"novalue", b"\xff\xfe=\xff", b";;; ;", b"a=\xe2\x82"],
    ids=lambda value: value.hex(),
)
def test_8_a_malformed_cookie_leaves_its_neighbours_alone(
    stack: TlsStack, token: str, malformed: bytes
) -> None:
    pair = f"{SESSION}={token}".encode()
    assert user_of(stack, malformed + b"; " + pair) == USER
    assert user_of(stack, pair + b"; " + malformed) == USER


@pytest.mark.check(9)
@pytest.mark.parametrize(
    "planted",
    ["; ".join(f"c{n}=x" for n in range(181)), "; ".join(f"c{n}={'x' * 4000}" for n in range(5))],
    ids=["181 cookies", "20 KB"],
)
@pytest.mark.parametrize("path", ["/", "/doors/me", "/_poruwa/session", "/not-there"])
def test_9_too_many_cookies_get_a_page_that_clears_them(
    stack: TlsStack, planted: str, path: str
) -> None:
    """ASVS 4.2.5: a sibling host can lock nobody out for longer than one page."""
    answer = stack.get(path, fields={"Cookie": planted, "Accept": "text/html"})
    assert answer.status_code == 431
    assert answer.headers["clear-site-data"] == '"cookies"'
    assert answer.headers["cache-control"] == "no-store"
    assert "load the page again" in answer.text
    with stack.raw() as client:  # several lines are one field
        lines = "".join(f"Cookie: {each}\r\n" for each in planted.split("; ")[:60])
        split = client.get(path, lines if "x" * 100 in planted else f"Cookie: {planted}\r\n")
    assert split.status == 431
    assert stack.get("/").status_code == 200


@pytest.mark.check(10)
def test_10_the_affinity_cookie_says_nothing_of_the_instance(stack: TlsStack, token: str) -> None:
    def cookies(response: httpx.Response) -> list[str]:
        return [each for each in lines_of(response) if each.startswith(AFFINITY)]

    (line,) = cookies(stack.get("/doors/account", token))
    _, value, attributes = parts_of(line)
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", value)
    assert {"secure", "httponly", "path"} <= attributes.keys()
    assert attributes["samesite"] == "Lax"
    for unknown in ("127.0.0.1:8000", "app.1", value[::-1], "A" * 24, "x" * 3000):
        answer = stack.get("/doors/account", fields={"Cookie": f"{AFFINITY}={unknown}"})
        assert answer.status_code == 401
        (line,) = cookies(answer)  # a fresh choice
        assert parts_of(line)[1] != unknown
    kept = stack.get("/doors/account", fields={"Cookie": f"{AFFINITY}={value}"})
    assert not cookies(kept)
    for kind in every_response(stack):
        if cookies(kind.response):
            assert is_for_one_person(kind.response), kind.name


@pytest.mark.check(46)
def test_46_no_response_that_shared_caches_keep_sets_a_cookie(stack: TlsStack) -> None:
    """RFC 9111 section 7.3: also where a session is due for renewal, and where one has written."""
    kinds = [(each.name, each.response) for each in every_response(stack)]
    due = stack.token("due", days_ago=25)
    kinds += [(f"due on {path}", stack.get(path, due)) for path in ("/", "/venues/7", "/about")]
    assert any(lines_of(response) for _, response in kinds)
    for name, response in kinds:
        if lines_of(response):
            assert is_for_one_person(response), name


def is_for_one_person(response: httpx.Response) -> bool:
    """Whether no shared cache may keep a response."""
    fields = response.headers
    return may_carry_cookie(
        response.request.method.encode(),
        response.status_code,
        fields["cache-control"].encode() if "cache-control" in fields else None,
        targeted=fields["cdn-cache-control"].encode() if "cdn-cache-control" in fields else None,
        has_expires="expires" in fields,
    )
