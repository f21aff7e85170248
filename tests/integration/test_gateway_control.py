"""`poruwa gateway` as a process: workers replaced, health seen at once, counters kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

DEADLINE_SECONDS = 15.0


class Origin:
    """An instance: its health and the delay of its answers can be changed."""

    def __init__(self) -> None:
        self.health_status = 200
        self.delay_seconds = 0.0
        self.address = ""
        self.checks = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status = 200
                if b"/healthz" in head.split(b"\r\n")[0]:
                    status = self.health_status
                    self.checks += 1
                else:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    instance = Origin()
    server = await asyncio.start_server(instance.answer, "127.0.0.1", 0)
    instance.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield instance
    server.close()


POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "{admin}"
[gateway]
workers = 2
[timeouts]
drain = "5s"
[pools.app]
instances = [{instances}]
health = {{ interval = "500ms", fast_interval = "100ms", timeout = "400ms", rise = 2, fall = 2 }}
[[routes]]
path = "/*"
pool = "app"
"""


class Gateway:
    """One running `poruwa gateway`; its admin listener is a Unix socket."""

    def __init__(self, process: asyncio.subprocess.Process, admin: Path) -> None:
        self.process = process
        self.url = ""
        transport = httpx.AsyncHTTPTransport(uds=str(admin))
        self.admin = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.admin.get("/status")).json()
        return found

    async def requests_counted(self) -> float:
        page = (await self.admin.get("/metrics")).text
        counts = re.findall(r"^poruwa_requests_total\{.*status=\"200\".*\} (\S+)$", page, re.M)
        return sum(map(float, counts))

    async def is_ready(self) -> bool:
        try:
            return (await self.admin.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def state_of(self, instance: str) -> str:
        instances = (await self.status())["instances"]
        return str(next(each["state"] for each in instances if each["name"] == instance))


@asynccontextmanager
async def gateway(folder: Path, *instances: str) -> AsyncIterator[Gateway]:
    admin = folder / "admin.sock"
    listed = ", ".join(f'"{instance}"' for instance in instances)
    (folder / "site.toml").write_text(POLICY.format(admin=f"unix:{admin}", instances=listed))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "poruwa.cli.main", "gateway", "--policy", "site.toml",
        "--access-log", "access.log", cwd=folder, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    running = Gateway(process, admin)
    try:
        await until(running.is_ready, "ready")
        running.url = "http://" + (await running.status())["listeners"][0]["address"]
        yield running
    finally:
        await running.admin.aclose()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.02)


async def worker_pids(running: Gateway) -> list[int]:
    return [worker["pid"] for worker in (await running.status())["workers"]]


async def test_a_frozen_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    async with origin() as instance, gateway(tmp_path, instance.address) as running:
        frozen, other = await worker_pids(running)
        os.kill(frozen, signal.SIGSTOP)

        async def is_replaced() -> bool:
            worker = (await running.status())["workers"][0]
            return worker["pid"] not in (None, frozen) and worker["state"] == "ready"

        await until(is_replaced, "a new worker")
        first, second = (await running.status())["workers"]
        assert first["restarts"] == 1
        assert "heartbeat" in first["last_end"]
        assert (second["pid"], second["restarts"]) == (other, 0)
        async with httpx.AsyncClient() as client:
            assert (await client.get(running.url)).status_code == 200


async def test_load_of_a_dead_worker_is_forgotten(tmp_path: Path) -> None:
    """Issue 2, show 5: counts are right again after `kill -9`."""
    async with origin() as instance, gateway(tmp_path, instance.address) as running:
        instance.delay_seconds = 60.0
        clients = [httpx.AsyncClient(timeout=60.0) for _ in range(6)]
        requests = [asyncio.create_task(client.get(running.url)) for client in clients]

        async def in_flight() -> int:
            return int((await running.status())["instances"][0]["in_flight"])

        async def all_are_under_way() -> bool:
            return await in_flight() == 6

        await until(all_are_under_way, "six requests")
        for pid in await worker_pids(running):
            os.kill(pid, signal.SIGKILL)

        async def none_is_under_way() -> bool:
            return await in_flight() == 0

        await until(none_is_under_way, "no request")
        await until(running.is_ready, "ready again")
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for client in clients:
            await client.aclose()


async def test_counters_never_go_back_when_workers_die(tmp_path: Path) -> None:
    """E1: a dead worker's counts stay; a frozen one counts with what it said last."""
    async with origin() as instance, gateway(tmp_path, instance.address) as running:
        async with httpx.AsyncClient() as client:
            for _ in range(20):
                await client.get(running.url)
        assert await running.requests_counted() == 20
        frozen, killed = await worker_pids(running)
        os.kill(frozen, signal.SIGSTOP)
        started = time.monotonic()
        assert await running.requests_counted() == 20
        assert time.monotonic() - started < 2.0
        os.kill(killed, signal.SIGKILL)
        os.kill(frozen, signal.SIGKILL)

        async def are_new() -> bool:
            return not {None, frozen, killed} & set(await worker_pids(running))

        await until(are_new, "new workers")
        assert await running.requests_counted() == 20
        async with httpx.AsyncClient() as client:
            await client.get(running.url)
        assert await running.requests_counted() == 21


async def test_health_is_seen_with_its_reason_and_decides_who_is_asked(tmp_path: Path) -> None:
    """A3: down after `fall` failures, up after `rise`; no client sees it."""
    async with (
        origin() as good,
        origin() as bad,
        gateway(tmp_path, good.address, bad.address) as running,
    ):

        async def bad_is(state: str) -> bool:
            return await running.state_of(bad.address) == state

        await until(lambda: bad_is("up"), "both up")
        bad.health_status = 503
        await until(lambda: bad_is("down"), "down")
        found = (await running.status())["instances"][1]
        assert (found["reason"], found["detail"]) == ("unexpected-status", "status 503")
        page = (await running.admin.get("/metrics")).text
        assert f'poruwa_instance_up{{instance="{bad.address}",pool="app"}} 0.0' in page
        bad.health_status = 200
        await until(lambda: bad_is("up"), "up again")


async def test_not_ready_while_no_instance_is_up(tmp_path: Path) -> None:
    async with origin() as instance, gateway(tmp_path, instance.address) as running:
        instance.health_status = 500

        async def is_not_ready() -> bool:
            return not await running.is_ready()

        await until(is_not_ready, "not ready")
        assert (await running.status())["missing"] == ["no instance of pool app is up"]


async def test_a_stop_drains_requests_and_refuses_new_connections(tmp_path: Path) -> None:
    async with origin() as instance, gateway(tmp_path, instance.address) as running:
        instance.delay_seconds = 1.0
        async with httpx.AsyncClient(timeout=10.0) as client:
            slow = asyncio.create_task(client.get(running.url))

            async def is_under_way() -> bool:
                return bool((await running.status())["instances"][0]["in_flight"])

            await until(is_under_way, "a request")
            running.process.send_signal(signal.SIGTERM)
            host, port = running.url.removeprefix("http://").split(":")

            async def is_refused() -> bool:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except ConnectionRefusedError:
                    return True
                writer.close()
                return False

            await until(is_refused, "new connections to be refused")
            assert (await slow).status_code == 200
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await running.process.wait() == 0
        lines = (tmp_path / "access.log").read_text().splitlines()
        assert [json.loads(line)["status"] for line in lines] == [200]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --upstream HOST:PORT, or --policy FILE"),
        (("--upstream", "nonsense"), "nonsense"),
        (("--upstream", "127.0.0.1:1", "--listen", "192.0.2.1:80"), "no address of this machine"),
        (("--policy", "missing.toml"), "missing.toml"),
        (
            ("--upstream", "127.0.0.1:1", "--listen", ":0", "--admin", "0.0.0.0:0"),
            "needs a token",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = subprocess.run(
        (sys.executable, "-m", "poruwa.cli.main", "gateway", *arguments),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


async def test_a_gateway_from_nothing_but_addresses(tmp_path: Path) -> None:
    async with origin() as instance:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "poruwa.cli.main", "gateway",
            "--listen", f"unix:{tmp_path}/http.sock", "--upstream", instance.address,
            "--workers", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while b'"ready"' not in await process.stderr.readline():
                    pass
            transport = httpx.AsyncHTTPTransport(uds=f"{tmp_path}/http.sock")
            async with httpx.AsyncClient(transport=transport) as client:
                assert (await client.get("http://localhost/a")).text == "ok"
            async with asyncio.timeout(DEADLINE_SECONDS):
                line = json.loads(await process.stdout.readline())  # the access log
            assert (line["target"], line["status"]) == ("/a", 200)
        finally:
            process.terminate()
            await process.communicate()
        assert process.returncode == 0
