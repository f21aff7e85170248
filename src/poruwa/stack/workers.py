"""The gateway's worker processes: started, configured over the bus, watched by their heartbeat.

A worker inherits the listening sockets, the shared memory and one end of a socket pair. It says
``Hello``, is sent ``Configure``, begins to accept and says ``Ready``. One that ends, falls silent
or stops reading the bus is replaced by a new generation; its row of the shared memory is cleared
first, so that load it no longer carries counts nowhere.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from poruwa.gateway.local_bus import (
    BusHub,
    Configure,
    Drain,
    Hello,
    LostReason,
    Message,
    Ready,
)
from poruwa.gateway.shared_state import SharedState
from poruwa.stack.child import Child, Output, ProcessSpec
from poruwa.stack.sockets import describe_listeners
from poruwa.stack.supervisor import PartPlan, PartState, Supervisor

HEARTBEAT_LIMIT_SECONDS = 2.0  # twenty missed beats: longer than any collector pause measured
WATCH_SECONDS = 0.25
# If our own tick comes this late, the machine or we were paused, and heartbeats prove nothing.
LATE_TICK_SECONDS = 1.0
READY_SECONDS = 20.0
STOP_MARGIN_SECONDS = 2.0  # between the end of a worker's own grace and SIGKILL

_log = structlog.get_logger(component="gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers have in common."""

    configure: Configure
    listeners: Mapping[str, socket.socket]
    access_log: str
    drain_seconds: float


class WorkerGroup:
    """The workers ``0 .. count-1`` of one gateway, and the hub of their bus.

    Args:
        on_exit: called with the index of a worker that ended, before it is replaced.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        shared: SharedState,
        settings: WorkerSettings,
        *,
        on_exit: Callable[[int], None],
    ) -> None:
        self.count = 0
        self.hub = BusHub(on_message=self._take_message, on_lost=self._lose_link)
        self._supervisor = supervisor
        self._shared = shared
        self._settings = settings
        self._on_exit = on_exit
        self._our_ends: dict[int, socket.socket] = {}
        self._accepting: dict[int, asyncio.Event] = {}
        self._is_draining = False

    async def start(self, count: int) -> None:
        """Start workers at the same time; return when all accept.

        Raises:
            StackError: one could not start (in an exception group).
        """
        self.count = count
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(self._supervisor.start(self._plan(index)))

    def missing(self) -> list[int]:
        """Return the indexes of workers that do not accept now."""
        parts = {part.plan.name: part for part in self._supervisor.parts}
        return [
            index
            for index in range(self.count)
            if (part := parts.get(worker_name(index))) is None or part.state is not PartState.READY
        ]

    async def drain(self) -> None:
        """Ask all workers to end their work, and return when they are gone."""
        self._is_draining = True
        await self._supervisor.stop_together(worker_name(index) for index in range(self.count))
        self.hub.close()

    async def watch_heartbeats(self) -> None:
        """Kill workers that show no life; runs until cancelled."""
        last_tick = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            was_late = now - last_tick > LATE_TICK_SECONDS
            last_tick = now
            if was_late or self._is_draining:
                continue
            missing = self.missing()
            for index in range(self.count):
                age = self._shared.heartbeat_age(index)
                if index not in missing and age > HEARTBEAT_LIMIT_SECONDS:
                    self._replace(index, f"no heartbeat for {age:.1f} s")

    def _plan(self, index: int) -> PartPlan:
        grace = self._settings.drain_seconds

        async def wait_ready(child: Child) -> None:
            await self.hub.attach(index, self._our_ends.pop(index))
            await self._accepting[index].wait()

        def on_exit(generation: int) -> None:
            self.hub.detach(index)
            self._on_exit(index)
            self._shared.clear_worker(index)

        return PartPlan(
            name=worker_name(index),
            make_spec=lambda generation: self._spec(index, generation),
            wait_ready=wait_ready,
            ready_seconds=READY_SECONDS,
            ask_to_end=lambda: self.hub.send(index, Drain(grace)),
            on_exit=on_exit,
        )

    def _spec(self, index: int, generation: int) -> ProcessSpec:
        ours, theirs = socket.socketpair()
        stale = self._our_ends.pop(index, None)
        if stale is not None:
            stale.close()
        self._our_ends[index] = ours
        self._accepting[index] = asyncio.Event()
        bus_fd = theirs.detach()
        listeners = self._settings.listeners
        return ProcessSpec(
            name=worker_name(index),
            argv=(
                sys.executable, "-m", "poruwa.gateway.worker",
                "--index", str(index),
                "--generation", str(generation),
                "--shared-fd", str(self._shared.fd),
                "--bus-fd", str(bus_fd),
                "--listen-fds", describe_listeners(listeners),
                "--access-log", self._settings.access_log,
            ),
            pass_fds=(
                self._shared.fd, bus_fd, *(sock.fileno() for sock in listeners.values())
            ),
            close_fds_after=(bus_fd,),
            stop_grace_seconds=self._settings.drain_seconds + STOP_MARGIN_SECONDS,
            output=Output.INHERIT,  # the access log may go there; lines of the log are on stderr
        )  # fmt: skip

    def _take_message(self, index: int, message: Message) -> None:
        match message:
            case Hello():
                self.hub.send(index, self._settings.configure)
            case Ready():
                self._accepting[index].set()

    def _lose_link(self, index: int, reason: LostReason) -> None:
        # A closed link belongs to a worker that is ending; the others must be made to.
        if reason is not LostReason.CLOSED:
            self._replace(index, f"bus link {reason}")

    def _replace(self, index: int, reason: str) -> None:
        _log.error("worker is replaced", worker=index, reason=reason)
        self._supervisor.kill(worker_name(index), reason)


def worker_name(index: int) -> str:
    """Return the name of worker ``index`` in lines and status."""
    return f"worker.{index}"
