"""The delays between restarts (A5): at once first, doubling after, reset when stable."""

from __future__ import annotations

from poruwa.stack.supervisor import STABLE_SECONDS, Backoff


def test_first_restart_is_immediate_and_later_ones_double_up_to_ten_seconds() -> None:
    backoff = Backoff()
    delays = [backoff.next_delay(0.1) for _ in range(9)]
    assert delays == [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_stable_run_makes_the_next_restart_immediate_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.next_delay(0.1)
    assert backoff.next_delay(STABLE_SECONDS) == 0.0
    assert backoff.next_delay(0.1) == 0.2


def test_years_of_crashing_do_not_overflow() -> None:
    backoff = Backoff(failures=10_000_000)
    assert backoff.next_delay(0.1) == 10.0
