"""Browsers' reports of violated policies: taken here, counted, kept; no instance sees them.

Place on the path: the guard hands over ``POST /_poruwa/reports``, where the policy's security
fields send browsers. Browsers report without cookies and, for policies that other sites' pages
violate, from elsewhere: where a report comes from is never a reason to refuse it. What one may say
is decided in ``poruwa.rules.violation_report``; ``poruwa reports`` shows what came.

| refused                                    | with |
|--------------------------------------------|------|
| another media type than browsers send      | 415  |
| a body above 64 KiB                        | 413  |
| what is no report                          | 400  |
| more than thirty bodies a minute and client | 429  |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from poruwa.observe.report_store import ReportStore
from poruwa.rules.rate_limit import client_bucket
from poruwa.rules.violation_report import MAX_BODY_BYTES, MEDIA_TYPES, parse_reports

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.observe.metrics import GatewayMetrics

MAX_PER_CLIENT: Final = 30  # bodies a window; a page in trouble sends one or two
MAX_CLIENTS: Final = 1024  # told apart in a window; all others share the same number
WINDOW_SECONDS: Final = 60.0
_OTHERS: Final = ""
_NO_STORE: Final = b"Cache-Control: no-store\r\n"


class BrowserReports:
    """The reports that come to one worker.

    Args:
        folder: where they are kept; None to count them only.
    """

    def __init__(self, metrics: GatewayMetrics, folder: Path | None) -> None:
        self._metrics = metrics
        self._store = ReportStore(folder) if folder is not None else None
        self._window_start = float("-inf")
        self._taken: dict[str, int] = {}
        self._dropped = 0

    def admits(self, client_address: str, now: float) -> bool:
        """Count a body of a client; tell whether it has sent no more than it may."""
        if now - self._window_start >= WINDOW_SECONDS:
            self._window_start = now
            self._taken.clear()
        bucket = client_bucket(client_address)
        if bucket not in self._taken and len(self._taken) >= MAX_CLIENTS:
            bucket = _OTHERS
        count = self._taken[bucket] = self._taken.get(bucket, 0) + 1
        return count <= MAX_PER_CLIENT

    def take(self, exchange: Exchange, body: bytes) -> None:
        """Answer a report whose body is here."""
        try:
            reports = parse_reports(body)
        except ValueError:
            _refuse(exchange, 400, "report-malformed")
            return
        gateway = exchange.gateway
        at = gateway.wall_time()
        for report in reports:
            self._metrics.reported(report.kind, report.label)
            if self._store is not None:
                self._store.add(report, now=gateway.now, at=at)
        exchange.answer(204, _NO_STORE)

    def tick(self, now: float) -> None:
        """Let the disk have what came; called by the sweep."""
        store = self._store
        if store is None:
            return
        store.tick(now)
        if store.dropped != self._dropped:
            self._metrics.counted("reports_dropped", store.dropped - self._dropped)
            self._dropped = store.dropped

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


def take_report(exchange: Exchange) -> bool:
    """Take a report over, or refuse it; always answers."""
    reports = exchange.gateway.reports
    if reports is None:
        exchange.answer_error(404)
        return True
    stated = exchange.head.field(b"content-type") or b""
    if stated.partition(b";")[0].strip(b" \t").lower() not in MEDIA_TYPES:
        exchange.response_lines += b"Accept: " + b", ".join(MEDIA_TYPES) + b"\r\n"
        _refuse(exchange, 415, "report-type")
    elif not reports.admits(exchange.client_address, exchange.gateway.now):
        _refuse(exchange, 429, "report-rate", retry_after=int(WINDOW_SECONDS))
    else:
        exchange.take_body(reports.take, most_bytes=MAX_BODY_BYTES)
    return True


def _refuse(exchange: Exchange, status: int, reason: str, retry_after: int | None = None) -> None:
    exchange.gateway.metrics.refused(reason)
    exchange.answer_error(status, retry_after=retry_after)
