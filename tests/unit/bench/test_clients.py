"""Idle and slow clients do what they claim, seen from a server's side (Show 4)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable

import pytest
from bench.clients import IdleClients, SlowClients
from bench.errors import BenchError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Peer:
    """A server that counts; it answers whole heads and, if told to, closes what is slow."""

    def __init__(self) -> None:
        self.accepted = 0
        self.answered = 0
        self.slow_bytes = 0
        self.sources: set[str] = set()
        self.close_after_bytes = 1 << 30
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.sources.add(writer.get_extra_info("peername")[0])
        data = b""
        while more := await reader.read(1000):
            data += more
            if data.endswith(b"\r\n\r\n"):
                self.answered += 1
                data = b""
                writer.write(ANSWER)
            elif len(more) == 1:
                self.slow_bytes += 1
                if len(data) > self.close_after_bytes:
                    break
        writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    found = Peer()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


async def test_idle_clients_open_ask_once_and_stay(peer: Peer) -> None:
    with IdleClients(peer.port) as clients:
        await asyncio.to_thread(clients.open, 30, accepted=lambda: peer.accepted, batch=7)
        assert (peer.accepted, peer.answered) == (30, 0)
        await asyncio.to_thread(clients.request_once, batch=8)
        assert peer.answered == 30
        assert clients.open_count() == 30
    assert len(peer.sources) > 1


async def test_connections_that_are_not_taken_are_an_error(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.clients._CONNECT_SECONDS", 0.2)
    with IdleClients(peer.port) as clients, pytest.raises(BenchError, match="0 were accepted"):
        await asyncio.to_thread(clients.open, 2, accepted=lambda: 0)


async def test_slow_clients_never_end_their_head(peer: Peer) -> None:
    with _slow(peer, 20) as slow:
        await _until(lambda: slow.held() == 20 and peer.slow_bytes >= 60)
        assert peer.answered == 0
        assert slow.replaced == 0


async def test_slow_clients_that_are_closed_come_back(peer: Peer) -> None:
    peer.close_after_bytes = 60
    with _slow(peer, 10) as slow:
        await _until(lambda: slow.replaced >= 10 and slow.held() == 10)
        assert peer.accepted >= 20


def _slow(peer: Peer, count: int) -> SlowClients:
    return SlowClients(
        peer.port, count, core=max(os.sched_getaffinity(0)), every_seconds=0.02, spread_seconds=0.05
    )


async def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
