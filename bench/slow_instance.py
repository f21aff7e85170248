"""An instance that takes its time and can be told to misbehave.

    python slow_instance.py NAME PORT LOG

Every request takes 50 ms without keeping the processor busy, any number at a time. Paths below
``/control`` change that: ``seconds=0.5``, ``slots=4`` (others queue), ``failing=1`` (500 in 1 ms).
LOG gets ``METHOD X-ID`` of each request before the work on it begins and ``END X-ID`` as its answer
is sent, so that what a killed instance was working on, and what was sent twice, is known.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack

import uvloop

SERVICE_SECONDS = 0.05
FAILURE_SECONDS = 0.001


class SlowInstance:
    """What the instance does now."""

    def __init__(self, name: str, log: str) -> None:
        self.name = name.encode()
        self.seconds = SERVICE_SECONDS
        self.is_failing = False
        self.slots: asyncio.Semaphore | None = None
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                if target.startswith(b"/control"):
                    self._control(target.partition(b"?")[2].decode())
                    status, body, number = b"200 OK", b"", b""
                else:
                    number = _number(head)
                    self._note(method, number)
                    status, body = await self._work()
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Length: %d\r\nX-Instance: %b\r\n\r\n%b"
                    % (status, len(body), self.name, body)
                )
                if number:
                    self._note(b"END", number)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _note(self, what: bytes, number: bytes) -> None:
        os.write(self._log, b"%b %b\n" % (what, number))

    async def _work(self) -> tuple[bytes, bytes]:
        if self.is_failing:
            await asyncio.sleep(FAILURE_SECONDS)
            return b"500 Internal Server Error", b"failed"
        async with AsyncExitStack() as stack:
            if self.slots is not None:
                await stack.enter_async_context(self.slots)
            await asyncio.sleep(self.seconds)
        return b"200 OK", b"x" * 200

    def _control(self, query: str) -> None:
        name, _, value = query.partition("=")
        if name == "seconds":
            self.seconds = float(value)
        elif name == "slots":
            self.slots = asyncio.Semaphore(int(value))
        elif name == "failing":
            self.is_failing = value == "1"


def _number(head: bytes) -> bytes:
    """Return the ``X-Id`` of a request, 0 of one without, e.g. a probe."""
    lines = head.lower().split(b"\r\n")
    return next((line[6:] for line in lines if line.startswith(b"x-id: ")), b"0")


async def main(name: str, port: int, log: str) -> None:
    """Serve until killed."""
    instance = SlowInstance(name, log)
    server = await asyncio.start_server(instance.serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
