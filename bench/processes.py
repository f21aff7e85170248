"""Servers of a benchmark: started pinned, awaited until they answer, stopped by their pid.

A server is killed by the kernel when the harness dies (``prctl(2)``, PR_SET_PDEATHSIG), so that an
interrupted run leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.pinning import pinned

READY_SECONDS = 20.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A user's PATH on Debian often lacks the folder where nginx and haproxy are.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

_libc = ctypes.CDLL(None, use_errno=True)


def find_program(name: str) -> str:
    """Return the path of the program ``name``.

    Raises:
        BenchError: it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise BenchError(
            f"{name} is not installed. On Debian and Ubuntu: apt-get install wrk nginx haproxy "
            "varnish"
        )
    return found


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A running server; made by `start_server`. Leaving the block stops it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def require_alive(self) -> None:
        """Raise a `BenchError` with its last words if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with code {code}.{self._last_lines()}")

    def stop(self) -> None:
        """Ask for the end, wait, kill."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(
        self, port: int, path: str = "/", *, seconds: float = READY_SECONDS
    ) -> None:
        """Return once ``path`` on loopback ``port`` is answered with 200.

        Raises:
            BenchError: the server ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            self.require_alive()
            try:
                status, _ = fetch(port, path)
            except (OSError, http.client.HTTPException) as error:
                answer = type(error).__name__
            else:
                if status == 200:
                    return
                answer = f"status {status}"
            time.sleep(_POLL_SECONDS)
        raise BenchError(
            f"{self.name} was not ready after {seconds:g} s (last: {answer}).{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-12:]
        return "".join(f"\n  | {line}" for line in lines)


def start_server(
    name: str,
    argv: Sequence[str],
    *,
    core: int | None,
    work: Path,
    env: Mapping[str, str] | None = None,
) -> Server:
    """Start ``argv`` on ``core`` (None: on any) with its output in a log file of ``work``.

    Raises:
        BenchError: the program cannot be run.
    """
    log = work / f"{name}.log"
    with pinned(core), log.open("wb") as output:
        try:
            process = subprocess.Popen(
                argv,
                env=None if env is None else dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise BenchError(f"{name} cannot be started: {error}.") from error
    return Server(name, process, log)


def fetch(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    seconds: float = 10.0,
) -> tuple[int, bytes]:
    """Return status and body of a request to loopback ``port``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def environment(names: Mapping[str, str]) -> dict[str, str]:
    """Return the harness's own environment with ``names`` added."""
    return {**os.environ, **names}


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
