"""What ``BalancedTransport`` learned of each route: from when on an answer is late.

A histogram and its patience (``rules.latency``) per route, for at most ``MAX_ROUTES`` routes, those
asked for last.
"""

from __future__ import annotations

from poruwa.config.model import Hedge
from poruwa.rules.latency import LatencyHistogram, Patience, patience

MAX_ROUTES = 64
"""Of one transport. A service has few kinds of requests; names beyond are likely made of ids."""

READ_SECONDS = 0.25
"""How long a patience that was computed is used: quantiles move slowly."""


class _Route:
    __slots__ = ("histogram", "patience", "read_at")

    def __init__(self, settings: Hedge, now: float) -> None:
        self.histogram = LatencyHistogram(now)
        self.patience = patience(self.histogram, settings)
        self.read_at = now


class RouteLatency:
    """Latencies by route; ``now`` is monotonic seconds."""

    __slots__ = ("_routes", "_settings")

    def __init__(self, settings: Hedge) -> None:
        self._settings = settings
        self._routes: dict[str, _Route] = {}

    def patience(self, route: str, now: float) -> Patience:
        """Return from when on an answer of ``route`` is late."""
        known = self._routes.pop(route, None)
        if known is None:
            if len(self._routes) >= MAX_ROUTES:
                del self._routes[next(iter(self._routes))]
            known = _Route(self._settings, now)
        self._routes[route] = known  # last in order: used last
        if now - known.read_at >= READ_SECONDS:
            known.histogram.fade(now)
            known.patience = patience(known.histogram, self._settings)
            known.read_at = now
        return known.patience

    def record(self, route: str, seconds: float) -> None:
        """Note the time to the first byte of a good answer."""
        known = self._routes.get(route)
        if known is not None:
            known.histogram.record(seconds)
