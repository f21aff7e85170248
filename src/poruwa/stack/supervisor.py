"""Starts parts, watches them, starts them again when they end, and stops them in reverse order.

A *part* is one process at a time with a name. The first start must succeed or raises; after that a
part that ends is replaced for as long as the supervisor runs: at once the first time, so that a
killed part is back within moments, then with a delay that doubles from 0.2 s to 10 s until a run
has lasted.

The decision about the delay is `Backoff`, which has no clock. Used for workers by the gateway and
for database, instances and gateway by ``poruwa up``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

import structlog

from poruwa.errors import FAILURE_PREFIX, StackError
from poruwa.observe.logs import relay_line
from poruwa.stack.child import KILL_SECONDS, Child, ProcessSpec, start_child

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
STABLE_SECONDS = 30.0  # a run this long ends a series of failures
SHOWN_LINES = 6

_log = structlog.get_logger(component="supervisor")


class PartState(StrEnum):
    """Where a part is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # for the next try
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start, from how long the last runs lasted.

    Attributes:
        first_seconds, longest_seconds: of the delays after the immediate restart.
        failures: in a row, so far.
    """

    first_seconds: float = FIRST_DELAY_SECONDS
    longest_seconds: float = LONGEST_DELAY_SECONDS
    failures: int = 0

    def next_delay(self, ran_seconds: float) -> float:
        """Return the seconds to wait after a run of ``ran_seconds``; 0.0 for a first failure."""
        if ran_seconds >= STABLE_SECONDS:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        # The exponent is bounded so that years of crashing do not overflow.
        doubled = self.first_seconds * 2.0 ** min(self.failures - 2, 16)
        return min(doubled, self.longest_seconds)


async def _is_ready_when_started(child: Child) -> None:
    return None


async def _depends_on_nothing() -> None:
    return None


def _do_nothing(generation: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """What the supervisor needs to know of a part.

    Attributes:
        name: unique in its supervisor.
        make_spec: the process of a generation, which counts starts from 1.
        wait_ready: returns when the process serves; cancelled when it ends first.
        ready_seconds: the deadline of ``wait_ready``; a part beyond it is killed.
        deadline_from: returns when all that readiness depends on is there; the deadline counts
            from then.
        ask_to_end: asks the process to end by another way than a signal; False when it cannot.
        on_exit: called with the generation that ended, before the next starts; must not block.
        on_ready: called with the generation that became ready; must not block.
        relay: called with the part's name and each line it writes.
    """

    name: str
    make_spec: Callable[[int], ProcessSpec]
    wait_ready: Callable[[Child], Awaitable[None]] = _is_ready_when_started
    ready_seconds: float = 20.0
    deadline_from: Callable[[], Awaitable[object]] = _depends_on_nothing
    ask_to_end: Callable[[], bool] | None = None
    on_exit: Callable[[int], None] = _do_nothing
    on_ready: Callable[[int], None] = _do_nothing
    relay: Callable[[str, str], None] = relay_line


@dataclass(slots=True)
class Part:
    """A part and its present process."""

    plan: PartPlan
    backoff: Backoff
    state: PartState = PartState.STARTING
    child: Child | None = None
    generation: int = 0
    reason: str = ""  # why the present process is being killed, or why the last start failed
    last_end: str = ""  # why the last process ended, one line
    is_stopping: bool = False
    first_ready: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the present process, None between two."""
        return None if self.child is None else self.child.pid


class Supervisor:
    """An async context manager that owns parts; leaving it stops those that still run.

    Args:
        first_delay_seconds, longest_delay_seconds: of the delays between restarts.
    """

    def __init__(
        self,
        *,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
        longest_delay_seconds: float = LONGEST_DELAY_SECONDS,
    ) -> None:
        self._delays = (first_delay_seconds, longest_delay_seconds)
        self._parts: dict[str, Part] = {}

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.stop_all()
        else:
            self.kill_all()
            await self.stop_all()

    @property
    def parts(self) -> tuple[Part, ...]:
        """In the order they were added."""
        return tuple(self._parts.values())

    def find(self, name: str) -> Part | None:
        """Return the part called ``name``, None when there is none."""
        return self._parts.get(name)

    def pids(self) -> dict[str, int]:
        """Pids of the parts that have a process now."""
        return {part.plan.name: part.pid for part in self.parts if part.pid is not None}

    async def start(self, plan: PartPlan) -> Part:
        """Add a part and return when it is ready.

        Cancelling leaves the part to `stop` or to the end of the supervisor.

        Raises:
            StackError: it ended or was not ready in time; the message holds its last lines.
        """
        if plan.name in self._parts:
            raise StackError(f"There is a part called {plan.name!r} already.")
        part = Part(plan, Backoff(*self._delays))
        # Seen even when the one who asked has been cancelled meanwhile.
        part.first_ready.add_done_callback(lambda result: result.exception())
        self._parts[plan.name] = part
        part.task = asyncio.create_task(self._watch(part), name=f"watch {plan.name}")
        await asyncio.shield(part.first_ready)
        return part

    async def stop(
        self,
        name: str,
        *,
        ask: Callable[[], bool] | None = None,
        grace_seconds: float | None = None,
    ) -> None:
        """Stop one part for good and forget it; without effect when there is none.

        A part that is being stopped with much time may be stopped again with less.

        Args:
            ask: asks for the end instead of the plan's ``ask_to_end``.
            grace_seconds: until it is killed, instead of the process's ``stop_grace_seconds``.
        """
        part = self._parts.get(name)
        if part is None:
            return
        part.is_stopping = True
        part.state = PartState.STOPPING
        try:
            if part.child is not None:
                await part.child.stop(ask or part.plan.ask_to_end, grace_seconds=grace_seconds)
        finally:
            if part.task is not None:
                await _cancelled(part.task)
            part.state = PartState.STOPPED
            self._parts.pop(name, None)
            if not part.first_ready.done():
                part.first_ready.set_exception(StackError(f"{name} was stopped."))

    async def stop_all(self) -> None:
        """Stop every part, the last added first."""
        for part in reversed(self.parts):
            await self.stop(part.plan.name)

    async def stop_together(self, names: Iterable[str]) -> None:
        """Stop several parts at the same time, e.g. workers that drain."""
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self.stop(name))

    def kill_all(self) -> None:
        """Kill every process at once; `stop` calls under way then end. For a second Ctrl-C."""
        for part in self.parts:
            part.is_stopping = True
            if part.child is not None:
                part.child.kill()

    def kill(self, name: str, reason: str) -> None:
        """Kill a part's process because of ``reason``; it will be replaced."""
        part = self._parts.get(name)
        if part is not None and part.child is not None:
            part.reason = reason
            part.child.kill()

    async def _watch(self, part: Part) -> None:
        """One part's life: start, ready, end, delay, start ..."""
        while True:
            started = time.monotonic()
            try:
                code = await self._run_once(part)
                part.reason = part.reason or describe_exit(code)
            except (StackError, OSError) as error:
                part.reason = str(error)
            except Exception as error:  # a fault of ours must not leave the part down for good
                _log.exception("fault while starting a part", part=part.plan.name)
                part.reason = f"internal fault: {error!r}"
            if part.is_stopping:
                return
            if not part.first_ready.done():
                part.first_ready.set_exception(StackError(part.reason))
                return
            delay = part.backoff.next_delay(time.monotonic() - started)
            part.state = PartState.WAITING
            part.last_end = part.reason.splitlines()[0]
            _log.warning(
                "part ended, starting it again",
                part=part.plan.name,
                reason=part.last_end,
                delay_seconds=delay,
            )
            await asyncio.sleep(delay)

    async def _run_once(self, part: Part) -> int:
        plan = part.plan
        part.generation += 1
        part.state = PartState.STARTING
        part.reason = ""
        generation = part.generation
        child = start_child(plan.make_spec(generation), lambda line: plan.relay(plan.name, line))
        part.child = child
        try:
            await _await_readiness(plan, child)
            if not part.is_stopping:
                part.state = PartState.READY
            plan.on_ready(generation)
            if not part.first_ready.done():
                part.first_ready.set_result(None)
            return await child.wait()
        finally:
            # Also on cancellation: the next generation must not begin beside this one.
            child.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS):
                    await child.wait()
            part.child = None
            plan.on_exit(generation)


async def _await_readiness(plan: PartPlan, child: Child) -> None:
    ready = asyncio.ensure_future(plan.wait_ready(child))
    ended = asyncio.ensure_future(child.wait())
    late = asyncio.ensure_future(_deadline(plan))
    try:
        await asyncio.wait((ready, ended, late), return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
        elif ended.done():
            raise StackError(_why_not_ready(plan.name, ended.result(), list(child.last_lines)))
        else:
            child.kill()
            raise StackError(
                f"{plan.name} was not ready after {plan.ready_seconds:g} s."
                + shown_lines(child.last_lines)
            )
    finally:
        await _cancelled(ready)
        await _cancelled(ended)
        await _cancelled(late)


async def _deadline(plan: PartPlan) -> None:
    await plan.deadline_from()
    await asyncio.sleep(plan.ready_seconds)


def _why_not_ready(name: str, code: int, lines: list[str]) -> str:
    """Return what one of our own programs said was wrong, else how it ended and its last lines."""
    for number, line in enumerate(lines):
        if line.startswith(FAILURE_PREFIX):
            said = [line.removeprefix(FAILURE_PREFIX), *lines[number + 1 :]]
            return f"{name}: " + "\n".join(said)
    return f"{name} {describe_exit(code)} before it was ready." + shown_lines(lines)


def describe_exit(code: int) -> str:
    """Return ``ended with code 3`` or ``was killed by signal 9``."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def shown_lines(lines: Iterable[str]) -> str:
    """Return the end of what a part wrote, as the end of a message."""
    last = list(lines)[-SHOWN_LINES:]
    if not last:
        return " It wrote nothing."
    return " Its last lines:\n" + "\n".join(f"  {line}" for line in last)


async def _cancelled(task: asyncio.Future[None] | asyncio.Future[int]) -> None:
    """Cancel ``task`` and wait for its end, whatever that is."""
    if not task.done():
        task.cancel()
    await asyncio.wait((task,), timeout=5.0)
    if task.done() and not task.cancelled():
        task.exception()  # seen: it was raised to whoever asked for the result
