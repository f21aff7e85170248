"""What the gateway refuses for what it is: forged requests, bodies of wrong types, cookie bombs.

SECURITY-CHECKS 9, 30, 31, 32, 34, 35; REQUIREMENTS D2, D4; DESIGN section 7. Real gateways, over
TLS where the check is about sites; an origin that tells what it got.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.sync.server import ServerConnection, serve

from fakes.authority import Authority
from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin
from fakes.raw_client import account, field
from fakes.wire import Response

HOST = "weddinglk.test"
OWN = f"https://{HOST}"
POLICY = """
[listeners.tls]
address = "127.0.0.1:0"
tls = {{ certificate = "{certificate}", key = "{key}" }}
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[pools.app]
instances = ["{origin}"]
health.kind = "tcp"
affinity = {{ cookie = "who", keys = "env:AFFINITY_KEYS" }}
[pools.chat]
instances = ["{chat}"]
health.kind = "tcp"
[csrf]
trusted_origins = ["https://partner.test"]
[cookies.named.theme]
[cookies.named.basket]
[classes.page]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[[routes]]
path = "/pages/*"
pool = "app"
data_class = "page"
[[routes]]
path = "/api/*"
pool = "app"
accepts = ["application/json"]
[[routes]]
path = "/open/*"
pool = "app"
cors = {{ origins = ["*"], methods = ["GET", "POST"] }}
[[routes]]
path = "/read/*"
pool = "app"
cors = {{ origins = ["https://reader.test"] }}
[[routes]]
path = "/mine/*"
pool = "app"
cookies = ["theme"]
[[routes]]
path = "/moved/*"
pool = "app"
rewrite = "/{{rest}}"
[[routes]]
path = "/chat"
pool = "chat"
[[routes]]
path = "/*"
pool = "app"
"""


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def backend() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.stop()


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, backend: Origin, authority: Authority
) -> Iterator[GatewayProcess]:
    chat = serve(echo, "127.0.0.1", 0, compression=None)
    threading.Thread(target=chat.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("guarded")
    process = GatewayProcess(
        folder,
        policy=POLICY.format(
            origin=backend.address,
            chat=f"127.0.0.1:{chat.socket.getsockname()[1]}",
            certificate=authority.certificate_path,
            key=authority.key_path,
        ),
        environment={"AFFINITY_KEYS": "k" * 40},
    )
    yield process
    process.stop()
    chat.shutdown()


class Site:
    """The site as a browser reaches it, over TLS."""

    def __init__(self, gateway: GatewayProcess, backend: Origin, context: ssl.SSLContext) -> None:
        self.gateway = gateway
        self.backend = backend
        self.context = context

    def ask(
        self, path: str, fields: str = "", *, method: str = "GET", body: bytes = b""
    ) -> Response:
        with self.gateway.connect("tls", tls=self.context) as client:
            return client.get(path, fields, method=method, body=body)

    def post(self, path: str, fields: str = "", body: bytes = b"a=1") -> Response:
        return self.ask(path, fields, method="POST", body=body)

    def refusals(self, reason: str) -> float:
        return self.gateway.metric(f'poruwa_refusals_total{{reason="{reason}"}}')

    def is_refused(self, response: Response, status: int, path: str, reason: str) -> None:
        """Check that a request was answered here, is not to be stored, and was counted."""
        assert response.status == status, response.raw
        assert response.get("cache-control") == b"no-store"
        assert not response.all("set-cookie")
        assert self.backend.seen(path) == []
        assert self.refusals(reason) >= 1


@pytest.fixture
def site(guarded: GatewayProcess, backend: Origin, authority: Authority) -> Site:
    backend.calls.clear()
    return Site(guarded, backend, authority.context)


# Forged requests.


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("cookies", ["", "Cookie: a=1\r\n"])
@pytest.mark.parametrize("fetch_site", ["cross-site", "same-site"])
def test_what_browsers_say_is_of_another_site_is_refused(
    site: Site, method: str, cookies: str, fetch_site: str
) -> None:
    """Check 30; 32: with or without a session, so also a sign-in."""
    fields = f"Sec-Fetch-Site: {fetch_site}\r\n{cookies}"
    answer = site.ask("/sign-in", fields, method=method, body=b"a=1")
    site.is_refused(answer, 403, "/sign-in", f"csrf-{fetch_site}")


def test_refused_as_a_page_or_a_problem_document(site: Site) -> None:
    page = site.post("/sign-in", "Sec-Fetch-Site: cross-site\r\nAccept: text/html\r\n")
    assert b"<!doctype html>" in page.body.lower()
    problem = site.post("/sign-in", "Sec-Fetch-Site: cross-site\r\nAccept: application/json\r\n")
    assert json.loads(problem.body)["status"] == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "null",
        f"http://{HOST}",  # the same host without TLS: whoever is on the wire
        f"https://{HOST}:8443",
        f"https://{HOST}.evil.test",
        f"https://evil.test, {OWN}",
        "",
    ],
)
def test_foreign_origins_are_refused(site: Site, origin: str) -> None:
    """Check 31."""
    answer = site.post("/sign-in", f"Origin: {origin}\r\n")
    site.is_refused(answer, 403, "/sign-in", "csrf-foreign-origin")


def test_fields_that_contradict_each_other_are_refused(site: Site) -> None:
    answer = site.post("/sign-in", f"Origin: {OWN}\r\nSec-Fetch-Site: cross-site\r\n")
    site.is_refused(answer, 403, "/sign-in", "csrf-contradiction")


@pytest.mark.parametrize(
    "fields",
    [
        f"Origin: {OWN}\r\nSec-Fetch-Site: same-origin\r\nCookie: a=1\r\n",
        f"Origin: {OWN}\r\nCookie: a=1\r\n",
        f"Origin: {OWN.upper()}\r\n",
        "Sec-Fetch-Site: same-origin\r\nCookie: a=1\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Origin: https://partner.test\r\nSec-Fetch-Site: cross-site\r\nCookie: a=1\r\n",
        "",  # a program
        "Cookie: a=1\r\nAuthorization: Bearer abc\r\n",  # a program that keeps cookies
    ],
)
def test_own_pages_and_programs_pass(site: Site, fields: str) -> None:
    answer = account(site.post("/sign-in", fields))
    assert answer["body"] == "a=1"
    assert field(answer, "poruwa-csrf") is None


@pytest.mark.parametrize("credentials", ["", "Authorization: Basic YTpi\r\n"])
def test_with_cookies_and_no_word_of_the_browser_a_token_is_needed(
    site: Site, credentials: str
) -> None:
    """Check 31: both fields absent, with a cookie."""
    answer = account(site.post("/sign-in", f"Cookie: a=1\r\n{credentials}"))
    assert field(answer, "poruwa-csrf") == "token-needed"


def test_pages_can_be_asked_for_from_everywhere(site: Site) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        fields = "Origin: https://evil.test\r\nSec-Fetch-Site: cross-site\r\nCookie: a=1\r\n"
        assert site.ask("/linked", fields, method=method).status == 200


def test_plain_http_is_another_origin_than_tls(site: Site) -> None:
    own = site.gateway.get(
        "/x", f"Origin: http://{HOST}\r\n", method="POST", body=b"a", listener="http"
    )
    assert own.status == 200
    other = site.gateway.get("/x", f"Origin: {OWN}\r\n", method="POST", listener="http")
    assert other.status == 403


def test_cors_lets_in_whom_it_names_for_the_methods_it_names(site: Site) -> None:
    foreign = "Origin: https://reader.test\r\nSec-Fetch-Site: cross-site\r\n"
    assert site.post("/open/a", foreign).status == 200
    assert site.post("/open/a", f"{foreign}Cookie: a=1\r\n").status == 403
    assert site.ask("/open/a", foreign, method="DELETE").status == 403
    assert site.post("/read/a", foreign).status == 403  # it may read, which is all that is said
    assert site.ask("/read/a", foreign).status == 200


def test_a_refused_request_does_not_reach_the_cache(site: Site) -> None:
    """An unsafe request invalidates its URL; a forged one must not."""
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    site.backend.on("/pages/kept", page)
    assert site.ask("/pages/kept").status == 200
    assert site.post("/pages/kept", "Sec-Fetch-Site: cross-site\r\n").status == 403
    assert b"hit" in (site.ask("/pages/kept").get("cache-status") or b"")
    assert len(site.backend.seen("/pages/kept")) == 1


def test_refusals_are_logged_with_reason_and_origin(site: Site) -> None:
    answer = site.post("/logged", "Origin: https://evil.test\r\n")
    wanted = (answer.get("x-request-id") or b"").decode()
    event = site.gateway.await_log(lambda line: line.get("request_id") == wanted)
    assert event["reason"] == "csrf-foreign-origin"
    assert event["origin"] == "https://evil.test"


# WebSockets.


def test_websockets_of_foreign_pages_are_refused(site: Site) -> None:
    """Check 35: before the handshake; browsers let every page open one, with cookies."""

    async def talk(origin: str | None, **fields: str) -> str:
        port = site.gateway.addresses["tls"].rpartition(":")[2]
        async with connect(
            f"wss://{HOST}/chat",
            host="127.0.0.1",
            port=int(port),
            ssl=site.context,
            origin=origin,  # type: ignore[arg-type]
            additional_headers=fields,
            compression=None,
        ) as client:
            await client.send("a")
            return str(await asyncio.wait_for(client.recv(), 5))

    # The library writes the port of the URL in Host: 443, which browsers leave out.
    assert asyncio.run(talk(OWN, Cookie="a=1")) == "a"
    assert asyncio.run(talk("https://partner.test")) == "a"
    assert asyncio.run(talk(None)) == "a"
    for origin in ("https://evil.test", "null", f"http://{HOST}"):
        with pytest.raises(InvalidStatus) as caught:
            asyncio.run(talk(origin, Cookie="a=1"))
        assert caught.value.response.status_code == 403
    assert site.refusals("csrf-foreign-origin") >= 3


# Types of bodies.


@pytest.mark.parametrize(
    "stated",
    [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=application/json\r\n",
        "Content-Type: text/plain; application/json\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type:\r\n",
        "",
    ],
)
def test_json_routes_take_json_only(site: Site, stated: str) -> None:
    """Check 34."""
    for method in ("POST", "PATCH", "GET"):
        answer = site.ask("/api/a", stated, method=method, body=b"{}")
        site.is_refused(answer, 415, "/api/a", "type-not-accepted")
        named = "accept-patch" if method == "PATCH" else "accept"  # RFC 5789 section 2.2
        assert answer.get(named) == b"application/json"


def test_json_reaches_json_routes(site: Site) -> None:
    for stated in ("application/json", "Application/JSON;charset=utf-8", "application/json ; a=b"):
        answer = account(site.post("/api/a", f"Content-Type: {stated}\r\n", b"{}"))
        assert answer["body"] == "{}"
    assert site.post("/api/a", body=b"").status == 200
    assert site.ask("/api/a").status == 200
    chunked = "Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
    assert site.ask("/api/a", chunked, body=b"").status == 415


def test_method_overrides_are_not_passed_on(site: Site) -> None:
    """Check 34: X-HTTP-Method-Override is ignored."""
    names = (
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
    )
    lines = "".join(f"{name}: DELETE\r\n" for name in names)
    answer = account(site.post("/override", lines))
    assert answer["method"] == "POST"
    assert "DELETE" not in str(answer["fields"])


# What is said among ourselves.


@pytest.mark.parametrize(
    "name",
    [
        "Poruwa-Csrf",
        "poruwa_csrf",
        "PORUWA-CSRF",
        "Poruwa-Position",
        "Poruwa-Anything",
        "Poruwa-" + "x" * 80,
    ],
)
def test_clients_cannot_say_fields_of_ours(site: Site, name: str) -> None:
    kept = "X-Poruwa: 1\r\nPoruwan: 1\r\nPragma: p\r\n"
    for answer in (
        account(site.ask("/fields", f"{name}: token-needed\r\n{kept}")),
        account(site.ask("/pages/fields" + name, f"{name}: token-needed\r\n")),
    ):
        assert "token-needed" not in str(answer["fields"])
    answer = account(site.ask("/fields", f"{name}: token-needed\r\n{kept}"))
    assert [field(answer, each) for each in ("x-poruwa", "poruwan", "pragma")] == ["1", "1", "p"]


@pytest.mark.parametrize(
    "path",
    [
        "/_poruwa",
        "/_poruwa/",
        "/_poruwa/metrics",
        "/_poruwa/metrics?a=/_poruwa/session",
        "/%5Fporuwa/metrics",
        "/_%70oruwa/metrics",
        "/%5f%70%6f%72%75%77%61/%6detrics",
        "//_poruwa/metrics",
        "/_poruwa//session",
        "/_poruwa/session/",
        "/_poruwa/session;a",
        "/_poruwa;a/metrics",
        "/_poruwa/reports",
        "/moved/_poruwa/metrics",
        "/moved/%5Fporuwa/metrics",
    ],
)
def test_paths_of_ours_are_closed_from_outside(site: Site, path: str) -> None:
    answer = site.ask(path)
    assert answer.status == 404, answer.raw
    assert answer.get("cache-control") == b"no-store"
    assert site.backend.calls == []


@pytest.mark.parametrize(
    "path", ["/x/../_poruwa/metrics", "/_poruwa%2fmetrics", "/%2F_poruwa/metrics", "/./_poruwa/a"]
)
def test_spellings_that_could_be_read_as_ours_are_refused(site: Site, path: str) -> None:
    assert site.ask(path).status == 400
    assert site.backend.calls == []


def test_paths_that_only_look_like_ours_are_the_apps(site: Site) -> None:
    for path in ("/_poruwan", "/a/_poruwa/metrics", "/poruwa/metrics", "//a/_poruwa"):
        assert site.ask(path).status == 200


def test_who_somebody_is_can_be_asked(site: Site) -> None:
    """``/_poruwa/session`` goes to the app, with cookies, and is kept by nobody."""
    for _ in range(2):
        answer = site.ask("/_poruwa/session", "Cookie: a=1\r\n")
        assert field(account(answer), "cookie") == "a=1"
        assert answer.get("cache-control") == b"no-store"
    assert len(site.backend.seen("/_poruwa/session")) == 2
    assert site.ask("/_poruwa/session", method="HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert site.ask("/_poruwa/session", method=method).status == 404
    assert {call.method for call in site.backend.seen("/_poruwa/session")} == {b"GET", b"HEAD"}


# Cookie bombs.


@pytest.mark.parametrize(
    "cookies",
    [
        "Cookie: " + "; ".join(f"c{number}=1" for number in range(181)) + "\r\n",
        "Cookie: " + ";".join("a=" for _ in range(400)) + "\r\n",
        "Cookie: " + ";" * 180 + "\r\n",
        "Cookie: a;b;c;d\r\n" * 50,
        "Cookie: " + "; ".join(f"c{number}={'x' * 4000}" for number in range(5)) + "\r\n",
        "".join(f"Cookie: c{number}={'x' * 4000}\r\n" for number in range(5)),
        "Cookie: " + "; ".join(f"c{number}={'x' * 4000}" for number in range(40)) + "\r\n",
    ],
    ids=["many", "empty", "separators", "many-in-lines", "large", "in-lines", "beyond-every-limit"],
)
@pytest.mark.parametrize("path", ["/", "/pages/bombed", "/_poruwa/session"])
def test_a_cookie_bomb_gets_a_page_that_clears_it(site: Site, path: str, cookies: str) -> None:
    """Check 9: by what the page says, a browser can come back."""
    answer = site.ask(path, f"Accept: text/html\r\n{cookies}")
    assert answer.status == 431
    assert answer.get("clear-site-data") == b'"cookies"'
    assert answer.get("cache-control") == b"no-store"
    assert b"too many cookies" in answer.body
    assert site.backend.calls == []
    assert site.ask(path).status == 200


def test_many_cookies_of_an_honest_browser_pass(site: Site) -> None:
    cookies = "; ".join(f"c{number}={'x' * 80}" for number in range(180))
    accept = "Accept: " + ";".join("a/b" for _ in range(200)) + "\r\n"
    assert len(cookies) < 16 * 1024
    answer = account(site.ask("/", f"Cookie: {cookies}\r\n{accept}"))
    assert field(answer, "cookie") == cookies


# Cookies that answers may set.


def test_answers_set_only_the_cookies_their_route_names(site: Site) -> None:
    names = ("theme", "__Host-theme", "basket", "__Secure-basket", "theme2", "")
    lines = "".join(f"Set-Cookie: {name}=1; Path=/; Secure\r\n" for name in names)
    lines += "set-cookie: nameless; basket\r\nX-Kept: 1\r\n"
    head = f"HTTP/1.1 200 OK\r\n{lines}Cache-Control: no-store\r\nContent-Length: 0\r\n\r\n"
    for path in ("/mine/a", "/all"):
        site.backend.on(path, head.encode())
    answer = site.ask("/mine/a")
    assert [each.partition(b"=")[0] for each in answer.all("set-cookie")] == [
        b"theme",
        b"__Host-theme",
        b"__Host-Http-who",  # the gateway's own
    ]
    assert answer.get("x-kept") == b"1"
    assert len(site.ask("/all").all("set-cookie")) == len(names) + 2
    site.gateway.await_log(
        lambda line: line.get("cookie") == "basket" and "removed" in line["event"]
    )
    assert site.gateway.metric('poruwa_events_total{event="cookies_removed"}') == 5


# Without a policy.


def test_without_a_policy_nothing_is_refused(
    backend: Origin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A plain proxy asks no questions (``--upstream``, with and without ``--cache``)."""
    for further in ((), ("--cache",)):
        plain = GatewayProcess(
            tmp_path_factory.mktemp("plain"), "--upstream", backend.address, *further
        )
        try:
            answers = [
                plain.get("/x", "Origin: null\r\nSec-Fetch-Site: cross-site\r\n", method="POST"),
                plain.get("/_poruwa/metrics"),
                plain.get("/", "Cookie: " + "; ".join(f"c{n}=1" for n in range(300)) + "\r\n"),
            ]
        finally:
            plain.stop()
        assert [answer.status for answer in answers] == [200, 200, 200]
