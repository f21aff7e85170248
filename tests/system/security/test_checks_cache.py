"""Security checks 47 to 51: what the shared cache keeps, for whom, and under which name (D8)."""

from __future__ import annotations

import json
import re

import pytest

from fakes.tls_stack import HOST, SESSION, TlsStack
from fakes.wire import Response

MARK = "secretive-user-4711"
EVIL = "evil.example"


@pytest.fixture(scope="module")
def token(stack: TlsStack) -> str:
    return stack.sign_in(MARK)


def ask(stack: TlsStack, target: str, fields: str = "", method: str = "GET") -> Response:
    """Ask for the very bytes of a target; a refusal that closes the connection is an answer."""
    with stack.raw() as client:
        return client.get(target, fields, method=method)


def is_hit(response: Response) -> bool:
    return b"; hit" in b"".join(response.all("cache-status"))


def is_kept(response: Response) -> bool:
    said = b"".join(response.all("cache-status"))
    return b"; hit" in said or b"stored" in said


@pytest.mark.check(47)
def test_47_personal_pages_are_one_persons(stack: TlsStack, token: str) -> None:
    """Marked so for whoever else caches, and not kept here; a second user never sees them."""
    other = stack.sign_in("second-user")
    for path in ("/doors/me", "/doors/account", "/doors/devices", "/_poruwa/session"):
        mine = stack.get(path, token)
        assert re.search("private|no-store", mine.headers["cache-control"]), path
        if path != "/doors/devices":
            assert MARK in mine.text
        for each in (stack.get(path, other), stack.get(path)):
            assert MARK not in each.text + str(each.headers)
            assert "; hit" not in each.headers.get("cache-status", "")


@pytest.mark.check(47)
def test_47_a_shared_page_is_the_same_whoever_had_it_made(stack: TlsStack, token: str) -> None:
    """Anonymous fill: the app is not told who asks where the answer is for all."""
    for number in range(10, 16):
        path = f"/venues/{number}"
        mine = stack.get(path, token)
        assert "stored" in mine.headers["cache-status"], "it was there before: no test"
        other = stack.get(path)
        assert "; hit" in other.headers["cache-status"]
        assert mine.content == other.content == stack.get(path, token).content
        assert MARK not in mine.text
        assert "set-cookie" not in mine.headers


@pytest.mark.check(48)
@pytest.mark.parametrize(
    "target",
    [
        "/doors/account/x.css", "/doors/account;x.css", "/doors/account/;x.css",
        "/doors/account%2f..%2fstatic", "/doors/account%00.css", "/doors/account%0a.css",
        "/doors/account%23.css", "/doors/account%3f.css", "/doors/account%3fx.css",
        "/doors/account%5cx.css", "/static/..%2fdoors/account", "/static/../doors/account",
        "/static/%2e%2e/doors/account", "/static/..;/doors/account", "/static/x/..%5c..%5cdoors",
        "/static//doors/account", "//doors/account", "/doors//account", "/doors/account/.css",
        "/doors/account%252ecss", "/art/..%2fdoors%2faccount", "/doors/account#.css",
        "/_poruwa/session/x.css", "/_poruwa/session;x.css", "/_poruwa/session%2ecss",
        "/static/..%2f_poruwa/session", "/si/doors/account/x.js", "/venues/1/../../doors/account",
    ],
)  # fmt: skip
def test_48_no_spelling_has_a_personal_page_kept(stack: TlsStack, token: str, target: str) -> None:
    """Web cache deception (Gil; Kettle; Doyhenard): whatever the victim is lured to, it is not."""
    as_victim = f"Cookie: {SESSION}={token}\r\nSec-Fetch-Site: cross-site\r\n"
    for _ in range(2):
        victims = ask(stack, target, as_victim)
        assert victims.status < 500, victims.raw
        if MARK.encode() in victims.body:
            assert not is_kept(victims)
    for _ in range(2):
        attackers = ask(stack, target)
        assert MARK.encode() not in attackers.body + attackers.raw


FORWARDING = {
    "X-Forwarded-Host": EVIL, "X-Forwarded-Scheme": "http", "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": f"/{EVIL}", "X-Forwarded-Port": "64711", "X-Forwarded-Server": EVIL,
    "X-Host": EVIL, "X-Original-URL": "/about", "X-Rewrite-URL": "/about",
    "X-Original-Host": EVIL, "Forwarded": f"host={EVIL};proto=http", "X-HTTP-Host-Override": EVIL,
    "X-HTTP-Method-Override": "DELETE", "X-Method-Override": "POST", "X-Forwarded-For": "1.2.3.4",
    "Proxy": f"http://{EVIL}", "X-Accel-Redirect": "/about", "Origin": f"https://{EVIL}",
    "Referer": f"https://{EVIL}/", "Accept-Encoding": "evil", "X-Sendfile": "/etc/passwd",
    "Range": "bytes=0-0", "If-None-Match": "*", "Cookie": f"lang={EVIL}; {SESSION}=x",
    "Authorization": "Basic ZXZpbDpldmls", "Accept": "application/evil", "Upgrade": "evil",
}  # fmt: skip


@pytest.mark.check(49)
@pytest.mark.parametrize("name", FORWARDING)
def test_49_no_unkeyed_field_changes_what_is_stored(stack: TlsStack, name: str) -> None:
    """Kettle, "Practical web cache poisoning": the attacker comes first, everybody after."""
    number = 20 + list(FORWARDING).index(name)
    port = 7000 + number  # of a Host: a key of its own in the cache
    for path in (f"/venues/{number}", "/robots.txt"):
        host = f"{HOST}:{port}" if path == "/robots.txt" else HOST
        ask_as(stack, path, host, f"{name}: {FORWARDING[name]}\r\n")
        answers = [ask_as(stack, path, host) for _ in range(3)]
        assert any(map(is_hit, answers))  # of two workers one is asked twice
        for each in answers:
            assert each.status == 200
            assert each.body == answers[0].body
            assert EVIL.encode() not in each.body + each.raw
            assert b"64711" not in each.body + each.raw
        if path == "/robots.txt":
            assert f"https://{host}/sitemap.xml".encode() in answers[0].body
        else:
            assert f"/venues/{number}".encode() in answers[0].body


def ask_as(stack: TlsStack, path: str, host: str, fields: str = "") -> Response:
    with stack.raw() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        return client.response()


@pytest.mark.check(50)
def test_50_a_get_with_a_body_is_the_get_without(stack: TlsStack) -> None:
    """Fat GET (Web Cache Entanglement)."""
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    with stack.raw() as client:
        client.get("/venues?page=2", form, body=b"page=1&q=poisoned")
        clean = client.get("/venues?page=2")
    assert b"poisoned" not in clean.body
    assert any(is_hit(ask(stack, "/venues?page=2")) for _ in range(3))
    assert ask(stack, "/venues?page=1").body != clean.body


@pytest.mark.check(50)
def test_50_cloaked_parameters_are_not_taken_apart_twice(stack: TlsStack) -> None:
    """``;`` separates nothing; parameters that the policy does not name are not passed on."""
    plain = ask(stack, "/venues?page=3")
    cloaked = ask(stack, "/venues?utm_content=x;page=4&page=3")
    assert cloaked.body == plain.body
    assert ask(stack, "/venues?page=3;page=4").body != ask(stack, "/venues?page=4").body
    assert ask(stack, "/venues?page=3").body == plain.body
    for value in ("poisoned", "%22%3E%3Cscript%3E", "%0d%0aX-Evil:1"):
        ask(stack, f"/venues/60?utm_source={value}&fbclid={value}")
    answers = [ask(stack, "/venues/60") for _ in range(3)]
    assert any(map(is_hit, answers)), "they are one page"
    for clean in answers:
        assert b"poisoned" not in clean.body
        assert b'"><script>' not in clean.body


@pytest.mark.check(50)
def test_50_host_path_and_query_of_a_key_do_not_run_together(stack: TlsStack) -> None:
    """No delimiter in one part makes another page's key."""
    pages = {ask(stack, "/venues/61?date=2027-06-01").body, ask(stack, "/venues/61").body}
    assert len(pages) == 2
    for target in (
        "/venues/61%3Fdate=2027-06-01", "/venues/61%26date=2027-06-01", "/venues/61%0adate",
        "/venues/61__date=2027-06-01", "/venues/61\\?date=2027-06-01",
    ):  # fmt: skip
        assert ask(stack, target).status in (400, 404)
    assert {ask(stack, "/venues/61?date=2027-06-01").body, ask(stack, "/venues/61").body} == pages
    for host in (f"{HOST}:443", f"{HOST}:80", f"{HOST}:99999", f"{HOST}:1/x", f"x@{HOST}"):
        ask_as(stack, "/robots.txt", host)
    # The usual port is the same origin (RFC 9110 section 4.2.3): either spelling may be kept.
    plain = ask_as(stack, "/robots.txt", HOST).body.replace(b":443/", b"/")
    assert f"https://{HOST}/sitemap.xml".encode() in plain


BROKEN = (
    ("GET", "X-Large: " + "x" * 40_000 + "\r\n"),
    ("GET", "X-Many: 1\r\n" * 120),
    ("GET", "X-Meta: \x07\r\n"),
    ("GET", "X-Meta: a\x00b\r\n"),
    ("GET", "X Meta: blank in the name\r\n"),
    ("GETT", ""),
    ("BREW", ""),
    ("TRACE", ""),
    ("DELETE", ""),
    ("GET", "Expect: 200-maybe\r\n"),
    ("GET", "Content-Length: x\r\n"),
    ("GET", "Transfer-Encoding: evil\r\n"),
    ("GET", "Range: bytes=99999999-\r\n"),
    ("GET", 'If-Match: "evil"\r\n'),
    ("GET", "Accept: application/json\r\nX-Requested-With: evil\r\n"),
)


@pytest.mark.check(51)
@pytest.mark.parametrize("number", range(len(BROKEN)), ids=lambda n: f"{BROKEN[n][0]}-{n}")
def test_51_no_error_is_kept_for_others(stack: TlsStack, number: int) -> None:
    """CPDoS (Nguyen et al.): what is wrong with one request is nobody else's trouble."""
    method, fields = BROKEN[number]
    path = f"/venues/{70 + number}"
    broken = ask(stack, path, fields, method)
    if broken.status >= 400:
        # A range that is not there: the whole page is kept, and this answer made of it.
        assert broken.status == 416 or not is_kept(broken)
        assert broken.get("cache-control") in (b"no-store", b"no-cache", None)
    for _ in range(2):
        clean = ask(stack, path)
        assert clean.status == 200
        assert path.encode() in clean.body


@pytest.mark.check(51)
def test_51_pages_that_are_not_there_are_asked_for_anew(stack: TlsStack) -> None:
    for path in ("/not-there", "/venues/999999", "/api/v1/venues/999999"):
        for _ in range(2):
            answer = ask(stack, path)
            assert answer.status == 404
            assert not is_hit(answer), path


def test_the_mark_is_on_the_victims_page(stack: TlsStack, token: str) -> None:
    """Else none of the above could fail."""
    said = ask(stack, "/doors/me", f"Cookie: {SESSION}={token}\r\n")
    assert json.loads(said.body)["user"] == MARK
