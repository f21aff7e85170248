"""The collector looks at what is new only, and still finds garbage (issue 4, Show 6)."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from poruwa.gateway.collector import SECONDS, STORED, Collector


class Knot:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def collector() -> Iterator[Collector]:
    thresholds = gc.get_threshold()
    started = Collector()
    started.start()
    yield started
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_survives_is_frozen_and_what_is_garbage_is_freed(collector: Collector) -> None:
    kept = [[number] for number in range(1000)]
    knot = weakref.ref(Knot())  # a cycle nobody owns
    before = gc.get_freeze_count()
    collector.tick(STORED, now=1.0)
    assert knot() is None
    assert gc.get_freeze_count() >= before + len(kept)
    assert not any(each is kept for each in gc.get_objects())  # no pass walks it again


def test_a_pass_is_made_after_so_many_stored_or_so_long(collector: Collector) -> None:
    collector.tick(0, now=100.0)
    for stored, now, is_time in (
        (STORED - 1, 101.0, False), (STORED, 102.0, True), (STORED, 103.0, False),
        (STORED, 102.0 + SECONDS, True),
    ):  # fmt: skip
        knot = weakref.ref(Knot())
        collector.tick(stored, now=now)
        assert (knot() is None) is is_time
        gc.collect()
