"""WebSockets and other upgrades: two real ends of the ``websockets`` library, a gateway between."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import Server, ServerConnection, serve

from fakes.authority import Authority
from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin

UPGRADE = (
    b"GET /tunnel HTTP/1.1\r\nHost: weddinglk.test\r\nConnection: Upgrade\r\n"
    b"Upgrade: poruwa-test\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\n"
    b"Upgrade: poruwa-test\r\nX-Kept: 2\r\n\r\n"
)


def echo(connection: ServerConnection) -> None:
    for message in connection:
        if message == "close":
            connection.close(4001, "as asked")
        elif message == "drop":
            connection.socket.shutdown(socket.SHUT_RDWR)
        else:
            connection.send(message)


@pytest.fixture(scope="module")
def websocket_server() -> Iterator[Server]:
    server = serve(echo, "127.0.0.1", 0, max_size=None, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def sockets_gateway(
    tmp_path_factory: pytest.TempPathFactory, websocket_server: Server
) -> Iterator[GatewayProcess]:
    port = websocket_server.socket.getsockname()[1]
    policy = f"""
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[timeouts]
drain = "1s"
[pools.app]
instances = ["127.0.0.1:{port}"]
[pools.app.health]
kind = "tcp"
[[routes]]
path = "/*"
pool = "app"
"""
    process = GatewayProcess(tmp_path_factory.mktemp("sockets"), policy=policy)
    yield process
    process.stop()


async def test_websocket_messages_of_all_sizes(sockets_gateway: GatewayProcess) -> None:
    async with connect(
        f"ws://{sockets_gateway.address}/chat", max_size=None, compression=None
    ) as client:
        for message in ("a", "x" * 70_000, b"\x00\xff" * 4_000_000):
            await client.send(message)
            assert await asyncio.wait_for(client.recv(), 10) == message
        await (await client.ping())
    assert client.close_code == 1000


async def test_websocket_closed_by_the_instance(sockets_gateway: GatewayProcess) -> None:
    async with connect(f"ws://{sockets_gateway.address}/chat") as client:
        await client.send("close")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
    assert (client.close_code, client.close_reason) == (4001, "as asked")


async def test_websocket_dropped_by_the_instance(sockets_gateway: GatewayProcess) -> None:
    async with connect(f"ws://{sockets_gateway.address}/chat") as client:
        await client.send("drop")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 5)
    assert client.close_code == 1006


async def test_websockets_end_in_no_load(sockets_gateway: GatewayProcess) -> None:
    """Each is one request in flight while it lasts, and none afterwards."""
    clients = [await connect(f"ws://{sockets_gateway.address}/chat") for _ in range(10)]
    assert await asyncio.to_thread(sockets_gateway.in_flight) == 10
    for client in clients[:5]:
        await client.close()
    for client in clients[5:]:
        client.transport.abort()
    await asyncio.to_thread(
        sockets_gateway.until, lambda: sockets_gateway.in_flight() == 0, "no load"
    )


async def test_websocket_back_pressure(sockets_gateway: GatewayProcess) -> None:
    """A client that sends and does not read: its own sending stops, memory does not grow."""
    before = await asyncio.to_thread(sockets_gateway.worker_memory_bytes)
    async with connect(
        f"ws://{sockets_gateway.address}/chat", max_size=None, compression=None, max_queue=1
    ) as client:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 1000:
                await client.send(b"x" * 100_000)
                sent += 1

        flooding = asyncio.create_task(flood())
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 0.4:
            if sent != last:
                last, since = sent, time.monotonic()
            await asyncio.sleep(0.02)
        assert sent < 1000
        grown = await asyncio.to_thread(sockets_gateway.worker_memory_bytes) - before
        assert grown < 8_000_000
        received = 0
        while received < 1000:
            assert len(await asyncio.wait_for(client.recv(), 10)) == 100_000
            received += 1
        await flooding


async def test_refused_handshake(sockets_gateway: GatewayProcess) -> None:
    """What is no 101 is an ordinary answer."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"ws://{sockets_gateway.address}/chat",
            additional_headers={"Sec-WebSocket-Version": "7"},
        )
    assert 400 <= refused.value.response.status_code < 500


# Other upgrades, seen as bytes.


def tunnel(origin: Origin) -> list[Call]:
    """Switch, then echo until the client's end."""
    calls: list[Call] = []

    def switch(call: Call) -> None:
        calls.append(call)
        call.is_body_read = True
        call.send(SWITCH + b"early")
        while True:
            data = call.connection.reader.buffer or call.connection.sock.recv(65536)
            call.connection.reader.buffer = b""
            if not data:
                call.send(b"bye")
                call.close()
                return
            call.send(data.upper())

    origin.on("/tunnel", switch)
    return calls


def test_any_upgrade_is_tunnelled(gateway: GatewayProcess, origin: Origin) -> None:
    calls = tunnel(origin)
    with gateway.connect() as client:
        client.send(UPGRADE + b"ahead ")  # a client need not wait for the 101
        answer = client.response()
        assert answer.status == 101
        assert answer.get("upgrade") == b"poruwa-test"
        assert answer.get("connection") == b"Upgrade"
        assert (answer.get("x-hop"), answer.get("x-kept")) == (None, b"2")
        assert client.reader.exactly(11) == b"earlyAHEAD "
        client.send(b"more")
        assert client.reader.exactly(4) == b"MORE"
        client.finish_sending()  # half of the tunnel ends, the other half still speaks
        assert client.rest() == b"bye"
    request = calls[0].request
    assert request.get("connection") == b"Upgrade"
    assert request.get("upgrade") == b"poruwa-test"
    gateway.until(lambda: gateway.in_flight() == 0, "no load")


def test_instance_ends_its_half_first(gateway: GatewayProcess, origin: Origin) -> None:
    received: list[bytes] = []

    def switch(call: Call) -> None:
        call.is_body_read = True
        call.send(SWITCH + b"last words")
        call.connection.sock.shutdown(socket.SHUT_WR)
        received.append(call.connection.reader.rest())
        call.close()

    origin.on("/tunnel", switch)
    with gateway.connect() as client:
        client.send(UPGRADE)
        assert client.response().status == 101
        assert client.rest() == b"last words"
        client.send(b"still heard")
        client.finish_sending()
    gateway.until(lambda: gateway.in_flight() == 0, "no load")
    gateway.until(lambda: received, "the instance's end")
    assert received == [b"still heard"]


def test_tunnel_over_tls_ends(
    gateway: GatewayProcess, origin: Origin, authority: Authority
) -> None:
    """TLS has no half close that clients understand: the end of either side ends both."""

    def switch(call: Call) -> None:
        call.is_body_read = True
        call.send(SWITCH + b"bye")
        call.close()

    origin.on("/tunnel", switch)
    with gateway.connect("tls", tls=authority.context) as client:
        client.send(UPGRADE)
        assert client.response().status == 101
        assert client.rest() == b"bye"
    gateway.until(lambda: gateway.in_flight() == 0, "no load")


@pytest.mark.parametrize(
    "fields",
    [
        b"Upgrade: poruwa-test\r\n",  # not named by Connection
        b"Connection: Upgrade\r\n",  # names nothing
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    ],
)
def test_no_upgrade(gateway: GatewayProcess, origin: Origin, fields: bytes) -> None:
    """And never h2c: the requests inside would pass by every rule (RFC 9113 dropped it)."""
    calls = tunnel(origin)
    with gateway.connect() as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: weddinglk.test\r\n" + fields + b"\r\n")
        assert client.response().status == 502  # the instance switched, and nobody had asked it to
    assert all(call.request.get("upgrade") is None for call in calls)


def test_upgrade_refused_by_an_ordinary_answer(gateway: GatewayProcess, origin: Origin) -> None:
    origin.on("/tunnel", b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
    with gateway.connect() as client:
        client.send(UPGRADE)
        assert client.response().status == 426
        assert client.get("/after").status == 200
