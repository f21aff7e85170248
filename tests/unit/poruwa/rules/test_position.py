"""Positions as int, as id of an entry, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.position import (
    HIGHEST,
    epoch_of,
    id_of_position,
    is_next,
    make_position,
    n_of,
    parse_position,
    position_of_id,
)

pairs = st.tuples(st.integers(0, (1 << 23) - 1), st.integers(0, (1 << 40) - 1))


@given(pairs, pairs)
def test_positions_are_ordered_as_their_parts(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (make_position(*one) < make_position(*other)) == (one < other)


@given(pairs)
def test_every_form_comes_back(pair: tuple[int, int]) -> None:
    position = make_position(*pair)
    assert (epoch_of(position), n_of(position)) == pair
    assert position <= HIGHEST
    assert position_of_id(id_of_position(position)) == position
    assert parse_position(str(position).encode()) == position


@pytest.mark.parametrize(
    "text", [b"", b"-1", b"1.0", b" 1", b"+1", b"9223372036854775808", b"1" * 5000, b"\xb2"]
)
def test_other_text_is_no_position(text: bytes) -> None:
    assert parse_position(text) is None


@pytest.mark.parametrize("entry_id", [b"", b"1", b"1-", b"-1", b"a-1", b"1-1-1"])
def test_other_ids_are_refused(entry_id: bytes) -> None:
    with pytest.raises(ValueError, match="should be epoch-n"):
        position_of_id(entry_id)


def test_what_follows_without_a_gap() -> None:
    before = make_position(3, 7)
    assert is_next(make_position(3, 8), before)
    assert is_next(make_position(4, 0), before)
    assert is_next(make_position(9, 0), before)
    assert not is_next(make_position(3, 9), before)
    assert not is_next(make_position(3, 7), before)
    assert not is_next(make_position(3, 0), before)
    assert not is_next(make_position(4, 1), before)
