"""One file on its way to one client: read by threads, sent as fast as the client takes it.

Place on the path: after ``gateway.static_files`` has said which file. A small one is read where it
is found and goes out at once; a large one follows in pieces, of which one is in memory at a time
beside what the transport has not sent. The exchange ends the sender when the client goes away,
and then, whatever thread is still at work, the file is closed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Lock
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

PIECE_BYTES = 64 * 1024  # as much as a socket takes at once; smaller files are read whole

_log = structlog.get_logger(component="files")


class OpenFile:
    """A file open for reading; owns its descriptor.

    The lock keeps a close from one thread out of a read in another, where the number could by
    then be somebody else's file.
    """

    __slots__ = ("_descriptor", "_lock")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on.

        Raises:
            OSError: the disk failed, or the file is shorter than it was.
        """
        with self._lock:
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    raise OSError("the file became shorter while it was sent")
                data += more
        return data

    def close(self) -> None:
        """Close the descriptor; once."""
        with self._lock:
            os.close(self._descriptor)


class FileReply:
    """An answer: status, header lines, and ``length`` bytes, in ``body`` or still in ``file``.

    ``body`` is empty for HEAD, whatever the length.
    """

    __slots__ = ("body", "file", "length", "lines", "offset", "status")

    def __init__(self, *, status: int, lines: bytes = b"", length: int = 0) -> None:
        self.status = status
        self.lines = lines
        self.length = length
        self.offset = 0
        self.body = b""
        self.file: OpenFile | None = None

    def take(self, file: OpenFile, offset: int, *, is_read: bool) -> None:
        """Read the body if it is small, keep the file if it is large; else close it.

        Args:
            offset: where the answer's bytes begin.
            is_read: False for HEAD, which needs a readable file but none of its bytes.
        """
        if is_read and self.length > PIECE_BYTES:
            self.file, self.offset = file, offset
            return
        try:
            if is_read and self.length:
                self.body = file.read(offset, self.length)
        finally:
            file.close()


class FileSender:
    """Answers one exchange; ``cancel`` may be called at any time."""

    __slots__ = ("_exchange", "_executor", "_task", "_writable")

    _task: asyncio.Task[None]

    def __init__(self, exchange: Exchange, executor: Executor) -> None:
        self._exchange = exchange
        self._executor = executor
        self._writable = asyncio.Event()
        self._writable.set()

    def send(self, find: Callable[[], FileReply]) -> None:
        """Begin to answer with what ``find``, called in a thread, returns."""
        self._task = self._exchange.gateway.loop.create_task(self._run(find))
        self._exchange.answer_by(self)

    def set_writable(self, *, writable: bool) -> None:
        """Go on reading, or stop until the client has taken what was sent."""
        if writable:
            self._writable.set()
        else:
            self._writable.clear()

    def cancel(self) -> None:
        """Stop: the exchange has ended."""
        if self._task is not asyncio.current_task():  # else it ended by our own last byte
            self._task.cancel()

    async def _run(self, find: Callable[[], FileReply]) -> None:
        exchange = self._exchange
        try:
            await self._answer(await self._find(find))
        except Exception as error:  # whatever it is, the client must not wait for nothing
            _log.warning(
                "file not sent",
                reason=str(error),
                request_id=exchange.request_id.decode(),
                exc_info=not isinstance(error, OSError),
            )
            if exchange.client.exchange is not exchange:
                return
            if exchange.response_begun:
                # What was promised cannot be kept; only an aborted connection tells the client so.
                exchange.client.abort()
            else:
                exchange.answer_error(500)

    async def _find(self, find: Callable[[], FileReply]) -> FileReply:
        future = self._executor.submit(find)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_unused)
            raise

    async def _answer(self, reply: FileReply) -> None:
        exchange = self._exchange
        file = reply.file
        if file is not None:
            try:
                exchange.begin_answer(reply.status, reply.lines, reply.length)
                await self._send_pieces(file, reply.offset, reply.length)
            finally:
                self._executor.submit(file.close)
        elif reply.status == 404:
            exchange.answer_error(404)
        else:
            exchange.begin_answer(reply.status, reply.lines, reply.length)
            exchange.on_body(reply.body, complete=True)

    async def _send_pieces(self, file: OpenFile, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            await self._writable.wait()
            future = self._executor.submit(file.read, offset, min(PIECE_BYTES, end - offset))
            piece = await asyncio.wrap_future(future)
            offset += len(piece)
            self._exchange.on_body(piece, complete=offset == end)


def _close_unused(future: Future[FileReply]) -> None:
    """Close the file of an answer that nobody waits for any more."""
    if not future.cancelled() and future.exception() is None:
        file = future.result().file
        if file is not None:
            file.close()
