"""A process that caches one value and follows the change log, as an app instance does.

The "database" is a file that holds a number. A question gets the cached number, loaded where the
cache is empty; a change empties it. So an answer given while sure is what an app would serve from
its cache, and tells whether that is stale.

    python -m fakes.caching_layer STORE_JSON LEASE NAME DATABASE

prints its port, then answers each line on a connection with ``{"sure": ..., "version": ...}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import structlog

from poruwa.config.model import Coherence, StoreMode, ValkeyStore
from poruwa.stores.change_log import ChangeLog


def coherence_of(lease_seconds: float) -> Coherence:
    return Coherence(lease_seconds=lease_seconds, heartbeat_seconds=lease_seconds / 5)


def store_of(nodes: Sequence[str]) -> ValkeyStore:
    mode = StoreMode.SINGLE if len(nodes) == 1 else StoreMode.PRIMARY_REPLICA
    return ValkeyStore(mode=mode, nodes=tuple(nodes))


class _Layer:
    def __init__(self, nodes: Sequence[str], lease: float, name: str, database: Path) -> None:
        self._database = database
        self._version: int | None = None
        self.log = ChangeLog(
            store_of(nodes),
            coherence_of(lease),
            layer=name,
            on_change=lambda position, change: self._forget(),
            on_all_changed=lambda position: self._forget(),
        )

    def _forget(self) -> None:
        self._version = None

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            if self._version is None:
                self._version = int(self._database.read_text())
            version = self._version
            is_sure = time.monotonic() < self.log.sure_until
            about = {"sure": is_sure, "version": version, "position": self.log.position}
            writer.write(json.dumps(about).encode() + b"\n")
        writer.close()


async def _main(nodes: str, lease: str, name: str, database: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    layer = _Layer(json.loads(nodes), float(lease), name, Path(database))
    await layer.log.start()
    server = await asyncio.start_server(layer.answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await layer.log.close()


class LayerProcess:
    """Runs the above in a process of its own."""

    def __init__(self, name: str, nodes: Sequence[str], lease: float, database: Path) -> None:
        tests = Path(__file__).resolve().parent.parent
        path = os.pathsep.join([str(tests), str(tests.parent / "src")])
        self.name = name
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fakes.caching_layer"),
                *(json.dumps(list(nodes)), str(lease), name, str(database)),
            ],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        try:
            self.port = int(self.process.stdout.readline())
        except BaseException:
            self.kill()
            raise

    async def ask(self) -> dict[str, Any]:
        """Return one answer, on a connection of its own.

        Raises:
            OSError: the process is gone.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"?\n")
            line = await reader.readline()
        finally:
            writer.close()
        if not line:
            raise ConnectionResetError("the layer is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
