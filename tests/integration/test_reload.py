"""Reload and upgrade: workers replaced while clients are served (A5, G8; issue 3, Show 6).

Real gateways, instances and WebSockets; the clients take any cut or failed answer as a fault, but
do what ``Connection: close`` asks.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as connect_websocket
from websockets.sync.server import Server, ServerConnection, serve

from fakes.gateway_process import GatewayProcess, is_running
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.wire import WireError
from poruwa.stack.sockets import free_port

DONE_SECONDS = 30.0  # of a reload, on a machine that does much else
WORKERS = 2
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
{listeners}
[admin]
address = "127.0.0.1:0"
[gateway]
workers = {workers}
old_workers = "{old_workers}"
[timeouts]
drain = "1s"
idle = "{idle}"
[pools.app]
instances = [{instances}]
[pools.app.health]
interval = "{interval}"
fast_interval = "100ms"
timeout = "1s"
[pools.chat]
instances = ["{chat}"]
health.kind = "tcp"
[[routes]]
path = "/chat"
pool = "chat"
{routes}
[[routes]]
path = "/*"
pool = "app"
"""
REDIRECT = """
[[routes]]
path = "/moved"
[routes.redirect]
to = "/new"
"""


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture(scope="module")
def chat() -> Iterator[Server]:
    server = serve(echo, "127.0.0.1", 0, compression=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)


class Site:
    """A gateway whose policy can be written anew, before two instances and a chat server."""

    def __init__(self, folder: Path, chat: Server, **settings: object) -> None:
        self.origins = [Origin(name=f"app{number}") for number in range(2)]
        for origin in self.origins:
            origin.keeps_calls = False
        self._chat = chat
        self.policy_path = folder / "site.toml"
        self.gateway = GatewayProcess(folder, policy=self.policy(**settings))

    def policy(self, **settings: object) -> str:
        host, port = self._chat.socket.getsockname()
        defaults: dict[str, object] = {
            "listeners": "",
            "workers": WORKERS,
            "old_workers": "60s",
            "idle": "60s",
            "interval": "2s",
            "instances": ", ".join(f'"{each.address}"' for each in self.origins),
            "routes": "",
            "chat": f"{host}:{port}",
        }
        return POLICY.format(**(defaults | settings))

    def write(self, **settings: object) -> None:
        self.policy_path.write_text(self.policy(**settings))

    def events(self, text: str) -> list[dict[str, Any]]:
        return [event for event in self.gateway.log_events() if event["event"] == text]

    def signal(self, number: signal.Signals, outcome: str) -> dict[str, Any]:
        """Send a signal, wait for the line that tells the outcome, and return it."""
        before = len(self.events(outcome))
        self.gateway.process.send_signal(number)
        self.gateway.until(lambda: len(self.events(outcome)) > before, outcome, DONE_SECONDS)
        return self.events(outcome)[-1]

    def reload(self) -> dict[str, Any]:
        return self.signal(signal.SIGHUP, "reload done")

    def upgrade(self) -> dict[str, Any]:
        return self.signal(signal.SIGUSR2, "upgrade done")

    def refusal(self) -> str:
        """Ask for a reload that is refused; return the last line of why."""
        return str(self.signal(signal.SIGHUP, "reload refused, all goes on as before")["reason"])

    def workers(self, state: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.gateway.status()["workers"]
        return [each for each in found if state in (None, each["state"])]

    def await_ended(self, pids: list[int], seconds: float = 20.0) -> None:
        self.gateway.until(
            lambda: not any(map(is_running, pids)), f"the end of workers {pids}", seconds
        )

    def close(self) -> None:
        try:
            self.gateway.stop()
        finally:
            for origin in self.origins:
                origin.stop()


@contextlib.contextmanager
def running_site(folder: Path, chat: Server, **settings: object) -> Iterator[Site]:
    site = Site(folder, chat, **settings)
    try:
        yield site
    except BaseException:
        site.gateway.kill()
        raise
    site.close()


class Load:
    """Clients that GET all the time, each on a kept connection, and check every answer.

    One that is told ``Connection: close`` goes on with a new connection; anything else that ends
    one, or any answer but the expected, is a failure and ends that client.
    """

    def __init__(self, gateway: GatewayProcess, *, clients: int = 8) -> None:
        self.answers = 0
        self.told_to_close = 0
        self.failures: list[str] = []
        self._gateway = gateway
        self._is_over = threading.Event()
        # Every other one pauses between requests, as people's browsers do.
        pauses = [0.05 * (number % 2) for number in range(clients)]
        self._threads = [
            threading.Thread(target=self._run, args=(number, pause))
            for number, pause in enumerate(pauses)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.await_answers(50)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def await_answers(self, count: int) -> None:
        target = self.answers + count
        deadline = time.monotonic() + DONE_SECONDS
        while self.answers < target and not self.failures:
            assert time.monotonic() < deadline, f"{self.answers} of {target} answers"
            time.sleep(0.005)
        assert not self.failures, self.failures

    def _run(self, number: int, pause: float) -> None:
        client: RawClient | None = None
        asked = 0
        try:
            while not self._is_over.wait(pause):
                client = client or self._gateway.connect()
                asked += 1
                path = f"/load/{number}/{asked}"
                answer = client.get(path)
                assert answer.status == 200, answer.raw + answer.body
                assert json.loads(answer.body)["target"] == path
                self.answers += 1
                if answer.get("connection") == b"close":
                    self.told_to_close += 1
                    client.close()
                    client = None
        except (OSError, WireError, AssertionError) as error:
            self.failures.append(f"client {number}, request {asked}: {error!r}")
        finally:
            if client is not None:
                client.close()


class WebSockets:
    """Clients of the chat that send and expect the echo, one after the other, all the time."""

    def __init__(self, gateway: GatewayProcess, count: int) -> None:
        self.rounds = 0
        self.failures: list[str] = []
        self._stack = contextlib.ExitStack()
        url = f"ws://{gateway.address}/chat"
        self._clients = [
            self._stack.enter_context(connect_websocket(url, compression=None))
            for _ in range(count)
        ]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> WebSockets:
        self._thread.start()
        self.await_rounds(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._stack.close()

    def await_rounds(self, count: int) -> None:
        """Wait until each of them has had so many further echoes."""
        target = self.rounds + count
        deadline = time.monotonic() + DONE_SECONDS
        while self.rounds < target and not self.failures:
            assert time.monotonic() < deadline, f"{self.rounds} of {target} rounds"
            time.sleep(0.005)
        assert not self.failures, self.failures

    def _run(self) -> None:
        while not self._is_over.wait(0.01):
            for number, client in enumerate(self._clients):
                text = f"{self.rounds} of {number}"
                try:
                    client.send(text)
                    assert client.recv(timeout=10) == text
                except (WebSocketException, OSError, AssertionError) as error:
                    self.failures.append(f"WebSocket {number} in round {self.rounds}: {error!r}")
                    return
            self.rounds += 1


def test_ten_reloads_and_two_upgrades_lose_nothing(tmp_path: Path, chat: Server) -> None:
    """Show 6: eight clients that keep their connections, twenty WebSockets that talk all along."""
    with running_site(tmp_path, chat) as site:
        first = site.gateway.worker_pids()
        with WebSockets(site.gateway, 20) as sockets, Load(site.gateway) as load:
            for number in range(10):
                site.write(routes=REDIRECT.replace("/new", f"/new-{number}"))
                report = site.reload()
                assert (report["epoch"], report["workers"]) == (site.workers()[0]["epoch"], WORKERS)
                if number in (3, 7):
                    site.upgrade()
                load.await_answers(50)
                sockets.await_rounds(2)
                with site.gateway.connect() as client:
                    moved = client.get("/moved")
                assert moved.get("location") == f"/new-{number}".encode(), "the latest policy"
            status = site.gateway.status()
            assert status["epoch"] == 13
            assert not set(first) & set(site.gateway.worker_pids()[:WORKERS])
            # What the first workers still do is counted with what the present ones do.
            chats = next(each for each in status["instances"] if each["pool"] == "chat")
            assert chats["in_flight"] == sum(chats["in_flight_by_worker"]) == 20
            assert any(each["pid"] in first for each in site.workers("draining"))
            load.await_answers(50)
        assert load.failures == []
        assert sockets.failures == []
        assert load.told_to_close >= 8
        site.await_ended(first)
        site.gateway.until(lambda: site.gateway.in_flight() == 0, "no load")
        site.gateway.until(lambda: len(site.workers()) == WORKERS, "only the present workers", 20)
        # Each request was counted once, by whichever worker, also of those that are gone.
        counted = site.gateway.metric('poruwa_requests_total{instance="127.0.0.1')
        upgraded = 20
        assert counted == load.answers + upgraded
