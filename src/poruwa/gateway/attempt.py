"""One try of a request at one instance.

Place on the path: between the exchange, which makes tries, and the connection that carries one.
An exchange has one try at a time until it hedges; then the first answer wins. A try that was
overtaken is not cut off at once: its instance goes on working at it, so it goes on counting as
under way there, until it answers (the connection is kept) or its time-out shows that the instance
and not the request is at fault. Cut off at once, a frozen instance would look the least loaded of
all.

Decides nothing about the request: whether there is another try is the exchange's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poruwa.errors import UpstreamError
from poruwa.net.http1 import ResponseHead
from poruwa.rules.retry import is_failure_status

if TYPE_CHECKING:
    from poruwa.gateway.balancer import Instance, Pool
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.upstream import UpstreamConnection

# Why a try was made. Plain numbers, which the compiler inlines.
FIRST: Final = 0
RETRY: Final = 1  # after one that failed
HEDGE: Final = 2  # beside one that is slower than usual
LATE: Final = 3  # beside one that outlived its time-out
KIND_NAMES = ("first", "retry", "hedge", "late")

NEVER: Final = float("inf")


class Attempt:
    """A try; the receiver of its connection's calls. Times are loop time in seconds.

    Attributes:
        exchange: whom it works for; None once another try was faster.
        watch_at: when ``overdue`` is to be called, unless the first byte came; ``NEVER``.
        is_late: whether it has been slower than usual already.
        answered_at: when the head of its response came; 0.0 before.
        outcome: for people: status, or how it ended.
    """

    __slots__ = (
        "answered_at",
        "connection",
        "exchange",
        "instance",
        "is_late",
        "is_settled",
        "is_waiting",
        "kind",
        "method",
        "outcome",
        "pool",
        "sent_at",
        "started_at",
        "watch_at",
    )

    def __init__(
        self, exchange: Exchange, pool: Pool, instance: Instance, kind: int, now: float
    ) -> None:
        self.exchange: Exchange | None = exchange
        self.method = exchange.method
        self.pool = pool
        self.instance = instance
        self.kind = kind
        self.connection: UpstreamConnection | None = None
        self.started_at = now
        self.sent_at = now
        self.answered_at = 0.0
        self.watch_at = NEVER
        self.is_late = False
        self.is_settled = False
        self.is_waiting = False  # for a connection
        self.outcome = ""
        pool.row.begin(instance.slot)

    def settle(self) -> None:
        """Take the try off its instance's load; idempotent."""
        if not self.is_settled:
            self.is_settled = True
            self.watch_at = NEVER
            self.pool.row.end(self.instance.slot)
            if self.pool.has_waiting:
                self.pool.serve_soon()

    def abandon(self, outcome: str = "abandoned") -> None:
        """End the try without an answer: its connection is closed."""
        self.exchange = None
        self.outcome = self.outcome or outcome
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abandon()
        elif not self.is_settled and not self.answered_at:
            self.instance.connections.give_up(self)
        self.settle()

    def release(self) -> None:
        """Give the connection back after a whole answer."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def is_overtaken(self, watch_at: float) -> None:
        """Take note that another try was faster; ``watch_at`` is when this one has failed."""
        self.exchange = None
        self.outcome = "overtaken"
        self.is_late = True
        self.watch_at = watch_at

    def overdue(self, now: float) -> None:
        """Act on ``watch_at``: no byte of an answer came by then."""
        self.watch_at = NEVER
        if self.exchange is not None:
            self.exchange.on_late(self, now)
        else:
            # Another instance has answered the same request meanwhile: this one is at fault.
            self.pool.note_failure(self.instance, now=now)
            self.abandon()

    # From the connection.

    def on_connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        if self.exchange is not None:
            self.exchange.on_connected(self, connection)
        else:
            self.abandon()  # nothing was sent, and nobody wants the answer any more

    def on_connect_failed(self, error: UpstreamError) -> None:
        self.outcome = error.message
        if error.status_hint == 504:
            # In time nobody accepted. A refused connection is no failure to be counted: nobody is
            # there, which the pool's own ``avoid`` and the active checks know best.
            self.pool.note_failure(self.instance, now=self.pool.now())
        if self.exchange is not None:
            self.exchange.on_connect_failed(self, error)
        else:
            self.settle()

    def on_interim(self, head: ResponseHead) -> None:
        if self.exchange is not None:
            self.exchange.on_interim(self, head)

    def on_response(self, head: ResponseHead, framing: int, body: bytes, *, complete: bool) -> None:
        now = self.pool.now()
        self.answered_at = now
        self.watch_at = NEVER
        if head.status >= 500 and is_failure_status(head.status):
            self.pool.note_failure(self.instance, now=now)
        else:
            self.pool.note_answer(self.instance, seconds=now - self.sent_at, now=now)
        if self.exchange is not None:
            self.exchange.on_response(self, head, framing, body, complete=complete)
        else:
            self.discard(complete=complete)

    def discard(self, *, complete: bool) -> None:
        """Drop the answer: keep the connection if it came whole, else close it."""
        if complete:
            self.release()
            self.settle()
        else:
            self.abandon()

    def on_body(self, data: bytes, *, complete: bool) -> None:
        if self.exchange is not None:
            self.exchange.on_body(data, complete=complete)

    def on_switched(self, head: ResponseHead, data: bytes) -> None:
        self.answered_at = self.pool.now()
        if self.exchange is not None:
            self.exchange.on_switched(self, head, data)
        else:
            self.abandon()

    def on_tunnel_data(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.on_tunnel_data(data)

    def on_tunnel_eof(self) -> None:
        if self.exchange is not None:
            self.exchange.on_tunnel_eof()

    def on_failed(self, connection: UpstreamConnection, error: UpstreamError) -> None:
        """The connection ended, or what came on it is not HTTP."""
        if connection is not self.connection:
            return
        self.connection = None
        self.watch_at = NEVER
        self.outcome = error.message
        # One that closes a kept connection as it is used is nobody's failure.
        is_idle_close = connection.requests > 1 and not connection.received_any
        if not is_idle_close and not self.answered_at:
            self.pool.note_failure(self.instance, now=self.pool.now())
        if self.exchange is not None:
            self.exchange.on_failed(self, connection, error)
        else:
            self.settle()

    def on_upstream_writable(self, *, writable: bool) -> None:
        if self.exchange is not None:
            self.exchange.on_upstream_writable(writable=writable)
