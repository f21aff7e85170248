"""One connection to an instance: lent to one exchange at a time, its responses parsed strictly.

Place on the path: last stage of the gateway. What is parsed goes to the exchange by the calls of
``ResponseReceiver``. Which connection an exchange gets is decided in ``gateway.connections``;
whether a failed try is made again is the exchange's business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from poruwa.errors import UpstreamError
from poruwa.net.http1 import (
    ChunkedDecoder,
    Refused,
    ResponseHead,
    has_bare_line_end,
    parse_response_head,
    take_response_head,
)
from poruwa.rules.message import CHUNKED, RefusalReason, response_body_framing

if TYPE_CHECKING:
    from poruwa.gateway.connections import InstanceConnections


# What the next bytes of a connection are. Plain numbers, which the compiler inlines.
IDLE: Final = 0
HEAD: Final = 1
LENGTH: Final = 2
CHUNKS: Final = 3
UNTIL_END: Final = 4
TUNNEL: Final = 5
HALF_CLOSED: Final = 6  # a tunnel whose instance has ended its side
CLOSED: Final = 7


class ResponseReceiver(Protocol):
    """Who an upstream connection works for (an exchange)."""

    method: bytes

    def on_connected(self, connection: UpstreamConnection) -> None: ...
    def on_connect_failed(self, error: UpstreamError) -> None: ...
    def on_interim(self, head: ResponseHead) -> None: ...
    def on_response(
        self, head: ResponseHead, framing: int, body: bytes, *, complete: bool
    ) -> None: ...
    def on_body(self, data: bytes, *, complete: bool) -> None: ...
    def on_switched(self, head: ResponseHead, data: bytes) -> None: ...
    def on_tunnel_data(self, data: bytes) -> None: ...
    def on_tunnel_eof(self) -> None: ...
    def on_failed(self, connection: UpstreamConnection, error: UpstreamError) -> None: ...
    def on_upstream_writable(self, *, writable: bool) -> None: ...


class UpstreamConnection:
    """One connection to an instance; ``requests`` counts what it was lent for.

    An ``asyncio.Protocol`` by its methods only, as ``ClientConnection`` is.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_head_limit_bytes",
        "_receiver",
        "_remaining",
        "idle_since",
        "is_reading_paused",
        "is_reusable",
        "owner",
        "received_any",
        "requests",
        "stage",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, owner: InstanceConnections, head_limit_bytes: int) -> None:
        self.owner = owner
        self._head_limit_bytes = head_limit_bytes
        self._receiver: ResponseReceiver | None = None
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._remaining = 0
        self.stage = IDLE
        self.is_reusable = True
        self.is_reading_paused = False
        self.received_any = False
        self.requests = 0
        self.idle_since = 0.0

    def lend(self, receiver: ResponseReceiver) -> None:
        """Give the connection to ``receiver`` for one request and its response."""
        self._receiver = receiver
        self.stage = HEAD
        self.received_any = False
        self.requests += 1

    def release(self) -> None:
        """Take the connection back: into the pool when it can carry another request."""
        self._receiver = None
        if self.stage == IDLE and self.is_reusable and not self._buffer:
            self.resume_reading()
            self.owner.take_back(self)
        else:
            self.abandon()

    def pause_reading(self) -> None:
        """Leave further bytes in the kernel; idempotent."""
        if not self.is_reading_paused:
            self.is_reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; idempotent."""
        if self.is_reading_paused:
            self.is_reading_paused = False
            self.transport.resume_reading()

    def abandon(self) -> None:
        """Close the connection at once; what it still carries is of no use."""
        self._receiver = None
        if self.stage != CLOSED:
            self.stage = CLOSED
            self.transport.abort()

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn of the loop."""
        self.owner.outbox.to_instance(self.transport, data)

    def write_eof(self) -> None:
        """Close the sending side after what was written."""
        self.owner.outbox.flush()
        if not self.transport.is_closing():
            self.transport.write_eof()

    def hang_up(self) -> None:
        """Close when what was written has been sent: the end of a tunnel."""
        self._receiver = None
        if self.stage != CLOSED:
            self.stage = CLOSED
            self.owner.outbox.flush()
            self.transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:  # bytes that answer nothing: RFC 9112 section 9.2 says close
            self.abandon()
            return
        self.received_any = True
        stage = self.stage
        try:
            if stage == HEAD:
                self._take_head(receiver, data)
            elif stage == LENGTH:
                self._take_length(receiver, data)
            elif stage == CHUNKS:
                self._take_chunks(receiver, data)
            elif stage == TUNNEL:
                receiver.on_tunnel_data(data)
            elif stage == UNTIL_END:
                receiver.on_body(data, complete=False)
            else:
                self.is_reusable = False  # more than was announced: whose answer would it be?
        except Refused as refused:
            self._fail(UpstreamError(refused.message, status_hint=502))

    def eof_received(self) -> bool:
        receiver = self._receiver
        if receiver is None:
            self.stage = CLOSED  # nobody may get it between now and connection_lost
            return False
        if self.stage == UNTIL_END:
            self.stage = IDLE
            self.is_reusable = False
            receiver.on_body(b"", complete=True)
        elif self.stage == TUNNEL:
            self.stage = HALF_CLOSED
            receiver.on_tunnel_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.forget(self)
        was, self.stage = self.stage, CLOSED
        if self._receiver is not None and was != IDLE:
            reason = "reset the connection" if exc else "closed the connection"
            part = "before" if was == HEAD else "during"
            self._fail(UpstreamError(f"the instance {reason} {part} its response", status_hint=502))

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.on_upstream_writable(writable=False)

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.on_upstream_writable(writable=True)

    # Parsing.

    def _take_head(self, receiver: ResponseReceiver, data: bytes) -> None:
        """Parse interim heads and the final one, and go on with the body."""
        while True:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            head = take_response_head(data)
            if head is None:
                self._gather_head(data)
                return
            size = len(head.raw)
            if size > self._head_limit_bytes:
                raise Refused(RefusalReason.HEADER_TOO_LARGE)
            data = data[size:]
            if head.status >= 200 or head.status == 101:
                break
            receiver.on_interim(head)
            if not data:
                return
        if head.status == 101:
            self.stage = TUNNEL
            self.is_reusable = False
            receiver.on_switched(head, data)
            return
        self._begin_body(receiver, head, data)

    def _gather_head(self, data: bytes) -> None:
        """Keep a head that is not all there yet; refuse one that never will be one."""
        end = data.find(b"\r\n\r\n") + 4
        if (end if end >= 4 else len(data)) > self._head_limit_bytes:
            raise Refused(RefusalReason.HEADER_TOO_LARGE)
        if end >= 4:
            parse_response_head(data[:end])  # raises, with the reason
        if has_bare_line_end(data):
            raise Refused(RefusalReason.BARE_LINE_END)
        self._buffer = data

    def _begin_body(self, receiver: ResponseReceiver, head: ResponseHead, data: bytes) -> None:
        framing = response_body_framing(
            head.content_length,
            head.transfer_encoding,
            status=head.status,
            minor_version=head.minor_version,
            answers_head=receiver.method == b"HEAD",
        )
        if not isinstance(framing, int):
            raise Refused(framing)
        if head.connection_options()[0]:
            self.is_reusable = False
        if framing >= 0:
            complete = len(data) >= framing
            if complete:
                if len(data) > framing:
                    self.is_reusable = False
                    data = data[:framing]
                self.stage = IDLE
            else:
                self.stage = LENGTH
                self._remaining = framing - len(data)
        elif framing == CHUNKED:
            self.stage = CHUNKS
            self._decoder = ChunkedDecoder()
            data = self._decoder.feed(data) if data else data
            complete = self._end_of_chunks()
        else:
            self.stage = UNTIL_END
            self.is_reusable = False
            complete = False
        receiver.on_response(head, framing, data, complete=complete)

    def _take_length(self, receiver: ResponseReceiver, data: bytes) -> None:
        remaining = self._remaining - len(data)
        if remaining > 0:
            self._remaining = remaining
            receiver.on_body(data, complete=False)
            return
        if remaining < 0:
            self.is_reusable = False
            data = data[:remaining]
        self.stage = IDLE
        receiver.on_body(data, complete=True)

    def _take_chunks(self, receiver: ResponseReceiver, data: bytes) -> None:
        assert self._decoder is not None
        data = self._decoder.feed(data)
        complete = self._end_of_chunks()
        if data or complete:
            receiver.on_body(data, complete=complete)

    def _end_of_chunks(self) -> bool:
        decoder = self._decoder
        assert decoder is not None
        if not decoder.is_complete:
            return False
        if decoder.rest:
            self.is_reusable = False
        self.stage = IDLE
        self._decoder = None
        return True

    def _fail(self, error: UpstreamError) -> None:
        receiver, self._receiver = self._receiver, None
        if self.stage != CLOSED:
            self.stage = CLOSED
            self.transport.abort()
        if receiver is not None:
            receiver.on_failed(self, error)
