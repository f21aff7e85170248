"""Clients that cost a server patience rather than work: idle ones, and ones that never finish.

Both come from several loopback addresses, so that neither ephemeral ports (28,000 per address and
destination) nor a limit per client is what is measured.
"""

from __future__ import annotations

import heapq
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable

from bench.errors import BenchError
from bench.origin import SMALL_PATH
from bench.pinning import pinned
from bench.probe import take_answer

_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
_CONNECT_SECONDS = 5.0
_REQUEST = f"GET {SMALL_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
_SLOW_START = f"GET {SMALL_PATH} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".encode()
_SPARE_DESCRIPTORS = 1000  # of harness and proxy, besides the connections counted


def affordable_connections(wanted: int) -> int:
    """Raise the descriptor limit as far as allowed; return how many connections it leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - _SPARE_DESCRIPTORS)


def open_connection(port: int, number: int) -> socket.socket:
    """Return a connection to loopback ``port`` from the address whose turn ``number`` makes it."""
    source = _SOURCES[number % len(_SOURCES)]
    return socket.create_connection(
        ("127.0.0.1", port), timeout=_CONNECT_SECONDS, source_address=(source, 0)
    )


class IdleClients:
    """Connections that wait. Leaving the block closes them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> IdleClients:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for sock in self._sockets:
            sock.close()

    def open(self, count: int, *, accepted: Callable[[], int], batch: int = 500) -> None:
        """Open ``count`` connections; return once ``accepted()`` has grown by as many.

        A batch waits for the one before, so that the server's accept queue cannot overflow.

        Raises:
            BenchError: the server does not take them.
        """
        before = accepted()
        while len(self._sockets) < count:
            for _ in range(min(batch, count - len(self._sockets))):
                self._sockets.append(open_connection(self._port, len(self._sockets)))
            deadline = time.monotonic() + _CONNECT_SECONDS
            while accepted() - before < len(self._sockets):
                if time.monotonic() > deadline:
                    taken = accepted() - before
                    raise BenchError(f"Of {len(self._sockets)} connections {taken} were accepted.")
                time.sleep(0.01)

    def request_once(self, *, batch: int = 64) -> None:
        """Send one request on each connection and take the answer, ``batch`` at a time.

        Raises:
            BenchError: a connection was closed, or the answer is not 200.
        """
        for start in range(0, len(self._sockets), batch):
            waiting = self._sockets[start : start + batch]
            for sock in waiting:
                sock.sendall(_REQUEST)
            for sock in waiting:
                take_answer(sock)

    def open_count(self) -> int:
        """Return how many the server has not closed."""
        return sum(_is_open(sock) for sock in self._sockets)


class SlowClients:
    """Connections that send a header a byte at a time and never end it, from a thread of its own.

    One that the server closes is replaced at once: the attack goes on however the server defends
    itself. Leaving the block closes them.

    Args:
        every_seconds: between two bytes of one connection.
        spread_seconds: over which they are opened and so, where the server sets them a time,
            replaced later on: even, not in one burst.
    """

    def __init__(
        self, port: int, count: int, *, core: int, every_seconds: float, spread_seconds: float
    ) -> None:
        self.replaced = 0
        self._port = port
        self._count = count
        self._core = core
        self._every_seconds = every_seconds
        self._spread_seconds = spread_seconds
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int]] = []  # a heap of (time, number of a connection)
        self._sockets: dict[int, socket.socket] = {}
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="slow clients", daemon=True)

    def __enter__(self) -> SlowClients:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()
        for sock in self._sockets.values():
            sock.close()
        self._selector.close()

    def held(self) -> int:
        """Return how many are open now.

        Raises:
            BenchError: the thread ended by an error.
        """
        if self._error is not None:
            raise BenchError(f"The slow clients failed: {self._error!r}") from self._error
        return len(self._sockets)

    def _run(self) -> None:
        try:
            with pinned(self._core):
                self._attack()
        except Exception as error:  # told to whoever asks for held()
            self._error = error

    def _attack(self) -> None:
        started = time.monotonic()
        step = self._spread_seconds / self._count
        # A number is due when it is to be opened, later for each byte.
        self._due = [(started + number * step, number) for number in range(self._count)]
        while not self._stopping.is_set():
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                at, number = heapq.heappop(self._due)
                self._step(number)
                heapq.heappush(self._due, (at + self._every_seconds, number))
            for key, _ in self._selector.select(max(0.0, min(0.05, self._due[0][0] - now))):
                self._replace(key.data)

    def _step(self, number: int) -> None:
        sock = self._sockets.get(number)
        if sock is None:
            self._open(number)
            return
        try:
            sock.send(b"a")
        except OSError:  # closed by the server a moment ago
            self._replace(number)

    def _open(self, number: int) -> None:
        sock = open_connection(self._port, number)
        sock.sendall(_SLOW_START)
        sock.setblocking(False)
        self._sockets[number] = sock
        self._selector.register(sock, selectors.EVENT_READ, number)

    def _replace(self, number: int) -> None:
        """Whatever the server has to say to an unfinished request, it is the end of it."""
        sock = self._sockets.pop(number)
        self._selector.unregister(sock)
        sock.close()
        self.replaced += 1
        self._open(number)


def _is_open(sock: socket.socket) -> bool:
    """Whether nothing has come: neither bytes nor the end."""
    sock.setblocking(False)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        sock.setblocking(True)
        sock.settimeout(_CONNECT_SECONDS)
