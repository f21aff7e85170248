"""Methods and affinity, seen through a running gateway (A2, A4; checks 7, 8, 10)."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.authority import Authority
from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account
from fakes.wire import Response

COOKIE = "WEDDINGLK_SESSION"
KEYS = "old-key-old-key-old-key-old-key-00,new-key-new-key-new-key-new-key-00"
INSTANCES = """instances = [
  { name = "a", address = "%(a)s", weight = %(heavy)s },
  { name = "b", address = "%(b)s" },
  { name = "c", address = "%(c)s" },
]
"""
HEALTH = """
interval = "0.4s"
fast_interval = "0.1s"
timeout = "0.3s"
fall = 1
rise = 1
"""
POLICY = (
    """
[listeners.http]
address = "127.0.0.1:0"
[listeners.tls]
address = "127.0.0.1:0"
tls = { certificate = "%(certificate)s", key = "%(key)s" }
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
queue = "0.5s"
[hedge]
enabled = false
[timeouts]
drain = "1s"
"""
    + "".join(
        f"[pools.{pool}]\nmethod = {method!r}\nadaptive = false\n"
        + INSTANCES.replace("%(heavy)s", "1" if pool == "turns" else "3")
        + f"[pools.{pool}.health]\n{HEALTH}"
        for pool, method in (
            ("turns", "round-robin"), ("weights", "weighted-round-robin"),
            ("load", "least-connections"), ("bound", "least-connections"),
            ("strict", "least-connections"),
        )
    )
    + """
[pools.bound.affinity]
keys = "env:AFFINITY_KEYS"
[pools.strict.affinity]
keys = "env:AFFINITY_KEYS"
failover = "fail"
"""
    + "".join(
        f'[[routes]]\npath = "/{pool}/*"\npool = "{pool}"\n'
        for pool in ("turns", "weights", "load", "bound", "strict")
    )
    + """
[classes.page]
scope = "shared"
lifetimes = { browser = "0s", gateway = "1h" }
[[routes]]
path = "/bound/pages/*"
pool = "bound"
data_class = "page"
"""
)  # fmt: skip


class Three:
    """A gateway before three instances with pools of every built method."""

    def __init__(self, folder: Path, certificate: Path, key: Path) -> None:
        self.origins = {name: Origin(name=name) for name in "abc"}
        values = {name: origin.address for name, origin in self.origins.items()}
        policy = POLICY % {**values, "certificate": certificate, "key": key}
        self.gateway = GatewayProcess(folder, policy=policy, environment={"AFFINITY_KEYS": KEYS})

    def on(self, path: str, handler: object) -> None:
        for origin in self.origins.values():
            origin.on(path, handler)  # type: ignore[arg-type]

    def calls(self, path: str) -> int:
        return sum(len(origin.seen(path)) for origin in self.origins.values())


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Three]:
    three = Three(tmp_path_factory.mktemp("three"), authority.certificate_path, authority.key_path)
    yield three
    three.gateway.stop()
    for origin in three.origins.values():
        origin.stop()


def who(response: Response) -> str:
    return str(account(response)["origin"])


def test_round_robin(three: Three) -> None:
    with three.gateway.connect() as client:
        names = [who(client.get("/turns/x")) for _ in range(9)]
    assert Counter(names) == {"a": 3, "b": 3, "c": 3}
    assert names[:3] == names[3:6] == names[6:]


def test_weighted_round_robin(three: Three) -> None:
    """3:1:1, and never all of the heavy one's turns in a row."""
    with three.gateway.connect() as client:
        names = [who(client.get("/weights/x")) for _ in range(50)]
    assert Counter(names) == {"a": 30, "b": 10, "c": 10}
    assert "aaaa" not in "".join(names)


def test_least_connections(three: Three) -> None:
    """Requests that stay fill the instances by weight; a new one goes where most room is."""
    go_on = threading.Event()

    def hold(call: Call) -> None:
        go_on.wait(10)
        call.reply(b"ok")

    three.on("/load/held", hold)
    with ExitStack() as stack:
        clients = [stack.enter_context(three.gateway.connect()) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b"GET /load/held HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
            three.gateway.until(
                lambda number=number: three.calls("/load/held") > number,
                "the request at an instance",
            )
        held = {name: len(origin.seen("/load/held")) for name, origin in three.origins.items()}
        assert held == {"a": 6, "b": 2, "c": 2}
        statuses = {
            each["name"]: each["in_flight"]
            for each in three.gateway.status()["instances"]
            if each["pool"] == "load"
        }
        assert statuses == held
        go_on.set()
        for client in clients:
            assert client.response().status == 200
    three.gateway.until(lambda: three.gateway.in_flight() == 0, "no load")


# The affinity cookie.


def private(call: Call) -> None:
    body = call.connection.origin.name.encode()
    call.reply(body, fields=b"Cache-Control: private\r\n")


def test_affinity_cookie_binds(three: Three) -> None:
    """A4: one instance for as long as the cookie comes; nothing about it is readable."""
    three.on("/bound/private", private)
    first = three.gateway.get("/bound/private")
    line = (first.get("set-cookie") or b"").decode()
    name, _, rest = line.partition("=")
    value = rest.partition(";")[0]
    assert name == COOKIE
    assert "HttpOnly" in line
    assert "SameSite=Lax" in line
    assert "Path=/" in line
    assert "Domain" not in line
    assert "Secure" not in line  # plain HTTP: browsers would drop it
    raw = base64.urlsafe_b64decode(value + "==")
    for origin in three.origins.values():
        assert origin.address.encode() not in raw
        assert str(origin.port).encode() not in raw
    assert len(raw) == 18
    with three.gateway.connect() as client:
        answers = [
            client.get("/bound/private", f"Cookie: theme=dark; {COOKIE}={value}; x=1\r\n")
            for _ in range(12)
        ]
    assert {answer.body for answer in answers} == {first.body}
    assert all(answer.get("set-cookie") is None for answer in answers)


def test_affinity_cookie_over_tls_has_its_prefix(three: Three, authority: Authority) -> None:
    three.on("/bound/private", private)
    with three.gateway.connect("tls", tls=authority.context) as client:
        line = (client.get("/bound/private").get("set-cookie") or b"").decode()
        assert line.startswith(f"__Host-Http-{COOKIE}=")
        assert "; Secure;" in line
        value = line.partition("=")[2].partition(";")[0]
        for name, is_bound in ((f"__Host-Http-{COOKIE}", True), (COOKIE, False)):
            answer = client.get("/bound/private", f"Cookie: {name}={value}\r\n")
            assert (answer.get("set-cookie") is None) is is_bound


@pytest.mark.parametrize(
    "value", ["", "forged", "a", "127.0.0.1:8080", "A" * 24, "A" * 3000, '"quoted"', "\xa0\x85"]
)
def test_unknown_affinity_value_means_a_fresh_choice(three: Three, value: str) -> None:
    """Check 10: and the client is bound anew."""
    three.on("/bound/private", private)
    answer = three.gateway.get("/bound/private", f"Cookie: {COOKIE}={value}\r\n")
    assert answer.status == 200
    assert answer.get("set-cookie")


def test_two_affinity_cookies_are_nobodys(three: Three) -> None:
    """Cookie tossing (RFC 6265bis section 5.7)."""
    three.on("/bound/private", private)
    line = (three.gateway.get("/bound/private").get("set-cookie") or b"").decode()
    value = line.partition("=")[2].partition(";")[0]
    for cookies in (
        f"Cookie: {COOKIE}={value}; {COOKIE}={value}\r\n",
        f"Cookie: {COOKIE}={value}\r\nCookie: {COOKIE}=x\r\n",
    ):
        assert three.gateway.get("/bound/private", cookies).get("set-cookie")


@pytest.mark.parametrize(
    ("fields", "is_set"),
    [
        (b"Cache-Control: private\r\n", True),
        (b"Cache-Control: no-store\r\n", True),
        (b"Cache-Control: public, max-age=60\r\n", False),
        (b"Cache-Control: max-age=60\r\n", False),
        (b"", False),  # a shared cache may store it by its own guess
        (b"Cache-Control: private\r\nCDN-Cache-Control: max-age=60\r\n", False),
        (b"Cache-Control: no-cache\r\n", False),
    ],
)
def test_no_affinity_cookie_where_a_shared_cache_may_store(
    three: Three, fields: bytes, *, is_set: bool
) -> None:
    """A stored one would bind everybody to one instance (check 46)."""
    three.on("/bound/shared", lambda call: call.reply(b"ok", fields=fields))
    answer = three.gateway.get("/bound/shared")
    assert (answer.get("set-cookie") is not None) is is_set


def test_on_a_shared_route_what_is_not_kept_is_bound(three: Three) -> None:
    """A4: state that an instance holds is there for a form of a page that all share (check 46)."""
    three.on("/bound/pages/1", private)
    assert three.gateway.get("/bound/pages/1").get("set-cookie") is None
    first = three.gateway.get("/bound/pages/1", method="POST")
    cookie = (first.get("set-cookie") or b"").decode().partition(";")[0]
    assert cookie.startswith(COOKIE)
    answers = [
        three.gateway.get("/bound/pages/1", f"Cookie: {cookie}\r\n", method="POST")
        for _ in range(12)
    ]
    assert {answer.body for answer in answers} == {first.body}
    assert all(answer.get("set-cookie") is None for answer in answers)
    assert three.gateway.get("/bound/pages/1", method="OPTIONS").get("set-cookie")


def bound_to(three: Three, path: str) -> tuple[str, str]:
    """Return a cookie and the instance it binds to."""
    three.on(path, private)
    answer = three.gateway.get(path)
    line = (answer.get("set-cookie") or b"").decode()
    return line.partition(";")[0], answer.body.decode()


def restart(three: Three, name: str) -> None:
    """Bring an instance back on its port, and wait until it is up everywhere."""
    three.origins[name] = Origin(name=name, port=three.origins[name].port)
    three.origins[name].on("/bound/private", private)
    three.origins[name].on("/strict/private", private)
    await_state(three, name, "up")


def await_state(three: Three, name: str, state: str) -> None:
    three.gateway.until(
        lambda: {each["state"] for each in three.gateway.status()["instances"]
                 if each["name"] == name} == {state},
        f"{name} {state}",
        10,
    )  # fmt: skip


def test_failover_of_bound_clients(three: Three) -> None:
    """failover = any: bound to another; fail: 503, and their instance again once it is back."""
    any_cookie, any_name = bound_to(three, "/bound/private")
    strict_cookie, strict_name = bound_to(three, "/strict/private")
    while strict_name != any_name:
        strict_cookie, strict_name = bound_to(three, "/strict/private")
    three.origins[any_name].stop()
    await_state(three, any_name, "down")
    try:
        answer = three.gateway.get("/bound/private", f"Cookie: {any_cookie}\r\n")
        assert answer.body.decode() != any_name
        assert answer.get("set-cookie")
        answer = three.gateway.get("/strict/private", f"Cookie: {strict_cookie}\r\n")
        assert (answer.status, answer.get("retry-after")) == (503, b"1")
        assert three.gateway.get("/strict/private").status == 200
    finally:
        restart(three, any_name)
    answer = three.gateway.get("/strict/private", f"Cookie: {strict_cookie}\r\n")
    assert (answer.status, answer.body.decode()) == (200, strict_name)
