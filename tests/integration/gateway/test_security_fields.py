"""Security fields on every response of a policy, and on none without (D7; checks 43, 44).

A real gateway of two workers before a scripted origin, plain and over TLS: what instances answer,
what is stored, and all that the gateway says itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.authority import TRUSTED_SOURCE, Authority
from fakes.gateway_process import GatewayProcess, policy_head
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.wire import Response

POLICY = """\
queue = "200ms"
[site]
domain = "weddinglk.test"
[trust]
proxies = ["{trusted}/32"]
[limits]
header = "4KiB"
body = "64KiB"
[timeouts]
header = "500ms"
connect = "300ms"
first_byte = "500ms"
[retry]
attempts = 0
statuses = []
[pools.app]
instances = ["{origin}"]
health.kind = "tcp"
[pools.away]
instances = ["{away}"]
health.kind = "tcp"
health.interval = "200ms"
health.fast_interval = "200ms"
health.timeout = "100ms"
[classes.page]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[classes.brief]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1s" }}
[[routes]]
path = "/pages/*"
pool = "app"
data_class = "page"
[[routes]]
path = "/brief/*"
pool = "app"
data_class = "brief"
[[routes]]
path = "/framed/*"
pool = "app"
data_class = "page"
[routes.headers]
frame_options = "SAMEORIGIN"
content_security_policy = "default-src 'self'; frame-ancestors 'self'"
cross_origin_embedder_policy = false
[[routes]]
path = "/api/*"
methods = ["GET", "POST", "OPTIONS"]
pool = "app"
cors = {{ origins = ["https://partner.example"], methods = ["POST"] }}
[[routes]]
path = "/old"
redirect = {{ to = "/new" }}
[[routes]]
path = "/static/*"
static = {{ folder = "files" }}
[[routes]]
path = "/away"
pool = "away"
[[routes]]
path = "/live/*"
methods = ["GET", "HEAD"]
pool = "app"
"""
CSP = (
    "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
    "report-to default; report-uri /_poruwa/reports"
)
FIELDS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": CSP,
    "Reporting-Endpoints": 'default="/_poruwa/reports"',
}
HSTS = "Strict-Transport-Security"
HSTS_VALUE = b"max-age=31536000; includeSubDomains"
OWN = (
    b"X-Frame-Options: SAMEORIGIN\r\nReferrer-Policy: no-referrer\r\n"
    b"Content-Security-Policy: default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    b"form-action 'none'\r\nStrict-Transport-Security: max-age=1\r\n"
)
OWN_CSP = (
    b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; "
    b"report-to default; report-uri /_poruwa/reports"
)
ETAG = b'ETag: "one"\r\n'


class Site:
    """A gateway under a policy, its origin, and whom its certificate is trusted by."""

    def __init__(self, folder: Path) -> None:
        self.origin = Origin()
        self.authority = Authority(folder)
        files = folder / "files"
        files.mkdir()
        (files / "site.css").write_text("body { color: teal }\n")
        (files / "large.bin").write_bytes(b"x" * 200_000)
        away = Origin()
        policy = POLICY.format(
            origin=self.origin.address, away=away.address, trusted=TRUSTED_SOURCE
        )
        self.gateway = GatewayProcess(
            folder, policy=policy_head(workers=2, authority=self.authority) + policy
        )
        away.stop()
        self.gateway.until(lambda: self.gateway.get("/away").status == 503, "the pool to be away")
        for path in ("/pages/plain", "/brief/page", "/framed/page"):
            self.page(path)
        self.page("/pages/own", OWN)
        self.page("/live/own", OWN)

    def page(self, path: str, fields: bytes = b"") -> None:
        self.origin.on(
            path,
            lambda call: call.reply(
                b"<p>page</p>" * 500, fields=b"Content-Type: text/html\r\n" + ETAG + fields
            ),
        )

    def connect(self, *, is_secure: bool) -> RawClient:
        if is_secure:
            return self.gateway.connect("tls", tls=self.authority.context)
        return self.gateway.connect("http")

    def stop(self) -> None:
        self.gateway.stop()
        self.origin.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(tmp_path_factory.mktemp("security-fields"))
    yield started
    started.stop()


def check_fields(
    answer: Response, *, is_secure: bool = False, without: tuple[str, ...] = ()
) -> None:
    """Each field once, with the policy's value; HSTS over TLS and nowhere else."""
    for name, value in FIELDS.items():
        if name not in without:
            assert answer.get(name) == value.encode(), (name, answer.raw)
    assert answer.get(HSTS) == (HSTS_VALUE if is_secure else None), answer.raw


def check_error(answer: Response, status: int, *, is_secure: bool = False) -> None:
    """As above, with the page's own Content-Security-Policy, which is stricter."""
    assert answer.status == status, answer.raw
    check_fields(answer, is_secure=is_secure, without=("Content-Security-Policy",))
    csp = answer.get("content-security-policy") or b""
    assert csp.startswith(b"default-src 'none'; ")
    assert csp.endswith(b"report-to default; report-uri /_poruwa/reports")


SECURE = pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])


@SECURE
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_instances_answer(site: Site, method: str, is_secure: bool) -> None:
    """Check 43."""
    with site.connect(is_secure=is_secure) as client:
        check_fields(client.get("/live/account", method=method), is_secure=is_secure)


@SECURE
def test_a_stored_response_in_all_its_shapes(site: Site, is_secure: bool) -> None:
    """Check 43: miss, hit, HEAD, 304, 206, 416, and a content coding."""
    with site.connect(is_secure=is_secure) as client:
        first = client.get("/pages/plain")
        check_fields(first, is_secure=is_secure)
        for method, fields, status in [
            ("GET", "", 200),
            ("HEAD", "", 200),
            ("GET", 'If-None-Match: "one"\r\n', 304),
            ("HEAD", 'If-None-Match: "one"\r\n', 304),
            ("GET", "Range: bytes=2-5\r\n", 206),
            ("GET", "Range: bytes=2-5,20-30\r\n", 206),
            ("GET", "Range: bytes=999999-\r\n", 416),
        ]:
            answer = client.get("/pages/plain", fields, method=method)
            assert answer.status == status, (fields, answer.raw)
            check_fields(answer, is_secure=is_secure)
        hit = client.get("/pages/plain")
        assert b"hit" in (hit.get("cache-status") or b"")

        def is_encoded() -> bool:
            answer = client.get("/pages/plain", "Accept-Encoding: gzip\r\n")
            check_fields(answer, is_secure=is_secure)
            return answer.get("content-encoding") == b"gzip"

        site.gateway.until(is_encoded, "the compressed variant")
        encoded = client.get("/pages/plain", "Accept-Encoding: gzip\r\n")
        assert encoded.get("etag") == b'"one-gzip"'


def test_plain_http_never_gets_what_was_stored_for_tls(site: Site) -> None:
    """Check 43, RFC 6797 section 7.2: HSTS over TLS only, from the cache too, either way round."""
    site.page("/pages/two-schemes")
    for is_secure in (True, False, True, False):
        with site.connect(is_secure=is_secure) as client:
            check_fields(client.get("/pages/two-schemes"), is_secure=is_secure)


def test_hsts_behind_a_trusted_hop_that_ended_tls(site: Site) -> None:
    fields = "X-Forwarded-Proto: https\r\n"
    trusted = site.gateway.get("/live/a", fields, source=TRUSTED_SOURCE)
    check_fields(trusted, is_secure=True)
    check_fields(site.gateway.get("/live/a", fields))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8443", "[::1]:8443"])
@pytest.mark.parametrize("path", ["/live/a", "/pages/plain", "/nowhere"])
def test_no_hsts_to_who_asks_for_localhost_or_an_address(site: Site, host: str, path: str) -> None:
    """RFC 6797 section 8.1.1; all other services of a developer's machine would be bound by it."""
    with site.connect(is_secure=True) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = client.response()
    assert answer.get(HSTS) is None
    assert answer.get("x-frame-options") == b"DENY"


@SECURE
@pytest.mark.parametrize("path", ["/live/own", "/pages/own"])
def test_an_applications_own_stricter_value_stands(site: Site, path: str, is_secure: bool) -> None:
    """Check 44: and a laxer one does not; proxied, as a miss and as a hit."""
    with site.connect(is_secure=is_secure) as client:
        for _ in range(2):
            answer = client.get(path)
            check_fields(
                answer,
                is_secure=is_secure,
                without=("Referrer-Policy", "Content-Security-Policy"),
            )
            assert answer.get("referrer-policy") == b"no-referrer"
            assert answer.get("content-security-policy") == OWN_CSP


def test_a_laxer_policy_of_a_page_is_enforced_beside_the_sites(site: Site) -> None:
    """Check 44: browsers enforce both (CSP section 8.1)."""
    site.page("/live/lax", b"Content-Security-Policy: script-src *\r\n")
    answer = site.gateway.get("/live/lax")
    assert answer.all("content-security-policy") == [b"script-src *", CSP.encode()]


def test_fields_that_are_not_passed_on_are_not_heeded(site: Site) -> None:
    site.page(
        "/live/hop", b"Connection: X-Frame-Options\r\nX-Frame-Options: DENY\r\n"
        b"Referrer-Policy: unsafe-url\r\nReferrer-Policy: no-referrer\r\n",
    )  # fmt: skip
    check_fields(site.gateway.get("/live/hop"), without=("Referrer-Policy",))


def test_a_validated_response_keeps_them(site: Site) -> None:
    """RFC 9111 section 3.2: what a 304 says of them stands beside the policy's, once."""
    asked: list[bytes | None] = []

    def answer(call: Call) -> None:
        asked.append(call.request.get("if-none-match"))
        if asked[-1] is None:
            call.reply(b"page", fields=ETAG)
        else:
            call.send(
                b"HTTP/1.1 304 Not Modified\r\n" + ETAG + b"X-Frame-Options: SAMEORIGIN\r\n"
                b"Strict-Transport-Security: max-age=1\r\n"
                b"Content-Security-Policy: script-src *\r\n\r\n"
            )

    site.origin.on("/brief/page", answer)
    site.gateway.get("/brief/page")

    def is_validated() -> bool:
        found = site.gateway.get("/brief/page")
        return len(asked) > 1 and len(found.all("content-security-policy")) > 1

    site.gateway.until(is_validated, "the validated response")
    found = site.gateway.get("/brief/page")
    check_fields(found, without=("Content-Security-Policy",))
    assert sorted(found.all("content-security-policy")) == sorted([CSP.encode(), b"script-src *"])


def test_a_route_has_some_of_its_own_and_the_rest_of_the_sites(site: Site) -> None:
    """D7: a policy per route."""
    for _ in range(2):
        answer = site.gateway.get("/framed/page")
        check_fields(
            answer,
            without=(
                "X-Frame-Options", "Content-Security-Policy", "Cross-Origin-Embedder-Policy",
            ),
        )  # fmt: skip
        assert answer.get("x-frame-options") == b"SAMEORIGIN"
        assert answer.get("cross-origin-embedder-policy") is None
        assert answer.get("content-security-policy") == (
            b"default-src 'self'; frame-ancestors 'self'; "
            b"report-to default; report-uri /_poruwa/reports"
        )


@SECURE
def test_redirects_preflights_and_files(site: Site, is_secure: bool) -> None:
    """Check 43: what the gateway answers without an instance."""
    wish = "Origin: https://partner.example\r\nAccess-Control-Request-Method: POST\r\n"
    strange = wish.replace("partner", "evil")
    with site.connect(is_secure=is_secure) as client:
        for method, path, fields, status in [
            ("GET", "/old", "", 308),
            ("OPTIONS", "/api/a", wish, 204),
            ("OPTIONS", "/api/a", strange, 403),
            ("GET", "/api/a", "Origin: https://partner.example\r\n", 200),
            ("GET", "/static/site.css", "", 200),
            ("HEAD", "/static/site.css", "", 200),
            ("GET", "/static/site.css", "Range: bytes=0-3\r\n", 206),
            ("GET", "/static/site.css", "Range: bytes=999-\r\n", 416),
            ("GET", "/static/site.css", "If-None-Match: *\r\n", 304),
            ("GET", "/static/large.bin", "", 200),
        ]:
            answer = client.get(path, fields, method=method)
            assert answer.status == status, answer.raw
            check_fields(answer, is_secure=is_secure)


@SECURE
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_error_pages(site: Site, accept: str, is_secure: bool) -> None:
    """Check 43: 404, 405, 502, 503, 504, and a path that no route could be found for."""
    site.origin.on("/live/broken", b"nonsense\r\n\r\n")
    site.origin.on("/live/silent", lambda call: None)
    for path, method, status in [
        ("/nowhere", "GET", 404),
        ("/static/missing", "GET", 404),
        ("/static/site.css", "PUT", 405),
        ("/live/a", "DELETE", 405),
        ("/live/broken", "GET", 502),
        ("/away", "GET", 503),
        ("/live/silent", "GET", 504),
        ("/live/%00", "GET", 400),
    ]:
        with site.connect(is_secure=is_secure) as client:
            answer = client.get(path, f"Accept: {accept}\r\n", method=method)
            check_error(answer, status, is_secure=is_secure)


@SECURE
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /live/a HTTP/1.1\r\nHost: weddinglk.test\r\nCookie: " + b"a" * 5000, 431),
        (b"GET /live/a HTTP/1.1\r\nHost: wedding", 408),
        (b"GET /live/a HTTP/1.1\r\nHost: weddinglk.test\r\nExpect: more\r\n\r\n", 417),
        (b"POST /api/a HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 99999\r\n\r\n"
         + b"a" * 99999, 413),
    ],
    ids=["no host", "nonsense", "431", "408", "417", "413"],
)  # fmt: skip
def test_refusals_before_there_is_a_route(
    site: Site, data: bytes, status: int, is_secure: bool
) -> None:
    """Check 43."""
    with site.connect(is_secure=is_secure) as client:
        client.send(data)
        answer = client.response()
    check_error(answer, status, is_secure=is_secure)
    if status == 431:  # check 9
        assert answer.get("clear-site-data") == b'"cookies"'


def test_copies_that_a_sibling_worker_lends(site: Site) -> None:
    """Check 43: the same block, whichever worker has it stored."""
    site.page("/pages/lent", OWN)
    seen = set()
    for _ in range(40):  # the kernel spreads connections over both
        answer = site.gateway.get("/pages/lent")
        check_fields(answer, without=("Referrer-Policy", "Content-Security-Policy"))
        seen.add((answer.get("referrer-policy"), answer.get("content-security-policy")))
    assert seen == {(b"no-referrer", OWN_CSP)}
    assert len(site.origin.seen("/pages/lent")) == 1


@pytest.mark.parametrize("arguments", [(), ("--cache",)], ids=["proxy", "cache"])
def test_a_gateway_without_a_policy_adds_nothing(tmp_path: Path, arguments: tuple[str]) -> None:
    """RFC 9110 section 7.7: a proxy of other people's origins, with or without a cache."""
    origin = Origin()
    fields = b"Cache-Control: max-age=60\r\nX-Frame-Options: SAMEORIGIN\r\n"
    origin.on("/page", lambda call: call.reply(b"page", fields=fields))
    gateway = GatewayProcess(tmp_path, "--upstream", origin.address, *arguments)
    for _ in range(2):
        answer = gateway.get("/page")
        assert answer.get("x-frame-options") == b"SAMEORIGIN"
        for name in (*FIELDS, HSTS):
            if name != "X-Frame-Options":
                assert answer.all(name) == [], answer.raw
    gateway.stop()
    origin.stop()
