"""Starting and awaiting the real programs that the site's tests run against."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_DEADLINE_SECONDS = 60.0
SCRIPTS = Path(sys.executable).parent
DATABASE, SITE_COMMAND, UVICORN = (SCRIPTS / n for n in ("secantusd-py", "weddinglk", "uvicorn"))


@contextmanager
def running(
    command: list[object], log: Path, settings: dict[str, str] | None = None
) -> Iterator[None]:
    """Run ``command``, its output in ``log``; end it and wait for its end."""
    arguments = [str(part) for part in command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(settings or {})},
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(is_there: Callable[[], bool], name: str) -> None:
    """Return when ``is_there()`` says yes; fail after the deadline."""
    deadline = time.monotonic() + START_DEADLINE_SECONDS
    while not is_there():
        assert time.monotonic() < deadline, f"{name} did not start in time"
        time.sleep(0.05)


def port_answers(port: int) -> bool:
    """Whether somebody listens on ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port nobody uses at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def seeded_database(folder: Path) -> Iterator[str]:
    """Run an embedded database with the small marketplace in it; give its address."""
    missing = [script.name for script in (DATABASE, SITE_COMMAND, UVICORN) if not script.exists()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    port = free_port()
    folder.mkdir(exist_ok=True)
    url = f"mongodb://127.0.0.1:{port}/weddinglk?retryWrites=false&directConnection=true"
    server: list[object] = [DATABASE, "--host", "127.0.0.1", "--port", port]
    server += ["--storage-path", folder]
    with running(server, folder / "server.log"):
        wait_for(lambda: port_answers(port), "the database")
        subprocess.run(
            [SITE_COMMAND, "seed", "--small"],
            env={**os.environ, "WEDDINGLK_DATABASE_URL": url},
            check=True,
            capture_output=True,
            timeout=START_DEADLINE_SECONDS,
        )
        yield url
