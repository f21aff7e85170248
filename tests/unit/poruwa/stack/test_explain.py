"""What ``poruwa explain`` says is what the gateway would do (G6), over a real shared memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from poruwa.config.load import parse_policy
from poruwa.errors import StackError
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState, SharedState, WorkerRow
from poruwa.rules.affinity import AffinityTable
from poruwa.rules.health import CheckReason, HealthState, HealthStatus
from poruwa.stack.explain import Explainer, Question
from poruwa.stack.topology import make_topology

KEY = "k" * 32
THREE = """instances = [
  { name = "a", address = "10.0.0.1:80" },
  { name = "b", address = "10.0.0.2:80" },
  { name = "c", address = "10.0.0.3:80" },
]
"""
POLICY = f"""
[pools.app]
{THREE}
[pools.bound]
{THREE}
[pools.bound.affinity]
keys = "env:KEYS"
[pools.strict]
{THREE}
[pools.strict.affinity]
keys = "env:KEYS"
failover = "fail"
[pools.fallback]
{THREE}
[pools.fallback.affinity]
keys = "env:KEYS"
without_cookie = "hash"
[pools.tenants]
method = "sticky-hash"
hash_key = "header:X-Tenant"
{THREE}
[pools.pages]
method = "consistent-hash"
hash_key = "path"
{THREE}
[pools.sessions]
method = "sticky-hash"
hash_key = "cookie:sid"
{THREE}
[pools.few]
max_in_flight_per_instance = 1
{THREE}
[pools.single]
instances = [{{ name = "one", address = "10.0.0.9:80" }}]
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/poll/*"
pool = "app"
first_byte = "0s"
[[routes]]
path = "/pages/*"
pool = "pages"
[[routes]]
name = "form"
path = "/form"
pool = "app"
methods = ["POST"]
[[routes]]
hosts = ["api.example.com"]
path = "/only"
pool = "single"
[[routes]]
path = "/old"
redirect = {{ to = "/new", status = 301 }}
[[routes]]
path = "/unbound/*"
pool = "bound"
affinity = false
""" + "".join(
    f'[[routes]]\npath = "/{pool}/*"\npool = "{pool}"\n'
    for pool in ("bound", "strict", "fallback", "tenants", "sessions", "few", "single")
)
UP = HealthState(status=HealthStatus.UP, reason=CheckReason.PASSED)
PATIENCE = {path: [0.1, 1.0] for path in ("/*", "/poll/*", "/single/*", "form")}


class Clock:
    """The machine's clock as the explainer reads it too, moved by hand from there."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def wall(self) -> float:
        return self.monotonic()


class Site:
    """A policy, its instances all up, and a judge, as the control process has them."""

    def __init__(self, policy: str = POLICY) -> None:
        self.policy = parse_policy(policy, "site.toml", environ={"KEYS": KEY})
        self.shared = SharedState.create(max_workers=1, max_instances=64)
        self.row = WorkerRow(self.shared, 0, generation=1)
        self.topology = make_topology(self.policy, max_instances=64)
        self.clock = Clock()
        self.judge = Judge(self.shared, self.policy.pools, clock=self.clock)
        self.slots = {
            (pool.name, each.name): each.slot
            for pool in self.topology.pools
            for each in pool.instances
        }
        for pool, name in self.slots:
            self.hear(pool, name, InstanceState.UP)

    def hear(
        self,
        pool: str,
        name: str,
        state: InstanceState,
        reason: CheckReason = CheckReason.PASSED,
    ) -> None:
        health = UP if state is InstanceState.UP else HealthState(reason=reason)
        slot = self.slots[pool, name]
        self.judge.hear(slot, pool=pool, name=name, weight=1, state=state, health=health)

    def eject(self, pool: str, name: str) -> None:
        for other in ("a", "b", "c"):
            failed = 5 if other == name else 0
            self.row.add_outcomes(
                self.slots[pool, other],
                answered=0 if failed else 20,
                failed=failed,
                latency_micros=0 if failed else 1_000_000,
                in_a_row=failed,
            )
        self.tick(0.05)

    def tick(self, seconds: float) -> None:
        self.clock.ahead += seconds
        self.judge.judge()

    def ask(self, url: str, **question: Any) -> dict[str, Any]:
        explainer = Explainer(
            self.policy, self.topology, self.shared, self.judge, patience=PATIENCE
        )
        return explainer.explain(Question(url=url, **question))

    def candidate(self, url: str, name: str) -> Mapping[str, Any]:
        candidates = self.ask(url)["candidates"]
        return next(each for each in candidates if each["instance"] == name)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.shared.close()


# Routes.


@pytest.mark.parametrize(
    ("url", "method", "route", "pool"),
    [
        ("/", "GET", "/*", "app"),
        ("/any/thing?x=/poll/y", "GET", "/*", "app"),
        ("http://www.example.com/poll/x", "GET", "/poll/*", "app"),
        ("https://API.example.com:8443/only", "GET", "/only", "single"),
        ("http://www.example.com/only", "GET", "/*", "app"),
        ("/only", "GET", "/*", "app"),
        ("/form", "POST", "form", "app"),
        ("/form", "GET", "/*", "app"),
        ("/%70oll/x", "GET", "/poll/*", "app"),
        ("http://www.example.com", "GET", "/*", "app"),
    ],
)
def test_the_route_and_its_pool(site: Site, url: str, method: str, route: str, pool: str) -> None:
    answer = site.ask(url, method=method)
    assert (answer["route"], answer["pool"]) == (route, pool)


def test_what_no_route_takes() -> None:
    site = Site(
        f'[pools.app]\n{THREE}[[routes]]\npath = "/form"\npool = "app"\nmethods = ["POST"]\n'
    )
    try:
        unknown, forbidden = site.ask("/x"), site.ask("/form", method="PUT")
    finally:
        site.shared.close()
    assert (unknown["route"], unknown["status"], unknown["why"]) == (
        None, 404, "no route has the path",
    )  # fmt: skip
    assert (forbidden["status"], forbidden["why"]) == (405, "the path takes POST only")


def test_what_the_gateway_answers_itself(site: Site) -> None:
    answer = site.ask("/old")
    assert answer["why"] == "the gateway redirects (301) to /new"
    assert "pool" not in answer


def test_hosts_aliases_and_the_host_field() -> None:
    site = Site(
        f"""[pools.app]
{THREE}
[[hosts]]
name = "www.example.com"
aliases = ["example.com", "*.example.org"]
[[routes]]
hosts = ["www.example.com"]
path = "/*"
pool = "app"
"""
    )
    try:
        for host in ("example.com", "example.com:8443", "any.example.org"):
            answer = site.ask(f"http://{host}/x")
            assert (answer["route"], answer["status"]) == (None, 308)
            assert answer["why"] == f"{host} is an alias: 308 to www.example.com"
        assert site.ask("/x", headers={"host": "WWW.example.com"})["route"] == "/*"
        assert site.ask("/x", headers={"host": "example.net"})["status"] == 404
    finally:
        site.shared.close()


def test_an_alias_is_redirected_whatever_hosts_its_paths_route_takes() -> None:
    site = Site(
        f'[pools.app]\n{THREE}[[hosts]]\nname = "www.example.com"\naliases = ["example.com"]\n'
        '[[routes]]\npath = "/*"\npool = "app"\n'
    )
    try:
        assert site.ask("http://example.com/x")["status"] == 308
        assert site.ask("http://www.example.com/x")["route"] == "/*"
    finally:
        site.shared.close()


def test_affinity_of_a_shared_route_is_for_what_no_cache_keeps() -> None:
    site = Site(
        f"""[pools.app]
{THREE}
[pools.app.affinity]
keys = "env:KEYS"
[classes.page]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[[routes]]
path = "/*"
pool = "app"
data_class = "page"
"""
    )
    try:
        assert site.ask("/x")["affinity_cookie"] == "not used on this route"
        assert "is not there" in site.ask("/x", method="POST")["affinity_cookie"]
    finally:
        site.shared.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/a/../b", "answered with 400"),
        ("/a%2e%2e/%2e%2e/b", "answered with 400"),
        ("/caf\u00e9", "answered with 400"),
        ("venues", "answered with 400"),
        ("http://[::1/x", "is no URL"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_would_be_right(
    site: Site, url: str, told: str
) -> None:
    with pytest.raises(StackError, match=told) as caught:
        site.ask(url)
    assert caught.value.status_hint == 422
    assert "write" in caught.value.message


# The choice.


def test_among_equals(site: Site) -> None:
    answer = site.ask("/")
    assert answer["instance"] in {"a", "b", "c"}
    assert answer["why"] == "by least-connections among equals"
    assert answer["panic"] is False
    assert [each["reason"] for each in answer["candidates"]] == ["up"] * 3


def test_the_least_loaded_is_named_with_the_figures(site: Site) -> None:
    for name, load in (("a", 4), ("b", 1), ("c", 3)):
        for _ in range(load):
            site.row.begin(site.slots["app", name])
    answer = site.ask("/")
    assert answer["instance"] == "b"
    assert [each["in_flight"] for each in answer["candidates"]] == [4, 1, 3]
    waits = [each["expected_wait"] for each in answer["candidates"]]
    assert waits[1] < waits[2] < waits[0]


def test_who_is_down_drains_or_is_ejected_is_told_why(site: Site) -> None:
    site.eject("app", "a")
    site.hear("app", "b", InstanceState.DRAINING)
    answer = site.ask("/", method="POST")
    assert answer["instance"] == "c"
    reasons = {each["instance"]: each["reason"] for each in answer["candidates"]}
    assert reasons["a"].startswith("ejected: live requests failed (failures-in-a-row, ")
    assert reasons["b"] == "draining: clients bound to it only"
    assert [each["ready"] for each in answer["candidates"]] == [False, False, True]
    assert [each["expected_wait"] is None for each in answer["candidates"]] == [True, True, False]
    site.hear("app", "b", InstanceState.DOWN, CheckReason.REFUSED)
    assert site.candidate("/", "b")["reason"] == f"down by the checks ({CheckReason.REFUSED.value})"


def test_the_next_get_goes_to_an_instance_on_probation(site: Site) -> None:
    site.eject("app", "a")
    site.tick(6.0)
    answer = site.ask("/")
    assert answer["instance"] == "a"
    assert "on probation" in answer["why"]
    assert site.ask("/", method="POST")["instance"] != "a"
    site.row.begin(site.slots["app", "a"])
    assert site.ask("/")["instance"] != "a"


def test_a_panic_is_told(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.hear("app", name, InstanceState.DOWN, CheckReason.STATUS)
    answer = site.ask("/")
    assert answer["panic"] is True
    assert answer["instance"] is not None


def test_where_nobody_can_take_it(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.row.begin(site.slots["few", name])
    answer = site.ask("/few/x")
    assert answer["instance"] is None
    assert "waits in the queue" in answer["why"]
    site.row.end(site.slots["few", "b"])
    assert site.ask("/few/x")["instance"] == "b"


# Affinity.


def cookie(pool: str, name: str) -> str:
    value = AffinityTable(pool, ["a", "b", "c"], [KEY.encode()]).value(name).decode()
    return f"theme=dark; WEDDINGLK_SESSION={value}"


def test_a_cookie_binds_also_to_who_drains(site: Site) -> None:
    for _ in range(9):
        site.row.begin(site.slots["bound", "c"])
    asked = {"headers": {"cookie": cookie("bound", "c")}}
    answer = site.ask("/bound/x", **asked)
    assert (answer["instance"], answer["bound_to"]) == ("c", "c")
    assert answer["why"] == "the affinity cookie binds the client to it"
    site.hear("bound", "c", InstanceState.DRAINING)
    assert site.ask("/bound/x", **asked)["instance"] == "c"
    site.hear("bound", "c", InstanceState.DOWN, CheckReason.REFUSED)
    assert site.ask("/bound/x", **asked)["instance"] in {"a", "b"}
    assert site.ask("/bound/x", **asked)["bound_to"] == "c"
    unbound = site.ask("/unbound/x", **asked)
    assert (unbound["bound_to"], unbound["affinity_cookie"]) == (None, "not used on this route")


@pytest.mark.parametrize(
    ("given", "scheme", "told"),
    [
        ("", "http", "WEDDINGLK_SESSION is not there"),
        ("WEDDINGLK_SESSION=forged", "http", "names no instance: forged, old, or another site's"),
        (cookie("strict", "a"), "http", "names no instance"),  # of another pool
        (cookie("bound", "a"), "https", "__Host-Http-WEDDINGLK_SESSION is not there"),
        (cookie("bound", "a").replace("WEDD", "__Host-Http-WEDD"), "https", "names a"),
    ],
)
def test_what_is_to_say_of_a_cookie(site: Site, given: str, scheme: str, told: str) -> None:
    answer = site.ask(f"{scheme}://www.example.com/bound/x", headers={"cookie": given})
    assert told in answer["affinity_cookie"]
    assert answer["bound_to"] == ("a" if told == "names a" else None)


def test_failover_fail_means_503(site: Site) -> None:
    site.hear("strict", "a", InstanceState.DOWN, CheckReason.REFUSED)
    answer = site.ask("/strict/x", headers={"cookie": cookie("strict", "a")})
    assert answer["instance"] is None
    assert "failover is fail: 503" in answer["why"]


def test_without_a_cookie_by_hash_of_the_client(site: Site) -> None:
    chosen = {}
    for number in range(30):
        answer = site.ask("/fallback/x", client=f"192.0.2.{number}")
        assert "by hash of the client" in answer["why"]
        chosen[number] = answer["instance"]
        again = site.ask("/fallback/y", client=f"192.0.2.{number}")
        assert again["instance"] == answer["instance"]
    assert set(chosen.values()) == {"a", "b", "c"}


# Hashes, and what is late.


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("/tenants/x", lambda value: {"headers": {"x-tenant": value}}),
        ("/sessions/x", lambda value: {"headers": {"cookie": f"a=b; sid={value}"}}),
        ("/tenants/x", lambda value: {"client": value}),  # without the header by the client
        ("/pages/{}", lambda value: {}),
    ],
)
def test_hash_methods_go_by_what_they_hash(site: Site, path: str, question: Any) -> None:
    def instance(value: str) -> str:
        answer = site.ask(path.format(value), **question(value))
        assert answer["why"].startswith("by hash of ")
        return str(answer["instance"])

    homes = {value: instance(value) for value in map(str, range(30))}
    assert homes == {value: instance(value) for value in homes}
    assert set(homes.values()) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("url", "method", "delays"),
    [
        ("/", "GET", (0.1, 1.0)),
        ("/", "HEAD", (0.1, 1.0)),
        ("/", "PUT", (None, None)),
        ("/form", "POST", (None, None)),
        ("/poll/x", "GET", (None, None)),  # no first-byte time-out: a long poll
        ("/single/x", "GET", (None, None)),  # nobody else to ask
    ],
)
def test_from_when_on_it_is_late(
    site: Site, url: str, method: str, delays: tuple[float | None, float | None]
) -> None:
    answer = site.ask(url, method=method)
    assert (answer["hedge_after_seconds"], answer["try_timeout_seconds"]) == delays


def test_with_hedges_off_nothing_is_late() -> None:
    site = Site(POLICY + "[hedge]\nenabled = false\n")
    try:
        assert site.ask("/")["hedge_after_seconds"] is None
    finally:
        site.shared.close()
