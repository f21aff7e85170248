"""Files from a disk that hangs: what becomes of the requests, the others, the open files.

The gateway runs in this process, so that its threads can be made to wait.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from poruwa.config.load import load_policy
from poruwa.gateway import static_files
from poruwa.gateway.acceptor import Acceptor
from poruwa.gateway.gateway import Gateway
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.stack.sockets import open_listener
from poruwa.stack.topology import make_topology

DEADLINE_SECONDS = 10.0
POLICY = """
[listeners.http]
address = "127.0.0.1:0"

[timeouts]
connect = "200ms"
first_byte = "300ms"

[[routes]]
path = "/slow/*"
static = { folder = "slow" }

[[routes]]
path = "/quick/*"
static = { folder = "quick" }
"""


class Edge:
    """A gateway of one worker, with its port."""

    def __init__(self, gateway: Gateway, port: int, folder: Path) -> None:
        self.gateway = gateway
        self.port = port
        self.folder = folder

    async def get(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return reader, writer

    async def status_of(self, target: str) -> int:
        reader, writer = await self.get(target)
        async with asyncio.timeout(DEADLINE_SECONDS):
            answer = await reader.read()
        writer.close()
        return int(answer.split(b" ")[1])

    def open_files(self) -> list[str]:
        found = []
        for link in Path("/proc/self/fd").iterdir():
            try:
                found.append(os.readlink(link))
            except FileNotFoundError:
                continue
        return [target for target in found if target.startswith(str(self.folder))]


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    for name in ("slow", "quick"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("a")
    with (tmp_path / "slow" / "large.bin").open("wb") as file:
        file.truncate(64 << 20)
    (tmp_path / "site.toml").write_text(POLICY)
    policy = load_policy(tmp_path / "site.toml", environ={})
    shared = SharedState.create()
    gateway = Gateway(
        policy,
        make_topology(policy, max_instances=shared.max_instances),
        shared=shared,
        row=WorkerRow(shared, 0, generation=1),
        loop=asyncio.get_running_loop(),
        access_log=None,
        folder=tmp_path,
    )
    sock = open_listener(policy.listeners[0].address)
    acceptor = Acceptor(gateway, policy.listeners[0], sock, shared, 0)
    gateway.start()
    await acceptor.start()
    yield Edge(gateway, sock.getsockname()[1], tmp_path)
    acceptor.stop()
    gateway.close()
    await until(lambda: not gateway.connections, "the connections to close")
    sock.close()


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch, name: bytes) -> Iterator[Event]:
    """Make a thread that looks for ``name`` wait; yields an event that is set when one does."""
    began, may_go_on = Event(), Event()
    find = static_files.StaticFiles._find

    def find_when_allowed(self, wanted, *arguments, **named):
        reply = find(self, wanted, *arguments, **named)
        if wanted.relative == name:
            began.set()
            may_go_on.wait(DEADLINE_SECONDS)
        return reply

    monkeypatch.setattr(static_files.StaticFiles, "_find", find_when_allowed)
    try:
        yield began
    finally:
        may_go_on.set()


async def test_relative_folders_are_those_beside_the_policy(edge: Edge) -> None:
    assert await edge.status_of("/quick/a.txt") == 200


async def test_a_hanging_disk_is_answered_for_and_holds_up_no_other(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hanging(monkeypatch, b"large.bin") as began:
        waiting = [asyncio.create_task(edge.status_of("/slow/large.bin")) for _ in range(8)]
        await until(began.is_set, "a thread to hang")
        for _ in range(5):
            assert await edge.status_of("/quick/a.txt") == 200
        assert await asyncio.gather(*waiting) == [504] * 8
    await until(lambda: not edge.open_files(), "the late files to be closed")
    assert await edge.status_of("/slow/a.txt") == 200
    assert edge.gateway.requests == 14


async def test_a_file_found_for_a_client_that_left_is_closed(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hanging(monkeypatch, b"large.bin") as began:
        _, writer = await edge.get("/slow/large.bin")
        await until(began.is_set, "a thread to hang")
        assert edge.open_files()
        writer.transport.abort()
        await until(lambda: edge.gateway.requests == 1, "the exchange to end")
    await until(lambda: not edge.open_files(), "the file to be closed")
    assert edge.gateway.requests == 1


async def test_a_fault_of_ours_is_an_answer_too(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(static_files.StaticFiles, "_find", fail)
    assert await edge.status_of("/quick/a.txt") == 500


async def test_a_client_that_takes_nothing_is_given_up(edge: Edge) -> None:
    """`timeouts.body` between two writes; the download is broken off and the file closed."""
    reader, writer = await edge.get("/slow/large.bin")
    await until(edge.open_files, "the file to be opened")
    (connection,) = edge.gateway.connections
    exchange = connection.exchange
    assert exchange is not None
    await until(lambda: exchange._client_blocked, "the client to be full")
    assert connection.deadline - edge.gateway.loop.time() > 1
    connection.deadline = 0.0  # as if the time had passed; the sweep finds it
    await until(lambda: not edge.open_files(), "the file to be closed")
    assert edge.gateway.requests == 1
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(64 << 20)
    writer.close()
