"""A gateway worker: the process that clients talk to.

Started by the control process (``stack.workers``), never forked from a running loop. Everything it
needs is inherited by number: the listening sockets, the shared memory, its end of the bus. Policy
and topology come over the bus, so that a reload is refused or taken as a whole: ``Configure`` is
answered by ``Prepared`` or by an end with the reason, and nothing is accepted before ``Accept``.

It ends by ``Drain``: it stops accepting, tells a client that goes on asking to close with its next
answer, closes a connection that stays idle for ``idle_seconds``, and lets requests and WebSockets
live on until they end or ``grace_seconds`` have passed. Both are short when the gateway stops, and
long when successors accept already.

    python -m poruwa.gateway.worker --index 0 --generation 1 --shared-fd 5 --bus-fd 6
                                    --listen-fds http=3,https=4
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path

import msgspec
import structlog
import uvloop

from poruwa.config.model import Policy, ValkeyStore
from poruwa.config.wire import decode_policy
from poruwa.errors import FAILURE_PREFIX, ConfigError, PoruwaError
from poruwa.gateway.acceptor import Acceptor
from poruwa.gateway.cache_answers import answer_about_cache
from poruwa.gateway.coherence import follow_changes
from poruwa.gateway.collector import collect_and_freeze
from poruwa.gateway.gateway import Gateway
from poruwa.gateway.local_bus import (
    LAST_WORD,
    Accept,
    Answer,
    Ask,
    BusClient,
    Configure,
    Drain,
    Draining,
    Hello,
    Message,
    MetricsReply,
    MetricsRequest,
    Prepared,
    Publish,
    Ready,
    Topology,
)
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.observe.access_log import AccessLog
from poruwa.observe.logs import configure_logging
from poruwa.stores.store_url import BUS_URL, store_from_environment

HEARTBEAT_SECONDS = 0.1
# Without a control process nobody would replace or end us.
ORPHANED = Drain(grace_seconds=0.0, idle_seconds=0.0)
DRAIN_POLL_SECONDS = 0.05

_LAST_WORD_SECONDS = 1.0  # a control process that does not read has lost its last counts
_OTHER_VERSION = "the code changed too much for an upgrade: restart the gateway"
_EXIT_FAILURE = 2  # as of the command line

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

_log = structlog.get_logger(component="worker")


class Worker:
    """One worker: configured once, drained once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._index: int = arguments.index
        self._generation: int = arguments.generation
        self._bus_fd: int = arguments.bus_fd
        self._access_log_path: str = arguments.access_log
        self._reports: str = arguments.reports
        self._sockets = {
            name: socket.socket(fileno=int(fd))
            for name, fd in (pair.split("=") for pair in arguments.listen_fds.split(","))
        }
        try:
            self._shared = SharedState.attach(arguments.shared_fd)
        except ValueError as error:
            raise ConfigError(f"{error}; {_OTHER_VERSION}") from error
        self._row = WorkerRow(self._shared, self._index, generation=self._generation)
        self._gateway: Gateway | None = None
        self._topology: Topology | None = None  # newer than what we were configured with
        self._acceptors: list[Acceptor] = []
        self._is_accepting = False
        self._ending: asyncio.Future[None] | None = None
        self._drain_end = self._greeting_end = 0.0  # loop time
        self._setup: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._bus = BusClient(on_message=self._take_message, on_lost=self._control_lost)

    async def run(self) -> None:
        """Serve until drained.

        Raises:
            PoruwaError: the policy cannot be used here.
        """
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._begin_drain, ORPHANED)
        loop.add_signal_handler(signal.SIGHUP, self._reopen_log)
        await self._bus.connect(self._bus_fd)
        self._bus.send(Hello(worker=self._index, pid=os.getpid(), generation=self._generation))
        heartbeat = loop.create_task(self._beat())
        await self._ending
        if self._gateway is not None:
            await self._drain(self._gateway)
            self._bus.send(MetricsReply(LAST_WORD, self._gateway.snapshot()))
        heartbeat.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._bus.close()

    async def _beat(self) -> None:
        while True:
            self._row.beat()
            if self._is_accepting:
                for acceptor in self._acceptors:
                    await acceptor.rebalance()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _take_message(self, message: Message) -> None:
        match message:
            case Configure():
                self._topology = None
                self._begin_step(self._configure(message))
            case Accept():
                self._begin_step(self._accept())
            case Topology():
                self._topology = message
                if self._gateway is not None:
                    self._gateway.update_topology(message)
            case Drain():
                self._begin_drain(message)
            case Publish() if self._gateway is not None and self._gateway.cache is not None:
                self._gateway.cache.on_published(message.topic, message.payload)
            case Ask() if self._gateway is not None:
                answering = asyncio.get_running_loop().create_task(
                    self._answer(self._gateway, message)
                )
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)
            case MetricsRequest() if self._gateway is not None:
                self._bus.send(MetricsReply(id=message.id, snapshot=self._gateway.snapshot()))

    async def _answer(self, gateway: Gateway, question: Ask) -> None:
        """Answer the control process, which knows what it asks."""
        payload = await answer_about_cache(gateway, question.topic, question.payload)
        self._bus.send(Answer(question.id, payload))

    def _begin_step(self, step: Coroutine[None, None, None]) -> None:
        self._setup = asyncio.get_running_loop().create_task(step)
        self._setup.add_done_callback(self._end_step)

    def _end_step(self, step: asyncio.Task[None]) -> None:
        """End the process when it cannot serve."""
        assert self._ending is not None
        error = None if step.cancelled() else step.exception()
        if error is not None and not self._ending.done():
            self._ending.set_exception(error)

    async def _configure(self, message: Configure) -> None:
        """Build the gateway; whatever can be wrong shows here."""
        loop = asyncio.get_running_loop()
        try:
            policy = decode_policy(message.policy)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"the policy has another form ({error}); {_OTHER_VERSION}") from error
        gateway = Gateway(
            policy,
            message.topology,
            shared=self._shared,
            row=self._row,
            loop=loop,
            access_log=self._open_access_log(),
            folder=Path.cwd(),
            takes_reports=bool(self._reports),
            reports_folder=None if self._reports in ("", "-") else Path(self._reports),
        )
        self._acceptors = [
            Acceptor(gateway, listener, self._sockets[listener.name], self._shared, self._index)
            for listener in policy.listeners
        ]
        self._gateway = gateway
        if self._topology is not None:
            gateway.update_topology(self._topology)
        gateway.publish = lambda topic, payload: self._bus.send(Publish(topic, payload))
        gateway.start()
        bus = store_from_environment(policy.stores.bus, BUS_URL, os.environ)
        if bus is not None:
            await follow_changes(gateway, policy, bus)
            await _count_for_all(gateway, policy, bus)
        if gateway.cache is not None:
            gateway.collector.start()
        else:  # what exists now lives as long as the process: no pass needs to look at it
            collect_and_freeze()
        self._bus.send(Prepared(worker=self._index))

    async def _accept(self) -> None:
        if self._is_accepting:  # told twice, where a worker is replaced as its epoch is opened
            return
        self._is_accepting = True
        for acceptor in self._acceptors:
            await acceptor.start()
        self._bus.send(Ready(worker=self._index))

    def _open_access_log(self) -> AccessLog | None:
        if not self._access_log_path:
            return None
        log = AccessLog(self._access_log_path)
        log.open()
        return log

    def _reopen_log(self) -> None:
        """Begin a new access log where the old one was moved away (SIGHUP)."""
        if self._gateway is not None and self._gateway.access_log is not None:
            self._gateway.access_log.reopen()

    def _control_lost(self) -> None:
        _log.warning("control process gone, draining")
        self._begin_drain(ORPHANED)

    def _begin_drain(self, drain: Drain) -> None:
        """Drain as told; told again, by the newer word."""
        assert self._ending is not None
        now = asyncio.get_running_loop().time()
        self._drain_end = now + drain.grace_seconds
        self._greeting_end = now + drain.idle_seconds
        if self._gateway is not None:
            _limit_idleness(self._gateway, drain.idle_seconds)
        if not self._ending.done():
            self._ending.set_result(None)

    async def _drain(self, gateway: Gateway) -> None:
        """Stop accepting, answer what is under way, close."""
        loop = asyncio.get_running_loop()
        gateway.is_draining = True
        for acceptor in self._acceptors:
            acceptor.stop()
        self._row.set_draining()
        self._bus.send(Draining(worker=self._index))
        await asyncio.sleep(DRAIN_POLL_SECONDS)  # what was accepted last is a connection by then
        while gateway.is_busy or any(acceptor.is_greeting for acceptor in self._acceptors):
            now = loop.time()
            if now >= self._drain_end:
                break
            if now >= self._greeting_end and not gateway.is_busy:
                break
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        for acceptor in self._acceptors:
            acceptor.give_up()
        gateway.close()
        if gateway.rate_limits.counter is not None:
            await gateway.rate_limits.counter.close()
        if gateway.cache is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD_SECONDS):
                    await gateway.cache.coherence.close()
        if gateway.access_log is not None:
            gateway.access_log.close()
        if gateway.reports is not None:
            gateway.reports.close()


async def _count_for_all(gateway: Gateway, policy: Policy, bus: ValkeyStore) -> None:
    """Have the limits of routes count by ``bus``, for all machines."""
    if any(route.rate_limit for route in policy.routes):
        from poruwa.stores.rate_counter import RateCounter  # loads a client that needs a bus

        gateway.rate_limits.counter = counter = RateCounter(bus, policy.stores.coherence.namespace)
        await counter.start()


def _limit_idleness(gateway: Gateway, seconds: float) -> None:
    """Let connections stay idle for ``seconds`` at most from now on."""
    gateway.timeouts.idle_seconds = min(gateway.timeouts.idle_seconds, seconds)
    deadline = gateway.loop.time() + seconds
    for connection in gateway.connections:
        if connection.is_idle:
            connection.deadline = min(connection.deadline, deadline)


def main(arguments: list[str]) -> None:
    """Run a worker with the command line's ``arguments``."""
    parser = argparse.ArgumentParser(prog="poruwa.gateway.worker")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--generation", type=int, required=True)
    parser.add_argument("--shared-fd", type=int, required=True)
    parser.add_argument("--bus-fd", type=int, required=True)
    parser.add_argument("--listen-fds", required=True)
    parser.add_argument("--access-log", default="")
    parser.add_argument("--reports", default="")
    options = parser.parse_args(arguments)
    _keep_freed_memory()
    configure_logging()
    try:
        uvloop.run(Worker(options).run())
    except PoruwaError as error:  # the control process passes it on to who asked for the start
        sys.stderr.write(f"{FAILURE_PREFIX}{error.message}\n")
        sys.exit(_EXIT_FAILURE)


def _keep_freed_memory() -> None:
    """Ask glibc not to hand every freed body back to the kernel.

    With its defaults a body of 100 KB costs two dozen page faults a request, a third of the time it
    takes to pass one through.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
        mallopt(_M_TOP_PAD, 1024 * 1024)


if __name__ == "__main__":
    main(sys.argv[1:])
