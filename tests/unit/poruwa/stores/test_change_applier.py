"""Entries are applied once, in order; whatever was missed makes everything count as changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.change import EVERYTHING, Change
from poruwa.rules.position import make_position
from poruwa.stores.change_applier import ChangeApplier
from poruwa.stores.change_stats import ChangeLogStats


class Told:
    def __init__(self) -> None:
        self.changes: list[int] = []
        self.resets: list[int] = []
        self.stats = ChangeLogStats()
        self.applier = ChangeApplier(
            lambda position, change: self.changes.append(position),
            self.resets.append,
            self.stats,
        )


def warm(position: int) -> Told:
    told = Told()
    told.applier.miss(position)
    told.applier.warm()
    told.resets.clear()
    return told


def change(n: int) -> Change:
    return Change(tags=(b"n:%d" % n,))


@given(st.lists(st.integers(1, 12), max_size=30))
def test_in_any_order_and_twice_nothing_is_missed_silently(order: list[int]) -> None:
    start = make_position(5, 0)
    told = warm(start)
    for n in order:
        told.applier.apply(start + n, change(n))
    applier = told.applier
    assert applier.position == max([start, *(start + n for n in order)])
    assert told.changes == sorted(set(told.changes))
    for n in range(1, applier.position - start + 1):
        # Each was told, or a reset at its position or later was.
        assert start + n in told.changes or any(at >= start + n for at in told.resets)
        assert applier.changes.since((b"n:%d" % n,), start + n - 1)


def test_a_gap_resets_up_to_it_and_then_the_change_is_told() -> None:
    told = warm(make_position(5, 3))
    told.applier.apply(make_position(5, 9), change(9))
    assert told.resets == [make_position(5, 8)]
    assert told.changes == [make_position(5, 9)]
    assert told.stats.epochs == 1


def test_a_new_epoch_resets_once() -> None:
    told = warm(make_position(5, 3))
    told.applier.apply(make_position(7, 0), EVERYTHING)
    assert told.resets == [make_position(7, 0)]
    assert told.changes == []
    assert told.stats.epochs == 1
    assert told.applier.changes.since((), make_position(5, 3))
    assert not told.applier.changes.since((), make_position(7, 0))


def test_nothing_is_told_before_it_is_warm() -> None:
    told = Told()
    told.applier.apply(make_position(5, 3), change(3))
    told.applier.apply(make_position(5, 4), change(4))
    assert (told.changes, told.resets) == ([], [])
    assert told.applier.changes.since((b"n:4",), make_position(5, 3))
    assert told.applier.changes.since((), make_position(5, 1))
    told.applier.warm()
    told.applier.warm()
    assert told.resets == [make_position(5, 4)]


def test_what_cannot_be_reset_is_not_applied() -> None:
    def fail(position: int) -> None:
        raise RuntimeError("no")

    applier = ChangeApplier(lambda position, change: None, fail, ChangeLogStats())
    applier.is_cold = False
    applier.position = make_position(5, 1)
    with pytest.raises(RuntimeError):
        applier.apply(make_position(5, 2), Change(everything=True))
    assert applier.position == make_position(5, 1)
    assert applier.changes.since((), make_position(5, 1))


def test_patterns_are_noted_and_a_bad_one_is_everything() -> None:
    told = warm(make_position(5, 0))
    one, two = make_position(5, 1), make_position(5, 2)
    told.applier.apply(one, Change(patterns=("/venues/*",)))
    changes = told.applier.changes
    assert changes.since((), one - 1, b"https://a.lk/venues/12")
    assert not changes.since((), one - 1, b"https://a.lk/vendors/12")
    told.applier.apply(two, Change(patterns=("",)))
    assert changes.since((), one, b"https://a.lk/vendors/12")


def test_keys_and_urls_are_noted_like_tags() -> None:
    told = warm(make_position(5, 0))
    one = make_position(5, 1)
    told.applier.apply(one, Change(keys=(b"venue\n12",), urls=(b"/venues/12",)))
    assert told.applier.changes.since((), one - 1, b"venue\n12")
    assert told.applier.changes.since((b"/venues/12",), one - 1)
    assert not told.applier.changes.since((), one - 1, b"venue\n13")
