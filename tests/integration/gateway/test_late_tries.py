"""A slow, frozen or failing instance is not its clients' misfortune (A5, G7; issue 3).

Real gateways before real origins. An origin that "hangs" answers a path only once the test lets it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account

DEADLINE_SECONDS = 15.0
LEARNING = 40  # answers until a route's latency is known

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
{gateway}
[timeouts]
drain = "1s"
{settings}
[pools.app]
instances = [{instances}]
{pool}
[pools.app.health]
kind = "tcp"
interval = "500ms"
fast_interval = "100ms"
timeout = "400ms"
{health}
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/poll/*"
pool = "app"
first_byte = "0s"
"""


class Site:
    """A gateway before two origins; paths below /hang wait for ``let_go`` at origin ``a``."""

    def __init__(self, folder: Path, **parts: str) -> None:
        self.a, self.b = Origin(name="a"), Origin(name="b")
        self.let_go = threading.Event()
        given = {"gateway": "", "settings": "", "pool": "", "health": "", **parts}
        addresses = ", ".join(
            f'{{ name = "{each.name}", address = "{each.address}" }}' for each in (self.a, self.b)
        )
        self.gateway = GatewayProcess(folder, policy=POLICY.format(instances=addresses, **given))

    def hang(self, path: str) -> None:
        """Let origin a answer ``path`` only once it is let go; origin b answers at once."""

        def handler(call: Call) -> None:
            _ = call.body
            self.let_go.wait(DEADLINE_SECONDS)
            call.reply(b"a, late")

        self.a.on(path, handler)
        self.b.on(path, lambda call: call.reply(b"b"))

    def learn(self) -> None:
        """Let the route's latency be learned."""
        with self.gateway.connect() as client:
            for _ in range(LEARNING):
                assert client.get("/learn").status == 200

    def seen(self, path: str) -> int:
        return len(self.a.seen(path)) + len(self.b.seen(path))

    def state(self, name: str) -> str:
        return next(
            str(each["state"])
            for each in self.gateway.status()["instances"]
            if each["name"] == name
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        self.gateway.until(condition, what, DEADLINE_SECONDS)


@contextmanager
def running(folder: Path, **parts: str) -> Iterator[Site]:
    site = Site(folder, **parts)
    try:
        yield site
        site.let_go.set()
        site.until(lambda: site.gateway.in_flight() == 0, "no load left behind")
    finally:
        site.let_go.set()
        site.gateway.stop()
        for each in (site.a, site.b):
            each.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running(tmp_path) as made:
        yield made


def test_a_get_that_hangs_is_answered_by_another(site: Site) -> None:
    site.hang("/hang")
    site.learn()
    for _ in range(6):
        assert site.gateway.get("/hang").body == b"b"
    assert site.gateway.metric('poruwa_hedges_total{outcome="won"}') >= 1
    site.let_go.set()
    site.until(lambda: site.gateway.in_flight() == 0, "the late ones counted off")


def test_what_is_overtaken_again_and_again_is_ejected_and_comes_back(tmp_path: Path) -> None:
    ejection = 'ejection = { failures = 2, base = "1s", slow_start = "0s" }'
    with running(tmp_path, health=ejection) as site:
        site.hang("/hang")
        site.learn()

        def is_ejected() -> bool:
            # Several at a time: after one failure alone, one request at a time goes elsewhere.
            clients = [site.gateway.connect() for _ in range(8)]
            for client in clients:
                client.send(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for client in clients:
                assert client.response().body == b"b"
                client.close()
            return site.state("a") == "ejected"

        site.until(is_ejected, "the ejection")
        site.let_go.set()
        assert site.gateway.metric("poruwa_ejections_total") >= 1

        def is_back() -> bool:
            assert site.gateway.get("/learn").status == 200
            return site.state("a") == "up"

        site.until(is_back, "the return")
        assert site.gateway.in_flight() == 0


def test_the_connection_of_an_overtaken_try_is_kept(site: Site) -> None:
    """Its instance answered in the end: the next request there finds it."""
    site.hang("/hang")
    site.learn()
    while not site.a.seen("/hang"):
        assert site.gateway.get("/hang").body == b"b"
    late = site.a.seen("/hang")[-1].connection
    site.let_go.set()
    site.until(lambda: site.gateway.in_flight() == 0, "the late answer")
    before = len(site.a.seen("/learn"))
    site.learn()
    after = site.a.seen("/learn")[before:]
    assert after
    assert {call.connection.number for call in after} == {late.number}


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", "x"), ("GET", "x"), ("DELETE", ""), ("OPTIONS", "")]
)
def test_only_plain_gets_are_asked_of_two_at_a_time(site: Site, method: str, body: str) -> None:
    """What has a body, or may change something, is tried again once it failed at the earliest."""
    for origin in (site.a, site.b):
        origin.on("/other", lambda call: (site.let_go.wait(DEADLINE_SECONDS), call.reply(b"ok"))[1])
    site.hang("/hang")
    site.learn()
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = f"{method} /other HTTP/1.1\r\nHost: weddinglk.test\r\n{length}\r\n{body}"
    with site.gateway.connect() as one, site.gateway.connect() as two:
        for client in (one, two):  # one at each origin, so that others come to both
            client.send(request.encode())
        site.until(lambda: site.seen("/other") == 2, "the requests")

        def is_hedged() -> bool:
            assert site.gateway.get("/hang").body == b"b"
            return site.gateway.metric('poruwa_hedges_total{outcome="won"}') >= 1

        site.until(is_hedged, "a hedge of another request, which began later")
        site.let_go.set()
        assert {client.response(method.encode()).body for client in (one, two)} == {b"ok"}
    assert (len(site.a.seen("/other")), len(site.b.seen("/other"))) == (1, 1)


def test_a_post_is_never_sent_beside_itself(site: Site) -> None:
    site.hang("/hang")
    site.learn()
    with site.gateway.connect() as one, site.gateway.connect() as two:
        for client in (one, two):  # one of them comes to the origin that hangs
            client.send(
                b"POST /hang HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 1\r\n\r\nx"
            )
        site.until(lambda: site.seen("/hang") == 2, "both POSTs at the origins")
        site.gateway.until(
            lambda: site.gateway.get("/learn").status == 200, "time passing", DEADLINE_SECONDS
        )
        site.let_go.set()
        assert {one.response().body, two.response().body} <= {b"b", b"a, late"}
    assert site.seen("/hang") == 2


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/poll/x", ""), ("/stream", "Accept: text/event-stream\r\n")],
)
def test_long_polls_and_event_streams_are_left_alone(site: Site, path: str, fields: str) -> None:
    for origin in (site.a, site.b):
        origin.on(path, lambda call: (site.let_go.wait(DEADLINE_SECONDS), call.reply(b"ok"))[1])
    site.hang("/hang")
    site.learn()
    with site.gateway.connect() as one, site.gateway.connect() as two:
        for client in (one, two):  # one at each origin, so that others come to both
            client.send(f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n{fields}\r\n".encode())
        site.until(lambda: site.seen(path) == 2, "the requests")
        for _ in range(6):  # others are hedged meanwhile
            assert site.gateway.get("/hang").body == b"b"
        assert site.gateway.metric('poruwa_hedges_total{outcome="won"}') >= 1
        site.let_go.set()
        assert {client.response().body for client in (one, two)} == {b"ok"}
    assert (len(site.a.seen(path)), len(site.b.seen(path))) == (1, 1)


def test_hedges_stay_within_their_share_when_all_are_slow(site: Site) -> None:
    for origin in (site.a, site.b):
        origin.on("/slow", lambda call: (threading.Event().wait(0.3), call.reply(b"ok"))[1])
    site.learn()
    for number in range(30):
        assert site.gateway.get(f"/slow?{number}").status == 200
    sent = site.gateway.metric('poruwa_hedges_total{outcome="sent"}')
    assert sent <= 0.05 * (LEARNING + 30) + 1


def test_an_error_answer_is_tried_once_elsewhere(site: Site) -> None:
    site.a.on("/error", lambda call: call.reply(b"no", status=b"500 No"))
    site.b.on("/error", lambda call: call.reply(b"b"))
    assert [site.gateway.get("/error").body for _ in range(8)] == [b"b"] * 8
    assert site.gateway.metric('poruwa_retries_total{reason="status"}') >= 1
    for origin in (site.a, site.b):
        origin.on("/broken", lambda call: call.reply(b"no", status=b"503 No"))
    before = site.seen("/broken")
    assert site.gateway.get("/broken").status == 503
    assert site.seen("/broken") - before <= 2


def test_with_retries_off_few_meet_the_instance_that_errs(tmp_path: Path) -> None:
    with running(tmp_path, settings="[retry]\nattempts = 0") as site:
        site.a.on("/error", lambda call: call.reply(b"no", status=b"500 No"))
        site.b.on("/error", lambda call: call.reply(b"b"))
        statuses = [site.gateway.get("/error").status for _ in range(200)]
        assert 1 <= statuses.count(500) <= 10
        assert statuses[-50:].count(500) <= 1


def test_tries_are_told_to_who_may_know(tmp_path: Path) -> None:
    with running(tmp_path) as site:
        told = site.gateway.get("/x", "Poruwa-Timing: 1\r\n")
        assert b"try1;dur=" in (told.get("server-timing") or b"")
        assert b'desc="' + str(account(told)["origin"]).encode() in told.get("server-timing")
        assert "poruwa-timing" not in str(account(told)).lower()
        assert site.gateway.get("/x").get("server-timing") is None
        forwarded = site.gateway.get("/x", "Poruwa-Timing: 1\r\nX-Forwarded-For: 1.2.3.4\r\n")
        assert forwarded.get("server-timing") is None


def test_with_a_key_only_its_owner_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMING_KEY", "k" * 32)
    with running(tmp_path, gateway='timing_key = "env:TIMING_KEY"') as site:
        assert site.gateway.get("/x", "Poruwa-Timing: 1\r\n").get("server-timing") is None
        told = site.gateway.get("/x", f"Poruwa-Timing: {'k' * 32}\r\n")
        assert told.get("server-timing") is not None


def test_a_key_tells_also_through_a_proxy_and_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMING_KEY", "k" * 32)
    with running(tmp_path, gateway='timing_key = "env:TIMING_KEY"') as site:
        fields = f"X-Forwarded-For: 192.0.2.1\r\npORUWA-tIMING: {'k' * 32}\r\n"
        told = site.gateway.get("/x", fields)
        assert b"try1;dur=" in (told.get("server-timing") or b"")
        assert "kkkk" not in str(account(told))
        wrong = site.gateway.get("/x", f"Poruwa-Timing: {'k' * 31}\r\n")
        assert wrong.get("server-timing") is None
        assert "kkkk" not in str(account(wrong))


def test_an_overtaken_try_and_its_hedge_are_told(site: Site) -> None:
    site.hang("/hang")
    site.learn()
    told: list[bytes] = []

    def is_told() -> bool:
        told.append(site.gateway.get("/hang", "Poruwa-Timing: 1\r\n").get("server-timing") or b"")
        return b"try2" in told[-1]

    site.until(is_told, "a hedged request")
    assert re.search(rb'try1;dur=[0-9.]+;desc="a first [a-z ]+"', told[-1])
    assert re.search(rb'try2;dur=[0-9.]+;desc="b hedge 200"', told[-1])


@pytest.mark.parametrize(
    ("key", "fields"),
    [("header:X-Tenant", "X-Tenant: {}\r\n"), ("cookie:sid", "Cookie: sid={}\r\n")],
)
def test_what_is_hashed_stays_together(tmp_path: Path, key: str, fields: str) -> None:
    method = f'method = "sticky-hash"\nhash_key = "{key}"'
    with running(tmp_path, pool=method) as site:
        homes = {
            value: {account(site.gateway.get("/x", fields.format(value)))["origin"]
                    for _ in range(3)}
            for value in range(24)
        }  # fmt: skip
    assert all(len(origins) == 1 for origins in homes.values())
    assert {origin for origins in homes.values() for origin in origins} == {"a", "b"}


@pytest.mark.parametrize("method", ["sticky-hash", "consistent-hash"])
def test_paths_have_their_instances(tmp_path: Path, method: str) -> None:
    """Whoever asks, and whatever the query is."""
    pool = f'method = "{method}"\nhash_key = "path"'
    with running(tmp_path, pool=pool, settings="[hedge]\nenabled = false") as site:
        homes = {
            number: {
                account(site.gateway.get(f"/page/{number}?{source}", source=f"127.0.0.{source}"))[
                    "origin"
                ]
                for source in (2, 3, 4)
            }
            for number in range(24)
        }
    assert all(len(origins) == 1 for origins in homes.values())
    assert {origin for origins in homes.values() for origin in origins} == {"a", "b"}


def test_clients_without_a_cookie_go_by_hash_and_with_one_by_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFINITY_KEYS", "k" * 32)
    affinity = '[pools.app.affinity]\nkeys = "env:AFFINITY_KEYS"\nwithout_cookie = "hash"'
    with running(tmp_path, pool=affinity, settings="[hedge]\nenabled = false") as site:
        for origin in (site.a, site.b):
            origin.on(
                "/me",
                lambda call: call.reply(
                    call.connection.origin.name.encode(), fields=b"Cache-Control: private\r\n"
                ),
            )
        sources = [f"127.0.0.{number}" for number in range(2, 26)]
        homes: dict[str, bytes] = {}
        cookies: dict[bytes, str] = {}
        for source in sources:
            answers = [site.gateway.get("/me", source=source) for _ in range(3)]
            assert len({answer.body for answer in answers}) == 1
            homes[source] = answers[0].body
            line = (answers[0].get("set-cookie") or b"").decode()
            cookies[answers[0].body] = line.partition(";")[0]
        assert set(homes.values()) == {b"a", b"b"}
        for source in sources:
            other = b"b" if homes[source] == b"a" else b"a"
            answer = site.gateway.get("/me", f"Cookie: {cookies[other]}\r\n", source=source)
            assert answer.body == other


def test_full_instances_let_clients_wait_in_turn(tmp_path: Path) -> None:
    """Ten requests of one address wait; those of another are served between them."""
    with running(tmp_path, pool="max_in_flight_per_instance = 1") as site:
        order: list[bytes] = []

        def note(call: Call) -> None:
            order.append(call.target)
            call.reply(b"ok")

        def hold(call: Call) -> None:
            site.let_go.wait(DEADLINE_SECONDS)
            call.reply(b"held")

        for origin in (site.a, site.b):
            origin.on("/held", hold)
            for number in range(12):
                origin.on(f"/many/{number}", note)
                origin.on(f"/few/{number}", note)
        request = "GET {} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
        clients = []
        try:
            for _ in range(2):  # both instances are full from here on
                clients.append(site.gateway.connect(source="127.0.0.4"))
                clients[-1].send(request.format("/held").encode())
            site.until(lambda: site.seen("/held") == 2, "both instances at work")
            for source, name, count in (("127.0.0.2", "many", 10), ("127.0.0.3", "few", 2)):
                for number in range(count):
                    clients.append(site.gateway.connect(source=source))
                    clients[-1].send(request.format(f"/{name}/{number}").encode())
            site.until(lambda: site.gateway.metric("poruwa_waiting") == 12, "all waiting")
            site.let_go.set()
            assert all(client.response().status == 200 for client in clients)
        finally:
            for client in clients:
                client.close()
        last_few = max(at for at, target in enumerate(order) if target.startswith(b"/few"))
        assert last_few <= 5
