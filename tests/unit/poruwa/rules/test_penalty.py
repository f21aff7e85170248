"""How slowness enters the balancing methods (DESIGN section 5: errors are penalised)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.balancing import smooth_weighted
from poruwa.rules.ejection import SLOWEST
from poruwa.rules.penalty import WEIGHT_STEPS, penalised_weights

WEIGHTS = st.integers(1, 256)
SLOWNESS = st.floats(1.0, SLOWEST)


@given(st.lists(WEIGHTS, min_size=1, max_size=20))
def test_no_slowness_changes_no_weight(weights: list[int]) -> None:
    assert penalised_weights(weights, [1.0] * len(weights)) == tuple(weights)


@given(st.lists(st.tuples(WEIGHTS, SLOWNESS), min_size=1, max_size=20))
def test_nobody_is_left_out_and_nobody_gains(pairs: list[tuple[int, float]]) -> None:
    weights = [weight for weight, _ in pairs]
    penalised = penalised_weights(weights, [slow for _, slow in pairs])
    assert min(penalised) >= 1
    for weight, got in zip(weights, penalised, strict=True):
        assert got <= weight * WEIGHT_STEPS


def test_shares_of_turns_go_by_slowness() -> None:
    shares = penalised_weights([1, 1, 2], [4.0, 1.0, 1.0])
    turns = Counter(smooth_weighted(shares, turn) for turn in range(1300))
    assert turns == {0: 100, 1: 400, 2: 800}
