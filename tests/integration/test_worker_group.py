"""Epochs of workers, their rows, and who has to go when there are too many: real workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from poruwa.config.load import default_policy
from poruwa.config.wire import encode_policy
from poruwa.errors import StackError
from poruwa.gateway.local_bus import Configure
from poruwa.gateway.shared_state import SharedState
from poruwa.stack.sockets import bound_address, open_listener
from poruwa.stack.supervisor import Supervisor
from poruwa.stack.topology import make_topology
from poruwa.stack.workers import Epoch, WorkerGroup, WorkerSettings

DEADLINE_SECONDS = 30.0


class Group:
    """A worker group with so many rows, and its listening socket."""

    def __init__(self, rows: int) -> None:
        self.shared = SharedState.create(max_workers=rows)
        self.listener = open_listener("127.0.0.1:0")
        self.exits: list[int] = []
        self.supervisor = Supervisor()
        self.workers = WorkerGroup(
            self.supervisor,
            self.shared,
            on_exit=self.exits.append,
            on_last_word=lambda row, snapshot: None,
        )

    def settings(self, policy: bytes | None = None) -> WorkerSettings:
        wanted = default_policy(listen=bound_address(self.listener), upstreams=("127.0.0.1:1",))
        topology = make_topology(wanted, max_instances=self.shared.max_instances)
        return WorkerSettings(
            configure=Configure(policy or encode_policy(wanted), topology),
            listeners={"http": self.listener},
            access_log="",
            drain_seconds=1.0,
        )

    async def next_epoch(self, count: int = 1) -> Epoch:
        """Begin an epoch and let the one before drain, for ten minutes if need be."""
        old = self.workers.current
        epoch = await self.workers.prepare(count, self.settings())
        await self.workers.open(epoch)
        if old is not None:
            await self.workers.retire(old, seconds=600.0)
        return epoch

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection on which one request has been answered (nobody is behind: 503)."""
        host, port = self.listener.getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 503 " in head
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        return reader, writer


@asynccontextmanager
async def group(rows: int) -> AsyncIterator[Group]:
    made = Group(rows)
    try:
        async with asyncio.timeout(DEADLINE_SECONDS), made.supervisor:
            yield made
            await made.workers.drain()
    finally:
        made.listener.close()
        made.shared.close()


async def test_rows_are_used_again_and_the_oldest_makes_room() -> None:
    async with group(rows=2) as made:
        first = await made.next_epoch()
        reader, writer = await made.connect()
        second = await made.next_epoch()
        assert (first.rows, second.rows) == ((0,), (1,))
        assert made.workers.rows == (1, 0)
        assert [made.shared.worker(row).is_draining for row in (0, 1)] == [True, False]
        third = await made.next_epoch()  # only the first one's row can be had
        assert third.rows == (0,)
        assert await reader.read() == b""
        writer.close()
        assert 0 in made.exits
        reader, writer = await made.connect()
        assert made.shared.worker(0).pid == made.supervisor.pids()["worker.0"]
        writer.close()


async def test_more_workers_than_rows_are_refused_and_nothing_changes() -> None:
    async with group(rows=3) as made:
        first = await made.next_epoch()
        with pytest.raises(StackError, match="3 more workers are too many"):
            await made.workers.prepare(3, made.settings())
        assert (made.workers.current, made.workers.rows) == (first, (0,))
        _, writer = await made.connect()
        writer.close()


async def test_workers_that_cannot_use_the_policy_are_all_gone_again() -> None:
    async with group(rows=8) as made:
        first = await made.next_epoch()
        pids = made.supervisor.pids()
        with pytest.raises(StackError, match=r"worker\.[12]: .*restart the gateway"):
            await made.workers.prepare(2, made.settings(policy=b"of another version"))
        assert (made.workers.current, made.supervisor.pids()) == (first, pids)
        assert [view.index for view in made.shared.live_workers()] == [0]
        assert (await made.next_epoch()).rows == (1,), "the rows are free again"


async def test_nobody_accepts_before_the_epoch_is_opened() -> None:
    async with group(rows=8) as made:
        epoch = await made.workers.prepare(2, made.settings())
        host, port = made.listener.getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await reader.read(1)
        await made.workers.open(epoch)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
