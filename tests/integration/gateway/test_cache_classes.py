"""Shared classes: one copy for all who ask alike, and nothing in it that one client put there.

Issue 4, Show 4; REQUIREMENTS B1 to B3; SECURITY-CHECKS on cache deception and cache poisoning.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.wire import Response

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[trust]
proxies = ["127.0.0.1"]
[retry]
attempts = 0
statuses = []
[pools.app]
instances = ["%s"]
health.kind = "tcp"
[pools.app.affinity]
cookie = "who"
keys = "file:affinity-keys"
[dimensions.language]
path = "language"
query = "lang"
header = "Accept-Language"
values = ["en", "si", "ta"]
default = "en"
[dimensions.theme]
cookie = "theme"
values = ["light", "dark"]
default = "light"
[classes.page]
scope = "shared"
tags = ["pages", "page:{page_id}"]
dimensions = ["language"]
query_parameters = ["date", "page"]
lifetimes = { browser = "0s", gateway = "1h" }
stale_while_revalidate = "10min"
stale_if_error = "1d"
[classes.brief]
scope = "shared"
dimensions = ["theme"]
lifetimes = { browser = "1s", gateway = "1s" }
stale_if_error = "1d"
[classes.mine]
scope = "private"
lifetimes = { browser = "1h" }
[classes.order]
scope = "none"
[classes.static]
scope = "shared"
immutable = true
lifetimes = { browser = "1y", gateway = "1y" }
[[routes]]
path = "/pages/{page_id}"
pool = "app"
data_class = "page"
[[routes]]
path = "/{language}/pages/{page_id}"
pool = "app"
data_class = "page"
[[routes]]
path = "/si/start"
pool = "app"
data_class = "page"
[[routes]]
path = "/brief/*"
pool = "app"
data_class = "brief"
[[routes]]
path = "/static/*"
pool = "app"
data_class = "static"
[[routes]]
path = "/mine/*"
pool = "app"
data_class = "mine"
[[routes]]
path = "/order/*"
pool = "app"
data_class = "order"
[[routes]]
path = "/*"
pool = "app"
"""
MARK = "zq7attacker"


class Site:
    """A gateway under a policy with classes, and what its origin was asked."""

    def __init__(self, folder: Path) -> None:
        self.origin = Origin()
        (folder / "affinity-keys").write_text("k" * 32)
        self.gateway = GatewayProcess(folder, policy=POLICY % self.origin.address)

    def stop(self) -> None:
        self.gateway.stop()
        self.origin.stop()

    def page(self, path: str, body: bytes = b"page", fields: bytes = b"") -> None:
        self.origin.on(path, lambda call: call.reply(body, fields=fields))

    def ask(self, target: str, fields: str = "", method: str = "GET") -> Response:
        with self.gateway.connect() as client:
            return ask(client, target, fields, method)


def ask(client: RawClient, target: str, fields: str = "", method: str = "GET") -> Response:
    host = "" if fields.startswith("Host:") else "Host: weddinglk.test\r\n"
    client.send(f"{method} {target} HTTP/1.1\r\n{host}{fields}\r\n".encode())
    return client.response(method.encode())


def is_hit(answer: Response) -> bool:
    return b"; hit" in (answer.get("cache-status") or b"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(tmp_path_factory.mktemp("classes"))
    yield started
    started.stop()


def test_one_copy_serves_everybody_and_says_what_the_policy_says(site: Site) -> None:
    """B1, B2: the class's lifetimes; the origin's max-age is for others."""
    site.page("/pages/1", b"one", b'Cache-Control: max-age=5\r\nETag: "a"\r\n')
    first = site.ask("/pages/1", "Cookie: session=secret\r\nAuthorization: Bearer x\r\n")
    second = site.ask("/pages/1", "User-Agent: other\r\nCache-Control: no-cache\r\n")
    assert (first.status, first.body) == (200, b"one")
    assert is_hit(second)
    assert second.body == b"one"
    assert second.get("cache-control") == b"no-cache"
    assert second.get("etag") == b'"a"'
    assert b"ttl=3" in (second.get("cache-status") or b"")  # of an hour
    assert second.get("set-cookie") is None
    assert len(site.origin.seen("/pages/1")) == 1


def test_the_origin_is_asked_by_nobody_in_particular(site: Site) -> None:
    """D4 in part: nothing that one client sent reaches what all get."""
    site.page("/pages/2")
    answer = site.ask(
        "/pages/2",
        f"Cookie: session={MARK}\r\nAuthorization: {MARK}\r\nUser-Agent: {MARK}\r\n"
        f"X-Forwarded-Host: {MARK}\r\nX-Original-URL: /{MARK}\r\nX-Rewrite-URL: /{MARK}\r\n"
        f"X-HTTP-Method-Override: {MARK}\r\nForwarded: host={MARK}\r\n"
        f"Referer: {MARK}\r\nOrigin: {MARK}\r\nRange: bytes=0-1\r\nIf-Match: {MARK}\r\n"
        f"Accept: {MARK}/x\r\nX-Any: {MARK}\r\n",
    )
    assert (answer.status, answer.body) == (206, b"pa")
    (call,) = site.origin.seen("/pages/2")
    assert MARK.encode() not in call.request.raw
    assert call.request.get("range") is None
    assert call.request.get("host") == b"weddinglk.test"
    again = site.ask("/pages/2")
    assert is_hit(again)
    assert again.body == b"page"


def test_the_query_is_cut_to_what_the_policy_lists(site: Site) -> None:
    site.page("/pages/3", b"listed")
    first = site.ask("/pages/3?utm_source=x&page=2&date=2027-01-02&cb=1")
    assert first.body == b"listed"
    assert is_hit(site.ask("/pages/3?date=2027%2D01%2D02&page=2"))
    assert is_hit(site.ask("/pages/3?%64ate=2027-01-02&page=2&x[]=;"))
    (call,) = site.origin.seen("/pages/3")
    assert call.target == b"/pages/3?date=2027-01-02&page=2"


def test_a_dimension_has_as_many_copies_as_values(site: Site) -> None:
    def tell(call: Call) -> None:
        call.reply(call.request.get("accept-language") or b"-", fields=b"Vary: Accept-Language\r\n")

    site.origin.on("/pages/4", tell)
    for field, language in (
        ("si-LK,en;q=0.5", b"si"), ("si", b"si"), ("fr,ta;q=0.1", b"ta"), ("", b"en"),
    ):  # fmt: skip
        answer = site.ask("/pages/4", f"Accept-Language: {field}\r\n" if field else "")
        assert answer.body == language
        assert answer.get("vary") == b"Accept-Language"
    assert len(site.origin.seen("/pages/4")) == 3
    # Where the path says it, the field is not asked.
    site.origin.on("/ta/pages/4", tell)
    site.ask("/ta/pages/4", "Accept-Language: si\r\n")
    assert is_hit(site.ask("/ta/pages/4", "Accept-Language: en\r\n"))
    # So does a route's fixed first segment.
    site.ask("/si/start", "Accept-Language: en\r\n")
    assert is_hit(site.ask("/si/start", "Accept-Language: ta\r\n"))


def test_a_dimension_in_a_cookie(site: Site) -> None:
    site.origin.on("/brief/theme", lambda call: call.reply(call.request.get("cookie") or b"-"))
    assert site.ask("/brief/theme", "Cookie: theme=dark; session=1\r\n").body == b"theme=dark"
    assert site.ask("/brief/theme", f"Cookie: theme={MARK}\r\n").body == b"theme=light"
    assert site.ask("/brief/theme", "Cookie: theme=dark; theme=light\r\n").body == b"theme=light"


@pytest.mark.parametrize(
    ("name", "status", "fields"),
    [
        ("set-cookie", b"200 OK", b"Set-Cookie: a=b\r\n"),
        ("private", b"200 OK", b"Cache-Control: private\r\n"),
        ("no-store", b"200 OK", b"Cache-Control: no-store\r\n"),
        ("no-cache", b"200 OK", b"Cache-Control: no-cache\r\n"),
        ("vary-cookie", b"200 OK", b"Vary: Accept, cookie\r\n"),
        ("vary-any", b"200 OK", b"Vary: Accept-Language\r\nVary: x, *\r\n"),
        ("not-found", b"404 Not Found", b""),
        ("bad-request", b"400 Bad Request", b"Cache-Control: max-age=60\r\n"),
        ("found", b"302 Found", b"Location: /\r\n"),
        ("failed", b"500 Internal Server Error", b""),
    ],
)
def test_what_may_be_for_one_client_is_never_kept(
    site: Site, name: str, status: bytes, fields: bytes
) -> None:
    path = f"/pages/{name}"

    def tell(call: Call) -> None:
        call.reply(call.request.get("cookie") or b"nobody", status=status, fields=fields)

    site.origin.on(path, tell)
    for person in ("amara", "bandula", "chitra"):
        answer = site.ask(path, f"Cookie: id={person}\r\n")
        assert answer.body == f"id={person}".encode()
        assert not is_hit(answer)
    assert site.ask(path).body == b"nobody"


@pytest.mark.parametrize(
    "target",
    [
        "/pages/1/x.css", "/pages/secret;x.css", "/pages/secret%3bx.css", "/pages/secret%3fx.css",
        "/pages/secret%23x.css", "/pages/secret%0ax.css", "/pages/secret%00x.css",
        "/static/..%2fpages%2fsecret", "/static/%2e%2e/pages/secret", "/static/x%2f..%2f..%2fme",
        "/static/..;/pages/secret", "/static/secret;x.css", "/static//secret.css\\x",
        "/static/x%5c..%5cme", "/me/x.css", "/me%2fx.css",
    ],
)  # fmt: skip
def test_a_page_in_disguise_is_not_kept(site: Site, target: str) -> None:
    """Web cache deception: a victim is sent to a URL that looks static and is answered with a page
    of hers; the attacker then asks for the same URL.
    """
    for name in {target, target.partition("%")[0]}:
        site.origin.on(name, lambda call: call.reply(call.request.get("cookie") or b"nobody"))
    victim = site.ask(target, "Cookie: id=victim\r\n")
    attacker = site.ask(target)
    assert b"victim" not in attacker.body
    assert not is_hit(attacker)
    assert not is_hit(victim)


def test_a_request_with_a_body_is_neither_answered_nor_kept(site: Site) -> None:
    """A "fat GET": some frameworks read parameters from its body."""
    site.page("/pages/5", b"plain")
    with site.gateway.connect() as client:
        client.send(
            b"GET /pages/5 HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 6\r\n\r\npage=2"
        )
        assert client.response().get("cache-status") == b"poruwa; fwd=bypass"
    assert not is_hit(site.ask("/pages/5"))


def test_hosts_and_ports_do_not_share_copies(site: Site) -> None:
    site.origin.on("/pages/6", lambda call: call.reply(call.request.get("host") or b""))
    for host in ("weddinglk.test", "weddinglk.test:8080", "evil.test", "weddinglk.test"):
        assert site.ask("/pages/6", f"Host: {host}\r\n").body == host.encode()


def test_no_spelling_of_a_key_runs_into_the_next_part_of_it(site: Site) -> None:
    site.origin.on("/pages/a", lambda call: call.reply(b"a"))
    site.ask("/pages/a", "Accept-Language: si\r\n")
    for target in (
        "/pages/a%0Asi",
        "/pages/a?date=%0Asi",
        "/pages/a|si",
        "/pages/a?page=1%26date=2",
    ):
        answer = site.ask(target, "Accept-Language: en\r\n")
        assert not is_hit(answer)


@pytest.mark.parametrize("field", ["X-Big: " + "a" * 70_000, "X-Meta: \x07", "X-Meta: a\x00b"])
def test_an_error_that_one_client_provokes_is_not_kept(site: Site, field: str) -> None:
    """CPDoS: an oversize header, a control character."""
    number = len(field)
    site.page(f"/pages/c{number}", b"good")
    with site.gateway.connect() as client:
        client.send(
            f"GET /pages/c{number} HTTP/1.1\r\nHost: weddinglk.test\r\n{field}\r\n\r\n".encode()
        )
        assert client.response().status in (400, 431)
    assert site.ask(f"/pages/c{number}").body == b"good"


def test_head_and_parts_come_from_the_whole(site: Site) -> None:
    site.page("/pages/7", b"0123456789", b'ETag: "v"\r\n')
    head = site.ask("/pages/7", method="HEAD")
    assert (head.status, head.get("content-length")) == (200, b"10")
    part = site.ask("/pages/7", "Range: bytes=2-4\r\n")
    assert (part.status, part.body) == (206, b"234")
    unchanged = site.ask("/pages/7", 'If-None-Match: "v"\r\n')
    assert (unchanged.status, unchanged.get("etag")) == (304, b'"v"')
    assert site.ask("/pages/7", 'If-None-Match: "other"\r\n').status == 200
    calls = site.origin.seen("/pages/7")
    assert [call.request.start.split(b" ")[0] for call in calls] == [b"GET"]


def test_a_class_that_is_not_shared_is_not_kept_and_says_so(site: Site) -> None:
    for path, said in (("/mine/list", b"private, max-age=3600"), ("/order/1", b"no-store")):
        site.page(path, b"mine")
        for _ in range(2):
            answer = site.ask(path)
            assert answer.get("cache-control") == said
            assert answer.get("cache-status") == b"poruwa; fwd=bypass"
        assert len(site.origin.seen(path)) == 2
    site.page("/order/2", b"mine", b"Cache-Control: private\r\n")
    assert site.ask("/order/2").get("cache-control") == b"private"  # the origin's own word


def test_tags_do_not_leave_the_gateway(site: Site) -> None:
    for path, fields in (("/pages/t1", b""), ("/pages/t2", b"Cache-Control: no-store\r\n")):
        site.page(path, b"x", b'Cache-Groups: "page:7", "venues"\r\n' + fields)
        for cookie in ("", "Cookie: a=b\r\n"):
            assert site.ask(path, cookie).get("cache-groups") is None


def test_compressed_variants_are_made_once_and_have_tags_of_their_own(site: Site) -> None:
    """RFC 9110 sections 8.4, 8.8.3 and 12.5.3."""
    text = b"<p>Poruwa Siri Pamaduwa</p>\n" * 400
    site.page("/pages/z", text, b'Content-Type: text/html\r\nETag: "z"\r\nCache-Groups: "z"\r\n')
    decoders = {
        b"br": brotli.decompress, b"zstd": zstandard.decompress, b"gzip": gzip.decompress
    }  # fmt: skip
    plain = site.ask("/pages/z")
    assert plain.all("vary") == [b"Accept-Language", b"Accept-Encoding"]
    for accepted, coding in (
        ("gzip", b"gzip"), ("gzip, deflate, br, zstd", b"br"), ("br;q=0.1, zstd", b"zstd")
    ):  # fmt: skip
        field = f"Accept-Encoding: {accepted}\r\n"

        def is_made(field: str = field) -> bool:
            return site.ask("/pages/z", field).get("content-encoding") is not None

        site.gateway.until(is_made, f"the {accepted} variant")
        answer = site.ask("/pages/z", field)
        assert is_hit(answer)
        assert answer.get("content-encoding") == coding
        assert decoders[coding](answer.body) == text
        assert len(answer.body) < len(text) / 5
        tag = answer.get("etag")
        assert tag == b'"z-%b"' % coding
        assert site.ask("/pages/z", f"{field}If-None-Match: {tag.decode()}\r\n").status == 304
        assert site.ask("/pages/z", f'{field}If-None-Match: "z"\r\n').status == 304
        assert site.ask("/pages/z", f'{field}If-None-Match: "y"\r\n').status == 200
    assert site.ask("/pages/z").body == text
    assert site.ask("/pages/z", "Accept-Encoding: identity, br;q=0\r\n").body == text
    assert len(site.origin.seen("/pages/z")) == 1


def test_what_gains_nothing_is_not_compressed(site: Site) -> None:
    for path, fields in (
        ("/pages/tiny", b"Content-Type: text/html\r\n"),
        ("/pages/jpeg", b"Content-Type: image/jpeg\r\n"),
        ("/pages/kept", b"Content-Type: text/html\r\nCache-Control: no-transform\r\n"),
    ):
        site.page(path, b"x" if "tiny" in path else b"y" * 4000, fields)
        for _ in range(5):
            answer = site.ask(path, "Accept-Encoding: br\r\n")
            assert answer.get("content-encoding") is None
            assert b"Accept-Encoding" not in answer.all("vary")


def test_a_browser_that_waits_is_told_what_to_load(site: Site) -> None:
    """RFC 8297; over TLS only, since browsers heed it in HTTP/2, which a tier in front speaks."""
    links = b"Link: </static/a.css>; rel=preload; as=style\r\nLink: </next>; rel=next\r\n"
    for number in range(3):
        site.page(f"/ta/pages/hint{number}", b"page", links)
    secure = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n"
    navigates = "Sec-Fetch-Mode: navigate\r\n"
    assert site.ask("/ta/pages/hint0", secure + navigates).interim == []  # not known yet
    (hint,) = site.ask("/ta/pages/hint1", secure + navigates).interim
    assert hint.start == b"HTTP/1.1 103 Early Hints"
    assert hint.all("link") == [b"</static/a.css>; rel=preload; as=style"]
    assert site.ask("/ta/pages/hint1", secure + navigates).interim == []  # a hit is the answer
    assert site.ask("/ta/pages/hint2", navigates).interim == []


def test_an_immutable_class_says_so(site: Site) -> None:
    site.page("/static/app.1f2e.css", b"css")
    site.ask("/static/app.1f2e.css")
    answer = site.ask("/static/app.1f2e.css?v=1")
    assert is_hit(answer)
    assert answer.get("cache-control") == b"public, max-age=31536000, immutable"


def test_a_failing_origin_is_covered_by_what_is_kept(site: Site) -> None:
    """stale-if-error of the class (RFC 5861)."""
    site.page("/brief/x", b"good")
    site.ask("/brief/x")
    site.origin.on("/brief/x", lambda call: call.reply(b"bad", status=b"503 Service Unavailable"))
    time.sleep(2.2)
    for _ in range(2):
        answer = site.ask("/brief/x")
        assert (answer.status, answer.body) == (200, b"good")
        assert b"fwd=stale; fwd-status=503" in (answer.get("cache-status") or b"")


def test_what_the_origin_calls_shorter_is_shorter(site: Site) -> None:
    """s-maxage may shorten a class's lifetime, never lengthen it."""
    site.page("/pages/8", b"x", b"Cache-Control: s-maxage=1\r\n")
    site.ask("/pages/8")
    assert b"ttl=" in (site.ask("/pages/8").get("cache-status") or b"")
    site.page("/pages/9", b"x", b"Cache-Control: s-maxage=0\r\n")
    site.ask("/pages/9")
    assert not is_hit(site.ask("/pages/9"))
