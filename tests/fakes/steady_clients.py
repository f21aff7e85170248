"""Clients that go on all the time and take anything unexpected as a failure."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from types import TracebackType

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as connect_websocket

from fakes.gateway_process import GatewayProcess
from fakes.raw_client import RawClient
from fakes.wire import WireError

DONE_SECONDS = 30.0  # of so many answers, on a machine that does much else


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
