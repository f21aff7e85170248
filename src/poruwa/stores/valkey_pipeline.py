"""A client of the cache's Valkey in which every call ends in time, whatever the server does.

All commands of a process share one pipelined connection with hiredis' parser. redis-py, which the
bus uses, is not on this path: measured on one core against the same server, reading in batches of
64 took 3.7 us of processor time a key with it and 1.9 with this (values not decoded); one SET after
another 85 to 100 us and 55, 64 at once 12 each.
What is more, one connection has one deadline: a pool of a hundred finds out a hundred times, each
with a time-out of its own, that a server is frozen (15 s a call with redis-py's defaults). Only the
search for the primary among several nodes is redis-py's (``valkey_connection``).

Failures:

- no answer in time: the connection is given up (answers could no longer be told apart), all who
  wait are told, the breaker opens;
- the connection ends: commands go out again on a new one, ``retries`` times and within their
  deadline (all that L2 sends may be repeated); then as above;
- bytes that are no answer: as the first;
- the server says that it cannot serve (loading, not the primary any more): as the first;
- no server: as the first, and a background task goes on trying (``stores.breaker``).

A caller therefore waits for at most ``timeout_seconds``, and nobody waits while the breaker is
open. A timer that fires late means that this process slept, not that the server did: then the
answers that are there are read first.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections import deque
from typing import Final

import hiredis
import structlog

from poruwa.config.address import parse_address
from poruwa.config.model import ValkeyStore
from poruwa.stores.breaker import Breaker
from poruwa.stores.valkey_connection import FAILURES, find_primary
from poruwa.stores.valkey_wire import Command, Failure, ValkeyWire, packed

_LATE_SECONDS: Final = 0.05
_SECOND_LOOK_SECONDS: Final = 0.01
_YOUNG_SECONDS: Final = 1.0
"""A connection lost so soon after its handshake is no accident; trying on would be a busy loop."""

MOST_UNSENT_BYTES: Final = 32 << 20
"""Writes beyond it are refused: the server takes them more slowly than they come."""

# A server that answers so is there, but cannot serve: after a restart, after a failover.
_UNUSABLE: Final = ("LOADING", "READONLY", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN")
_FULL: Final = "OOM"

_log = structlog.get_logger(component="stores")


class Unusable(ConnectionError):
    """The server was reached and will not do; the message says why."""


class ValkeyPipeline:
    """The one connection to the primary of ``store``, made again as often as needed.

    Attributes:
        breaker: whether callers get through.
        connected: how many connections were made.
    """

    def __init__(self, store: ValkeyStore) -> None:
        self.breaker = Breaker()
        self.connected = 0
        self._store = store
        self._timeout = store.timeout_seconds
        self._wire: ValkeyWire | None = None
        self._wire_since = 0.0
        self._waiting: deque[Command] = deque()  # for a connection
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Connect, or give up waiting for it after the time-out; never raises for a dead server."""
        self._connect()
        assert self._connecting is not None
        await asyncio.wait((self._connecting,), timeout=self._timeout)

    async def close(self) -> None:
        """End the connection; who still waits is told that it is lost."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        self._drop_all(Failure.LOST)

    @property
    def deadline(self) -> float:
        """When a call that begins now has to be over, monotonic."""
        return time.monotonic() + self._timeout

    @property
    def unsent_bytes(self) -> int:
        """What the server has not taken yet."""
        return 0 if self._wire is None else self._wire.unsent_bytes

    def submit(self, command: Command) -> None:
        """Send ``command``, at once or when connected; ``command.done`` gets answer or failure."""
        if self._wire is not None:
            self._wire.send(command)
        elif self._is_closed or not self.breaker.is_closed:
            command.done(Failure.REFUSED)
            return
        else:
            self._waiting.append(command)
            self._connect()
        if self._timer is None:
            self._watch(command.deadline)

    async def execute(self, *arguments: bytes | int) -> object:
        """Return the server's answer, or a `Failure`, within the time-out; raises nothing.

        An error as answer counts as `Failure.ERROR` or `Failure.FULL`. Cancelling stops the
        waiting, not the command.
        """
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def done(answer: object) -> None:
            if not future.done():
                future.set_result(answer)

        self.submit(Command(packed(arguments), self.deadline, done))
        answer = await future
        return self.failure_of(answer) if isinstance(answer, hiredis.ReplyError) else answer

    def failure_of(self, error: Exception) -> Failure:
        """Return what an error that the server answered with means, and act on it."""
        word = str(error).partition(" ")[0]
        if word in _UNUSABLE:
            self._fail(Failure.ERROR, str(error))
        return Failure.FULL if word == _FULL else Failure.ERROR

    def give_up(self, failure: Failure) -> None:
        """Take note that the server answered with something that cannot be an answer."""
        self._fail(failure, "an answer of another form")

    def _fail(self, failure: Failure, reason: str) -> None:
        """Open the breaker, tell all who wait, and begin to look for the server's return."""
        if self._is_closed:
            return
        if self.breaker.is_closed:
            _log.warning("the cache's store does not answer", failure=failure, reason=reason)
        self.breaker.fail(time.monotonic())
        self._drop_all(failure)
        self._connect()

    def _drop_all(self, failure: Failure) -> None:
        wire, self._wire = self._wire, None
        waiting, self._waiting = self._waiting, deque()
        if wire is not None:
            wire.abandon()
            for command in wire.take_under_way():
                command.done(failure)
        for command in waiting:
            command.done(failure)

    def _on_end(self, wire: ValkeyWire, failure: Failure) -> None:
        if wire is not self._wire:  # it ended during its handshake
            for command in wire.take_under_way():
                command.done(failure)
            return
        if failure is Failure.GARBAGE or time.monotonic() - self._wire_since < _YOUNG_SECONDS:
            self._fail(failure, "the connection ended")
            return
        if any(command.tries >= self._store.retries for command in wire.under_way):
            self._fail(failure, "the connection ended again")
            return
        self._wire = None
        again = wire.take_under_way()
        for command in again:
            command.tries += 1
        self._waiting.extendleft(reversed(again))
        self._connect()

    def _watch(self, deadline: float) -> None:
        self._timer_due = deadline
        delay = max(deadline - time.monotonic(), 0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        """Tell whether somebody waited too long; the oldest of each queue has waited longest."""
        self._timer = None
        now = time.monotonic()
        oldest = [queue[0].deadline for queue in self._queues() if queue]
        if not oldest:
            return
        if min(oldest) > now:
            self._watch(min(oldest))
        elif now - self._timer_due > _LATE_SECONDS:
            self._watch(now + _SECOND_LOOK_SECONDS)
        else:
            self._fail(Failure.TIMED_OUT, f"no answer within {self._timeout:g} s")

    def _queues(self) -> tuple[deque[Command], ...]:
        if self._wire is None:
            return (self._waiting,)
        return (self._wire.under_way, self._waiting)

    def _connect(self) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(
                self._until_connected(), name="connection to the cache's store"
            )

    async def _until_connected(self) -> None:
        while True:
            if not self.breaker.is_closed:
                await asyncio.sleep(self.breaker.delay_seconds(random.random()))  # noqa: S311
                self.breaker.begin_probe()
            try:
                async with asyncio.timeout(2 * self._timeout):
                    node = await find_primary(self._store)
                    wire = await self._open(node)
            except FAILURES as error:
                self._fail(Failure.LOST, str(error) or type(error).__name__)
            else:
                self._use(wire, node)
                return

    def _use(self, wire: ValkeyWire, node: str) -> None:
        now = time.monotonic()
        if not self.breaker.is_closed:
            _log.info("the cache's store answers again", node=node)
        self.breaker.succeed(now)
        self.connected += 1
        self._wire = wire
        self._wire_since = now
        waiting, self._waiting = self._waiting, deque()
        for command in waiting:
            wire.send(command)

    async def _open(self, node: str) -> ValkeyWire:
        loop = asyncio.get_running_loop()
        address = parse_address(node)

        def make() -> ValkeyWire:
            return ValkeyWire(self._on_end)

        async with asyncio.timeout(self._timeout):
            if address.is_unix:
                _, wire = await loop.create_unix_connection(make, address.path)
            else:
                _, wire = await loop.create_connection(
                    make,
                    address.host or "127.0.0.1",
                    address.port,
                    ssl=self._tls_context(),
                )
            try:
                await self._shake_hands(wire)
            except BaseException:
                wire.abandon()
                raise
        return wire

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._store.tls and self._tls is None:
            self._tls = ssl.create_default_context()  # reads the system's authorities: once
        return self._tls

    async def _shake_hands(self, wire: ValkeyWire) -> None:
        """Log in, choose the database, and see that the server has its data and answers.

        Raises:
            Unusable: it does not, or not as a Valkey or Redis does.
        """
        store = self._store
        if store.password is not None:
            user = [] if store.username is None else [store.username]
            await self._ask(wire, "AUTH", *user, store.password.reveal())
        if store.database:
            await self._ask(wire, "SELECT", str(store.database))
        if store.ready_check:
            loaded = await self._ask(wire, "INFO", "persistence")
            if not isinstance(loaded, bytes) or b"\nloading:0" not in loaded:
                raise Unusable("the server is still loading its data")
        if await self._ask(wire, "PING") != b"PONG":
            raise Unusable("the server does not answer PING with PONG")
        if wire.has_ended:  # while this task had not seen the answer yet
            raise Unusable("the connection ended with its handshake")

    async def _ask(self, wire: ValkeyWire, *arguments: str) -> object:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def done(answer: object) -> None:
            if not future.done():
                future.set_result(answer)

        wire.send(Command(packed(arguments), 0.0, done))
        answer = await future
        if isinstance(answer, hiredis.ReplyError):
            # Its words: WRONGPASS, NOPERM and the like name the remedy and hold no secret.
            raise Unusable(f"{arguments[0]}: {answer}")
        if isinstance(answer, Failure):
            raise Unusable(f"the connection ended with {arguments[0]} ({answer})")
        return answer
