"""Who waits, who goes next, and who is turned away (Show 5 of the balancer: a fair queue)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poruwa.rules.fair_queue import CLEARLY_FEWER, FairQueue

CLIENTS = ("203.0.113.1", "203.0.113.2", "2001:db8::3", "unix")


def filled(*waiters: str, limit: int = 100) -> FairQueue[str]:
    """A queue of waiters called by client and number: ``a1`` is of client ``a``."""
    queue = FairQueue[str](limit)
    for waiter in waiters:
        assert queue.put(waiter[0], waiter) is None
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    order = []
    while (waiter := queue.take()) is not None:
        order.append(waiter)
    return order


def test_clients_are_served_in_turn_and_each_in_its_order() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "b2")
    assert drained(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(queue) == 0
    assert not queue


def test_a_client_that_comes_back_goes_behind_those_that_waited() -> None:
    queue = filled("a1", "b1", "c1")
    assert queue.take() == "a1"
    queue.put("a", "a2")
    assert drained(queue) == ["b1", "c1", "a2"]


def test_an_empty_queue_has_nobody() -> None:
    queue = FairQueue[str](3)
    assert queue.take() is None
    assert queue.take_first(lambda waiter: True) is None
    assert queue.remove("a", "a1") is False


def test_a_queue_of_no_places_turns_everybody_away() -> None:
    queue = FairQueue[str](0)
    assert queue.put("a", "a1") == "a1"
    assert len(queue) == 0


def test_one_client_cannot_keep_others_out() -> None:
    queue = filled("a1", "a2", "a3", "a4", limit=4)
    assert queue.put("a", "a5") == "a5"
    assert queue.put("b", "b1") == "a4"  # the newest of who has most
    assert queue.put("b", "b2") == "a3"
    assert queue.put("b", "b3") == "b3"  # both have two
    assert queue.put("c", "c1") == "b2"  # of two with as many, the one that came to it last
    assert drained(queue) == ["a1", "b1", "c1", "a2"]


def test_who_has_about_as_many_as_the_others_is_turned_away() -> None:
    queue = filled("a1", "b1", "c1", limit=3)
    assert queue.put("d", "d1") == "d1"
    queue = filled("a1", "a2", "b1", limit=3)
    assert queue.put("b", "b2") == "b2"
    assert queue.put("c", "c1") == "a2"


def test_the_longest_is_known_again_after_others_left() -> None:
    queue = filled("a1", "a2", "a3", "b1", "b2", limit=5)
    assert queue.remove("a", "a2")
    assert queue.remove("a", "a3")
    for waiter in ("c1", "d1"):
        assert queue.put(waiter[0], waiter) is None
    assert queue.put("e", "e1") == "b2"


def test_who_cannot_be_served_is_passed_over_and_keeps_its_place() -> None:
    queue = filled("a1", "a2", "b1", "c1")
    assert queue.take_first(lambda waiter: waiter == "b1") == "b1"
    assert queue.take_first(lambda waiter: waiter != "a1") == "a2"  # a's turn is over with that
    queue.put("b", "b2")
    assert drained(queue) == ["c1", "a1", "b2"]


def test_nobody_servable_changes_nothing() -> None:
    queue = filled("a1", "b1", "a2")
    assert queue.take_first(lambda waiter: False) is None
    assert drained(queue) == ["a1", "b1", "a2"]


def test_who_gives_up_leaves_the_turns_as_they_were() -> None:
    queue = filled("a1", "b1", "b2", "c1")
    assert queue.remove("b", "b1")
    assert not queue.remove("b", "b1")
    assert not queue.remove("a", "b2")  # of another client
    assert drained(queue) == ["a1", "b2", "c1"]


@pytest.mark.parametrize("waiting", [1, 50, 1000])
def test_a_flood_delays_another_client_by_one_turn(waiting: int) -> None:
    queue = FairQueue[tuple[str, int]](1000)
    for number in range(waiting):
        queue.put("flood", ("flood", number))
    queue.put("visitor", ("visitor", 0))
    queue.take()
    assert queue.take() == ("visitor", 0)


@given(st.lists(st.sampled_from(CLIENTS), max_size=60), st.integers(0, 12))
def test_a_full_queue_is_shared_as_evenly_as_demand_allows(arrivals: list[str], limit: int) -> None:
    """Whoever was turned away has about as many waiting as who has most."""
    queue = FairQueue[tuple[str, int]](limit)
    turned_away = set()
    for number, client in enumerate(arrivals):
        refused = queue.put(client, (client, number))
        if refused is not None:
            turned_away.add(refused[0])
    shares: Counter[str] = Counter()
    while (waiter := queue.take()) is not None:
        shares[waiter[0]] += 1
    assert sum(shares.values()) == min(limit, len(arrivals))
    for client in turned_away:
        assert max(shares.values(), default=0) - shares[client] < CLEARLY_FEWER


class QueueMachine(RuleBasedStateMachine):
    """Any mixture of operations, against a plain list of who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 8
        self.queue = FairQueue[tuple[str, int]](self.limit)
        self.waiting: list[tuple[str, int]] = []  # in order of arrival
        # For each waiter: how often it may still see others served before its own turn.
        self.patience: dict[tuple[str, int], int] = {}
        self.number = 0

    @rule(client=st.sampled_from(CLIENTS))
    def arrive(self, client: str) -> None:
        self.number += 1
        waiter = (client, self.number)
        counts = Counter(name for name, _ in self.waiting)
        is_full = len(self.waiting) == self.limit
        turned_away = self.queue.put(client, waiter)
        assert (turned_away is None) == (not is_full)
        if turned_away != waiter:
            ahead = counts[client]
            self.waiting.append(waiter)
            # All before it in its own line, and each time a turn of every other client.
            self.patience[waiter] = (ahead + 1) * len(CLIENTS) - 1
        if turned_away is not None and turned_away != waiter:
            name = turned_away[0]
            assert counts[name] == max(counts.values()) >= counts[client] + CLEARLY_FEWER
            assert turned_away == [each for each in self.waiting if each[0] == name][-1]
            self.leave(turned_away)
        elif turned_away == waiter:
            assert max(counts.values()) - counts[client] < CLEARLY_FEWER

    @rule()
    def serve(self) -> None:
        served = self.queue.take()
        assert (served is None) == (not self.waiting)
        if served is not None:
            assert served == next(each for each in self.waiting if each[0] == served[0])
            self.leave(served)
            for waiter in self.waiting:
                self.patience[waiter] -= 1
                assert self.patience[waiter] >= 0, f"{waiter} starves"

    @rule(odd=st.booleans())
    def serve_some(self, odd: bool) -> None:
        served = self.queue.take_first(lambda waiter: waiter[1] % 2 == odd)
        able = [each for each in self.waiting if each[1] % 2 == odd]
        assert (served is None) == (not able)
        if served is not None:
            assert served == next(each for each in able if each[0] == served[0])
            self.leave(served)
            # A turn of the able is no turn of who was passed over; the bound is for `serve`.
            for waiter in self.waiting:
                if waiter[0] == served[0]:
                    self.patience[waiter] += len(CLIENTS)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(waiter[0], waiter)
        self.leave(waiter)

    @rule(client=st.sampled_from(CLIENTS))
    def give_up_who_does_not_wait(self, client: str) -> None:
        assert not self.queue.remove(client, (client, 0))

    def leave(self, waiter: tuple[str, int]) -> None:
        self.waiting.remove(waiter)
        del self.patience[waiter]

    @invariant()
    def length_holds(self) -> None:
        assert len(self.queue) == len(self.waiting) <= self.limit

    def teardown(self) -> None:
        while self.waiting:
            self.serve()
        assert self.queue.take() is None


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
