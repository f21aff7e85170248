"""Which instance is chosen (A2): exact sequences, shares, and that every index is legal."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.balancing import (
    MAX_SEQUENCE_SLOTS,
    consistent_hash,
    expected_waits,
    hash_ring,
    least_connections,
    least_expected_wait,
    peak_ewma,
    power_of_two,
    round_robin,
    smooth_weighted,
    updated_peak,
    weighted_sequence,
)

weight_lists = st.lists(st.integers(1, 256), min_size=1, max_size=12)


def test_round_robin_goes_round() -> None:
    assert [round_robin(3, turn) for turn in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("weights", "sequence"),
    [
        ((5, 1, 1), (0, 0, 1, 0, 2, 0, 0)),  # the example in nginx's commit of the algorithm
        ((2, 1), (0, 1, 0)),
        ((3, 3, 3), (0, 1, 2)),
        ((10, 5), (0, 1, 0)),
        ((7,), (0,)),
    ],
)
def test_smooth_sequence(weights: tuple[int, ...], sequence: tuple[int, ...]) -> None:
    assert weighted_sequence(weights) == sequence
    assert tuple(smooth_weighted(weights, turn) for turn in range(len(sequence))) == sequence


@given(weight_lists)
def test_sequence_holds_each_weight_and_is_bounded(weights: list[int]) -> None:
    sequence = weighted_sequence(weights)
    assert len(sequence) <= MAX_SEQUENCE_SLOTS
    slots = Counter(sequence)
    assert set(slots) == set(range(len(weights)))
    for index, weight in enumerate(weights):
        # A period that had to be scaled down is off by less than two slots of each instance.
        exact = len(sequence) * weight / sum(weights)
        assert abs(slots[index] - exact) <= 2 + 0.02 * len(sequence)


def test_a_very_large_pool_keeps_its_shares() -> None:
    weights = [number % 256 + 1 for number in range(1000)]
    sequence = weighted_sequence(weights)
    slots = Counter(sequence)
    assert set(slots) == set(range(1000))
    assert len(sequence) <= 16_000
    heavy, light = slots[255], slots[0]
    assert heavy > 20 * light
    halves = Counter(sequence[: len(sequence) // 2])
    assert abs(halves[255] - heavy / 2) <= 1


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6))
def test_sequence_is_smooth(weights: list[int]) -> None:
    """Over any beginning of the period nobody is far ahead of its share."""
    sequence = weighted_sequence(weights)
    total = sum(weights)
    seen: Counter[int] = Counter()
    for place, index in enumerate(sequence, start=1):
        seen[index] += 1
        for each, weight in enumerate(weights):
            assert abs(seen[each] - place * weight / total) < len(weights)


def test_least_connections_takes_the_least_loaded_per_weight() -> None:
    assert least_connections((1, 1, 1), (4, 2, 3), 0) == 1
    assert least_connections((4, 1), (7, 2), 0) == 0  # 1.75 against 2 per unit


def test_least_connections_rotates_ties() -> None:
    assert Counter(least_connections((1, 1, 1), (2, 2, 5), turn) for turn in range(10)) == {
        0: 5,
        1: 5,
    }


def test_an_idle_site_is_shared_by_weight() -> None:
    chosen = Counter(least_connections((3, 1), (0, 0), turn) for turn in range(400))
    assert chosen == {0: 300, 1: 100}


@given(weight_lists, st.data())
def test_least_connections_is_never_above_the_minimum(
    weights: list[int], data: st.DataObject
) -> None:
    loads = data.draw(st.lists(st.integers(0, 50), min_size=len(weights), max_size=len(weights)))
    chosen = least_connections(weights, loads, data.draw(st.integers(0, 10**9)))
    ratios = [load / weight for load, weight in zip(loads, weights, strict=True)]
    assert ratios[chosen] == min(ratios)


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 3, 10)])
def test_power_of_two_never_takes_the_worst_of_all(weights: tuple[int, ...]) -> None:
    random = Random(7).random
    loads = [5 * weight for weight in weights]
    loads[2] = 100 * weights[2]
    assert all(power_of_two(weights, loads, random) != 2 for _ in range(2000))


def test_power_of_two_draws_by_weight() -> None:
    """With loads in proportion all ratios are equal, and the first draw decides."""
    random = Random(11).random
    weights = (1, 3, 4)
    chosen = Counter(power_of_two(weights, (1, 3, 4), random) for _ in range(16_000))
    assert [round(chosen[index] / 2000) for index in range(3)] == [1, 3, 4]


@given(weight_lists, st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
def test_draws_are_distinct_indices(weights: list[int], draws: list[float]) -> None:
    """All but one are overloaded: the one is taken if drawn, and the index is always legal."""
    chosen = power_of_two(weights, [1] * len(weights), iter(draws).__next__)
    assert 0 <= chosen < len(weights)


def test_two_instances_are_always_both_drawn() -> None:
    random = Random(3).random
    assert all(power_of_two((200, 1), (201, 0), random) == 1 for _ in range(500))


def test_peak_ewma_prefers_fast_then_idle() -> None:
    random = Random(5).random
    assert all(peak_ewma((1, 1), (0, 0), (0.5, 0.01), random) == 1 for _ in range(50))
    assert all(peak_ewma((1, 1), (0, 9), (0.05, 0.01), random) == 0 for _ in range(50))
    # Not measured yet and busy: not piled upon.
    assert all(peak_ewma((1, 1), (1, 3), (0.0, 0.1), random) == 1 for _ in range(50))


def test_peak_rises_at_once_and_decays() -> None:
    assert updated_peak(0.01, 2.0, 0.001, 10.0) == 2.0
    assert updated_peak(2.0, 0.0, 10.0, 10.0) == pytest.approx(2.0 / 2.718281828)


def test_ring_moves_only_the_keys_of_the_removed() -> None:
    names = [f"app{number}" for number in range(8)]
    whole = hash_ring(names, [1] * 8)
    smaller = hash_ring(names[:-1], [1] * 7)
    keys = [f"key{number}".encode() for number in range(2000)]
    before = [consistent_hash(whole, key) for key in keys]
    after = [consistent_hash(smaller, key) for key in keys]
    assert all(new == old for old, new in zip(before, after, strict=True) if old != 7)
    assert max(Counter(before).values()) < 2000 / 8 * 1.6


def test_bounded_load_is_never_passed() -> None:
    ring = hash_ring(["a", "b", "c"], [1, 1, 2])
    loads = [0, 0, 0]
    for _ in range(400):
        loads[consistent_hash(ring, b"the one hot key", loads, 1.25)] += 1
        share = 1.25 * sum(loads) / 4
        assert loads[0] <= ceil(share)
        assert loads[1] <= ceil(share)
        assert loads[2] <= ceil(2 * share)


def test_nobody_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no eligible"):
        round_robin(0, 1)
    with pytest.raises(ValueError, match="no eligible"):
        weighted_sequence([])
    with pytest.raises(ValueError, match="no eligible"):
        least_connections([], [], 1)
    with pytest.raises(ValueError, match="no eligible"):
        power_of_two([], [], Random(1).random)
    with pytest.raises(ValueError, match="no eligible"):
        hash_ring([], [])
    with pytest.raises(ValueError, match="at least 1"):
        weighted_sequence([1, 0])


# The wait to expect of unlike instances.

NO_LIMIT = float("inf")


@pytest.mark.parametrize(
    ("loads", "slowness", "ratios", "capacities", "best"),
    [
        # alike: the least loaded
        ((3, 1, 2), (1, 1, 1), (1, 1, 1), (NO_LIMIT,) * 3, 1),
        # the fast one takes as much as it holds at a time, however busy it is
        ((15, 0, 0), (1, 1, 1), (1, 4, 16), (16, 16, 16), 0),
        # beyond that its requests queue: from four times the capacity on the slower is as soon
        ((62, 0, 0), (1, 1, 1), (1, 4, 16), (16, 16, 16), 0),
        ((64, 0, 0), (1, 1, 1), (1, 4, 16), (16, 16, 16), 1),
        # equally fast: who has room, then who has more room
        ((4, 2, 1), (1, 1, 1), (1, 1, 1), (16, 4, 1), 1),
        ((12, 4, 1), (1, 1, 1), (1, 1, 1), (16, 4, 1), 0),
        # one that only fails looks idle: its slowness is held against the smallest capacity
        ((16, 4, 0), (1, 1, 256), (1, 1, 1), (16, 4, NO_LIMIT), 0),
        # unless it is the only one to have room at all
        ((4000, 4000, 0), (1, 1, 256), (1, 1, 1), (16, 4, NO_LIMIT), 2),
        # slow start withholds, it does not forbid
        ((12, 12, 0), (1, 1, 10), (1, 1, 1), (NO_LIMIT,) * 3, 2),
        ((8, 8, 0), (1, 1, 10), (1, 1, 1), (NO_LIMIT,) * 3, 0),
    ],
)
def test_the_least_wait_to_expect(
    loads: tuple[int, ...],
    slowness: tuple[float, ...],
    ratios: tuple[float, ...],
    capacities: tuple[float, ...],
    best: int,
) -> None:
    weights = (1,) * len(loads)
    waits = expected_waits(weights, loads, slowness, ratios, capacities)
    assert least_expected_wait(weights, waits, 0) == best


@given(
    st.lists(st.tuples(st.integers(1, 256), st.integers(0, 1000)), min_size=1, max_size=8),
    st.integers(0, 1000),
)
def test_among_equals_it_is_least_connections(pool: list[tuple[int, int]], turn: int) -> None:
    weights, loads = [each[0] for each in pool], [each[1] for each in pool]
    ones = [1.0] * len(pool)
    waits = expected_waits(weights, loads, ones, ones, [NO_LIMIT] * len(pool))
    assert least_expected_wait(weights, waits, turn) == least_connections(weights, loads, turn)


FIGURES = st.tuples(
    st.integers(1, 16),
    st.integers(0, 500),
    st.floats(1.0, 256.0),
    st.floats(1.0, 100.0),
    st.one_of(st.floats(1.0, 500.0), st.just(NO_LIMIT)),
)


@given(st.lists(FIGURES, min_size=1, max_size=6), st.integers(1, 10))
def test_more_load_is_a_longer_wait_there_and_changes_nobody_elses(
    pool: list[tuple[int, int, float, float, float]], more: int
) -> None:
    weights, loads, slowness, ratios, capacities = (list(each) for each in zip(*pool, strict=True))
    before = expected_waits(weights, loads, slowness, ratios, capacities)
    assert min(before) >= 1.0
    loads[0] += more
    after = expected_waits(weights, loads, slowness, ratios, capacities)
    assert after[0] > before[0]
    assert after[1:] == before[1:]


def test_equal_waits_take_turns_by_weight() -> None:
    turns = Counter(least_expected_wait((3, 1, 1), (1.0, 1.0, 2.0), turn) for turn in range(40))
    assert turns == {0: 30, 1: 10}


def test_of_nobody_there_is_no_least_wait() -> None:
    with pytest.raises(ValueError, match="no eligible instance"):
        least_expected_wait((), (), 0)
