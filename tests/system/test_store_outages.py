"""WeddingLK through `poruwa up` while its Valkeys are away: issue 5, Show 3.

An outage is a server that is stopped (SIGSTOP), so that the supervisor does not end it by starting
another; that a killed one is started again is tested in ``test_up_valkey.py``. How long requests
take meanwhile is not asserted.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from test_weddinglk_stack import SiteStack

PAGES = ("/", "/venues/7", "/si/venues/7", "/venues?district=Kandy", "/api/v1/venues/7")
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStack]:
    running = SiteStack(tmp_path_factory.mktemp("outages"))
    yield running
    assert running.stop() == 0


@contextlib.contextmanager
def away(stack: SiteStack, part: str) -> Iterator[None]:
    """Keep a store from answering for the length of a block."""
    pid = stack.report()["pids"][part]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask(stack: SiteStack, page: str) -> httpx.Response:
    """Ask on a connection of its own: either worker may accept it."""
    return httpx.get(stack.url + page, timeout=20)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def are_hits(stack: SiteStack) -> bool:
    return all(
        "; hit" in ask(stack, page).headers["cache-status"] for page in PAGES for _ in "1234"
    )


def edit(stack: SiteStack, tagline: str) -> httpx.Response:
    return httpx.patch(
        f"{stack.url}/api/v1/venues/7",
        content=json.dumps({"tagline": {"en": tagline}}),
        headers={
            "Authorization": f"Bearer {Path(stack.state / 'operator-token').read_text()}",
            "Content-Type": "application/merge-patch+json",
        },
        timeout=20,
    )


def test_without_the_cache_pages_go_on_and_writes_are_acknowledged(stack: SiteStack) -> None:
    eventually(lambda: are_hits(stack), "all pages from the gateway's cache")
    with away(stack, "cache"):
        for version in range(3):
            answer = edit(stack, f"without the cache {version}")
            assert answer.status_code == 200, answer.text
            for page in PAGES[1:3] + PAGES[4:]:
                found = ask(stack, page)
                assert found.status_code == 200
            assert f"without the cache {version}" in ask(stack, "/venues/7").text
            assert ask(stack, f"/venues/{20 + version}").status_code == 200  # never asked before
    eventually(lambda: are_hits(stack), "hits again")


def test_without_the_bus_tagged_pages_are_asked_of_the_origin_and_writes_refused(
    stack: SiteStack,
) -> None:
    assert edit(stack, "before the outage").status_code == 200
    eventually(lambda: are_hits(stack), "all pages from the gateway's cache")

    def is_unsure() -> bool:
        return all("detail=unsure" in ask(stack, page).headers["cache-status"] for page in PAGES)

    with away(stack, "bus"):
        eventually(is_unsure, "both workers unsure, once their leases have lapsed")
        answer = edit(stack, "during the outage")
        assert answer.status_code == 503
        assert answer.json()["write"] == "refused"
        assert "retry-after" in answer.headers
        for page in PAGES:
            found = ask(stack, page)
            assert found.status_code == 200
            assert "during the outage" not in found.text
        assert "before the outage" in ask(stack, "/venues/7").text
        static = httpx.get(stack.url + "/about", timeout=20).headers["cache-status"]
        assert "detail=unsure" in static  # the build is a tag, too
    eventually(lambda: are_hits(stack), "the hit rate back by itself")
    eventually(lambda: edit(stack, "after the outage").status_code == 200, "a write taken again")
    assert "after the outage" in ask(stack, "/venues/7").text


def test_a_killed_bus_comes_back_with_its_log_and_the_caches_with_it(stack: SiteStack) -> None:
    before = stack.report()["pids"]["bus"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: stack.report()["pids"].get("bus", before) != before, "another server")
    eventually(lambda: edit(stack, "after the kill").status_code == 200, "a write taken again")
    assert "after the kill" in ask(stack, "/venues/7").text
    eventually(lambda: are_hits(stack), "hits again")
