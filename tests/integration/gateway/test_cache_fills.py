"""One fetch for many: who waits, who reads along, who goes on alone (issue 4, Show 3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.wire import Response

FRESH = b"Cache-Control: max-age=100\r\n"
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[cache]
follow_origin = true
[retry]
attempts = 0
statuses = []
[timeouts]
first_byte = "2s"
response = "2s"
[pools.app]
instances = ["%s"]
health.kind = "tcp"
[[routes]]
path = "/*"
pool = "app"
"""


class Site:
    def __init__(self, folder: Path) -> None:
        self.origin = Origin()
        self.gateway = GatewayProcess(folder, policy=POLICY % self.origin.address)

    def stop(self) -> None:
        self.gateway.stop()
        self.origin.stop()

    def ask(self, client: RawClient, path: str, fields: str = "") -> None:
        client.send(f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n{fields}\r\n".encode())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(tmp_path_factory.mktemp("fills"))
    yield started
    started.stop()


def in_turn(site: Site, path: str, count: int, fields: str = "") -> list[Response]:
    """Ask ``count`` times at once, each on a connection of its own; return the answers."""
    clients = [site.gateway.connect() for _ in range(count)]
    try:
        for client in clients:
            site.ask(client, path, fields)
        return [client.response() for client in clients]
    finally:
        for client in clients:
            client.close()


def test_a_cold_page_is_fetched_once_for_all_who_wait(site: Site) -> None:
    def tell(call: Call) -> None:
        time.sleep(0.3)
        call.reply(b"page", fields=FRESH)

    site.origin.on("/cold", tell)
    answers = in_turn(site, "/cold", 200)
    assert {answer.body for answer in answers} == {b"page"}
    assert len(site.origin.seen("/cold")) == 1
    statuses = [answer.get("cache-status") or b"" for answer in answers]
    assert sum(b"collapsed" in each for each in statuses) == 199


def test_readers_get_what_is_there_and_the_rest_as_it_comes(site: Site) -> None:
    go_on = threading.Event()

    def tell(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"Transfer-Encoding: chunked\r\n\r\n")
        call.send(b"6\r\nfirst \r\n")
        go_on.wait(5)
        call.send(b"6\r\nsecond\r\n0\r\n\r\n")

    site.origin.on("/stream", tell)
    with site.gateway.connect() as early, site.gateway.connect() as late:
        site.ask(early, "/stream")
        assert early.reader.head() is not None
        early.reader.exactly(9)  # the first chunk is here before the second is there
        site.ask(late, "/stream")
        assert late.reader.head() is not None
        go_on.set()
        assert b"second" in early.reader.exactly(11)
    with site.gateway.connect() as after:
        answer = after.get("/stream")
        assert answer.body == b"first second"
        assert answer.get("content-length") == b"12"
    assert len(site.origin.seen("/stream")) == 1


def test_what_is_not_for_all_is_asked_for_by_each(site: Site) -> None:
    def tell(call: Call) -> None:
        time.sleep(0.2)
        who = call.request.get("cookie") or b""
        call.reply(b"for " + who, fields=b"Cache-Control: private\r\n")

    site.origin.on("/mine", tell)
    clients = [site.gateway.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        site.ask(client, "/mine", f"Cookie: c={number}\r\n")
    for number, client in enumerate(clients):
        assert client.response().body == b"for c=%d" % number
        client.close()
    assert len(site.origin.seen("/mine")) == 5
    together = threading.Barrier(5)

    def tell_together(call: Call) -> None:
        together.wait(timeout=10)  # broken, and no answer, where one waits for another's
        call.reply(b"mine", fields=b"Cache-Control: private\r\n")

    site.origin.on("/mine", tell_together)
    clients = [site.gateway.connect() for _ in range(5)]
    for client in clients:  # remembered: nobody waits for another
        site.ask(client, "/mine")
    for client in clients:
        assert client.response().body == b"mine"
        client.close()


def test_waiters_whose_variant_differs_go_on_alone(site: Site) -> None:
    def tell(call: Call) -> None:
        time.sleep(0.2)
        call.reply(call.request.get("x-tone") or b"none", fields=FRESH + b"Vary: X-Tone\r\n")

    site.origin.on("/tones", tell)
    with site.gateway.connect() as one, site.gateway.connect() as two:
        site.ask(one, "/tones", "X-Tone: low\r\n")
        site.ask(two, "/tones", "X-Tone: high\r\n")
        assert one.response().body == b"low"
        assert two.response().body == b"high"


def test_a_fill_goes_on_when_who_caused_it_leaves(site: Site) -> None:
    def tell(call: Call) -> None:
        time.sleep(0.4)
        call.reply(b"kept", fields=FRESH)

    site.origin.on("/left", tell)
    with site.gateway.connect() as client, site.gateway.connect() as other:
        site.ask(client, "/left")
        time.sleep(0.1)
        site.ask(other, "/left")
        client.reset()
        assert other.response().body == b"kept"
    with site.gateway.connect() as after:
        assert (after.get("/left").get("cache-status") or b"").startswith(b"poruwa; hit")


def test_an_answer_that_breaks_off_is_seen_to_and_not_kept(site: Site) -> None:
    def tell(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"Content-Length: 100\r\n\r\nhalf")
        time.sleep(0.1)
        call.reset()

    site.origin.on("/cut", tell)
    with site.gateway.connect() as client:
        site.ask(client, "/cut")
        head = client.reader.head()
        assert head is not None
        assert client.reader.exactly(4) == b"half"
        assert client.is_closed_by_peer()
    site.origin.on("/cut", lambda call: call.reply(b"whole", fields=FRESH))
    with site.gateway.connect() as client:
        assert client.get("/cut").body == b"whole"


def test_no_instance_answers_all_who_wait(site: Site) -> None:
    site.origin.on("/dead", lambda call: call.reset())
    assert [answer.status for answer in in_turn(site, "/dead", 3)] == [502] * 3


def test_an_instance_that_never_answers(site: Site) -> None:
    site.origin.on("/silent", lambda call: time.sleep(4))
    answers = in_turn(site, "/silent", 2)
    assert [answer.status for answer in answers] == [504, 504]


def test_a_large_answer_passes_a_slow_reader_whole_and_unkept(site: Site) -> None:
    """Larger than what one entry may be: it is passed on, and the origin waits for who reads."""
    size = 48 << 20
    piece = bytes(range(256)) * 4096

    def tell(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            call.send(piece)

    site.origin.on("/large", tell)
    with site.gateway.connect() as client:
        site.ask(client, "/large")
        assert client.reader.head() is not None
        time.sleep(0.5)
        got = client.reader.exactly(size)
    assert got[: len(piece)] == piece
    assert len(got) == size
    with site.gateway.connect() as client:
        site.ask(client, "/large")
        assert client.reader.head() is not None
        client.reader.exactly(size)
    assert len(site.origin.seen("/large")) == 2


def test_stale_while_revalidate_lets_nobody_wait_and_asks_once(site: Site) -> None:
    stale = b"Cache-Control: max-age=1, stale-while-revalidate=100\r\nAge: 50\r\n"
    site.origin.on("/swr", lambda call: call.reply(b"old", fields=stale))
    with site.gateway.connect() as client:
        assert client.get("/swr").body == b"old"

    go_on = threading.Event()

    def tell(call: Call) -> None:
        go_on.wait(timeout=10)
        call.reply(b"new", fields=FRESH)

    site.origin.on("/swr", tell)
    clients = [site.gateway.connect() for _ in range(50)]
    answers = [client.get("/swr") for client in clients]
    assert {answer.body for answer in answers} == {b"old"}  # while the origin holds its answer
    go_on.set()
    until = time.monotonic() + 20
    while (body := clients[0].get("/swr").body) == b"old" and time.monotonic() < until:
        time.sleep(0.01)
    assert body == b"new"
    for client in clients:
        client.close()
    assert len(site.origin.seen("/swr")) == 2


def test_a_change_during_a_fill_keeps_it_out_of_the_store(site: Site) -> None:
    """Nobody joins a fill that was asked for before the change (DESIGN section 6, rule 3)."""

    def tell(call: Call) -> None:
        if call.method == b"POST":
            call.reply(b"done")
        else:
            time.sleep(0.4)
            call.reply(b"old", fields=FRESH)

    site.origin.on("/changed", tell)
    with site.gateway.connect() as reader, site.gateway.connect() as writer:
        reader.send(b"GET /changed HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        time.sleep(0.1)
        assert writer.get("/changed", method="POST").body == b"done"
        site.origin.on("/changed", lambda call: call.reply(b"new", fields=FRESH))
        assert writer.get("/changed").body == b"new"
        assert reader.response().body == b"old"
        assert writer.get("/changed").body == b"new"


def test_what_the_cache_does_is_counted(site: Site) -> None:
    site.origin.on("/counted", lambda call: call.reply(b"x" * 1000, fields=FRESH))
    hits = 'poruwa_cache_requests_total{class="origin",outcome="hit"}'
    before = site.gateway.metric(hits)
    with site.gateway.connect() as client:
        for _ in range(3):
            client.get("/counted")
    assert site.gateway.metric(hits) == before + 2
    assert site.gateway.metric('poruwa_cache_held{what="bytes"}') > 1000
