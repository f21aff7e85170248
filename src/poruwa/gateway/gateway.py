"""The gateway of one worker: what all its connections share, and its once-in-a-while work.

Built from a policy and a topology, never changed by requests but for its counters. The sweep looks
at every connection's deadline four times a second, which costs one attribute a connection and
spares a timer a request; deadlines are therefore up to a quarter of a second late.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import structlog

from poruwa.config.model import Policy, Route
from poruwa.config.wire import encode_policy
from poruwa.errors import UpstreamError
from poruwa.gateway import pipeline
from poruwa.gateway.balancer import Instance, Pool
from poruwa.gateway.bounds import ConnectionLimits, ConnectionTimeouts
from poruwa.gateway.cache import GatewayCache
from poruwa.gateway.collector import Collector
from poruwa.gateway.exchange import Exchange
from poruwa.gateway.late_tries import LateTries
from poruwa.gateway.listener import ClientConnection
from poruwa.gateway.local_bus import Topology
from poruwa.gateway.outbox import Outbox
from poruwa.gateway.rate_limit import RateLimits
from poruwa.gateway.read_your_writes import ReadYourWrites
from poruwa.gateway.reports import BrowserReports
from poruwa.gateway.routes import NO_ROUTE, GatewayRoute, GatewayRoutes
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.gateway.siblings import Siblings
from poruwa.observe.access_line import LineClock, SpokenFields, access_line
from poruwa.observe.access_log import AccessLog
from poruwa.observe.metrics import GatewayMetrics
from poruwa.rules.forwarding import TrustedNetworks
from poruwa.rules.health import is_expected_status
from poruwa.rules.message import RefusalReason
from poruwa.rules.retry import RetryBudget, RetryDecision
from poruwa.rules.trace import RandomIds

SWEEP_SECONDS = 0.25
ALL_CLASSES = "all"  # what the cache counts without regard to classes
EXPIRED_PER_TURN = 1  # with its answer, a tenth of a millisecond that all others wait

_log = structlog.get_logger(component="gateway")


class Gateway:
    """Everything that connections and exchanges of a worker refer to.

    ``now`` is loop time in seconds as of the last sweep: good enough for deadlines.
    """

    def __init__(
        self,
        policy: Policy,
        topology: Topology,
        *,
        shared: SharedState,
        row: WorkerRow,
        loop: asyncio.AbstractEventLoop,
        access_log: AccessLog | None,
        folder: Path,
        takes_reports: bool = False,
        reports_folder: Path | None = None,
    ) -> None:
        self.loop = loop
        self.loop_time = loop.time  # looked up once, not for every request
        self.wall_time = time.time
        self.outbox = Outbox(loop)
        self.row = row
        self.limits = ConnectionLimits(policy.limits)
        self.timeouts = ConnectionTimeouts(policy.timeouts)
        self.replay_body_bytes = policy.retry.replay_body_bytes
        self.queue_seconds = policy.gateway.queue_seconds
        self.tries = 1 + policy.retry.attempts
        self.retries_once = policy.retry.attempts == 1
        self.retry_statuses = _statuses(policy.retry.statuses)
        self.trusted = TrustedNetworks(policy.trust.proxies)
        self.metrics = GatewayMetrics()
        self.counts = self.metrics.counts
        # Of browsers; None where no policy has any sent here.
        self.reports = BrowserReports(self.metrics, reports_folder) if takes_reports else None
        self.random = RandomIds()
        self.new_request_id = self.random.request_id
        self.access_log = access_log
        self.is_draining = False
        self.now = loop.time()
        self.requests = 0
        entries = {pool.name: pool.instances for pool in topology.pools}
        self.pools = {
            section.name: Pool(
                section,
                entries.get(section.name, ()),
                policy=policy,
                shared=shared,
                row=row,
                outbox=self.outbox,
            )
            for section in policy.pools
        }
        self.routes = GatewayRoutes(policy, self.pools, folder=folder)
        self.no_route = GatewayRoute(Route(name=NO_ROUTE, path="/*"), policy, {}, folder=folder)
        self.connections: set[ClientConnection] = set()
        self.fetching: set[ClientConnection] = set()  # the cache's own, with deadlines alike
        self.rate_limits = RateLimits(shared, row.index)
        self.machine_secret = shared.secret()
        self.read_your_writes: ReadYourWrites | None = None
        self.cache: GatewayCache | None = None
        self.siblings: Siblings | None = None
        if self.routes.has_cache:
            self.cache = cache = GatewayCache(self, capacity_bytes=policy.cache.memory_bytes)
            self.siblings = cache.siblings = Siblings(
                cache, shared, row.index, encode_policy(policy), loop
            )
        self.collector = Collector()
        # Tells the other workers of this machine; set by the process that has them.
        self.publish: Callable[[str, bytes], None] = _tell_nobody
        self._per_client: Counter[str] = Counter()
        self.retry_budget = RetryBudget(
            policy.retry.budget, policy.retry.budget_minimum_per_second, self.now
        )
        timing_key = policy.gateway.timing_key
        self.timing_key = timing_key.reveal().encode() if timing_key is not None else None
        self.late_tries = LateTries(self, policy.hedge, loop)
        self._log_clock = LineClock()
        self._dropped_lines = 0  # of the access log, as far as they are counted
        self._date_second = 0
        self._date = b""
        self._sweep_handle: asyncio.TimerHandle | None = None

    # Connections.

    def admit(self, connection: ClientConnection) -> RefusalReason | None:
        """Count a new connection; return why it is not taken, if so."""
        self.connections.add(connection)
        limits = self.limits
        if self._counts(connection):  # counted first: ``forget`` takes off every connection
            host = connection.peer_host or ""
            self._per_client[host] += 1
            if self._per_client[host] > limits.connections_per_client:
                return RefusalReason.CLIENT_CONNECTIONS
        if len(self.connections) > limits.connections:
            return RefusalReason.CONNECTIONS
        return None

    def forget(self, connection: ClientConnection) -> None:
        """Drop a connection that closed."""
        self.connections.discard(connection)
        if self._counts(connection):
            host = connection.peer_host or ""
            self._per_client[host] -= 1
            if self._per_client[host] <= 0:
                del self._per_client[host]

    def _counts(self, connection: ClientConnection) -> bool:
        """Tell whether a connection is one of its client's; a trusted hop speaks for many."""
        return self.limits.connections_per_client > 0 and not connection.is_trusted

    def start(self) -> None:
        """Begin to sweep, and to listen to siblings."""
        if self.siblings is not None:
            self.siblings.start()
        self._sweep_handle = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Abort every connection, to clients and to instances."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        if self.siblings is not None:
            self.siblings.close()
        for connection in [*self.connections, *self.fetching]:
            connection.abort()
        for pool in self.pools.values():
            pool.close()

    @property
    def is_busy(self) -> bool:
        """Whether clients, or siblings that read along with a fill, are connected."""
        return bool(self.connections) or (self.siblings is not None and bool(self.siblings.lending))

    # For exchanges.

    def handle(self, exchange: Exchange) -> None:
        """Take a request through the stages."""
        pipeline.handle(exchange)

    def go_on(self, exchange: Exchange) -> None:
        """Take a request on from the rate limit, which had it wait."""
        pipeline.go_on(exchange)

    def http_date(self) -> bytes:
        """Return the value of a Date field (RFC 9110 section 5.6.7), rebuilt once a second."""
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def take_retry(self) -> bool:
        """Take one retry out of the budget, if there is one."""
        return self.retry_budget.take(self.loop.time())

    def record(self, exchange: Exchange) -> None:
        """Count and log a finished exchange."""
        self.requests += 1
        ended_at = exchange.ended_at or self.loop_time()
        seconds = ended_at - exchange.started_at
        instance = exchange.instance
        instance_name = instance.name if instance is not None else None
        route = exchange.route.name
        self.counts.record(
            route, exchange.status, instance_name, seconds, exchange.bytes_in, exchange.bytes_out
        )
        if self.access_log is not None:
            head, client = exchange.head, exchange.client
            spoken = client.spoken
            if spoken is None:
                client.spoken = spoken = SpokenFields()
            line = access_line(
                self._log_clock.text(exchange.hit_at or self.wall_time() - seconds),
                exchange.client_address,
                exchange.method,
                exchange.target,
                exchange.status,
                exchange.bytes_in,
                exchange.bytes_out,
                seconds,
                instance_name,
                route,
                exchange.request_id,
                exchange.tries,
                head.user_agent or b"",
                head.referer or b"",
                spoken,
            )
            self.access_log.write(line, ended_at)

    def count_refusal(
        self, connection: ClientConnection, reason: RefusalReason, request_id: bytes
    ) -> None:
        """Count and log bytes that never became a request."""
        self.requests += 1
        self.metrics.refused(reason.code)
        self.metrics.record(NO_ROUTE, reason.status, None, 0.0, 0, 0)
        _log.info(
            "refused",
            reason=reason.code,
            client=connection.peer_host,
            request_id=request_id.decode(),
        )

    def log_failure(
        self, exchange: Exchange, instance: Instance, error: UpstreamError, decision: RetryDecision
    ) -> None:
        """Log a request that no further try could save."""
        _log.warning(
            "request failed",
            instance=instance.name,
            reason=error.message,
            retry=decision.value,
            tries=exchange.tries,
            request_id=exchange.request_id.decode(),
        )

    # Once in a while.

    def _sweep(self) -> None:
        self.now = now = self.loop.time()
        self._sweep_handle = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        due = [each for each in self.connections if each.deadline < now]
        due += [each for each in self.fetching if each.deadline < now]
        if due:
            self._expire(due)
        if self.cache is not None:
            self.collector.tick(self.cache.stored, now)
        for pool in self.pools.values():
            pool.sweep(now=now)
            pool.publish_answers()
        self.routes.learn_patience(now)
        if self.siblings is not None:
            self.siblings.observe_changes()
        if self.reports is not None:
            self.reports.tick(now)
        if self.access_log is not None:
            self.access_log.tick(now)
            dropped = self.access_log.dropped_lines - self._dropped_lines
            if dropped:
                self._dropped_lines += dropped
                self.metrics.counted("log_dropped", dropped)
        self.row.set_load(connections=len(self.connections), requests=self.requests)

    def _expire(self, due: list[ClientConnection]) -> None:
        """Act on deadlines, a few a turn: a crowd of slow clients must not hold up the others."""
        for connection in due[:EXPIRED_PER_TURN]:
            if connection.deadline < self.now:
                connection.expire()
        if len(due) > EXPIRED_PER_TURN:
            self.loop.call_soon(self._expire, due[EXPIRED_PER_TURN:])

    def update_topology(self, topology: Topology) -> None:
        """Take other instances for the pools from now on; what is under way is not touched."""
        for entries in topology.pools:
            pool = self.pools.get(entries.name)
            if pool is not None:
                pool.update(entries.instances)

    def snapshot(self) -> bytes:
        """Return this worker's metrics, its gauges brought up to date."""
        metrics = self.metrics
        idle = sum(connection.is_idle for connection in self.connections)
        metrics.connections = {"idle": idle, "active": len(self.connections) - idle}
        metrics.in_flight = {
            instance.name: self.row.in_flight(instance.slot)
            for pool in self.pools.values()
            for instance in pool.instances
        }
        removed = self.routes.take_removed_cookies()
        if removed:
            metrics.counted("cookies_removed", removed)
        metrics.patience = self.routes.patience()
        metrics.waiting = {pool.name: pool.waiting for pool in self.pools.values()}
        evicted, self.rate_limits.table.evicted = self.rate_limits.table.evicted, 0
        if evicted:
            metrics.counted("limit_evicted", evicted)
        cache = self.cache
        if cache is not None:
            metrics.cache = self.routes.cache_counts()
            metrics.cache[ALL_CLASSES] = {"evicted": cache.store.evictions}
            metrics.cache_held = {"entries": len(cache.store), "bytes": cache.store.bytes}
            metrics.fills_refused = self.routes.fills_refused()
            cache.coherence.report(metrics)
        return metrics.snapshot()


def _tell_nobody(topic: str, payload: bytes) -> None:
    return None


def _statuses(settings: tuple[int | str, ...]) -> frozenset[int]:
    """Return the statuses that numbers and classes such as ``"5xx"`` stand for."""
    return frozenset(status for status in range(100, 1000) if is_expected_status(status, settings))
