"""When a failed try of a request may be made again on another instance.

Asked by the gateway after a try failed and before anything reached the client. Two questions:
is a second send right (``may_retry``), and is there budget for it (``RetryBudget``): retries
without a budget multiply an overload.

Source: RFC 9110 section 9.2.2 (idempotent methods), the Idempotency-Key field; budgets as in
Finagle. How many tries there are at most, and which instance is next, is the caller's business.
"""

from __future__ import annotations

from enum import Enum
from math import exp

IDEMPOTENT_METHODS = frozenset(
    (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"QUERY", b"PROPFIND", b"REPORT")
)
"""Methods that do the same when done twice; extension methods that are not listed are not."""

SAFE_METHODS = frozenset((b"GET", b"HEAD"))
"""Methods whose requests may be under way twice at a time: hedges, and tries beside a late one."""

_NOT_FAILURES = frozenset((501, 505, 510, 511))
"""Server errors that say something of the request, not of the server's health."""

BUDGET_MEMORY_SECONDS = 10.0
"""How long an unused share of the budget lasts: enough to cover the crash of a busy instance."""


class FailureKind(Enum):
    """How a try failed."""

    CONNECT = "connect"  # refused, unreachable, no socket: nothing was sent
    CONNECT_TIMEOUT = "connect-timeout"
    CLOSED = "closed"  # reset or end of stream before a whole response head
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    MALFORMED = "malformed"  # what came is not HTTP
    RESPONSE_TIMEOUT = "response-timeout"  # between two reads
    TRUNCATED = "truncated"  # the body ended early


class RetryDecision(Enum):
    """Whether a try may be made again, and why; the value is the reason in logs and metrics."""

    NOT_CONNECTED = "not-connected"
    NOTHING_SENT = "nothing-sent"
    IDEMPOTENT = "idempotent"
    KEYED = "idempotency-key"
    RESPONSE_BEGUN = "response-begun"
    BODY_GONE = "body-gone"
    MAYBE_DONE = "maybe-done"  # it may have been received and is not safe to do twice

    @property
    def is_retry(self) -> bool:
        return self in _RETRIES


_RETRIES = frozenset(
    (
        RetryDecision.NOT_CONNECTED,
        RetryDecision.NOTHING_SENT,
        RetryDecision.IDEMPOTENT,
        RetryDecision.KEYED,
    )
)


def is_failure_status(status: int) -> bool:
    """Tell whether a response's status counts against the health of the instance that sent it."""
    return status >= 500 and status not in _NOT_FAILURES


def may_retry(
    *,
    method: bytes,
    idempotency_key: bool,
    bytes_sent: bool,
    connection_reused: bool,
    response_begun: bool,
    body_replayable: bool,
    failure: FailureKind,
) -> RetryDecision:
    """Decide on another try.

    Args:
        method: of the request.
        idempotency_key: whether it carries an Idempotency-Key.
        bytes_sent: whether any of it was handed to the kernel on this try.
        connection_reused: whether the try used a kept connection. This changes no decision: a
            close that crosses a POST cannot be told from one after it was read (RFC 9112 section
            9.3.1); the caller keeps a POST off connections that were idle for long.
        response_begun: whether anything of a final response went to the client.
        body_replayable: whether all of the body sent so far can be sent again.
        failure: how the try failed.
    """
    if response_begun:
        return RetryDecision.RESPONSE_BEGUN
    if failure in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT):
        return RetryDecision.NOT_CONNECTED
    if not bytes_sent:
        return RetryDecision.NOTHING_SENT
    if method not in IDEMPOTENT_METHODS and not idempotency_key:
        return RetryDecision.MAYBE_DONE
    if not body_replayable:
        return RetryDecision.BODY_GONE
    return RetryDecision.IDEMPOTENT if method in IDEMPOTENT_METHODS else RetryDecision.KEYED


class RetryBudget:
    """How many retries are affordable now. One per worker and pool; no clock of its own.

    Each request deposits ``share`` of a token, each retry takes one, and ``minimum_per_second``
    flows in besides, so that a quiet site can retry too. What is not used fades with
    ``BUDGET_MEMORY_SECONDS``: in steady state ten seconds' worth is in hand.

    Args:
        share: retries per request in the long run, 0-1.
        minimum_per_second: always affordable, per second.
        now: monotonic seconds; begins with the minimum of ten seconds in hand.
    """

    __slots__ = ("_at", "_minimum", "_share", "_tokens")

    def __init__(self, share: float, minimum_per_second: float, now: float) -> None:
        if share < 0 or minimum_per_second < 0:
            raise ValueError("a retry budget cannot be negative")
        self._share = share
        self._minimum = minimum_per_second
        self._tokens = minimum_per_second * BUDGET_MEMORY_SECONDS
        self._at = now

    def deposit(self) -> None:
        """Count one request (its first try)."""
        self._tokens += self._share

    def take(self, now: float) -> bool:
        """Take one retry's token if there is one. ``now`` is monotonic seconds."""
        self._fade(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def tokens(self, now: float) -> float:
        """Return the tokens in hand."""
        self._fade(now)
        return self._tokens

    def _fade(self, now: float) -> None:
        # Solution of d(tokens)/dt = minimum - tokens / memory over the time elapsed. Requests
        # deposited meanwhile are faded as if they had come at its beginning, which errs low.
        elapsed = now - self._at
        if elapsed <= 0.0:
            return
        self._at = now
        settled = self._minimum * BUDGET_MEMORY_SECONDS
        self._tokens = settled + (self._tokens - settled) * exp(-elapsed / BUDGET_MEMORY_SECONDS)
