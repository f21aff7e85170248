"""Browsers' reports on disk: a JSON line each, few enough that nobody can fill the disk with them.

A worker hands reports to its ``ReportStore``. The first of a kind is written at once; those alike
within a minute become one more line with their count. A thread of its own writes, so that a slow
disk delays no client; several workers share the files, which ``flock`` on the folder allows.

    reports.jsonl    the newest, up to a mebibyte
    reports.1.jsonl  those before

``read_reports`` gives them back, for ``poruwa reports``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
import structlog

from poruwa.observe.access_log import write_all
from poruwa.rules.violation_report import ViolationReport

FOLDER: Final = "reports"  # in the state folder
CURRENT: Final = "reports.jsonl"
OLDER: Final = "reports.1.jsonl"
MAX_FILE_BYTES: Final = 1024 * 1024
WINDOW_SECONDS: Final = 60.0
MAX_DISTINCT: Final = 256  # in a window; others are counted by the metrics alone
MAX_WINDOW_BYTES: Final = 128 * 1024  # two kilobytes a second, of each worker

_log = structlog.get_logger(component="reports")


class StoredReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line: ``count`` reports alike, the newest of them at the Unix time ``at``."""

    at: float
    count: int
    report: ViolationReport


class ReportStore:
    """Where a worker's reports go. Not thread-safe; call ``tick`` a few times a second.

    Args:
        folder: made when the first report comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._window_start = float("-inf")
        self._seen: dict[ViolationReport, list[float]] = {}  # how many more, when the last came
        self._window_bytes = 0
        self._lines: list[bytes] = []
        self._pending_bytes = 0
        self._executor: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self.dropped = 0

    def add(self, report: ViolationReport, *, now: float, at: float) -> None:
        """Keep a report. ``now`` is monotonic seconds, ``at`` the Unix time."""
        self._roll(now)
        repeats = self._seen.get(report)
        if repeats is not None:
            repeats[0] += 1
            repeats[1] = at
        elif len(self._seen) < MAX_DISTINCT and self._put(report, count=1, at=at):
            self._seen[report] = [0, at]
        else:
            self.dropped += 1

    def tick(self, now: float) -> None:
        """Hand on what came together, unless the disk is still busy with what came before."""
        self._roll(now)
        if self._lines and (self._writing is None or self._writing.done()):
            self._write()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what is left; waits for at most ``timeout_seconds``."""
        self._roll(float("inf"))
        deadline = time.monotonic() + timeout_seconds
        if self._writing is not None:
            with contextlib.suppress(TimeoutError):
                self._writing.result(timeout_seconds)
        if self._lines:
            self._write()
        if self._writing is not None:
            with contextlib.suppress(TimeoutError):
                self._writing.result(max(deadline - time.monotonic(), 0))
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def _roll(self, now: float) -> None:
        """Begin a new window where the last is over."""
        if now - self._window_start < WINDOW_SECONDS:
            return
        seen, self._seen = self._seen, {}
        self._window_start, self._window_bytes = now, 0
        for report, (repeats, at) in seen.items():
            if repeats and not self._put(report, count=int(repeats), at=at):
                self.dropped += int(repeats)

    def _put(self, report: ViolationReport, *, count: int, at: float) -> bool:
        stored = StoredReport(at=round(at, 3), count=count, report=report)
        line = msgspec.json.encode(stored) + b"\n"
        if max(self._window_bytes, self._pending_bytes) + len(line) > MAX_WINDOW_BYTES:
            return False
        self._window_bytes += len(line)
        self._pending_bytes += len(line)
        self._lines.append(line)
        return True

    def _write(self) -> None:
        data = b"".join(self._lines)
        self._lines.clear()
        self._pending_bytes = 0
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="reports")
        self._writing = self._executor.submit(_append, self._folder, data)


def read_reports(folder: Path) -> Iterator[StoredReport]:
    """Give what is stored, oldest first; lines that were cut off are left out."""
    decoder = msgspec.json.Decoder(StoredReport)
    for name in (OLDER, CURRENT):
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        for line in data.splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                yield decoder.decode(line)


# In the thread.


def _append(folder: Path, data: bytes) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _append_alone(folder / CURRENT, data)
        finally:
            os.close(lock)  # releases the lock
    except OSError as error:
        _log.warning("reports are lost", folder=str(folder), reason=error.strerror or str(error))


def _append_alone(path: Path, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size + len(data) > MAX_FILE_BYTES:
            path.replace(path.with_name(OLDER))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(path, flags, 0o600)
    try:
        write_all(file, data)
    finally:
        os.close(file)
