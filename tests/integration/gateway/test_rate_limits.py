"""Limits of routes on real gateways, two of two workers each on one Valkey (checks 53-56).

REQUIREMENTS D6; DESIGN section 7. Quotas are per hour, so that no test depends on its pace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin
from fakes.valkey_process import BUS, ValkeyProcess
from fakes.wire import Response
from poruwa.gateway.rate_limit import PREPAID_SHARE

POLICY = """
[site]
name = "limits"
domain = "localhost"
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 2
[trust]
proxies = [{trusted}]
[pools.app]
instances = ["{origin}"]
health.kind = "tcp"
[classes.page]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[rate_limits.few]
requests = 5
window = "1h"
[rate_limits.many]
requests = 160
window = "1h"
[rate_limits.session]
requests = 5
window = "1h"
per = "session"
[[routes]]
path = "/pages/*"
pool = "app"
data_class = "page"
rate_limit = "few"
[[routes]]
path = "/many/*"
pool = "app"
data_class = "page"
rate_limit = "many"
[[routes]]
path = "/sign-in"
pool = "app"
rate_limit = "few"
[[routes]]
path = "/mine"
pool = "app"
rate_limit = "session"
[[routes]]
path = "/*"
pool = "app"
"""


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


def gateway(folder: Path, origin: Origin, bus: ValkeyProcess, trusted: str = "") -> GatewayProcess:
    folder.mkdir()
    policy = POLICY.format(origin=origin.address, trusted=trusted)
    return GatewayProcess(folder, policy=policy, environment={"PORUWA_BUS_URL": bus.url})


@pytest.fixture
def pair(tmp_path: Path, bus: ValkeyProcess) -> Iterator[list[GatewayProcess]]:
    bus.client.flushall()
    origin = Origin()
    gateways = [gateway(tmp_path / name, origin, bus) for name in ("one", "two")]
    yield gateways
    for each in gateways:
        each.stop()
    origin.stop()


@pytest.fixture
def behind_proxy(tmp_path: Path, bus: ValkeyProcess) -> Iterator[GatewayProcess]:
    bus.client.flushall()
    origin = Origin()
    one = gateway(tmp_path / "one", origin, bus, trusted='"127.0.0.1"')
    yield one
    one.stop()
    origin.stop()


def post(each: GatewayProcess, path: str = "/sign-in", fields: str = "") -> Response:
    return each.get(path, fields, method="POST", body=b"name=a")


def value(response: Response, name: bytes) -> bytes | None:
    return dict(response.fields).get(name)


def test_a_forged_address_is_no_other_client(pair: list[GatewayProcess]) -> None:
    """Check 53: what an untrusted peer says of itself changes nothing."""
    statuses = [
        pair[0]
        .get(
            "/pages/1",
            f"X-Forwarded-For: 192.0.2.{n}\r\nForwarded: for=192.0.2.{n}\r\n"
            f"X-Real-IP: 192.0.2.{n}\r\n",
        )
        .status
        for n in range(8)
    ]
    assert statuses == [200] * 5 + [429] * 3


def test_an_ipv6_household_is_one_client(behind_proxy: GatewayProcess) -> None:
    """Check 54: addresses of one /64 share a bucket, those of another have their own."""
    for path, method in (("/pages/1", "GET"), ("/sign-in", "POST")):
        statuses = [
            behind_proxy.get(path, f"X-Forwarded-For: 2001:db8::{n}\r\n", method=method).status
            for n in range(7)
        ]
        assert statuses == [200] * 5 + [429] * 2
        other = behind_proxy.get(path, "X-Forwarded-For: 2001:db8:0:1::1\r\n", method=method)
        assert other.status == 200


def test_a_refusal_says_when_to_come_again(pair: list[GatewayProcess]) -> None:
    """Check 55: Retry-After, RateLimit, RateLimit-Policy, no-store; also over the cache."""
    for ask in (lambda: pair[0].get("/pages/1"), lambda: post(pair[0])):
        refused = [ask() for _ in range(6)][-1]
        assert refused.status == 429
        assert 700 <= int(value(refused, b"retry-after") or 0) <= 720
        assert value(refused, b"ratelimit-policy") == b'"few";q=5;w=3600'
        assert (value(refused, b"ratelimit") or b"").startswith(b'"few";r=0;t=')
        assert value(refused, b"cache-control") == b"no-store"
    assert pair[0].metric('poruwa_refusals_total{reason="limit-few"}') == 2


def test_only_what_nobody_stores_says_what_is_left(pair: list[GatewayProcess]) -> None:
    """Check 55: an answer that a cache may keep must not carry one client's account."""
    for _ in range(2):
        assert value(pair[0].get("/pages/1"), b"ratelimit") is None
    assert (value(post(pair[0]), b"ratelimit") or b"").startswith(b'"few";r=4;t=')


def test_two_gateways_enforce_one_limit_for_writes(pair: list[GatewayProcess]) -> None:
    """Check 56: of ten posts over two gateways, five are taken; reads count for themselves."""
    statuses = [post(pair[n % 2]).status for n in range(10)]
    assert statuses == [200] * 5 + [429] * 5
    assert pair[0].get("/pages/1").status == 200


def test_the_bus_dead_each_machine_goes_on_from_what_it_knows(
    pair: list[GatewayProcess], bus: ValkeyProcess
) -> None:
    """Check 56, the stated fail mode: nobody is refused for it, and no burst is given anew."""
    for _ in range(3):
        assert post(pair[0]).status == 200
    bus.kill()
    try:
        assert [post(pair[0]).status for _ in range(4)] == [200, 200, 429, 429]
        assert post(pair[1]).status == 200  # which knew nothing of this client
        assert pair[0].metric('poruwa_events_total{event="limited_without_bus"}') == 4
    finally:
        bus.start()


def test_made_up_session_cookies_are_no_way_around(pair: list[GatewayProcess]) -> None:
    """Check 53: a cookie that was not seen before counts for its client, until it is known."""
    for method in ("GET", "POST"):
        statuses = [
            pair[0]
            .get(
                "/mine",
                f"Cookie: poruwa.session-token=v{n}\r\nSec-Fetch-Site: same-origin\r\n",
                method=method,
            )
            .status
            for n in range(7)
        ]
        assert statuses == [200] * 5 + [429] * 2
        known = pair[0].get(
            "/mine",
            "Cookie: poruwa.session-token=v0\r\nSec-Fetch-Site: same-origin\r\n",
            method=method,
        )
        assert known.status == 200


def test_a_body_waits_for_the_word(pair: list[GatewayProcess]) -> None:
    """A post whose body comes while the bus is asked reaches the origin whole."""
    answer = pair[0].get("/sign-in", method="POST", body=b"x" * 300_000)
    assert answer.status == 200


def test_what_is_counted_ahead_stays_within_the_stated_error(pair: list[GatewayProcess]) -> None:
    """D6: all workers together let a client read its burst, but for an eighth more or less.

    Each request has a connection of its own, so that both workers have their part in it.
    """
    statuses = [pair[0].get("/many/1").status for _ in range(240)]
    allowed = statuses.count(200)
    assert statuses.count(429) == 240 - allowed
    assert abs(allowed - 160) <= 160 * PREPAID_SHARE
    assert set(statuses[-20:]) == {429}
