"""``SecurityMiddleware`` by the routes of a policy, and by what trusted proxies say of the host.

Alone in a Starlette app; behind a real gateway: tests/integration/app/test_pages_of_routes.
Numbers in names are those of the security checks (SECURITY-CHECKS).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

import poruwa
from poruwa.app.security.middleware import SecurityMiddleware
from poruwa.app.security.route_rules import RouteRules
from poruwa.config.load import parse_policy
from poruwa.config.model_security import Headers
from poruwa.rules.csp import block_hash, parse_csp
from poruwa.rules.security_headers import SecurityFields

HOST = "weddinglk.test"
READER = "https://reader.test"
POLICY = """
[site]
domain = "weddinglk.test"
[trust]
proxies = ["10.0.0.0/8"]
[csrf]
trusted_origins = ["https://partner.test"]
[headers]
content_security_policy = "default-src 'self'; object-src 'none'; frame-ancestors 'none'"
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/strict/*"
pool = "app"
headers.content_security_policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
[[routes]]
path = "/maps/*"
pool = "app"
[routes.headers]
content_security_policy = "default-src 'self'; img-src 'self' https://tiles.test; %s"
cross_origin_embedder_policy = false
[[routes]]
path = "/bare"
pool = "app"
headers.content_security_policy = false
[[routes]]
path = "/api/*"
methods = ["GET", "POST"]
pool = "app"
accepts = ["application/json", "application/merge-patch+json"]
cors = { origins = ["https://reader.test"], methods = ["GET", "POST"] }
[[routes]]
path = "/mine/*"
pool = "app"
cors = { origins = ["https://reader.test"], methods = ["GET", "POST"], credentials = true }
[[routes]]
hosts = ["admin.weddinglk.test"]
path = "/*"
pool = "app"
headers.frame_options = "SAMEORIGIN"
headers.content_security_policy = "default-src 'self'; frame-ancestors 'self'"
""".replace("%s", "frame-ancestors 'none'")
SCRIPT = "document.title = 1"
TEMPLATE = Environment(extensions=[poruwa.InlineBlocks], autoescape=True).from_string(
    "<p>page</p>{% script %}document.title = 1{% endscript %}"
)


async def _page(request: Request) -> Response:
    with poruwa.collect_blocks() as blocks:
        html = TEMPLATE.render()
    policy = blocks.policy(poruwa.content_security_policy_of(request))
    fields = {} if policy is None else {"Content-Security-Policy": policy}
    return HTMLResponse(html, headers=fields)


async def _echo(request: Request) -> Response:
    return Response(await request.body())


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


class _Moved:
    """What is within the middleware may change the path; the route is that of the request."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/si/"):
            scope["path"] = scope["path"][3:]
            scope["raw_path"] = scope["raw_path"][3:]
        await self.app(scope, receive, send)


def make_app(**options: Any) -> SecurityMiddleware:
    routes = [
        Route("/{path:path}", _page),
        Route("/{path:path}", _echo, methods=["POST", "PUT", "DELETE"]),
        WebSocketRoute("/{path:path}", _socket),
    ]
    return SecurityMiddleware(_Moved(Starlette(routes=routes)), **options)


def of_policy(policy: str = POLICY, *, has_gateway: bool = False) -> SecurityMiddleware:
    read = parse_policy(policy, "site.toml")
    return make_app(routes=RouteRules(read, has_gateway=has_gateway), proxies=read.trust.proxies)


def open_client(app: Any, *, peer: str = "192.0.2.1") -> httpx.AsyncClient:
    async def listening(scope: Any, receive: Any, send: Any) -> None:
        # httpx states no port, which is ASGI's word for a Unix socket.
        await app({**scope, "server": (HOST, 443)}, receive, send)

    transport = httpx.ASGITransport(listening, client=(peer, 50_000))
    return httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(of_policy()) as opened:
        yield opened


def scope_of(**changes: Any) -> dict[str, Any]:
    """Return a request as a server would give it."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "https", "path": "/form", "query_string": b"", "root_path": "",
        "headers": [], "client": ("192.0.2.1", 5), "server": (HOST, 443),
    }  # fmt: skip
    scope.update(changes)
    scope["headers"] = [(b"host", HOST.encode()), *scope["headers"]]
    return scope


async def sent_by(
    app: Any, scope: dict[str, Any], bodies: Sequence[bytes] = (b"",)
) -> list[Message]:
    """Return what an app sends; the body of the request comes in pieces."""
    left = list(bodies)
    sent: list[Message] = []

    async def receive() -> Message:
        if scope["type"] == "websocket":
            return {"type": "websocket.connect"}
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def policies_of(response: httpx.Response) -> list[dict[str, tuple[str, ...]]]:
    """Return every policy that a browser would enforce."""
    values = response.headers.get_list("content-security-policy")
    return [dict(parse_csp(each)) for value in values for each in value.split(",")]


def runs(response: httpx.Response, script: str = SCRIPT) -> bool:
    """Whether all policies of a page let an inline script of it run (CSP section 6.7.3.3)."""
    return all(
        block_hash(script) in each.get("script-src", each.get("default-src", ()))
        for each in policies_of(response)
    )


@pytest.mark.check(52)
@pytest.mark.parametrize(
    ("path", "directives"),
    [
        ("/", {"default-src": ("'self'",), "object-src": ("'none'",)}),
        ("/strict/a", {"default-src": ("'none'",), "style-src": ("'self'",)}),
        ("/maps/a", {"default-src": ("'self'",), "img-src": ("'self'", "https://tiles.test")}),
        ("/%73trict/a", {"default-src": ("'none'",), "style-src": ("'self'",)}),
    ],
)
async def test_52_a_page_adds_its_hashes_to_the_policy_of_its_route(
    client: httpx.AsyncClient, path: str, directives: dict[str, tuple[str, ...]]
) -> None:
    response = await client.get(path)
    assert runs(response)
    assert not runs(response, "alert(1)")
    (policy,) = policies_of(response)
    sources = policy.pop("script-src")
    assert sources[-1] == block_hash(SCRIPT)
    assert policy == {**directives, "frame-ancestors": ("'none'",)}


async def test_a_route_without_a_policy_gets_none(client: httpx.AsyncClient) -> None:
    response = await client.get("/bare")
    assert response.headers.get_list("content-security-policy") == []
    assert response.headers["x-frame-options"] == "DENY"


async def test_fields_of_a_route_are_those_of_its_section(client: httpx.AsyncClient) -> None:
    site, maps = await client.get("/"), await client.get("/maps/a")
    assert site.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "cross-origin-embedder-policy" not in maps.headers
    admin = await client.get("/", headers={"Host": "Admin.weddinglk.test:443"})
    assert admin.headers["x-frame-options"] == "SAMEORIGIN"
    assert policies_of(admin)[0]["frame-ancestors"] == ("'self'",)


async def test_the_route_is_that_of_the_request_whatever_the_app_makes_of_its_path(
    client: httpx.AsyncClient,
) -> None:
    """``/si/strict/a`` is none of ``/strict/*`` for the gateway, and so not here."""
    (policy,) = policies_of(await client.get("/si/strict/a"))
    assert policy["object-src"] == ("'none'",)


@pytest.mark.check(48)
@pytest.mark.parametrize(
    "path", ["/api%2fa", "/strict/../api/a", "/api/%2e%2e/a", "/api/..;/a", "/a%00", "/a%5cb"]
)
async def test_48_an_address_that_two_programs_read_differently_is_refused(path: str) -> None:
    """As the gateway does: else ``accepts`` of ``/api/*`` would not hold for ``/api%2fa``."""
    scope = scope_of(path=unquote(path), raw_path=path.encode())
    start = (await sent_by(of_policy(), scope))[0]
    fields = dict(start["headers"])
    assert start["status"] == 400
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"


@pytest.mark.check(34)
@pytest.mark.parametrize(
    ("path", "stated", "status"),
    [
        ("/api/a", "application/json", 200),
        ("/api/a", "Application/JSON; charset=utf-8", 200),
        ("/api/a", "application/merge-patch+json", 200),
        ("/api/a", "text/plain", 415),
        ("/api/a", "application/x-www-form-urlencoded", 415),
        ("/api/a", "text/plain; application/json", 415),
        ("/api/a", "application/json, text/plain", 415),
        ("/api/a", None, 415),
        ("/%61pi/a", "text/plain", 415),
        ("/form", "text/plain", 200),
    ],
)
async def test_34_alone_it_holds_bodies_to_what_their_route_accepts(
    client: httpx.AsyncClient, path: str, stated: str | None, status: int
) -> None:
    fields = {"Sec-Fetch-Site": "same-origin"} | ({"Content-Type": stated} if stated else {})
    response = await client.post(path, headers=fields, content=b"{}")
    assert response.status_code == status
    if status == 415:
        assert response.headers["accept"] == "application/json, application/merge-patch+json"
        assert response.headers["cache-control"] == "no-store"
    else:
        assert response.content == b"{}"


@pytest.mark.check(34)
@pytest.mark.parametrize("messages", [[b""], [b"", b"{}"], [b"{}"]])
async def test_34_a_body_without_a_length_counts_as_one(messages: Sequence[bytes]) -> None:
    """As HTTP/2 carries it; a request without any body states no type."""
    scope = scope_of(http_version="2", path="/api/a")
    start = (await sent_by(of_policy(), scope, messages))[0]
    assert start["status"] == (200 if messages == [b""] else 415)


async def test_34_behind_a_gateway_it_is_the_gateways_to_say() -> None:
    async with open_client(of_policy(has_gateway=True)) as client:
        response = await client.post("/api/a", content=b"x", headers={"Content-Type": "text/plain"})
    assert response.status_code == 200
    assert "x-frame-options" not in response.headers
    unguarded = of_policy(POLICY + "[gateway]\nguard = false\n", has_gateway=True)
    async with open_client(unguarded) as client:
        response = await client.post("/api/a", content=b"x", headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


FOREIGN = {"Sec-Fetch-Site": "cross-site"}
COOKIE = {"Cookie": "a=1"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.check(30, 31)
@pytest.mark.parametrize("has_gateway", [True, False])
@pytest.mark.parametrize(
    ("path", "origin", "fields", "status"),
    [
        ("/api/a", READER, {}, 200),
        ("/api/a", READER, COOKIE, 403),
        ("/mine/a", READER, COOKIE, 200),
        ("/mine/a", "https://evil.test", COOKIE, 403),
        ("/form", READER, {}, 403),
        ("/form", "https://partner.test", COOKIE, 200),
        ("/api/a", "null", {}, 403),
        ("/api/a", "https://reader.test:8443", {}, 403),
    ],
)
async def test_31_origins_of_a_routes_cors_are_let_in_as_the_gateway_does(
    path: str, origin: str, fields: dict[str, str], status: int, has_gateway: bool
) -> None:
    async with open_client(of_policy(has_gateway=has_gateway)) as client:
        response = await client.post(
            path, headers={**FOREIGN, **JSON, **fields, "Origin": origin}, content=b"{}"
        )
        assert response.status_code == status
        put = await client.put(
            path, headers={**FOREIGN, **JSON, **fields, "Origin": origin}, content=b"{}"
        )
        assert put.status_code == (403 if origin != "https://partner.test" else 200)


@pytest.mark.check(30, 53)
@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.1"])
@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ({"X-Forwarded-Host": "www.weddinglk.test"}, "https://www.weddinglk.test"),
        ({"X-Forwarded-Host": "www.weddinglk.test:8443"}, "https://www.weddinglk.test:8443"),
        ({"X-Forwarded-Host": "www.weddinglk.test:443"}, "https://www.weddinglk.test"),
        (
            {"X-Forwarded-Host": "www.weddinglk.test", "X-Forwarded-Proto": "http"},
            "http://www.weddinglk.test",
        ),
        ({"Forwarded": 'for=1.2.3.4;host="www.weddinglk.test:8443";proto=https'},
         "https://www.weddinglk.test:8443"),
        ({"Forwarded": "for=1.2.3.4;proto=http"}, f"http://{HOST}"),
        ({"X-Forwarded-Host": "evil.test, www.weddinglk.test"}, "https://www.weddinglk.test"),
    ],
)  # fmt: skip
async def test_53_a_trusted_proxy_alone_says_what_the_sites_origin_is(
    peer: str, said: dict[str, str], origin: str
) -> None:
    """As the gateway reads it; from others it is what any client may write (check 49)."""
    is_trusted = peer.startswith("10.")
    own = f"https://{HOST}"
    async with open_client(of_policy(), peer=peer) as client:
        for each, is_own in ((origin, is_trusted), (own, not is_trusted)):
            fields = {**said, "Origin": each, "Sec-Fetch-Site": "same-origin"}
            response = await client.post("/form", headers=fields)
            assert response.status_code == (200 if is_own else 403), each


@pytest.mark.check(43, 53)
async def test_43_hsts_goes_by_what_the_proxy_says_of_the_scheme() -> None:
    """RFC 6797 section 7.2: over TLS alone, as the client sees it."""
    app = of_policy()
    for peer, scheme, said, is_there in [
        ("10.1.2.3", "http", "https", True),
        ("10.1.2.3", "https", "http", False),
        ("192.0.2.1", "http", "https", False),
        ("192.0.2.1", "https", "http", True),
    ]:
        async with open_client(app, peer=peer) as client:
            response = await client.get(f"{scheme}://{HOST}/", headers={"X-Forwarded-Proto": said})
        assert ("strict-transport-security" in response.headers) is is_there, (peer, scheme)


@pytest.mark.parametrize(
    ("server", "client", "proxies", "is_trusted"),
    [
        (("/run/app.sock", None), None, ["unix"], True),
        (("/run/app.sock", None), ("10.0.0.1", 0), ["unix"], True),  # the client as a proxy says it
        (None, None, ["unix"], True),
        (("/run/app.sock", None), ("10.0.0.1", 9), ["10.0.0.1"], False),
        (("127.0.0.1", 80), ("10.0.0.1", 9), ["unix"], False),
        (("127.0.0.1", 80), ("10.0.0.1", 9), ["10.0.0.1"], True),
        (("127.0.0.1", 80), ("10.0.0.1", 0), ["10.0.0.1"], False),  # no peer has port 0
        (("127.0.0.1", 80), None, ["10.0.0.1"], False),
        (None, ("10.0.0.1", 9), ["unix"], False),
    ],
)
async def test_who_the_peer_is(
    server: Any, client: Any, proxies: list[str], is_trusted: bool
) -> None:
    """ASGI: ``client`` is what servers make of X-Forwarded-For, too; ``server`` tells a socket."""
    app = make_app(proxies=proxies)
    statuses = []
    for origin in ("https://www.test:8443", f"https://{HOST}"):
        headers = [(b"origin", origin.encode()), (b"x-forwarded-host", b"www.test:8443")]
        scope = scope_of(headers=headers, client=client, server=server)
        statuses.append((await sent_by(app, scope))[0]["status"])
    assert statuses == ([200, 403] if is_trusted else [403, 200])


async def test_hosts_are_compared_without_the_schemes_own_port() -> None:
    """Some proxies add it; browsers never do (RFC 6454 section 6.2)."""
    async with open_client(make_app()) as client:
        fields = {"Host": f"{HOST}:443", "Origin": f"https://{HOST}"}
        assert (await client.post("/form", headers=fields)).status_code == 200
        fields = {"Host": f"{HOST}:8443", "Origin": f"https://{HOST}"}
        assert (await client.post("/form", headers=fields)).status_code == 403


@pytest.mark.check(35)
async def test_35_a_handshake_is_judged_by_its_route_as_well() -> None:
    app = of_policy()
    for path, origin, is_taken in [
        ("/api/a", READER, True),
        ("/form", READER, False),
        ("/api/a", "https://evil.test", False),
        ("/api%2fa", f"https://{HOST}", False),
    ]:
        scope = scope_of(
            type="websocket", scheme="wss", path=unquote(path), raw_path=path.encode(),
            subprotocols=[], headers=[(b"origin", origin.encode())],
        )  # fmt: skip
        sent = await sent_by(app, scope)
        assert (sent[0]["type"] == "websocket.accept") is is_taken, (path, origin)


async def test_a_path_cannot_write_lines_of_its_own_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """ASVS 5.0 section 16.4.1: servers decode what was sent as ``%0a``."""
    path = "/a\nERROR forged \x1b[31m" + "x" * 10_000
    scope = scope_of(path=path, headers=[(b"origin", b"https://evil.test")])
    await sent_by(make_app(), scope)
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith("refused as forged: POST '/a\\nERROR forged \\x1b[31m")
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.check(44)
async def test_44_a_denied_handshake_carries_the_fields() -> None:
    """As an app answers it by the extension "WebSocket Denial Response" of ASGI."""

    async def deny(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    app = SecurityMiddleware(deny, fields=SecurityFields(Headers(), domain=HOST))
    start = (await sent_by(app, scope_of(type="websocket", scheme="wss")))[0]
    assert dict(start["headers"])[b"x-content-type-options"] == b"nosniff"


async def test_a_request_for_the_server_itself_is_read_in_one_way() -> None:
    scope = scope_of(method="OPTIONS", path="*", raw_path=b"*")
    assert (await sent_by(of_policy(), scope))[0]["status"] != 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"own_origin": "weddinglk.test"}, "own_origin: 'weddinglk.test' is not an origin"),
        ({"own_origin": "https://weddinglk.test/"}, 'write "https://weddinglk.test"'),
        ({"trusted": ["*"]}, "trusts every site"),
        ({"trusted": ["partner.test"]}, "trusted: 'partner.test' is not an origin"),
        ({"proxies": ["10.0.0.1/8"]}, "proxies: .*host bits set"),
        ({"proxies": ["proxy.test"]}, "proxies: 'proxy.test'"),
    ],
)
def test_what_could_never_be_right_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(poruwa.ConfigError, match=said):
        make_app(**options)


async def test_without_a_policy_pages_extend_the_fields_given() -> None:
    app = make_app(fields=SecurityFields(Headers(), domain=HOST))
    async with open_client(app) as client:
        response = await client.get("/")
    assert runs(response)
    (policy,) = policies_of(response)
    assert policy["base-uri"] == ("'none'",)


async def test_without_fields_a_page_has_no_policy_to_extend() -> None:
    async with open_client(make_app()) as client:
        assert policies_of(await client.get("/")) == []


async def test_an_answer_of_the_apps_own_to_a_failure_carries_the_fields() -> None:
    """Check 44: around the whole app the middleware sees what Starlette says itself."""

    async def fail(request: Request) -> Response:
        raise RuntimeError("a fault of the app")

    app = SecurityMiddleware(
        Starlette(routes=[Route("/", fail)], exception_handlers={500: _sorry}),
        fields=SecurityFields(Headers(), domain=HOST),
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (500, "sorry")
    assert response.headers["x-content-type-options"] == "nosniff"


async def _sorry(request: Request, error: Exception) -> Response:
    return PlainTextResponse("sorry", 500)
