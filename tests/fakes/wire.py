"""HTTP/1.1 on blocking sockets, as test peers need it: it keeps every byte and hides nothing.

Used by the scripted origin (requests) and the raw client (responses). It is no model of a strict
parser: what it cannot read raises `WireError`, and the test fails there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

READ_BYTES = 1 << 18


class WireError(AssertionError):
    """The peer sent what this reader cannot take apart, or ended too early."""


@dataclass
class Message:
    """A message as it came: ``start`` is the first line, ``raw`` the head's bytes."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    raw: bytes
    body: bytes = b""

    def all(self, name: str) -> list[bytes]:
        """Return the values of every line called ``name``."""
        return [value for key, value in self.fields if key == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        """Return the value of the one line called ``name``; more than one fails the test."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times in {self.raw!r}"
        return values[0] if values else None


@dataclass
class Response(Message):
    """A final response and the interim ones before it."""

    interim: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ", 2)[1])

    @property
    def reason(self) -> bytes:
        return self.start.split(b" ", 2)[2]


class Reader:
    """Takes messages off a socket; keeps all that ever came in ``received``."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.received = bytearray()
        self.at_end = False

    def fill(self) -> bool:
        """Read once; False at the end of the stream."""
        data = self.sock.recv(READ_BYTES)
        if not data:
            self.at_end = True
            return False
        self.buffer += data
        self.received += data
        return True

    def until(self, mark: bytes) -> bytes | None:
        """Return what comes up to and with ``mark``; None at a clean end before any byte."""
        while (at := self.buffer.find(mark)) < 0:
            if not self.fill():
                if self.buffer:
                    raise WireError(f"ended within {self.buffer[:300]!r}")
                return None
        taken, self.buffer = self.buffer[: at + len(mark)], self.buffer[at + len(mark) :]
        return taken

    def exactly(self, count: int) -> bytes:
        """Return ``count`` bytes."""
        pieces = [self.buffer]
        have = len(self.buffer)
        while have < count:
            self.buffer = b""
            if not self.fill():
                raise WireError(f"ended {count - have} bytes early")
            pieces.append(self.buffer)
            have += len(self.buffer)
        data = b"".join(pieces)
        self.buffer = data[count:]
        return data[:count]

    def rest(self) -> bytes:
        """Return all that comes until the peer ends the stream."""
        pieces = [self.buffer]
        self.buffer = b""
        while self.fill():
            pieces.append(self.buffer)
            self.buffer = b""
        return b"".join(pieces)

    def head(self) -> Message | None:
        """Return the next head, or None at a clean end."""
        raw = self.until(b"\r\n\r\n")
        if raw is None:
            return None
        lines = raw[:-4].split(b"\r\n")
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise WireError(f"no field: {line!r}")
            fields.append((name.lower(), value.strip(b" \t")))
        return Message(lines[0], fields, raw)

    def chunked(self) -> bytes:
        """Return the content of a chunked body; trailers are read and dropped."""
        pieces = []
        while True:
            line = self.until(b"\r\n")
            if line is None:
                raise WireError("ended before a chunk")
            size = int(line.split(b";")[0].strip(), 16)
            if size == 0:
                while self.until(b"\r\n") not in (b"\r\n", None):
                    pass
                return b"".join(pieces)
            pieces.append(self.exactly(size))
            if self.exactly(2) != b"\r\n":
                raise WireError("no CRLF after a chunk")

    def request(self) -> Message | None:
        """Return the next request's head; its body is read by `body_of`."""
        return self.head()

    def body_of(self, request: Message) -> bytes:
        """Read a request's body."""
        if request.get("transfer-encoding") is not None:
            return self.chunked()
        return self.exactly(int(request.get("content-length") or 0))

    def response(self, method: bytes = b"GET") -> Response:
        """Return the next final response with its body."""
        interim = []
        while True:
            head = self.head()
            if head is None:
                raise WireError("closed before a response")
            response = Response(head.start, head.fields, head.raw)
            if response.status >= 200 or response.status == 101:
                break
            interim.append(head)
        response.interim = interim
        if method == b"HEAD" or response.status in (101, 204, 304):
            return response
        coding, length = response.get("transfer-encoding"), response.get("content-length")
        if coding is not None:
            assert coding == b"chunked", coding
            assert length is None, response.raw
            response.body = self.chunked()
        elif length is not None:
            response.body = self.exactly(int(length))
        else:
            response.body = self.rest()
        return response
