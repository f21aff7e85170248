"""Rendered front tiers are accepted by the real programs: ``nginx -t``, ``haproxy -c`` (A8)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from poruwa.config.front_tier import Behind, FrontTier
from poruwa.config.load import parse_policy
from poruwa.config.model import Policy
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
    assert "use_backend pool_app if { path -m str / }" in text
    assert "use_backend pool_app_bound if { path -m reg '^/venues/[^/]+$' }" in text
