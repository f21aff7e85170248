"""A proxy between a client and a real server, which delays, drops or corrupts on command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65_536


class TcpProxy:
    """Carries bytes between loopback ``port`` and ``server_port``.

    Attributes:
        delay_seconds: each piece of an answer is held back for so long.
        garbage: sent instead of each piece of an answer; None for the truth.
        cut_after: connections are cut with this many pieces of answers carried; None for never.
        connections: how many were made.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self.garbage: bytes | None = None
        self.cut_after: int | None = None
        self.connections = 0
        self._server_port = server_port
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, out = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers |= {writer, out}
        asking = asyncio.create_task(_carry(reader, out))
        try:
            pieces = 0
            with contextlib.suppress(OSError):
                while data := await there.read(_CHUNK_BYTES):
                    if self.cut_after is not None and pieces >= self.cut_after:
                        break
                    pieces += 1
                    await asyncio.sleep(self.delay_seconds)
                    writer.write(data if self.garbage is None else self.garbage)
                    await writer.drain()
        finally:
            asking.cancel()
            self._writers -= {writer, out}
            writer.transport.abort()
            out.transport.abort()


@contextlib.asynccontextmanager
async def running_proxy(server_port: int) -> AsyncIterator[TcpProxy]:
    """Run a proxy for the length of a block."""
    proxy = TcpProxy(server_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.sleep(0)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
