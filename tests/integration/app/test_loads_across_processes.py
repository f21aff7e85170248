"""One load for all processes of a machine, and what happens when the one that loads is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.valkey_process import BUS, CACHE, ValkeyProcess

Start = Callable[[], "Caller"]
FILES = Path(__file__).parents[2]


class Caller:
    """One process of ``fakes.cache_caller``."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        path = os.pathsep.join([str(FILES), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fakes.cache_caller", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ, "PYTHONPATH": path},
        )

    def send(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "loads").touch()
    return tmp_path / "loads"


@pytest.fixture
def start(tmp_path: Path, log: Path) -> Iterator[Start]:
    """Starts a process; all are on the same stores."""
    callers: list[Caller] = []
    with (
        ValkeyProcess(tmp_path / "cache", *CACHE) as cache,
        ValkeyProcess(tmp_path / "bus", *BUS) as bus,
    ):
        environ = {"PORUWA_CACHE_URL": cache.url, "PORUWA_BUS_URL": bus.url}

        def make() -> Caller:
            callers.append(Caller(environ, log))
            return callers[-1]

        yield make
        for caller in callers:
            caller.stop()


def test_a_hundred_cold_calls_on_three_instances_load_once(start: Start, log: Path) -> None:
    """Issue 5, show 5. The load takes longer than a lock lasts: it is extended meanwhile."""
    callers = [start() for _ in range(3)]
    assert [caller.answer() for caller in callers] == ["ready"] * 3
    for caller, count in zip(callers, (34, 33, 33), strict=True):
        caller.send(f"call {count} 1 1.5")
    values = [value for caller in callers for value in caller.answer()["values"]]
    assert len(log.read_bytes().splitlines()) == 1
    assert len(values) == 100
    assert len(set(values)) == 1


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_who_waits_for_a_process_that_stopped_loads_for_itself(
    start: Start, log: Path, number: signal.Signals
) -> None:
    first, second = start(), start()
    assert first.answer() == second.answer() == "ready"
    first.send("call 1 5 60")
    while not log.read_bytes():
        time.sleep(0.01)
    first.process.send_signal(number)
    second.send("call 3 5 0")
    answer = second.answer()
    assert answer["values"] == [f"loaded by {second.process.pid}"] * 3
    assert len(log.read_bytes().splitlines()) == 2
