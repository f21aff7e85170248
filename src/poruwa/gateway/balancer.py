"""Which instance gets a request: the pool of this worker over the machine's shared view.

Place on the path: between routing and upstream. What is chosen is decided by ``gateway.selection``;
this module keeps the instances with their connections, the affinity table, the queue of requests
for which nothing is ready, and counts what came of each try for the control process to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from poruwa.config.address import parse_address
from poruwa.config.model import AffinityFailover, AffinityFallback, Policy
from poruwa.config.model import Pool as PoolSection
from poruwa.gateway.connections import InstanceConnections
from poruwa.gateway.local_bus import InstanceEntry
from poruwa.gateway.outbox import Outbox
from poruwa.gateway.selection import NOBODY, Selector
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.rules.affinity import AffinityTable, affinity_forms
from poruwa.rules.cookie import CookieForm, find_cookie
from poruwa.rules.fair_queue import FairQueue
from poruwa.rules.message import RefusalReason

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

# After a failed connect an instance is passed over for this long while another can serve: the
# active check needs seconds to see what the kernel says at once.
AVOID_SECONDS = 1.0
# So many failures in a row, and this worker looks elsewhere until the control process has judged.
FAILURES_TO_AVOID = 3
AVOID_FAILING_SECONDS = 0.25
_MICROS = 1_000_000


class Waiter(Protocol):
    """Who waits in the queue for an instance (an exchange)."""

    client_address: str
    bound: Instance | None

    def on_instance_ready(self) -> None: ...
    def on_displaced(self) -> None: ...


class Instance:
    """An instance as this worker sees it; the counts are those not yet in the shared memory."""

    __slots__ = (
        "address",
        "answered",
        "connections",
        "in_a_row",
        "latency_micros",
        "name",
        "position",
        "slot",
    )

    def __init__(self, entry: InstanceEntry, connections: InstanceConnections) -> None:
        self.slot = entry.slot
        self.name = entry.name
        self.address = entry.address
        self.connections = connections
        self.position = 0  # in its pool
        self.answered = 0
        self.latency_micros = 0
        self.in_a_row = 0  # failures since the last answer


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
        self.section = section
        self._policy = policy
        self._shared = shared
        self._outbox = outbox
        self._loop = outbox.loop
        self._waiting: FairQueue[Waiter] = FairQueue(policy.gateway.queue_requests)
        self.affinity = section.affinity
        self._table: AffinityTable | None = None
        self._keys: list[bytes] = []
        affinity = section.affinity
        self._forms: tuple[CookieForm, CookieForm] | None = None  # plain, and over TLS
        if affinity is not None and affinity.keys is not None:
            self._keys = [key.strip().encode() for key in affinity.keys.reveal().split(",")]
            self._forms = affinity_forms(affinity.cookie, affinity.max_age_seconds)
        self._hashes_unbound = (
            affinity is not None and affinity.without_cookie is AffinityFallback.HASH
        )
        self.hash_key = section.hash_key
        self.instances: tuple[Instance, ...] = ()
        self.update(entries)

    def update(self, entries: Sequence[InstanceEntry]) -> None:
        """Take ``entries`` for the pool's instances from now on.

        One that stays keeps its connections. What is under way at one that goes comes to its end;
        the connections are closed as it does.
        """
        kept = {(each.slot, each.name, each.address): each for each in self.instances}
        instances: list[Instance] = []
        for entry in entries:
            instance = kept.pop((entry.slot, entry.name, entry.address), None)
            if instance is None:
                instance = Instance(entry, _connections(entry, self._policy, self._outbox))
            instance.position = len(instances)
            instances.append(instance)
        self.instances = tuple(instances)
        self.has_several = len(instances) > 1
        for gone in kept.values():
            gone.position = NOBODY
            gone.connections.retire()
        self._by_name = {instance.name: instance for instance in instances}
        self.selector = Selector(
            [each.name for each in entries],
            [each.slot for each in entries],
            [each.weight for each in entries],
            shared=self._shared,
            method=self.section.method,
            max_in_flight=self.section.max_in_flight_per_instance,
        )
        if self._keys:
            self._table = AffinityTable(self.name, self._by_name, self._keys)
        self.needs_key = self.selector.needs_key or self._hashes_unbound
        self.serve_soon()

    def choose(
        self,
        *,
        now: float,
        tried: Sequence[Instance],
        bound: Instance | None,
        may_probe: bool,
        key: bytes = b"",
    ) -> Instance | None:
        """Return the instance for a try, or None when nobody can take it now.

        ``tried`` are passed over while anybody else is left; ``bound`` is the one that an affinity
        cookie names. Instances found down are never chosen; those that no check has judged yet
        only when none is known to be up.
        """
        selector = self.selector
        if bound is not None and bound.position != NOBODY and bound not in tried:
            if selector.may_serve_bound(bound.position, now):
                return None if selector.is_full(bound.position) else bound
        elif self._hashes_unbound and not tried:
            return self._at(selector.choose_by_hash(now=now, key=key))
        positions = [each.position for each in tried] if tried else ()
        return self._at(selector.choose(now=now, tried=positions, may_probe=may_probe, key=key))

    def _at(self, position: int) -> Instance | None:
        return None if position == NOBODY else self.instances[position]

    # Affinity.

    def bound_instance(
        self, cookies: bytes | None, *, secure: bool
    ) -> tuple[Instance | None, bool]:
        """Return the instance a request's cookie binds to, and whether failing over is allowed."""
        if self._table is None or cookies is None or self.affinity is None:
            return None, True
        value = find_cookie(cookies, self._form(secure=secure).name)
        name = self._table.instance(value) if value is not None else None
        return (
            self._by_name.get(name) if name is not None else None,
            self.affinity.failover is AffinityFailover.ANY,
        )

    def affinity_line(self, instance: Instance, *, secure: bool) -> bytes:
        """Return the ``Set-Cookie`` line that binds to ``instance``."""
        assert self._table is not None
        return self._form(secure=secure).line(self._table.value(instance.name))

    def _form(self, *, secure: bool) -> CookieForm:
        assert self._forms is not None
        plain, prefixed = self._forms
        return prefixed if secure else plain

    def may_serve_bound(self, instance: Instance) -> bool:
        """Whether clients bound to ``instance`` are to stay with it."""
        return instance.position != NOBODY and self.selector.may_serve_bound(
            instance.position, self._loop.time()
        )

    @property
    def has_affinity(self) -> bool:
        return self._table is not None

    def key_of(self, exchange: Exchange) -> bytes:
        """Return what the hash methods hash of a request (``hash_key`` of the policy).

        A request without the header or cookie named goes by its client.
        """
        kind, _, name = self.hash_key.partition(":")
        value: bytes | None = None
        if kind == "path":
            value = exchange.path
        elif kind == "header":
            value = exchange.head.field(name.lower().encode())
        elif kind == "cookie":
            value = find_cookie(exchange.head.field(b"cookie") or b"", name.encode())
        return exchange.client_address.encode() if value is None else value

    # What came of tries.

    def note_answer(self, instance: Instance, *, seconds: float, now: float) -> None:
        """Count a good answer; ``seconds`` from the request sent to the first byte."""
        instance.answered += 1
        instance.latency_micros += int(seconds * _MICROS)
        instance.in_a_row = 0
        if instance.position != NOBODY:
            self.selector.note_answer(instance.position, seconds=seconds, now=now)

    def note_failure(self, instance: Instance, *, now: float) -> None:
        """Count a failure at once, so that the control process learns of it at its next look."""
        if instance.position == NOBODY:
            return  # taken out of the pool meanwhile; its slot may be another's
        instance.in_a_row += 1
        self._publish(instance, failed=1)
        if instance.in_a_row >= FAILURES_TO_AVOID:
            self.selector.avoid(instance.position, until=now + AVOID_FAILING_SECONDS)

    def publish_answers(self) -> None:
        """Add what was counted since the last call to the shared memory."""
        for instance in self.instances:
            if instance.answered:
                self._publish(instance, failed=0)

    def _publish(self, instance: Instance, *, failed: int) -> None:
        answered, instance.answered = instance.answered, 0
        micros, instance.latency_micros = instance.latency_micros, 0
        self.row.add_outcomes(
            instance.slot,
            answered=answered,
            failed=failed,
            latency_micros=micros,
            in_a_row=instance.in_a_row,
        )

    def avoid(self, instance: Instance, *, now: float) -> None:
        """Pass ``instance`` over for a moment: it did not accept a connection."""
        if instance.position != NOBODY:
            self.selector.avoid(instance.position, until=now + AVOID_SECONDS)

    def trust_again(self, instance: Instance) -> None:
        """Take note that ``instance`` accepts connections again."""
        if instance.position != NOBODY and self.selector.is_avoided(instance.position, 0.0):
            self.selector.trust_again(instance.position)
            if len(self._waiting):
                self.serve_soon()

    def is_refusing(self) -> bool:
        """Whether every instance that should be there has just refused a connection."""
        return self.selector.is_refusing(self._loop.time())

    def now(self) -> float:
        """Return loop time in seconds."""
        return self._loop.time()

    # The queue.

    def wait(self, waiter: Waiter) -> bool:
        """Queue ``waiter`` until an instance is ready; False when the queue is full.

        Who loses its place to ``waiter`` is told by ``on_displaced``.
        """
        displaced = self._waiting.put(waiter.client_address, waiter)
        if displaced is not None and displaced is not waiter:
            displaced.on_displaced()
        return displaced is not waiter

    def stop_waiting(self, waiter: Waiter) -> None:
        """Take ``waiter`` out of the queue."""
        self._waiting.remove(waiter.client_address, waiter)

    @property
    def has_waiting(self) -> bool:
        """Whether requests wait in the queue."""
        return len(self._waiting) > 0

    def serve_soon(self) -> None:
        """Look after the queue in its own turn: whoever calls is not done yet."""
        self._loop.call_soon(self.serve_waiting)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def serve_waiting(self) -> None:
        """Let queued requests go on, in an order fair to clients, as far as instances are ready.

        Where all refused their last connection, one request goes to see whether that still holds.
        """
        for _ in range(len(self._waiting)):
            now = self._loop.time()
            ready = self.selector.ready(now, ())
            waiter = self._waiting.take() if ready else self._take_bound(now)
            if waiter is None:
                return
            waiter.on_instance_ready()
            if ready and all(self.selector.is_avoided(each, now) for each in ready):
                return

    def _take_bound(self, now: float) -> Waiter | None:
        """Return a waiter whose own instance can serve it while nobody takes new clients."""
        selector = self.selector
        return self._waiting.take_first(
            lambda waiter: (
                waiter.bound is not None
                and waiter.bound.position != NOBODY
                and selector.may_serve_bound(waiter.bound.position, now)
                and not selector.is_full(waiter.bound.position)
            )
        )

    def sweep(self, *, now: float) -> None:
        """Close connections that were idle for too long, and look after the queue."""
        for instance in self.instances:
            instance.connections.close_idle(now=now)
        if len(self._waiting):
            self.serve_waiting()

    def close(self) -> None:
        """Close all connections to instances."""
        for instance in self.instances:
            instance.connections.close()


def balance(exchange: Exchange) -> bool:
    """Choose an instance and hand the exchange to a connection to it."""
    route = exchange.route
    pool = route.pool
    if pool is None:
        exchange.answer_error(404)
        return True
    if route.body_bytes and exchange.framing > route.body_bytes:
        exchange.client.refuse(RefusalReason.BODY_TOO_LARGE)
        return True
    exchange.pool = pool
    if pool.has_affinity and route.binds(exchange.method):
        exchange.bound, exchange.failover_allowed = pool.bound_instance(
            exchange.head.field(b"cookie"), secure=exchange.is_secure
        )
    if pool.needs_key:
        exchange.balancing_key = pool.key_of(exchange)
    gateway = exchange.gateway
    gateway.retry_budget.deposit()
    gateway.late_tries.deposit()
    exchange.dispatch()
    return True


def _connections(entry: InstanceEntry, policy: Policy, outbox: Outbox) -> InstanceConnections:
    return InstanceConnections(
        parse_address(entry.address),
        outbox,
        limit=policy.limits.upstream_connections_per_instance,
        connect_seconds=policy.timeouts.connect_seconds,
        idle_seconds=policy.timeouts.upstream_idle_seconds,
        head_limit_bytes=policy.limits.header_bytes,
    )
