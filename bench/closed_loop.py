"""Clients that ask one request after another, and note what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

_GIVE_UP_SECONDS = 30.0
# After a failure, so that one who is refused at once does not outnumber those who wait.
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it began (monotonic), how long it took, what came, by which instance.

    ``status`` is 0 where the connection broke before a whole answer.
    """

    at: float
    seconds: float
    method: str
    number: int
    status: int
    instance: str
    source: str

    @property
    def has_failed(self) -> bool:
        return self.status == 0 or self.status >= 500


class ClosedLoop:
    """``clients`` clients that keep their connections; ``run`` ends after ``stop``.

    Args:
        port: of the proxy, on loopback.
        sources: the address each client binds to.
        post_every: every so many requests of a client are POSTs; 0 for none. Each client begins at
            another place, so that at any time some are under way.
    """

    def __init__(self, port: int, sources: Sequence[str], *, post_every: int = 0) -> None:
        self.samples: list[Sample] = []
        self._port = port
        self._sources = sources
        self._post_every = post_every
        self._numbers = count(1)
        self._is_stopped = False

    async def run(self) -> None:
        """Ask until stopped."""
        async with asyncio.TaskGroup() as group:
            for place, source in enumerate(self._sources):
                group.create_task(self._client(source, place))

    def stop(self) -> None:
        """Let each client end after the request it is at."""
        self._is_stopped = True

    async def _client(self, source: str, asked: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._is_stopped:
            asked += 1
            is_post = self._post_every > 0 and asked % self._post_every == 0
            method = "POST" if is_post else "GET"
            number = next(self._numbers)
            started = time.monotonic()
            status, instance = 0, ""
            try:
                async with asyncio.timeout(_GIVE_UP_SECONDS):
                    if connection is None:
                        connection = await asyncio.open_connection(
                            "127.0.0.1", self._port, local_addr=(source, 0)
                        )
                    status, instance, keeps = await _ask(*connection, method, number)
            except (OSError, EOFError, ValueError):
                keeps = False
            if not keeps and connection is not None:
                connection[1].close()
                connection = None
            seconds = time.monotonic() - started
            sample = Sample(started, seconds, method, number, status, instance, source)
            self.samples.append(sample)
            if sample.has_failed:
                await asyncio.sleep(_PAUSE_SECONDS)
        if connection is not None:
            connection[1].close()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, number: int
) -> tuple[int, str, bool]:
    """Return status, instance, and whether the connection stays.

    Raises:
        OSError, EOFError: the connection broke. ValueError: what came is no answer.
    """
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    writer.write(
        f"{method} /work HTTP/1.1\r\nHost: localhost\r\nX-Id: {number}\r\n{length}\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    await reader.readexactly(int(fields.get("content-length", "0")))
    keeps = fields.get("connection", "").lower() != "close"
    return int(first.split(" ")[1]), fields.get("x-instance", ""), keeps


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of ``values`` are not above; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
