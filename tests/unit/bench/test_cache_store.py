"""Pauses are noted by the process that has them, and read as they were; so are latencies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bench import cache_store
from bench.cache_store import Memory, Pause, parse_pauses
from bench.errors import BenchError
from bench.probe import Probe

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
_CORE = min(os.sched_getaffinity(0))
# Some 300,000 lists in a cycle: a full pass over them takes far more than half a millisecond.
_PROGRAM = """
import gc, os
kept = [[] for _ in range(300_000)]
kept.append(kept)
gc.collect()
print(os.getpid())
"""


def test_a_process_notes_its_own_collections(tmp_path: Path) -> None:
    pauses = Path(cache_store.__file__).parent / "pauses"
    env = {**os.environ, "PYTHONPATH": str(pauses), "BENCH_PAUSES": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    found = parse_pauses((tmp_path / f"{ended.stdout.strip()}.pauses").read_text())
    assert any(pause.generation == 2 and pause.milliseconds >= 0.5 for pause in found)


def test_a_line_that_is_not_ended_is_not_read() -> None:
    assert parse_pauses("2 1500 10.25\n0 70") == [Pause(generation=2, milliseconds=1.5, at=10.25)]


def test_memory_is_told_for_one_entry_beyond_its_bytes() -> None:
    assert Memory(entries=10, payload_bytes=1000, resident_bytes=9000).over_bytes == 800.0


def test_a_probe_notes_every_answer() -> None:
    with Server(ANSWER) as port, Probe(port, ["/a", "/b"], core=_CORE, worker=os.getpid()) as probe:
        while len(probe.latencies) < 50:
            probe_alive(probe)
    assert len(probe.latencies) >= 50
    assert 0 < probe.quantile_ms(0.5) <= probe.longest_ms()
    assert 0 <= probe.longest_running_ms() <= probe.longest_ms()


def test_what_either_side_waited_for_a_core_is_no_pause() -> None:
    probe = Probe(0, ["/"], core=_CORE, worker=os.getpid())
    probe.latencies.extend([0.030, 0.012, 0.001])
    probe.waits.extend([0.028, 0.003, 0.004])
    assert probe.longest_ms() == pytest.approx(30.0)
    assert probe.longest_running_ms() == pytest.approx(9.0)


def test_a_probe_that_is_answered_an_error_says_so() -> None:
    refusal = ANSWER.replace(b"200 OK", b"503 No")
    with Server(refusal) as port, Probe(port, ["/"], core=_CORE, worker=os.getpid()) as probe:
        probe._thread.join(10)
    with pytest.raises(BenchError, match="503"):
        probe.longest_ms()


def probe_alive(probe: Probe) -> None:
    probe._thread.join(0.01)
    assert probe._thread.is_alive()


class Server:
    """Answers whatever comes with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._run, daemon=True).start()
        return int(self._listening.getsockname()[1])

    def __exit__(self, *exc_info: object) -> None:
        self._listening.close()

    def _run(self) -> None:
        client, _ = self._listening.accept()
        with client:
            while client.recv(65_536):
                client.sendall(self._answer)
