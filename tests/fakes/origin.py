"""A scripted origin server: real sockets, raw bytes, everything it received kept.

A test gives a path's behaviour by ``origin.on(path, handler)``; every other path is answered with a
JSON account of the request. A thread per connection, so that a handler may block as it likes.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fakes.wire import Message, Reader, WireError

HEALTH_PATH = b"/healthz"


class Call:
    """One request at the origin, for a handler to answer."""

    def __init__(self, connection: OriginConnection, request: Message) -> None:
        self.connection = connection
        self.request = request
        self.method, self.target, self.version = request.start.split(b" ")
        self.is_body_read = False
        self.is_complete = False

    @property
    def body(self) -> bytes:
        """The whole body, read when first asked for."""
        if not self.is_body_read:
            self.is_body_read = True
            self.request.body = self.connection.reader.body_of(self.request)
            self.is_complete = True
        return self.request.body

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.connection.sock.sendall(data)

    def reply(self, body: bytes = b"", *, status: bytes = b"200 OK", fields: bytes = b"") -> None:
        """Send a response with a length; ``fields`` are lines with their CRLF."""
        self.send(
            b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, fields, len(body), b"" if self.method == b"HEAD" else body)
        )

    def close(self) -> None:
        """End the connection cleanly."""
        self.connection.close()

    def reset(self) -> None:
        """End the connection with a reset."""
        self.connection.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.connection.close()


Handler = Callable[[Call], None]


class OriginConnection:
    """One connection that the gateway made."""

    def __init__(self, origin: Origin, sock: socket.socket, number: int) -> None:
        self.origin = origin
        self.sock = sock
        self.number = number
        self.reader = Reader(sock)
        self.is_closed = False
        self.requests = 0

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.sock.close()

    def serve(self) -> None:
        try:
            while not self.is_closed:
                request = self.reader.request()
                if request is None:
                    break
                call = Call(self, request)
                self.requests += 1
                self.origin.handle(call)
                if not self.is_closed and not call.is_body_read and self.requests:
                    _ = call.body
                if request.get("connection") == b"close":
                    break
        except (OSError, WireError):
            pass  # the gateway gave up; what came until then is in ``reader.received``
        finally:
            self.close()


class Origin:
    """Listens on a free port of 127.0.0.1, or on a Unix socket, until ``stop``."""

    def __init__(self, *, name: str = "origin", path: Path | None = None, port: int = 0) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.connections: list[OriginConnection] = []
        self._handlers: dict[bytes, Handler] = {}
        self.default: Handler = self.describe
        self.keeps_calls = True
        if path is not None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self.address = f"unix:{path}"
        else:
            self._socket = socket.socket()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
            self.port = self._socket.getsockname()[1]
            self.address = f"127.0.0.1:{self.port}"
        self._socket.listen(1024)
        self._is_stopped = False
        threading.Thread(target=self._accept, name=name, daemon=True).start()

    def on(self, path: str, handler: Handler | bytes) -> None:
        """Answer requests for ``path`` (without query) by ``handler``, or with raw bytes."""
        if isinstance(handler, bytes):
            data = handler

            def send(call: Call) -> None:
                _ = call.body
                call.send(data)

            handler = send
        self._handlers[path.encode()] = handler

    def seen(self, path: str) -> list[Call]:
        """Return the calls for ``path``."""
        wanted = path.encode()
        return [call for call in list(self.calls) if call.target.partition(b"?")[0] == wanted]

    def await_calls(self, path: str, count: int, seconds: float = 5.0) -> list[Call]:
        """Wait until ``path`` was asked for ``count`` times."""
        deadline = time.monotonic() + seconds
        while len(calls := self.seen(path)) < count:
            assert time.monotonic() < deadline, f"{len(calls)} of {count} calls for {path}"
            time.sleep(0.002)
        return calls

    def handle(self, call: Call) -> None:
        path = call.target.partition(b"?")[0]
        if path == HEALTH_PATH:
            call.reply(b"ok")
            return
        if self.keeps_calls:
            self.calls.append(call)
        self._handlers.get(path, self.default)(call)

    def describe(self, call: Call) -> None:
        """Answer with what was received."""
        account = {
            "origin": self.name,
            "connection": call.connection.number,
            "method": call.method.decode(),
            "target": call.target.decode(),
            "fields": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in call.request.fields],
            "body": call.body.decode("latin-1"),
        }
        call.reply(json.dumps(account).encode(), fields=b"Content-Type: application/json\r\n")

    def close_connections(self) -> None:
        """Close what is open now; new connections are accepted."""
        for connection in list(self.connections):
            connection.close()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._is_stopped = True
        # Wakes the accepting thread; close alone would leave it, and the port, as they are.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_stopped:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = OriginConnection(self, sock, len(self.connections))
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()
