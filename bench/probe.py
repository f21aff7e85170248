"""A client that asks for one page after another and notes how long each took, from a thread.

One request at a time: where the server's loop stands still, the next answer is late by as much. The
longest of thousands is as near to its longest pause as can be seen from outside; what the machine
does to the client itself is in it, so that it is measured on an idle server, too.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from array import array
from collections.abc import Sequence

from bench.closed_loop import quantile
from bench.errors import BenchError
from bench.pinning import pinned

_TIMEOUT_SECONDS = 30.0


class Probe:
    """Asks loopback ``port`` for ``paths`` in turn from ``core`` until the block is left.

    Attributes:
        latencies: in seconds, one an answer.
    """

    def __init__(self, port: int, paths: Sequence[str], *, core: int) -> None:
        self.latencies = array("d")
        self._port = port
        self._requests = [
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() for path in paths
        ]
        self._core = core
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()

    def longest_ms(self) -> float:
        """Return the longest latency in milliseconds.

        Raises:
            BenchError: an answer was not 200, or there was none.
        """
        return self._checked(1.0)

    def quantile_ms(self, share: float) -> float:
        """Return the latency that ``share`` of all are not above, in milliseconds."""
        return self._checked(share)

    def _checked(self, share: float) -> float:
        if self._error is not None:
            raise BenchError(f"The probe failed: {self._error!r}") from self._error
        if not self.latencies:
            raise BenchError("The probe got no answer.")
        return quantile(self.latencies, share) * 1000

    def _run(self) -> None:
        try:
            with (
                pinned(self._core),
                socket.create_connection(
                    ("127.0.0.1", self._port), timeout=_TIMEOUT_SECONDS
                ) as sock,
            ):
                self._ask(sock)
        except Exception as error:  # told to whoever asks for a figure
            self._error = error

    def _ask(self, sock: socket.socket) -> None:
        for request in itertools.cycle(self._requests):
            if self._stopping.is_set():
                return
            started = time.monotonic()
            sock.sendall(request)
            take_answer(sock)
            self.latencies.append(time.monotonic() - started)


def take_answer(sock: socket.socket) -> None:
    """Read one whole answer off ``sock``.

    Raises:
        BenchError: it is not 200, or ends early.
    """
    data = b""
    while True:
        more = sock.recv(262_144)
        if not more:
            raise BenchError("The server closed the connection instead of answering.")
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= content_length(head):
            break
    if b" 200 " not in data[:16]:
        raise BenchError(f"Answered {data[:60]!r}.")


def content_length(head: bytes) -> int:
    """Return the Content-Length of a head.

    Raises:
        BenchError: there is none.
    """
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise BenchError(f"An answer without Content-Length: {head[:200]!r}")
