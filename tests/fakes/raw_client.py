"""A client that sends exactly the bytes it is told to."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from types import TracebackType
from typing import Any

from fakes.wire import Reader, Response

TIMEOUT_SECONDS = 10.0


class RawClient:
    """One connection to ``address`` (``host:port`` or ``unix:/path``).

    Args:
        source: local address to connect from; any of 127.0.0.0/8 works on Linux.
        first: bytes sent before TLS begins (a PROXY header).
    """

    def __init__(
        self,
        address: str,
        *,
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str = "weddinglk.test",
        first: bytes = b"",
        receive_buffer: int = 0,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        if address.startswith("unix:"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self.sock = socket.socket()
            if receive_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                self.sock.bind((source, 0))
            self.sock.settimeout(timeout)
            self.sock.connect((host, int(port)))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(timeout)
        if first:
            self.sock.sendall(first)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.reader = Reader(self.sock)

    @property
    def address(self) -> str:
        """Our end, ``host:port``."""
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(
        self, path: str, fields: str = "", *, method: str = "GET", body: bytes = b""
    ) -> Response:
        """Send a plain request on this connection and return its response."""
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: weddinglk.test\r\n{length}{fields}\r\n"
        self.send(head.encode("latin-1") + body)
        return self.response(method.encode())

    def response(self, method: bytes = b"GET") -> Response:
        return self.reader.response(method)

    def rest(self) -> bytes:
        """Return all bytes until the end of the connection; a reset counts as the end."""
        try:
            return self.reader.rest()
        except ConnectionResetError:
            return self.reader.buffer

    def is_closed_by_peer(self) -> bool:
        """Wait for the end of the connection; False if bytes came instead."""
        return self.rest() == b""

    def finish_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection at once, both ways, as a process does that is killed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def account(response: Response) -> dict[str, Any]:
    """Return what the origin said it received."""
    assert response.status == 200, response.raw + response.body[:500]
    answer: dict[str, Any] = json.loads(response.body)
    return answer


def field(answer: dict[str, Any], name: str) -> str | None:
    """Return the one value of a field in the origin's account; None if there is none."""
    values = [value for key, value in answer["fields"] if key == name.lower()]
    assert len(values) <= 1, f"{name} reached the origin {len(values)} times: {values}"
    return values[0] if values else None
