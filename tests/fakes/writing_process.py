"""A process that writes, relays and watches: to be killed and paused.

``python -m fakes.writing_process MODE DATABASE_URL DATABASE BUS_ADDRESS NAME``. Modes:

``crash``: makes one write (``venues`` 77, tag ``crashed``) and kills itself (SIGKILL) between
commit and append.
``run``: relays and watches until killed; says ``ready`` once it is sure, and ``leading`` each time
it has become the watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakes.writing import open_database, open_log, open_writes, until
from poruwa.config.model import StoreMode, ValkeyStore


class WritingProcess:
    """The process, as a test holds it."""

    def __init__(self, mode: str, database_url: str, database: str, bus: str, name: str) -> None:
        tests = Path(__file__).parents[1]
        paths = [str(tests), str(tests.parent / "src")]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fakes.writing_process",
                mode,
                database_url,
                database,
                bus,
                name,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    async def says(self, word: str) -> None:
        """Wait for a line of its output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while True:
                line = await asyncio.to_thread(self.process.stdout.readline)
                assert line, "the process ended"
                if line.strip() == word:
                    return

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 30)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def running_writer(
    mode: str, database_url: str, database: str, bus: str, name: str
) -> Iterator[WritingProcess]:
    process = WritingProcess(mode, database_url, database, bus, name)
    try:
        yield process
    finally:
        process.stop()


async def _main(mode: str, database_url: str, name_of_database: str, bus: str, name: str) -> None:
    store = ValkeyStore(mode=StoreMode.SINGLE, nodes=(bus,))
    watches = store if mode == "run" else None
    async with (
        open_database(database_url, name_of_database) as database,
        open_log(store, name) as log,
        open_writes(log, database, bus=watches) as writes,
    ):
        await until(log.is_sure)
        if mode == "crash":

            async def die(change: object) -> Any:
                os.kill(os.getpid(), signal.SIGKILL)

            log.append = die  # type: ignore[method-assign,assignment]
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": 77}, session=change.session)
                change.tag("crashed")
        print("ready", flush=True)  # noqa: T201
        watcher = writes.watcher
        assert watcher is not None
        while True:
            await until(lambda: watcher.is_leading, 3600)
            print("leading", flush=True)  # noqa: T201
            await until(lambda: not watcher.is_leading, 3600)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
