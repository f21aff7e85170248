"""The rate table: one count for all workers, and the error that its module states."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from poruwa.gateway.rate_table import PROBES, RateTable
from poruwa.gateway.shared_state import RATE_SLOTS, SharedState
from poruwa.rules.rate_limit import Quota

NOW = 10**15
WORKERS = 4
# Takes as often as it is told, all at the same instant of a clock that stands still.
OTHER = """
import sys
from poruwa.gateway.rate_table import RateTable
from poruwa.gateway.shared_state import SharedState
from poruwa.rules.rate_limit import Quota
table = RateTable(SharedState.attach(int(sys.argv[1])), int(sys.argv[2]))
number = table.number(b"client")
print("ready", flush=True)
sys.stdin.readline()
quota = Quota(2000, 60.0, 2000)
print(sum(table.take(number, quota, 10**15).is_allowed for _ in range(2000)))
"""


@pytest.fixture
def shared() -> Iterator[SharedState]:
    state = SharedState.create(max_workers=8, max_instances=2)
    yield state
    state.close()


def test_processes_count_together_within_the_stated_error(shared: SharedState) -> None:
    """REQUIREMENTS D6: of 8000 at once, the burst of 2000 and at most one more a worker."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER, str(shared.fd), str(row)],
            pass_fds=(shared.fd,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for row in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    allowed = sum(int(worker.communicate()[0]) for worker in workers)
    assert 2000 <= allowed <= 2000 + WORKERS - 1


def test_room_comes_back_at_the_steady_rate(shared: SharedState) -> None:
    one, two = RateTable(shared, 0), RateTable(shared, 1)
    number, quota = one.number(b"client"), Quota(10, 10.0, 2)
    assert one.take(number, quota, NOW).is_allowed
    assert two.take(number, quota, NOW).is_allowed
    refused = one.take(number, quota, NOW)
    assert not refused.is_allowed
    assert refused.retry_seconds == pytest.approx(1.0)
    assert two.take(number, quota, NOW + 10**9).is_allowed
    assert not one.take(number, quota, NOW + 10**9).is_allowed
    later = NOW + 3600 * 10**9  # an hour away earns no more than the burst
    assert [one.take(number, quota, later).is_allowed for _ in range(3)] == [True, True, False]


def test_a_full_neighbourhood_gives_up_who_is_free_soonest(shared: SharedState) -> None:
    table, quota = RateTable(shared, 0), Quota(1, 60.0, 1)
    width = RATE_SLOTS - PROBES + 1
    for n in range(1, PROBES + 1):
        assert table.take(7 + n * width, quota, NOW + n).is_allowed
    newcomer = 7 + (PROBES + 1) * width
    assert table.take(newcomer, quota, NOW + PROBES).is_allowed
    assert not table.take(newcomer, quota, NOW + PROBES).is_allowed
    assert table.evicted == 1
    assert not table.holds(7 + width)
    assert table.holds(7 + 2 * width)


def test_requests_counted_ahead_are_all_there_or_not_counted(shared: SharedState) -> None:
    one, two = RateTable(shared, 0), RateTable(shared, 1)
    number, quota = one.number(b"client"), Quota(10, 10.0, 8)
    assert one.prepay(number, quota, 5, NOW)
    assert not two.prepay(number, quota, 4, NOW)
    assert [two.take(number, quota, NOW).is_allowed for _ in range(4)] == [True] * 3 + [False]
    assert not one.prepay(number, quota, 4, NOW + 3 * 10**9)
    assert one.prepay(number, quota, 4, NOW + 4 * 10**9)
    assert one.prepay(number, quota, 8, NOW + 3600 * 10**9)
    assert not one.prepay(number, quota, 1, NOW + 3600 * 10**9)


def test_what_the_bus_says_is_remembered(shared: SharedState) -> None:
    table, quota = RateTable(shared, 0), Quota(1, 60.0, 1)
    table.learn(5, 60.0, NOW)
    assert not table.take(5, quota, NOW).is_allowed
    table.learn(5, 1.0, NOW)  # older news sets nothing back
    assert not table.take(5, quota, NOW + 2 * 10**9).is_allowed


def test_hashes_are_of_this_machine(shared: SharedState) -> None:
    other = SharedState.create(max_workers=8, max_instances=2)
    assert RateTable(shared, 0).number(b"a") == RateTable(shared, 1).number(b"a")
    assert RateTable(shared, 0).number(b"a") != RateTable(other, 0).number(b"a")
    other.close()
