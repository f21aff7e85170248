"""One request on a connection of its own, with the times of its start and end."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.coherence.peers import Peers

TIMEOUT_SECONDS = 20.0
_MOST_HEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where clients connect; ``workers`` are pids, brought up to date by the stack."""

    name: str
    host: str
    port: int
    workers: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came. Times are monotonic; ``status`` is 0 where no whole answer came.

    Attributes:
        body: decompressed.
        worker: pid of the process at the other end, 0 where it is not known.
        problem: why there is no whole answer.
    """

    started: float
    ended: float
    status: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    worker: int = 0
    problem: str = ""

    @property
    def is_hit(self) -> bool:
        """Whether the gateway answered from its store."""
        return "; hit" in self.fields.get("cache-status", "")

    @property
    def etag(self) -> str:
        return self.fields.get("etag", "")


class Client:
    """Sends requests to gateways."""

    def __init__(self) -> None:
        self._peers = Peers()

    def close(self) -> None:
        self._peers.close()

    async def ask(
        self,
        gateway: Gateway,
        path: str,
        *,
        method: str = "GET",
        fields: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request; failures of the connection are in the answer."""
        started = time.monotonic()
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{gateway.port}"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        request = "\r\n".join([*lines, "", ""]).encode() + body
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._exchange(gateway, request, started)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            problem = f"{type(error).__name__}: {error}"
            return Answer(started=started, ended=time.monotonic(), problem=problem)

    async def _exchange(self, gateway: Gateway, request: bytes, started: float) -> Answer:
        reader, writer = await asyncio.open_connection(
            gateway.host, gateway.port, limit=_MOST_HEAD_BYTES
        )
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status, fields = _parsed(head)
            body = await reader.readexactly(_length(status, fields))
            if fields.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            ended = time.monotonic()
            here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
            worker = self._peers.pid_of(here, there, gateway.workers)
        finally:
            writer.transport.abort()
        return Answer(
            started=started, ended=ended, status=status, fields=fields, body=body, worker=worker
        )


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return int(first.split()[1]), fields


def _length(status: int, fields: Mapping[str, str]) -> int:
    if status in (204, 304):
        return 0
    if "content-length" not in fields:
        raise ValueError(f"an answer of status {status} without Content-Length: {dict(fields)}")
    return int(fields["content-length"])
