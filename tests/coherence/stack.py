"""The parts under test: ``poruwa up`` with the site, and a second gateway before its instances.

The second gateway reaches the bus through a small proxy, a process of its own, so that it can be
cut off from the bus alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pymongo import MongoClient
from tests.coherence.client import Gateway

SITE_POLICY = Path(__file__).parents[2] / "src" / "weddinglk" / "site.toml"
INSTANCES, WORKERS = 3, 2
BUS_URL = "PORUWA_BUS_URL"
_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_SERVING = ("up", "probing")
"""Of an instance: one that is probing waits for a request to show that it serves, and at rest there
is none."""


class StackFailure(Exception):
    """A part did not start, or ended."""


class CoherenceStack:
    """Two gateways, three instances, database and two Valkeys; made by `running_stack`."""

    def __init__(self, folder: Path, *, policy: Path = SITE_POLICY, small: bool = True) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._policy = folder / "site.toml"
        self._policy.write_text(_with_free_ports(policy.read_text(), small=small))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._proxy = 0
        self.gateways: list[Gateway] = []
        self._admins: list[str] = []
        self._controls: list[str] = []

    # Starting and stopping.

    def start(self) -> None:
        """Start all parts, the second gateway last.

        Raises:
            StackFailure: one does not start.
        """
        self._run(
            "up", "up", "--policy", str(self._policy), "--state", str(self.state),
            "--instances", str(INSTANCES), "--workers", str(WORKERS),
        )  # fmt: skip
        self._until(lambda: self._report().get("ready"), "up")
        report = self._report()
        url = urlsplit(report["urls"][0])
        assert url.port is not None
        self.gateways.append(Gateway(name="gateway 1", host="127.0.0.1", port=url.port))
        self._admins.append(report["admin"])
        self._controls.append(report["control"])
        self._start_second()
        self.refresh()

    def _start_second(self) -> None:
        port, admin = free_port(), free_port()
        folder = self.folder / "second"
        folder.mkdir(mode=0o700)
        environment = _secrets(self.state / "secrets")
        bus = self.environment_of("app.1").get(BUS_URL)
        if bus is not None:
            environment |= self._shared_stores(bus)
        upstreams = [f"app={each['address']}" for each in self._status(0)["instances"]]
        options = [text for each in upstreams for text in ("--upstream", each)]
        self._run(
            "second", "gateway", "--policy", str(self._policy), "--workers", str(WORKERS),
            "--listen", f"http=127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
            "--control", str(folder / "c.sock"), "--state", str(folder),
            "--access-log", "none", "--log-format", "json", *options, environment=environment,
        )  # fmt: skip
        self._admins.append(f"127.0.0.1:{admin}")
        self._controls.append(f"unix:{folder / 'c.sock'}")
        self._until(lambda: len(self._ready_workers(1)) == WORKERS, "second")
        self.gateways.append(Gateway(name="gateway 2", host="127.0.0.1", port=port))

    def _shared_stores(self, bus: str) -> dict[str, str]:
        """Return the environment of the second gateway: the bus by way of the proxy."""
        found = urlsplit(bus)
        port = free_port()
        self._children["proxy"] = subprocess.Popen(
            [sys.executable, "-m", "tests.coherence.proxy", str(port), str(found.port)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
        )
        self._until(lambda: is_open(port), "proxy")
        credentials = found.netloc.rpartition("@")[0]
        place = f"{credentials}@127.0.0.1:{port}" if credentials else f"127.0.0.1:{port}"
        environment = {BUS_URL: urlunsplit(found._replace(netloc=place))}
        cache = self.environment_of("app.1").get("PORUWA_CACHE_URL")
        return environment | ({"PORUWA_CACHE_URL": cache} if cache else {})

    def _run(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "poruwa.cli.main", *arguments],
                cwd=self.folder, env=os.environ | (environment or {}),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def stop(self) -> None:
        """Stop what was started: the second gateway first, the proxy last."""
        for name in ("second", "up", "proxy"):
            child = self._children.get(name)
            if child is None or child.poll() is not None:
                continue
            child.send_signal(signal.SIGCONT)
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    # Looking in.

    @property
    def database(self) -> str:
        return str(self._report()["database"])

    def pids(self) -> dict[str, int]:
        """Return the pids of the parts of ``poruwa up``, by name."""
        found: dict[str, int] = self._report()["pids"]
        return found

    def part(self, name: str) -> int:
        """Return the pid of a part; 0 where it does not run now."""
        return self.pids().get(name, 0)

    @property
    def proxy(self) -> int:
        child = self._children.get("proxy")
        return 0 if child is None else child.pid

    def environment_of(self, part: str) -> dict[str, str]:
        """Return the environment a part was started with."""
        text = Path(f"/proc/{self.pids()[part]}/environ").read_bytes().decode()
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    def refresh(self) -> None:
        """Bring the gateways' lists of workers up to date."""
        for number, gateway in enumerate(self.gateways):
            with contextlib.suppress(OSError, ValueError):
                gateway.workers[:] = self._ready_workers(number)

    async def keep_fresh(self) -> None:
        """Do so again and again."""
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(0.25)

    def missing(self) -> str:
        """Return what does not serve as it should; "" where all workers and instances do."""
        found = []
        for number, admin in enumerate(self._admins):
            try:
                instances = self._status(number)["instances"]
            except (OSError, ValueError) as error:
                return f"gateway {number + 1} at {admin}: {error}"
            workers = len(self._ready_workers(number))
            if workers != WORKERS:
                found.append(f"gateway {number + 1} has {workers} of {WORKERS} workers")
            found += [
                f"gateway {number + 1} has {each['name']} {each['state']}"
                for each in instances
                if each["state"] not in _SERVING
            ]
        return "; ".join(found)

    def operator_token(self) -> str:
        """Return the token for writes; "" where the stack makes none."""
        with contextlib.suppress(OSError):
            return (self.state / "operator-token").read_text().strip()
        return self.environment_of("app.1").get("WEDDINGLK_OPERATOR_TOKEN", "")

    def explain(self, number: int, path: str) -> str:
        """Return what ``poruwa explain`` says of a path at one gateway."""
        found = subprocess.run(
            [sys.executable, "-m", "poruwa.cli.main", "explain", path, "--admin",
             self._controls[number]],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return (found.stdout + found.stderr).strip()

    def last_words(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def taglines(self, venues: list[int]) -> dict[int, str]:
        """Return the English taglines, from the database itself."""
        client: MongoClient[dict[str, Any]] = MongoClient(
            f"mongodb://{self.database}/?directConnection=true", serverSelectionTimeoutMS=5000
        )
        with client:
            rows = client["weddinglk"]["venues"].find({"_id": {"$in": venues}}, {"tagline": 1})
            return {row["_id"]: row["tagline"][0] for row in rows}

    def write_past_everything(self, venue: int, tagline: list[str]) -> None:
        """Write into the database itself, as somebody who knows nothing of caches."""
        client: MongoClient[dict[str, Any]] = MongoClient(
            f"mongodb://{self.database}/?directConnection=true", serverSelectionTimeoutMS=5000
        )
        with client:
            client["weddinglk"]["venues"].update_one({"_id": venue}, {"$set": {"tagline": tagline}})

    def _report(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
            return found
        return {}

    def _status(self, number: int) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self._admins[number]}/status", timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def _ready_workers(self, number: int) -> list[int]:
        with contextlib.suppress(OSError, ValueError):
            workers = self._status(number)["workers"]
            return [each["pid"] for each in workers if each.get("ready", True) and each["pid"]]
        return []

    def _until(self, condition: Callable[[], object], name: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not condition():
            if self._children[name].poll() is not None or time.monotonic() > deadline:
                raise StackFailure(f"{name} did not start: {self.last_words(name)}")
            time.sleep(_POLL_SECONDS)


@contextmanager
def running_stack(folder: Path, *, small: bool = True) -> Iterator[CoherenceStack]:
    """Run the parts for the length of a block."""
    stack = CoherenceStack(folder, small=small)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _with_free_ports(text: str, *, small: bool) -> str:
    text = re.sub(r'address = "127\.0\.0\.1:800[01]"', 'address = "127.0.0.1:0"', text)
    if small:
        text = text.replace("weddinglk.cli:main seed", "weddinglk.cli:main seed --small")
    return text


def _secrets(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)
