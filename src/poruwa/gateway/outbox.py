"""What a worker has to send in this turn of its event loop, sent together at the turn's end.

A turn reads what all ready connections brought and only then writes. A peer on another core that
sleeps is then woken once and finds everything there, where a write after each read would wake it
for every message: a third of the time a request took here, most of it inside the kernel. While
turns go on bringing more, a few of them are gathered; alone, a write goes out at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

# From here on a copy, and having left the processor's cache by the end of the turn, costs more
# than waking somebody.
LARGE_BYTES: Final = 16 * 1024
# While a busy loop brings more, up to this many writes wait for each other: some 0.3 ms of work.
GATHERED_WRITES: Final = 48


class Outbox:
    """The writes of this turn. One per worker, shared by all its connections.

    What goes to instances goes first: they begin to work while clients are served, and processes
    that share a core take turns less often. Each connection's own writes keep their order.
    """

    __slots__ = ("_is_scheduled", "_seen", "_to_clients", "_to_instances", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._to_instances: list[tuple[asyncio.Transport, bytes]] = []
        self._to_clients: list[tuple[asyncio.Transport, bytes]] = []
        self._is_scheduled = False
        self._seen = 0

    def to_instance(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send ``data`` at the end of this turn, or now if it is large."""
        if len(data) >= LARGE_BYTES:
            self._send_now(transport, (data,))
        else:
            self._to_instances.append((transport, data))
            self._schedule()

    def to_client(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send ``data`` at the end of this turn, or now if it is large."""
        if len(data) >= LARGE_BYTES:
            self._send_now(transport, (data,))
        else:
            self._to_clients.append((transport, data))
            self._schedule()

    def message_to_client(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Send ``head`` and the first bytes of a body; a large body is not copied."""
        if len(body) >= LARGE_BYTES:
            self._send_now(transport, (head, body))
        else:
            self._to_clients.append((transport, head + body))
            self._schedule()

    def flush(self) -> None:
        """Send everything now: before a connection is closed, its last bytes must be on their way.

        What a connection that is closing was to get is dropped; its owner learns by
        ``connection_lost`` as always.
        """
        self._is_scheduled = False
        to_instances, self._to_instances = self._to_instances, []
        for transport, data in to_instances:
            if not transport.is_closing():
                transport.write(data)
        to_clients, self._to_clients = self._to_clients, []
        for transport, data in to_clients:
            if not transport.is_closing():
                transport.write(data)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._seen = 0
            self.loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        """Send, unless more came since the last look at the sockets: then look once more."""
        waiting = len(self._to_clients) + len(self._to_instances)
        if self._seen + 1 < waiting < GATHERED_WRITES:
            self._seen = waiting
            self.loop.call_soon(self._look_again)
        else:
            self.flush()

    def _send_now(self, transport: asyncio.Transport, parts: tuple[bytes, ...]) -> None:
        """Send ``parts`` after all that waits, uncopied."""
        self.flush()
        if not transport.is_closing():
            transport.writelines(parts)
