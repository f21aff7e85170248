"""A circuit breaker: after a failure, nobody waits for a server that cannot answer.

    closed ──failure──▶ open ──delay over, one probe──▶ half-open ──answered──▶ closed
                          ▲                                 │
                          └───────────── not answered ──────┘

One failure opens it. All callers share one pipelined connection, and what counts as a failure is
that it stayed without an answer for the whole time-out, or could not be opened (again): then
everybody who had asked waited in vain, and a second such wait would tell nothing new. While it is
open, callers are refused at once; the only one that tries is a probe in the background, so that no
request pays for finding out.

The delay doubles with every failure and is forgotten only once the breaker stayed closed for
``CALM_SECONDS``: a server that answers probes but not the load does not get to stall callers for a
time-out several times a second.

Pattern: Michael Nygard, "Release It!", 2nd edition, chapter 5. No clock and no I/O inside.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FIRST_DELAY_SECONDS: Final = 0.05
LONGEST_DELAY_SECONDS: Final = 1.0
"""A server that comes back is noticed within about this."""

CALM_SECONDS: Final = 10.0


class BreakerState(StrEnum):
    """Whether callers get through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """The state of one server, or of one primary and its replicas.

    Attributes:
        state: for statistics; callers ask ``is_closed``.
        opened: how often it opened, not counting failed probes.
    """

    __slots__ = ("_closed_at", "_delay", "is_closed", "opened", "state")

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.is_closed = True
        self.opened = 0
        self._delay = 0.0  # of the last opening; 0 while nothing is held against the server
        self._closed_at = 0.0

    def fail(self, now: float) -> None:
        """Take note that the server failed a caller, or the probe; ``now`` is monotonic seconds."""
        if self.state is BreakerState.OPEN:
            return  # callers of before the opening: it is known
        if self.state is BreakerState.CLOSED:
            self.opened += 1
            if now - self._closed_at >= CALM_SECONDS:
                self._delay = 0.0
        self.state = BreakerState.OPEN
        self.is_closed = False
        self._delay = min(max(2 * self._delay, FIRST_DELAY_SECONDS), LONGEST_DELAY_SECONDS)

    def delay_seconds(self, random: float) -> float:
        """Return how long the next probe waits from the failure on.

        Args:
            random: in [0, 1); processes that failed together should not return together.
        """
        return self._delay * (0.75 + 0.5 * random)

    def begin_probe(self) -> bool:
        """Become half-open; False when somebody probes already, or nothing is wrong."""
        if self.state is not BreakerState.OPEN:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def succeed(self, now: float) -> None:
        """Take note that the server answered the probe: close."""
        if self.state is not BreakerState.CLOSED:
            self.state = BreakerState.CLOSED
            self.is_closed = True
            self._closed_at = now
