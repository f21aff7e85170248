"""Rendered front tiers are accepted by the real programs: ``nginx -t``, ``haproxy -c`` (A8)."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from poruwa.config.front_tier import Behind, FrontTier
from poruwa.config.load import parse_policy
from poruwa.config.model import Policy, Trust
from poruwa.config.render_haproxy import render_haproxy
from poruwa.config.render_nginx import render_nginx
from poruwa.errors import ConfigError

_WEDDINGLK = Path(__file__).parents[2] / "src" / "weddinglk"
_SITE = parse_policy((_WEDDINGLK / "site.toml").read_text(), "site.toml")
_PRODUCTION = parse_policy((_WEDDINGLK / "site.production.toml").read_text(), "production")

# Every kind of route, host, method, health check and limit that a front tier is told of.
_RICH = """
[site]
domain = "www.weddinglk.test"
[listeners.plain]
address = "127.0.0.1:8000"
[listeners.unix]
address = "unix:/run/poruwa.sock"
[listeners.secure]
address = ":9443"
tls = { certificate = "/c.pem", key = "/k.pem", minimum_version = "1.3" }
[limits]
body = "0B"
connections_per_client = 100
[timeouts]
response = "0s"
[[hosts]]
name = "www.weddinglk.test"
aliases = ["weddinglk.test", "*.old.weddinglk.test"]
https = true
[pools.app]
instances = [{ address = "127.0.0.1:3000", weight = 4 }, "[::1]:3001", "unix:/run/app.sock"]
method = "METHOD"
hash_key = "HASH"
max_in_flight_per_instance = 20
[pools.app.health]
path = "/ready?deep=1"
host = "www.weddinglk.test"
expect_status = [200, "3xx"]
expect_body = "it's all \\\\ right"
[pools.app.affinity]
keys = "env:KEYS"
[pools.socket]
instances = ["127.0.0.1:3002"]
health = { kind = "tcp" }
retry_placeholder = 1
[classes.home]
scope = "shared"
lifetimes = { browser = "0s", gateway = "1h" }
[[routes]]
path = "/"
pool = "app"
data_class = "home"
[[routes]]
path = "/venues/{id}"
pool = "app"
[[routes]]
path = "/{language}/venues/*"
pool = "app"
[[routes]]
path = "/old/{id}"
redirect = { to = "https://{host}/new/{id}{query}", status = 301 }
[[routes]]
path = "/moved"
redirect = { to = "/here{query}" }
[[routes]]
path = "/files/*"
static = { folder = "/srv/files" }
[[routes]]
path = "/events"
pool = "socket"
first_byte = "0s"
[[routes]]
path = "/upload"
methods = ["GET", "POST"]
hosts = ["up.weddinglk.test", "*.up.weddinglk.test"]
pool = "socket"
[[routes]]
path = "/upload"
pool = "app"
cors = { origins = ["*"] }
[[routes]]
path = "/*"
pool = "app"
""".replace("retry_placeholder = 1\n", "")


def rich(method: str = "least-connections", hash_key: str = "client") -> Policy:
    return parse_policy(_RICH.replace("METHOD", method).replace("HASH", hash_key), "rich.toml")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "site.pem"
    issued = trustme.CA().issue_cert("weddinglk.test")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def accept_by_haproxy(text: str, folder: Path) -> None:
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("haproxy is not installed (Debian package haproxy)")
    path = folder / "haproxy.cfg"
    path.write_text(text)
    result = subprocess.run([program, "-c", "-f", str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + text
    complaints = [
        line
        for line in result.stderr.splitlines()
        if ("[WARNING]" in line or "[ALERT]" in line) and "could not resolve address" not in line
    ]
    assert complaints == [], text


def accept_by_nginx(text: str, folder: Path) -> None:
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed (Debian package nginx)")
    path = folder / "nginx.conf"
    path.write_text(text)
    result = subprocess.run(
        [program, "-t", "-e", "stderr", "-g", f"pid {folder}/nginx.pid;", "-c", str(path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr + text
    assert "[warn]" not in result.stderr, result.stderr


Accept = Callable[[str, Path], None]
_PROGRAMS = [
    pytest.param(render_haproxy, accept_by_haproxy, id="haproxy"),
    pytest.param(render_nginx, accept_by_nginx, id="nginx"),
]
Render = Callable[[Policy, FrontTier], str]


@pytest.mark.parametrize(("render", "accept"), _PROGRAMS)
@pytest.mark.parametrize("behind", list(Behind))
@pytest.mark.parametrize("http", [None, "127.0.0.1:8080", ":8080"])
def test_every_kind_of_route_is_accepted(
    render: Render,
    accept: Accept,
    behind: Behind,
    http: str | None,
    certificate: str,
    tmp_path: Path,
) -> None:
    """A8: both programs, in front of the gateway and of the pools, with and without redirects."""
    front = FrontTier(http=http, https="[::]:8443", certificate=certificate, in_front_of=behind)
    accept(render(rich(), front), tmp_path)


@pytest.mark.parametrize(("render", "accept"), _PROGRAMS)
@pytest.mark.parametrize(
    ("method", "hash_key"),
    [
        ("weighted-round-robin", "client"),
        ("power-of-two", "client"),
        ("peak-ewma", "client"),
        ("consistent-hash", "client"),
        ("consistent-hash", "path"),
        ("sticky-hash", "header:X-Tenant"),
        ("sticky-hash", "cookie:tenant"),
    ],
)
def test_every_method_is_accepted(
    render: Render,
    accept: Accept,
    method: str,
    hash_key: str,
    certificate: str,
    tmp_path: Path,
) -> None:
    """A2, A8."""
    front = FrontTier(certificate=certificate, in_front_of=Behind.POOLS, http=":1", https=":2")
    accept(render(rich(method, hash_key), front), tmp_path)


@pytest.mark.parametrize(("render", "accept"), _PROGRAMS)
def test_site_toml_is_accepted_in_front_of_the_gateway(
    render: Render, accept: Accept, certificate: str, tmp_path: Path
) -> None:
    gateways = ("127.0.0.1:8000", "[::1]:8000", "unix:/run/gateway.sock")
    accept(render(_SITE, FrontTier(certificate=certificate, gateways=gateways)), tmp_path)


@pytest.mark.parametrize("behind", list(Behind))
def test_production_is_accepted_by_haproxy(
    behind: Behind, certificate: str, tmp_path: Path
) -> None:
    """A8, H2. Its host names need not resolve here: HAProxy asks again while it runs."""
    front = FrontTier(certificate=certificate, in_front_of=behind)
    accept_by_haproxy(render_haproxy(_PRODUCTION, front), tmp_path)


@pytest.mark.parametrize(("render", "accept"), _PROGRAMS)
def test_a_front_tier_without_tls_is_accepted(
    render: Render, accept: Accept, tmp_path: Path
) -> None:
    accept(render(_SITE, FrontTier(http="127.0.0.1:8080", https=None)), tmp_path)


def test_haproxy_tells_the_clients_address_as_the_listener_demands() -> None:
    front = FrontTier(http=None)
    assert "send-proxy-v2-ssl check-send-proxy" in render_haproxy(_PRODUCTION, front)
    assert "send-proxy" not in render_haproxy(_SITE, front)
    assert "set-header X-Forwarded-For %[src]" in render_haproxy(_SITE, front)


@pytest.mark.parametrize("render", [render_haproxy, render_nginx])
def test_a_gateway_that_would_not_believe_the_front_tier_is_pointed_out(render: Render) -> None:
    """A front tier that is not trusted is the only client the gateway ever sees."""
    assert "add the address this program connects from" in render(_SITE, FrontTier())
    trusting = dataclasses.replace(_SITE, trust=Trust(proxies=("127.0.0.1",)))
    assert "trust.proxies" not in render(trusting, FrontTier())


def test_nginx_says_that_it_cannot_send_the_proxy_header() -> None:
    with pytest.raises(ConfigError, match="without PROXY protocol header"):
        render_nginx(_PRODUCTION, FrontTier())


@pytest.mark.parametrize("render", [render_haproxy, render_nginx])
def test_security_headers_are_left_to_the_site(render: Render) -> None:
    """D7: sent once, by the application; a second one would contradict or double it."""
    text = render(_SITE, FrontTier())
    for name in ("Strict-Transport-Security", "X-Frame-Options", "Content-Security-Policy"):
        assert name not in text


def test_the_policys_figures_reach_haproxy() -> None:
    """A3, A4: interval, rise, fall, weight, affinity only where copies are not shared."""
    text = render_haproxy(rich(), FrontTier(in_front_of=Behind.POOLS))
    assert "check inter 30000ms fastinter 1000ms rise 2 fall 3" in text
    assert "127.0.0.1:3000 weight 4 maxconn 20" in text
    assert "cookie WEDDINGLK_SESSION insert indirect nocache httponly secure dynamic" in text
    numbers = dict(re.findall(r"^    # (\d+): (.*)$", text, re.MULTILINE))
    pools = {
        numbers[number]: pool
        for pool, number in re.findall(
            r"use_backend (\w+) if \{ var\(txn.route\) -m int (\d+)", text
        )
    }
    assert pools["/"] == "pool_app"
    assert pools["/venues/{id}"] == "pool_app_bound"


class _Echo(BaseHTTPRequestHandler):
    """An instance that says its name, and what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = type(self).__name__
        body = f"{name} {self.path} {self.headers['X-Forwarded-For']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def instances() -> Iterator[dict[str, int]]:
    """Two running instances, "app" and "socket": name and port."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for name in ("app", "socket"):
            handler = type(name, (_Echo,), {})
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports[name] = server.server_address[1]
        yield ports


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def running(program: str, text: str, folder: Path, port: int) -> Iterator[httpx.Client]:
    """Run HAProxy or nginx with ``text`` and yield a client of it."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    file = folder / "front.conf"
    file.write_text(text)
    haproxy = [path, "-db", "-f", str(file)]
    directives = f"pid {folder}/nginx.pid; daemon off; master_process off;"
    nginx = [path, "-e", "stderr", "-g", directives, "-c", str(file)]
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            haproxy if program == "haproxy" else nginx, stdout=output, stderr=output
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                assert process.poll() is None, (folder / "output").read_text()
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/ready").status_code == 200:
                        break
                time.sleep(0.02)
            yield client
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("program", "render"), [("haproxy", render_haproxy), ("nginx", render_nginx)]
)
def test_requests_take_the_routes_of_the_policy(
    program: str, render: Render, instances: dict[str, int], tmp_path: Path
) -> None:
    """A8: the running program decides as the gateway would, redirects among them."""
    text = re.sub(r"instances = \[\{.*", f'instances = ["127.0.0.1:{instances["app"]}"]', _RICH)
    text = text.replace("127.0.0.1:3002", f"127.0.0.1:{instances['socket']}")
    text = text.replace("METHOD", "least-connections").replace("HASH", "client")
    text = re.sub(r"\[pools.app.health\]\n(?:.+\n){4}", '[pools.app.health]\nkind = "tcp"\n', text)
    port = free_port()
    front = FrontTier(http=f"127.0.0.1:{port}", https=None, in_front_of=Behind.POOLS)
    rendered = render(parse_policy(text, "rich.toml"), front)
    with running(program, rendered, tmp_path, port) as client:

        def answer(path: str, host: str = "www.weddinglk.test", method: str = "GET") -> str:
            response = client.request(
                method, path, headers={"Host": host, "X-Forwarded-For": "6.6.6.6"}
            )
            return response.headers.get("Location") or response.text

        assert answer("/") == "app / 127.0.0.1"
        assert answer("/venues/12?q=1") == "app /venues/12?q=1 127.0.0.1"
        assert answer("/si/venues") == "app /si/venues 127.0.0.1"
        assert answer("/si/venues/12/x") == "app /si/venues/12/x 127.0.0.1"
        assert answer("/events") == "socket /events 127.0.0.1"
        assert answer("/anything/else") == "app /anything/else 127.0.0.1"
        assert answer("/upload") == "app /upload 127.0.0.1"
        assert answer("/upload", "up.weddinglk.test") == "socket /upload 127.0.0.1"
        assert answer("/upload", "a.up.weddinglk.test", "POST") == "socket /upload 127.0.0.1"
        assert answer("/upload", "up.weddinglk.test", "PUT").startswith(("app", "<"))
        assert answer("/old/7?a=b") == "https://www.weddinglk.test/new/7?a=b"
        assert answer("/old/7") == "https://www.weddinglk.test/new/7"
        assert answer("/moved?a=b").endswith("/here?a=b")
        assert answer("/x?y=1", "weddinglk.test") == "https://www.weddinglk.test/x?y=1"
        assert answer("/x", "a.old.weddinglk.test") == "https://www.weddinglk.test/x"


def test_haproxy_binds_clients_by_an_opaque_cookie(
    instances: dict[str, int], tmp_path: Path
) -> None:
    """A4: set where answers are personal, never where copies are shared; it names no address."""
    text = re.sub(r"instances = \[\{.*", f'instances = ["127.0.0.1:{instances["app"]}"]', _RICH)
    text = text.replace("METHOD", "round-robin").replace("HASH", "client")
    text = re.sub(r"\[pools.app.health\]\n(?:.+\n){4}", '[pools.app.health]\nkind = "tcp"\n', text)
    port = free_port()
    front = FrontTier(http=f"127.0.0.1:{port}", https=None, in_front_of=Behind.POOLS)
    rendered = render_haproxy(parse_policy(text, "rich.toml"), front)
    with running("haproxy", rendered, tmp_path, port) as client:
        assert "Set-Cookie" not in client.get("/").headers
        cookie = client.get("/venues/12").headers["Set-Cookie"]
    assert cookie.startswith("WEDDINGLK_SESSION=")
    assert "HttpOnly" in cookie
    assert "Secure" in cookie
    assert str(instances["app"]) not in cookie
