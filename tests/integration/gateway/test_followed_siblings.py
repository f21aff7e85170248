"""Several workers of one machine follow the change log: each decides by its own.

What a sibling lends is a join across processes: it carries its position, and who takes it judges.
And an operator's purge reaches every layer, and names who did not answer (issue 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.followed_site import FollowedSite, ask, followed_site, said
from fakes.gateway_process import workers_of
from fakes.raw_client import RawClient
from fakes.wire import Response
from poruwa.stack.admin_client import send_command

WORKERS = 2


class Pair:
    """A site of two workers, and a connection to each."""

    def __init__(self, site: FollowedSite) -> None:
        self.site = site
        pids = site.gateway.worker_pids()
        found: dict[int, RawClient] = {}
        deadline = time.monotonic() + 20.0
        while len(found) < WORKERS:
            assert time.monotonic() < deadline, "the workers do not all accept"
            client = site.gateway.connect()
            client.get("/warm")
            (pid,) = workers_of([client], pids)
            if found.setdefault(pid, client) is not client:
                client.close()
        self.pids = list(found)
        self.clients = list(found.values())

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def everywhere(self, path: str, fields: str = "") -> list[Response]:
        return [self.site.get(path, fields, client=client) for client in self.clients]

    def bodies(self, path: str) -> list[bytes]:
        return [answer.body for answer in self.everywhere(path)]

    def poruwa(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "poruwa.cli.main", *arguments]
        done = subprocess.run(
            [*command, "--admin", self.site.control],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Ask the control process without a program's start: a frozen worker is replaced in 2 s."""
        return dict(asyncio.run(send_command(self.site.control, verb, arguments, token=None)))


@contextlib.contextmanager
def running_pair(folder: Path) -> Iterator[Pair]:
    with followed_site(folder, workers=WORKERS) as running:
        running.await_sure()
        pair = Pair(running)
        running.gateway.until(
            lambda: all("; hit" in said(each) for each in pair.everywhere("/pages/sure")),
            "hits at both workers",
            15.0,
        )
        yield pair
        pair.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("siblings")) as running:
        yield running


@pytest.fixture
def own_pair(tmp_path: Path) -> Iterator[Pair]:
    """Whose workers may be frozen."""
    with running_pair(tmp_path) as running:
        yield running


def test_one_fetch_for_both_before_and_after_a_change(pair: Pair) -> None:
    pair.site.page("/pages/one", "1")
    assert pair.bodies("/pages/one") == [b"1", b"1"]
    assert len(pair.site.origin.seen("/pages/one")) == 1
    # What is not of the page costs the second worker nothing.
    pair.site.page("/pages/late", "1")
    assert pair.site.get("/pages/late", client=pair.clients[0]).body == b"1"
    pair.site.publish("page:other")
    assert pair.site.get("/pages/late", client=pair.clients[1]).body == b"1"
    assert len(pair.site.origin.seen("/pages/late")) == 1
    told = pair.site.publish("page:one", "page:late")
    assert len(told.layers) == WORKERS
    pair.site.page("/pages/one", "2")
    assert pair.bodies("/pages/one") == [b"2", b"2"]


def test_what_is_lent_is_judged_by_who_takes_it(own_pair: Pair) -> None:
    """The lender was frozen through a change; what it has is of before."""
    pair = own_pair
    pair.site.page("/pages/lent", "old")
    assert pair.site.get("/pages/lent", client=pair.clients[0]).body == b"old"
    os.kill(pair.pids[0], signal.SIGSTOP)
    try:
        told = pair.site.publish("page:lent")
        assert sorted(each.lapsed for each in told.layers.values()) == [False, True]
    finally:
        os.kill(pair.pids[0], signal.SIGCONT)
    pair.site.page("/pages/lent", "new")
    ask(pair.clients[1], "/pages/lent")
    ask(pair.clients[0], "/pages/lent")
    assert [client.response().body for client in pair.clients] == [b"new", b"new"]


def test_a_fetch_of_a_sibling_is_not_joined_after_a_change(own_pair: Pair) -> None:
    pair = own_pair
    calls = pair.site.held("/pages/shared")
    first, second = pair.clients
    ask(first, "/pages/shared")
    pair.site.origin.await_calls("/pages/shared", 1)
    pair.site.publish("page:shared")
    ask(second, "/pages/shared")
    pair.site.origin.await_calls("/pages/shared", 2)
    calls[0].reply(b"old")
    calls[1].reply(b"new")
    assert first.response().body == b"old"
    assert second.response().body == b"new"
    pair.site.page("/pages/shared", "newest")
    assert b"old" not in pair.bodies("/pages/shared")


# Operators.


def test_a_purge_goes_through_the_log(pair: Pair) -> None:
    pair.site.page("/pages/purged", "1")
    assert pair.bodies("/pages/purged") == [b"1", b"1"]
    pair.site.page("/pages/purged", "2")
    before = pair.site.publish("page:other").position
    told = pair.command("purge", tags=["page:purged"])
    assert told["position"] == before + 1
    assert told["complete"] is True
    assert [each["acknowledged"] for each in told["layers"]] == [True] * WORKERS
    assert all(each["layer"].startswith("gateway/") for each in told["layers"])
    assert all(each["after_seconds"] >= 0 for each in told["layers"])
    assert sum(each["entries"] for each in told["workers"]) == 2
    assert pair.bodies("/pages/purged") == [b"2", b"2"]
    text = pair.poruwa("purge", "/pages/purged")
    assert "applied by 2 of 2 layers" in text
    assert text.count("applied after") == WORKERS
    metrics = pair.site.gateway.ask_admin("/metrics")[1].decode()
    assert 'poruwa_acknowledgement_seconds_count{layer="gateway"} 4.0' in metrics
    assert 'poruwa_staleness_seconds_count{layer="gateway"}' in metrics


def test_a_frozen_layer_is_named_and_its_lease_waited_for(own_pair: Pair) -> None:
    pair = own_pair
    pair.site.page("/pages/ice", "1")
    assert pair.bodies("/pages/ice") == [b"1", b"1"]
    os.kill(pair.pids[0], signal.SIGSTOP)
    try:
        told = pair.command("purge", tags=["page:ice"])
    finally:
        os.kill(pair.pids[0], signal.SIGCONT)
    assert told["complete"] is True
    assert sorted(each["lapsed"] for each in told["layers"]) == [False, True]
    assert f"/{pair.pids[0]}" in told["note"]
    pair.site.page("/pages/ice", "2")
    assert pair.bodies("/pages/ice") == [b"2", b"2"]


def test_without_the_bus_a_purge_is_of_this_machine_and_says_so(own_pair: Pair) -> None:
    pair = own_pair
    pair.site.page("/lax/alone", "1")
    assert pair.bodies("/lax/alone") == [b"1", b"1"]
    pair.site.page("/lax/alone", "2")
    pair.site.bus.kill()
    told = pair.command("purge", urls=["/lax/alone"])
    assert "of this machine only" in told["note"]
    assert pair.bodies("/lax/alone") == [b"2", b"2"]


def test_explain_tells_position_lease_and_what_would_become_of_a_request(pair: Pair) -> None:
    pair.site.page("/pages/told", "1")
    pair.everywhere("/pages/told")
    position = pair.site.publish("page:other").position
    pair.site.origin.on(
        "/pages/mine", lambda call: call.reply(b"1", fields=b"Cache-Control: private\r\n")
    )
    pair.everywhere("/pages/mine")
    told = pair.command("explain", url="http://weddinglk.test/pages/mine")["cache"]
    assert {each["outlook"]["outcome"] for each in told["workers"]} == {"pass"}
    assert "not for all" in told["workers"][0]["outlook"]["why"]
    hits = pair.site.gateway.metric('poruwa_cache_requests_total{class="page",outcome="hit"')

    def explained(path: str, *arguments: str) -> str:
        return pair.poruwa("explain", f"http://weddinglk.test{path}", *arguments)

    text = explained("/pages/told")
    assert f"position {position}, lease renewed 0." in text
    assert "sure" in text
    assert text.count("this request: hit (en): fresh") == WORKERS
    english = ("--header", "Accept-Language: si")
    assert "this request: miss (si): other copies of it are stored" in explained(
        "/pages/told", *english
    )
    assert "hit (en)" in explained("/pages/told", "--header", "Cookie: a=b")
    assert "pass: POST is never answered" in explained("/pages/told", "--method", "POST")
    assert "hit (en)" in explained("/pages/told", "--header", "Range: bytes=0-1")
    after = pair.site.gateway.metric('poruwa_cache_requests_total{class="page",outcome="hit"')
    assert after == hits  # nobody's read


def test_explain_names_who_does_not_answer(own_pair: Pair) -> None:
    os.kill(own_pair.pids[0], signal.SIGSTOP)
    try:
        told = own_pair.command("explain", url="http://weddinglk.test/pages/x")["cache"]
    finally:
        os.kill(own_pair.pids[0], signal.SIGCONT)
    assert len(told["silent"]) == 1
    assert [each["outlook"]["outcome"] for each in told["workers"]] == ["miss"]


# Popular pages.


def test_what_many_read_is_fetched_anew_before_anybody_asks(pair: Pair) -> None:
    site = pair.site
    site.page("/hot/often", "1")
    site.page("/hot/seldom", "1")
    for _ in range(4):
        pair.everywhere("/hot/often")
        pair.everywhere("/hot/often", "Accept-Language: si\r\n")
    pair.everywhere("/hot/seldom")
    site.page("/hot/often", "2")
    before = len(site.origin.seen("/hot/often"))
    assert before == 2  # one a language
    position = site.publish("hot").position
    calls = site.origin.await_calls("/hot/often", 4)[2:]
    assert sorted(call.request.get("accept-language") or b"" for call in calls) == [b"en", b"si"]
    assert {call.request.get("poruwa-position") for call in calls} == {b"%d" % position}
    site.gateway.until(
        lambda: all(
            "; hit" in said(each) and each.body == b"2" for each in pair.everywhere("/hot/often")
        ),
        "the new one, everywhere",
    )
    assert len(site.origin.seen("/hot/seldom")) == 1


def test_a_budget_bounds_what_is_fetched_ahead(tmp_path: Path) -> None:
    """A change of what everything depends on must not flood the app."""
    with followed_site(tmp_path, more_policy="[cache]\nrefreshes_per_second = 3\n") as site:
        site.await_sure()
        paths = [f"/hot/{number}" for number in range(10)]
        for path in paths:
            site.page(path, "1")
            for _ in range(5):
                site.body(path)
            site.page(path, "2")
        site.publish("hot")
        refreshed = 'poruwa_cache_requests_total{class="hot",outcome="refresh"'
        assert site.gateway.metric(refreshed) == 3
        assert {site.body(path) for path in paths} == {"2"}
        assert sum(len(site.origin.seen(path)) for path in paths) == 20
