"""WeddingLK as its visitors meet it: the real database, seeded small, and a real uvicorn."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

START_DEADLINE_SECONDS = 60.0
SCRIPTS = Path(sys.executable).parent
NEEDED = [SCRIPTS / name for name in ("secantusd-py", "weddinglk", "uvicorn")]


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded database with the small marketplace in it."""
    missing = [script.name for script in NEEDED if not script.exists()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("database")
    port = free_port()
    url = f"mongodb://127.0.0.1:{port}/weddinglk?retryWrites=false&directConnection=true"
    server = [NEEDED[0], "--host", "127.0.0.1", "--port", str(port), "--storage-path", folder]
    with running(server, folder / "server.log"):
        wait_for(lambda: port_answers(port), "the database")
        subprocess.run(
            [NEEDED[1], "seed", "--small"],
            env={**os.environ, "WEDDINGLK_DATABASE_URL": url},
            check=True,
            capture_output=True,
            timeout=START_DEADLINE_SECONDS,
        )
        yield url


@pytest.fixture(scope="session")
def base_url(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the running site, ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [NEEDED[2], "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"WEDDINGLK_DATABASE_URL": database_url, "WEDDINGLK_BUILD": "test-build"}
    log = tmp_path_factory.mktemp("site") / "site.log"
    with running([*command, "--loop", "uvloop", "--http", "httptools"], log, settings):
        wait_for(lambda: port_answers(port) and httpx.get(f"{url}/healthz").is_success, "the site")
        yield url


@pytest.fixture(scope="session")
def site(base_url: str) -> Iterator[httpx.Client]:
    """A visitor with one connection, who follows no redirect and prefers no language."""
    with httpx.Client(base_url=base_url, timeout=10.0) as client:
        del client.headers["accept"]
        yield client


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


def wait_for(is_there: object, name: str) -> None:
    """Return when ``is_there()`` says yes; fail after the deadline."""
    assert callable(is_there)
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
