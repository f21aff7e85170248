"""Which instance takes a request: a pool's method over the machine's shared view.

Place on the path: inside the balancer, once per try. The methods themselves are functions of
``poruwa.rules.balancing``; here is what they decide on, gathered from the shared memory: verdicts
(read again only when their version changes), weights, the exact load of all workers, slowness.

Also used by the control process, which answers ``poruwa explain`` from the same memory. Knows
neither connections nor exchanges; instances are positions in the list it was made with.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from poruwa.config.model import BalancingMethod
from poruwa.gateway.shared_state import InstanceState, SharedState
from poruwa.rules.balancing import (
    HashRing,
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
)

NOBODY = -1
"""The position that ``choose`` returns when no instance can take a request now."""

# A request that is not safe to repeat goes to an instance on probation only when nothing safer came
# along for so long.
PROBE_PATIENCE_SECONDS = 5.0
PEAK_DECAY_SECONDS = 10.0
_RINGS_KEPT = 64

HASH_METHODS = frozenset((BalancingMethod.CONSISTENT_HASH, BalancingMethod.STICKY_HASH))


class Selector:
    """The choice among the instances of one pool, as one process sees it.

    Args:
        names: of the instances; positions elsewhere are indexes of this sequence.
        slots: of each in the shared memory.
        weights: of each, 1-256, for as long as the control process has published none.
        method: of the pool.
        max_in_flight: requests that an instance takes at a time; 0 for no limit.
    """

    __slots__ = (
        "_avoid_until",
        "_avoiding_until",
        "_best",
        "_best_weights",
        "_capacities",
        "_is_degraded",
        "_is_peak_ewma",
        "_is_plain",
        "_loads_span",
        "_max_in_flight",
        "_method",
        "_peaks",
        "_peaks_at",
        "_probing",
        "_probing_since",
        "_ratios",
        "_rings",
        "_shared",
        "_slowness",
        "_turn",
        "_verdict_version",
        "_weights",
        "names",
        "slots",
    )

    def __init__(
        self,
        names: Sequence[str],
        slots: Sequence[int],
        weights: Sequence[int],
        *,
        shared: SharedState,
        method: BalancingMethod,
        max_in_flight: int,
    ) -> None:
        self.names = tuple(names)
        self.slots = tuple(slots)
        self._shared = shared
        self._method = method
        # An attribute costs a tenth of comparing with a member of an enum.
        self._is_plain = method is BalancingMethod.LEAST_CONNECTIONS and not max_in_flight
        self._is_peak_ewma = method is BalancingMethod.PEAK_EWMA
        self._max_in_flight = max_in_flight
        self._turn = 0
        count = len(self.slots)
        self._avoid_until = [0.0] * count
        self._avoiding_until = 0.0
        self._weights = list(weights)
        self._slowness = [1.0] * count
        self._ratios = [1.0] * count
        self._capacities = [float("inf")] * count
        self._peaks = [0.0] * count
        self._peaks_at = [0.0] * count
        self._rings: dict[tuple[int, ...], HashRing] = {}
        # What the verdicts of this version mean, until the next one.
        self._verdict_version = -1
        self._best: list[int] = []
        self._best_weights: tuple[int, ...] = ()
        self._loads_span: tuple[int, int] | None = None  # first slot and count, if side by side
        self._is_degraded = False
        self._probing: list[int] = []
        self._probing_since = 0.0

    @property
    def needs_key(self) -> bool:
        """Whether the method hashes something of the request."""
        return self._method in HASH_METHODS

    @property
    def is_degraded(self) -> bool:
        """Whether some instance is slower, smaller or less reliable than the others."""
        return self._is_degraded

    def choose(self, *, now: float, tried: Sequence[int], may_probe: bool, key: bytes = b"") -> int:
        """Return the position of the instance for a try, ``NOBODY`` when none can take it now.

        Args:
            now: loop time in seconds.
            tried: positions that are passed over while anybody else is left.
            may_probe: whether the request may go to an instance on probation: safe to send again.
            key: what the hash methods hash.
        """
        if self._verdict_version != self._shared.verdict_version():
            self._read_verdicts(now)
        self._turn += 1
        if self._probing and not tried:
            on_probation = self._probe(now, may_probe)
            if on_probation != NOBODY:
                return on_probation
        if (
            not self._is_plain
            or tried
            or self._avoiding_until > now
            or self._is_degraded
            or self._loads_span is None
        ):
            return self._choose_among(self.ready(now, tried), key)
        # The usual case: the first try of a request while all is well.
        loads = self._shared.loads(*self._loads_span)
        return self._best[least_connections(self._best_weights, loads, self._turn)]

    def choose_by_hash(self, *, now: float, key: bytes) -> int:
        """Return the position that ``key`` sticks to, whatever the method, within bounded load."""
        ready = self.ready(now, ())
        if not ready:
            return NOBODY
        return ready[self._hashed(ready, key, is_bounded=True)]

    def avoid(self, position: int, *, until: float) -> None:
        """Pass an instance over until loop time ``until`` while another can serve."""
        self._avoid_until[position] = max(self._avoid_until[position], until)
        self._avoiding_until = max(self._avoiding_until, until)

    def trust_again(self, position: int) -> None:
        """End ``avoid``."""
        self._avoid_until[position] = 0.0

    def is_avoided(self, position: int, now: float) -> bool:
        """Whether an instance is passed over now."""
        return self._avoid_until[position] > now

    def is_refusing(self, now: float) -> bool:
        """Whether every instance that should serve is being avoided."""
        return all(self._avoid_until[each] > now for each in self._best)

    def is_full(self, position: int) -> bool:
        """Whether an instance has as many requests as it takes at a time."""
        limit = self._max_in_flight
        return limit > 0 and self._shared.in_flight(self.slots[position]) >= limit

    def may_serve_bound(self, position: int, now: float) -> bool:
        """Tell whether bound clients may go to an instance: also while it drains."""
        state = self._shared.state(self.slots[position])
        return (
            state in (InstanceState.UP, InstanceState.UNKNOWN, InstanceState.DRAINING)
            and self._avoid_until[position] <= now
        )

    def note_answer(self, position: int, *, seconds: float, now: float) -> None:
        """Learn from an answer's time to its first byte; of use to peak EWMA only."""
        if self._is_peak_ewma:
            self._peaks[position] = updated_peak(
                self._peaks[position], seconds, now - self._peaks_at[position], PEAK_DECAY_SECONDS
            )
            self._peaks_at[position] = now

    def ready(self, now: float, tried: Sequence[int]) -> list[int]:
        """Return the positions that may take a request, the best known tier of them."""
        if self._verdict_version != self._shared.verdict_version():
            self._read_verdicts(now)
        ready = self._best
        if self._max_in_flight:
            ready = [each for each in ready if not self.is_full(each)]
        if len(ready) > 1 or tried:
            avoid_until = self._avoid_until
            better = [each for each in ready if each not in tried and avoid_until[each] <= now]
            # Somebody avoided, or tried before, is still better than nobody.
            return better or [each for each in ready if each not in tried] or ready
        return ready

    def waits(self, ready: Sequence[int]) -> list[float]:
        """Return what least connections compares: see ``rules.balancing.expected_waits``."""
        return expected_waits(
            [self._weights[each] for each in ready],
            [self._shared.in_flight(self.slots[each]) for each in ready],
            [self._slowness[each] for each in ready],
            [self._ratios[each] for each in ready],
            [self._capacities[each] for each in ready],
        )

    def _read_verdicts(self, now: float) -> None:
        """Sort out who may take requests, as the control process judges."""
        shared = self._shared
        self._verdict_version = shared.verdict_version()
        by_state: dict[int, list[int]] = {}
        for position, slot in enumerate(self.slots):
            weight = shared.weight(slot) or self._weights[position]
            if weight != self._weights[position]:
                self._weights[position] = weight
                self._rings.clear()  # made of the old ones
            self._slowness[position] = shared.slowness(slot)
            self._ratios[position] = shared.ratio(slot)
            self._capacities[position] = shared.capacity(slot)
            by_state.setdefault(shared.state(slot), []).append(position)
        self._best = (
            by_state.get(InstanceState.UP)
            or by_state.get(InstanceState.UNKNOWN)
            or by_state.get(InstanceState.PROBING)
            or by_state.get(InstanceState.EJECTED)
            or []
        )
        probing = by_state.get(InstanceState.PROBING, [])
        if probing and not self._probing:
            self._probing_since = now
        self._probing = probing
        self._best_weights = tuple([self._weights[each] for each in self._best])
        self._is_degraded = any(
            self._slowness[each] > 1.0
            or self._ratios[each] > 1.0
            or self._capacities[each] != float("inf")
            for each in self._best
        )
        slots = [self.slots[each] for each in self._best]
        is_span = bool(slots) and slots == list(range(slots[0], slots[0] + len(slots)))
        self._loads_span = (slots[0], len(slots)) if is_span else None

    def _probe(self, now: float, may_probe: bool) -> int:
        """Return an instance on probation that has nothing to do, if this request may try it."""
        if may_probe or now - self._probing_since > PROBE_PATIENCE_SECONDS:
            for each in self._probing:
                if not self._shared.in_flight(self.slots[each]) and self._avoid_until[each] <= now:
                    return each
        return NOBODY

    def _choose_among(self, ready: list[int], key: bytes) -> int:
        """Return one of ``ready`` by the pool's method."""
        if len(ready) <= 1:
            return ready[0] if ready else NOBODY
        method = self._method
        if method is BalancingMethod.LEAST_CONNECTIONS:
            return ready[self._least_loaded(ready)]
        if method in HASH_METHODS:
            is_bounded = method is BalancingMethod.CONSISTENT_HASH
            return ready[self._hashed(ready, key, is_bounded=is_bounded)]
        weights = self._effective_weights(ready)
        if method is BalancingMethod.ROUND_ROBIN:
            if self._is_degraded:
                return ready[smooth_weighted(weights, self._turn)]
            return ready[round_robin(len(ready), self._turn)]
        if method is BalancingMethod.WEIGHTED_ROUND_ROBIN:
            return ready[smooth_weighted(weights, self._turn)]
        loads = [self._shared.in_flight(self.slots[each]) for each in ready]
        if method is BalancingMethod.POWER_OF_TWO:
            return ready[power_of_two(weights, loads, random.random)]
        peaks = [self._peaks[each] for each in ready]
        return ready[peak_ewma(weights, loads, peaks, random.random)]

    def _least_loaded(self, ready: list[int]) -> int:
        weights = tuple([self._weights[each] for each in ready])
        if self._is_degraded:
            return least_expected_wait(weights, self.waits(ready), self._turn)
        loads = [self._shared.in_flight(self.slots[each]) for each in ready]
        return least_connections(weights, loads, self._turn)

    def _effective_weights(self, ready: list[int]) -> tuple[int, ...]:
        """Return weights that slowness has divided, scaled so that 1 is left of the slowest."""
        if not self._is_degraded:
            return tuple([self._weights[each] for each in ready])
        slowness = [self._slowness[each] for each in ready]
        scale = max(slowness)
        return tuple(
            [
                max(1, round(self._weights[each] * scale / slow))
                for each, slow in zip(ready, slowness, strict=True)
            ]
        )

    def _hashed(self, ready: list[int], key: bytes, *, is_bounded: bool) -> int:
        members = tuple(ready)
        ring = self._rings.get(members)
        if ring is None:
            if len(self._rings) >= _RINGS_KEPT:
                self._rings.clear()
            names = [self.names[each] for each in ready]
            ring = hash_ring(names, [self._weights[each] for each in ready])
            self._rings[members] = ring
        if not is_bounded:
            return consistent_hash(ring, key)
        loads = [self._shared.in_flight(self.slots[each]) for each in ready]
        return consistent_hash(ring, key, loads)
