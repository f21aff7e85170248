"""Pages, origins and bodies by the routes of a policy: behind a real gateway, and alone.

D2, D4, D7; SECURITY-CHECKS 30, 31, 34, 49, 52, 53. uvicorn on a Unix socket behind a gateway, as
``poruwa up`` has it, and the same app on a port without one. The rules by themselves are in
tests/unit/poruwa/app/security/test_security_of_routes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fakes.authority import TRUSTED_SOURCE
from fakes.gateway_process import GatewayProcess
from fakes.raw_client import RawClient
from fakes.routed_site import POLICY, SCRIPT, RoutedInstance
from fakes.wire import Response
from poruwa.app.security.middleware import FOREIGN
from poruwa.rules.csp import block_hash, parse_csp

JSON = "Content-Type: application/json\r\n"
WWW = "www.weddinglk.test:8443"


class Site:
    """The site by its gateway, its instance asked directly, and another one that stands alone."""

    def __init__(self, folder: Path) -> None:
        path = folder / "app.sock"
        policy = POLICY.format(socket=path)
        (folder / "site.toml").write_text(policy)
        self.instance = RoutedInstance(folder, folder / "site.toml", path)
        self.alone = RoutedInstance(folder, folder / "site.toml", None)
        self.gateway = GatewayProcess(folder, policy=policy)

    def connect(self, way: str, *, source: str | None = None) -> RawClient:
        if way == "gateway":
            return self.gateway.connect("http", source=source)
        return (self.alone if way == "alone" else self.instance).connect(source=source)

    def stop(self) -> None:
        self.gateway.stop()
        self.instance.stop()
        self.alone.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(tmp_path_factory.mktemp("routed"))
    yield started
    started.stop()


BOTH_WAYS = pytest.mark.parametrize("way", ["gateway", "alone"])


def policies_of(response: Response) -> list[dict[str, tuple[str, ...]]]:
    """Return every policy that a browser would enforce, without where it reports to."""
    policies = []
    for line in response.all("content-security-policy"):
        for each in line.decode().split(","):
            directives = dict(parse_csp(each))
            directives.pop("report-to", None)
            directives.pop("report-uri", None)
            policies.append(directives)
    return policies


@pytest.mark.check(52)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("path", "directives"),
    [
        ("/page", {"default-src": ("'self'",), "object-src": ("'none'",)}),
        ("/kept/page", {"default-src": ("'self'",), "object-src": ("'none'",)}),
        ("/strict/page", {"default-src": ("'none'",), "style-src": ("'self'",)}),
        ("/strict/kept/page", {"default-src": ("'none'",), "style-src": ("'self'",)}),
        ("/maps/page", {"default-src": ("'self'",), "img-src": ("https://tiles.test",)}),
    ],
)
def test_52_a_page_runs_its_script_under_the_policy_of_its_route(
    site: Site, way: str, path: str, directives: dict[str, tuple[str, ...]]
) -> None:
    """One policy, the route's, with the page's hash; what is kept says the same the second time."""
    for _ in range(2):
        with site.connect(way) as client:
            response = client.get(path)
        assert response.status == 200, response.raw
        assert SCRIPT.encode() in response.body
        (policy,) = policies_of(response)
        assert block_hash(SCRIPT) in policy.pop("script-src")
        assert policy == {**directives, "frame-ancestors": ("'none'",)}


@pytest.mark.check(31)
@BOTH_WAYS
@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/api/a", "Origin: https://reader.test\r\n", 200),
        ("/api/a", "Origin: https://reader.test\r\nCookie: a=1\r\n", 403),
        ("/api/a", "Origin: https://evil.test\r\n", 403),
        ("/form", "Origin: https://reader.test\r\n", 403),
    ],
)
def test_31_an_origin_of_a_routes_cors_reaches_the_app(
    site: Site, way: str, path: str, fields: str, status: int
) -> None:
    fields += JSON + "Sec-Fetch-Site: cross-site\r\n"
    with site.connect(way) as client:
        response = client.get(path, fields, method="POST", body=b"{}")
    assert response.status == status, response.raw


@pytest.mark.check(34)
@BOTH_WAYS
def test_34_a_route_takes_what_it_accepts(site: Site, way: str) -> None:
    own = "Origin: http://weddinglk.test\r\n"
    for stated, status in [(JSON, 200), ("Content-Type: text/plain\r\n", 415), ("", 415)]:
        with site.connect(way) as client:
            response = client.get("/api/a", own + stated, method="POST", body=b"{}")
        assert response.status == status, response.raw
        if status == 415:
            assert response.get("accept") == b"application/json"


FORWARDED = [
    f"X-Forwarded-Host: {WWW}\r\nX-Forwarded-Proto: https\r\n",
    f'Forwarded: for=203.0.113.9;host="{WWW}";proto=https\r\n',
]


@pytest.mark.check(30, 53)
@BOTH_WAYS
@pytest.mark.parametrize("forwarded", FORWARDED)
def test_30_behind_a_trusted_proxy_the_sites_own_forms_arrive(
    site: Site, way: str, forwarded: str
) -> None:
    """A front tier that ends TLS on another port and asks by another host, as it says."""
    for origin, status in [(f"https://{WWW}", 200), ("http://weddinglk.test", 403)]:
        with site.connect(way, source=TRUSTED_SOURCE) as client:
            fields = forwarded + f"Origin: {origin}\r\nSec-Fetch-Site: same-origin\r\n"
            response = client.get("/form", fields, method="POST", body=b"a=1")
        assert response.status == status, (origin, response.raw)


@pytest.mark.check(49, 53)
@BOTH_WAYS
@pytest.mark.parametrize("forwarded", FORWARDED)
def test_53_nobody_else_says_what_the_sites_origin_is(site: Site, way: str, forwarded: str) -> None:
    for origin, status in [(f"https://{WWW}", 403), ("http://weddinglk.test", 200)]:
        with site.connect(way) as client:
            fields = forwarded + f"Origin: {origin}\r\n"
            response = client.get("/form", fields, method="POST", body=b"a=1")
        assert response.status == status, (origin, response.raw)


@pytest.mark.check(30, 31, 53)
@pytest.mark.parametrize("source", [TRUSTED_SOURCE, None])
def test_30_gateway_and_app_judge_alike(site: Site, source: str | None) -> None:
    """One rule in two places: the app refuses nothing as foreign that the gateway let in, and what
    stands alone refuses all that a gateway would.
    """
    shapes = itertools.product(
        ("POST", "PUT"),
        ("/form", "/api/a"),
        (
            None,
            "http://weddinglk.test",
            "http://WeddingLK.test:80",
            "https://weddinglk.test",
            f"https://{WWW}",
            "https://reader.test",
            "https://evil.test",
            "null",
        ),
        (None, "same-origin", "same-site", "cross-site", "none"),
        ("", "Cookie: a=1\r\n"),
        ("", "Authorization: Basic YTpi\r\n", "Authorization: Bearer x\r\n"),
        ("", *FORWARDED, "X-Forwarded-Proto: https\r\n"),
    )
    chosen = Random(30).sample(list(shapes), 400)
    found = set()
    for method, path, origin, fetch_site, cookie, authorization, forwarded in chosen:
        fields = JSON + cookie + authorization + forwarded
        fields += "" if origin is None else f"Origin: {origin}\r\n"
        fields += "" if fetch_site is None else f"Sec-Fetch-Site: {fetch_site}\r\n"
        answers = []
        for way in ("gateway", "alone"):
            with site.connect(way, source=source) as client:
                answers.append(client.get(path, fields, method=method, body=b"{}"))
        statuses = [each.status for each in answers]
        assert statuses[0] == statuses[1], (method, path, fields)
        assert FOREIGN.encode() not in answers[0].body, (method, path, fields)
        found.add(statuses[0])
    assert found == {200, 403, 405}


def test_metrics_are_for_who_asks_an_instance_itself(site: Site) -> None:
    """Not by the gateway, nor where everybody asks the process itself."""
    with site.connect("instance") as client:
        assert b"poruwa_" in client.get("/_poruwa/metrics").body
    with site.connect("gateway") as client:
        assert client.get("/_poruwa/metrics").status == 404
    with site.connect("alone") as client:
        assert b"poruwa_" not in client.get("/_poruwa/metrics").body


@pytest.mark.check(30)
def test_30_the_instance_judges_for_itself_what_did_not_come_by_the_gateway(site: Site) -> None:
    """Defence in depth: the gateway's lines are believed, and the verdict is made again."""
    for origin, status in [
        (f"https://{WWW}", 200),
        ("https://evil.test", 403),
        ("http://weddinglk.test", 403),
    ]:
        with site.connect("instance") as client:
            fields = FORWARDED[0] + f"Origin: {origin}\r\n"
            response = client.get("/form", fields, method="POST", body=b"a=1")
        assert response.status == status, (origin, response.raw)
