"""What a worker has to send in this turn of its event loop, sent together at the turn's end.

A turn reads what all ready connections brought and only then writes. A peer on another core that
sleeps is then woken once and finds everything there, where a write after each read would wake it
for every message: a third of the time a request took here, most of it inside the kernel. Nothing
waits longer than the turn takes.
"""

from __future__ import annotations

import asyncio

# From here on a copy, and having left the processor's cache by the end of the turn, costs more
# than waking somebody.
LARGE_BYTES = 16 * 1024


class Outbox:
    """The writes of this turn, in their order. One per worker, shared by all its connections."""

    __slots__ = ("_pending", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pending: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send ``data`` at the end of this turn, or now if it is large."""
        if len(data) >= LARGE_BYTES:
            self.flush()
            if not transport.is_closing():
                transport.write(data)
            return
        if not self._pending:
            self.loop.call_soon(self.flush)
        self._pending.append((transport, data))

    def write_message(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        """Send ``head`` and the first bytes of a body; a large body is not copied."""
        if len(body) < LARGE_BYTES:
            self.write(transport, head + body)
            return
        self.flush()
        if not transport.is_closing():
            transport.writelines((head, body))

    def flush(self) -> None:
        """Send everything now: before a connection is closed, its last bytes must be on their way.

        What a connection that is closing was to get is dropped; its owner learns by
        ``connection_lost`` as always.
        """
        pending, self._pending = self._pending, []
        for transport, data in pending:
            if not transport.is_closing():
                transport.write(data)
