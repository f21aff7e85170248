"""The client's side: bytes of a connection in, one exchange at a time out.

Place on the path: first stage of the gateway. A connection is a state machine whose states are
its phase; requests of one connection are served in order, so that pipelining needs no queue: bytes
that come early stay in ``_buffer``, reading stops when that holds ``limits.buffer_bytes``.

Memory of one connection: the head (``limits.header_bytes`` at most), the early bytes
(``limits.buffer_bytes``), the body kept for another try (``retry.replay_body_bytes``), and in each
direction what the transport has not yet sent (``limits.buffer_bytes`` and one read of 256 KiB).

Does not know instances, routes or caches. Source: RFC 9112 sections 2.2, 9.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from poruwa.gateway.error_pages import error_response
from poruwa.gateway.exchange import Exchange
from poruwa.net.http1 import (
    ChunkedDecoder,
    Refused,
    RequestHead,
    has_bare_line_end,
    parse_request_head,
    take_request_head,
)
from poruwa.rules.message import CHUNKED, RefusalReason, body_framing

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway
    from poruwa.observe.access_line import SpokenFields

LINGER_SECONDS = 2.0  # after an early answer: the client may still send and must not get a reset
LINGER_BYTES = 1 << 20
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)++")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for no time at all


# What a connection waits for. Plain numbers, which the compiler inlines: a request compares them a
# dozen times.
HEAD: Final = 0
BODY: Final = 1
ANSWER: Final = 2
TUNNEL: Final = 3
LINGER: Final = 4
CLOSED: Final = 5


class ClientConnection:
    """One connection of a client; ``deadline`` is loop time, looked at by the gateway's sweep.

    An ``asyncio.Protocol`` by its methods, not by inheritance: a compiled class cannot inherit from
    an interpreted one without losing what compiling it gains (``docs/decisions/0003``).
    """

    __slots__ = (
        "_body_left",
        "_buffer",
        "_decoder",
        "_lingered_bytes",
        "_reading_paused",
        "_writing_paused",
        "deadline",
        "eof",
        "exchange",
        "forwarding",
        "forwarding_host",
        "gateway",
        "is_tls",
        "is_trusted",
        "listener_port",
        "peer",
        "peer_host",
        "phase",
        "requests",
        "spoken",
        "transport",
    )

    transport: asyncio.Transport
    is_trusted: bool

    def __init__(
        self,
        gateway: Gateway,
        *,
        is_tls: bool,
        listener_port: int,
        peer_host: str | None = None,
    ) -> None:
        self.gateway = gateway
        self.is_tls = is_tls
        self.listener_port = listener_port
        self.peer_host = peer_host  # from a PROXY header; else the socket's
        self.phase = HEAD
        self.exchange: Exchange | None = None
        # Lines for instances about an untrusted peer, made once for the host it asks for.
        self.forwarding = b""
        self.forwarding_host = b""
        self.spoken: SpokenFields | None = None  # for the access log
        self.requests = 0
        self.eof = False
        self.deadline = 0.0
        self._buffer = b""
        self._body_left = 0
        self._decoder: ChunkedDecoder | None = None
        self._lingered_bytes = 0
        self._reading_paused = False
        self._writing_paused = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        gateway = self.gateway
        if self.peer_host is None:
            peer = transport.get_extra_info("peername")
            self.peer_host = peer[0] if isinstance(peer, tuple) else ""
        self.is_trusted = gateway.trusted.contains(self.peer_host or None)
        self.deadline = gateway.now + gateway.timeouts.header_seconds
        self.transport.set_write_buffer_limits(high=gateway.limits.buffer_bytes)
        refusal = gateway.admit(self)
        if refusal is not None:
            self.refuse(refusal)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == HEAD:
            if self._buffer:
                self._take_gathered(self._buffer + data)
            else:
                self._take_head(data)
        elif phase == BODY:
            self.deadline = self.gateway.now + self.gateway.timeouts.body_seconds
            self._take_body(data)
        elif phase == ANSWER:
            self._buffer += data
            if len(self._buffer) > self.gateway.limits.buffer_bytes:
                self.pause_reading()
        elif phase == TUNNEL:
            assert self.exchange is not None
            self.exchange.on_client_tunnel_data(data)
        elif phase == LINGER:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.close()

    def eof_received(self) -> bool:
        """Keep the sending side open for a client that only closed its own (as HAProxy does)."""
        self.eof = True
        if self.is_tls:
            return False
        if self.phase == ANSWER:
            return True
        if self.phase == HEAD and b"\r\n\r\n" in self._buffer:
            return True  # a request that came whole is answered, also when its turn comes later
        if self.phase == TUNNEL:
            assert self.exchange is not None
            self.exchange.on_client_tunnel_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = CLOSED
        self.gateway.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost()

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self.exchange is not None:
            self.exchange.on_client_writable(writable=False)
        elif self.phase == HEAD:
            # No next request before this answer is on its way: else a client that asks and never
            # reads could make us hold any number of answers.
            self.deadline = self.gateway.now + self.gateway.timeouts.body_seconds
            self.pause_reading()

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.exchange is not None:
            self.exchange.on_client_writable(writable=True)
        elif self.phase == HEAD:
            self._await_head()

    # For the exchange.

    def pause_reading(self) -> None:
        """Stop taking bytes from the client; idempotent."""
        if not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes from the client again; idempotent."""
        if self._reading_paused and self.phase != CLOSED:
            self._reading_paused = False
            self.transport.resume_reading()
            if self.phase == BODY:
                self.deadline = self.gateway.now + self.gateway.timeouts.body_seconds

    def begin_tunnel(self) -> None:
        """Hand every further byte to the exchange, starting with those that came early."""
        self.phase = TUNNEL
        early, self._buffer = self._buffer, b""
        self.resume_reading()
        if early and self.exchange is not None:
            self.exchange.on_client_tunnel_data(early)

    def end_exchange(self, *, keep_alive: bool) -> None:
        """Go on with the next request, or close when the answer has been sent."""
        unread_body = self.phase == BODY
        self.exchange = None
        if self.phase == CLOSED:
            return
        if unread_body:
            self._linger()
        elif not keep_alive or (self.eof and not self._buffer):
            self.close()
        elif self._writing_paused:
            self.phase = HEAD
            self.pause_writing()
        else:
            self._await_head()

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn of the loop."""
        self.gateway.outbox.to_client(self.transport, data)

    def write_message(self, head: bytes, body: bytes) -> None:
        """Send a head and the first bytes of its body."""
        self.gateway.outbox.message_to_client(self.transport, head, body)

    def write_eof(self) -> None:
        """Close the sending side after what was written."""
        self.gateway.outbox.flush()
        if not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close when what was written has been sent, within the time a client has to read it."""
        if self.phase != CLOSED:
            self.phase = LINGER
            self.deadline = self.gateway.now + self.gateway.timeouts.body_seconds
            self.gateway.outbox.flush()
            self.transport.close()

    def abort(self) -> None:
        """Close at once: the client sees that its response is not whole.

        By a reset, since a response that ends with its connection would look complete otherwise.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether the connection is between requests, with nothing of the next one received."""
        return self.phase == HEAD and not self._buffer

    def expire(self) -> None:
        """Act on a deadline that passed."""
        if self.phase == HEAD:
            if self._writing_paused:
                self.abort()
            elif self._buffer:
                self.refuse(RefusalReason.HEADER_TIMEOUT)
            else:
                self.close()
        elif (
            self.phase == BODY
            and not self._reading_paused
            and not (self.exchange is not None and self.exchange.is_queued)
        ):
            self.refuse(RefusalReason.BODY_TIMEOUT)
        elif self.phase in (BODY, ANSWER, TUNNEL):
            assert self.exchange is not None
            self.exchange.on_deadline()
        else:
            self.transport.abort()

    # Reading requests.

    def _await_head(self) -> None:
        """Go on with what came early, or wait for the next request."""
        self.phase = HEAD
        self.deadline = self.gateway.now + self.gateway.timeouts.idle_seconds
        if self._buffer:
            # In its own turn: answers made here without an instance must not recurse.
            self.gateway.loop.call_soon(self._take_early)
        elif self._reading_paused:
            self.resume_reading()

    def _take_early(self) -> None:
        if self.phase == HEAD and self._buffer and not self._writing_paused:
            self._take_gathered(self._buffer)

    def _take_head(self, data: bytes) -> None:
        """Take a request off ``data``, with which it begins: nearly always all of it is there."""
        limits = self.gateway.limits
        head: RequestHead | None = None
        try:
            if len(data) <= limits.header_bytes:
                head = take_request_head(data)
        except Refused:
            pass  # unless a limit does, the same reason will refuse it below
        if (
            head is None
            or head.line_count > limits.header_count
            or head.block_start > limits.request_line_bytes
        ):
            self._take_gathered(data)
        else:
            self._begin_exchange(head, data)

    def _take_gathered(self, data: bytes) -> None:
        """Take a request off what has come of it so far, wait for more of it, or refuse it."""
        if data.startswith(b"\r\n"):  # RFC 9112 section 2.2: empty lines before are ignored
            data = _EMPTY_LINES.sub(b"", data, 1)
        end = data.find(b"\r\n\r\n") + 4
        limits = self.gateway.limits
        if end < 4 or end > limits.header_bytes:
            self._buffer = data
            self._wait_for_head(data)
            return
        raw = data[:end]
        try:
            if raw.find(b"\r\n") > limits.request_line_bytes:
                raise Refused(RefusalReason.REQUEST_LINE_TOO_LONG)
            if raw.count(b"\n") - 2 > limits.header_count:
                raise Refused(RefusalReason.HEADER_TOO_MANY)
            head = parse_request_head(raw)
        except Refused as refused:
            self.refuse(refused.reason)
        else:
            self._begin_exchange(head, data)

    def _begin_exchange(self, head: RequestHead, data: bytes) -> None:
        """Begin with the request that ``head`` and the rest of ``data`` are the first bytes of."""
        size = len(head.raw)
        self._buffer = data[size:] if len(data) > size else b""
        if len(self._buffer) > self.gateway.limits.buffer_bytes:
            self.pause_reading()
        framing = body_framing(
            head.content_length, head.transfer_encoding, minor_version=head.minor_version
        )
        if not isinstance(framing, int):
            self.refuse(framing)
            return
        if head.expect is not None and head.expect.lower() != b"100-continue":
            self.refuse(RefusalReason.EXPECTATION_UNKNOWN)
            return
        self.requests += 1
        self.exchange = exchange = Exchange(self.gateway, self, head, framing)
        if framing == 0:
            self.phase = ANSWER
            exchange.begin()
        else:
            self._begin_body(exchange, framing)

    def _wait_for_head(self, data: bytes) -> None:
        """Check what came of a head that is not complete yet."""
        limits = self.gateway.limits
        if self.eof:
            self.close()
            return
        if not data:
            return
        line_end = data.find(b"\r\n")
        if (line_end if line_end >= 0 else len(data)) > limits.request_line_bytes:
            self.refuse(RefusalReason.REQUEST_LINE_TOO_LONG)
        elif len(data) > limits.header_bytes:
            self.refuse(RefusalReason.HEADER_TOO_LARGE)
        elif has_bare_line_end(data):
            self.refuse(RefusalReason.BARE_LINE_END)
        else:
            self.resume_reading()
            # The first byte starts the head's time; further bytes do not prolong it.
            header_deadline = self.gateway.now + self.gateway.timeouts.header_seconds
            self.deadline = min(self.deadline, header_deadline)

    def _begin_body(self, exchange: Exchange, framing: int) -> None:
        """Take up a body, of which the first bytes may be here."""
        self.phase = BODY
        self.deadline = self.gateway.now + self.gateway.timeouts.body_seconds
        if framing == CHUNKED:
            self._decoder = ChunkedDecoder()
        else:
            self._decoder = None
            self._body_left = framing
        exchange.begin()
        if self.phase == BODY and self._buffer and self.exchange is exchange:
            data, self._buffer = self._buffer, b""
            self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        if self._decoder is None:
            left = self._body_left - len(data)
            self._body_left = max(left, 0)
            if left < 0:
                data, self._buffer = data[:left], data[left:]
            complete = left <= 0
        else:
            decoder = self._decoder
            try:
                data = decoder.feed(data)
            except Refused as refused:
                self.refuse(refused.reason)
                return
            complete = decoder.is_complete
            if complete:
                self._buffer = decoder.rest
        if complete:
            self.phase = ANSWER
        exchange.on_request_body(data, complete=complete)

    # Refusing.

    def refuse(self, reason: RefusalReason) -> None:
        """Answer with the reason's status and close: what follows cannot be told apart."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None and exchange.response_begun:
            exchange.on_client_lost()
            self.abort()
            return
        gateway = self.gateway
        request_id = gateway.new_request_id()
        accept, is_head = b"", False
        security, is_secure = gateway.no_route.error_security, self.is_tls
        if exchange is not None:
            security, is_secure = exchange.route.error_security, exchange.says_hsts()
            request_id, accept = exchange.request_id, exchange.head.field(b"accept") or b""
            is_head = exchange.method == b"HEAD"
            exchange.on_refused(reason)
        else:
            gateway.count_refusal(self, reason, request_id)
        self.write(
            error_response(
                reason.status,
                accept=accept,
                request_id=request_id,
                head_only=is_head,
                keep_alive=False,
                date=gateway.http_date(),
                security=security,
                is_secure=is_secure,
            )
        )
        self._linger()

    def _linger(self) -> None:
        """Close the sending side, and the other when the client has read what was sent."""
        self.phase = LINGER
        self._buffer = b""
        self.deadline = self.gateway.now + LINGER_SECONDS
        if self.is_tls or self.eof:
            self.close()
            return
        self.resume_reading()
        if self.transport.can_write_eof():
            self.write_eof()
