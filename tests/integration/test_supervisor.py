"""The supervisor with real processes: start, readiness, restart, order of stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from poruwa.errors import StackError
from poruwa.stack.child import Child, ProcessSpec, start_child
from poruwa.stack.supervisor import PartPlan, PartState, Supervisor

DEADLINE_SECONDS = 10.0
SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def plan(name: str, argv: tuple[str, ...] = SLEEPER, **changes: object) -> PartPlan:
    spec = ProcessSpec(name=name, argv=argv, stop_grace_seconds=2.0)
    return PartPlan(name=name, make_spec=lambda _: spec, **changes)  # type: ignore[arg-type]


async def says_up(child: Child) -> None:
    await until(lambda: "up" in child.last_lines, "the line 'up'")


async def test_a_killed_part_is_back_at_once_and_its_exit_is_told_before() -> None:
    """A5: `kill -9`; the hook runs before the next generation is made."""
    events: list[str] = []

    def make_spec(generation: int) -> ProcessSpec:
        events.append(f"start {generation}")
        return ProcessSpec(name="part", argv=SLEEPER)

    async with Supervisor() as supervisor:
        part = await supervisor.start(
            PartPlan(
                name="part",
                make_spec=make_spec,
                wait_ready=says_up,
                on_exit=lambda generation: events.append(f"exit {generation}"),
            )
        )
        first = part.pid
        assert first is not None
        killed_at = time.monotonic()
        os.kill(first, signal.SIGKILL)
        await until(lambda: part.generation == 2 and part.state is PartState.READY, "restart")
        assert time.monotonic() - killed_at < 2.0
        assert events == ["start 1", "exit 1", "start 2"]
        second = part.pid
        assert second not in (None, first)
    assert not is_running(first)
    assert not is_running(second or 0)
    assert events[-1] == "exit 2"


async def test_a_part_that_ends_before_it_is_ready_raises_with_its_last_lines() -> None:
    failing = (sys.executable, "-c", "print('no such database'); raise SystemExit(3)")
    async with Supervisor() as supervisor:
        with pytest.raises(StackError, match=r"ended with code 3(.|\n)*no such database"):
            await supervisor.start(plan("failing", failing, wait_ready=says_up))


async def test_a_part_that_is_never_ready_raises_and_is_killed() -> None:
    pids: list[int] = []

    async def never(child: Child) -> None:
        pids.append(child.pid)
        await asyncio.Event().wait()

    async with Supervisor() as supervisor:
        with pytest.raises(StackError, match=r"not ready after 0\.3 s"):
            await supervisor.start(plan("slow", wait_ready=never, ready_seconds=0.3))
        await until(lambda: not is_running(pids[0]), "its end")
    assert len(pids) == 1


async def test_the_deadline_counts_from_when_what_a_part_depends_on_is_there() -> None:
    filled, served = asyncio.Event(), asyncio.Event()

    async def serves(child: Child) -> None:
        await served.wait()

    waiting = plan("part", wait_ready=serves, ready_seconds=0.3, deadline_from=filled.wait)
    async with Supervisor() as supervisor:
        starting = asyncio.create_task(supervisor.start(waiting))
        await asyncio.sleep(0.6)  # twice the deadline, which has not begun
        assert not starting.done()
        filled.set()
        served.set()
        assert (await starting).state is PartState.READY


async def test_a_missing_program_is_one_clear_line() -> None:
    async with Supervisor() as supervisor:
        with pytest.raises(StackError, match="no program 'poruwa-no-such-program'"):
            await supervisor.start(plan("missing", ("poruwa-no-such-program",)))


async def test_parts_stop_in_reverse_order_and_may_finish_their_work(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    program = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(journal)!r}, 'a').write(sys.argv[1] + '\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    async with Supervisor() as supervisor:
        for name in ("database", "app", "gateway"):
            await supervisor.start(
                plan(name, (sys.executable, "-c", program, name), wait_ready=says_up)
            )
    assert journal.read_text().split() == ["gateway", "app", "database"]


async def test_a_part_that_ignores_the_signal_or_is_frozen_is_killed_after_its_grace() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\n"
    spec = ProcessSpec(
        name="deaf",
        argv=(sys.executable, "-c", deaf + "time.sleep(600)"),
        stop_grace_seconds=0.3,
    )
    child = start_child(spec, lambda line: None)
    await says_up(child)
    os.kill(child.pid, signal.SIGSTOP)
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await child.stop() == -signal.SIGKILL


async def test_an_error_in_the_block_leaves_nothing_behind() -> None:
    pids: list[int] = []

    async def fail() -> None:
        async with Supervisor() as supervisor:
            part = await supervisor.start(plan("part", wait_ready=says_up))
            pids.append(part.pid or 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not is_running(pids[0])


async def test_a_cancelled_parallel_start_leaves_nothing_behind() -> None:
    pids: list[int] = []

    async def never(child: Child) -> None:
        pids.append(child.pid)
        await asyncio.Event().wait()

    failing = (sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(1)")

    async def start_both() -> None:
        async with Supervisor() as supervisor, asyncio.TaskGroup() as group:
            group.create_task(supervisor.start(plan("hanging", wait_ready=never)))
            group.create_task(supervisor.start(plan("failing", failing, wait_ready=says_up)))

    with pytest.raises(ExceptionGroup) as caught:
        await start_both()
    assert caught.group_contains(StackError, match="ended with code 1")
    assert not is_running(pids[0])


async def test_children_die_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """Even `kill -9` of the parent leaves no process."""
    program = (
        "import asyncio, sys\n"
        "from poruwa.stack.child import ProcessSpec\n"
        "from poruwa.stack.supervisor import PartPlan, Supervisor\n"
        f"spec = ProcessSpec(name='x', argv={SLEEPER!r})\n"
        "async def main():\n"
        "    async with Supervisor() as supervisor:\n"
        "        part = await supervisor.start(PartPlan(name='x', make_spec=lambda _: spec))\n"
        "        print(part.pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(  # noqa: ASYNC220
        (sys.executable, "-c", program), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        child_pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert is_running(child_pid)
        parent.kill()
    await until(lambda: not is_running(child_pid), "the child's end")


async def test_long_and_unfinished_lines_are_read_without_loss_of_the_rest() -> None:
    program = "import sys; sys.stdout.write('a' * 300000 + '\\nshort\\nlast'); sys.stdout.flush()"
    lines: list[str] = []
    child = start_child(
        ProcessSpec(name="talker", argv=(sys.executable, "-c", program)), lines.append
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await child.wait() == 0
    assert lines[-2:] == ["short", "last"]
    assert all(len(line) <= 16 * 1024 for line in lines)


async def test_a_part_told_to_stop_slowly_can_be_stopped_at_once() -> None:
    """An old worker has minutes to end; when the whole stops, it has not."""
    stubborn = (
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True));"
        "print('up', flush=True); [time.sleep(1) for _ in range(600)]",
    )
    asked: list[int] = []
    async with Supervisor() as supervisor:
        part = await supervisor.start(plan("old", stubborn, wait_ready=says_up))
        child = part.child
        assert child is not None
        slowly = asyncio.create_task(
            supervisor.stop("old", ask=lambda: bool(asked.append(1)), grace_seconds=600.0)
        )
        await until(lambda: "asked" in child.last_lines, "the signal, as `ask` could not")
        assert asked == [1]
        await supervisor.stop("old", grace_seconds=0.0)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await slowly
        assert child.exit_code == -signal.SIGKILL
        assert supervisor.find("old") is None
