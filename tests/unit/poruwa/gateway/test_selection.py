"""Who is chosen by verdicts, load and method, over a real shared memory (A2, A3, A4, A5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from poruwa.config.model import BalancingMethod
from poruwa.gateway.selection import NOBODY, PROBE_PATIENCE_SECONDS, Selector
from poruwa.gateway.shared_state import (
    FIXED_POINT,
    InstanceState,
    SharedState,
    Verdict,
    WorkerRow,
)

UNKNOWN, UP, DOWN, DRAINING, EJECTED, PROBING = InstanceState
NOW = 100.0
KEYS = [b"client %d" % number for number in range(400)]


class Machine:
    """A shared memory of three instances, and the rows of two workers."""

    def __init__(self) -> None:
        self.shared = SharedState.create(max_workers=2, max_instances=8)
        self.rows = [WorkerRow(self.shared, index, generation=1) for index in (0, 1)]
        self.publish(UP, UP, UP)

    def publish(self, *states: InstanceState) -> None:
        for slot, state in enumerate(states):
            self.verdict(slot, state)

    def verdict(
        self,
        slot: int,
        state: InstanceState = UP,
        *,
        weight: int = 1,
        slowness: float = 1.0,
        ratio: float = 1.0,
        capacity: float = 0.0,
    ) -> None:
        verdict = Verdict(
            state=state,
            weight=weight,
            slowness=round(slowness * FIXED_POINT),
            ratio=round(ratio * FIXED_POINT),
            capacity=round(capacity * FIXED_POINT),
        )
        self.shared.set_instance(slot, verdict)

    def load(self, slot: int, requests: int, *, row: int = 0) -> None:
        for _ in range(requests):
            self.rows[row].begin(slot)

    def selector(
        self,
        method: BalancingMethod = BalancingMethod.LEAST_CONNECTIONS,
        *,
        slots: Sequence[int] = (0, 1, 2),
        max_in_flight: int = 0,
    ) -> Selector:
        return Selector(
            [f"i{slot}" for slot in slots],
            slots,
            [1] * len(slots),
            shared=self.shared,
            method=method,
            max_in_flight=max_in_flight,
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.shared.close()


def choose(
    selector: Selector,
    *,
    now: float = NOW,
    tried: Sequence[int] = (),
    may_probe: bool = False,
    key: bytes = b"",
) -> int:
    return selector.choose(now=now, tried=tried, may_probe=may_probe, key=key)


def chosen(selector: Selector, **options: object) -> set[int]:
    """Return who is chosen in twelve turns."""
    return {choose(selector, **options) for _ in range(12)}  # type: ignore[arg-type]


def homes(selector: Selector) -> dict[bytes, int]:
    return {key: choose(selector, key=key) for key in KEYS}


# Verdicts.


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((UP, UP, UP), {0, 1, 2}),
        ((UP, DOWN, UP), {0, 2}),
        ((UP, UNKNOWN, DRAINING), {0}),  # who is known to be up, before who may be
        ((UNKNOWN, DOWN, UNKNOWN), {0, 2}),
        ((UP, EJECTED, PROBING), {0}),
        ((DOWN, EJECTED, PROBING), {2}),  # worse than nobody else, better than nobody
        ((DOWN, EJECTED, DRAINING), {1}),
        ((DOWN, DRAINING, DOWN), {NOBODY}),
    ],
)
def test_the_best_that_the_verdicts_leave(
    machine: Machine, states: tuple[InstanceState, ...], expected: set[int]
) -> None:
    selector = machine.selector()
    machine.publish(*states)
    assert chosen(selector) == expected


@pytest.mark.parametrize("method", BalancingMethod)
def test_every_method_keeps_to_who_is_up(machine: Machine, method: BalancingMethod) -> None:
    selector = machine.selector(method)
    machine.publish(UP, DOWN, UP)
    assert {choose(selector, key=key) for key in KEYS} == {0, 2}
    machine.publish(DOWN, DOWN, DOWN)
    assert choose(selector, key=b"x") == NOBODY


def test_positions_are_not_slots(machine: Machine) -> None:
    """A pool whose instances came and went has its slots anywhere."""
    machine.verdict(5)
    machine.verdict(7)
    machine.load(7, 3)
    selector = machine.selector(slots=(7, 1, 5))
    assert chosen(selector) == {1, 2}
    machine.verdict(1, DOWN)
    assert chosen(selector) == {2}


@pytest.mark.parametrize(
    ("state", "may_serve"),
    [(UP, True), (UNKNOWN, True), (DRAINING, True), (DOWN, False), (EJECTED, False),
     (PROBING, False)],
)  # fmt: skip
def test_bound_clients_stay_also_while_their_instance_drains(
    machine: Machine, state: InstanceState, *, may_serve: bool
) -> None:
    selector = machine.selector()
    machine.verdict(0, state)
    assert selector.may_serve_bound(0, NOW) is may_serve
    selector.avoid(0, until=NOW + 1.0)
    assert not selector.may_serve_bound(0, NOW)


# Load, limits, and who was tried.


def test_the_load_of_other_workers_counts(machine: Machine) -> None:
    selector = machine.selector()
    machine.load(0, 1, row=0)
    machine.load(1, 2, row=1)
    assert chosen(selector) == {2}
    machine.load(2, 2, row=1)
    assert chosen(selector) == {0}


def test_who_was_tried_is_passed_over_while_anybody_else_is_left(machine: Machine) -> None:
    selector = machine.selector()
    machine.load(2, 50)
    assert chosen(selector, tried=(0, 1)) == {2}
    assert chosen(selector, tried=(0, 1, 2)) == {0, 1}


def test_who_is_avoided_is_still_better_than_nobody(machine: Machine) -> None:
    selector = machine.selector()
    selector.avoid(0, until=NOW + 1.0)
    selector.avoid(0, until=NOW + 0.5)  # does not shorten it
    assert chosen(selector, now=NOW + 0.9) == {1, 2}
    assert chosen(selector, now=NOW + 1.1) == {0, 1, 2}
    for position in (0, 1, 2):
        selector.avoid(position, until=NOW + 9.0)
    assert selector.is_refusing(NOW)
    assert chosen(selector) == {0, 1, 2}
    selector.trust_again(1)
    assert not selector.is_refusing(NOW)
    assert chosen(selector) == {1}


def test_only_who_should_serve_can_refuse(machine: Machine) -> None:
    selector = machine.selector()
    machine.publish(UP, DOWN, DOWN)
    assert choose(selector) == 0
    selector.avoid(0, until=NOW + 1.0)
    assert selector.is_refusing(NOW)


def test_full_instances_take_nothing(machine: Machine) -> None:
    selector = machine.selector(max_in_flight=2)
    machine.load(0, 2, row=1)
    machine.load(1, 1, row=0)
    machine.load(1, 1, row=1)
    assert chosen(selector) == {2}
    assert [selector.is_full(position) for position in range(3)] == [True, True, False]
    machine.load(2, 2)
    assert choose(selector) == NOBODY
    assert choose(selector, tried=(0,)) == NOBODY
    machine.rows[1].end(0)
    assert choose(selector) == 0


def test_without_a_limit_nobody_is_full(machine: Machine) -> None:
    machine.load(0, 10_000)
    assert not machine.selector().is_full(0)


# Probation.


def test_probes_go_one_at_a_time_and_only_where_they_may(machine: Machine) -> None:
    selector, other = machine.selector(), machine.selector()
    machine.publish(PROBING, UP, UP)
    assert chosen(selector) == {1, 2}
    assert chosen(selector, may_probe=True) == {0}
    assert chosen(selector, may_probe=True, tried=(1,)) == {2}  # not with a request that failed
    machine.rows[0].begin(0)
    assert chosen(other, may_probe=True) == {1, 2}
    machine.rows[0].end(0)
    selector.avoid(0, until=NOW + 1.0)
    assert chosen(selector, may_probe=True) == {1, 2}


def test_any_request_probes_after_patience(machine: Machine) -> None:
    selector = machine.selector()
    machine.publish(PROBING, UP, UP)
    assert choose(selector) != 0
    assert choose(selector, now=NOW + PROBE_PATIENCE_SECONDS) != 0
    assert choose(selector, now=NOW + PROBE_PATIENCE_SECONDS + 0.1) == 0


# What was learned of unlike instances.


def test_learned_ratios_and_capacities_decide(machine: Machine) -> None:
    selector = machine.selector()
    machine.verdict(0, capacity=16)
    machine.verdict(1, ratio=4, capacity=16)
    machine.verdict(2, ratio=16, capacity=16)
    machine.load(0, 15)
    assert selector.choose(now=NOW, tried=(), may_probe=False) == 0
    assert selector.is_degraded
    machine.load(0, 60)
    assert chosen(selector) == {1}
    of_first, of_second, of_third = selector.waits([0, 1, 2])
    assert of_second < of_first < of_third
    machine.publish(UP, UP, UP)
    assert chosen(selector) == {1, 2}
    assert not selector.is_degraded


@pytest.mark.parametrize(
    "method", [BalancingMethod.ROUND_ROBIN, BalancingMethod.WEIGHTED_ROUND_ROBIN]
)
def test_slowness_takes_turns_away(machine: Machine, method: BalancingMethod) -> None:
    selector = machine.selector(method)
    machine.verdict(0, slowness=10)
    turns = Counter(choose(selector) for _ in range(210))
    assert turns == {0: 10, 1: 100, 2: 100}


def test_a_published_weight_counts_from_the_next_request_on(machine: Machine) -> None:
    selector = machine.selector(BalancingMethod.WEIGHTED_ROUND_ROBIN)
    assert Counter(choose(selector) for _ in range(30)) == {0: 10, 1: 10, 2: 10}
    machine.verdict(0, weight=3)
    assert Counter(choose(selector) for _ in range(50)) == {0: 30, 1: 10, 2: 10}


@pytest.mark.parametrize("method", [BalancingMethod.POWER_OF_TWO, BalancingMethod.PEAK_EWMA])
def test_of_two_drawn_the_less_loaded(machine: Machine, method: BalancingMethod) -> None:
    selector = machine.selector(method, slots=(0, 1))  # of two, both are always drawn
    for position in (0, 1):
        selector.note_answer(position, seconds=0.05, now=NOW)
    machine.load(0, 2, row=1)
    assert chosen(selector) == {1}


def test_peak_ewma_goes_by_latency(machine: Machine) -> None:
    selector = machine.selector(BalancingMethod.PEAK_EWMA, slots=(0, 1))
    selector.note_answer(0, seconds=0.5, now=NOW)
    selector.note_answer(1, seconds=0.05, now=NOW)
    machine.load(1, 5)
    assert chosen(selector) == {1}
    machine.load(1, 5)
    assert chosen(selector) == {0}


# Hashing.


@pytest.mark.parametrize("method", [BalancingMethod.CONSISTENT_HASH, BalancingMethod.STICKY_HASH])
def test_a_key_keeps_its_instance_and_others_keep_theirs(
    machine: Machine, method: BalancingMethod
) -> None:
    selector = machine.selector(method)
    assert selector.needs_key
    before = homes(selector)
    assert homes(selector) == before == homes(machine.selector(method))
    assert min(Counter(before.values()).values()) > len(KEYS) / 5
    machine.verdict(0, DOWN)
    during = homes(selector)
    assert all(during[key] == home for key, home in before.items() if home != 0)
    machine.verdict(0, UP)
    assert homes(selector) == before


def test_a_bounded_hash_leaves_who_has_too_much_and_a_sticky_one_does_not(machine: Machine) -> None:
    bounded = machine.selector(BalancingMethod.CONSISTENT_HASH)
    sticky = machine.selector(BalancingMethod.STICKY_HASH)
    before = homes(bounded)
    assert homes(sticky) == before
    machine.load(0, 20, row=1)
    assert 0 not in homes(bounded).values()
    assert homes(sticky) == before


def test_a_published_weight_moves_its_share_of_the_keys(machine: Machine) -> None:
    selector = machine.selector(BalancingMethod.STICKY_HASH)
    before = homes(selector)
    machine.verdict(0, weight=8)
    after = homes(selector)
    assert Counter(after.values())[0] > 0.7 * len(KEYS)
    assert all(after[key] == 0 for key, home in before.items() if home == 0)


def test_choosing_by_hash_goes_past_the_method(machine: Machine) -> None:
    """For clients without an affinity cookie, whatever spreads the others."""
    selector = machine.selector(BalancingMethod.ROUND_ROBIN)
    assert not selector.needs_key
    by_hash = {key: selector.choose_by_hash(now=NOW, key=key) for key in KEYS}
    assert by_hash == homes(machine.selector(BalancingMethod.CONSISTENT_HASH))
    machine.publish(DOWN, DOWN, DRAINING)
    assert selector.choose_by_hash(now=NOW, key=b"x") == NOBODY
