"""One active check against real sockets: each way of being unwell has its reason (A3)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from poruwa.clock import SystemClock
from poruwa.config.model import Health, HealthKind, Pool
from poruwa.gateway.active_health import HealthMonitor, Target
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState, SharedState
from poruwa.net.health_check import check_instance
from poruwa.rules.health import CheckReason

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


class Instance:
    """Answers every connection with the same bytes; keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = OK
        self.is_silent = False
        self.asked: list[bytes] = []
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if self.is_silent:
                await reader.read()
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def instance(path: Path | None = None) -> AsyncIterator[Instance]:
    made = Instance()
    if path is None:
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
        made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(made.serve, path)
        made.address = f"unix:{path}"
    yield made
    server.close()
    await server.wait_closed()


async def test_a_healthy_instance_is_asked_politely() -> None:
    async with instance() as made:
        result = await check_instance(made.address, Health(path="/alive"))
        assert (result.ok, result.reason) == (True, CheckReason.PASSED)
        assert 0 < result.seconds < 5
        (asked,) = made.asked
        assert asked.startswith(b"GET /alive HTTP/1.1\r\nHost: " + made.address.encode() + b"\r\n")
        assert b"\r\nConnection: close\r\n" in asked


async def test_unix_sockets_and_a_host_of_ones_own(tmp_path: Path) -> None:
    async with instance(tmp_path / "a.sock") as made:
        assert (await check_instance(made.address, Health(host="weddinglk.test"))).ok
        assert b"\r\nHost: weddinglk.test\r\n" in made.asked[0]


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", CheckReason.STATUS, "status 503"),
        (b"HTTP/1.1 204 None\r\n\r\n", CheckReason.STATUS, "status 204"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", CheckReason.NOT_HTTP, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n", CheckReason.CLOSED, "closed"),
        (b"", CheckReason.CLOSED, "closed"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, CheckReason.NOT_HTTP, "more than"),
    ],
)
async def test_answers_that_are_not_healthy(
    answer: bytes, reason: CheckReason, detail: str
) -> None:
    async with instance() as made:
        made.answer = answer
        result = await check_instance(made.address, Health())
        assert (result.ok, result.reason) == (False, reason)
        assert detail in result.detail


async def test_interim_responses_come_before_the_one_that_counts() -> None:
    async with instance() as made:
        made.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
        assert (await check_instance(made.address, Health())).ok


@pytest.mark.parametrize(("text", "ok"), [("read", True), ("broken", False)])
async def test_a_text_can_be_expected(text: str, ok: bool) -> None:
    async with instance() as made:
        assert (await check_instance(made.address, Health(expect_body=text))).ok is ok


async def test_a_class_of_statuses_can_be_expected() -> None:
    async with instance() as made:
        made.answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"
        assert (await check_instance(made.address, Health(expect_status=("2xx", "3xx")))).ok


async def test_a_frozen_instance_costs_the_time_out_and_no_more() -> None:
    async with instance() as made:
        made.is_silent = True
        result = await check_instance(made.address, Health(timeout_seconds=0.1))
        assert (result.ok, result.reason) == (False, CheckReason.TIMEOUT)
        assert result.seconds < 2.0


async def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    refused = await check_instance(address, Health())
    assert (refused.ok, refused.reason) == (False, CheckReason.REFUSED)
    missing = await check_instance(f"unix:{tmp_path}/none.sock", Health())
    assert (missing.ok, missing.detail) == (False, "its socket does not exist")


async def test_a_tcp_check_only_connects() -> None:
    async with instance() as made:
        made.is_silent = True
        result = await check_instance(made.address, Health(kind=HealthKind.TCP))
        assert (result.ok, result.detail) == (True, "connected")


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.005)


async def test_the_monitor_publishes_verdicts_to_the_shared_memory() -> None:
    shared = SharedState.create(max_workers=2, max_instances=4)
    settings = Health(
        interval_seconds=0.05, fast_interval_seconds=0.02, timeout_seconds=0.04, rise=2, fall=2
    )
    async with instance() as made:
        targets = [
            Target(slot=0, pool="app", name="a", address=made.address, weight=3, settings=settings),
            Target(
                slot=1, pool="app", name="b", address="127.0.0.1:1", weight=1,
                settings=Health(enabled=False),
            ),
        ]  # fmt: skip
        judge = Judge(shared, [Pool(name="app")], clock=SystemClock())
        monitor = HealthMonitor(judge, targets, clock=SystemClock(), random=lambda: 0.5)
        assert shared.state(0) == InstanceState.UNKNOWN
        assert shared.state(1) == InstanceState.UP  # not checked: taken at its word
        assert (shared.weight(0), shared.weight(1)) == (3, 1)
        task = asyncio.create_task(monitor.run())
        await until(lambda: shared.state(0) == InstanceState.UP)
        made.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        await until(lambda: shared.state(0) == InstanceState.DOWN)
        known = monitor.instances[0]
        assert (known.health.reason, known.health.detail) == (CheckReason.STATUS, "status 500")
        made.answer = OK
        await until(lambda: shared.state(0) == InstanceState.UP)
        task.cancel()
        await asyncio.wait([task])
    shared.close()


async def test_other_targets_are_taken_while_it_runs_and_what_is_known_stays() -> None:
    """A reload: one stays, also with other settings; one goes; one comes and is checked."""
    shared = SharedState.create(max_workers=2, max_instances=4)
    slow = Health(interval_seconds=600, fast_interval_seconds=600, timeout_seconds=5, jitter=0.0001)

    def target(slot: int, settings: Health = slow, weight: int = 1) -> Target:
        return Target(
            slot=slot, pool="app", name=f"i{slot}", address=addresses[slot], weight=weight,
            settings=settings,
        )  # fmt: skip

    async with instance() as first, instance() as third:
        addresses = [first.address, "127.0.0.1:1", third.address]
        judge = Judge(shared, [Pool(name="app")], clock=SystemClock())
        monitor = HealthMonitor(
            judge, [target(0), target(1)], clock=SystemClock(), random=lambda: 0.5
        )
        task = asyncio.create_task(monitor.run())
        await until(lambda: shared.state(0) == InstanceState.UP)
        await until(lambda: shared.state(1) == InstanceState.DOWN)
        before = [known.health for known in monitor.instances]
        first.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"  # nobody asks it again
        other = Health(interval_seconds=500, fast_interval_seconds=500, timeout_seconds=5)
        monitor.update([target(2), target(0, other, weight=7)])
        assert [known.target.slot for known in monitor.instances] == [2, 0]
        assert monitor.instances[1].health == before[0]
        assert (shared.state(0), shared.weight(0)) == (InstanceState.UP, 7)
        await until(lambda: shared.state(2) == InstanceState.UP)
        monitor.update([target(0, Health(enabled=False)), target(1)])
        assert monitor.instances[0].health.detail == "health checks are off"
        assert shared.state(1) == InstanceState.UNKNOWN  # it was gone: asked anew
        await until(lambda: shared.state(1) == InstanceState.DOWN)
        task.cancel()
        await asyncio.wait([task])
    shared.close()
