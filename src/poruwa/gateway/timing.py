"""What was done for one request, told on its response to an operator who asks.

A request with ``Poruwa-Timing: KEY`` gets a ``Server-Timing`` field (W3C Server Timing) that names
its time in the queue and every try: instance, why it was made, how it ended, how long it took. The
key is ``gateway.timing_key`` of the policy. Without one it is told to clients on this machine, whom
no proxy has spoken for: names of instances and times are nothing for strangers.

    Server-Timing: queue;dur=0.0, try1;dur=104.2;desc="app.1 first overtaken",
                   try2;dur=52.0;desc="app.2 hedge 200"
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from poruwa.gateway.attempt import KIND_NAMES, Attempt

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
_LOCAL = frozenset(("127.0.0.1", "::1", "unix"))


def timing_line(exchange: Exchange, status: int) -> bytes:
    """Return the ``Server-Timing`` line of a response, empty unless an operator asked for it."""
    given = exchange.head.timing
    if given is None or not _may_know(exchange, given):
        return b""
    now = exchange.gateway.loop.time()
    parts = [f"queue;dur={exchange.queued_seconds * 1000:.1f}"]
    for number, attempt in enumerate(exchange.attempts, start=1):
        seconds = (attempt.answered_at or now) - attempt.started_at
        parts.append(f'try{number};dur={seconds * 1000:.1f};desc="{_told(attempt, status)}"')
    return b"Server-Timing: " + ", ".join(parts).encode("ascii", "replace") + b"\r\n"


def _told(attempt: Attempt, status: int) -> str:
    outcome = attempt.outcome or (str(status) if attempt.answered_at else "under way")
    words = f"{attempt.instance.name} {KIND_NAMES[attempt.kind]} {outcome}"
    return words.replace("\\", " ").replace('"', "'")


def _may_know(exchange: Exchange, given: bytes) -> bool:
    key = exchange.gateway.timing_key
    if key is not None:
        return hmac.compare_digest(given, key)
    return exchange.client_address in _LOCAL and not any(
        exchange.head.field(name) is not None for name in _FORWARDED
    )
