"""The connections of a worker to one instance: which one an exchange gets, and who waits.

Place on the path: between balancer and upstream. Decides without ``await``; only opening a new
connection is a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from errno import ECONNRESET
from typing import cast

from poruwa.config.address import Address
from poruwa.errors import UpstreamError
from poruwa.gateway.outbox import Outbox
from poruwa.gateway.upstream import CLOSED, ResponseReceiver, UpstreamConnection

# A POST goes out on a kept connection only if that was idle for less than this: the peer's own
# idle time-out is then still far, so that the close that would lose the POST is not under way.
FRESH_ENOUGH_SECONDS = 1.0


class InstanceConnections:
    """The connections of this worker to one instance.

    At most ``limit`` are open; requests beyond wait here in the order they came. Idle ones are used
    last in, first out, so that few stay warm and the others age out.
    """

    __slots__ = (
        "_connecting",
        "_head_limit_bytes",
        "_open",
        "_waiting",
        "address",
        "connect_seconds",
        "idle",
        "idle_seconds",
        "is_retired",
        "limit",
        "loop",
        "outbox",
    )

    def __init__(
        self,
        address: Address,
        outbox: Outbox,
        *,
        limit: int,
        connect_seconds: float,
        idle_seconds: float,
        head_limit_bytes: int,
    ) -> None:
        self.address = address
        self.outbox = outbox
        self.loop = outbox.loop
        self.limit = limit
        self.connect_seconds = connect_seconds
        self.idle_seconds = idle_seconds
        self.idle: list[UpstreamConnection] = []
        self.is_retired = False
        self._head_limit_bytes = head_limit_bytes
        self._open: set[UpstreamConnection] = set()
        self._waiting: deque[ResponseReceiver] = deque()
        self._connecting: dict[ResponseReceiver, asyncio.Task[None]] = {}

    def acquire(self, receiver: ResponseReceiver, *, now: float, replayable: bool) -> None:
        """Give ``receiver`` a connection, now or by ``on_connected`` later.

        ``replayable`` tells whether the request may be sent again if a kept connection turns out
        to be closing; one that may not gets a connection used a moment ago, or a new one.
        """
        idle_limit = self.idle_seconds if replayable else FRESH_ENOUGH_SECONDS
        while self.idle:
            connection = self.idle.pop()
            if connection.stage == CLOSED or connection.transport.is_closing():
                continue
            if now - connection.idle_since > idle_limit:
                if not replayable:
                    self.idle.append(connection)
                    break
                connection.abandon()
                continue
            connection.lend(receiver)
            receiver.on_connected(connection)
            return
        if len(self._open) + len(self._connecting) >= self.limit:
            self._waiting.append(receiver)
        else:
            self._connecting[receiver] = self.loop.create_task(self._connect(receiver))

    def give_up(self, receiver: ResponseReceiver) -> None:
        """Forget that ``receiver`` waits for a connection."""
        task = self._connecting.get(receiver)
        if task is not None:
            task.cancel()
        elif receiver in self._waiting:
            self._waiting.remove(receiver)

    def take_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over, or pass it to who waits longest."""
        if self._waiting:
            receiver = self._waiting.popleft()
            connection.lend(receiver)
            receiver.on_connected(connection)
            return
        if self.is_retired:
            connection.abandon()
            return
        connection.idle_since = self.loop.time()
        self.idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a connection that closed; its place goes to who waits longest."""
        self._open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._serve_waiting()

    def close_idle(self, *, now: float) -> None:
        """Close what was idle for longer than ``idle_seconds``; called every second or so."""
        while self.idle and now - self.idle[0].idle_since > self.idle_seconds:
            self.idle.pop(0).abandon()

    def retire(self) -> None:
        """Close what is idle now, and every other connection when its exchange is over."""
        self.is_retired = True
        while self.idle:
            self.idle.pop().abandon()

    def close(self) -> None:
        """Close every connection and end every attempt to open one."""
        for task in self._connecting.values():
            task.cancel()
        for connection in list(self._open):
            connection.abandon()
        self.idle.clear()

    def _serve_waiting(self) -> None:
        if self._waiting and len(self._open) + len(self._connecting) < self.limit:
            receiver = self._waiting.popleft()
            self._connecting[receiver] = self.loop.create_task(self._connect(receiver))

    async def _connect(self, receiver: ResponseReceiver) -> None:
        """Open a connection for ``receiver``, within ``connect_seconds``."""
        try:
            async with asyncio.timeout(self.connect_seconds):
                connection = await self._open_connection()
            if connection.stage == CLOSED or connection.transport.is_closing():
                raise ConnectionResetError(ECONNRESET, "closed as soon as it was open")
        except TimeoutError as error:
            failure = UpstreamError("the instance did not accept in time", status_hint=504)
            failure.__cause__ = error
            del self._connecting[receiver]
            self._serve_waiting()
            receiver.on_connect_failed(failure)
        except OSError as error:
            failure = UpstreamError(f"the instance refused: {error.strerror}", status_hint=502)
            failure.__cause__ = error
            del self._connecting[receiver]
            self._serve_waiting()
            receiver.on_connect_failed(failure)
        except asyncio.CancelledError:
            self._connecting.pop(receiver, None)
            self._serve_waiting()
            raise
        else:
            del self._connecting[receiver]
            self._open.add(connection)
            connection.lend(receiver)
            receiver.on_connected(connection)

    async def _open_connection(self) -> UpstreamConnection:
        connection = UpstreamConnection(self, self._head_limit_bytes)
        protocol = cast(asyncio.Protocol, connection)
        address = self.address
        if address.path:
            await self.loop.create_unix_connection(lambda: protocol, address.path)
        else:
            await self.loop.create_connection(lambda: protocol, address.host, address.port)
        return connection
