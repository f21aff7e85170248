"""What the gateway answers itself stands behind guard and limit (D2, D4, D6; checks 9, 30, 56).

A real gateway with a bus: files, redirects, host aliases, preflights, and paths of no route.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.gateway_process import GatewayProcess, policy_head
from fakes.origin import Origin
from fakes.valkey_process import BUS, ValkeyProcess
from fakes.wire import Response

HOST = "weddinglk.test"
ALIAS = "www.weddinglk.test"
FILES = "files.weddinglk.test"
OLD = "old.weddinglk.test"
PARTNER = "https://partner.test"
LIMIT = 3
POLICY = """
[site]
name = "own"
domain = "weddinglk.test"
[pools.app]
instances = ["{origin}"]
health.kind = "tcp"
[rate_limits.few]
requests = 3
window = "1h"
per = "route"
[[hosts]]
name = "weddinglk.test"
aliases = ["www.weddinglk.test"]
[[routes]]
path = "/static/*"
hosts = ["weddinglk.test"]
static = {{ folder = "files" }}
[[routes]]
path = "/few/*"
hosts = ["weddinglk.test"]
static = {{ folder = "files" }}
rate_limit = "few"
[[routes]]
path = "/moved"
hosts = ["weddinglk.test"]
redirect = {{ to = "/api/new" }}
[[routes]]
path = "/moved-few"
hosts = ["weddinglk.test"]
redirect = {{ to = "/api/new" }}
rate_limit = "few"
[[routes]]
path = "/api/*"
hosts = ["weddinglk.test"]
pool = "app"
cors = {{ origins = ["https://partner.test"], methods = ["PUT"] }}
rate_limit = "few"
[[routes]]
path = "/taken"
hosts = ["weddinglk.test"]
methods = ["GET"]
pool = "app"
[[routes]]
path = "/*"
hosts = ["files.weddinglk.test"]
static = {{ folder = "files" }}
[[routes]]
path = "/*"
hosts = ["old.weddinglk.test"]
redirect = {{ to = "http://weddinglk.test{{path}}" }}
"""
BOMB = "Cookie: " + "; ".join(f"c{number}=1" for number in range(181)) + "\r\n"
PREFLIGHT = f"Origin: {PARTNER}\r\nAccess-Control-Request-Method: PUT\r\n"


class Site:
    """The gateway, as a browser asks it for one of its hosts."""

    def __init__(self, gateway: GatewayProcess, backend: Origin) -> None:
        self.gateway = gateway
        self.backend = backend

    def ask(
        self, path: str, fields: str = "", *, method: str = "GET", host: str = HOST
    ) -> Response:
        length = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{fields}\r\n"
        with self.gateway.connect() as client:
            client.send(head.encode())
            return client.response(method.encode())

    def refusals(self, reason: str) -> float:
        return self.gateway.metric(f'poruwa_refusals_total{{reason="{reason}"}}')


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, bus: ValkeyProcess
) -> Iterator[tuple[GatewayProcess, Origin]]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("a file")
    backend = Origin()
    gateway = GatewayProcess(
        folder,
        policy=policy_head() + POLICY.format(origin=backend.address),
        environment={"PORUWA_BUS_URL": bus.url},
    )
    yield gateway, backend
    gateway.stop()
    backend.stop()


@pytest.fixture
def site(running: tuple[GatewayProcess, Origin]) -> Site:
    gateway, backend = running
    backend.calls.clear()
    return Site(gateway, backend)


def test_each_is_still_answered(site: Site) -> None:
    assert site.ask("/static/a.txt").body == b"a file"
    assert site.ask("/moved").get("location") == b"/api/new"
    alias = site.ask("/x?y=1", host=ALIAS)
    assert (alias.status, alias.get("location")) == (308, b"http://weddinglk.test/x?y=1")
    assert site.ask("/api/x", PREFLIGHT, method="OPTIONS").status == 204
    assert site.ask("/nowhere").status == 404
    other = site.ask("/taken", method="POST")
    assert (other.status, other.get("allow")) == (405, b"GET, HEAD")
    assert site.backend.calls == []


@pytest.mark.parametrize(
    ("path", "method", "host"),
    [
        ("/static/a.txt", "GET", HOST),
        ("/moved", "GET", HOST),
        ("/x", "GET", ALIAS),
        ("/api/x", "OPTIONS", HOST),
        ("/nowhere", "GET", HOST),
        ("/taken", "POST", HOST),
    ],
)
def test_a_cookie_bomb_gets_the_page_that_clears_it(
    site: Site, path: str, method: str, host: str
) -> None:
    """Check 9: a browser that only ever meets redirects and files could not get rid of it."""
    answer = site.ask(path, BOMB + PREFLIGHT, method=method, host=host)
    assert answer.status == 431
    assert answer.get("clear-site-data") == b'"cookies"'
    assert site.ask(path, PREFLIGHT, method=method, host=host).status != 431


@pytest.mark.parametrize(
    ("path", "host", "own_status"),
    [
        ("/moved", HOST, 308),  # which keeps method and body
        ("/x", ALIAS, 308),
        ("/static/a.txt", HOST, 405),
        ("/nowhere", HOST, 404),
        ("/taken", HOST, 405),
    ],
)
def test_a_forged_request_is_not_sent_on(site: Site, path: str, host: str, own_status: int) -> None:
    """Check 30."""
    before = site.refusals("csrf-cross-site")
    assert site.ask(path, "Sec-Fetch-Site: cross-site\r\n", method="POST", host=host).status == 403
    assert site.refusals("csrf-cross-site") == before + 1
    own = site.ask(path, f"Origin: http://{host}\r\n", method="POST", host=host)
    assert own.status == own_status


@pytest.mark.parametrize("host", [FILES, OLD, ALIAS, HOST])
def test_paths_of_ours_are_closed_below_every_route(site: Site, host: str) -> None:
    before = site.refusals("internal-path")
    assert site.ask("/_poruwa/metrics", host=host).status == 404
    assert site.refusals("internal-path") == before + 1


def test_who_somebody_is_can_be_asked_below_every_route(site: Site) -> None:
    for host in (FILES, OLD):
        assert site.ask("/_poruwa/session", host=host).status == 200
    assert len(site.backend.seen("/_poruwa/session")) == 2
    alias = site.ask("/_poruwa/session", host=ALIAS)
    assert alias.get("location") == b"http://weddinglk.test/_poruwa/session"


@pytest.mark.parametrize(("path", "status"), [("/few/a.txt", 200), ("/moved-few", 308)])
def test_files_and_redirects_are_held_to_their_limit(site: Site, path: str, status: int) -> None:
    answers = [site.ask(path) for _ in range(LIMIT + 2)]
    assert [answer.status for answer in answers] == [status] * LIMIT + [429] * 2
    assert answers[-1].get("retry-after") is not None


def test_a_redirect_that_waited_for_the_bus_is_answered(site: Site) -> None:
    """Check 56: what is not safe is counted by the bus, for all machines."""
    answers = [site.ask("/moved-few", method="POST") for _ in range(LIMIT + 1)]
    assert [answer.status for answer in answers] == [308] * LIMIT + [429]
    assert site.backend.calls == []


def test_preflights_count_for_nothing(site: Site) -> None:
    """A browser tells a page nothing of a preflight's answer; the request after it counts."""
    foreign = f"{PREFLIGHT}Sec-Fetch-Site: cross-site\r\nCookie: a=1\r\n"
    for _ in range(LIMIT + 2):
        assert site.ask("/api/x", foreign, method="OPTIONS").status == 204
    puts = [site.ask("/api/x", f"Origin: {PARTNER}\r\n", method="PUT") for _ in range(LIMIT + 1)]
    assert [answer.status for answer in puts] == [200] * LIMIT + [429]
    assert site.ask("/api/x", foreign, method="OPTIONS").status == 204


def test_who_may_read_answers_may_read_refusals(site: Site) -> None:
    answer = site.ask("/api/x", f"Origin: {PARTNER}\r\n", method="POST")
    assert answer.status == 403  # ``cors`` names PUT alone
    assert answer.get("access-control-allow-origin") == PARTNER.encode()
