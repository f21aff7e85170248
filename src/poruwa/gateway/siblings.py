"""One fill for all workers of the machine: whom to ask instead of the origin, and who asks us.

Place on the path: between a fill and the origin. A fill that begins claims its key in the fill
table (``gateway.fill_table``).

| the key is           | and                              | the fill                          |
|----------------------|----------------------------------|-----------------------------------|
| claimed by us now    | nobody is known to have it       | asks the origin                   |
| claimed by us now    | a sibling stored it last         | asks the sibling, then the origin |
| claimed by a sibling | it shows life                    | asks it, and reads along          |
| claimed by a sibling | it is frozen, or not to be found | asks the origin, without a claim  |

An owner lends only what it has claimed and what it has stored, never what it is being lent: so
nobody waits for one who waits. What it lends is the stored response as it arrives; an answer that
turns out not to be for all is not lent, and the asker's clients ask for themselves.

Each worker listens on an abstract Unix socket whose name comes of the machine's secret; both ends
ask the kernel who the other is (SO_PEERCRED), so that no name can be taken by somebody else.

Times are monotonic: seconds of the loop, or nanoseconds where two workers compare them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Coroutine
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog

from poruwa.gateway import sibling_wire as wire
from poruwa.gateway.fill_table import MOST_CLAIMS, OURS, FillTable
from poruwa.gateway.shared_state import SharedState
from poruwa.gateway.stored import StoredResponse
from poruwa.rules.cache_control import NO_DIRECTIVES
from poruwa.rules.coherence_fields import POSITION_LINE

if TYPE_CHECKING:
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.fill import Fill

SILENT_SECONDS: Final = 0.6
"""Six missed beats: an owner without heartbeat for so long is frozen. With the next look at it, who
waits goes on within 0.8 s."""
WATCH_SECONDS: Final = 0.15
CLAIM_TRIES: Final = 3  # of a fill whose owner has ended it, or died
_BACKLOG: Final = 4096
_LENT_BUFFER_BYTES: Final = 1 << 20
NO_LENGTH: Final = -2  # as ``Exchange.begin_stream`` takes it
NO_CONTENT: Final = frozenset((204, 304))
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid

_log = structlog.get_logger(component="cache")


class Siblings:
    """What one worker's cache has to do with those of the other workers.

    Args:
        index: row of this worker.
        policy: as it came, which the siblings must have in common.
    """

    def __init__(
        self,
        cache: GatewayCache,
        shared: SharedState,
        index: int,
        policy: bytes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.cache = cache
        self._shared = shared
        self._index = index
        self._loop = loop
        self._table = FillTable(shared, policy)
        self._claimed: dict[int, Fill] = {}
        self._asking: set[Asking] = set()
        self.lending: set[Lending] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._watch_handle: asyncio.TimerHandle | None = None
        self._position = 0  # of the latest change that was seen, and when, in monotonic ns
        self._changed_at = 0

    def start(self) -> None:
        """Begin to listen: who connects from now on is served as soon as the loop runs."""
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.bind(self._name(os.getpid()))
        sock.listen(_BACKLOG)
        self._run(self._serve(sock))

    def close(self) -> None:
        """Stop listening, and cut what is under way."""
        if self._watch_handle is not None:
            self._watch_handle.cancel()
            self._watch_handle = None
        if self._server is not None:
            self._server.close()
        for asking in list(self._asking):
            asking.close()
        for lending in list(self.lending):
            lending.close()
        for task in self._tasks:
            task.cancel()

    def observe_changes(self) -> None:
        """Note when something changed, once in a while and before it matters."""
        position = self.cache.changes.position
        if position != self._position:
            self._position = position
            self._changed_at = time.monotonic_ns()

    def note_change(self) -> None:
        """Take nothing from siblings that was begun before now: what it is of has been aged."""
        self._changed_at = time.monotonic_ns()

    # For fills.

    def take(self, fill: Fill, leader: Exchange, lines: bytes, *, tries: int = 0) -> bool:
        """Have a fill answered by a sibling, if one can; else it is for the origin (False).

        Args:
            leader, lines: for the fill, if it comes to asking the origin after all.
            tries: how often it was tried before, and the sibling had nothing or was lost.
        """
        key = fill.plan.key
        if self._shared.row_count() < 2 or self.cache.fills.get(key) is not fill:
            return False
        if fill.claim >= 0:  # the sibling that stored it last does not have it any more
            return False
        number = self._table.number(key)
        if len(self._claimed) >= MOST_CLAIMS and number not in self._claimed:
            return False
        owner = self._table.claim(number)
        directives = fill.plan.directives
        takes_stored = directives is NO_DIRECTIVES
        joins = owner != OURS
        if owner == OURS:
            fill.claim = number
            self._claimed[number] = fill
            row = self._table.holder(number)
            if not takes_stored or row in (-1, self._index) or row >= self._shared.max_workers:
                return False
            owner = self._shared.pid(row)
        elif directives.no_cache or tries >= CLAIM_TRIES or POSITION_LINE in leader.identity:
            return False  # what a sibling asked for need not hold the position of our client
        asking = Asking(self, fill, leader, lines, tries + 1)
        return self._ask(asking, owner, joins=joins, takes_stored=takes_stored)

    def release(self, fill: Fill) -> None:
        """Give up the claim of a fill that nobody may join any more."""
        number = fill.claim
        if number >= 0:
            fill.claim = -1
            if self._claimed.get(number) is fill:
                del self._claimed[number]
                self._table.release(number)

    def note_stored(self, fill: Fill) -> None:
        """Tell the siblings where to find what a fill brought. To be called before ``release``."""
        if fill.claim >= 0:
            self._table.note_holder(fill.claim, self._index)

    # Asking.

    def forget_asking(self, asking: Asking) -> None:
        self._asking.discard(asking)

    def _ask(self, asking: Asking, pid: int, *, joins: bool, takes_stored: bool) -> bool:
        row = self._shared.row_of(pid) if pid > 0 else -1
        if row < 0 or self._shared.heartbeat_age(row) > SILENT_SECONDS:
            return False
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self._name(pid))  # at once, or not at all: that is how Unix sockets are
            if _peer(sock) != (pid, os.getuid()):
                raise PermissionError("somebody else has the name of a worker's socket")
        except OSError as error:
            _log.info("sibling not reached", worker=row, reason=str(error))
            sock.close()
            return False
        self.observe_changes()
        asking.row = row
        asking.ask = wire.Ask(
            key=asking.fill.plan.key,
            since=self._changed_at,
            joins=joins,
            takes_stored=takes_stored,
        )
        asking.fill.source = asking
        self._asking.add(asking)
        self._run(self._connect(asking, sock))
        if self._watch_handle is None:
            self._watch_handle = self._loop.call_later(WATCH_SECONDS, self._watch)
        return True

    def _watch(self) -> None:
        """Look whether those who are asked still show life."""
        self._watch_handle = None
        for asking in list(self._asking):
            if self._shared.heartbeat_age(asking.row) > SILENT_SECONDS:
                asking.on_silence()
        if self._asking:
            self._watch_handle = self._loop.call_later(WATCH_SECONDS, self._watch)

    # Being asked.

    def answer(self, lending: Lending, ask: wire.Ask) -> None:
        """Lend a fill under way or what is stored; say so if there is neither."""
        fill = self.cache.fills.get(ask.key)
        if (
            ask.joins
            and fill is not None
            and fill.claim >= 0
            and fill.began_at > ask.since
            and self.cache.is_present(fill)
        ):
            lending.fill = fill
            fill.lend(lending)
            return
        entry = self.cache.store.get(ask.key) if ask.takes_stored else None
        if entry is not None and entry.began_at > ask.since and entry.expires_at > time.time():
            lending.give(entry)
        else:
            lending.end(wire.NONE)

    async def _serve(self, sock: socket.socket) -> None:
        self._server = await self._loop.create_unix_server(
            lambda: _protocol(Lending(self)), sock=sock, backlog=_BACKLOG
        )

    def _name(self, pid: int) -> bytes:
        """Return the name of a worker's socket; abstract, so that nothing is left behind."""
        digest = blake2b(b"%d" % pid, key=self._shared.secret(), digest_size=16)
        return b"\0poruwa-" + digest.hexdigest().encode()

    async def _connect(self, asking: Asking, sock: socket.socket) -> None:
        try:
            await self._loop.create_unix_connection(lambda: _protocol(asking), sock=sock)
        except OSError as error:
            sock.close()
            asking.connection_lost(error)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Asking:
    """A fill that is to be answered by a sibling; the protocol of the connection to it.

    Attributes:
        leader, lines: for asking the origin after all.
        tries: how often it was tried, this time included.
        row: of the sibling that is asked.
        ask: what it is asked.
    """

    __slots__ = (
        "_frames",
        "_has_ended",
        "_has_head",
        "_is_held",
        "_siblings",
        "_transport",
        "ask",
        "fill",
        "leader",
        "lines",
        "row",
        "tries",
    )

    ask: wire.Ask
    row: int

    def __init__(
        self, siblings: Siblings, fill: Fill, leader: Exchange, lines: bytes, tries: int
    ) -> None:
        self._siblings = siblings
        self.fill = fill
        self.leader = leader
        self.lines = lines
        self.tries = tries
        self._transport: asyncio.Transport | None = None
        self._frames = wire.FrameReader()
        self._has_ended = False
        self._has_head = False
        self._is_held = False

    # For the fill.

    def hold(self, *, slow: bool) -> None:
        """Leave what comes in the kernel, or read on."""
        if self._transport is not None and slow is not self._is_held and not self._has_ended:
            self._is_held = slow
            if slow:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        """Want nothing any more; idempotent. The fill hears no more of it."""
        if not self._has_ended:
            self._has_ended = True
            self._siblings.forget_asking(self)
            if self.fill.source is self:
                self.fill.source = None
            if self._transport is not None:
                self._transport.abort()

    def on_silence(self) -> None:
        """The sibling is frozen: go on without it. What has begun to come may yet go on."""
        if self._has_head:
            self.fill.on_source_silent()
        else:
            self.close()
            self.fill.ask_origin(self.leader, self.lines)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._has_ended:
            self._transport.abort()
        else:
            self._transport.write(wire.frame(wire.ASK, wire.encode(self.ask)))

    def data_received(self, data: bytes) -> None:
        for kind, payload in self._frames.feed(data):
            if self._has_ended:
                return
            self._take(kind, payload)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Act on the owner's end: a fill with a head cannot be had whole, others begin again."""
        if self._has_ended:
            return
        self.close()
        if self._has_head:
            self.fill.on_source_lost()
        else:
            self._begin_again()

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def _take(self, kind: int, payload: bytes) -> None:
        fill = self.fill
        if kind == wire.HEAD:
            head = wire.decode_lent(payload)
            entry = wire.entry_of(head)
            if not self._siblings.cache.coherence.takes(entry):
                self.close()  # we know of a change that is not in it
                fill.ask_origin(self.leader, self.lines)
                return
            self._has_head = True
            fill.adopt(entry, head.length)
        elif kind == wire.BODY:
            fill.on_body(payload, complete=False)
        elif kind == wire.END:
            self.close()
            fill.on_body(b"", complete=True)
        elif kind == wire.GONE:
            self.close()
            gone = wire.decode_gone(payload)
            fill.on_gone(gone.status, is_remembered=gone.is_remembered)
        elif kind == wire.ERROR:
            self.close()
            fill.on_error(wire.decode_status(payload))
        else:
            self.close()
            self._begin_again()

    def _begin_again(self) -> None:
        fill = self.fill
        if not self._siblings.take(fill, self.leader, self.lines, tries=self.tries):
            fill.ask_origin(self.leader, self.lines)


class Lending:
    """A sibling that asks for a fill of ours; the protocol of its connection.

    Attributes:
        fill: that it reads along with; None for none, or no more.
        is_writable: whether it takes what it is sent.
    """

    __slots__ = ("_frames", "_has_asked", "_siblings", "_transport", "fill", "is_writable")

    def __init__(self, siblings: Siblings) -> None:
        self._siblings = siblings
        self._transport: asyncio.Transport | None = None
        self._frames = wire.FrameReader()
        self._has_asked = False
        self.fill: Fill | None = None
        self.is_writable = True

    # For the fill.

    def begin(self, entry: StoredResponse, length: int) -> None:
        """Send the head; the body follows by ``send``."""
        self._write(wire.frame(wire.HEAD, wire.encode(wire.lent(entry, length))))

    def send(self, data: bytes) -> None:
        """Send bytes of the body."""
        for at in range(0, len(data), wire.PIECE_BYTES):
            self._write(wire.frame(wire.BODY, data[at : at + wire.PIECE_BYTES]))

    def give(self, entry: StoredResponse) -> None:
        """Send the whole of a stored response."""
        self.begin(entry, NO_LENGTH if entry.status in NO_CONTENT else len(entry.body))
        self.send(entry.body)
        self.end(wire.END)

    def fail(self, status: int) -> None:
        """Say that no answer can be had."""
        self.end(wire.ERROR, wire.encode(status))

    def go_alone(self, status: int, *, is_remembered: bool) -> None:
        """Say that the answer is not for all."""
        self.end(wire.GONE, wire.encode(wire.Gone(status=status, is_remembered=is_remembered)))

    def end(self, kind: int = wire.END, payload: bytes = b"") -> None:
        """Send the last frame."""
        self.fill = None
        self._write(wire.frame(kind, payload))
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        """Break off."""
        self.fill = None
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_LENT_BUFFER_BYTES)
        if _peer(transport.get_extra_info("socket"))[1] != os.getuid():
            _log.warning("somebody else's process asked for a fill")
            self._transport.abort()
        else:
            self._siblings.lending.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                if kind != wire.ASK or self._has_asked:
                    raise ValueError(f"unexpected frame {kind}")
                self._has_asked = True
                self._siblings.answer(self, wire.decode_ask(payload))
        except (ValueError, msgspec.MsgspecError) as error:
            _log.error("a sibling asked what is no question", reason=str(error))
            self.connection_lost(None)
            self.close()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._siblings.lending.discard(self)
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.stop_lending(self)

    def pause_writing(self) -> None:
        self._set_writable(writable=False)

    def resume_writing(self) -> None:
        self._set_writable(writable=True)

    def _set_writable(self, *, writable: bool) -> None:
        self.is_writable = writable
        if self.fill is not None:
            self.fill.hold_back()


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Return process and user at the other end of a Unix socket."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def _protocol(of: Asking | Lending) -> asyncio.Protocol:
    """Say that ``of`` is a protocol, which it is by its methods (as ``ClientConnection``)."""
    return cast(asyncio.Protocol, of)
