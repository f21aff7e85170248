"""Responses counted by route, status and instance: what every request adds to a worker's metrics.

Apart from ``observe.metrics``, which makes a page of it, because this is compiled and that is not:
counted for every response, read a few times a minute. Labels are bounded, as there.
"""

from __future__ import annotations

from bisect import bisect_left
from http import HTTPStatus
from typing import Final

BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histogram; 0.2 is the target of cached responses (E2)."""

OTHER: Final = "other"  # label of everything past a bound
MAX_ROUTES: Final = 500
MAX_INSTANCES: Final = 1000
MAX_ROWS: Final = 20_000

_SHORTEST: Final = 0.005  # the first bucket's bound: most hits need no search
_KNOWN_STATUSES: Final = frozenset(int(status) for status in HTTPStatus) | {499}


class ResponseRow:
    """What is counted of one route, status and instance."""

    __slots__ = ("buckets", "bytes_in", "bytes_out", "seconds", "shortest")

    def __init__(self) -> None:
        self.shortest = 0  # of the first bucket
        self.buckets = [0] * (len(BUCKETS_SECONDS) + 1)  # of the others
        self.seconds = 0.0
        self.bytes_in = 0
        self.bytes_out = 0

    def values(self) -> list[float]:
        """Return requests per bucket, then the sums of seconds, bytes in and bytes out."""
        return [
            self.shortest,
            *self.buckets[1:],
            self.seconds,
            self.bytes_in,
            self.bytes_out,
        ]


class ResponseCounts:
    """The rows of one worker. Not shared between processes or threads."""

    __slots__ = ("_instance", "_instances", "_route", "_routes", "_row", "_rows", "_status")

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int, str | None], ResponseRow] = {}
        self._routes: set[str] = set()
        self._instances: set[str] = set()
        # The latest: a worker's responses are often alike.
        self._route = ""
        self._status = -1
        self._instance: str | None = None
        self._row = ResponseRow()

    def record(
        self,
        route: str,
        status: int,
        instance: str | None,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
    ) -> None:
        """Count one response; arguments as of ``GatewayMetrics.record``."""
        if status == self._status and route is self._route and instance is self._instance:
            row = self._row
        else:
            found = self._rows.get((route, status, instance))
            row = self._new_row(route, status, instance) if found is None else found
            self._route, self._status, self._instance, self._row = route, status, instance, row
        if seconds <= _SHORTEST:
            row.shortest += 1
        else:
            row.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        row.seconds += seconds
        row.bytes_in += bytes_in
        row.bytes_out += bytes_out

    def rows(self) -> list[tuple[str, int, str | None, list[float]]]:
        """Return route, status, instance and ``ResponseRow.values`` of each row."""
        return [(*key, row.values()) for key, row in self._rows.items()]

    def _new_row(self, route: str, status: int, instance: str | None) -> ResponseRow:
        route = _bounded(route, self._routes, MAX_ROUTES)
        if instance is not None:
            instance = _bounded(instance, self._instances, MAX_INSTANCES)
        if status not in _KNOWN_STATUSES:
            status = status // 100  # 1-9: the whole class
        key = (route, status, instance)
        if key not in self._rows and len(self._rows) >= MAX_ROWS:
            key = (OTHER, status // 100 or status, None)
        row = self._rows.get(key)
        if row is None:
            self._rows[key] = row = ResponseRow()
        return row


def _bounded(label: str, known: set[str], limit: int) -> str:
    """Return ``label``, or ``OTHER`` if it is new and ``limit`` labels are known already."""
    if label not in known:
        if len(known) >= limit:
            return OTHER
        known.add(label)
    return label
