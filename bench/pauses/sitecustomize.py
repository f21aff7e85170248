"""Python imports this first where it is on the path: every process notes its collector's pauses.

For workers of the gateway, which run elsewhere than the benchmark: no code of theirs knows of it. A
line is ``generation microseconds at``: processor time, so that other programs are not in it, and
the end in seconds of the monotonic clock, as the benchmark's own process reads it. A process writes
to a file named by its number in the folder that ``BENCH_PAUSES`` names.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

_LEAST_SECONDS = 0.000_5  # below, a pause is not worth the write
_folder = os.environ.get("BENCH_PAUSES")


class _Pauses:
    """Notes how long each collection took."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._began = 0.0

    def note(self, phase: str, facts: dict[str, Any]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        elif now - self._began >= _LEAST_SECONDS:
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            line = f"{facts['generation']} {(now - self._began) * 1e6:.0f} {time.monotonic():.6f}\n"
            os.write(self._file, line.encode())


if _folder:
    gc.callbacks.append(_Pauses(os.path.join(_folder, f"{os.getpid()}.pauses")).note)
