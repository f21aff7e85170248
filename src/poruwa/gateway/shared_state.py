"""What the gateway's processes know in common: one memory file, one row per worker.

Every worker writes only cells of its own row and reads everybody's, so that a balancing decision
uses the exact load of the machine and not of one process. The control process writes what belongs
to nobody's row (the verdict on each instance) and clears the row of a worker that died.

The memory is a memfd that children inherit, not ``multiprocessing.shared_memory``: there is no name
that a killed process could leave behind or take away. Cells are aligned 64-bit words written by one
process each; a reader may see a neighbouring cell a moment older, which balancing tolerates.

Layout, in 64-bit words: a header, then per worker its facts, then per instance ("slot") its
verdict, then one column per counter and slot with the cells of all workers side by side, so that a
sum over workers is one slice.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from enum import IntEnum

_MAGIC = 0x706F7275_7761_0001  # "poruwa", layout 1
_HEADER_WORDS = 8
_VERDICT_VERSION = 3
_WORKER_WORDS = 8
_SLOT_WORDS = 4
_WORD_BYTES = 8


class InstanceState(IntEnum):
    """The control process's verdict on an instance."""

    UNKNOWN = 0
    UP = 1
    DOWN = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What a worker's row says, read at one moment; ``heartbeat_at`` is monotonic seconds."""

    index: int
    pid: int
    generation: int
    heartbeat_at: float
    connections: int
    requests: int


class SharedState:
    """The shared memory, seen from one process.

    Made once by ``create`` in the control process, and by ``attach`` in each worker from the
    inherited descriptor. ``in_flight`` and the other reads are plain memory reads.
    """

    __slots__ = (
        "_in_flight_base",
        "_memory",
        "_slot_base",
        "fd",
        "max_instances",
        "max_workers",
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

    @classmethod
    def create(cls, *, max_workers: int = 64, max_instances: int = 256) -> SharedState:
        """Return a new, zeroed shared state; ``fd`` is inheritable by ``pass_fds``."""
        words = (
            _HEADER_WORDS
            + max_workers * _WORKER_WORDS
            + max_instances * _SLOT_WORDS
            + max_instances * max_workers
        )
        fd = os.memfd_create("poruwa-shared-state", os.MFD_CLOEXEC)
        os.ftruncate(fd, words * _WORD_BYTES)
        state = cls(fd, mmap.mmap(fd, words * _WORD_BYTES), max_workers, max_instances)
        state.words[0:3] = memoryview(_packed(_MAGIC, max_workers, max_instances)).cast("q")
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

    def set_instance(self, slot: int, *, state: InstanceState, weight: int) -> None:
        """Publish the verdict on the instance in ``slot`` to all workers at once."""
        base = self._slot_base + slot * _SLOT_WORDS
        self.words[base + 1] = weight
        self.words[base] = state
        self.words[_VERDICT_VERSION] += 1

    def clear_worker(self, index: int) -> None:
        """Forget a worker that died: its load no longer exists."""
        start = _HEADER_WORDS + index * _WORKER_WORDS
        for word in range(start, start + _WORKER_WORDS):
            self.words[word] = 0
        for slot in range(self.max_instances):
            self.words[self._in_flight_base + slot * self.max_workers + index] = 0

    # Read by everybody.

    def verdict_version(self) -> int:
        """Return a number that changes with every verdict."""
        return self.words[_VERDICT_VERSION]

    def loads(self, first_slot: int, count: int) -> list[int]:
        """Return the requests under way at ``count`` instances from ``first_slot`` on."""
        width = self.max_workers
        start = self._in_flight_base + first_slot * width
        cells = self.words[start : start + count * width].tolist()
        loads = [0] * count
        for at, cell in enumerate(cells):
            if cell:
                loads[at // width] += cell
        return loads

    def state(self, slot: int) -> int:
        """Return the ``InstanceState`` of the instance in ``slot``."""
        return self.words[self._slot_base + slot * _SLOT_WORDS]

    def weight(self, slot: int) -> int:
        """Return the weight, 1-256, of the instance in ``slot``; 0 when the slot is unused."""
        return self.words[self._slot_base + slot * _SLOT_WORDS + 1]

    def in_flight(self, slot: int) -> int:
        """Return the requests that all workers have under way at the instance in ``slot``."""
        start = self._in_flight_base + slot * self.max_workers
        return sum(self.words[start : start + self.max_workers])

    def in_flight_of(self, slot: int, index: int) -> int:
        """Return the requests that worker ``index`` has under way at the instance in ``slot``."""
        return self.words[self._in_flight_base + slot * self.max_workers + index]

    def worker(self, index: int) -> WorkerView:
        """Return what the row of worker ``index`` says now."""
        start = _HEADER_WORDS + index * _WORKER_WORDS
        pid, generation, heartbeat, connections, requests = self.words[start : start + 5].tolist()
        return WorkerView(
            index=index,
            pid=pid,
            generation=generation,
            heartbeat_at=heartbeat / 1e9,
            connections=connections,
            requests=requests,
        )

    def live_workers(self) -> list[WorkerView]:
        """Return the rows that a process holds."""
        views = (self.worker(index) for index in range(self.max_workers))
        return [view for view in views if view.pid]

    def heartbeat_age(self, index: int) -> float:
        """Return the seconds since worker ``index`` last showed life (machine-wide monotonic)."""
        heartbeat_at = self.words[_HEADER_WORDS + index * _WORKER_WORDS + 2]
        return (time.monotonic_ns() - heartbeat_at) / 1e9


class WorkerRow:
    """The row of this worker: the only cells that it writes."""

    __slots__ = ("_facts", "_in_flight", "_stride", "_words")

    def __init__(self, shared: SharedState, index: int, *, generation: int) -> None:
        self._words = shared.words
        self._facts = _HEADER_WORDS + index * _WORKER_WORDS
        self._in_flight = shared._in_flight_base + index
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

    def in_flight(self, slot: int) -> int:
        """Return the requests that this worker has under way at the instance in ``slot``."""
        return self._words[self._in_flight + slot * self._stride]

    def begin(self, slot: int) -> None:
        """Count a request as under way at the instance in ``slot``."""
        self._words[self._in_flight + slot * self._stride] += 1

    def end(self, slot: int) -> None:
        """Count a request at the instance in ``slot`` as over."""
        self._words[self._in_flight + slot * self._stride] -= 1


def _packed(*words: int) -> bytes:
    return b"".join(word.to_bytes(_WORD_BYTES, "little", signed=True) for word in words)
