"""Connections to instances that end: what is sent again, what never (RFC 9110 section 9.2.2)."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
queue = "0.8s"
[timeouts]
connect = "0.5s"
first_byte = "5s"
drain = "1s"
[retry]
attempts = 2
[pools.pair]
instances = [{ name = "a", address = "%(a)s" }, { name = "b", address = "%(b)s" }]
method = "round-robin"
[pools.pair.health]
enabled = false
[pools.flaky]
instances = ["%(flaky)s"]
[pools.flaky.health]
interval = "0.4s"
fast_interval = "0.1s"
timeout = "0.3s"
fall = 1
rise = 1
[pools.single]
instances = ["%(a)s"]
max_in_flight_per_instance = 2
[pools.single.health]
enabled = false
[pools.restarted]
instances = ["%(restarted)s"]
[pools.restarted.health]
enabled = false
[pools.hasty]
instances = ["%(hasty)s"]
[pools.hasty.health]
enabled = false
[pools.socket]
instances = ["unix:%(folder)s/absent.sock"]
[pools.socket.health]
enabled = false
[[routes]]
path = "/*"
pool = "pair"
[[routes]]
path = "/flaky/*"
pool = "flaky"
[[routes]]
path = "/single/*"
pool = "single"
[[routes]]
path = "/restarted/*"
pool = "restarted"
[[routes]]
path = "/hasty/*"
pool = "hasty"
[[routes]]
path = "/socket/*"
pool = "socket"
"""


class HastyServer:
    """Closes each connection as soon as it is open, by a reset every other time."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for number in count():
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Pair:
    """A gateway before two instances, one of which a test may stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.a = Origin(name="a")
        self.b = Origin(name="b")
        self.flaky = Origin(name="flaky")
        self.hasty = HastyServer()
        self.restarted = Origin(name="restarted")
        self.gateway = GatewayProcess(
            folder,
            policy=POLICY
            % {
                "a": self.a.address,
                "b": self.b.address,
                "flaky": self.flaky.address,
                "hasty": self.hasty.address,
                "restarted": self.restarted.address,
                "folder": folder,
            },
        )

    def on(self, path: str, handler: object) -> None:
        for origin in (self.a, self.b):
            origin.on(path, handler)  # type: ignore[arg-type]

    def seen(self, path: str) -> int:
        return len(self.a.seen(path)) + len(self.b.seen(path))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.gateway.stop()
    for origin in (pair.a, pair.b, pair.flaky, pair.hasty, pair.restarted):
        origin.stop()


def close_instead_of_second(call: Call) -> None:
    """Answer the first request of a connection, close when the next one comes."""
    if call.connection.requests > 1:
        call.close()
    else:
        call.reply(b"ok")


def reset_instead_of_second(call: Call) -> None:
    if call.connection.requests > 1:
        call.reset()
    else:
        call.reply(b"ok")


@pytest.mark.parametrize("handler", [close_instead_of_second, reset_instead_of_second])
def test_idle_race_never_reaches_a_get(pair: Pair, handler: object) -> None:
    """200 in a row, each kept connection lost as it is used again (RFC 9112 section 9.3.1)."""
    pair.on("/race", handler)
    with pair.gateway.connect() as client:
        answers = [client.get("/race").status for _ in range(200)]
    assert answers == [200] * 200


def test_idle_race_with_a_body_that_may_be_sent_again(pair: Pair) -> None:
    def handler(call: Call) -> None:
        if call.connection.requests > 1:
            call.reset()
        else:
            call.reply(call.body)

    pair.on("/race-put", handler)
    with pair.gateway.connect() as client:
        for number in range(50):
            body = b"%d" % number * 1000
            assert client.get("/race-put", method="PUT", body=body).body == body


def test_no_post_is_sent_twice(pair: Pair) -> None:
    """It may have been done: the client learns that by 502, and decides."""
    seen: list[str] = []
    lock = threading.Lock()

    def handler(call: Call) -> None:
        with lock:
            seen.append(call.body.decode())
        close_instead_of_second(call)

    pair.on("/race-post", handler)
    statuses = []
    with pair.gateway.connect() as client:
        for number in range(60):
            statuses.append(client.get("/race-post", method="POST", body=b"%d" % number).status)
    assert len(seen) == len(set(seen)) == 60
    assert set(statuses) == {200, 502}


def test_post_with_an_idempotency_key_is_sent_again(pair: Pair) -> None:
    pair.on("/race-key", close_instead_of_second)
    with pair.gateway.connect() as client:
        for number in range(20):
            answer = client.get(
                "/race-key", f"Idempotency-Key: {number}\r\n", method="POST", body=b"x"
            )
            assert answer.status == 200


def test_reset_of_a_fresh_connection(pair: Pair) -> None:
    """A GET goes to the other instance, a POST to nobody else, and soon nothing goes there."""

    def reset(call: Call) -> None:
        _ = call.body
        call.reset()

    pair.a.on("/reset", reset)
    pair.b.on("/reset", lambda call: call.reply(b"b"))
    statuses = [pair.gateway.get("/reset", method="POST", body=b"x").status for _ in range(12)]
    assert pair.seen("/reset") == 12
    assert 502 in statuses
    assert statuses[-1] == 200
    assert [pair.gateway.get("/reset").status for _ in range(6)] == [200] * 6


def test_tries_end(pair: Pair) -> None:
    """1 + retry.attempts tries, then 502. Losing a kept connection is no try."""
    fresh: list[bool] = []

    def reset(call: Call) -> None:
        fresh.append(call.connection.requests == 1)
        call.reset()

    pair.on("/always-reset", reset)
    with pair.gateway.connect() as client:
        assert client.get("/always-reset").status == 502
    assert sum(fresh) == 3


def test_last_try_waits_for_dying_processes_to_be_gone(pair: Pair) -> None:
    """Issue 3, Show 5: a killed process accepts until the kernel has torn it down."""
    began = time.monotonic()

    def die(call: Call) -> None:
        if time.monotonic() < began + 0.1:
            call.reset()
        else:
            call.reply(b"back")

    pair.on("/dying", die)
    with pair.gateway.connect() as client:
        answer = client.get("/dying")
    assert (answer.status, answer.body) == (200, b"back")


def test_client_that_leaves_before_the_last_try(pair: Pair) -> None:
    fresh: list[bool] = []

    def reset(call: Call) -> None:
        fresh.append(call.connection.requests == 1)
        call.reset()

    pair.on("/left", reset)
    with pair.gateway.connect() as client:
        client.send(b"GET /left HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while sum(fresh) < 2:
            time.sleep(0.001)
        client.reset()
    time.sleep(0.4)
    assert sum(fresh) == 2
    assert pair.gateway.in_flight() == 0


def test_instance_that_refuses_connections(pair: Pair) -> None:
    """Nothing was sent, so that even a POST may go elsewhere."""
    policy = POLICY % {
        "a": f"127.0.0.1:{free_port()}",
        "b": pair.b.address,
        "flaky": pair.flaky.address,
        "hasty": pair.hasty.address,
        "restarted": pair.restarted.address,
        "folder": pair.folder,
    }
    folder = pair.folder / "refused"
    folder.mkdir()
    gateway = GatewayProcess(folder, policy=policy)
    try:
        with gateway.connect() as client:
            for number in range(10):
                answer = account(client.get("/refused", method="POST", body=b"%d" % number))
                assert (answer["origin"], answer["body"]) == ("b", str(number))
        assert gateway.in_flight() == 0
    finally:
        gateway.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_unix_socket_that_is_not_there(pair: Pair) -> None:
    assert pair.gateway.get("/socket/x").status == 503


def test_client_that_leaves_frees_the_instance(pair: Pair) -> None:
    """An answer nobody waits for is not computed to the end: the instance's connection closes.

    A reset says so. The mere end of the client's side does not: it may read on (half-close).
    """
    ended = threading.Event()

    def wait(call: Call) -> None:
        if not call.connection.sock.recv(1):
            ended.set()
        call.close()

    pair.on("/left", wait)
    with pair.gateway.connect() as client:
        client.send(b"GET /left HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        pair.gateway.until(lambda: pair.gateway.in_flight() == 1, "a request under way")
        client.reset()
    assert ended.wait(5)
    pair.gateway.until(lambda: pair.gateway.in_flight() == 0, "no load")


def test_all_instances_down_and_one_back(pair: Pair) -> None:
    """503 when the queue's time is over; served at once when an instance is up again."""
    pair.flaky.stop()
    gateway = pair.gateway

    def state() -> str:
        return str(next(each["state"] for each in gateway.status()["instances"]
                        if each["pool"] == "flaky"))  # fmt: skip

    gateway.until(lambda: state() == "down", "the verdict")
    start = time.monotonic()
    answer = gateway.get("/flaky/x")
    took = time.monotonic() - start
    assert (answer.status, answer.get("retry-after")) == (503, b"1")
    assert 0.6 < took < 3.0
    # Requests that wait while it comes back are served, POST and its body too.
    answers: list[int] = []

    def ask(number: int) -> None:
        answer = gateway.get("/flaky/x", method="POST", body=b"%d" % number)
        answers.append(answer.status)
        assert json.loads(answer.body)["body"] == str(number)

    waiting = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in waiting:
        thread.start()
    time.sleep(0.1)
    pair.flaky = Origin(name="flaky", port=pair.flaky.port)
    for thread in waiting:
        thread.join(5)
    assert answers == [200] * 10
    assert gateway.in_flight() == 0


def test_instance_that_closes_every_connection(pair: Pair) -> None:
    """An answer each time and soon: no request is left on a connection that is gone.

    502 where the close came after the request was sent, 503 where it came before, which looks like
    an instance that refuses.
    """
    clients = [pair.gateway.connect() for _ in range(40)]
    try:
        for _ in range(5):
            start = time.monotonic()
            for client in clients:
                client.send(b"GET /hasty/x HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
            assert {client.response().status for client in clients} <= {502, 503}
            assert time.monotonic() - start < 3.0
    finally:
        for client in clients:
            client.close()
    assert pair.gateway.in_flight() == 0


def test_limit_of_requests_per_instance(pair: Pair) -> None:
    """The others wait in the queue, and go on the moment a place is free: not at the next tick."""
    most = [0]
    now = [0]
    lock = threading.Lock()

    def work(call: Call) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1
        call.reply(b"ok")

    pair.a.on("/single/x", work)
    clients = [pair.gateway.connect() for _ in range(40)]
    try:
        start = time.monotonic()
        for client in clients:
            client.send(b"GET /single/x HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        assert {client.response().status for client in clients} == {200}
        assert time.monotonic() - start < 0.8
    finally:
        for client in clients:
            client.close()
    assert most[0] == 2
    assert pair.gateway.in_flight() == 0


def test_only_instance_restarts_unnoticed(pair: Pair) -> None:
    """Between its end and the check that sees it, its port refuses: requests wait, POST too."""
    assert pair.gateway.get("/restarted/x").status == 200
    pair.restarted.stop()
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(pair.gateway.get("/restarted/x", method="POST", body=b"%d" % number).status)

    waiting = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    assert answers == []
    pair.restarted = Origin(name="restarted", port=pair.restarted.port)
    for thread in waiting:
        thread.join(5)
    assert answers == [200] * 20
    assert sorted(int(call.body) for call in pair.restarted.seen("/restarted/x")) == list(range(20))
    assert pair.gateway.in_flight() == 0
