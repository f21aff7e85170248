"""The walk has the shape it promises, and is the same each time."""

from __future__ import annotations

from collections import Counter

import pytest
from bench.zipf import zipf_walk


def test_the_same_arguments_give_the_same_walk() -> None:
    assert zipf_walk(range(1000), 500) == zipf_walk(range(1000), 500)
    assert zipf_walk(range(1000), 500) != zipf_walk(range(1000), 500, seed=2)


@pytest.mark.parametrize("exponent", [0.8, 0.99])
def test_popularity_falls_with_the_rank_to_the_exponent(exponent: float) -> None:
    """The first is asked for 10^s times as often as the tenth (expected 4,700 to 22,000 times)."""
    counts = Counter(zipf_walk(range(1000), 200_000, exponent=exponent))
    assert counts[0] / counts[9] == pytest.approx(10**exponent, rel=0.1)


def test_all_can_be_asked_for() -> None:
    assert set(zipf_walk("abc", 200)) == set("abc")
