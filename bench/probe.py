"""A client that asks for one page after another and notes how long each took, from a thread.

One request at a time: where the server's loop stands still, the next answer is late by as much. The
longest of thousands is as near to its longest pause as can be seen from outside. Where other
programs have the cores, waiting for one is in it; the kernel tells how long either side did
(``/proc/PID/schedstat``, Documentation/scheduler/sched-stats), and that is kept beside it.
"""

from __future__ import annotations

import itertools
import os
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

    Args:
        worker: the process that answers.

    Attributes:
        latencies: in seconds, one an answer.
        waits: how much of each was spent waiting for a core, by the worker or by this client.
    """

    def __init__(self, port: int, paths: Sequence[str], *, core: int, worker: int) -> None:
        self.latencies = array("d")
        self.waits = array("d")
        self._worker = worker
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
        """Return the longest latency in milliseconds; raises as ``quantile_ms``."""
        return self.quantile_ms(1.0)

    def longest_running_ms(self) -> float:
        """Return the longest time in milliseconds that no waiting for a core explains."""
        self.quantile_ms(1.0)
        pairs = zip(self.latencies, self.waits, strict=True)
        return max(max(0.0, latency - wait) for latency, wait in pairs) * 1000

    def quantile_ms(self, share: float) -> float:
        """Return the latency that ``share`` of all are not above, in milliseconds.

        Raises:
            BenchError: an answer was not 200, or there was none.
        """
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
        with _WaitClock(f"/proc/{self._worker}/schedstat", "/proc/thread-self/schedstat") as waited:
            for request in itertools.cycle(self._requests):
                if self._stopping.is_set():
                    return
                waited_before = waited.seconds()
                started = time.monotonic()
                sock.sendall(request)
                take_answer(sock)
                latency = time.monotonic() - started
                self.waits.append(waited.seconds() - waited_before)
                self.latencies.append(latency)


class _WaitClock:
    """How long some threads have waited for a core since they began, in sum."""

    def __init__(self, *paths: str) -> None:
        self._files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]

    def __enter__(self) -> _WaitClock:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for file in self._files:
            os.close(file)

    def seconds(self) -> float:
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files) / 1e9


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
