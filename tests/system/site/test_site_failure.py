"""The site without its database: not ready, and clear to visitors (requirements A3, C4)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from site_process import UVICORN, free_port, running, wait_for

import weddinglk
from poruwa import Platform
from weddinglk.app import create_app

POLICY = Path(weddinglk.__file__).with_name("site.toml")


@pytest.fixture(scope="module")
def lonely_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A running site whose database is not there."""
    if not UVICORN.exists():
        pytest.skip("not installed: uvicorn")
    socket = tmp_path_factory.mktemp("lonely") / "site.sock"
    url = f"mongodb://127.0.0.1:{free_port()}/weddinglk?serverSelectionTimeoutMS=200"
    command = [UVICORN, "weddinglk.app:app", "--uds", socket]
    log = socket.with_suffix(".log")
    with running(command, log, {"WEDDINGLK_DATABASE_URL": url}):
        wait_for(socket.exists, "the site")
        transport = httpx.HTTPTransport(uds=str(socket))
        with httpx.Client(transport=transport, base_url="http://site", timeout=20) as client:
            yield client


def test_health_says_why(lonely_site: httpx.Client) -> None:
    """A3: 503 with a reason, within the deadline of a health check."""
    response = lonely_site.get("/healthz", timeout=5)
    assert response.status_code == 503
    assert response.text.startswith("not ready: ")


def test_pages_and_api_say_to_come_back(lonely_site: httpx.Client) -> None:
    """C4: 503 with Retry-After, in the visitor's language, without a stack trace."""
    page = lonely_site.get("/ta/venues/1")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert "விரைவில் வருகிறோம்" in page.text
    assert "pymongo" not in page.text.lower()
    problem = lonely_site.get("/api/v1/venues/1")
    assert problem.status_code == 503
    assert problem.headers["content-type"] == "application/problem+json"


# pymongo leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestWarning")
async def test_an_unforeseen_failure_is_a_page_of_ours(tmp_path: Path) -> None:
    """D8: 500 in the language of the path, and nothing of the error in it."""
    url = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=50"
    app = create_app(Platform.from_file(POLICY, environ={}), database_url=url)
    async with app.router.lifespan_context(app):
        app.state.site.catalogue.upkeep.listings = None
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
            page = await client.get("/si/venues")
            problem = await client.get("/api/v1/venues")
    assert (page.status_code, page.headers["cache-control"]) == (500, "no-store")
    assert '<html lang="si">' in page.text
    assert "NoneType" not in page.text
    assert (problem.status_code, problem.json()["title"]) == (500, "Internal Server Error")
    gc.collect()  # here, where the warning is expected
