"""The fill table: claims that end with their owner, and hints (decision 0014)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poruwa.gateway.fill_table import OURS, FillTable
from poruwa.gateway.shared_state import SharedState

POLICY = b"policy"
# Claims the keys it is told of, says what came of it, and keeps them until its input ends.
OTHER = """
import sys
from poruwa.gateway.fill_table import FillTable
from poruwa.gateway.shared_state import SharedState
table = FillTable(SharedState.attach(int(sys.argv[1])), b"policy")
for line in sys.stdin.buffer:
    verb, key = line.split()
    number = table.number(key)
    print(table.claim(number) if verb == b"claim" else table.release(number), flush=True)
"""


class OtherWorker:
    """Another process with the same shared memory."""

    def __init__(self, shared: SharedState) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(shared.fd)],
            pass_fds=(shared.fd,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, verb: str, key: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{verb} {key}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create(max_workers=4)
    yield state
    state.close()


@pytest.fixture
def other(shared: SharedState) -> Iterator[OtherWorker]:
    worker = OtherWorker(shared)
    yield worker
    worker.kill()


def test_a_claim_names_its_owner_until_it_is_released(
    shared: SharedState, other: OtherWorker
) -> None:
    table = FillTable(shared, POLICY)
    assert other.do("claim", "a") == str(OURS)
    assert table.claim(table.number(b"a")) == other.process.pid
    assert table.claim(table.number(b"b")) == OURS
    assert other.do("claim", "b") == str(os.getpid())
    other.do("release", "a")
    assert table.claim(table.number(b"a")) == OURS
    table.release(table.number(b"b"))
    assert other.do("claim", "b") == str(OURS)


def test_a_claim_ends_with_its_owner(shared: SharedState, other: OtherWorker) -> None:
    table = FillTable(shared, POLICY)
    assert other.do("claim", "a") == str(OURS)
    other.kill()
    assert table.claim(table.number(b"a")) == OURS


def test_numbers_are_of_62_bits_and_of_policy_and_machine(shared: SharedState) -> None:
    table = FillTable(shared, POLICY)
    numbers = {table.number(b"%d" % key) for key in range(2000)}
    assert len(numbers) == 2000
    assert 2**60 < max(numbers) < 2**62
    assert table.number(b"a") == FillTable(shared, POLICY).number(b"a")
    assert table.number(b"a") != FillTable(shared, b"another").number(b"a")
    elsewhere = SharedState.create(max_workers=4)
    assert table.number(b"a") != FillTable(elsewhere, POLICY).number(b"a")
    elsewhere.close()


def test_a_hint_is_of_one_key(shared: SharedState) -> None:
    table = FillTable(shared, POLICY)
    numbers = [table.number(b"%d" % key) for key in range(100)]
    assert [table.holder(number) for number in numbers] == [-1] * 100
    for row, number in enumerate(numbers):
        table.note_holder(number, row % 3)
        assert table.holder(number) == row % 3
    beside = numbers[0] ^ 1 << 61  # the same word, another key
    assert table.holder(beside) == -1
    table.note_holder(beside, 2)
    assert table.holder(beside) == 2
    assert table.holder(numbers[0]) == -1
    assert table.holder(0) == -1
