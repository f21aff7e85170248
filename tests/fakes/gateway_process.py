"""A real gateway as a process tree: started, awaited, looked into, stopped, and nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fakes.authority import Authority
from fakes.raw_client import RawClient
from fakes.wire import Response

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
_ESTABLISHED = "01"  # as /proc/net/tcp says it
# What an event loop prints when a callback of ours raised: never acceptable.
_FAULTS = ("Traceback (most recent call last)", "Exception in callback", "was never retrieved",
           "never awaited", "Fatal error")  # fmt: skip


def policy_head(*, workers: int = 1, authority: Authority | None = None) -> str:
    """Return what nearly every policy begins with: free ports, the admin page, the workers.

    Args:
        authority: whose certificate a second listener, ``tls``, has; None for no such.
    """
    tls = ""
    if authority is not None:
        tls = f"""\
[listeners.tls]
address = "127.0.0.1:0"
tls = {{ certificate = "{authority.certificate_path}", key = "{authority.key_path}" }}
"""
    return f"""\
[listeners.http]
address = "127.0.0.1:0"
{tls}[admin]
address = "127.0.0.1:0"
[gateway]
workers = {workers}
"""


class GatewayProcess:
    """``poruwa gateway`` with a policy, or with nothing but addresses.

    ``addresses`` maps listener names to what they are bound to; ``address`` is the first.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        policy: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log_path = folder / "gateway.log"
        command = [sys.executable, "-m", "poruwa.cli.main", "gateway", "--log-format", "json"]
        if policy is not None:
            path = folder / "site.toml"
            path.write_text(policy)
            command += ["--policy", str(path)]
        else:
            command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        if "--access-log" not in arguments:
            command += ["--access-log", "none"]
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._await_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            self._log.close()
            raise

    def _await_ready(self) -> None:
        line = self.await_log(lambda event: event.get("event") == "ready", READY_SECONDS)
        self.admin = str(line["admin"])
        bound = str(line["listeners"]).split()
        status = self.status()
        self.addresses = {each["name"]: each["address"] for each in status["listeners"]}
        self.address = bound[0]
        self.until(lambda: self.ask_admin("/readyz")[0] == 200, "readiness", READY_SECONDS)

    # Looking in.

    def log_events(self) -> list[dict[str, Any]]:
        """Return the log lines that are JSON."""
        events = []
        for line in self.log_path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events

    def await_log(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 5.0
    ) -> dict[str, Any]:
        """Wait for a log line."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.log_events():
                if wanted(event):
                    return event
            text = self.log_path.read_text(errors="replace")
            assert self.process.poll() is None, f"the gateway ended: {text}"
            assert time.monotonic() < deadline, f"waited in vain for a line in: {text}"
            time.sleep(0.01)

    def until(self, condition: Callable[[], object], what: str, seconds: float = 5.0) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log_path.read_text(errors="replace")
            assert time.monotonic() < deadline, f"waited in vain for: {what}"
            time.sleep(0.01)

    def ask_admin(self, path: str) -> tuple[int, bytes]:
        """Return status and body of an admin page."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ask_admin("/status")[1])
        return answer

    def metric(self, line_start: str) -> float:
        """Return the sum of the samples whose line begins with ``line_start``."""
        text = self.ask_admin("/metrics")[1].decode()
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(line_start)
        )

    def in_flight(self) -> int:
        return sum(instance["in_flight"] for instance in self.status()["instances"])

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"]]

    def worker_memory_bytes(self) -> int:
        """Return the resident memory of all workers."""
        return sum(resident_bytes(pid) for pid in self.worker_pids())

    # Using it.

    def connect(self, listener: str | None = None, **options: Any) -> RawClient:
        address = self.addresses[listener] if listener is not None else self.address
        return RawClient(address, **options)

    def get(self, path: str, fields: str = "", **options: Any) -> Response:
        """Ask once on a connection of its own."""
        method = options.pop("method", "GET")
        body = options.pop("body", b"")
        with self.connect(**options) as client:
            return client.get(path, fields, method=method, body=body)

    # Ending it.

    def stop(self) -> None:
        """Stop by SIGTERM; fail if it ends badly, leaves a process, or logged a fault."""
        family = descendants(self.process.pid)
        try:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"did not stop: {self.log_path.read_text()[-3000:]}") from None
            log = self.log_path.read_text(errors="replace")
            assert code == 0, f"ended with {code}: {log[-3000:]}"
            left = [pid for pid in family if is_running(pid)]
            assert not left, f"left behind: {left}"
            for fault in _FAULTS:
                at = log.find(fault)
                assert at < 0, f"the log holds a fault: {log[max(0, at - 500) : at + 3000]}"
        finally:
            self._log.close()

    def kill(self) -> None:
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


def descendants(pid: int) -> list[int]:
    """Return the processes that ``pid`` started, and those that they did."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def peers_of(pid: int) -> set[str]:
    """Return the TCP peers of a process (IPv4), from /proc."""
    inodes = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                address, port = fields[2].split(":")
                host = socket.inet_ntoa(bytes.fromhex(address)[::-1])
                found.add(f"{host}:{int(port, 16)}")
    return found


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no memory")


def workers_of(clients: list[RawClient], pids: list[int]) -> list[int]:
    """Return the processes at the other ends of connections over IPv4, from /proc."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {(line[1], line[2]): line[9] for line in lines if line[3] == _ESTABLISHED}
    holders = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                holders[os.readlink(descriptor)] = pid
    found = []
    for client in clients:
        ends = in_table(client.sock.getpeername()), in_table(client.sock.getsockname())
        found.append(holders[f"socket:[{inodes[ends]}]"])
    return found


def in_table(address: tuple[str, int]) -> str:
    """Return an address as /proc/net/tcp writes it."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def join_policy(*parts: str | Sequence[str]) -> str:
    """Join parts of a policy file."""
    return "\n".join(part if isinstance(part, str) else "\n".join(part) for part in parts)
