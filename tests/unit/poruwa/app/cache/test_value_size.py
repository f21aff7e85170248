"""Estimates of what values take in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import msgspec
import pytest

from poruwa.app.cache.value_size import LOOKED_AT, value_bytes


@dataclass(frozen=True, slots=True)
class Slotted:
    name: str
    numbers: tuple[float, ...]


@dataclass
class Plain:
    name: str
    other: dict[str, float]


class Struct(msgspec.Struct):
    name: str
    numbers: list[float]


class Kind(Enum):
    ONE = "one" * 1000


def text(number: int) -> str:
    return f"{number}" * 50


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Slotted(text(n), tuple(n + i + 0.5 for i in range(20))) for n in range(40)],
        lambda: [Plain(text(n), {text(n + i): n + 0.5 for i in range(5)}) for n in range(40)],
        lambda: [Struct(text(n), [n + i + 0.5 for i in range(20)]) for n in range(40)],
        lambda: {text(n): [text(n + 1)] for n in range(300)},
        lambda: [Slotted(text(n), (0.5 + n,)) for n in range(10 * LOOKED_AT)],
        lambda: "x" * 100_000,
    ],
)
def test_an_estimate_is_near_what_the_allocator_says(make: Callable[[], object]) -> None:
    make()
    tracemalloc.start()
    try:
        value = make()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert value_bytes(value) == pytest.approx(taken, rel=0.35)


def test_what_is_shared_counts_once_and_members_not_at_all() -> None:
    part = "x" * 10_000
    assert value_bytes([part] * 50) < 12_000
    assert value_bytes([Kind.ONE] * 50) < 1_000
    loop: list[object] = []
    loop.append(loop)
    assert value_bytes(loop) < 200
