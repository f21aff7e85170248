"""Which instance gets a request: the pool of this worker over the machine's shared view.

Place on the path: between routing and upstream. The choice itself is a function of
``poruwa.rules.balancing``; this module gathers what it decides on (verdicts, weights, exact load of
all workers), keeps the affinity table, and holds requests for which nothing is ready.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from poruwa.config.address import parse_address
from poruwa.config.model import AffinityFailover, BalancingMethod, Policy
from poruwa.config.model import Pool as PoolSection
from poruwa.gateway.connections import InstanceConnections
from poruwa.gateway.local_bus import InstanceEntry
from poruwa.gateway.outbox import Outbox
from poruwa.gateway.shared_state import InstanceState, SharedState, WorkerRow
from poruwa.rules.affinity import AffinityTable, find_cookie
from poruwa.rules.balancing import least_connections, round_robin, smooth_weighted

# After a failed connect an instance is passed over for this long while another can serve: the
# active check needs seconds to see what the kernel says at once.
AVOID_SECONDS = 1.0

_CHOOSERS: dict[BalancingMethod, Callable[[tuple[int, ...], Sequence[int], int], int]] = {
    BalancingMethod.ROUND_ROBIN: lambda weights, in_flight, turn: round_robin(len(weights), turn),
    BalancingMethod.WEIGHTED_ROUND_ROBIN: lambda weights, in_flight, turn: smooth_weighted(
        weights, turn
    ),
    BalancingMethod.LEAST_CONNECTIONS: least_connections,
}


class Waiter(Protocol):
    """Who waits in the queue for an instance (an exchange)."""

    def on_instance_ready(self) -> None: ...


class Instance:
    """An instance as this worker sees it."""

    __slots__ = ("address", "avoid_until", "connections", "name", "slot", "weight")

    def __init__(self, entry: InstanceEntry, connections: InstanceConnections) -> None:
        self.slot = entry.slot
        self.name = entry.name
        self.address = entry.address
        self.weight = entry.weight
        self.connections = connections
        self.avoid_until = 0.0


class Pool:
    """The instances of one pool; ``choose`` is called once per try of a request.

    Args:
        section: the pool's part of ``policy``.
        entries: its instances with their slots in the shared memory.
        shared: the machine's view; row: this worker's own cells in it.
        outbox: what connections write to.
    """

    def __init__(
        self,
        section: PoolSection,
        entries: Sequence[InstanceEntry],
        *,
        policy: Policy,
        shared: SharedState,
        row: WorkerRow,
        outbox: Outbox,
    ) -> None:
        self.name = section.name
        self.row = row
        self._shared = shared
        self._loop = outbox.loop
        self._queue_requests = policy.gateway.queue_requests
        self._waiting: deque[Waiter] = deque()
        self._choose = _CHOOSERS[section.method]
        self._max_in_flight = section.max_in_flight_per_instance
        self._turn = 0
        # What the verdicts of version ``_verdict_version`` mean, until the next one.
        self._verdict_version = -1
        self._best_known: list[Instance] = []
        self._weights: tuple[int, ...] = ()
        self._loads_span: tuple[int, int] | None = None  # first slot and count, if side by side
        self._avoiding_until = 0.0
        self.instances = tuple(
            Instance(entry, _connections(entry, policy, outbox)) for entry in entries
        )
        self._by_name = {instance.name: instance for instance in self.instances}
        affinity = section.affinity
        self.affinity = affinity
        self._table: AffinityTable | None = None
        self._cookie = b""
        if affinity is not None and affinity.keys is not None:
            keys = [key.strip().encode() for key in affinity.keys.reveal().split(",")]
            self._table = AffinityTable(self.name, self._by_name, keys)
            self._cookie = affinity.cookie.encode()

    def choose(
        self, *, now: float, tried: Sequence[Instance], bound: Instance | None
    ) -> Instance | None:
        """Return the instance for a try, or None when nobody can take it now.

        ``tried`` are passed over while anybody else is left; ``bound`` is the one that an affinity
        cookie names. Instances found down are never chosen; those that no check has judged yet
        only when none is known to be up.
        """
        if bound is not None and bound not in tried and self._may_serve_bound(bound):
            return bound
        if self._verdict_version != self._shared.verdict_version():
            self._read_verdicts()
        self._turn += 1
        if tried or self._avoiding_until > now or self._max_in_flight:
            return self._choose_among(self._ready(now, tried))
        # The usual case: the first try of a request while all is well.
        if self._loads_span is None:
            return self._choose_among(self._best_known)
        if not self._best_known:
            return None
        loads = self._shared.loads(*self._loads_span)
        return self._best_known[self._choose(self._weights, loads, self._turn)]

    def cookie_name(self, *, secure: bool) -> bytes:
        """Return the cookie's name: browsers keep a prefixed one only from secure origins."""
        return b"__Host-Http-" + self._cookie if secure else self._cookie

    def bound_instance(
        self, cookies: bytes | None, *, secure: bool
    ) -> tuple[Instance | None, bool]:
        """Return the instance a request's cookie binds to, and whether failing over is allowed."""
        if self._table is None or cookies is None or self.affinity is None:
            return None, True
        value = find_cookie(cookies, self.cookie_name(secure=secure))
        name = self._table.instance(value) if value is not None else None
        return (
            self._by_name.get(name) if name is not None else None,
            self.affinity.failover is AffinityFailover.ANY,
        )

    def affinity_value(self, instance: Instance) -> bytes:
        """Return the cookie value that binds to ``instance``."""
        assert self._table is not None
        return self._table.value(instance.name)

    @property
    def has_affinity(self) -> bool:
        return self._table is not None

    def avoid(self, instance: Instance, *, now: float) -> None:
        """Pass ``instance`` over for a moment: it did not accept a connection."""
        instance.avoid_until = self._avoiding_until = now + AVOID_SECONDS

    def trust_again(self, instance: Instance) -> None:
        """Take note that ``instance`` accepts connections again."""
        instance.avoid_until = 0.0
        if self._waiting:
            self._loop.call_soon(self.serve_waiting)

    def is_refusing(self) -> bool:
        """Whether every instance that should be there has just refused a connection."""
        now = self._loop.time()
        return all(each.avoid_until > now for each in self._best_known)

    def wait(self, waiter: Waiter) -> bool:
        """Queue ``waiter`` until an instance is ready; False when the queue is full."""
        if len(self._waiting) >= self._queue_requests:
            return False
        self._waiting.append(waiter)
        return True

    def stop_waiting(self, waiter: Waiter) -> None:
        """Take ``waiter`` out of the queue."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    @property
    def has_waiting(self) -> bool:
        """Whether requests wait in the queue."""
        return bool(self._waiting)

    def serve_waiting(self) -> None:
        """Let queued requests go on, in their order, as far as instances are ready.

        Where all refused their last connection, one request goes to see whether that still holds.
        """
        now = self._loop.time()
        for _ in range(len(self._waiting)):
            ready = self._ready(now, ())
            if not ready:
                return
            self._waiting.popleft().on_instance_ready()
            if all(each.avoid_until for each in ready):
                return

    def sweep(self, *, now: float) -> None:
        """Close connections that were idle for too long, and look after the queue."""
        for instance in self.instances:
            instance.connections.close_idle(now=now)
        if self._waiting:
            self.serve_waiting()

    def close(self) -> None:
        """Close all connections to instances."""
        for instance in self.instances:
            instance.connections.close()

    def _read_verdicts(self) -> None:
        """Sort out who may take requests, as the control process judges."""
        self._verdict_version = self._shared.verdict_version()
        state = self._shared.state
        for instance in self.instances:
            instance.weight = self._shared.weight(instance.slot) or instance.weight
        up = [each for each in self.instances if state(each.slot) == InstanceState.UP]
        unknown = [each for each in self.instances if state(each.slot) == InstanceState.UNKNOWN]
        self._best_known = up or unknown
        self._weights = tuple([instance.weight for instance in self._best_known])
        slots = [instance.slot for instance in self._best_known]
        is_span = bool(slots) and slots == list(range(slots[0], slots[0] + len(slots)))
        self._loads_span = (slots[0], len(slots)) if is_span else None

    def _choose_among(self, ready: list[Instance]) -> Instance | None:
        """Return one of ``ready`` by the pool's method, None when it is empty."""
        if len(ready) <= 1:
            return ready[0] if ready else None
        weights = tuple([instance.weight for instance in ready])
        loads = [self._shared.in_flight(instance.slot) for instance in ready]
        return ready[self._choose(weights, loads, self._turn)]

    def _ready(self, now: float, tried: Sequence[Instance]) -> list[Instance]:
        """Return the instances that may take a request, the best known tier of them."""
        if self._verdict_version != self._shared.verdict_version():
            self._read_verdicts()
        ready = self._best_known
        if self._max_in_flight:
            in_flight = self._shared.in_flight
            ready = [each for each in ready if in_flight(each.slot) < self._max_in_flight]
        if len(ready) > 1 or tried:
            better = [each for each in ready if each not in tried and each.avoid_until <= now]
            # Somebody avoided, or tried before, is still better than nobody.
            return better or [each for each in ready if each not in tried] or ready
        return ready

    def _may_serve_bound(self, instance: Instance) -> bool:
        """Tell whether bound clients may go to ``instance``: also while it drains."""
        state = self._shared.state(instance.slot)
        return state != InstanceState.DOWN and instance.avoid_until <= self._loop.time()


def _connections(entry: InstanceEntry, policy: Policy, outbox: Outbox) -> InstanceConnections:
    return InstanceConnections(
        parse_address(entry.address),
        outbox,
        limit=policy.limits.upstream_connections_per_instance,
        connect_seconds=policy.timeouts.connect_seconds,
        idle_seconds=policy.timeouts.upstream_idle_seconds,
        head_limit_bytes=policy.limits.header_bytes,
    )
