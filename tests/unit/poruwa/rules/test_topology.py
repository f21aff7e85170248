"""Which instances a pool has, how far a drain is, and who has which slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.topology import (
    SETTLE_SECONDS,
    Change,
    Drain,
    DrainPhase,
    Member,
    NoSlotLeft,
    SlotKey,
    Slots,
    Source,
    assign_slots,
    changed,
    drain_phase,
    is_empty,
    is_to_leave,
    merge_members,
    place_of,
)


@dataclass(frozen=True)
class Named:
    """An instance as the policy or discovery names it."""

    name: str
    address: str
    weight: int = 1


A, B = Named("a", "10.0.0.1:80", 3), Named("b", "10.0.0.2:80")


def facts(members: tuple[Member, ...]) -> list[tuple[str, str, int, str]]:
    return [(each.name, each.address, each.weight, each.source.value) for each in members]


def test_three_sources_in_their_order() -> None:
    found = [Named("f", "10.0.0.3:80", 2)]
    merged = merge_members([A, B], found, {"x": Change(address="10.0.0.4:80", weight=5)})
    assert facts(merged.members) == [
        ("a", "10.0.0.1:80", 3, "policy"),
        ("b", "10.0.0.2:80", 1, "policy"),
        ("x", "10.0.0.4:80", 5, "added"),
        ("f", "10.0.0.3:80", 2, "found"),
    ]
    assert not merged.without_effect
    assert not merged.passed_over


def test_a_change_lies_over_what_is_listed_or_found() -> None:
    changes = {
        "a": Change(weight=9),
        "b": Change(removed=True),
        "f": Change(address="10.0.0.9:80"),
        "gone": Change(weight=2),
        "away": Change(removed=True),
    }
    merged = merge_members([A, B], [Named("f", "10.0.0.3:80", 2)], changes)
    assert facts(merged.members) == [
        ("a", "10.0.0.1:80", 9, "policy"),
        ("f", "10.0.0.9:80", 2, "added"),
    ]
    assert dict(merged.removed) == {"b": B}
    assert merged.without_effect == ("gone", "away")


@pytest.mark.parametrize(
    ("found", "changes", "passed_over"),
    [
        ([Named("other", "10.0.0.1:80")], {}, ("other",)),  # the address of a listed one
        ([Named("a", "10.0.0.8:80")], {}, ()),  # its name: the listed one is meant
        ([], {"x": Change(address="10.0.0.1:80")}, ("x",)),
        ([Named("f", "10.0.0.3:80")], {"x": Change(address="10.0.0.3:80")}, ("f",)),
    ],
)
def test_a_name_or_address_counts_once(
    found: list[Named], changes: dict[str, Change], passed_over: tuple[str, ...]
) -> None:
    merged = merge_members([A], found, changes)
    assert merged.passed_over == passed_over
    assert merged.members[0].address == A.address


NAMES = st.sampled_from("abcdef")
ADDRESSES = st.sampled_from([f"10.0.0.{number}:80" for number in range(1, 7)])
INSTANCES = st.lists(st.builds(Named, NAMES, ADDRESSES, st.integers(1, 9)), max_size=6)
DRAINS = st.builds(Drain, since=st.just(100.0), limit_seconds=st.sampled_from([0.0, 60.0]))
CHANGES = st.dictionaries(
    NAMES,
    st.builds(
        Change,
        address=st.none() | ADDRESSES,
        removed=st.booleans(),
        weight=st.none() | st.integers(1, 256),
        drain=st.none() | DRAINS,
    ),
    max_size=6,
)


@given(listed=INSTANCES, found=INSTANCES, changes=CHANGES)
def test_whatever_the_sources_say_the_pool_is_sound(
    listed: list[Named], found: list[Named], changes: Mapping[str, Change]
) -> None:
    merged = merge_members(listed, found, changes)
    names = [each.name for each in merged.members]
    places = [each.address for each in merged.members]
    assert len(set(names)) == len(names)
    assert len(set(places)) == len(places)
    known = {each.name for each in (*listed, *found)}
    for each in merged.members:
        change = changes.get(each.name, Change())
        assert not change.removed
        assert each.name in known or change.address == each.address
        assert change.weight in (None, each.weight)
        assert (each.base is None) == (each.name not in known)
        assert each.base is not None or each.source is Source.ADDED
    assert set(merged.removed) == {name for name in known if changes.get(name, Change()).removed}
    # Nothing is lost without a word: an instance, or a change, is there or said not to be.
    told = {*names, *merged.removed, *merged.passed_over}
    assert known <= told
    assert set(changes) <= told | set(merged.without_effect)


@given(changes=CHANGES)
def test_a_change_taken_back_leaves_nothing(changes: dict[str, Change]) -> None:
    both = changed({"app": changes} if changes else {}, "app", "z", Change(weight=2))
    assert both["app"]["z"] == Change(weight=2)
    for nothing in (None, Change()):
        assert changed(both, "app", "z", nothing) == ({"app": changes} if changes else {})


def test_one_place_has_several_spellings() -> None:
    assert place_of("LOCALHOST:80") == place_of("127.0.0.1:80")
    assert place_of("App.Internal.:80") == place_of("app.internal:80")
    assert place_of("my-localhost:80") != place_of("my-127.0.0.1:80")
    assert place_of("unix:/Run/a") != place_of("unix:/run/a")


# Draining.


def test_a_drain_is_over_at_its_limit() -> None:
    drain = Drain(since=100.0, limit_seconds=60.0)
    assert drain_phase(None, 130.0) is DrainPhase.NONE
    assert drain_phase(drain, 159.9) is DrainPhase.DRAINING
    assert drain_phase(drain, 160.0) is DrainPhase.DRAINED


@pytest.mark.parametrize(
    ("now", "in_flight", "binds_clients", "empty", "leaves"),
    [
        (130.0, 0, False, True, True),  # nobody can come back
        (130.0, 1, False, False, False),
        (130.0, 0, True, False, False),  # a bound client may
        (160.0, 0, True, True, True),
        (160.0, 1, True, False, True),  # what is under way still comes to its end
    ],
)
def test_when_a_draining_instance_is_empty_and_when_it_leaves(
    now: float, in_flight: int, binds_clients: bool, empty: bool, leaves: bool
) -> None:
    drain = Drain(since=100.0, limit_seconds=60.0, remove=True)
    use = {"in_flight": in_flight, "binds_clients": binds_clients}
    assert is_empty(drain, now, **use) is empty
    assert is_to_leave(drain, now, **use) is leaves
    staying = Drain(since=100.0, limit_seconds=60.0)
    assert is_to_leave(staying, now, **use) is False


# Slots.


def key(name: str) -> SlotKey:
    return SlotKey("app", name, f"{name}:80")


def assigned(before: Slots, names: str, *, now: float, busy: frozenset[int] = frozenset()) -> Slots:
    return assign_slots(
        before, map(key, names), now=now, is_idle=lambda slot: slot not in busy, capacity=6
    )


def test_a_slot_is_given_on_once_nothing_is_counted_in_it() -> None:
    slots = assigned(Slots(), "abc", now=0.0)
    assert list(slots.held.values()) == [0, 1, 2]
    slots = assigned(slots, "ac", now=1.0)
    assert slots.held == {key("a"): 0, key("c"): 2}
    slots = assigned(slots, "acd", now=2.0)
    assert slots.held[key("d")] == 3, "a worker may still begin a request in slot 1"
    settled = 1.0 + SETTLE_SECONDS
    slots = assigned(slots, "acde", now=settled, busy=frozenset({1}))
    assert slots.held[key("e")] == 4, "a request in slot 1 is under way"
    slots = assigned(slots, "acdef", now=settled)
    assert slots.held[key("f")] == 1


def test_who_returns_in_time_has_the_slot_back() -> None:
    slots = assigned(assigned(Slots(), "ab", now=0.0), "b", now=1.0)
    assert assigned(slots, "ba", now=2.0).held == {key("b"): 1, key("a"): 0}


def test_too_many_are_refused() -> None:
    with pytest.raises(NoSlotLeft, match="7 instances are more"):
        assigned(Slots(), "abcdefg", now=0.0)
    slots = assigned(Slots(), "abcdef", now=0.0)
    with pytest.raises(NoSlotLeft, match="still answering"):
        assigned(slots, "abcdeg", now=60.0)  # f has only just gone


STEPS = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abcdefgh"), max_size=6),
        st.sets(st.integers(0, 5), max_size=6),
        st.sampled_from([0.0, 1.0, SETTLE_SECONDS, 100.0]),
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_whatever_comes_and_goes_nobody_gets_a_slot_in_use(
    steps: list[tuple[set[str], set[int], float]],
) -> None:
    slots, now = Slots(), 0.0
    gone_at: dict[int, float] = {}  # when somebody last had the slot
    for names, busy, pause in steps:
        now += pause
        try:
            after = assigned(slots, "".join(sorted(names)), now=now, busy=frozenset(busy))
        except NoSlotLeft:
            continue
        assert set(after.held) == {key(name) for name in names}
        taken = [*after.held.values(), *(slot for slot, _ in after.leaving.values())]
        assert len(set(taken)) == len(taken)
        for each, slot in after.held.items():
            if each in slots.held:
                assert slot == slots.held[each]
                continue
            if slots.leaving.get(each, (None,))[0] == slot:
                continue  # its own, back again
            assert slot not in slots.held.values()
            if slot in {leaving for leaving, _ in slots.leaving.values()}:
                assert slot not in busy
                assert now - gone_at[slot] >= SETTLE_SECONDS
        for each, slot in slots.held.items():
            if each not in after.held:
                gone_at[slot] = now
        slots = after
