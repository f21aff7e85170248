"""The local bus: messages between the gateway's control process and its workers on one machine.

One stream socket pair per worker, made by the control process and inherited by the worker. Each
message is a 4-byte big-endian length and that many bytes of msgpack: a tagged union of the structs
below. The control process holds a `BusHub`, each worker a `BusClient`.

Not on the path of a request: load and health travel by the shared memory (``shared_state``), the
bus carries what is rare: policy, topology, drain, metrics, published events. It keeps nothing: a
worker that starts later learns the present state from ``Configure``.

A worker that stops reading must not hold up the others: the hub never waits for a worker. What it
cannot send stays in that worker's queue up to `QUEUE_LIMIT_BYTES`; beyond that the worker is cut
off and its owner told, who replaces it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import cast

import msgspec
import structlog

from poruwa.errors import ProtocolError

LENGTH_BYTES = 4
MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024  # far above any policy or snapshot: a larger length is noise
LAST_WORD = 0
QUEUE_LIMIT_BYTES = 8 * 1024 * 1024  # per worker; some hundred metric snapshots

_log = structlog.get_logger(component="bus")


class InstanceEntry(msgspec.Struct, frozen=True):
    """One instance and the slot of the shared memory that holds its state and load."""

    slot: int
    name: str
    address: str
    weight: int


class PoolTopology(msgspec.Struct, frozen=True):
    """The instances of one pool, in the order of the policy."""

    name: str
    instances: list[InstanceEntry]


class Topology(msgspec.Struct, frozen=True, tag="topology"):
    """Every pool. Slots are stable: an instance that stays keeps its slot over changes."""

    pools: list[PoolTopology]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Worker to control, first message: who is at this end."""

    worker: int
    pid: int
    generation: int


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """Control to worker, the answer to ``Hello``: the policy (opaque here) and the topology."""

    policy: bytes
    topology: Topology


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """Worker to control: the policy can be used; it accepts as soon as it is told to."""

    worker: int


class Accept(msgspec.Struct, frozen=True, tag="accept"):
    """Control to worker, the answer to ``Prepared``, for a reload once all are: begin to accept."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Worker to control: it accepts connections."""

    worker: int


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Control to worker: stop accepting, end what runs within ``grace_seconds``, then exit.

    ``idle_seconds``: how long a client's connection may stay without a request before it is closed.
    A later message replaces an earlier one.
    """

    grace_seconds: float
    idle_seconds: float


class Draining(msgspec.Struct, frozen=True, tag="draining"):
    """Worker to control, the answer to ``Drain``: it accepts no more connections."""

    worker: int


class MetricsRequest(msgspec.Struct, frozen=True, tag="metrics-request"):
    """Control to worker: send your metrics under this id."""

    id: int


class MetricsReply(msgspec.Struct, frozen=True, tag="metrics-reply"):
    """Worker to control: the snapshot asked for, encoded by ``observe.metrics``.

    Under the id `LAST_WORD` nobody asked: it is what a worker counted until its end.
    """

    id: int
    snapshot: bytes


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Either way; the hub relays it to every other worker."""

    topic: str
    payload: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Control to worker: answer under this id; what about, says ``topic``."""

    id: int
    topic: str
    payload: bytes


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Worker to control: the answer to ``Ask``."""

    id: int
    payload: bytes


Message = (
    Hello | Configure | Prepared | Accept | Ready | Topology | Drain | Draining
    | MetricsRequest | MetricsReply | Publish | Ask | Answer
)  # fmt: skip


class LostReason(StrEnum):
    """Why the hub has no connection to a worker any more."""

    CLOSED = "closed"
    LAGGING = "lagging"
    PROTOCOL = "protocol"


def encode(message: Message) -> bytes:
    """Return the frame of ``message``: length and msgpack."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class FrameDecoder:
    """Bytes in, messages out, whatever the cuts between reads. No socket, no clock."""

    __slots__ = ("_buffer", "_decoder")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes.

        Raises:
            ProtocolError: a length beyond the limit, or a body that is no message.
        """
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > MESSAGE_LIMIT_BYTES:
                raise ProtocolError(f"bus message of {length} bytes; at most {MESSAGE_LIMIT_BYTES}")
            end = start + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            try:
                messages.append(self._decoder.decode(bytes(buffer[start + LENGTH_BYTES : end])))
            except msgspec.MsgspecError as error:
                raise ProtocolError(f"bus message that cannot be read: {error}") from error
            start = end
        del buffer[:start]
        return messages


class BusClient(asyncio.Protocol):
    """A worker's end. ``on_lost`` is called once, when the control process is gone.

    Args:
        on_message: called in order for each message; must not block.
        on_lost: a worker without control process has nobody to answer to and should drain.
    """

    def __init__(
        self, *, on_message: Callable[[Message], None], on_lost: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._is_closing = False
        self._is_lost = asyncio.Event()

    async def connect(self, fd: int) -> None:
        """Take over the inherited descriptor ``fd`` and begin to read."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        await loop.create_unix_connection(lambda: self, sock=sock)

    def send(self, message: Message) -> None:
        """Queue ``message``; without effect when the control process is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    async def close(self) -> None:
        """Close on purpose: ``on_lost`` is not called; returns when queued messages are sent."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()
            await self._is_lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            _log.error("bus broken", reason=error.message)
            self._transport.abort()
            return
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost.set()
        if not self._is_closing:
            self._on_lost()


class _WorkerLink(asyncio.Protocol):
    """The hub's connection to one worker."""

    def __init__(self, hub: BusHub, index: int) -> None:
        self._hub = hub
        self.index = index
        self.reason = LostReason.CLOSED
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, frame: bytes) -> bool:
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(frame) > QUEUE_LIMIT_BYTES:
            self.reason = LostReason.LAGGING
            transport.abort()
            return False
        transport.write(frame)
        return True

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            _log.error("bus broken", worker=self.index, reason=error.message)
            self.reason = LostReason.PROTOCOL
            self.transport.abort()
            return
        for message in messages:
            self._hub.receive(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub.forget(self)


class BusHub:
    """The control process's end: one link per worker index.

    Args:
        on_message: called with the worker's index for each message but an answer to
            ``MetricsRequest``.
        on_lost: called when a link ends other than by `close` or a newer `attach`.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[int, Message], None],
        on_lost: Callable[[int, LostReason], None],
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._links: dict[int, _WorkerLink] = {}
        self._replies: dict[int, tuple[int, asyncio.Future[bytes | None]]] = {}
        self._last_request_id = 0

    async def attach(self, index: int, sock: socket.socket) -> None:
        """Serve worker ``index`` over ``sock``, instead of the link it may have had before."""
        self.detach(index)
        sock.setblocking(False)
        link = _WorkerLink(self, index)
        self._links[index] = link
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: link, sock=sock)

    def detach(self, index: int) -> None:
        """End the link to worker ``index`` without calling ``on_lost``; requests answer None."""
        link = self._links.pop(index, None)
        if link is not None and link.transport is not None:
            link.transport.abort()
        self._fail_requests(index)

    def close(self) -> None:
        """End all links."""
        for index in list(self._links):
            self.detach(index)

    @property
    def connected(self) -> tuple[int, ...]:
        """Indexes of the workers that have a link, ascending."""
        return tuple(sorted(self._links))

    def send(self, index: int, message: Message) -> bool:
        """Queue ``message`` for one worker; False when it has no link or was just cut off."""
        link = self._links.get(index)
        return link is not None and link.send(encode(message))

    def broadcast(self, message: Message, *, besides: int | None = None) -> int:
        """Queue ``message`` for all workers but ``besides``; return how many got it."""
        frame = encode(message)
        links = [link for index, link in self._links.items() if index != besides]
        return sum(link.send(frame) for link in links)

    async def request_metrics(self, index: int, *, timeout_seconds: float) -> bytes | None:
        """Ask worker ``index`` for its snapshot; None when it does not answer in time.

        Cancelling is safe: a late reply is dropped.
        """
        return await self._request(index, MetricsRequest, timeout_seconds)

    async def ask(
        self, index: int, topic: str, payload: bytes, *, timeout_seconds: float
    ) -> bytes | None:
        """Ask worker ``index``; None when it does not answer in time, e.g. because it is frozen."""
        return await self._request(index, lambda id: Ask(id, topic, payload), timeout_seconds)

    async def _request(
        self, index: int, make: Callable[[int], Message], timeout_seconds: float
    ) -> bytes | None:
        self._last_request_id += 1
        request_id = self._last_request_id
        reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._replies[request_id] = (index, reply)
        try:
            if not self.send(index, make(request_id)):
                return None
            async with asyncio.timeout(timeout_seconds):
                return await reply
        except TimeoutError:
            return None
        finally:
            self._replies.pop(request_id, None)

    def receive(self, link: _WorkerLink, message: Message) -> None:
        """Take one message of a worker: answer a request, relay a publication, tell the owner."""
        if self._links.get(link.index) is not link:
            return  # what a replaced worker still had to say
        if isinstance(message, Answer) or (
            isinstance(message, MetricsReply) and message.id != LAST_WORD
        ):
            waiting = self._replies.get(message.id)
            # The index is compared so that a replaced worker cannot answer for its successor.
            if waiting is not None and waiting[0] == link.index and not waiting[1].done():
                waiting[1].set_result(
                    message.payload if isinstance(message, Answer) else message.snapshot
                )
            return
        if isinstance(message, Publish):
            self.broadcast(message, besides=link.index)
        self._on_message(link.index, message)

    def forget(self, link: _WorkerLink) -> None:
        """Drop a link that has ended by itself and tell the owner why."""
        if self._links.get(link.index) is not link:
            return
        del self._links[link.index]
        self._fail_requests(link.index)
        self._on_lost(link.index, link.reason)

    def _fail_requests(self, index: int) -> None:
        for worker, reply in self._replies.values():
            if worker == index and not reply.done():
                reply.set_result(None)
