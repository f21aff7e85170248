"""All reads of one turn of the event loop as one MGET.

Tasks that run in the same turn put their keys down; before the loop looks at its sockets again, one
command takes them all. Under load every answer wakes a crowd of tasks that ask for the next thing
in the same turn, so batches grow by themselves and cost no waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import hiredis

from poruwa.stores.valkey_pipeline import ValkeyPipeline
from poruwa.stores.valkey_wire import Command, Failure, packed

KEYS_PER_BATCH: Final = 32
"""Enough to share the cost of a command, so few that the server works on the next batch while the
answers of the first are used: at 64 tasks a tenth more reads a second than with 64 or 128."""

BATCHES_UNDER_WAY: Final = 8
"""Beyond it keys gather for the next one: a slow server gets fewer and larger batches."""

Answer: TypeAlias = bytes | Failure | None


class _Batch:
    """The keys of one MGET and who waits for their values."""

    __slots__ = ("_on_done", "asked_at", "futures", "loop", "words")

    def __init__(self, on_done: Callable[[_Batch, object], None]) -> None:
        self._on_done = on_done
        self.asked_at = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self.words: list[bytes] = [b"MGET"]
        self.futures: list[asyncio.Future[Answer]] = []

    def done(self, answer: object) -> None:
        self._on_done(self, answer)


class BatchedReads:
    """Reads of single keys, sent together.

    Args:
        on_latency: called with the seconds that each answered batch took since its first key.

    Attributes:
        batches: how many were answered.
        under_way: how many were sent and are not over.
    """

    __slots__ = (
        "_gathering", "_is_sending", "_on_latency", "_pipeline", "_ready", "_timeout", "batches",
        "under_way",
    )  # fmt: skip

    def __init__(
        self,
        pipeline: ValkeyPipeline,
        *,
        timeout_seconds: float,
        on_latency: Callable[[float], None],
    ) -> None:
        self.batches = 0
        self._pipeline = pipeline
        self._timeout = timeout_seconds
        self._on_latency = on_latency
        self._gathering: _Batch | None = None
        self._ready: deque[_Batch] = deque()  # full, or held back by the bound
        self.under_way = 0
        self._is_sending = False

    def get(self, key: bytes) -> asyncio.Future[Answer]:
        """Return a future of the value: None where there is none, a `Failure` in time if need be.

        It never holds an exception. Cancelling it stops the waiting only.
        """
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _Batch(self._done)
            batch.loop.call_soon(self._send)
        future: asyncio.Future[Answer] = batch.loop.create_future()
        batch.words.append(key)
        futures = batch.futures
        futures.append(future)
        if len(futures) == KEYS_PER_BATCH:
            self._ready.append(batch)
            self._gathering = None
        return future

    def _send(self) -> None:
        if self._is_sending:  # a refused command is done at once, within the loop below
            return
        self._is_sending = True
        try:
            while self.under_way < BATCHES_UNDER_WAY:
                if self._ready:
                    batch = self._ready.popleft()
                elif self._gathering is not None:
                    batch, self._gathering = self._gathering, None
                else:
                    return
                self.under_way += 1
                data = packed(batch.words)
                self._pipeline.submit(Command(data, batch.asked_at + self._timeout, batch.done))
        finally:
            self._is_sending = False

    def _done(self, batch: _Batch, answer: object) -> None:
        self.under_way -= 1
        futures = batch.futures
        if type(answer) is list and len(answer) == len(futures):
            self.batches += 1
            self._on_latency(time.monotonic() - batch.asked_at)
            for future, value in zip(futures, answer, strict=True):
                if not future.done():
                    future.set_result(value)
        else:
            failure = self._failure(answer)
            for future in futures:
                if not future.done():
                    future.set_result(failure)
        if self._ready or self._gathering is not None:
            self._send()

    def _failure(self, answer: object) -> Failure:
        if isinstance(answer, Failure):
            return answer
        if isinstance(answer, hiredis.ReplyError):
            return self._pipeline.failure_of(answer)
        self._pipeline.give_up(Failure.GARBAGE)
        return Failure.GARBAGE
