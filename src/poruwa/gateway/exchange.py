"""One request and its answer: from the parsed head to the last byte, over as many tries as needed.

Place on the path: it carries a request through the stages that ``gateway.pipeline`` lists.
Callbacks of two connections meet here (the client's and, through ``gateway.attempt``, the
instance's); there is no task and no future, so a request costs what its callbacks cost (only files
are sent by a task, which is ``gateway.file_sender``'s). Every way an exchange can end goes through
``_end``, once.

What is sent again, and when, is decided in ``poruwa.rules.retry`` and, for tries beside one that is
late, in ``gateway.late_tries``. The heads that are sent come from ``gateway.heads``. Longer than
other files, because all these callbacks share one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from poruwa.errors import UpstreamError
from poruwa.gateway.attempt import FIRST, HEDGE, RETRY, Attempt
from poruwa.gateway.balancer import Instance, Pool
from poruwa.gateway.error_pages import error_response
from poruwa.gateway.heads import (
    interim_head,
    may_say_hsts,
    own_head,
    request_head,
    response_head,
    switching_head,
)
from poruwa.gateway.outbox import LARGE_BYTES
from poruwa.gateway.timing import timing_line
from poruwa.gateway.upstream import HALF_CLOSED
from poruwa.net.http1 import LAST_CHUNK, RequestHead, ResponseHead, encode_chunk
from poruwa.rules.message import CHUNKED, RefusalReason
from poruwa.rules.retry import IDEMPOTENT_METHODS, SAFE_METHODS, FailureKind, may_retry

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway
    from poruwa.gateway.listener import ClientConnection
    from poruwa.gateway.routes import GatewayRoute
    from poruwa.gateway.stored import StoredResponse
    from poruwa.gateway.upstream import UpstreamConnection

CLIENT_GONE_STATUS = 499  # nginx's number for a client that closed before its answer; never sent
# A process that is killed accepts connections until the kernel has torn it down. Where all are
# killed at once, tries in one millisecond meet nothing but such; the last one waits for so long.
LAST_TRY_PAUSE_SECONDS = 0.2
_NO_BODY: Final[list[bytes]] = []  # of every request without; stays empty


class Sender(Protocol):
    """Who sends an exchange's answer piece by piece, where no instance does."""

    def set_writable(self, *, writable: bool) -> None: ...
    def cancel(self) -> None: ...


class Exchange:
    """A request under way. ``started_at`` is loop time in seconds, ``status`` 0 until known."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_complete",
        "_body_taker",
        "_body_taker_bytes",
        "_chunked_to_client",
        "_client_blocked",
        "_close_delimited",
        "_others",
        "_pause",
        "_queued_at",
        "_sender",
        "_upstream_blocked",
        "_wait_until",
        "_waiting_in",
        "attempt",
        "attempts",
        "balancing_key",
        "bound",
        "bytes_in",
        "bytes_out",
        "client",
        "client_address",
        "ended_at",
        "failover_allowed",
        "forwarding",
        "framing",
        "gateway",
        "head",
        "hit_at",
        "identity",
        "instance",
        "is_safe",
        "is_secure",
        "is_status_retried",
        "is_upgrade",
        "keep_alive",
        "method",
        "nominated",
        "observer",
        "path",
        "pool",
        "queued_seconds",
        "request_id",
        "response_begun",
        "response_lines",
        "route",
        "started_at",
        "status",
        "target",
        "tries",
    )

    pool: Pool

    def __init__(
        self, gateway: Gateway, client: ClientConnection, head: RequestHead, framing: int
    ) -> None:
        self.gateway = gateway
        self.client = client
        self.head = head
        self.framing = framing
        self.method = head.method
        self.target = head.target
        self.path = b""
        self.route: GatewayRoute = gateway.no_route
        self.started_at = gateway.loop_time()
        self.hit_at = 0.0  # wall time, where the store has answered at once
        self.ended_at = 0.0  # loop time, where the end came with the head of the response
        close, upgrade, self.nominated = head.connection_options()
        self.keep_alive = not close
        self.is_upgrade = (
            upgrade
            and framing == 0
            and head.minor_version == 1
            and b"upgrade" in head.fields
            # RFC 9113 section 3.1 dropped it; requests inside would pass by every rule of ours.
            and b"h2c" not in head.fields[b"upgrade"].lower()
        )
        self.client_address = client.peer_host or "unix"
        self.is_secure = False
        # Told of the answer before the client is, with its body where all of it is here: what is
        # stored may depend on it.
        self.observer: Callable[[Exchange, ResponseHead, bytes | None], None] | None = None
        self.forwarding = b""  # lines for the instance: whom it serves
        self.identity = b""  # lines for the instance: request id and trace; see ``identity_lines``
        self.response_lines = b""  # lines that stages add to the response
        self.request_id = b""
        self.status = 0
        self.bytes_in = len(head.raw)
        self.bytes_out = 0
        self.tries = 0
        self.response_begun = False
        self.instance: Instance | None = None
        self.bound: Instance | None = None
        self.failover_allowed = True
        # Answers to it may be asked of two instances at a time.
        self.is_safe = (
            framing == 0
            and (self.method == b"GET" or self.method in SAFE_METHODS)
            and not self.is_upgrade
        )
        self.balancing_key = b""
        self.attempt: Attempt | None = None  # the latest, and from its answer on the one that won
        self.attempts: list[Attempt] = []  # all of them, but for kept connections that were closing
        self._others: list[Attempt] | None = None  # those under way beside ``attempt``
        self.is_status_retried = False
        self._pause: asyncio.TimerHandle | None = None  # before the last try
        self.queued_seconds = 0.0
        self._queued_at = 0.0
        self._waiting_in: Pool | None = None
        self._wait_until = 0.0  # loop time; a request that is queued again waits no longer for it
        self._sender: Sender | None = None
        # Kept for another try; None when it grew too large.
        self._body: list[bytes] | None = [] if framing else _NO_BODY
        self._body_bytes = 0
        self._body_complete = framing == 0
        self._body_taker: Callable[[Exchange, bytes], None] | None = None
        self._body_taker_bytes = 0
        self._chunked_to_client = False
        self._close_delimited = False
        self._client_blocked = False
        self._upstream_blocked = False

    def begin(self) -> None:
        """Take the request through the stages until one answers it or an instance has it."""
        self.gateway.handle(self)

    # What stages call.

    def identity_lines(self) -> bytes:
        """Return ``identity``; where id and trace begin here, made when somebody asks."""
        if not self.identity:
            # The request's id is the trace's too.
            self.identity = b"X-Request-Id: %b\r\ntraceparent: 00-%b-%b-02\r\n" % (
                self.request_id,
                self.request_id,
                self.gateway.random.digits(16),
            )
        return self.identity

    def says_hsts(self) -> bool:
        """Tell whether HSTS stands on the answer: over TLS, to a host that it is meant for."""
        return self.is_secure and may_say_hsts(self.head.host)

    def security_lines(self) -> bytes:
        """Return the policy's security fields for an answer that says nothing of them itself."""
        security = self.route.security
        return b"" if security is None else security.lines(is_secure=self.says_hsts())

    def answer(
        self, status: int, fields: bytes = b"", body: bytes = b"", *, keep_alive: bool = True
    ) -> None:
        """Answer without an instance: ``fields`` are header lines, each with its CRLF."""
        self.keep_alive = self.keep_alive and keep_alive
        head = self._own_head(status, fields, len(body))
        self._write_last(status, head if self.method == b"HEAD" else head + body)

    def take_body(self, taker: Callable[[Exchange, bytes], None], *, most_bytes: int) -> None:
        """Have ``taker`` answer, who is called with the whole body once it is here.

        A body of more than ``most_bytes`` is refused instead.
        """
        if self._body_complete:
            taker(self, b"")
            return
        self._body_taker = taker
        self._body_taker_bytes = most_bytes
        if self.head.expect is not None and self.head.minor_version:
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer_by(self, sender: Sender) -> None:
        """Leave the answer to ``sender``: it calls ``begin_answer`` and ``on_body``, or fails.

        It is cancelled when the exchange ends before.
        """
        self._sender = sender
        self._set_first_byte_deadline()

    def begin_answer(self, status: int, fields: bytes, length: int) -> None:
        """Send the head of an answer made here; ``on_body`` takes its ``length`` bytes."""
        self.response_begun = True
        self.status = status
        head = self._own_head(status, fields, length)
        self.bytes_out = len(head)
        self.client.write(head)
        self._set_response_deadline()

    def answer_stored(
        self, status: int, status_text: bytes, block: bytes, lines: bytes, body: bytes, length: int
    ) -> None:
        """Answer with a stored response, or a part of it.

        Args:
            status_text: status and reason phrase.
            block: its field lines, each with the CRLF before it; none of framing or connection.
            lines: further field lines, each with its CRLF.
            body: to be sent; empty for HEAD.
            length: for Content-Length; negative for none, e.g. of a 304.
        """
        self.keep_alive = self.keep_alive and self._body_complete and not self.gateway.is_draining
        if not block:  # nothing of the stored response, where they stand
            lines += self.security_lines()
        head = self._stored_head(status_text, block, lines, length)
        self.status = status
        self.bytes_out = len(head) + len(body)
        client = self.client
        keep_alive = self.keep_alive
        client.write_message(head, body)
        self._end()
        client.end_exchange(keep_alive=keep_alive)

    def answer_hit(self, entry: StoredResponse, now: float, *, has_it: bool) -> bool:
        """Answer with a stored response in the usual case; False leaves it to ``answer_stored``.

        Args:
            has_it: the client has the very same, so that 304 is the answer.
        """
        client = self.client
        if (
            self.method != b"GET"
            or not self.keep_alive
            or self.head.minor_version == 0
            or self.head.timing is not None
            or self.response_lines
            or self.gateway.is_draining
        ):
            return False
        self.hit_at = now
        if has_it:
            self.status = 304
            data = entry.not_modified(now, self.request_id)
            self.bytes_out = len(data)
            client.write(data)
        elif len(entry.body) < LARGE_BYTES:
            self.status = entry.status
            data = entry.hit(now, self.request_id, entry.body)
            self.bytes_out = len(data)
            client.write(data)
        else:
            self.status = entry.status
            data = entry.hit(now, self.request_id, b"")
            self.bytes_out = len(data) + len(entry.body)
            client.write_message(data, entry.body)
        self._end()
        client.end_exchange(keep_alive=True)
        return True

    def hint(self, lines: bytes) -> None:
        """Send a 103 ahead of the answer (RFC 8297); ``lines`` begin with their CRLF."""
        if self.head.minor_version == 1 and not self.response_begun:
            self.client.write(b"HTTP/1.1 103 Early Hints%b\r\n\r\n" % lines)

    def begin_stream(
        self, status: int, status_text: bytes, block: bytes, lines: bytes, length: int
    ) -> None:
        """Send the head of a response whose body follows by ``on_body``; arguments as above.

        A length of -1 is not known yet: the body is chunked, or ends with the connection.
        """
        self.response_begun = True
        self.status = status
        if length == -1:
            self._chunked_to_client = self.head.minor_version == 1
            self._close_delimited = not self._chunked_to_client
        self.keep_alive = (
            self.keep_alive
            and self._body_complete
            and not self._close_delimited
            and not self.gateway.is_draining
        )
        if self._chunked_to_client:
            lines += b"Transfer-Encoding: chunked\r\n"
        head = self._stored_head(status_text, block, lines, length)
        self.bytes_out = len(head)
        self.client.write(head)
        self._set_response_deadline()

    def _stored_head(self, status_text: bytes, block: bytes, lines: bytes, length: int) -> bytes:
        framing = b"Content-Length: %d\r\n" % length if length >= 0 else b""
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self.head.minor_version == 0:
            framing += b"Connection: keep-alive\r\n"
        if self.head.timing is not None:
            framing += timing_line(self, self.status)
        return b"HTTP/1.1 %b%b\r\n%b%bX-Request-Id: %b\r\n%b\r\n" % (
            status_text,
            block,
            lines,
            framing,
            self.request_id,
            self.response_lines,
        )

    def wait_for_fill(self, reader: Sender) -> None:
        """Leave the answer to ``reader``, who calls ``begin_stream`` and ``on_body``, or fails."""
        self._sender = reader
        self.client.deadline = float("inf")  # the fill has deadlines of its own

    def wait_for_word(self, reader: Sender) -> None:
        """Leave the request to ``reader``, who soon says whether it may go on; deadlines stay."""
        self._sender = reader

    def leave_fill(self) -> None:
        """Go on without the fill, or the word, that was waited for."""
        self._sender = None

    def answer_error(self, status: int, *, retry_after: int | None = None) -> None:
        """Answer with an error page, as HTML or a problem document."""
        self.keep_alive = (
            self.keep_alive
            and self._body_complete
            and self.head.minor_version == 1  # an older client must be told to wait for more
            and not self.gateway.is_draining
        )
        self._write_last(
            status,
            error_response(
                status,
                accept=self.head.field(b"accept") or b"",
                request_id=self.request_id,
                head_only=self.method == b"HEAD",
                keep_alive=self.keep_alive,
                date=self.gateway.http_date(),
                retry_after=retry_after,
                extra_lines=self.response_lines,
                security=self.route.error_security,
                is_secure=self.says_hsts(),
            ),
        )

    def dispatch(self, kind: int = FIRST) -> None:
        """Choose an instance and ask for a connection to it; wait in the queue if none is ready."""
        now = self.gateway.loop.time()
        instance = self.pool.choose(
            now=now,
            tried=[each.instance for each in self.attempts] if self.attempts else (),
            bound=self.bound,
            may_probe=self.is_safe,
            key=self.balancing_key,
        )
        if self.bound is not None and instance is not self.bound and not self.failover_allowed:
            self.answer_error(503, retry_after=1)
            return
        if instance is None:
            self._wait_for_instance()
            return
        self.launch(instance, kind, now)

    def launch(self, instance: Instance, kind: int, now: float) -> None:
        """Try ``instance``, beside the tries that are under way."""
        attempt = Attempt(self, self.pool, instance, kind, now)
        if self.attempt is not None:
            if self._others is None:
                self._others = []
            self._others.append(self.attempt)
        self.attempt = attempt
        self.attempts.append(attempt)
        self.tries += 1
        self.instance = instance
        gateway = self.gateway
        if self.is_safe:
            gateway.late_tries.watch(attempt, now)
        replayable = (
            self._body is not None
            and self._may_be_sent_twice()
            and not (gateway.retries_once and self.tries > 1)
        )
        instance.connections.acquire(attempt, now=now, replayable=replayable)
        if attempt.connection is not None or attempt.is_settled:
            return
        attempt.is_waiting = True
        if self._body_complete:
            # Connecting, or every connection is taken: not for ever.
            wait_seconds = gateway.timeouts.connect_seconds + gateway.queue_seconds
            self.client.deadline = gateway.now + wait_seconds

    # From the client's connection.

    def on_request_body(self, data: bytes, *, complete: bool) -> None:
        """Take body bytes: keep them for another try while they are few, send them on."""
        self.bytes_in += len(data)
        self._body_bytes += len(data)
        self._body_complete = complete
        limit = self.route.body_bytes
        if limit and self._body_bytes > limit:
            self.client.refuse(RefusalReason.BODY_TOO_LARGE)
            return
        if self._body_taker is not None:
            self._gather_body(data, complete=complete)
            return
        if self._body is not None:
            if data:
                self._body.append(data)
            if self._body_bytes > self.gateway.replay_body_bytes and self._connection is not None:
                self._body = None
        if self._connection is not None:
            self._send_body(data, complete=complete)
        elif self._body_bytes > self.gateway.limits.buffer_bytes:
            self.client.pause_reading()

    def on_client_lost(self) -> None:
        """The client went away: so does the request."""
        self.status = self.status or CLIENT_GONE_STATUS
        self._end()

    def on_refused(self, reason: RefusalReason) -> None:
        """The client's connection refuses the rest of this request and answers it itself."""
        self.gateway.metrics.refused(reason.code)
        self.status = reason.status
        self._end()

    def on_client_writable(self, *, writable: bool) -> None:
        """Pass the client's back-pressure on to the instance."""
        self._client_blocked = not writable
        if self._sender is not None:
            self._sender.set_writable(writable=writable)
        connection = self._connection
        if connection is not None and self.response_begun:
            if writable:
                connection.resume_reading()
            else:
                connection.pause_reading()
        self._set_response_deadline()

    def on_client_tunnel_data(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self.client.deadline = self._tunnel_deadline()
        connection = self._connection
        if connection is not None:
            connection.write(data)

    def on_client_tunnel_eof(self) -> None:
        """Pass the end of the client's side on; the tunnel ends with the second end."""
        connection = self._connection
        if connection is not None and connection.stage == HALF_CLOSED:
            self.client.close()
        elif connection is not None:
            connection.write_eof()

    @property
    def is_queued(self) -> bool:
        """Whether the request waits for an instance."""
        return self._waiting_in is not None

    def on_deadline(self) -> None:
        """Act on the deadline of the client's connection while this exchange has it."""
        if self._waiting_in is not None:
            self._leave_queue()
            self.answer_error(503, retry_after=1)
        elif self.response_begun:
            self.client.abort()
        elif self._sender is not None:
            self.answer_error(504)
        elif self._connection is None and self._others is None:
            self._abandon_tries()
            self.answer_error(503, retry_after=1)
        else:
            attempt = self.attempt
            assert attempt is not None
            attempt.pool.note_failure(attempt.instance, now=self.gateway.loop.time())
            self._abandon_tries()
            error = UpstreamError("the instance did not answer in time", status_hint=504)
            self._try_failed(attempt, FailureKind.FIRST_BYTE_TIMEOUT, error, reused=False)

    # From the balancer's queue.

    def on_instance_ready(self) -> None:
        self._waiting_in = None
        self.queued_seconds += self.gateway.loop.time() - self._queued_at
        self.dispatch(RETRY if self.attempts else FIRST)

    def on_displaced(self) -> None:
        """Another client's request took the place in the queue: this client has many there."""
        self._waiting_in = None
        self.gateway.metrics.counted("displaced")
        self.answer_error(503, retry_after=1)

    # From the tries.

    def on_connected(self, attempt: Attempt, connection: UpstreamConnection) -> None:
        """Send the request, with what of its body is here."""
        if attempt.is_waiting:
            attempt.sent_at = self.gateway.loop.time()
        self.pool.trust_again(attempt.instance)
        self._upstream_blocked = False
        if connection.requests == 1:
            self.gateway.metrics.connected(attempt.instance.name)
        write = connection.write
        write(request_head(self))
        if self._body:
            for data in self._body:
                write(encode_chunk(data) if self.framing == CHUNKED else data)
        if self._body_complete:
            if self.framing == CHUNKED:
                write(LAST_CHUNK)
            self._set_first_byte_deadline()
        elif self._body is not None and self._body_bytes > self.gateway.replay_body_bytes:
            self._body = None
        if not self._body_complete and not self._upstream_blocked:
            self.client.resume_reading()

    def on_connect_failed(self, attempt: Attempt, error: UpstreamError) -> None:
        self.gateway.metrics.connect_failed(attempt.instance.name)
        self.pool.avoid(attempt.instance, now=self.gateway.loop.time())
        kind = FailureKind.CONNECT if error.status_hint == 502 else FailureKind.CONNECT_TIMEOUT
        self._try_failed(attempt, kind, error, reused=False)

    def on_late(self, attempt: Attempt, now: float) -> None:
        """A try is slower than usual: perhaps another instance answers sooner."""
        self.gateway.late_tries.act(self, attempt, now)

    def pass_interim(self, head: ResponseHead) -> None:
        """Send a 1xx that came for a fill."""
        if self.head.minor_version and not self.response_begun:
            self.client.write(interim_head(head))

    def on_interim(self, attempt: Attempt, head: ResponseHead) -> None:
        """Pass 100, 102, 103 on, to clients that know interim responses (HTTP/1.1)."""
        if self.head.minor_version and attempt is self.attempt:
            self.client.write(interim_head(head))

    def on_response(
        self, attempt: Attempt, head: ResponseHead, framing: int, body: bytes, *, complete: bool
    ) -> None:
        """Send the head on with the first bytes of the body, in one write.

        An answer that counts as a failure gives way to another try's, where there is one.
        """
        if head.status >= 500 and self._has_better_than(attempt, head.status, complete=complete):
            return
        if self._others is not None:
            self._overtake(attempt)
        self.response_begun = True
        if self.is_safe:
            self.route.learn(attempt.answered_at - attempt.sent_at)
        self.status = head.status
        self._body = None
        self._deliver(attempt, head, framing, body, complete=complete)

    def _deliver(
        self, attempt: Attempt, head: ResponseHead, framing: int, body: bytes, *, complete: bool
    ) -> None:
        """Send the answer's head and first bytes to the client."""
        if self.observer is not None:
            self.observer(self, head, body if complete else None)
        if framing < 0:  # chunked or until close: our own chunks, or until close for HTTP/1.0
            self._chunked_to_client = self.head.minor_version == 1
            self._close_delimited = not self._chunked_to_client
            if self._chunked_to_client and body:
                body = encode_chunk(body)
            if self._chunked_to_client and complete:
                body += LAST_CHUNK
        self.keep_alive = (
            self.keep_alive
            and self._body_complete
            and not self._close_delimited
            and not self.gateway.is_draining
        )
        data = response_head(self, head, chunked=self._chunked_to_client)
        self.bytes_out = len(data) + len(body)
        self.client.write_message(data, body)
        if complete:
            self.ended_at = attempt.answered_at
            self._response_complete()
        else:
            self._set_response_deadline()

    def on_body(self, data: bytes, *, complete: bool) -> None:
        if self._chunked_to_client:
            data = encode_chunk(data) if data else b""
            if complete:
                data += LAST_CHUNK
        if data:
            self.bytes_out += len(data)
            self.client.write(data)
        if complete:
            self._response_complete()
        else:
            self._set_response_deadline()

    def on_switched(self, attempt: Attempt, head: ResponseHead, data: bytes) -> None:
        """Join the two connections when the client asked for the switch (RFC 9110 section 7.8)."""
        if not self.is_upgrade:
            self._abandon_tries()
            self.answer_error(502)
            return
        self.response_begun = True
        self.keep_alive = False
        self.status = 101
        self.gateway.metrics.counted("upgraded")
        first = switching_head(self, head) + data
        self.bytes_out += len(first)
        self.client.write(first)
        self.client.deadline = self._tunnel_deadline()
        self.client.begin_tunnel()

    def on_tunnel_data(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.client.deadline = self._tunnel_deadline()
        self.client.write(data)

    def on_tunnel_eof(self) -> None:
        client = self.client
        if client.eof or not client.transport.can_write_eof():  # over TLS there is no half
            client.close()
        else:
            client.write_eof()

    def on_failed(
        self, attempt: Attempt, connection: UpstreamConnection, error: UpstreamError
    ) -> None:
        """The connection of a try ended, or what came on it is not HTTP."""
        if self.response_begun:
            # What was promised cannot be kept; only an aborted connection tells the client so.
            was_tunnel = self.status == 101
            self._end()
            if was_tunnel:
                self.client.close()
            else:
                self.client.abort()
            return
        kind = FailureKind.MALFORMED if connection.received_any else FailureKind.CLOSED
        self._try_failed(attempt, kind, error, reused=connection.requests > 1)

    def on_upstream_writable(self, *, writable: bool) -> None:
        """Pass the instance's back-pressure on to the client."""
        self._upstream_blocked = not writable
        if writable:
            self.client.resume_reading()
        else:
            self.client.pause_reading()

    # Inside.

    def _gather_body(self, data: bytes, *, complete: bool) -> None:
        if self._body_bytes > self._body_taker_bytes:
            self.client.refuse(RefusalReason.BODY_TOO_LARGE)
            return
        gathered, taker = self._body, self._body_taker
        assert gathered is not None
        assert taker is not None
        gathered.append(data)
        if complete:
            taker(self, b"".join(gathered))

    def _send_body(self, data: bytes, *, complete: bool) -> None:
        connection = self._connection
        assert connection is not None
        write = connection.write
        if self.framing == CHUNKED:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if complete else b"")
        if data:
            write(data)
        if complete:
            if self.response_begun:
                self._set_response_deadline()
            else:
                self._set_first_byte_deadline()

    def _may_be_sent_twice(self) -> bool:
        return self.method in IDEMPOTENT_METHODS or self.head.field(b"idempotency-key") is not None

    def _wait_for_instance(self) -> None:
        """Queue the request, or answer 503 when there is no queue or it is full."""
        pool = self.pool
        if not pool.wait(self):
            self.answer_error(503, retry_after=1)
            return
        self._waiting_in = pool
        self._queued_at = self.gateway.loop.time()
        self.gateway.metrics.counted("queued")
        self._wait_until = self._wait_until or self.gateway.now + self.gateway.queue_seconds
        self.client.deadline = self._wait_until

    def _leave_queue(self) -> None:
        if self._waiting_in is not None:
            self._waiting_in.stop_waiting(self)
            self._waiting_in = None

    @property
    def _connection(self) -> UpstreamConnection | None:
        attempt = self.attempt
        return attempt.connection if attempt is not None else None

    def _has_better_than(self, attempt: Attempt, status: int, *, complete: bool) -> bool:
        """Drop an error answer where another try is under way, or may be made, instead of it."""
        gateway = self.gateway
        if self._others is not None:
            attempt.outcome = str(status)
            self._drop(attempt)
            attempt.exchange = None
            attempt.discard(complete=complete)
            return True
        if (
            self.is_status_retried
            or not self.is_safe
            or status not in gateway.retry_statuses
            or self.tries >= gateway.tries
            or not self.failover_allowed
        ):
            return False
        now = gateway.loop.time()
        other = self._untried_instance(now)
        if other is None or not gateway.take_retry():
            return False
        self.is_status_retried = True
        attempt.outcome = str(status)
        attempt.exchange = None
        self.attempt = None
        attempt.discard(complete=complete)
        gateway.metrics.retried("status")
        self.launch(other, RETRY, now)
        return True

    def _untried_instance(self, now: float) -> Instance | None:
        """Return an instance that no try has gone to yet, None when there is none ready."""
        tried = [each.instance for each in self.attempts]
        other = self.pool.choose(now=now, tried=tried, bound=None, may_probe=False, key=b"")
        return None if other is None or other in tried else other

    @property
    def has_others(self) -> bool:
        """Whether more than one try is under way."""
        return self._others is not None

    def add_try(self, kind: int, now: float, pay: Callable[[float], bool]) -> bool:
        """Try another instance beside those under way, if there is one and ``pay`` allows it."""
        other = self._untried_instance(now) if self.failover_allowed else None
        if other is None or not pay(now):
            return False
        self.launch(other, kind, now)
        return True

    def _overtake(self, winner: Attempt) -> None:
        """Make ``winner`` the try whose answer the client gets; the others are too late."""
        if winner is not self.attempt:
            assert self._others is not None
            assert self.attempt is not None
            self._others.remove(winner)
            self._others.append(self.attempt)
            self.attempt = winner
            self.instance = winner.instance
        others, self._others = self._others or [], None
        late_tries = self.gateway.late_tries
        if winner.is_late and any(other.is_late for other in others):
            late_tries.is_slow_by_nature(self.path, winner.answered_at)
        if winner.kind == HEDGE:
            self.gateway.metrics.hedged("won")
        for other in others:
            late_tries.overtaken(other, self.route)

    def _drop(self, attempt: Attempt) -> None:
        """Forget a try that ended while another is under way."""
        others = self._others
        assert others is not None
        if attempt is self.attempt:
            self.attempt = others.pop()
            self.instance = self.attempt.instance
        else:
            others.remove(attempt)
        if not others:
            self._others = None

    def _try_failed(
        self, attempt: Attempt, kind: FailureKind, error: UpstreamError, *, reused: bool
    ) -> None:
        """Try again where the rules allow it, else answer with the failure."""
        gateway = self.gateway
        attempt.outcome = attempt.outcome or kind.value
        attempt.settle()
        attempt.exchange = None
        if self._others is not None:
            self._drop(attempt)
            return
        if self.attempt is attempt:
            self.attempt = None
        decision = may_retry(
            method=self.method,
            idempotency_key=self.head.field(b"idempotency-key") is not None,
            bytes_sent=kind not in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT),
            connection_reused=reused,
            response_begun=self.response_begun,
            body_replayable=self._body is not None,
            failure=kind,
        )
        if kind is FailureKind.CONNECT:
            # Nothing was sent, so it costs no budget. Where nobody accepts, e.g. while all restart,
            # it is as good as nobody being up: the request waits, as long as the queue lets it.
            if self.pool.is_refusing() or self.tries >= gateway.tries:
                self.attempts.clear()
                self.tries = 0
                self._wait_for_instance()
            else:
                gateway.metrics.retried(kind.value)
                self.dispatch(RETRY)
            return
        if decision.is_retry:
            # An instance that closes an idle connection as we use it is nobody's failure: such a
            # try is free, the instance may have the next one too, and each one uses up one more
            # kept connection, so that they end. Where one retry is all there is, whatever for
            # (RFC 9110 section 9.2.2), it is made on a new connection.
            if reused and kind is FailureKind.CLOSED and not gateway.retries_once:
                self.attempts.remove(attempt)
                self.tries -= 1
                gateway.metrics.retried("idle-close")
                self.dispatch(attempt.kind)
                return
            if self.tries < gateway.tries and gateway.take_retry():
                gateway.metrics.retried(kind.value)
                if kind is FailureKind.CLOSED and 1 < self.tries == gateway.tries - 1:
                    self._pause = gateway.loop.call_later(LAST_TRY_PAUSE_SECONDS, self._go_on)
                else:
                    self.dispatch(RETRY)
                return
        gateway.log_failure(self, attempt.instance, error, decision)
        self.answer_error(error.status_hint)

    def _go_on(self) -> None:
        self._pause = None
        self.dispatch(RETRY)

    def _response_complete(self) -> None:
        connection: UpstreamConnection | None = None
        attempt = self.attempt
        if attempt is not None:  # else a file was sent
            connection, attempt.connection = attempt.connection, None
        keep_alive = self.keep_alive
        client = self.client
        self._end()
        if connection is not None:
            if not self._body_complete:
                connection.is_reusable = False
            connection.release()
        client.end_exchange(keep_alive=keep_alive)

    def _own_head(self, status: int, fields: bytes, length: int) -> bytes:
        """Return the head of an answer made here; settles whether the connection is kept."""
        self.keep_alive = self.keep_alive and self._body_complete and not self.gateway.is_draining
        # RFC 9110 section 8.6: none in a 204, and in a 304 it would be the whole content's.
        size = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % length
        connection = b""
        if not self.keep_alive:
            connection = b"Connection: close\r\n"
        elif self.head.minor_version == 0:
            connection = b"Connection: keep-alive\r\n"
        lines = b"Date: %b\r\n%b%b%bX-Request-Id: %b\r\n%b%b" % (
            self.gateway.http_date(),
            fields,
            self.security_lines(),
            size,
            self.request_id,
            self.response_lines,
            connection,
        )
        return own_head(status, lines)

    def _write_last(self, status: int, data: bytes) -> None:
        """Send a whole answer made here and go on with the connection."""
        self.status = status
        self.bytes_out = len(data)
        client = self.client
        keep_alive = self.keep_alive and self._body_complete
        client.write(data)
        self._end()
        client.end_exchange(keep_alive=keep_alive)

    def _abandon_tries(self) -> None:
        """End all tries; whoever asked has no use for their answers any more."""
        attempt, self.attempt = self.attempt, None
        others, self._others = self._others, None
        if attempt is not None:
            attempt.abandon()
        for other in others or ():
            other.abandon()

    def _end(self) -> None:
        """Settle accounts: load, connection, metrics, log. Called exactly once."""
        self._leave_queue()
        attempt = self.attempt
        if attempt is not None:
            if self.status == 101 and attempt.connection is not None:
                attempt.connection.hang_up()
                attempt.connection = None
            if self._others is None and attempt.connection is None and attempt.answered_at:
                attempt.settle()  # the usual end
                attempt.exchange = None  # or the two would keep each other
            else:
                self._abandon_tries()
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self.client.exchange is self:
            self.client.exchange = None
        self._record()

    def _record(self) -> None:
        self.gateway.record(self)

    def _set_first_byte_deadline(self) -> None:
        seconds = self.route.first_byte_seconds
        self.client.deadline = self.gateway.now + seconds if seconds else float("inf")

    def _set_response_deadline(self) -> None:
        gateway = self.gateway
        if not self.response_begun or self.status == 101:
            return
        timeouts = gateway.timeouts
        seconds = timeouts.body_seconds if self._client_blocked else timeouts.response_seconds
        self.client.deadline = gateway.now + seconds if seconds else float("inf")

    def _tunnel_deadline(self) -> float:
        seconds = self.gateway.timeouts.tunnel_seconds
        return self.gateway.now + seconds if seconds else float("inf")
