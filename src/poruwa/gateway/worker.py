"""A gateway worker: the process that clients talk to.

Started by the control process (``stack.workers``), never forked from a running loop. Everything it
needs is inherited by number: the listening sockets, the shared memory, its end of the bus. Policy
and topology come over the bus, so that a reload is refused or taken as a whole.

    python -m poruwa.gateway.worker --index 0 --generation 1 --shared-fd 5 --bus-fd 6
                                    --listen-fds http=3,https=4
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvloop

from poruwa.config.wire import decode_policy
from poruwa.gateway.acceptor import Acceptor
from poruwa.gateway.gateway import Gateway
from poruwa.gateway.local_bus import (
    BusClient,
    Configure,
    Drain,
    Hello,
    Message,
    MetricsReply,
    MetricsRequest,
    Ready,
)
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.observe.access_log import AccessLog
from poruwa.observe.logs import configure_logging

HEARTBEAT_SECONDS = 0.1
# A connection that is idle when draining begins may have a request on its way: it is answered, with
# "Connection: close", if it comes within this time.
IDLE_GRACE_SECONDS = 0.25
DRAIN_POLL_SECONDS = 0.05

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h

_log = structlog.get_logger(component="worker")


class Worker:
    """One worker: configured once, drained once."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._index: int = arguments.index
        self._generation: int = arguments.generation
        self._bus_fd: int = arguments.bus_fd
        self._access_log_path: str = arguments.access_log
        self._sockets = {
            name: socket.socket(fileno=int(fd))
            for name, fd in (pair.split("=") for pair in arguments.listen_fds.split(","))
        }
        self._shared = SharedState.attach(arguments.shared_fd)
        self._row = WorkerRow(self._shared, self._index, generation=self._generation)
        self._gateway: Gateway | None = None
        self._acceptors: list[Acceptor] = []
        self._drain_grace: asyncio.Future[float] | None = None
        self._setup: asyncio.Task[None] | None = None
        self._bus = BusClient(on_message=self._take_message, on_lost=self._control_lost)

    async def run(self) -> None:
        """Serve until drained."""
        loop = asyncio.get_running_loop()
        self._drain_grace = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._begin_drain, 0.0)
        loop.add_signal_handler(signal.SIGHUP, self._reopen_log)
        await self._bus.connect(self._bus_fd)
        self._bus.send(Hello(worker=self._index, pid=os.getpid(), generation=self._generation))
        heartbeat = loop.create_task(self._beat())
        grace_seconds = await self._drain_grace
        await self._drain(grace_seconds)
        heartbeat.cancel()
        self._bus.close()

    async def _beat(self) -> None:
        while True:
            self._row.beat()
            for acceptor in self._acceptors:
                await acceptor.rebalance()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _take_message(self, message: Message) -> None:
        match message:
            case Configure():
                self._setup = asyncio.get_running_loop().create_task(self._configure(message))
            case Drain():
                self._begin_drain(message.grace_seconds)
            case MetricsRequest() if self._gateway is not None:
                self._bus.send(MetricsReply(id=message.id, snapshot=self._gateway.snapshot()))

    async def _configure(self, message: Configure) -> None:
        """Build the gateway and begin to accept."""
        loop = asyncio.get_running_loop()
        policy = decode_policy(message.policy)
        gateway = Gateway(
            policy,
            message.topology,
            shared=self._shared,
            row=self._row,
            loop=loop,
            access_log=self._open_access_log(),
            folder=Path.cwd(),
        )
        self._gateway = gateway
        gateway.start()
        for listener in policy.listeners:
            acceptor = Acceptor(
                gateway, listener, self._sockets[listener.name], self._shared, self._index
            )
            await acceptor.start()
            self._acceptors.append(acceptor)
        gc.collect()
        gc.freeze()  # what exists now lives as long as the process: no pass needs to look at it
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

    def _begin_drain(self, grace_seconds: float) -> None:
        assert self._drain_grace is not None
        if not self._drain_grace.done():
            self._drain_grace.set_result(grace_seconds)

    def _control_lost(self) -> None:
        _log.warning("control process gone, draining")
        self._begin_drain(0.0)

    async def _drain(self, grace_seconds: float) -> None:
        """Stop accepting, answer what is under way, close."""
        gateway = self._gateway
        if gateway is None:
            return
        loop = asyncio.get_running_loop()
        gateway.is_draining = True
        for acceptor in self._acceptors:
            acceptor.stop()
        end = loop.time() + grace_seconds
        await asyncio.sleep(min(IDLE_GRACE_SECONDS, grace_seconds))
        while gateway.connections:
            gateway.close_idle_connections()
            if loop.time() >= end:
                break
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        gateway.close()
        if gateway.access_log is not None:
            gateway.access_log.close()


def main(arguments: list[str]) -> None:
    """Run a worker with the command line's ``arguments``."""
    parser = argparse.ArgumentParser(prog="poruwa.gateway.worker")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--generation", type=int, required=True)
    parser.add_argument("--shared-fd", type=int, required=True)
    parser.add_argument("--bus-fd", type=int, required=True)
    parser.add_argument("--listen-fds", required=True)
    parser.add_argument("--access-log", default="")
    options = parser.parse_args(arguments)
    _keep_freed_memory()
    configure_logging()
    uvloop.run(Worker(options).run())


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
