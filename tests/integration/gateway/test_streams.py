"""Large bodies both ways, and peers that do not read: memory stays bounded.

The bound of a connection is stated in ``poruwa.gateway.listener``; allowed here is that with room
for the allocator, far below what would pile up without back-pressure.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account

MEGABYTE = 1_000_000
BODY_BYTES = 50 * MEGABYTE
ALLOWED_BYTES = 8 * MEGABYTE
BLOCK = bytes(range(256)) * 256  # 64 KiB


def blocks(count_bytes: int) -> list[bytes]:
    whole, rest = divmod(count_bytes, len(BLOCK))
    return [BLOCK] * whole + [BLOCK[:rest]]


DIGEST = hashlib.sha256(b"".join(blocks(BODY_BYTES))).hexdigest()


def send_large(call: Call, *, chunked: bool = False) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % BODY_BYTES
    call.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    for block in blocks(BODY_BYTES):
        call.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
    if chunked:
        call.send(b"0\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_large_download(gateway: GatewayProcess, origin: Origin, *, chunked: bool) -> None:
    origin.on("/big/down", lambda call: send_large(call, chunked=chunked))
    before = gateway.worker_memory_bytes()
    with gateway.connect() as client:
        answer = client.get("/big/down")
        assert hashlib.sha256(answer.body).hexdigest() == DIGEST
        assert client.get("/after").status == 200
    assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES


@pytest.mark.parametrize("chunked", [False, True])
def test_large_upload(gateway: GatewayProcess, origin: Origin, *, chunked: bool) -> None:
    origin.on("/big/up", lambda call: call.reply(hashlib.sha256(call.body).hexdigest().encode()))
    before = gateway.worker_memory_bytes()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % BODY_BYTES
    with gateway.connect() as client:
        client.send(b"PUT /big/up HTTP/1.1\r\nHost: weddinglk.test\r\n" + framing + b"\r\n\r\n")
        for block in blocks(BODY_BYTES):
            client.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.response().body.decode() == DIGEST
    assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES


def await_standstill(gateway: GatewayProcess, sent: list[int]) -> None:
    """Wait until the sender makes no progress for a while: back-pressure has reached it."""
    deadline = time.monotonic() + 10
    last, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        if sent[0] != last:
            last, since = sent[0], time.monotonic()
        elif last > 0 and time.monotonic() - since > 0.3:
            return
        time.sleep(0.02)
    raise AssertionError(f"never came to a standstill: {sent[0]} bytes")


def test_slow_reader_stops_the_instance(gateway: GatewayProcess, origin: Origin) -> None:
    sent = [0]

    def stream(call: Call) -> None:
        call.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
        for block in blocks(BODY_BYTES):
            call.send(block)
            sent[0] += len(block)

    origin.on("/big/slow-reader", stream)
    before = gateway.worker_memory_bytes()
    with gateway.connect(receive_buffer=65536) as client:
        client.send(b"GET /big/slow-reader HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        await_standstill(gateway, sent)
        assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES
        assert sent[0] < BODY_BYTES
        answer = client.response()  # and it goes on when read
        assert hashlib.sha256(answer.body).hexdigest() == DIGEST


def test_slow_instance_stops_the_client(gateway: GatewayProcess, origin: Origin) -> None:
    go_on = threading.Event()

    def swallow(call: Call) -> None:
        go_on.wait(20)
        call.reply(hashlib.sha256(call.body).hexdigest().encode())

    origin.on("/big/slow-origin", swallow)
    before = gateway.worker_memory_bytes()
    sent = [0]
    with gateway.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

        def upload() -> None:
            client.send(b"PUT /big/slow-origin HTTP/1.1\r\nHost: weddinglk.test\r\n"
                        b"Content-Length: %d\r\n\r\n" % BODY_BYTES)  # fmt: skip
            for block in blocks(BODY_BYTES):
                client.send(block)
                sent[0] += len(block)

        uploader = threading.Thread(target=upload)
        uploader.start()
        await_standstill(gateway, sent)
        assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES
        assert sent[0] < BODY_BYTES
        go_on.set()
        uploader.join(20)
        assert client.response().body.decode() == DIGEST


def test_pipelining_client_that_never_reads(gateway: GatewayProcess, origin: Origin) -> None:
    """The next request waits until the last answer is on its way: nothing piles up in between."""
    size = 4 * MEGABYTE

    def answer(call: Call) -> None:
        call.reply(b"x" * size)

    origin.on("/big/unread", answer)
    before, calls = gateway.worker_memory_bytes(), len(origin.seen("/big/unread"))
    request = b"GET /big/unread HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    with gateway.connect(receive_buffer=65536) as client:
        client.send(request * 20)
        asked = 0
        since = time.monotonic()
        while time.monotonic() - since < 0.5:
            if len(origin.seen("/big/unread")) - calls != asked:
                asked, since = len(origin.seen("/big/unread")) - calls, time.monotonic()
            time.sleep(0.02)
        assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES
        assert asked < 5
        for _ in range(20):
            assert len(client.response().body) == size
    assert len(origin.seen("/big/unread")) - calls == 20


def test_asking_for_error_pages_without_reading(gateway: GatewayProcess) -> None:
    """Answers made by the gateway itself obey the same rule."""
    request = b"GET /a/../../.. HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    before = gateway.worker_memory_bytes()
    with gateway.connect(receive_buffer=4096) as client:
        client.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.send(request * 1_000_000)
        assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES
    assert gateway.get("/after").status == 200


def test_early_requests_while_an_answer_is_slow(gateway: GatewayProcess, origin: Origin) -> None:
    """What a client sends ahead is read only up to ``limits.buffer``."""
    go_on = threading.Event()

    def slow(call: Call) -> None:
        go_on.wait(10)
        call.reply(b"done")

    origin.on("/slow-first", slow)
    before = gateway.worker_memory_bytes()
    with gateway.connect() as client:
        client.send(b"GET /slow-first HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        origin.await_calls("/slow-first", 1)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.sock.settimeout(0.4)
        request = b"GET /ahead HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
        with pytest.raises(TimeoutError):
            client.send(request * 1_000_000)
        assert gateway.worker_memory_bytes() - before < ALLOWED_BYTES
        go_on.set()
        client.sock.settimeout(5)
        assert client.response().body == b"done"
        assert account(client.response())["target"] == "/ahead"
