"""The gateway's worker processes: started, configured over the bus, watched, replaced.

A worker inherits the listening sockets, the shared memory and one end of a socket pair. It says
``Hello``, is sent ``Configure``, answers ``Prepared``, is told to ``Accept`` and says ``Ready``.
One that ends, falls silent or stops reading the bus is replaced by a new process in the same row of
the shared memory; the row is cleared first, so that load it no longer carries counts nowhere.

The workers of one policy and one version of the code are an *epoch*. A reload or upgrade begins the
next one beside it: `prepare` starts its workers and waits until each could serve, `open` lets them
accept, `retire` lets those of the old epoch drain. Until `open` nothing has changed for anybody,
and `discard` takes it all back. All accept from the same sockets: nothing falls between two.

    rows      0 1 2 3 4 5       lowest free rows first; reads look at the first to the last held
    epoch 1   A A               one of A's workers still has a WebSocket
    epoch 2       B B           serves; its successor will take rows 0 and 4
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import structlog

from poruwa.config.model import Policy
from poruwa.errors import PoruwaError, StackError
from poruwa.gateway.local_bus import (
    Accept,
    BusHub,
    Configure,
    Drain,
    Draining,
    Hello,
    LostReason,
    Message,
    MetricsReply,
    Prepared,
    Ready,
    Topology,
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
# How long a worker leaves a connection alone that may have a request on its way. A client that uses
# it again is told to close with the answer; closing it ourselves may cross with a request (RFC 9112
# section 9.6), which is least likely where nobody has a habit: between the usual periods of
# programs that ask regularly, 1, 2, 5, 10, 15 and 30 s. (nginx 1.27.4 has keepalive_min_timeout for
# the same, HAProxy waits for the next request as long as `timeout http-keep-alive` lets it.)
STOP_IDLE_SECONDS = 0.25
RETIRED_IDLE_SECONDS = 12.0
# Replaced workers may still hold connections when the next reload comes, and the next. Beyond this
# many epochs the oldest is ended early (as HAProxy's mworker-max-reloads does).
OLD_EPOCHS = 16
LEAST_ROWS = 128

_log = structlog.get_logger(component="gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of an epoch have in common.

    Attributes:
        reports: folder for browsers' reports; "-" to count them only, "" to take none.
        drain_seconds: that a worker may take to end when the gateway stops.
    """

    configure: Configure
    listeners: Mapping[str, socket.socket]
    access_log: str
    reports: str = ""
    drain_seconds: float


@dataclass(slots=True)
class Epoch:
    """The workers of one policy and one version of the code; ``rows`` in the order of status."""

    number: int
    settings: WorkerSettings
    rows: tuple[int, ...]
    is_open: bool = False  # whether they may accept


@dataclass(slots=True)
class Steps:
    """How far the process in a row has come, and what it works by."""

    epoch: Epoch
    is_prepared: asyncio.Event = field(default_factory=asyncio.Event)
    accepts: asyncio.Event = field(default_factory=asyncio.Event)
    is_draining: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self) -> None:
        """Begin anew, for the next process; whoever waits goes on waiting."""
        for event in (self.is_prepared, self.accepts, self.is_draining):
            event.clear()


class WorkerGroup:
    """The workers of one gateway, and the hub of their bus.

    Args:
        on_exit: called with the row of a worker that ended, before it is replaced.
        on_last_word: called with the row of a worker that ends, and its last snapshot.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        shared: SharedState,
        *,
        on_exit: Callable[[int], None],
        on_last_word: Callable[[int, bytes], None],
    ) -> None:
        self.hub = BusHub(on_message=self._take_message, on_lost=self._lose_link)
        self.current: Epoch | None = None
        self.old: list[Epoch] = []  # the oldest first, as far as they have workers
        self._next: Epoch | None = None
        self._supervisor = supervisor
        self._shared = shared
        self._on_exit = on_exit
        self._on_last_word = on_last_word
        self._epochs = 0
        self._our_ends: dict[int, socket.socket] = {}
        self._steps: dict[int, Steps] = {}  # by row, of all that are held
        self._retiring: dict[int, asyncio.Task[None]] = {}  # by row
        self._is_draining = False
        self._mark_rows()

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """The one whose workers accept, then the old ones."""
        return tuple(self.old) if self.current is None else (self.current, *self.old)

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of all workers, in the order of `epochs`."""
        return tuple(row for epoch in self.epochs for row in epoch.rows)

    def missing(self) -> list[int]:
        """Return the rows of workers that should accept and do not."""
        if self.current is None:
            return []
        return [row for row in self.current.rows if self._state(row) is not PartState.READY]

    async def prepare(self, count: int, settings: WorkerSettings) -> Epoch:
        """Start the workers of a new epoch, all at the same time; return when all could serve.

        Raises:
            StackError: one of them could not, with its reason; all of them are gone again then.
        """
        await self._make_room(count)
        self._epochs += 1
        rows = self._free_rows(count)
        self._next = epoch = Epoch(self._epochs, settings, rows)
        for row in rows:
            self._steps[row] = Steps(epoch)
        self._mark_rows()
        tasks = [
            asyncio.create_task(self._supervisor.start(self._plan(row, epoch))) for row in rows
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = [error for task in done if (error := task.exception()) is not None]
            if failed:
                raise failed[0]
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.discard(epoch)
            raise
        return epoch

    async def open(self, epoch: Epoch) -> None:
        """Let the workers of a prepared epoch accept; return when they do.

        Raises:
            StackError: they do not within `READY_SECONDS`; discard it then.
        """
        epoch.is_open = True
        for row in epoch.rows:
            if self._steps[row].is_prepared.is_set():
                self.hub.send(row, Accept())
        waiting = [asyncio.create_task(self._steps[row].accepts.wait()) for row in epoch.rows]
        try:
            _, late = await asyncio.wait(waiting, timeout=READY_SECONDS)
        finally:
            for task in waiting:
                task.cancel()
        if late:
            raise StackError(f"{len(late)} workers did not accept after {READY_SECONDS:g} s.")
        if self.current is not None:
            self.old.append(self.current)
        self.current, self._next = epoch, None

    async def discard(self, epoch: Epoch) -> None:
        """Stop the workers of an epoch that is not to serve."""
        self._next = None
        await self._supervisor.stop_together(worker_name(row) for row in epoch.rows)
        for row in epoch.rows:
            self._release(row)

    async def retire(self, epoch: Epoch, *, seconds: float) -> None:
        """Let the workers of an epoch drain beside their successors; return when none accepts.

        They end when their last connection does, after ``seconds`` at the latest.
        """
        steps = [self._steps[row] for row in epoch.rows]
        for row in epoch.rows:
            self._retiring[row] = asyncio.create_task(
                self._end_old(row, seconds), name=f"end {worker_name(row)}"
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_MARGIN_SECONDS):
                for each in steps:
                    await each.is_draining.wait()

    def set_topology(self, topology: Topology) -> None:
        """Tell all workers, and those that will replace them, which instances there are now.

        Workers of an older policy may have pools that there are no longer; those stay as they are.
        """
        for epoch in self._all_epochs():
            configure = epoch.settings.configure
            merged = Configure(configure.policy, updated_pools(configure.topology, topology))
            epoch.settings = replace(epoch.settings, configure=merged)
        self.hub.broadcast(topology)

    def holds(self, slot: int) -> bool:
        """Tell whether workers still know an instance in ``slot``."""
        return any(
            entry.slot == slot
            for epoch in self._all_epochs()
            for pool in epoch.settings.configure.topology.pools
            for entry in pool.instances
        )

    def _all_epochs(self) -> list[Epoch]:
        return [epoch for epoch in (self._next, self.current, *self.old) if epoch is not None]

    async def drain(self) -> None:
        """Ask all workers to end their work, and return when they are gone."""
        self._is_draining = True
        pending = () if self._next is None else self._next.rows
        await self._supervisor.stop_together(worker_name(row) for row in (*self.rows, *pending))
        await asyncio.gather(*self._retiring.values())
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
            for row in self.rows:
                age = self._shared.heartbeat_age(row)
                is_alive = self._state(row) in (PartState.READY, PartState.STOPPING)
                if is_alive and age > HEARTBEAT_LIMIT_SECONDS:
                    self._kill(row, f"no heartbeat for {age:.1f} s")

    # Rows.

    async def _make_room(self, count: int) -> None:
        """End the oldest epochs early where there are too many, or too few rows are left.

        Raises:
            StackError: there would be too few even so.
        """
        while self.old and (len(self.old) >= OLD_EPOCHS or len(self._free_rows(count)) < count):
            oldest = self.old[0]
            cut = sum(self._shared.worker(row).connections for row in oldest.rows)
            _log.warning("old workers are ended early", epoch=oldest.number, connections=cut)
            tasks = [self._retiring[row] for row in oldest.rows]
            for row in oldest.rows:
                self.hub.send(row, Drain(grace_seconds=0.0, idle_seconds=0.0))
            async with asyncio.TaskGroup() as group:
                for row in oldest.rows:
                    group.create_task(self._supervisor.stop(worker_name(row), grace_seconds=0.0))
            await asyncio.gather(*tasks)
        if len(self._free_rows(count)) < count:
            raise StackError(
                f"{count} more workers are too many beside those that run: "
                "restart the gateway for so many."
            )

    def _free_rows(self, count: int) -> tuple[int, ...]:
        """Return the ``count`` lowest rows that nobody holds, or as many as there are."""
        free = (row for row in range(self._shared.max_workers) if row not in self._steps)
        return tuple(islice(free, count))

    def _mark_rows(self) -> None:
        self._shared.set_rows(min(self._steps, default=0), max(self._steps, default=-1) + 1)

    def _release(self, row: int) -> None:
        """Let others use a row whose process has ended."""
        self._steps.pop(row).is_draining.set()
        stale = self._our_ends.pop(row, None)
        if stale is not None:
            stale.close()
        self._mark_rows()

    # One worker.

    def _state(self, row: int) -> PartState:
        part = self._supervisor.find(worker_name(row))
        return PartState.STOPPED if part is None else part.state

    async def _end_old(self, row: int, seconds: float) -> None:
        """Let one worker drain, and forget it."""
        drain = Drain(grace_seconds=seconds, idle_seconds=RETIRED_IDLE_SECONDS)
        try:
            await self._supervisor.stop(
                worker_name(row),
                ask=lambda: self.hub.send(row, drain),
                grace_seconds=seconds + STOP_MARGIN_SECONDS,
            )
            self._release(row)
        except PoruwaError as error:  # it outlived SIGKILL, so its row stays its own
            _log.error("an old worker does not end", worker=row, reason=error.message)
        finally:
            for epoch in self.old:
                epoch.rows = tuple(each for each in epoch.rows if each != row)
            self.old = [epoch for epoch in self.old if epoch.rows]
            del self._retiring[row]

    def _plan(self, row: int, epoch: Epoch) -> PartPlan:
        drain = Drain(grace_seconds=epoch.settings.drain_seconds, idle_seconds=STOP_IDLE_SECONDS)

        async def wait_ready(child: Child) -> None:
            await self.hub.attach(row, self._our_ends.pop(row))
            await self._steps[row].is_prepared.wait()
            if epoch.is_open:
                self.hub.send(row, Accept())
                await self._steps[row].accepts.wait()

        def on_exit(generation: int) -> None:
            self.hub.detach(row)
            self._on_exit(row)
            self._shared.clear_worker(row)

        return PartPlan(
            name=worker_name(row),
            make_spec=lambda generation: self._spec(row, epoch, generation),
            wait_ready=wait_ready,
            ready_seconds=READY_SECONDS,
            ask_to_end=lambda: self.hub.send(row, drain),
            on_exit=on_exit,
        )

    def _spec(self, row: int, epoch: Epoch, generation: int) -> ProcessSpec:
        if any(sock.fileno() < 0 for sock in epoch.settings.listeners.values()):
            raise StackError("The gateway is stopping: its listeners are closed.")
        ours, theirs = socket.socketpair()
        stale = self._our_ends.pop(row, None)
        if stale is not None:
            stale.close()
        self._our_ends[row] = ours
        self._steps[row].clear()
        bus_fd = theirs.detach()
        settings = epoch.settings
        listeners = settings.listeners
        return ProcessSpec(
            name=worker_name(row),
            argv=(
                sys.executable, "-m", "poruwa.gateway.worker",
                "--index", str(row),
                "--generation", str(generation),
                "--shared-fd", str(self._shared.fd),
                "--bus-fd", str(bus_fd),
                "--listen-fds", describe_listeners(listeners),
                "--access-log", settings.access_log,
                "--reports", settings.reports,
            ),
            pass_fds=(
                self._shared.fd, bus_fd, *(sock.fileno() for sock in listeners.values())
            ),
            close_fds_after=(bus_fd,),
            stop_grace_seconds=settings.drain_seconds + STOP_MARGIN_SECONDS,
            output=Output.INHERIT,  # the access log may go there; lines of the log are on stderr
        )  # fmt: skip

    def _take_message(self, row: int, message: Message) -> None:
        steps = self._steps[row]
        match message:
            case Hello():
                self.hub.send(row, steps.epoch.settings.configure)
            case Prepared():
                steps.is_prepared.set()
            case Ready():
                steps.accepts.set()
            case Draining():
                steps.is_draining.set()
            case MetricsReply():
                self._on_last_word(row, message.snapshot)

    def _lose_link(self, row: int, reason: LostReason) -> None:
        # A closed link belongs to a worker that is ending; the others must be made to.
        if reason is not LostReason.CLOSED:
            self._kill(row, f"bus link {reason}")

    def _kill(self, row: int, reason: str) -> None:
        """Kill a worker's process; a new one takes its place unless it was replaced already."""
        _log.error("worker is killed", worker=row, reason=reason)
        self._supervisor.kill(worker_name(row), reason)


def updated_pools(before: Topology, after: Topology) -> Topology:
    """Return ``before`` with the pools that ``after`` has as they are there."""
    pools = {pool.name: pool for pool in after.pools}
    return Topology([pools.get(pool.name, pool) for pool in before.pools])


def worker_count(policy: Policy) -> int:
    """Return the workers that ``policy`` asks for; one per core it may use when it says 0."""
    return policy.gateway.workers or len(os.sched_getaffinity(0))


def worker_name(row: int) -> str:
    """Return the name of the worker in ``row``, in lines and status."""
    return f"worker.{row}"
