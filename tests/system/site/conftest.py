"""WeddingLK as its visitors meet it: the real database, seeded small, and a real uvicorn."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from site_process import UVICORN, free_port, port_answers, running, seeded_database, wait_for


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded database with the small marketplace, which nobody changes."""
    with seeded_database(tmp_path_factory.mktemp("database")) as url:
        yield url


@pytest.fixture(scope="session")
def base_url(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the running site, ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [UVICORN, "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(port)]
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
