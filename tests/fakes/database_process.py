"""The embedded database as a process: started on a free port, frozen, killed, restarted.

Run as ``poruwa up`` runs it, durable. A restart keeps port and folder. ``stop`` waits for the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from poruwa.stack.database import PROGRAM

READY_SECONDS = 60.0


class DatabaseProcess:
    """One server; its files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        beside = Path(sys.executable).parent / PROGRAM
        program = str(beside) if beside.exists() else shutil.which(PROGRAM)
        if program is None:
            pytest.skip("the embedded database is not installed")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        config = folder / "database.toml"
        config.touch()
        self._command = [
            program,
            *("--config", str(config), "--host", "127.0.0.1", "--port", str(self.port)),
            *("--storage-path", str(folder / "data"), "--cache-size", "64M"),
            *("--sync-on-commit", "--log-level", "WARNING"),
        ]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its URL without a database; ``?`` and options stand at its end."""
        return f"mongodb://127.0.0.1:{self.port}/?retryWrites=false&directConnection=true"

    def start(self) -> None:
        """Start it, again if it ended, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise

    def _await_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "server.log").read_text()[-2000:])
            with contextlib.suppress(OSError, PyMongoError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                with MongoClient[dict[str, object]](
                    self.url, serverSelectionTimeoutMS=1000
                ) as client:
                    client.admin.command("ping")
                    return
            assert time.monotonic() < deadline, "the database did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    stop = kill

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
