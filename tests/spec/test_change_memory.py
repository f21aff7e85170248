"""What ``rules.changes`` remembers, against a model that remembers everything.

Where the model says that something changed, ``since`` must say so; where it says more than the
model, it must be because of what it forgot. Positions come from the log or are counted here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.changes import REMEMBERED_PATTERNS, Changes

NAMES = [b"a", b"b", b"c", b"k/1", b"k/2"]
PATTERNS = {b"*": re.compile(rb".*"), b"k/*": re.compile(rb"k/.*"), b"k/1": re.compile(rb"k/1")}

names = st.lists(st.sampled_from(NAMES), max_size=3)


class Noted(NamedTuple):
    position: int
    names: frozenset[bytes]
    pattern: bytes | None = None
    is_all: bool = False


class Model:
    """Everything that was noted, forever."""

    def __init__(self) -> None:
        self.position = 0
        self.noted: list[Noted] = []

    def since(self, tags: list[bytes], as_of: int, key: bytes | None) -> bool:
        wanted = {*tags, *([] if key is None else [key])}
        return any(
            self._concerns(each, wanted, key) for each in self.noted if each.position > as_of
        )

    def _concerns(self, noted: Noted, wanted: set[bytes], key: bytes | None) -> bool:
        if noted.is_all or wanted & noted.names:
            return True
        if noted.pattern is None:
            return False
        return key is None or PATTERNS[noted.pattern].fullmatch(key) is not None


steps = st.lists(
    st.tuples(
        st.sampled_from(["note", "all", "at", "again", "all-at", "pattern", "ahead", "all-ahead"]),
        st.integers(1, 5),
        names,
        st.sampled_from(sorted(PATTERNS)),
    ),
    max_size=25,
)


def _take(changes: Changes, model: Model, steps: list[tuple[str, int, list[bytes], bytes]]) -> None:
    for what, ahead, tags, pattern in steps:
        # The log skips positions where an epoch begins.
        later = model.position + ahead
        some = frozenset(tags)
        if what == "note":
            model.position += 1
            assert changes.note(tags) == model.position
            model.noted.append(Noted(model.position, some))
        elif what == "all":
            model.position += 1
            assert changes.note_all() == model.position
            model.noted.append(Noted(model.position, some, is_all=True))
        elif what == "at":
            model.position = later
            changes.note_at(later, tags)
            model.noted.append(Noted(later, some))
        elif what == "again":
            changes.note_at(model.position, tags)
            model.noted.append(Noted(model.position, some))
        elif what == "all-at":
            model.position = later
            changes.note_all_at(later)
            model.noted.append(Noted(later, some, is_all=True))
        elif what == "pattern":
            model.position = later
            changes.note_pattern_at(later, PATTERNS[pattern])
            model.noted.append(Noted(later, frozenset(), pattern))
        elif what == "ahead":
            changes.note_ahead(tags)
            model.noted.append(Noted(model.position + 1, some))
        else:
            changes.note_all_ahead()
            model.noted.append(Noted(model.position + 1, frozenset(), is_all=True))
        assert changes.position == model.position


@given(steps, names, st.none() | st.sampled_from(NAMES), st.integers(0, 3))
def test_with_room_for_everything_it_is_exact(
    steps: list[tuple[str, int, list[bytes], bytes]],
    tags: list[bytes],
    key: bytes | None,
    later: int,
) -> None:
    changes, model = Changes(), Model()
    _take(changes, model, steps)
    # From before everything to what other processes have seen already.
    for as_of in range(model.position + later):
        assert changes.since(tags, as_of, key) == model.since(tags, as_of, key), as_of


@given(steps, names, st.none() | st.sampled_from(NAMES), st.integers(1, 3))
def test_what_is_forgotten_counts_as_changed(
    steps: list[tuple[str, int, list[bytes], bytes]],
    tags: list[bytes],
    key: bytes | None,
    remembered: int,
) -> None:
    changes, model = Changes(remembered), Model()
    _take(changes, model, steps)
    for as_of in range(model.position + 2):
        assert changes.since(tags, as_of, key) >= model.since(tags, as_of, key), as_of
    ahead = any(each.position > model.position for each in model.noted)
    assert ahead or not changes.since(tags, model.position, key)


def test_forgotten_patterns_count_as_changed() -> None:
    changes = Changes()
    for position in range(1, REMEMBERED_PATTERNS + 3):
        changes.note_pattern_at(position, PATTERNS[b"k/1"])
    assert changes.since((), 1, b"other")
    assert not changes.since((), 2, b"other")
    assert changes.since((), 2, b"k/1")


def test_a_change_known_only_here_holds_until_the_next_position() -> None:
    changes = Changes()
    changes.note_at(10, (b"a",))
    changes.note_ahead((b"b",))
    assert changes.position == 10
    assert changes.since((b"b",), 10)  # begun before or after: nobody knows
    assert not changes.since((b"a",), 10)
    changes.note_at(11, ())
    assert not changes.since((b"b",), 11)
    assert changes.since((b"b",), 10)


def test_a_change_at_the_present_position_does_not_hide_one_ahead() -> None:
    changes = Changes()
    changes.note_ahead((b"a",))
    changes.note_at(0, (b"a",))
    assert changes.since((b"a",), 0)


def test_positions_do_not_go_back() -> None:
    changes = Changes()
    changes.note_at(10, (b"a",))
    with pytest.raises(ValueError, match="position 9 lies before 10"):
        changes.note_at(9, (b"b",))
    assert not changes.since((b"b",), 8)
