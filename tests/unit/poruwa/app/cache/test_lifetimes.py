"""How long layers keep things, and when popular ones are loaded ahead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.app.cache.layers import is_due, set_times
from poruwa.app.cache.lifetime import AHEAD_SHARE, Lifetime, ahead_seconds
from poruwa.app.cache.memory import MemoryEntry
from poruwa.app.cache.source import Source, Wanted
from poruwa.app.cache.statistics import ClassStatistics
from poruwa.config.model import DataClass, Lifetimes


def make(**seconds: float) -> DataClass:
    return DataClass(
        name="venue",
        lifetimes=Lifetimes(**{f"{layer}_seconds": each for layer, each in seconds.items()}),
        stale_while_revalidate_seconds=30,
        stale_if_error_seconds=90,
    )


@pytest.mark.parametrize(
    ("data_class", "options", "memory", "shared", "whole"),
    [
        (make(memory=60, application=3600), {}, 60, 3600, 3600),
        (make(memory=60, application=3600), {"has_shared": False}, 60, 0, 60),
        (make(memory=600, application=60), {}, 60, 60, 60),
        (make(memory=60, application=3600, query=30), {"is_query": True}, 30, 30, 30),
        (make(memory=60, query=300), {}, 60, 300, 300),
        (make(application=3600), {}, 0, 3600, 3600),
        (make(memory=60), {}, 60, 0, 60),
        (make(memory=600, query=30), {"is_query": True, "has_shared": False}, 30, 0, 30),
        (make(gateway=60), {}, 0, 0, 0),
    ],
)
def test_l1_never_outlives_l2(
    data_class: DataClass, options: dict[str, bool], memory: float, shared: float, whole: float
) -> None:
    found = Lifetime.of(data_class, **({"has_shared": True} | options))
    assert (found.memory, found.shared, found.whole) == (memory, shared, whole)
    assert (found.revalidate, found.on_error, found.stale) == (30, 90, 90)


@pytest.mark.parametrize(("seconds", "expected"), [(None, 60), (5, 5), (10_000, 3600)])
def test_what_is_not_there_is_believed_in_for_a_short_time(
    seconds: float | None, expected: float
) -> None:
    found = Lifetime.of(make(memory=60, application=3600), has_shared=True).negative(seconds)
    assert found.whole == found.shared == expected
    assert found.memory == min(60, expected)
    assert found.revalidate == 0, "its coming is a change"


@given(st.floats(0.01, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_the_moment_of_loading_ahead_is_random_within_the_last_part(
    life: float, one: float, other: float
) -> None:
    for chance in (one, other):
        assert 0 < ahead_seconds(life, chance) <= life * AHEAD_SHARE * 1.0001
    assert (ahead_seconds(life, one) < ahead_seconds(life, other)) == (
        life * AHEAD_SHARE * (0.25 + 0.75 * one) < life * AHEAD_SHARE * (0.25 + 0.75 * other)
    )


def entry_of(lifetime: Lifetime, *, age: float) -> MemoryEntry:
    source = Source(
        make(), lifetime=lifetime, codec=None, statistics=ClassStatistics(), has_tags=False
    )

    async def load() -> None: ...

    entry = MemoryEntry(Wanted(source, b"venue\n1", (), (1,), load), "value", 10, {})
    set_times(entry, lifetime, age=age, now=1000.0)
    return entry


@given(st.floats(0, 5000))
def test_an_entry_lives_by_its_age(age: float) -> None:
    lifetime = Lifetime.of(make(memory=60, application=3600), has_shared=True)
    entry = entry_of(lifetime, age=age)
    assert entry.fresh_until == pytest.approx(1000 + 3600 - age)
    assert entry.stale_until == pytest.approx(entry.fresh_until + 30)
    assert entry.error_until == pytest.approx(entry.fresh_until + 90)
    assert entry.memory_until <= max(entry.fresh_until, 1000.0) + 1e-9
    assert 1000 <= entry.memory_until <= 1060
    assert entry.expires_at <= entry.memory_until


def test_entries_made_together_do_not_end_together() -> None:
    lifetime = Lifetime.of(make(memory=60, application=3600), has_shared=True)
    moments = {entry_of(lifetime, age=0).expires_at for _ in range(50)}
    assert len(moments) == 50
    assert 1060 - 60 * AHEAD_SHARE <= min(moments) < max(moments) < 1060


def test_what_is_young_is_not_due_and_what_ends_is() -> None:
    lifetime = Lifetime.of(make(memory=60, application=3600), has_shared=True)
    assert not any(is_due(lifetime, 3600 * (1 - AHEAD_SHARE) - 1) for _ in range(100))
    assert all(is_due(lifetime, 3600 - 3600 * AHEAD_SHARE / 4 + 1) for _ in range(100))
