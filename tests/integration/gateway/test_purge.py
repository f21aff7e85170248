"""Purges reach every worker, hard and soft, by URL, tag and pattern (issue 4; B6, B8)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.wire import Response

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 2
[pools.app]
instances = ["%s"]
health.kind = "tcp"
[dimensions.language]
header = "Accept-Language"
values = ["en", "si"]
default = "en"
[classes.page]
scope = "shared"
tags = ["pages", "page:{page_id}"]
dimensions = ["language"]
query_parameters = ["page"]
lifetimes = { browser = "0s", gateway = "1h" }
stale_while_revalidate = "10min"
[[routes]]
path = "/pages/{page_id}"
pool = "app"
data_class = "page"
[[routes]]
path = "/*"
pool = "app"
"""


class Site:
    """A gateway of two workers, and connections to both."""

    def __init__(self, folder: Path) -> None:
        self.origin = Origin()
        self.control = f"unix:{folder}/control.sock"
        self.gateway = GatewayProcess(
            folder, "--control", f"{folder}/control.sock", policy=POLICY % self.origin.address
        )
        self.clients: list[RawClient] = []
        # A burst may go to one worker; later ones go where fewer are.
        self.gateway.until(self._both_have_clients, "a client at each worker")

    def _both_have_clients(self) -> bool:
        self.clients.append(self.gateway.connect())
        time.sleep(0.02)
        counts = [worker["connections"] for worker in self.gateway.status()["workers"]]
        return len(counts) == 2 and min(counts) > 0

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.gateway.stop()
        self.origin.stop()

    def page(self, path: str, version: int, tags: str = "") -> None:
        fields = f"Cache-Groups: {tags}\r\n".encode() if tags else b""
        self.origin.on(path, lambda call: call.reply(b"version %d" % version, fields=fields))

    def everywhere(self, target: str, method: str = "GET") -> list[Response]:
        """Ask on every connection, one after the other: both workers have it then."""
        return [ask(client, target, method) for client in self.clients]

    def poruwa(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "poruwa.cli.main", *arguments]
        command += ["--admin", self.control]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


def ask(client: RawClient, target: str, method: str = "GET") -> Response:
    client.send(f"{method} {target} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n".encode())
    return client.response(method.encode())


def bodies(answers: list[Response]) -> set[bytes]:
    return {answer.body for answer in answers}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    started = Site(tmp_path_factory.mktemp("purge"))
    yield started
    started.stop()


def changed(site: Site, path: str, tags: str = "") -> None:
    """Have both workers keep version 1 of a page, of which there is now version 2."""
    site.page(path, 1, tags)
    assert bodies(site.everywhere(path)) == {b"version 1"}
    assert len(site.origin.seen(path)) == 1  # the other worker copied it
    site.page(path, 2, tags)
    assert bodies(site.everywhere(path)) == {b"version 1"}


@pytest.mark.parametrize(
    ("name", "arguments", "tags"),
    [
        ("url", ["/pages/url"], ""),
        ("absolute", ["http://weddinglk.test/pages/absolute?utm=1"], ""),
        ("class-tag", ["--tag", "page:class-tag"], ""),
        ("own-tag", ["--tag", "venue:7"], '"venue:7", "x"'),
        ("pattern", ["--pattern", "/pages/patt*"], ""),
        ("full-pattern", ["--pattern", "*/full-pattern"], ""),
    ],
)
def test_a_purge_reaches_every_worker(
    site: Site, name: str, arguments: list[str], tags: str
) -> None:
    path = f"/pages/{name}"
    changed(site, path, tags)
    assert "2 entries would be purged" in site.poruwa("purge", *arguments, "--dry-run")
    assert bodies(site.everywhere(path)) == {b"version 1"}
    assert "2 entries purged in 2 workers" in site.poruwa("purge", *arguments)
    assert bodies(site.everywhere(path)) == {b"version 2"}


def test_a_soft_purge_serves_once_more_while_it_is_fetched_anew(site: Site) -> None:
    changed(site, "/pages/soft")
    assert "2 entries aged" in site.poruwa("purge", "/pages/soft", "--soft")
    first = site.everywhere("/pages/soft")[0]
    assert first.body == b"version 1"
    assert b"ttl=0" in (first.get("cache-status") or b"")
    site.gateway.until(
        lambda: bodies(site.everywhere("/pages/soft")) == {b"version 2"}, "the refreshed page"
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hard-tag", ["--tag", "page:slow-hard-tag"]),
        ("soft-tag", ["--tag", "page:slow-soft-tag", "--soft"]),
        ("soft-url", ["/pages/slow-soft-url", "--soft"]),
        ("soft-pattern", ["--pattern", "/pages/slow-*", "--soft"]),
    ],
)
def test_what_was_being_fetched_is_not_kept(site: Site, name: str, arguments: list[str]) -> None:
    """The fill rule: begun before the change, so it may hold what was before."""
    path = f"/pages/slow-{name}"
    waiting: list[Call] = []
    site.origin.on(path, waiting.append)
    site.clients[0].send(f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n".encode())
    site.origin.await_calls(path, 1)
    site.poruwa("purge", *arguments)
    waiting[0].reply(b"version 1")
    assert site.clients[0].response().body == b"version 1"
    site.page(path, 2)
    assert bodies(site.everywhere(path)) == {b"version 2"}


def test_an_unsafe_request_is_heard_of_by_all_workers(site: Site) -> None:
    """RFC 9111 section 4.4, RFC 9875 section 3, on a machine with several workers."""
    changed(site, "/pages/posted")
    changed(site, "/pages/grouped", '"venue:9"')
    site.origin.on(
        "/pages/posted",
        lambda call: call.reply(b"version 2", fields=b'Cache-Group-Invalidation: "venue:9"\r\n'),
    )
    assert ask(site.clients[0], "/pages/posted", "POST").status == 200
    for path in ("/pages/posted", "/pages/grouped"):
        site.gateway.until(
            lambda path=path: bodies(site.everywhere(path)) == {b"version 2"}, f"{path} anew"
        )


def test_a_purge_says_what_is_wrong(site: Site) -> None:
    assert "name what to purge" in site.poruwa("purge", code=2)
    assert "http://host/path" in site.poruwa("purge", "weddinglk.test/x", code=2)
    assert "refuses" in site.poruwa("purge", "/a/../b", code=2)


def test_a_frozen_worker_is_named_and_not_waited_for(site: Site) -> None:
    changed(site, "/pages/frozen")
    frozen = site.gateway.worker_pids()[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        answer: dict[str, Any] = json.loads(site.poruwa("purge", "/pages/frozen", "--json"))
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert sorted(each["acknowledged"] for each in answer["workers"]) == [False, True]
    assert "no answer" in answer["note"]
    site.gateway.until(
        lambda: bodies(site.everywhere("/pages/frozen")) == {b"version 2"}, "the frozen one's purge"
    )


def test_figures_and_explanations(site: Site) -> None:
    site.page("/pages/told", 1)
    site.everywhere("/pages/told")
    figures = json.loads(site.poruwa("cache", "--json"))
    assert figures["classes"]["page"]["hit"] >= 1
    assert 0 < figures["all"]["hit_ratio"] < 1
    assert figures["held"]["entries"] >= 2
    text = site.poruwa("explain", "/pages/told")
    assert "a hit (en), status 200" in text
    assert "tags pages, page:told" in text
    assert "nothing is stored of it" in site.poruwa("explain", "/pages/unknown")
    assert "not cached" in site.poruwa("explain", "/other")
    for odd in ("http://somebody@weddinglk.test/pages/told", "ftp://weddinglk.test/pages/told"):
        assert "http://host/path" in site.poruwa("explain", odd, code=2)
    metrics = site.gateway.ask_admin("/metrics")[1].decode()
    assert 'poruwa_cache_requests_total{class="page",outcome="hit"}' in metrics


def test_a_path_is_purged_on_however_many_hosts(tmp_path: Path) -> None:
    """What hosts there are is known by what is stored, not by the latest thousand asked for."""
    origin = Origin()
    control = f"{tmp_path}/control.sock"
    gateway = GatewayProcess(
        tmp_path, "--upstream", origin.address, "--cache", "--workers", "1", "--control", control
    )
    origin.on("/page", lambda call: call.reply(b"1", fields=b"Cache-Control: max-age=3600\r\n"))
    try:
        with gateway.connect() as client:
            for number in range(2100):
                path = "/page" if number < 3 else "/other"
                client.send(f"GET {path} HTTP/1.1\r\nHost: host{number}.test\r\n\r\n".encode())
                assert client.response().status == 200
            command = [sys.executable, "-m", "poruwa.cli.main", "purge", "/page"]
            done = subprocess.run(
                [*command, "--admin", f"unix:{control}"],
                capture_output=True, text=True, check=True, timeout=30,
            )  # fmt: skip
            assert "3 entries purged" in done.stdout
    finally:
        gateway.stop()
        origin.stop()


def test_a_group_of_an_origin_is_purged_by_its_name(tmp_path: Path) -> None:
    """RFC 9875 section 2: groups are of one origin; --tag means a name on every one of them."""
    origin = Origin()
    control = f"{tmp_path}/control.sock"
    gateway = GatewayProcess(
        tmp_path, "--upstream", origin.address, "--cache", "--workers", "1", "--control", control
    )
    client = gateway.connect()

    def bodies_of(version: int) -> list[bytes]:
        fields = b'Cache-Control: max-age=3600\r\nCache-Groups: "venue:7"\r\n'
        origin.on("/venue", lambda call: call.reply(b"version %d" % version, fields=fields))
        answers = []
        for host in ("one.test", "two.test"):
            client.send(f"GET /venue HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answers.append(client.response().body)
        return answers

    def purge(*arguments: str) -> str:
        command = [sys.executable, "-m", "poruwa.cli.main", "purge", *arguments]
        command += ["--admin", f"unix:{control}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout

    try:
        assert bodies_of(1) == [b"version 1"] * 2
        assert "0 entries would be purged" in purge("--tag", "venue:8", "--dry-run")
        assert "2 entries would be purged" in purge("--tag", "venue:7", "--dry-run")
        assert bodies_of(2) == [b"version 1"] * 2
        assert "2 entries purged" in purge("--tag", "venue:7")
        assert bodies_of(3) == [b"version 3"] * 2
    finally:
        client.close()
        gateway.stop()
        origin.stop()
