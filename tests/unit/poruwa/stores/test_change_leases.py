"""Who counts as lapsed, and when an epoch is settled, by the clock of who watches."""

from __future__ import annotations

import pytest

from poruwa.rules.position import make_position
from poruwa.stores.change_leases import EpochWatch, LayerEntry, Survey, layers_of, name_of
from poruwa.stores.change_scripts import Head


def entry(stamp: int, lease_seconds: float = 0.5) -> LayerEntry:
    raw = b"3-7 %d %d" % (lease_seconds * 1000, stamp)
    return layers_of([b"x", raw])[b"x"]


def head(epoch: int, *, is_settled: bool = False, longest: float = 0.5) -> Head:
    return Head(epoch, 0, is_settled, longest, [])


def test_the_table_is_read() -> None:
    table = layers_of([b"app/h/1~ab", b"3-7 500 12"])
    assert table == {b"app/h/1~ab": LayerEntry(make_position(3, 7), 0.5, b"3-7 500 12")}
    assert name_of(b"app/h/1~ab") == "app/h/1"


@pytest.mark.parametrize("flat", [[b"x"], [b"x", b"3-7 500"], [b"x", b"3 500 1"]])
def test_another_table_is_refused(flat: list[bytes]) -> None:
    with pytest.raises(ValueError):
        layers_of(flat)


def test_a_layer_lapses_a_lease_and_a_tenth_after_it_was_seen_to_renew() -> None:
    survey = Survey()
    assert survey.lapsed({b"x": entry(1)}, 0.5, 10.0) == []
    assert survey.lapsed({b"x": entry(1)}, 0.5, 10.5) == []
    assert survey.lapsed({b"x": entry(2)}, 0.5, 10.54) == []  # it renewed
    assert survey.lapsed({b"x": entry(2)}, 0.5, 11.0) == []
    assert survey.lapsed({b"x": entry(2)}, 0.5, 11.1) == [b"x", entry(2).raw]


def test_a_long_lease_is_waited_for() -> None:
    survey = Survey()
    assert survey.lapsed({b"x": entry(1, 2.0)}, 0.5, 10.0) == []
    assert survey.lapsed({b"x": entry(1, 2.0)}, 0.5, 12.1) == []
    assert survey.lapsed({b"x": entry(1, 2.0)}, 0.5, 12.3) == [b"x", entry(1, 2.0).raw]


def test_a_layer_that_was_away_is_seen_anew() -> None:
    survey = Survey()
    survey.lapsed({b"x": entry(1)}, 0.5, 10.0)
    survey.lapsed({}, 0.5, 10.2)
    assert survey.lapsed({b"x": entry(1)}, 0.5, 10.8) == []


def test_an_epoch_settles_a_lease_and_a_tenth_after_it_was_first_seen() -> None:
    watch = EpochWatch(0.5)
    assert watch.settled_epoch(100.0) == 0
    watch.see(head(3), 10.0)
    watch.see(head(3), 10.4)
    assert watch.settled_epoch(10.5) == 0
    assert watch.settled_epoch(10.56) == 3
    watch.see(head(4, longest=2.0), 11.0)
    assert watch.settled_epoch(12.5) == 0
    assert watch.settled_epoch(13.3) == 4


def test_what_somebody_else_settled_counts_for_older_epochs_too() -> None:
    watch = EpochWatch(0.5)
    watch.see(head(3), 10.0)
    assert not watch.is_settled(3)
    watch.see(head(4, is_settled=True), 10.1)
    assert watch.is_settled(3)
    assert watch.is_settled(4)
    assert not watch.is_settled(5)
