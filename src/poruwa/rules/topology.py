"""Which instances a pool has while the gateway runs: the policy, discovery and the operator's word.

The operator's changes lie over what the policy lists and discovery finds, one per instance name:

| change         | an instance listed or found             | another name                         |
|----------------|------------------------------------------|--------------------------------------|
| none           | as it is                                 | not there                            |
| ``address``    | at that address instead                  | added                                |
| ``removed``    | not there                                | kept for its return, without effect  |
| ``weight``     | with that weight                         | without effect                       |
| ``drain``      | draining, drained when its limit is over | without effect                       |

A name, or an address, that comes a second time in a pool is passed over: listed instances come
first, then added ones, then those found.

Each instance has a *slot* of the shared memory, where its load is counted. It keeps that slot for
as long as it stays; the slot of one that went is given to another only when nothing counted in it
is under way any more (`assign_slots`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Protocol

import msgspec

from poruwa.config.address import parse_address

LEAST_WEIGHT, MOST_WEIGHT = 1, 256
LONGEST_DRAIN_SECONDS = 7 * 86_400.0
# A worker that has not read yet that an instance is gone may still begin a request in its slot. One
# that does not read for longer than this is killed (``stack.workers``), and its counts cleared.
SETTLE_SECONDS = 5.0

Weight = Annotated[int, msgspec.Meta(ge=LEAST_WEIGHT, le=MOST_WEIGHT)]
DrainLimit = Annotated[float, msgspec.Meta(ge=0.0, le=LONGEST_DRAIN_SECONDS)]


class Source(StrEnum):
    """Who says that an instance is there."""

    POLICY = "policy"
    FOUND = "found"
    ADDED = "added"


class DrainPhase(StrEnum):
    """How far the draining of an instance is."""

    NONE = "none"
    DRAINING = "draining"  # takes the requests of bound clients only
    DRAINED = "drained"  # takes none


class Listed(Protocol):
    """An instance as the policy or discovery names it."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def weight(self) -> int: ...


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator's wish to empty an instance.

    Attributes:
        since: wall time.
        limit_seconds: how long bound clients may stay.
        remove: whether it leaves the pool once it is empty.
    """

    since: float
    limit_seconds: DrainLimit
    remove: bool = False


class Change(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What an operator changed of one instance; as it is kept on disk."""

    address: str | None = None
    removed: bool = False
    weight: Weight | None = None
    drain: Drain | None = None


#: By pool, then by the instance's name.
Changes = Mapping[str, Mapping[str, Change]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance that a pool has now; ``base`` is what is listed or found under its name."""

    name: str
    address: str
    weight: int
    source: Source
    base: Listed | None
    change: Change = field(default_factory=Change)


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The instances of a pool.

    Attributes:
        removed: those listed or found that a change takes away, by name.
        without_effect: names of changes that concern nothing that is listed or found.
        passed_over: names whose address, or name, another one has.
    """

    members: tuple[Member, ...] = ()
    removed: Mapping[str, Listed] = field(default_factory=dict)
    without_effect: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    def find(self, name: str) -> Member | None:
        """Return the member called ``name``, None when there is none."""
        return next((each for each in self.members if each.name == name), None)


def merge_members(
    listed: Sequence[Listed], found: Sequence[Listed], changes: Mapping[str, Change]
) -> Members:
    """Return the instances of one pool from its three sources."""
    bases: dict[str, tuple[Listed | None, Source]] = {}
    for each in listed:
        bases.setdefault(each.name, (each, Source.POLICY))
    found_only = [each for each in found if each.name not in bases]
    found_names = {each.name for each in found_only}
    for name, change in changes.items():
        if change.address is not None and name not in bases and name not in found_names:
            bases[name] = (None, Source.ADDED)
    for each in found_only:
        bases.setdefault(each.name, (each, Source.FOUND))
    members: list[Member] = []
    removed: dict[str, Listed] = {}
    passed_over: list[str] = []
    places: set[str] = set()
    for name, (base, source) in bases.items():
        change = changes.get(name) or Change()
        if change.removed:
            if base is not None:
                removed[name] = base
            continue
        member = _member(name, base, source, change)
        if place_of(member.address) in places:
            passed_over.append(name)
            continue
        places.add(place_of(member.address))
        members.append(member)
    shown = {each.name for each in members} | removed.keys()
    return Members(
        members=tuple(members),
        removed=removed,
        without_effect=tuple(name for name in changes if name not in shown),
        passed_over=tuple(passed_over),
    )


def _member(name: str, base: Listed | None, source: Source, change: Change) -> Member:
    address, weight = change.address, change.weight
    if base is not None:
        if address is not None and place_of(address) != place_of(base.address):
            source = Source.ADDED
        address, weight = address or base.address, weight or base.weight
    assert address is not None  # only those with an address are added
    return Member(
        name=name,
        address=address,
        weight=weight or LEAST_WEIGHT,
        source=source,
        base=base,
        change=change,
    )


def place_of(address: str) -> str:
    """Return what two spellings of one address have in common."""
    parsed = parse_address(address)
    if parsed.is_unix:
        return str(parsed)
    host = parsed.host.lower().rstrip(".")
    return f"{'127.0.0.1' if host == 'localhost' else host}:{parsed.port}"


def changed(changes: Changes, pool: str, name: str, change: Change | None) -> Changes:
    """Return ``changes`` with one of them replaced; None, or an empty one, takes it out."""
    of_pool = {key: each for key, each in changes.get(pool, {}).items() if key != name}
    if change is not None and change != Change():
        of_pool[name] = change
    others = {key: each for key, each in changes.items() if key != pool}
    return others | {pool: of_pool} if of_pool else others


# Draining.


def drain_phase(drain: Drain | None, now: float) -> DrainPhase:
    """Return how far a drain is; ``now`` is wall time."""
    if drain is None:
        return DrainPhase.NONE
    is_over = now >= drain.since + drain.limit_seconds
    return DrainPhase.DRAINED if is_over else DrainPhase.DRAINING


def is_empty(drain: Drain, now: float, *, in_flight: int, binds_clients: bool) -> bool:
    """Tell whether nobody needs a draining instance any more.

    A pool that binds no clients has none that could come back, so the limit need not pass.
    """
    is_over = drain_phase(drain, now) is DrainPhase.DRAINED
    return in_flight == 0 and (is_over or not binds_clients)


def is_to_leave(drain: Drain, now: float, *, in_flight: int, binds_clients: bool) -> bool:
    """Tell whether a draining instance is to leave its pool now.

    At its limit it does in any case: what is under way still comes to its end.
    """
    if not drain.remove:
        return False
    is_over = drain_phase(drain, now) is DrainPhase.DRAINED
    return is_over or is_empty(drain, now, in_flight=in_flight, binds_clients=binds_clients)


# Slots.


@dataclass(frozen=True, slots=True, order=True)
class SlotKey:
    """What makes an instance the same one: another address is another process."""

    pool: str
    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Who has which slot; ``leaving``: who had which one, and since when it is gone (monotonic)."""

    held: Mapping[SlotKey, int] = field(default_factory=dict)
    leaving: Mapping[SlotKey, tuple[int, float]] = field(default_factory=dict)


class NoSlotLeft(ValueError):
    """More instances than the shared memory has slots."""


def assign_slots(
    before: Slots,
    keys: Iterable[SlotKey],
    *,
    now: float,
    is_idle: Callable[[int], bool],
    capacity: int,
) -> Slots:
    """Return the slots of ``keys``: who stays keeps the slot, who is new gets the lowest free one.

    One that returns before its old slot is free has it back.

    Args:
        now: monotonic seconds.
        is_idle: whether nothing that a slot counts is under way.
        capacity: how many slots there are.

    Raises:
        NoSlotLeft: there are too few.
    """
    wanted = dict.fromkeys(keys)
    leaving = {
        key: (slot, since)
        for key, (slot, since) in before.leaving.items()
        if now - since < SETTLE_SECONDS or not is_idle(slot)
    }
    leaving |= {key: (slot, now) for key, slot in before.held.items() if key not in wanted}
    held = {key: before.held[key] for key in wanted if key in before.held}
    for key in wanted:
        if key in leaving:
            held[key] = leaving.pop(key)[0]
    taken = set(held.values()) | {slot for slot, _ in leaving.values()}
    free = (slot for slot in range(capacity) if slot not in taken)
    for key in wanted:
        if key not in held:
            slot = next(free, None)
            if slot is None:
                raise NoSlotLeft(
                    f"{len(wanted)} instances are more than a gateway can hold: {capacity} at a "
                    "time, among them those removed that are still answering."
                )
            held[key] = slot
    return Slots(held={key: held[key] for key in wanted}, leaving=leaving)
