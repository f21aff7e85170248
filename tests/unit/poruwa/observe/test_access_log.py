"""The access log: lines that parse, secrets that are not there, writing that never waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.errors import PoruwaError
from poruwa.observe.access_line import (
    LineClock,
    SpokenFields,
    access_line,
    masked_query,
    number_text,
)
from poruwa.observe.access_log import FLUSH_BYTES, MAX_PENDING_BYTES, AccessLog


def line(**changes: Any) -> bytes:
    given_fields: dict[str, Any] = {
        "time_text": b"2026-11-23T03:00:00.000Z",
        "client": "203.0.113.7",
        "method": b"GET",
        "target": b"/venues?district=Kandy",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 4096,
        "seconds": 0.0123456,
        "instance": "app1",
        "route": "venues",
        "request_id": b"4bf92f3577b34da6",
        "tries": 1,
        "user_agent": b"Mozilla/5.0",
        "referer": b"",
    }
    return access_line(**{**given_fields, **changes})


def wait_until(is_so: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.005)


def test_line() -> None:
    record = json.loads(line())
    assert record == {
        "time": "2026-11-23T03:00:00.000Z",
        "client": "203.0.113.7",
        "method": "GET",
        "target": "/venues?district=Kandy",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 4096,
        "seconds": 0.012346,
        "instance": "app1",
        "route": "venues",
        "request_id": "4bf92f3577b34da6",
        "tries": 1,
        "user_agent": "Mozilla/5.0",
        "referer": "",
    }
    assert json.loads(line(instance=None))["instance"] is None


@given(st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=40))
def test_any_bytes_make_one_line_of_json(target: bytes, agent: bytes, name: str) -> None:
    """No field can end the line or forge another (log injection)."""
    made = line(target=target, user_agent=agent, referer=agent, route=name)
    assert made.count(b"\n") == 1
    assert made.endswith(b"}\n")
    assert made.isascii()
    assert len(json.loads(made)) == 14


@pytest.mark.parametrize(
    ("target", "masked"),
    [
        (b"/a?x=1", b"/a?x=1"),
        (b"/a?token=abc", b"/a?token=***"),
        (b"/a?x=1&Password=abc&y=2", b"/a?x=1&Password=***&y=2"),
        (b"/cb?code=abc&state=def", b"/cb?code=***&state=***"),
        (b"/a?to%6ben=abc", b"/a?to%6ben=***"),
        (b"/a?reset_token=abc#x", b"/a?reset_token=***"),
        (b"/a?x=1;api_key=abc", b"/a?x=1;api_key=***"),
        (b"/a?user[password]=abc", b"/a?user[password]=***"),
        (b"/a?x=token", b"/a?x=token"),
        (b"/a?postcode=20000", b"/a?postcode=20000"),
        (b"/a?token", b"/a?token"),
        (b"/a?token=", b"/a?token="),
        (b"/a?x=b?token=c", b"/a?x=b?token=c"),
    ],
)
def test_secrets_in_queries_are_masked(target: bytes, masked: bytes) -> None:
    """SECURITY-CHECKS 4."""
    assert masked_query(target) == masked
    assert json.loads(line(target=target))["target"] == masked.decode()


@pytest.mark.parametrize(
    ("referer", "shown"),
    [
        (b"https://a.lk/x?token=abc", "https://a.lk/x?token=***"),
        (b"https://user:pass@a.lk/x", "https://a.lk/x"),
        (b"https://a.lk/x#access_token=abc", "https://a.lk/x"),
        (b"https://a.lk/@me", "https://a.lk/@me"),
    ],
)
def test_secrets_in_referers_are_masked(referer: bytes, shown: str) -> None:
    assert json.loads(line(referer=referer))["referer"] == shown


def test_long_fields_are_cut() -> None:
    assert len(line(target=b"/" + b"a" * 9000, user_agent=b"b" * 9000)) < 5000


def test_clock() -> None:
    clock = LineClock()
    assert clock.text(1_795_400_000.0) == b"2026-11-23T02:13:20.000Z"
    assert clock.text(1_795_400_000.9996) == b"2026-11-23T02:13:20.999Z"
    assert clock.text(1_795_400_001.25) == b"2026-11-23T02:13:21.250Z"


def test_lines_wait_for_half_a_second_or_the_end(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.open()
    log.write(b"one\n", now=10.0)
    log.tick(now=10.4)
    assert path.read_bytes() == b""
    log.tick(now=10.5)
    wait_until(lambda: path.read_bytes() == b"one\n")
    log.write(b"two\n", now=10.6)
    log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert log.dropped_lines == 0


def test_a_full_buffer_goes_out_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.open()
    log.write(b"x" * FLUSH_BYTES, now=0.0)
    wait_until(lambda: path.stat().st_size == FLUSH_BYTES)
    log.close()


def test_two_workers_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    logs = [AccessLog(str(path)) for _ in range(2)]
    for log in logs:
        log.open()
    for number in range(20_000):
        logs[number % 2].write(line(tries=number), now=number / 1000)
        if number % 500 < 2:
            logs[number % 2].flush()
    for log in logs:
        log.close()
    records = [json.loads(each) for each in path.read_bytes().splitlines()]
    assert sorted(record["tries"] for record in records) == list(range(20_000))


@pytest.mark.parametrize("by_signal", [True, False])
def test_a_moved_file_is_followed(tmp_path: Path, by_signal: bool) -> None:
    """logrotate: moved, then SIGHUP; and without the signal at the next block."""
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    log.open()
    log.write(b"old\n", now=0.0)
    log.flush()
    wait_until(lambda: path.read_bytes() == b"old\n")
    path.rename(moved)
    if by_signal:
        log.reopen()
        assert path.exists()
    log.write(b"new\n", now=1.0)
    log.close()
    assert (moved.read_bytes(), path.read_bytes()) == (b"old\n", b"new\n")


def test_a_stuck_reader_costs_lines_and_no_time(tmp_path: Path) -> None:
    """Nobody reads the pipe: the worker goes on, and says how much was lost."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    log.open()
    started = time.monotonic()
    blocks = MAX_PENDING_BYTES // FLUSH_BYTES
    for number in range(3 * blocks):
        log.write(b"x" * FLUSH_BYTES, now=float(number))
    assert time.monotonic() - started < 2.0
    assert log.dropped_lines >= blocks
    os.close(reader)  # the writing thread gets EPIPE and ends what it had
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_survived() -> None:
    log = AccessLog("/dev/full")
    log.open()
    log.write(b"one\n", now=0.0)
    log.flush()
    wait_until(lambda: log.failure is not None)
    log.close()
    assert log.dropped_lines == 1
    assert log.failure is not None
    assert "space" in str(log.failure)


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PoruwaError, match=r"cannot be opened: No such file or directory"):
        AccessLog(str(tmp_path / "none" / "access.log")).open()


def test_standard_output() -> None:
    program = (
        "from poruwa.observe.access_log import AccessLog\n"
        "log = AccessLog('-'); log.open(); log.write(b'hello\\n', 0.0); log.close()\n"
        "print('still open')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=20
    )
    assert done.stdout == b"hello\nstill open\n"


@given(st.integers(-(10**7), 10**12))
def test_numbers_are_written_in_digits(number: int) -> None:
    assert number_text(number) == b"%d" % number


@given(st.floats(0, 100))
def test_seconds_are_right_to_the_microsecond(seconds: float) -> None:
    assert json.loads(line(seconds=seconds))["seconds"] == pytest.approx(seconds, abs=6e-7)


@given(st.lists(st.tuples(st.binary(max_size=600), st.binary(max_size=600)), max_size=4))
def test_what_a_connection_remembers_is_what_is_said(said: list[tuple[bytes, bytes]]) -> None:
    spoken = SpokenFields()
    for agent, referer in [each for pair in said for each in (pair, pair)]:
        fresh = line(user_agent=agent, referer=referer)
        assert line(user_agent=agent, referer=referer, spoken=spoken) == fresh
