"""What one client, one request and one connection may use, and the status of each limit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fakes.authority import TRUSTED_SOURCE, Authority
from fakes.gateway_process import GatewayProcess, policy_head
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient, account
from fakes.wire import WireError

HEADER_SECONDS = 0.6
IDLE_SECONDS = 0.9
BODY_SECONDS = 0.7
FIRST_BYTE_SECONDS = 0.6
RESPONSE_SECONDS = 0.7
SWEEP_SECONDS = 0.25
LATE_SECONDS = 2.0  # a busy machine

POLICY = f"""
[trust]
proxies = ["{TRUSTED_SOURCE}"]
[limits]
request_line = "1KiB"
header = "8KiB"
header_count = 20
body = "100KiB"
connections = 12
connections_per_client = 4
[timeouts]
header = "{HEADER_SECONDS}s"
idle = "{IDLE_SECONDS}s"
body = "{BODY_SECONDS}s"
connect = "0.5s"
first_byte = "{FIRST_BYTE_SECONDS}s"
response = "{RESPONSE_SECONDS}s"
drain = "1s"
[retry]
attempts = 0
[pools.app]
instances = ["{{origin}}"]
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/small"
pool = "app"
body = "10B"
[[routes]]
path = "/patient"
pool = "app"
first_byte = "30s"
"""


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, origin: Origin, authority: Authority
) -> Iterator[GatewayProcess]:
    policy = policy_head(authority=authority) + POLICY.replace("{origin}", origin.address)
    process = GatewayProcess(tmp_path_factory.mktemp("limits"), policy=policy)
    yield process
    process.stop()


@pytest.fixture(autouse=True)
def nobody_connected(limited: GatewayProcess) -> None:
    """Connections of the test before are gone."""
    limited.until(lambda: limited.status()["workers"][0]["connections"] == 0, "no connection", 10)


def head(target: str = "/x", fields: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: weddinglk.test\r\n{fields}\r\n".encode()


# Sizes.


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (head("/" + "a" * 1024), 414),
        (b"GET /" + b"a" * 2000, 414),  # refused before its end comes
        (head(fields="X-Large: " + "a" * 8192 + "\r\n"), 431),
        (head(fields="Cookie: " + "a" * 900 + "\r\n")[:-2] * 12, 431),
        (head()[:-2] + b"X-Any: " + b"a" * 9000, 431),
        (head(fields="X-Any: 1\r\n" * 20), 431),
    ],
)  # fmt: skip
def test_head_limits(limited: GatewayProcess, origin: Origin, send: bytes, status: int) -> None:
    before = len(origin.calls)
    with limited.connect() as client:
        client.send(send)
        answer = client.response()
        assert (answer.status, answer.get("connection")) == (status, b"close")
        if status == 431:  # check 9: a browser with too many cookies can come back
            assert answer.get("clear-site-data") == b'"cookies"'
        assert client.rest() == b""
    assert len(origin.calls) == before


def test_just_within_the_limits(limited: GatewayProcess) -> None:
    line = len("GET / HTTP/1.1")
    assert limited.get("/" + "a" * (1024 - line)).status == 200
    with limited.connect() as client:
        client.send(head(fields="X-Any: 1\r\n" * 19))
        assert client.response().status == 200
        raw = head(fields="X-Large: \r\n")
        client.send(head(fields="X-Large: " + "a" * (8192 - len(raw)) + "\r\n"))
        assert client.response().status == 200


def test_body_too_large_by_its_length(limited: GatewayProcess, origin: Origin) -> None:
    """At once: before a byte of it came, and without an instance."""
    before = len(origin.calls)
    with limited.connect() as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 102401\r\n\r\n")
        answer = client.response()
        assert (answer.status, answer.get("connection")) == (413, b"close")
        assert client.rest() == b""
    assert len(origin.calls) == before


def test_body_too_large_once_it_came(limited: GatewayProcess, origin: Origin) -> None:
    with limited.connect() as client:
        client.send(
            b"POST /x HTTP/1.1\r\nHost: weddinglk.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n")
        answer = client.response()
        assert (answer.status, answer.get("connection")) == (413, b"close")
        assert client.rest() == b""
    assert not [call for call in origin.seen("/x") if call.is_complete and len(call.body) > 102400]


def test_client_that_goes_on_sending_reads_its_413(limited: GatewayProcess) -> None:
    """Closing with unread bytes would reset the connection and lose the answer."""
    with limited.connect() as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 900000\r\n\r\n")
        for _ in range(9):
            client.send(b"x" * 100_000)
        assert client.response().status == 413


def test_body_limit_of_a_route(limited: GatewayProcess) -> None:
    assert limited.get("/small", method="POST", body=b"0123456789").status == 200
    assert limited.get("/small", method="POST", body=b"0123456789a").status == 413


# Times.


def ends_after(client: RawClient, seconds: float) -> bytes:
    """Read to the end, which must come after ``seconds`` and not much later."""
    start = time.monotonic()
    data = client.rest()
    took = time.monotonic() - start
    assert seconds - 0.1 <= took + SWEEP_SECONDS, took
    assert took <= seconds + 2 * SWEEP_SECONDS + LATE_SECONDS, took
    return data


@pytest.mark.parametrize("part", [b"G", b"GET /x HTTP/1.1\r\nHost: weddinglk.test\r\n"])
def test_head_too_slow(limited: GatewayProcess, part: bytes) -> None:
    with limited.connect() as client:
        client.send(part)
        assert ends_after(client, HEADER_SECONDS).startswith(b"HTTP/1.1 408 ")


def test_head_byte_by_byte_is_too_slow(limited: GatewayProcess) -> None:
    """The time is that of the whole head: bytes that trickle in do not prolong it."""
    with limited.connect() as client:
        client.sock.settimeout(0.05)
        start = time.monotonic()
        answer = b""
        for byte in b"GET /x HTTP/1.1\r\nX-Slow: " + b"a" * 1000:
            try:
                client.send(bytes([byte]))
                answer += client.sock.recv(1000)
                break
            except TimeoutError:
                continue
        assert time.monotonic() - start < HEADER_SECONDS + 2 * SWEEP_SECONDS + LATE_SECONDS
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_head_of_a_later_request_too_slow(limited: GatewayProcess) -> None:
    with limited.connect() as client:
        assert client.get("/x").status == 200
        client.send(b"GET /y HT")
        assert ends_after(client, HEADER_SECONDS).startswith(b"HTTP/1.1 408 ")


def test_body_too_slow(limited: GatewayProcess, origin: Origin) -> None:
    with limited.connect() as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 10\r\n\r\nhe")
        assert ends_after(client, BODY_SECONDS).startswith(b"HTTP/1.1 408 ")
    assert not [call for call in origin.seen("/x") if call.request.get("content-length") == b"10"
                and call.is_complete]  # fmt: skip


def test_slow_body_that_keeps_coming_is_served(limited: GatewayProcess) -> None:
    with limited.connect() as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(BODY_SECONDS / 5)
            client.send(b"x")
        assert account(client.response())["body"] == "x" * 8


def test_idle_connection_is_closed_silently(limited: GatewayProcess) -> None:
    with limited.connect() as client:
        assert client.get("/x").status == 200
        assert ends_after(client, IDLE_SECONDS) == b""


def test_new_connection_that_says_nothing(limited: GatewayProcess) -> None:
    with limited.connect() as client:
        assert ends_after(client, HEADER_SECONDS) == b""


def test_tls_handshake_too_slow(limited: GatewayProcess) -> None:
    """It has the time of a head: not the minute that TLS libraries allow."""
    with limited.connect("tls") as client:
        assert ends_after(client, HEADER_SECONDS) == b""


def test_instance_that_does_not_answer(limited: GatewayProcess, origin: Origin) -> None:
    """504, and the connection to the client lives on."""

    def sleep(call: Call) -> None:
        _ = call.body
        time.sleep(FIRST_BYTE_SECONDS + 3)

    origin.on("/silent", sleep)
    with limited.connect() as client:
        assert client.get("/silent").status == 504
        assert client.get("/x").status == 200
        assert client.get("/silent", method="POST", body=b"x").status == 504


def test_instance_that_stops_within_its_answer(limited: GatewayProcess, origin: Origin) -> None:
    def stall(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(RESPONSE_SECONDS + 3)

    origin.on("/stalled", stall)
    with limited.connect() as client:
        client.send(head("/stalled"))
        with pytest.raises((ConnectionResetError, WireError)):
            client.response()


def test_time_of_a_route(limited: GatewayProcess, origin: Origin) -> None:
    def late(call: Call) -> None:
        time.sleep(FIRST_BYTE_SECONDS + 2 * SWEEP_SECONDS + 0.2)
        call.reply(b"at last")

    origin.on("/patient", late)
    assert limited.get("/patient").body == b"at last"


def test_client_that_does_not_read_its_answer(limited: GatewayProcess, origin: Origin) -> None:
    """It loses its connection after ``timeouts.body``, and with it the instance's is freed."""

    def large(call: Call) -> None:
        call.reply(b"x" * 30_000_000)

    origin.on("/unread", large)
    with limited.connect(receive_buffer=4096) as client:
        client.send(head("/unread"))
        limited.until(lambda: limited.in_flight() == 1, "a request under way")
        limited.until(lambda: limited.in_flight() == 0, "its end", BODY_SECONDS + LATE_SECONDS)
        with pytest.raises((ConnectionResetError, WireError)):
            client.response()


def test_client_that_does_not_read_its_last_answer(limited: GatewayProcess, origin: Origin) -> None:
    """Also when all of the answer that is left waits in our buffer, and the connection is closing.

    How much the kernel takes is its own affair, so a range of sizes is asked for.
    """
    origin.on("/unread-end", lambda call: call.reply(b"x" * int(call.target.partition(b"?")[2])))
    clients = []
    for number in range(12):
        client = limited.connect(source=f"127.0.0.{2 + number // 3}", receive_buffer=4096)
        client.send(head(f"/unread-end?{2_400_000 + number * 150_000}", "Connection: close\r\n"))
        clients.append(client)
    limited.until(lambda: limited.status()["workers"][0]["connections"] > 0, "connections")
    limited.until(
        lambda: limited.status()["workers"][0]["connections"] == 0,
        "the end of all connections",
        2 * BODY_SECONDS + LATE_SECONDS,
    )
    for client in clients:
        client.close()


# Connections.


def test_connections_per_client(limited: GatewayProcess) -> None:
    clients = [limited.connect() for _ in range(4)]
    try:
        assert [client.get("/x").status for client in clients] == [200] * 4
        with limited.connect() as client:
            assert client.response().status == 429
            assert client.rest() == b""
        with limited.connect(source="127.0.0.2") as client:  # somebody else is not concerned
            assert client.get("/x").status == 200
        clients.pop().close()
        limited.until(lambda: limited.status()["workers"][0]["connections"] <= 3, "a free place")
        with limited.connect() as client:
            assert client.get("/x").status == 200
    finally:
        for client in clients:
            client.close()


def test_connections_of_a_trusted_proxy(limited: GatewayProcess) -> None:
    """It is many clients: the limit of one is not its."""
    clients = [limited.connect(source=TRUSTED_SOURCE) for _ in range(8)]
    try:
        assert [client.get("/x").status for client in clients] == [200] * 8
    finally:
        for client in clients:
            client.close()


def test_connections_in_total(limited: GatewayProcess) -> None:
    """And those refused for the total do not confuse the count of their client."""
    clients = [limited.connect(source=f"127.0.0.{2 + number // 3}") for number in range(12)]
    try:
        assert [client.get("/x").status for client in clients] == [200] * 12
        for _ in range(3):
            with limited.connect(source="127.0.0.2") as client:
                assert client.response().status in (429, 503)
        with limited.connect(source="127.0.0.99") as client:
            assert client.response().status == 503
        for client in clients[6:]:
            client.close()
        limited.until(lambda: limited.status()["workers"][0]["connections"] <= 6, "free places")
        with limited.connect(source="127.0.0.2") as fourth:
            assert fourth.get("/x").status == 200
            with limited.connect(source="127.0.0.2") as fifth:
                assert fifth.response().status == 429
    finally:
        for client in clients:
            client.close()
