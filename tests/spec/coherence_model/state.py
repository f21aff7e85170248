"""One state of the world, hashable; and the entries it begins with."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from spec.coherence_model.rules import World

T = TypeVar("T")

EPOCH = 16  # position = epoch * EPOCH + n


class LogEntry(NamedTuple):
    """A change of the one object the model has, or of something else."""

    position: int
    touches: bool  # the object, or everything


class Entry(NamedTuple):
    """What a cache holds: a version of the object."""

    version: int
    as_of: int


class Renewal(NamedTuple):
    """A request for a lease on its way; ``reply`` once the server answered."""

    age: int  # ticks since it was sent
    applied: int
    reply: tuple[LogEntry, ...] | None = None
    is_whole: bool = False


class Layer(NamedTuple):
    """A process with a cache of its own."""

    position: int
    changed: int  # the last position at which the object changed, as far as is known here
    sure: int  # ticks left
    entry: Entry | None
    renewal: Renewal | None = None
    run: int = 0  # of the server it talks to

    def applied(self, entries: tuple[LogEntry, ...]) -> Layer:
        """Return it after these changes."""
        position, changed, entry = self.position, self.changed, self.entry
        for each in entries:
            position = max(position, each.position)
            if each.touches:
                changed = max(changed, each.position)
        if entry is not None and entry.as_of < changed:
            entry = None
        return self._replace(position=position, changed=changed, entry=entry)


class Server(NamedTuple):
    """The bus. ``leases`` and ``applied`` have a row per layer; leases are lost by a restart."""

    epoch: int
    log: tuple[LogEntry, ...]
    leases: tuple[int, ...]  # ticks left
    applied: tuple[int, ...]
    has_begun: bool = True  # somebody called `begin` since the restart
    began_wait: int = 0  # ticks until leases of before have lapsed
    run: int = 0


class Writer(NamedTuple):
    """``phase``: idle, appended (only wrongly), committed, waiting, done, gone."""

    phase: str = "idle"
    version: int = 0
    position: int = 0
    waits_for: tuple[int, ...] = ()


class Frame(NamedTuple):
    """One layer's part in a read."""

    layer: int
    as_of: int
    stores: bool  # a fill that others may join, and whose result is kept


class Read(NamedTuple):
    """A request of a client.

    ``phase``: idle, enter, shared, load, loaded, put, compose, return, join.
    ``floor`` is the oldest version it may return, ``seen`` the position in its cookie.
    """

    phase: str = "idle"
    path: tuple[int, ...] = ()
    floor: int = 0
    seen: int = 0
    frames: tuple[Frame, ...] = ()
    value: int = 0
    as_of: int = 0
    joined: int = -1


class State(NamedTuple):
    """Everything."""

    database: int
    outbox: tuple[int, ...]
    server: Server
    layers: tuple[Layer, ...]
    shared: Entry | None
    writers: tuple[Writer, ...]
    reads: tuple[Read, ...]
    acknowledged: int = 0
    unrelated_left: int = 0
    writer_crashes_left: int = 0
    layer_crashes_left: int = 0
    restarts_left: int = 0


IDLE = Read()


def first_state(world: World) -> State:
    """Return the state where nothing has changed yet and every lease is new."""
    start = 2 * EPOCH
    entry = Entry(0, start)
    return State(
        database=0,
        outbox=(),
        server=Server(
            epoch=2,
            log=(LogEntry(start, True),),
            leases=(world.lease,) * world.layers,
            applied=(start,) * world.layers,
        ),
        layers=(Layer(start, start, world.lease, None if world.is_cold else entry),) * world.layers,
        shared=entry if world.has_shared_store else None,
        writers=(Writer(),) * world.writers,
        reads=(IDLE,) * world.readers,
        unrelated_left=world.unrelated_changes,
        writer_crashes_left=world.writer_crashes,
        layer_crashes_left=world.layer_crashes,
        restarts_left=world.restarts,
    )


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """Return the tuple with one item replaced."""
    return (*items[:index], item, *items[index + 1 :])
