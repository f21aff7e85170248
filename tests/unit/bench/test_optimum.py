"""The optimum that fault benchmarks compare with, and the figures they take from samples."""

from __future__ import annotations

import pytest
from bench.closed_loop import quantile
from bench.optimum import Capacity, optimum


@pytest.mark.parametrize(
    ("capacities", "clients", "per_second"),
    [
        ([Capacity(seconds=0.05)] * 3, 16, 320.0),
        ([Capacity(seconds=0.05, slots=16), Capacity(seconds=0.05, slots=1)], 8, 160.0),
        ([Capacity(seconds=0.05, slots=1), Capacity(seconds=0.1, slots=1)], 8, 30.0),
        ([Capacity(seconds=0.0125), Capacity(seconds=0.2)], 16, 1280.0),
    ],
)
def test_full_knowledge_reaches_what_can_be_worked_out(
    capacities: list[Capacity], clients: int, per_second: float
) -> None:
    assert optimum(capacities, clients) == pytest.approx(per_second, rel=0.02)


def test_quantile() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0] * 99 + [9.0], 0.99) == 9.0
    assert quantile([], 0.99) == 0.0
