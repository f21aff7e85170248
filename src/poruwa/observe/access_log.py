"""The access log: one JSON line per request, written without making a request wait.

A worker builds a line (``observe.access_line``) and hands it to its ``AccessLog``, which gathers
lines and passes them on when 64 KiB or half a second have come together. A thread does the writing:
a full pipe or a slow disk delays the log, never a client. Where it cannot keep up, whole blocks are
dropped and counted.

Does not rotate: ``reopen`` follows a file that was moved (SIGHUP), and every block written looks by
itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque

from poruwa.errors import PoruwaError

FLUSH_BYTES = 64 * 1024
FLUSH_SECONDS = 0.5
MAX_PENDING_BYTES = 8 * 1024 * 1024  # what a stalled disk may cost in memory


class AccessLog:
    """Where a worker's lines go. Open it before use, close it at the end; not thread-safe.

    Args:
        path: file to append to, ``"-"`` for standard output.
    """

    __slots__ = (
        "_buffer",
        "_file",
        "_first_at",
        "_is_closing",
        "_path",
        "_pending",
        "_queued_bytes",
        "_size",
        "_wake",
        "_writer",
        "_written_bytes",
        "dropped_lines",
        "failure",
    )

    def __init__(self, path: str) -> None:
        self._path = path
        self._buffer: list[bytes] = []
        self._size = 0
        self._first_at = 0.0
        self._file = -1
        # Blocks and their numbers of lines, for the thread. It takes all there are at once: the
        # less often it gets to run, the more it writes in one go.
        self._pending: deque[tuple[bytes, int]] = deque()
        self._queued_bytes = 0  # changed by the worker only
        self._written_bytes = 0  # changed by the thread only
        self._wake = threading.Event()
        self._is_closing = False
        self._writer: threading.Thread | None = None  # not _thread: a keyword of C's, compiled
        self.dropped_lines = 0
        self.failure: OSError | None = None  # of the last write; None once one succeeds

    def open(self) -> None:
        """Open the file and start the writing thread.

        Raises:
            PoruwaError: the file cannot be opened for appending.
        """
        self._file = self._opened()
        self._writer = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._writer.start()

    def write(self, line: bytes, now: float) -> None:
        """Add one line (ending in a newline). ``now`` is monotonic seconds."""
        if not self._buffer:
            self._first_at = now
        self._buffer.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def tick(self, now: float) -> None:
        """Flush what waited for ``FLUSH_SECONDS``; to be called about twice a second."""
        if self._buffer and now - self._first_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the writing thread; does not wait."""
        if not self._buffer:
            return
        block, lines = b"".join(self._buffer), len(self._buffer)
        self._buffer.clear()
        self._size = 0
        if self._queued_bytes - self._written_bytes + len(block) > MAX_PENDING_BYTES:
            self.dropped_lines += lines
            return
        self._queued_bytes += len(block)
        self._pending.append((block, lines))
        self._wake.set()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what is left, for at most ``timeout_seconds``, and close the file."""
        if self._writer is None:
            return
        self.flush()
        self._is_closing = True
        self._wake.set()
        self._writer.join(timeout_seconds)
        if not self._writer.is_alive() and self._path != "-":
            os.close(self._file)
        self._writer = None

    def reopen(self) -> None:
        """Begin a new file if the old one was moved or removed: what SIGHUP asks for.

        Raises:
            PoruwaError: the new file cannot be opened; the old one stays in use.
        """
        self.flush()
        self._follow()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            self._wake.clear()
            is_last = self._is_closing  # read before the blocks: none comes after it is set
            self._write_pending()

    def _write_pending(self) -> None:
        blocks = []
        while self._pending:
            blocks.append(self._pending.popleft())
        if not blocks:
            return
        data = b"".join([block for block, _ in blocks])
        try:
            # In the thread and before each write: a stat may hang just as a write may.
            with contextlib.suppress(PoruwaError):
                self._follow()
            write_all(self._file, data)
            self.failure = None
        except OSError as error:  # full disk, closed pipe: the gateway goes on without
            self.failure = error
            self.dropped_lines += sum(lines for _, lines in blocks)
        self._written_bytes += len(data)

    def _follow(self) -> None:
        if self._path == "-" or self._is_current():
            return
        fresh = self._opened()
        # dup2 swaps the file under the same number, also while the thread is writing to it.
        os.dup2(fresh, self._file, inheritable=False)
        os.close(fresh)

    def _is_current(self) -> bool:
        try:
            there, ours = os.stat(self._path), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _opened(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise PoruwaError(
                f"The access log {self._path} cannot be opened: {error.strerror}. "
                "Create its folder, or make it writable for this user."
            ) from error


def write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.write(file, view)  # of its own: compiled, a slice evaluates its start twice
        view = view[written:]
