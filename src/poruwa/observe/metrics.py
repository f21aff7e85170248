"""What a gateway worker counts, and how the counts of all workers become a Prometheus page.

What runs once per response inside the worker's event loop is ``observe.response_counts``, a few
additions; everything else (labels, sums, text) is done here, when somebody asks.
Each worker's ``snapshot`` travels as bytes over the local bus; ``merge`` adds them up and
``render_prometheus`` writes the page. Labels are bounded: routes and instances past a limit, and
status codes nobody has registered, are counted together.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from poruwa.observe.response_counts import BUCKETS_SECONDS, ResponseCounts

COHERENCE_BUCKETS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
"""Upper bounds of what changes take; 0.5 is the usual lease, which bounds them."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
NO_INSTANCE = "none"  # label of responses of the gateway's own

_BUCKET_COUNT = len(BUCKETS_SECONDS) + 1
_SECONDS, _BYTES_IN, _BYTES_OUT = _BUCKET_COUNT, _BUCKET_COUNT + 1, _BUCKET_COUNT + 2
_EMPTY_ROW = (0,) * _BUCKET_COUNT + (0.0, 0, 0)


class Row(msgspec.Struct, array_like=True):
    """Counts of one (route, status, instance): requests per bucket, then sums."""

    route: str
    status: str
    instance: str
    values: list[float]


class WorkerFacts(msgspec.Struct, array_like=True):
    """What the system says about one process."""

    pid: int
    started_at: float
    cpu_seconds: float
    resident_bytes: int
    open_files: int

    @classmethod
    def of_this_process(cls, started_at: float) -> WorkerFacts:
        """Return the facts of the calling process. ``started_at`` is wall time."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        try:
            with open("/proc/self/statm", "rb") as statm:
                resident = int(statm.read().split()[1]) * resource.getpagesize()
            open_files = len(os.listdir("/proc/self/fd"))
        except OSError:  # not Linux
            resident, open_files = usage.ru_maxrss * 1024, 0
        return cls(os.getpid(), started_at, usage.ru_utime + usage.ru_stime, resident, open_files)


class MetricsSnapshot(msgspec.Struct, kw_only=True):
    """Counts at one moment, of one worker or (after ``merge``) of several."""

    rows: list[Row] = []
    retries: dict[str, int] = {}
    hedges: dict[str, int] = {}
    refusals: dict[str, int] = {}
    connects: dict[str, int] = {}
    connect_failures: dict[str, int] = {}
    ejections: dict[str, int] = {}  # counted by the control process
    events: dict[str, int] = {}
    cache: dict[str, dict[str, int]] = {}  # requests by class and what the cache did for them
    cache_held: dict[str, int] = {}  # entries, bytes
    # Of the change log, by layer. Histograms: counts by bucket, and the sum.
    staleness: dict[str, list[float]] = {}  # from a write until it was applied
    acknowledgements: dict[str, list[float]] = {}  # from a purge until a layer had applied it
    unsure_seconds: dict[str, float] = {}
    sure: dict[str, int] = {}  # processes that cannot have missed a change
    fills_refused: dict[str, dict[str, int]] = {}  # of the gateway's cache, by class and reason
    reports: dict[str, dict[str, int]] = {}  # of browsers, by kind and directive
    in_flight: dict[str, int] = {}
    connections: dict[str, int] = {}
    waiting: dict[str, int] = {}
    patience: dict[str, list[float]] = {}  # by route: hedge delay and try time-out, seconds
    instance_up: dict[str, dict[str, bool]] = {}
    workers: list[WorkerFacts] = []


class GatewayMetrics:
    """The counters of one worker. Not shared between processes or threads."""

    __slots__ = (
        "_connect_failures",
        "_connects",
        "_events",
        "_hedges",
        "_refusals",
        "_reports",
        "_retries",
        "_started_at",
        "cache",
        "cache_held",
        "connections",
        "counts",
        "fills_refused",
        "in_flight",
        "instance_up",
        "patience",
        "staleness",
        "sure",
        "unsure_seconds",
        "waiting",
    )

    def __init__(self, started_at: float | None = None) -> None:
        self._started_at = time.time() if started_at is None else started_at
        self.counts = ResponseCounts()
        self._retries: dict[str, int] = {}
        self._hedges: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._connects: dict[str, int] = {}
        self._connect_failures: dict[str, int] = {}
        self._events: dict[str, int] = {}
        self._reports: dict[str, dict[str, int]] = {}
        self.cache: dict[str, dict[str, int]] = {}  # the cache's own counts
        self.cache_held: dict[str, int] = {}
        self.staleness: dict[str, list[float]] = {}
        self.unsure_seconds: dict[str, float] = {}
        self.sure: dict[str, int] = {}
        self.fills_refused: dict[str, dict[str, int]] = {}
        # Gauges: set by their owners, at the latest just before snapshot().
        self.in_flight: dict[str, int] = {}
        self.connections: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.patience: dict[str, list[float]] = {}
        self.instance_up: dict[str, dict[str, bool]] = {}

    def record(
        self,
        route: str,
        status: int,
        instance: str | None,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
    ) -> None:
        """Count one finished exchange.

        Args:
            route: the route's name; ``"none"`` or such where none matched.
            status: final status sent (100-999), 499 where the client left first.
            instance: who answered; None for responses of the gateway's own.
            seconds: from the first byte of the request to the last of the response.
            bytes_in: of the request's body received.
            bytes_out: of the response's head and body sent.
        """
        self.counts.record(route, status, instance, seconds, bytes_in, bytes_out)

    def retried(self, reason: str) -> None:
        """Count a further try of a request."""
        self._retries[reason] = self._retries.get(reason, 0) + 1

    def hedged(self, outcome: str) -> None:
        """Count a hedge: ``sent``, ``won`` (answered first), ``not-sent`` (no budget or nobody)."""
        self._hedges[outcome] = self._hedges.get(outcome, 0) + 1

    def refused(self, reason: str) -> None:
        """Count a request or connection turned away."""
        self._refusals[reason] = self._refusals.get(reason, 0) + 1

    def connected(self, instance: str) -> None:
        """Count a new connection to an instance."""
        self._connects[instance] = self._connects.get(instance, 0) + 1

    def connect_failed(self, instance: str) -> None:
        """Count a connection to an instance that did not come about."""
        self._connect_failures[instance] = self._connect_failures.get(instance, 0) + 1

    def counted(self, event: str, amount: int = 1) -> None:
        """Count something rarer by name: ``accepted``, ``upgraded``, ``log_dropped``."""
        self._events[event] = self._events.get(event, 0) + amount

    def reported(self, kind: str, directive: str) -> None:
        """Count a browser's report; both come out of ``rules.violation_report``'s lists."""
        counts = self._reports.setdefault(kind, {})
        counts[directive] = counts.get(directive, 0) + 1

    def snapshot(self) -> bytes:
        """Return the state of all counters and gauges, for ``merge``."""
        return msgspec.msgpack.encode(
            MetricsSnapshot(
                rows=[
                    Row(route, _status_label(status), instance or NO_INSTANCE, values)
                    for route, status, instance, values in self.counts.rows()
                ],
                retries=self._retries,
                hedges=self._hedges,
                refusals=self._refusals,
                connects=self._connects,
                connect_failures=self._connect_failures,
                events=self._events,
                reports=self._reports,
                cache=self.cache,
                cache_held=self.cache_held,
                staleness=self.staleness,
                unsure_seconds=self.unsure_seconds,
                sure=self.sure,
                fills_refused=self.fills_refused,
                in_flight=self.in_flight,
                connections=self.connections,
                waiting=self.waiting,
                patience=self.patience,
                instance_up=self.instance_up,
                workers=[WorkerFacts.of_this_process(self._started_at)],
            )
        )


def merge(snapshots: Iterable[bytes], retired: Iterable[bytes] = ()) -> MetricsSnapshot:
    """Add up snapshots of workers.

    Args:
        snapshots: the latest of each live worker.
        retired: the last one of each worker that is gone: its counters stay (a sum that shrank
            would look like a restart of everything to Prometheus), its gauges do not.

    An instance is up only if every worker that judges it says so.

    Raises:
        msgspec.DecodeError: bytes that are no snapshot.
    """
    total = MetricsSnapshot()
    rows: dict[tuple[str, str, str], list[float]] = {}
    for encoded in snapshots:
        one = _DECODER.decode(encoded)
        _add_counters(total, rows, one)
        _add(total.in_flight, one.in_flight)
        _add(total.connections, one.connections)
        _add(total.waiting, one.waiting)
        _add(total.cache_held, one.cache_held)
        _add(total.sure, one.sure)
        for route, delays in one.patience.items():
            known_delays = total.patience.get(route, delays)
            total.patience[route] = [max(pair) for pair in zip(known_delays, delays, strict=True)]
        for pool, instances in one.instance_up.items():
            known = total.instance_up.setdefault(pool, {})
            for name, is_up in instances.items():
                known[name] = known.get(name, True) and is_up
        total.workers.extend(one.workers)
    for encoded in retired:
        _add_counters(total, rows, _DECODER.decode(encoded))
    total.rows = [Row(*labels, values) for labels, values in rows.items()]
    return total


def without_gauges(snapshot: MetricsSnapshot) -> bytes:
    """Return only the counters: what a supervisor keeps of all workers that are gone, as one."""
    return msgspec.msgpack.encode(
        MetricsSnapshot(
            rows=snapshot.rows,
            retries=snapshot.retries,
            hedges=snapshot.hedges,
            refusals=snapshot.refusals,
            connects=snapshot.connects,
            connect_failures=snapshot.connect_failures,
            events=snapshot.events,
            reports=snapshot.reports,
            cache=snapshot.cache,
            staleness=snapshot.staleness,
            unsure_seconds=snapshot.unsure_seconds,
            fills_refused=snapshot.fills_refused,
        )
    )


def render_prometheus(snapshot: MetricsSnapshot) -> bytes:
    """Return the page of ``/metrics`` (content type ``CONTENT_TYPE``)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _request_families(self._snapshot.rows)
        yield from _traffic_families(self._snapshot)
        yield from _coherence_families(self._snapshot)
        yield from _worker_families(self._snapshot.workers)


def _request_families(rows: list[Row]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "poruwa_requests", "Requests answered.", labels=("route", "status", "instance")
    )
    seconds = HistogramMetricFamily(
        "poruwa_request_seconds", "From first byte in to last byte out.", labels=("route",)
    )
    traffic = CounterMetricFamily("poruwa_bytes", "Bytes of exchanges.", labels=("direction",))
    by_route: dict[str, list[float]] = {}
    received = sent = 0.0
    for row in rows:
        requests.add_metric((row.route, row.status, row.instance), sum(row.values[:_BUCKET_COUNT]))
        sums = by_route.setdefault(row.route, list(_EMPTY_ROW))
        _add_values(sums, row.values)
        received += row.values[_BYTES_IN]
        sent += row.values[_BYTES_OUT]
    for route, values in by_route.items():
        running, buckets = 0.0, []
        for bound, count in zip((*BUCKETS_SECONDS, "+Inf"), values, strict=False):
            running += count
            buckets.append((str(bound), running))
        seconds.add_metric((route,), buckets, values[_SECONDS])
    traffic.add_metric(("in",), received)
    traffic.add_metric(("out",), sent)
    return iter((requests, seconds, traffic))


def _traffic_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    counters = (
        ("poruwa_retries", "Further tries.", "reason", snapshot.retries),
        ("poruwa_hedges", "Tries beside a slow one.", "outcome", snapshot.hedges),
        ("poruwa_ejections", "Ejections by live traffic.", "reason", snapshot.ejections),
        ("poruwa_refusals", "Requests and connections refused.", "reason", snapshot.refusals),
        ("poruwa_connects", "New connections to instances.", "instance", snapshot.connects),
        (
            "poruwa_connect_failures",
            "Connections to instances that failed.",
            "instance",
            snapshot.connect_failures,
        ),
        ("poruwa_events", "Rarer things by name.", "event", snapshot.events),
    )
    for name, text, label, counts in counters:
        counter = CounterMetricFamily(name, text, labels=(label,))
        for value, count in counts.items():
            counter.add_metric((value,), count)
        yield counter
    cached = CounterMetricFamily(
        "poruwa_cache_requests", "What the cache did for requests.", labels=("class", "outcome")
    )
    for data_class, outcomes in snapshot.cache.items():
        for outcome, count in outcomes.items():
            cached.add_metric((data_class, outcome), count)
    yield cached
    reports = CounterMetricFamily(
        "poruwa_browser_reports",
        "Violations and the like that browsers reported.",
        labels=("kind", "directive"),
    )
    for kind, directives in snapshot.reports.items():
        for directive, count in directives.items():
            reports.add_metric((kind, directive), count)
    yield reports
    gauges = (
        ("poruwa_in_flight", "Requests in flight.", "instance", snapshot.in_flight),
        ("poruwa_connections", "Client connections.", "state", snapshot.connections),
        ("poruwa_waiting", "Requests that wait for an instance.", "pool", snapshot.waiting),
        ("poruwa_cache_held", "What the cache holds.", "what", snapshot.cache_held),
    )
    for name, text, label, levels in gauges:
        gauge = GaugeMetricFamily(name, text, labels=(label,))
        for value, level in levels.items():
            gauge.add_metric((value,), level)
        yield gauge
    late = GaugeMetricFamily(
        "poruwa_late_seconds",
        "From when on a try is late, as learned: hedge, and try time-out.",
        labels=("route", "step"),
    )
    for route, (hedge, try_timeout) in snapshot.patience.items():
        late.add_metric((route, "hedge"), hedge)
        late.add_metric((route, "try-timeout"), try_timeout)
    yield late
    up = GaugeMetricFamily(
        "poruwa_instance_up", "1 if health checks pass.", labels=("pool", "instance")
    )
    for pool, instances in snapshot.instance_up.items():
        for name, is_up in instances.items():
            up.add_metric((pool, name), 1.0 if is_up else 0.0)
    yield up


def _coherence_families(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    for name, text, layers in (
        ("poruwa_staleness_seconds", "From a write until a layer applied it.", snapshot.staleness),
        (
            "poruwa_acknowledgement_seconds",
            "From a purge until a layer had applied it.",
            snapshot.acknowledgements,
        ),
    ):
        histogram = HistogramMetricFamily(name, text, labels=("layer",))
        for layer, values in layers.items():
            running, buckets = 0.0, []
            for bound, count in zip((*COHERENCE_BUCKETS_SECONDS, "+Inf"), values, strict=False):
                running += count
                buckets.append((str(bound), running))
            histogram.add_metric((layer,), buckets, values[-1])
        yield histogram
    unsure = CounterMetricFamily(
        "poruwa_unsure_seconds", "Time in which changes may have been missed.", labels=("layer",)
    )
    for layer, seconds in snapshot.unsure_seconds.items():
        unsure.add_metric((layer,), seconds)
    yield unsure
    sure = GaugeMetricFamily(
        "poruwa_sure", "Processes that cannot have missed a change.", labels=("layer",)
    )
    for layer, count in snapshot.sure.items():
        sure.add_metric((layer,), count)
    yield sure
    refused = CounterMetricFamily(
        "poruwa_fills_refused",
        "Answers that were not kept, as they may be out of date.",
        labels=("layer", "class", "reason"),
    )
    for data_class, reasons in snapshot.fills_refused.items():
        for reason, count in reasons.items():
            refused.add_metric(("gateway", data_class, reason), count)
    yield refused


def _worker_families(workers: list[WorkerFacts]) -> Iterator[Metric]:
    labels = ("pid",)
    count = GaugeMetricFamily("poruwa_workers", "Workers that report.", value=len(workers))
    started = GaugeMetricFamily(
        "poruwa_worker_start_time_seconds", "Start, Unix time.", labels=labels
    )
    cpu = CounterMetricFamily("poruwa_worker_cpu_seconds", "CPU time used.", labels=labels)
    memory = GaugeMetricFamily("poruwa_worker_resident_bytes", "Resident memory.", labels=labels)
    files = GaugeMetricFamily("poruwa_worker_open_files", "File descriptors open.", labels=labels)
    for facts in workers:
        label = (str(facts.pid),)
        started.add_metric(label, facts.started_at)
        cpu.add_metric(label, facts.cpu_seconds)
        memory.add_metric(label, facts.resident_bytes)
        files.add_metric(label, facts.open_files)
    return iter((count, started, cpu, memory, files))


_DECODER = msgspec.msgpack.Decoder(MetricsSnapshot)


def _add_counters(
    total: MetricsSnapshot, rows: dict[tuple[str, str, str], list[float]], one: MetricsSnapshot
) -> None:
    for row in one.rows:
        _add_values(
            rows.setdefault((row.route, row.status, row.instance), list(_EMPTY_ROW)), row.values
        )
    _add(total.retries, one.retries)
    _add(total.hedges, one.hedges)
    _add(total.refusals, one.refusals)
    _add(total.connects, one.connects)
    _add(total.connect_failures, one.connect_failures)
    _add(total.events, one.events)
    for data_class, outcomes in one.cache.items():
        _add(total.cache.setdefault(data_class, {}), outcomes)
    for kind, directives in one.reports.items():
        _add(total.reports.setdefault(kind, {}), directives)
    for data_class, reasons in one.fills_refused.items():
        _add(total.fills_refused.setdefault(data_class, {}), reasons)
    for layer, values in one.staleness.items():
        _add_values(total.staleness.setdefault(layer, [0.0] * len(values)), values)
    for layer, seconds in one.unsure_seconds.items():
        total.unsure_seconds[layer] = total.unsure_seconds.get(layer, 0.0) + seconds


def _add_values(sums: list[float], values: list[float]) -> None:
    for index, value in enumerate(values):
        sums[index] += value


def _add(sums: dict[str, int], counts: dict[str, int]) -> None:
    for label, count in counts.items():
        sums[label] = sums.get(label, 0) + count


def _status_label(status: int) -> str:
    return str(status) if status >= 100 else f"{status}xx"
