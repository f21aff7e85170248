"""``python -m tests.coherence.proxy PORT SERVER_PORT``: carries bytes, and nothing while stopped.

SIGSTOP makes it a black hole: connections stay open, what is sent is taken by the kernel and goes
nowhere. SIGCONT delivers it late.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_CHUNK_BYTES = 65_536


async def run(port: int, server_port: int) -> None:
    """Serve until killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, out = await asyncio.open_connection("127.0.0.1", server_port)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(reader, out))
                group.create_task(_carry(there, writer))
        finally:
            writer.transport.abort()
            out.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
