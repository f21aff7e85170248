"""The counts of one app process as a Prometheus page, for who asks the process itself.

The gateway's own page is ``observe.metrics``; this one is of the layers behind it. It is refused to
whatever came through a proxy: the gateway writes ``X-Forwarded-For`` on every request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Receive, Scope, Send

from poruwa.app.cache.layers import Layers
from poruwa.app.cache.statistics import BUCKETS_SECONDS, ClassStatistics, Latency
from poruwa.rules.position import epoch_of, n_of
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.change_stats import BOUNDS_SECONDS, Histogram

PATH: Final = "/_poruwa/metrics"
_PROXIED: Final = frozenset((b"x-forwarded-for", b"forwarded", b"via"))

# Name of the answer -> attribute: who answered a call, or why no cache was asked.
_ANSWERS: Final = {
    "memory": "hits",
    "stale": "stale",
    "joined": "joined",
    "shared": "shared_hits",
    "loader": "loads",
    "stale_on_error": "stale_on_error",
    "unsure": "bypassed_unsure",
    "behind": "bypassed_behind",
}
_COUNTS: Final = {
    "load_failures": "Loads that raised.",
    "absent": "Loads that found nothing.",
    "shared_misses": "Objects that L2 had not.",
    "shared_changed": "Objects that L2 had, and a change had made invalid.",
    "shared_bytes_read": "Bytes of objects read from L2.",
    "shared_bytes_written": "Bytes of objects written to L2.",
    "refreshes": "Loads ahead of need.",
    "refreshes_put_off": "Loads ahead of need that the budget did not allow.",
    "waited": "Loads that waited for another process's.",
    "changes": "Objects in L1 that a change made invalid.",
}


def platform_metrics(
    statistics: Mapping[str, ClassStatistics], layers: Layers, log: ChangeLog | None
) -> bytes:
    """Return the page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(statistics, layers, log))
    return generate_latest(registry)


class MetricsPage:
    """Answers ``/_poruwa/metrics``; everything else is the app's.

    Args:
        text: makes the page.
    """

    def __init__(self, app: ASGIApp, *, text: Callable[[], bytes]) -> None:
        self.app = app
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        is_proxied = any(name.lower() in _PROXIED for name, _ in scope["headers"])
        body = b"Not found\n" if is_proxied else self._text()
        kind = b"text/plain" if is_proxied else CONTENT_TYPE_PLAIN_0_0_4.encode()
        fields = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        status = 404 if is_proxied else 200
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


class _Page(Collector):
    def __init__(
        self,
        statistics: Mapping[str, ClassStatistics],
        layers: Layers,
        log: ChangeLog | None,
    ) -> None:
        self._statistics = statistics
        self._layers = layers
        self._log = log

    def collect(self) -> Iterator[Metric]:
        classes = sorted(self._statistics.items())
        answers = CounterMetricFamily(
            "poruwa_app_cache_calls", "Calls by who answered them.", labels=("class", "by")
        )
        not_kept = CounterMetricFamily(
            "poruwa_app_cache_not_kept", "Loaded, and not kept.", labels=("class", "reason")
        )
        for name, counts in classes:
            for answer, attribute in _ANSWERS.items():
                answers.add_metric((name, answer), getattr(counts, attribute))
            for reason, count in counts.not_kept.items():
                not_kept.add_metric((name, str(reason)), count)
        yield answers
        yield not_kept
        for attribute, text in _COUNTS.items():
            family = CounterMetricFamily(f"poruwa_app_cache_{attribute}", text, labels=("class",))
            for name, counts in classes:
                family.add_metric((name,), getattr(counts, attribute))
            yield family
        for attribute, text in (("entries", "Objects in L1."), ("bytes", "Their bytes.")):
            gauge = GaugeMetricFamily(f"poruwa_app_cache_{attribute}", text, labels=("class",))
            for name, counts in classes:
                gauge.add_metric((name,), getattr(counts, attribute))
            yield gauge
        yield _histogram(
            "poruwa_app_cache_load_seconds",
            "Of the loaders.",
            {name: counts.load_seconds for name, counts in classes},
        )
        yield _histogram(
            "poruwa_app_cache_shared_seconds",
            "Of L2's answers.",
            {name: counts.shared_seconds for name, counts in classes},
        )
        yield from self._process()

    def _process(self) -> Iterator[Metric]:
        layers = self._layers
        position = layers.log.position  # two numbers: a float would round the one
        yield GaugeMetricFamily(
            "poruwa_app_epoch", "Of the log of changes.", value=epoch_of(position)
        )
        yield GaugeMetricFamily(
            "poruwa_app_position", "Of the last change applied, in its epoch.", value=n_of(position)
        )
        yield GaugeMetricFamily(
            "poruwa_app_sure", "Whether no change can have been missed.", value=layers.is_sure()
        )
        yield CounterMetricFamily(
            "poruwa_app_cache_evictions", "From L1, for room.", value=layers.memory.evictions
        )
        if self._log is None:
            return
        stats = self._log.stats
        yield CounterMetricFamily(
            "poruwa_app_unsure_seconds",
            "Time in which changes may have been missed.",
            value=self._log.unsure_seconds(),
        )
        yield _of_log("poruwa_app_staleness_seconds", "From a write until here.", stats.staleness)
        yield _of_log(
            "poruwa_app_acknowledgement_seconds",
            "From a change's append until every layer had it.",
            stats.acknowledgements,
        )


def _of_log(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*(str(bound) for bound in BOUNDS_SECONDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum_seconds)


def _histogram(name: str, text: str, values: Mapping[str, Latency]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("class",))
    bounds = [*(str(bound) for bound in BUCKETS_SECONDS), "+Inf"]
    for data_class, latency in values.items():
        counts = accumulate(latency.counts)
        family.add_metric(
            (data_class,), list(zip(bounds, counts, strict=True)), sum_value=latency.seconds
        )
    return family
