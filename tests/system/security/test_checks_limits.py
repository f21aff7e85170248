"""Security checks 53 to 56: limits of clients, wherever they ask (D6).

Each test is clients of its own, by loopback address: what one used up is no other's loss. The door
takes six requests an hour.
"""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes.authority import TRUSTED_SOURCE
from fakes.tls_stack import SESSION, TlsStack
from fakes.wire import Response

QUOTA = 6


def ask(stack: TlsStack, source: str, fields: str = "", method: str = "GET") -> Response:
    """Ask on a connection of its own, to whichever worker accepts it."""
    with stack.raw(source) as client:
        return client.get("/doors/limited", fields, method=method)


def taken(stack: TlsStack, source: str, fields: str = "", method: str = "GET") -> int:
    """Return how many of twelve requests are served; the others get 429."""
    statuses = [ask(stack, source, fields, method).status for _ in range(2 * QUOTA)]
    assert set(statuses) <= {200, 429}, statuses
    assert statuses == sorted(statuses), "a refused client is served again at once"
    return statuses.count(200)


def served_by_all(stack: TlsStack, source: str, fields: str) -> bool:
    """Whether a new client has just its quota of POSTs."""
    statuses = [ask(stack, source, fields, "POST").status for _ in range(2 * QUOTA)]
    return statuses == [200] * QUOTA + [429] * QUOTA


@pytest.mark.check(53)
@pytest.mark.parametrize(
    ("number", "name"),
    list(enumerate(
        ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP",
         "X-Client-IP", "X-Originating-IP", "Via"),
        start=20,
    )),
)  # fmt: skip
def test_53_whoever_names_many_addresses_is_still_one(
    stack: TlsStack, number: int, name: str
) -> None:
    """ASVS 4.1.3: nobody vouches for this client."""
    source = f"127.0.0.{number}"
    served = 0
    for each in range(2 * QUOTA):
        address = f"203.0.113.{each}"
        value = f"for={address}" if name == "Forwarded" else address
        served += ask(stack, source, f"{name}: {value}\r\n").status == 200
    assert served == QUOTA


@pytest.mark.check(53)
def test_53_a_trusted_hop_is_believed_about_its_clients(stack: TlsStack) -> None:
    """And what the client wrote before it, to its left, is not."""
    for each in range(2 * QUOTA):
        fields = f"X-Forwarded-For: 198.51.100.{each}, 203.0.113.77\r\n"
        assert ask(stack, TRUSTED_SOURCE, fields).status == (200 if each < QUOTA else 429)
    fields = "X-Forwarded-For: 203.0.113.78\r\n"
    assert ask(stack, TRUSTED_SOURCE, fields).status == 200


@pytest.mark.check(54)
def test_54_an_ipv6_household_is_one_client(stack: TlsStack) -> None:
    for each in range(2 * QUOTA):
        fields = f"X-Forwarded-For: 2001:db8:1:2:{each:x}::{each:x}\r\n"
        assert ask(stack, TRUSTED_SOURCE, fields).status == (200 if each < QUOTA else 429)
    neighbour = "X-Forwarded-For: 2001:db8:1:3::1\r\n"
    assert ask(stack, TRUSTED_SOURCE, neighbour).status == 200
    mapped = "X-Forwarded-For: ::ffff:203.0.113.79\r\n"
    assert taken(stack, TRUSTED_SOURCE, mapped) == QUOTA
    plain = "X-Forwarded-For: 203.0.113.79\r\n"
    assert ask(stack, TRUSTED_SOURCE, plain).status == 429


@pytest.mark.check(55)
@pytest.mark.parametrize(("method", "number"), [("GET", 40), ("POST", 41)])
def test_55_what_a_refusal_says(stack: TlsStack, method: str, number: int) -> None:
    """RFC 6585, draft-ietf-httpapi-ratelimit-headers-11: nobody stores it, and it says for how
    long to wait."""
    source, own = f"127.0.0.{number}", "Origin: https://weddinglk.test\r\n"
    served = ask(stack, source, own, method)
    if method == "GET":  # somebody may store it
        assert served.get("ratelimit") is served.get("ratelimit-policy") is None
    else:
        assert served.get("ratelimit-policy") == b'"door";q=6;w=3600'
        assert re.fullmatch(rb'"door";r=5;t=\d+', served.get("ratelimit") or b"")
    while (refused := ask(stack, source, own, method)).status == 200:
        pass
    assert refused.status == 429
    assert refused.get("cache-control") == b"no-store"
    assert 1 <= int(refused.get("retry-after") or b"0") <= 600
    assert refused.get("ratelimit-policy") == b'"door";q=6;w=3600'
    assert re.fullmatch(rb'"door";r=0;t=\d+', refused.get("ratelimit") or b"")
    assert refused.get("set-cookie") is None
    assert refused.get("strict-transport-security") is not None
    # Pages that all share tell nobody's figures.
    assert stack.get("/venues/1").headers.get("ratelimit") is None


@pytest.mark.check(56)
@pytest.mark.parametrize(("method", "number"), [("GET", 50), ("POST", 51)])
def test_56_workers_and_instances_count_together(stack: TlsStack, method: str, number: int) -> None:
    """24 at once, on connections of their own: six are served."""
    source, own = f"127.0.0.{number}", "Origin: https://weddinglk.test\r\n"
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(stack, source, own, method), range(24)))
    statuses = [each.status for each in answers]
    assert sorted(statuses) == [200] * QUOTA + [429] * (24 - QUOTA)


@pytest.mark.check(56)
def test_56_without_the_bus_each_machine_counts_for_itself(stack: TlsStack) -> None:
    """The stated fail mode: nobody is refused because the bus is away, and limits still hold."""
    own = "Origin: https://weddinglk.test\r\n"
    bus = stack.report()["pids"]["bus"]
    os.kill(bus, signal.SIGSTOP)
    try:
        assert taken(stack, "127.0.0.60", own, "POST") == QUOTA
        assert taken(stack, "127.0.0.61", own) == QUOTA
    finally:
        os.kill(bus, signal.SIGCONT)
    stack.until_certain()
    # Each worker looks for the bus again by itself; then all count as one.
    assert any(served_by_all(stack, f"127.0.0.{number}", own) for number in range(70, 130))


@pytest.mark.check(56)
def test_56_a_session_cookie_makes_no_new_client(stack: TlsStack) -> None:
    served = 0
    for each in range(2 * QUOTA):
        token = stack.token(f"limited{each}")
        served += ask(stack, "127.0.0.63", f"Cookie: {SESSION}={token}\r\n").status == 200
    assert served == QUOTA
