"""Medians, spreads and ratios of repeated measurements."""

from __future__ import annotations

import pytest
from bench.samples import paired_ratios, rotated, spread


def test_spread_tells_the_middle_and_both_ends() -> None:
    found = spread([3.0, 1.0, 10.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 10.0)


def test_spread_of_an_even_number_takes_the_mean_of_the_two_in_the_middle() -> None:
    assert spread([1.0, 2.0, 4.0, 100.0]).median == 3.0


def test_spread_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is half as fast in round two changes no ratio."""
    found = paired_ratios([80.0, 40.0, 80.0], [100.0, 50.0, 100.0])
    assert (found.low, found.median, found.high) == (0.8, 0.8, 0.8)


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    ours, theirs = [1.0, 4.0, 9.0], [10.0, 5.0, 6.0]
    assert paired_ratios(ours, theirs).median == pytest.approx(0.8)
    assert spread(ours).median / spread(theirs).median == pytest.approx(4 / 6)


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [0.0])])
def test_ratios_that_cannot_be_paired_are_an_error(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_ratios(ours, theirs)


def test_every_round_begins_with_another() -> None:
    assert [rotated("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
