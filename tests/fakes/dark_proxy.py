"""A TCP proxy that can stop forwarding without closing anything, as a network that loses packets.

Runs in a thread, so that it goes on while the test waits.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import Self

_CHUNK = 65_536
_TURN_SECONDS = 0.02


class DarkProxy:
    """Forwards from a free port of loopback to ``port``.

    While ``is_dark`` is set nothing is forwarded, and new connections are accepted by the kernel
    and left alone. What was sent meanwhile arrives when it is unset. What the server answers
    arrives ``answer_delay_seconds`` late.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.is_dark = False
        self.answer_delay_seconds = 0.0
        self._is_over = False
        self._peers: dict[socket.socket, socket.socket] = {}
        self._servers: set[socket.socket] = set()
        self._late: list[tuple[float, socket.socket, bytes]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while not self._is_over:
            if self.is_dark:
                threading.Event().wait(_TURN_SECONDS)
                continue
            self._send_late()
            for key, _ in selector.select(_TURN_SECONDS / 4):
                if self.is_dark:
                    break
                if key.fileobj is self._listener:
                    self._accept(selector)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._forward(selector, key.fileobj)
        for each in [self._listener, *self._peers]:
            each.close()
        selector.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[one] = other
            self._servers.add(server)
            selector.register(one, selectors.EVENT_READ)

    def _forward(self, selector: selectors.BaseSelector, source: socket.socket) -> None:
        target = self._peers[source]
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(_CHUNK)
            if data and source in self._servers and self.answer_delay_seconds:
                due = time.monotonic() + self.answer_delay_seconds
                self._late.append((due, target, data))
            else:
                target.sendall(data)
        if not data:
            for each in (source, target):
                selector.unregister(each)
                del self._peers[each]
                each.close()

    def _send_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, target, data = self._late.pop(0)
            with contextlib.suppress(OSError):
                target.sendall(data)

    def stop(self) -> None:
        self._is_over = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
