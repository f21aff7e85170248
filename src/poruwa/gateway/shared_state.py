"""What the gateway's processes know in common: one memory file, one row per worker.

Every worker writes only cells of its own row and reads everybody's, so that a balancing decision
uses the exact load of the machine and not of one process. The control process writes what belongs
to nobody's row (the verdict on each instance) and clears the row of a worker that died.

The memory is a memfd that children inherit, not ``multiprocessing.shared_memory``: there is no name
that a killed process could leave behind or take away. Cells are aligned 64-bit words written by one
process each; a reader may see a neighbouring cell a moment older, which balancing tolerates.

Layout, in 64-bit words: a header, then per worker its facts, then per instance ("slot") its
verdict, then one column per counter and slot with the cells of all workers side by side, so that
what one worker has at neighbouring slots is one slice with a step. The requests under way come
first: they are read for each request; what came of the others (answered, failed, how long it took)
is for the control process, which judges (``gateway.passive_health``). Then come the words of the
fill table (``gateway.fill_table``), which also locks bytes far behind the end of this file, and
last those of the rate table (``gateway.rate_table``), whose cells anybody may write.

There are many more rows than workers, for those that a reload or upgrade replaced and that still
hold connections. Reads look only at the rows between two marks that the control process keeps as
close as it can, so that rows nobody holds cost no time.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from enum import IntEnum

_MAGIC = 0x706F7275_7761_0004  # "poruwa", layout 4
_HEADER_WORDS = 8
_VERDICT_VERSION = 3
_FIRST_ROW, _END_ROW = 4, 5  # all rows that are held lie between: [first, end)
_SECRET = 6  # and the word after it: 16 random bytes, known to these processes only
_WORKER_WORDS = 8
_SLOT_WORDS = 8
_WORD_BYTES = 8

# Counters of a worker and slot, besides the requests under way. All but the last only grow.
_FAILED, _LATENCY_MICROS, _IN_A_ROW = 1, 2, 3  # after those answered
_OUTCOME_COUNTERS = 4

FILL_WORDS = 16_384
"""Words for the fill table (``gateway.fill_table``), a power of two."""

RATE_SLOTS = 16_384
RATE_SLOT_WORDS = 16
"""Of the rate table (``gateway.rate_table``): 2 MiB, of which only what is used is taken."""

FIXED_POINT = 16
"""Unit of the published slowness, latency ratio and capacity: an instance with 32 has twice one."""


class InstanceState(IntEnum):
    """The control process's verdict on an instance."""

    UNKNOWN = 0
    UP = 1
    DOWN = 2
    DRAINING = 3  # takes bound clients only
    EJECTED = 4  # failed live requests; the active checks may think it well
    PROBING = 5  # was ejected: one request at a time shows whether it serves again


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the control process publishes of an instance.

    Attributes:
        weight: 1-256.
        slowness: for errors and slow start (``rules.ejection``), in units of ``FIXED_POINT``.
        ratio: of its latency to the fastest one's (``rules.speed``), in units of ``FIXED_POINT``.
        capacity: requests at a time before they queue, in the same units; 0 while unknown.
    """

    state: InstanceState
    weight: int = 1
    slowness: int = FIXED_POINT
    ratio: int = FIXED_POINT
    capacity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotCounts:
    """What all workers have counted for an instance so far; ``in_a_row`` is the largest one."""

    answered: int
    failed: int
    latency_micros: int
    in_a_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What a worker's row says, read at one moment; ``heartbeat_at`` is monotonic seconds."""

    index: int
    pid: int
    generation: int
    heartbeat_at: float
    connections: int
    requests: int
    is_draining: bool


class SharedState:
    """The shared memory, seen from one process.

    Made once by ``create`` in the control process, and by ``attach`` in each worker from the
    inherited descriptor. ``in_flight`` and the other reads are plain memory reads.
    """

    __slots__ = (
        "_in_flight_base",
        "_memory",
        "_outcome_base",
        "_slot_base",
        "fd",
        "fill_base",
        "max_instances",
        "max_workers",
        "rate_base",
        "words",
    )

    def __init__(self, fd: int, memory: mmap.mmap, max_workers: int, max_instances: int) -> None:
        self.fd = fd
        self._memory = memory
        self.words = memoryview(memory).cast("q")
        self.max_workers = max_workers
        self.max_instances = max_instances
        self._slot_base = _HEADER_WORDS + max_workers * _WORKER_WORDS
        self._in_flight_base = self._slot_base + max_instances * _SLOT_WORDS
        self._outcome_base = self._in_flight_base + max_instances * max_workers
        self.fill_base = self._outcome_base + max_instances * max_workers * _OUTCOME_COUNTERS
        self.rate_base = self.fill_base + FILL_WORDS

    @classmethod
    def create(cls, *, max_workers: int = 64, max_instances: int = 256) -> SharedState:
        """Return a new, zeroed shared state; ``fd`` is inheritable by ``pass_fds``."""
        words = (
            _HEADER_WORDS
            + max_workers * _WORKER_WORDS
            + max_instances * _SLOT_WORDS
            + max_instances * max_workers * (1 + _OUTCOME_COUNTERS)
            + FILL_WORDS
            + RATE_SLOTS * RATE_SLOT_WORDS
        )
        fd = os.memfd_create("poruwa-shared-state", os.MFD_CLOEXEC)
        os.ftruncate(fd, words * _WORD_BYTES)
        state = cls(fd, mmap.mmap(fd, words * _WORD_BYTES), max_workers, max_instances)
        state.words[0:3] = memoryview(_packed(_MAGIC, max_workers, max_instances)).cast("q")
        state.words[_END_ROW] = max_workers
        state.words[_SECRET : _SECRET + 2] = memoryview(os.urandom(16)).cast("q")
        return state

    @classmethod
    def attach(cls, fd: int) -> SharedState:
        """Return the shared state behind an inherited descriptor.

        Raises:
            ValueError: the descriptor is not a shared state of this layout.
        """
        memory = mmap.mmap(fd, os.fstat(fd).st_size)
        magic, max_workers, max_instances = memoryview(memory).cast("q")[0:3].tolist()
        if magic != _MAGIC:
            raise ValueError(f"descriptor {fd} is not a poruwa shared state of this version")
        return cls(fd, memory, max_workers, max_instances)

    def close(self) -> None:
        """Release the memory and the descriptor; idempotent."""
        if self.fd >= 0:
            self.words.release()
            self._memory.close()
            os.close(self.fd)
            self.fd = -1

    # The control process's side.

    def set_instance(self, slot: int, verdict: Verdict) -> None:
        """Publish the verdict on the instance in ``slot`` to all workers at once."""
        base = self._slot_base + slot * _SLOT_WORDS
        self.words[base + 1] = verdict.weight
        self.words[base + 2] = verdict.slowness
        self.words[base + 3] = verdict.ratio
        self.words[base + 4] = verdict.capacity
        self.words[base] = verdict.state
        self.words[_VERDICT_VERSION] += 1

    def counts(self, slot: int) -> SlotCounts:
        """Return what all workers have counted for the instance in ``slot``.

        A worker that is replaced takes its counts with it: they may go back.
        """
        width = self.max_workers
        first, end = self.words[_FIRST_ROW], self.words[_END_ROW]
        start = self._outcome_base + slot * width * _OUTCOME_COUNTERS
        answered, failed, micros, in_a_row = (
            self.words[column + first : column + end].tolist()
            for column in range(start, start + _OUTCOME_COUNTERS * width, width)
        )
        return SlotCounts(
            answered=sum(answered),
            failed=sum(failed),
            latency_micros=sum(micros),
            in_a_row=max(in_a_row, default=0),
        )

    def set_rows(self, first: int, end: int) -> None:
        """Say that only rows from ``first`` up to ``end`` (excluded) are held, until further word.

        To be called before a process takes a row, and after one has left its.
        """
        self.words[_FIRST_ROW] = first
        self.words[_END_ROW] = end

    def clear_worker(self, index: int) -> None:
        """Forget a worker that died: its load no longer exists."""
        start = _HEADER_WORDS + index * _WORKER_WORDS
        for word in range(start, start + _WORKER_WORDS):
            self.words[word] = 0
        columns = self.max_instances * (1 + _OUTCOME_COUNTERS)
        for column in range(columns):
            self.words[self._in_flight_base + column * self.max_workers + index] = 0

    # Read by everybody.

    def verdict_version(self) -> int:
        """Return a number that changes with every verdict."""
        return self.words[_VERDICT_VERSION]

    def loads(self, first_slot: int, count: int) -> list[int]:
        """Return the requests under way at ``count`` instances from ``first_slot`` on."""
        words, width = self.words, self.max_workers
        start = self._in_flight_base + first_slot * width
        end = start + count * width
        first = words[_FIRST_ROW]
        loads: list[int] = words[start + first : end : width].tolist()
        for row in range(first + 1, words[_END_ROW]):
            for at, cell in enumerate(words[start + row : end : width].tolist()):
                if cell:
                    loads[at] += cell
        return loads

    def state(self, slot: int) -> int:
        """Return the ``InstanceState`` of the instance in ``slot``."""
        return self.words[self._slot_base + slot * _SLOT_WORDS]

    def weight(self, slot: int) -> int:
        """Return the weight, 1-256, of the instance in ``slot``; 0 when the slot is unused."""
        return self.words[self._slot_base + slot * _SLOT_WORDS + 1]

    def slowness(self, slot: int) -> float:
        """Return the slowness of the instance in ``slot``, at least 1."""
        return (self.words[self._slot_base + slot * _SLOT_WORDS + 2] or FIXED_POINT) / FIXED_POINT

    def ratio(self, slot: int) -> float:
        """Return the latency ratio of the instance in ``slot``, at least 1."""
        return (self.words[self._slot_base + slot * _SLOT_WORDS + 3] or FIXED_POINT) / FIXED_POINT

    def capacity(self, slot: int) -> float:
        """Return the capacity of the instance in ``slot``, infinite while unknown."""
        capacity = self.words[self._slot_base + slot * _SLOT_WORDS + 4]
        return capacity / FIXED_POINT if capacity else float("inf")

    def in_flight(self, slot: int) -> int:
        """Return the requests that all workers have under way at the instance in ``slot``."""
        start = self._in_flight_base + slot * self.max_workers
        return sum(self.words[start + self.words[_FIRST_ROW] : start + self.words[_END_ROW]])

    def in_flight_of(self, slot: int, index: int) -> int:
        """Return the requests that worker ``index`` has under way at the instance in ``slot``."""
        return self.words[self._in_flight_base + slot * self.max_workers + index]

    def worker(self, index: int) -> WorkerView:
        """Return what the row of worker ``index`` says now."""
        start = _HEADER_WORDS + index * _WORKER_WORDS
        facts = self.words[start : start + 6].tolist()
        pid, generation, heartbeat, connections, requests, is_draining = facts
        return WorkerView(
            index=index,
            pid=pid,
            generation=generation,
            heartbeat_at=heartbeat / 1e9,
            connections=connections,
            requests=requests,
            is_draining=bool(is_draining),
        )

    def secret(self) -> bytes:
        """Return 16 random bytes that only the processes of this gateway know."""
        return self.words[_SECRET : _SECRET + 2].tobytes()

    def row_count(self) -> int:
        """Return how many rows are looked at: 1 where a single worker runs."""
        return self.words[_END_ROW] - self.words[_FIRST_ROW]

    def row_of(self, pid: int) -> int:
        """Return the row that process ``pid`` holds; -1 for none."""
        words = self.words
        for row in range(words[_FIRST_ROW], words[_END_ROW]):
            if words[_HEADER_WORDS + row * _WORKER_WORDS] == pid:
                return row
        return -1

    def pid(self, index: int) -> int:
        """Return the process that holds row ``index``; 0 for none."""
        return self.words[_HEADER_WORDS + index * _WORKER_WORDS]

    def live_workers(self) -> list[WorkerView]:
        """Return the rows that a process holds."""
        rows = range(self.words[_FIRST_ROW], self.words[_END_ROW])
        views = (self.worker(index) for index in rows)
        return [view for view in views if view.pid]

    def heartbeat_age(self, index: int) -> float:
        """Return the seconds since worker ``index`` last showed life (machine-wide monotonic)."""
        heartbeat_at = self.words[_HEADER_WORDS + index * _WORKER_WORDS + 2]
        return (time.monotonic_ns() - heartbeat_at) / 1e9


class WorkerRow:
    """The row of this worker: the only cells that it writes."""

    __slots__ = ("_facts", "_in_flight", "_outcomes", "_stride", "_words", "index")

    def __init__(self, shared: SharedState, index: int, *, generation: int) -> None:
        self.index = index
        self._words = shared.words
        self._facts = _HEADER_WORDS + index * _WORKER_WORDS
        self._in_flight = shared._in_flight_base + index
        self._outcomes = shared._outcome_base + index
        self._stride = shared.max_workers
        self._words[self._facts] = os.getpid()
        self._words[self._facts + 1] = generation
        self.beat()

    def beat(self) -> None:
        """Show life."""
        self._words[self._facts + 2] = time.monotonic_ns()

    def set_load(self, *, connections: int, requests: int) -> None:
        """Publish the open client connections and the requests served since the start."""
        self._words[self._facts + 3] = connections
        self._words[self._facts + 4] = requests

    def set_draining(self) -> None:
        """Say that this worker accepts no more connections."""
        self._words[self._facts + 5] = 1

    def in_flight(self, slot: int) -> int:
        """Return the requests that this worker has under way at the instance in ``slot``."""
        return self._words[self._in_flight + slot * self._stride]

    def begin(self, slot: int) -> None:
        """Count a request as under way at the instance in ``slot``."""
        self._words[self._in_flight + slot * self._stride] += 1

    def end(self, slot: int) -> None:
        """Count a request at the instance in ``slot`` as over."""
        self._words[self._in_flight + slot * self._stride] -= 1

    def add_outcomes(
        self, slot: int, *, answered: int, failed: int, latency_micros: int, in_a_row: int
    ) -> None:
        """Add what came of requests to the instance in ``slot``, some at a time.

        Args:
            latency_micros: sum of the answers' times to their first byte.
            in_a_row: failures since the last answer; replaces what was there.
        """
        words, stride = self._words, self._stride
        first = self._outcomes + slot * stride * _OUTCOME_COUNTERS
        words[first] += answered
        words[first + _FAILED * stride] += failed
        words[first + _LATENCY_MICROS * stride] += latency_micros
        words[first + _IN_A_ROW * stride] = in_a_row


def _packed(*words: int) -> bytes:
    return b"".join(word.to_bytes(_WORD_BYTES, "little", signed=True) for word in words)
