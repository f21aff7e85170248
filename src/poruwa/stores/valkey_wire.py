"""One connection to a Valkey server on which many commands are under way at once.

Commands go out as they come, answers come back in the same order (Redis protocol specification,
RESP2; parsed by hiredis in C). Knows neither time-outs nor retries: ``stores.valkey_pipeline``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, cast

import hiredis


class Failure(StrEnum):
    """Why a command has no usable answer. Never raised: in L2, every failure is a miss."""

    TIMED_OUT = "timed-out"
    LOST = "lost"  # the connection ended, or could not be made
    REFUSED = "refused"  # by the breaker: the server failed a moment ago
    GARBAGE = "garbage"  # no RESP, or an answer of a form that the command does not have
    ERROR = "error"  # the server answered with an error
    FULL = "full"  # OOM command not allowed: maxmemory is reached and nothing may be evicted


class Command:
    """Bytes on their way to the server.

    Attributes:
        data: the command in RESP.
        deadline: monotonic seconds, of the whole call, retries included.
        done: called once with the answer or a `Failure`; must not raise.
        tries: how often it was sent on a connection that then ended.
    """

    __slots__ = ("data", "deadline", "done", "tries")

    def __init__(self, data: bytes, deadline: float, done: Callable[[object], None]) -> None:
        self.data = data
        self.deadline = deadline
        self.done = done
        self.tries = 0


_NOTHING: Final = object()


def packed(words: Sequence[bytes | str | int]) -> bytes:
    """Return a command in RESP."""
    # hiredis' stub says "a tuple of one"; it takes any.
    data: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]
    return data


class ValkeyWire(asyncio.Protocol):
    """The connection.

    Args:
        on_end: called once when it ends by itself, with `Failure.LOST` or `Failure.GARBAGE`; what
            is still in ``under_way`` (`take_under_way`) has not been answered.

    Attributes:
        under_way: sent and not answered, oldest first.
        has_ended: whether nothing can be sent any more.
    """

    def __init__(self, on_end: Callable[[ValkeyWire, Failure], None]) -> None:
        self.under_way: deque[Command] = deque()
        self.has_ended = False
        self._on_end = on_end
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, command: Command) -> None:
        """Send ``command``; its answer goes to ``command.done``."""
        assert self._transport is not None, "a connection is handed out when it is made"
        self.under_way.append(command)
        self._transport.write(command.data)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        under_way = self.under_way
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not _NOTHING:
                if not under_way:  # nobody asked
                    self._end(Failure.GARBAGE)
                    return
                under_way.popleft().done(answer)
        except hiredis.ProtocolError:
            self._end(Failure.GARBAGE)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Failure.LOST)

    def take_under_way(self) -> list[Command]:
        """Return what has not been answered; whatever is still read answers none of it."""
        commands = list(self.under_way)
        self.under_way.clear()
        return commands

    def abandon(self) -> None:
        """Close at once and without a word; what is under way is the caller's."""
        self._on_end = _ignore
        self.has_ended = True
        if self._transport is not None:
            self._transport.abort()

    def _end(self, failure: Failure) -> None:
        self.has_ended = True
        on_end, self._on_end = self._on_end, _ignore
        if self._transport is not None:
            self._transport.abort()
        on_end(self, failure)


def _ignore(wire: ValkeyWire, failure: Failure) -> None:
    """It has ended already."""
