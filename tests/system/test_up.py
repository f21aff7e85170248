"""`poruwa up` as people run it: real database, instances and gateway, killed and stopped.

The site is ``tests/fakes/tiny_site.py``; what is tested is the stack around it (A1, A5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

FAKES = Path(__file__).parents[1] / "fakes"
READY_SECONDS = 40.0
BACK_SECONDS = 8.0
STOP_SECONDS = 30.0
POLICY = """
[site]
name = "tiny"
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 2
[timeouts]
drain = "10s"
[pools.app]
count = 3
[pools.app.affinity]
keys = "env:TINY_SITE_KEYS"
[stack]
application = "tiny_site:app"
seed = "tiny_site:seed"
[database]
name = "tiny"
[[routes]]
path = "/*"
pool = "app"
"""


class Stack:
    """One `poruwa up` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.policy = folder / "site.toml"
        self.policy.write_text(POLICY)
        path = os.pathsep.join(filter(None, (str(FAKES), os.environ.get("PYTHONPATH"))))
        self.environ = {**os.environ, "PYTHONPATH": path}

    def command(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "poruwa.cli.main", *arguments)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it; whatever a test does, its end is the end of all parts."""
        process = subprocess.Popen(
            self.command("up", *arguments),
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()  # its parts die with it
            process.communicate()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
        return found

    def is_ready(self, pid: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            report = self.report()
            return bool(report["ready"]) and report["pid"] == pid
        return False

    def url(self, path: str) -> str:
        return str(self.report()["urls"][0]) + path

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def wait_until(condition: Callable[[], object], what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


def wait_ready(stack: Stack, process: subprocess.Popen[str]) -> None:
    def is_ready() -> bool:
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
        return stack.is_ready(process.pid)

    wait_until(is_ready, "the stack to be ready")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def all_pids(stack: Stack) -> list[int]:
    workers = [worker["pid"] for worker in stack.status()["workers"]]
    return [*stack.report()["pids"].values(), *workers]


def test_start_serve_stop_and_start_again_with_the_data_kept(stack: Stack) -> None:
    """The whole life: banner, status, 0700, Ctrl-C with a request under way, nothing left."""
    with stack.running() as process:
        assert stack.run("status").returncode == 1
        assert stack.run("status", "--wait", "40").returncode == 0
        wait_ready(stack, process)
        status = stack.status()
        assert [worker["state"] for worker in status["workers"]] == ["ready", "ready"]
        assert {instance["state"] for instance in status["instances"]} == {"up"}
        assert httpx.get(stack.url("/runs")).text == "1"
        answered_by = {httpx.get(stack.url("/pid")).text for _ in range(30)}
        assert answered_by <= {str(pid) for pid in stack.report()["pids"].values()}
        pids = all_pids(stack)
        assert len(pids) == 9
        assert all(is_running(pid) for pid in pids)
        slow = subprocess.Popen(
            (sys.executable, "-c", "import sys, httpx; print(httpx.get(sys.argv[1]).status_code)",
             stack.url("/slow?seconds=1.5")),
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        wait_until(
            # A second one is its hedge.
            lambda: sum(instance["in_flight"] for instance in stack.status()["instances"]) >= 1,
            "the slow request",
        )
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 0
        assert slow.communicate(timeout=STOP_SECONDS)[0].strip() == "200"
        assert "tiny is ready after" in output
        assert "http://localhost:" in output
        assert "Ctrl-C" in output
        banner = output.partition("tiny is ready after")[2]
        assert "    seed     3 accounts: ada, ben, cleo\n" in banner
        assert f"password in {Path('state') / 'seed-password'}\n" in banner
        assert (stack.state / "seed-password").read_text().strip() not in output
    assert not any(is_running(pid) for pid in pids)
    assert not (stack.state / "stack.json").exists()
    secrets = (stack.state / "secrets").read_text()
    stack.environ["TINY_SITE_SEED_PASSWORD"] = "of their own"
    with stack.running() as process:
        wait_ready(stack, process)
        assert httpx.get(stack.url("/runs")).text == "2"  # the seed ran on the same data
        assert (stack.state / "secrets").read_text() == secrets
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 0
        assert "seed-password" not in output  # what is in the file signs nobody in


@contextlib.asynccontextmanager
async def load(url: str) -> AsyncIterator[list[str]]:
    """Send GETs from eight clients during the block; what goes wrong is in the list."""
    wrong: list[str] = []
    answers = 0
    is_over = False

    async def client() -> None:
        nonlocal answers
        async with httpx.AsyncClient(timeout=20.0) as http:
            while not is_over:
                try:
                    response = await http.get(url)
                except httpx.HTTPError as error:
                    wrong.append(repr(error))
                else:
                    answers += 1
                    if response.status_code != 200:
                        wrong.append(f"status {response.status_code}")

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(client())
        try:
            yield wrong
        finally:
            is_over = True
    assert answers > 10, "too few to mean anything"


async def test_killed_parts_are_back_within_two_seconds_and_no_get_fails(stack: Stack) -> None:
    """A5: `kill -9` of an instance, a worker and the gateway itself, under load.

    Two seconds are what a quiet machine takes; the bounds here leave room for a busy one.
    """
    with stack.running() as process:
        await asyncio.to_thread(wait_ready, stack, process)

        async def kill_and_wait(name: str) -> float:
            before = stack.report()["pids"]
            os.kill(before[name], signal.SIGKILL)
            killed_at = time.monotonic()
            await asyncio.to_thread(
                wait_until,
                lambda: stack.report()["pids"].get(name, before[name]) != before[name],
                f"{name} to be back",
            )
            return time.monotonic() - killed_at

        async with load(stack.url("/pid")) as wrong:
            assert await kill_and_wait("app.2") < BACK_SECONDS
            worker = (await asyncio.to_thread(stack.status))["workers"][0]["pid"]
            os.kill(worker, signal.SIGKILL)
            killed_at = time.monotonic()

            def worker_is_back() -> bool:
                first = stack.status()["workers"][0]
                return first["pid"] not in (None, worker) and first["state"] == "ready"

            await asyncio.to_thread(wait_until, worker_is_back, "the worker to be back")
            assert time.monotonic() - killed_at < BACK_SECONDS
        # A connection that dies with its worker may have had an answer under way: those eight
        # clients lose at most their one connection each, all others are served.
        assert len(wrong) <= 8
        assert not [text for text in wrong if text.startswith("status")]
        assert await kill_and_wait("gateway") < BACK_SECONDS
        assert await kill_and_wait("database") < BACK_SECONDS
        await asyncio.to_thread(
            wait_until, lambda: stack.run("status").returncode == 0, "all to be ready again"
        )
        assert (await asyncio.to_thread(httpx.get, stack.url("/runs"))).text == "1"
        status = await asyncio.to_thread(stack.status)
        assert [instance["in_flight"] for instance in status["instances"]] == [0, 0, 0]


def test_what_operators_change_outlives_the_gateway_and_the_stack(stack: Stack) -> None:
    """The verbs find the stack of ./state, whatever its admin address."""

    def drained(name: str) -> bool:
        found = stack.status().get("instances", ())
        return any(each["name"] == name and each["state"] == "drained" for each in found)

    with stack.running("--admin", "none") as process:
        wait_ready(stack, process)
        result = stack.run("drain", "app.1", "--limit", "0")
        assert result.stdout == "app.1 takes no new clients; bound ones go elsewhere now.\n"
        assert stack.run("weight", "app.2", "5").stdout == "app.2 has weight 5, it was 1.\n"
        wait_until(lambda: drained("app.1"), "app.1 to be drained")
        drained_pid = str(stack.report()["pids"]["app.1"])
        assert drained_pid not in {httpx.get(stack.url("/pid")).text for _ in range(10)}
        gateway = stack.report()["pids"]["gateway"]
        os.kill(gateway, signal.SIGKILL)
        wait_until(lambda: stack.report()["pids"].get("gateway") != gateway, "another gateway")
        wait_until(lambda: drained("app.1"), "app.1 to be drained still")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_SECONDS)
    with stack.running() as process:
        wait_ready(stack, process)
        assert drained("app.1")
        weights = {each["name"]: each["weight"] for each in stack.status()["instances"]}
        assert weights == {"app.1": 1, "app.2": 5, "app.3": 1}
        assert stack.run("undrain", "app.1").returncode == 0
        wait_until(lambda: not drained("app.1"), "app.1 to serve again")
        assert stack.run("reload").stdout.startswith("reload done in ")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_SECONDS)


def test_kill_of_the_stack_itself_leaves_nothing_and_the_next_start_works(stack: Stack) -> None:
    with stack.running() as process:
        wait_ready(stack, process)
        pids = all_pids(stack)
        process.kill()
        wait_until(lambda: not any(is_running(pid) for pid in pids), "all parts to end", 10.0)
        process.communicate()
    with stack.running() as process:
        wait_ready(stack, process)
        assert httpx.get(stack.url("/runs")).text == "2"


def test_ctrl_c_during_the_start_and_twice_leaves_nothing(stack: Stack) -> None:
    with stack.running() as process:
        wait_until(lambda: (stack.state / "database").exists(), "the database to start")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 0
    with stack.running() as process:
        wait_ready(stack, process)
        pids = all_pids(stack)
        with httpx.stream("GET", stack.url("/pid")):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 0
        wait_until(lambda: not any(is_running(pid) for pid in pids), "all parts to end", 5.0)


def test_counts_of_the_command_line_win(stack: Stack) -> None:
    """A1: instances by count."""
    with stack.running("--instances", "1", "--workers", "1", "--state", "elsewhere") as process:
        stack.state = stack.folder / "elsewhere"
        wait_ready(stack, process)
        parts = {"database", "cache", "bus", "app.1", "gateway"}
        assert set(stack.report()["pids"]) == parts


def refused(stack: Stack, *arguments: str) -> str:
    """Run `up`, which must fail: return its one clear message."""
    result = stack.run("up", *arguments, "--log-format", "json")
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith('{"at"')]
    assert lines[0].startswith("poruwa: ")
    assert not any(line.startswith("Traceback") for line in lines)
    return "\n".join(lines)


def test_a_busy_port_is_named_with_its_holder(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = refused(stack, "--listen", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port} is in use by pid {os.getpid()}" in message
    assert "\n" not in message


def test_a_state_directory_in_use_is_named_with_its_pid(stack: Stack) -> None:
    with stack.running() as process:
        wait_until(lambda: (stack.state / "lock").exists(), "the lock")
        wait_ready(stack, process)
        assert f"in use by pid {process.pid}" in refused(stack)


def test_a_package_that_is_not_there_is_named(stack: Stack) -> None:
    text = POLICY.replace('"tiny_site:app"', '"no_such_site:app"')
    stack.policy.write_text(text)
    assert "there is no package 'no_such_site' here" in refused(stack)


def test_the_embedded_database_that_is_not_installed_says_how(stack: Stack) -> None:
    # A Python in a folder without the program, and a PATH without it: as after a bare install.
    bare = stack.folder / "bin"
    bare.mkdir()
    (bare / "python").symlink_to(Path(sys.executable).resolve())
    paths = [str(FAKES), *(path for path in sys.path if path.endswith("site-packages"))]
    source = Path(__file__).parents[2] / "src"
    result = subprocess.run(
        (bare / "python", "-m", "poruwa.cli.main", "up"),
        cwd=stack.folder,
        env={"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join([*paths, str(source)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "pip install 'poruwa[embedded]'" in result.stderr


def test_an_instance_that_cannot_start_shows_its_last_lines(stack: Stack) -> None:
    broken = stack.folder / "broken_site.py"
    broken.write_text("raise RuntimeError('the template folder is missing')\n")
    stack.environ["PYTHONPATH"] += os.pathsep + str(stack.folder)
    stack.policy.write_text(POLICY.replace('"tiny_site:app"', '"broken_site:app"'))
    message = refused(stack)
    assert "ended with code" in message
    assert "the template folder is missing" in message


def test_a_seed_that_fails_ends_the_start(stack: Stack) -> None:
    stack.environ["TINY_SITE_SEED_CODE"] = "3"
    message = refused(stack)
    assert "seed ended with code 3" in message
    assert "seeding the tiny site" in message


def test_a_policy_that_is_wrong_is_refused_with_its_line(stack: Stack) -> None:
    stack.policy.write_text(POLICY.replace("count = 3", "cuont = 3"))
    message = refused(stack)
    assert "site.toml:" in message
    assert "count" in message


def test_a_folder_without_policy_says_what_to_name(stack: Stack) -> None:
    stack.policy.unlink()
    assert "--policy FILE" in refused(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_one_clear_line(stack: Stack) -> None:
    small = stack.folder / "small"
    small.mkdir()
    mount = subprocess.run(
        ("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)),
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        message = refused(stack, "--state", str(small / "state"))
    finally:
        subprocess.run(("umount", str(small)), check=True)
    assert "7 MiB free; the stack needs 200MiB" in message or "8 MiB free" in message
