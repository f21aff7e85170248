"""What operators ask of a running gateway by the admin listener: one verb, one struct, one method.

Arguments are strict: an unknown key, a wrong type or a number outside its range is refused with
what would be right. `Commands` finds the verb, reads its arguments, writes a line to the log of
who asked for what and what came of it. The verbs on instances are `InstanceVerbs`; others are
added beside them where the gateway is put together (``stack.gateway``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import msgspec
import structlog

from poruwa.clock import Clock
from poruwa.config.address import parse_address
from poruwa.config.forms import FORMS
from poruwa.config.model import BalancingMethod, Pool
from poruwa.config.problems import nearest
from poruwa.errors import ErrorSource, PoruwaError, StackError
from poruwa.rules.topology import Change, Drain, DrainLimit, Member, Members, Weight, place_of
from poruwa.stack.kept_changes import check_instance_name
from poruwa.stack.topology import RunningTopology, drain_limit, without_member
from poruwa.units import format_duration

NOT_KEPT = "not kept over a restart: start the gateway with --state DIR"

_Arguments = TypeVar("_Arguments", bound=msgspec.Struct)

_log = structlog.get_logger(component="admin")


class NoArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Of a verb that needs none."""


class Add(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new instance, or one that was removed: by its address, its name, or both."""

    address: str | None = None
    name: str | None = None
    pool: str | None = None
    weight: Weight | None = None


class OfInstance(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An instance by name; the pool only where several have one of that name."""

    instance: str
    pool: str | None = None


class Remove(OfInstance, kw_only=True, forbid_unknown_fields=True):
    """``now``: without draining first."""

    now: bool = False
    limit_seconds: DrainLimit | None = None


class StartDrain(OfInstance, kw_only=True, forbid_unknown_fields=True):
    """``limit_seconds``: how long bound clients may stay; the policy's when absent."""

    limit_seconds: DrainLimit | None = None


class SetWeight(OfInstance, kw_only=True, forbid_unknown_fields=True):
    """``weight``: null for the one listed or found."""

    weight: Weight | None


@dataclass(frozen=True, slots=True)
class Verb(Generic[_Arguments]):
    """What a verb takes, and who does it; the answer holds JSON values."""

    arguments: type[_Arguments]
    run: Callable[[_Arguments], Awaitable[Mapping[str, Any]]]


class Commands:
    """The verbs of a gateway, by name."""

    def __init__(self, verbs: Mapping[str, Verb[Any]]) -> None:
        self._verbs = verbs

    async def run(self, name: str, arguments: Mapping[str, Any], *, who: str) -> Mapping[str, Any]:
        """Carry out a command and log it.

        Raises:
            PoruwaError: refused, with the status for it; nothing has changed.
        """
        try:
            verb = self._verbs.get(name)
            if verb is None:
                refuse(404, f"There is no command {name!r}; {nearest(name, self._verbs)}")
            answer = await verb.run(_read(name, verb.arguments, arguments))
        except PoruwaError as error:
            _log.warning(
                "command refused", verb=name, who=who, arguments=arguments, reason=error.message
            )
            raise
        _log.info(
            "command done", verb=name, who=who, arguments=arguments, result=answer.get("text", "")
        )
        return answer


def refuse(status: int, message: str) -> NoReturn:
    """Refuse a command as its sender's mistake."""
    raise StackError(message, source=ErrorSource.CLIENT, status_hint=status)


def _read(name: str, kind: type[_Arguments], arguments: Mapping[str, Any]) -> _Arguments:
    try:
        return msgspec.convert(dict(arguments), kind)
    except msgspec.ValidationError as error:
        fields = msgspec.structs.fields(kind)
        known = ", ".join(
            each.name if each.required else f"{each.name} (optional)" for each in fields
        )
        raise StackError(
            f"{name}: {error}. Its arguments are: {known or 'none'}.",
            source=ErrorSource.CLIENT,
            status_hint=422,
        ) from error


class InstanceVerbs:
    """The verbs that change which instances there are, and how much each gets."""

    def __init__(self, topology: RunningTopology, *, clock: Clock) -> None:
        self._topology = topology
        self._clock = clock

    @property
    def verbs(self) -> dict[str, Verb[Any]]:
        """By name."""
        return {
            "add": Verb(Add, self.add),
            "remove": Verb(Remove, self.remove),
            "drain": Verb(StartDrain, self.drain),
            "undrain": Verb(OfInstance, self.undrain),
            "weight": Verb(SetWeight, self.weight),
        }

    async def add(self, arguments: Add) -> Mapping[str, Any]:
        """Add an instance, or put one back that was removed."""
        pool = self._pool_for(arguments)
        members = self._topology.pools[pool]
        name, address = self._identity(arguments, members)
        base = members.removed.get(name)
        taken = members.find(name)
        if taken is not None:
            refuse(
                409,
                f"{name} is in pool {pool} already, at {taken.address}. Choose another name, or "
                "change its weight.",
            )
        for each in members.members:
            if place_of(each.address) == place_of(address):
                refuse(
                    409,
                    f"{address} is in pool {pool} already, as {each.name}. One address would get "
                    "twice its share: raise its weight instead.",
                )
        if (arguments.weight or 1) != 1:
            self._require_weights(pool)
        is_back = base is not None and place_of(base.address) == place_of(address)
        change = Change(address=None if is_back else address, weight=arguments.weight)
        self._topology.change(pool, name, change)
        word = "is back in" if is_back else "is added to"
        return self._answer(pool, name, f"{name} {word} pool {pool}")

    async def remove(self, arguments: Remove) -> Mapping[str, Any]:
        """Take an instance away, once it is drained or at once."""
        if arguments.now and arguments.limit_seconds is not None:
            refuse(422, "remove: now leaves no time to drain; leave limit_seconds out, or now.")
        forgotten = self._pool_without_effect(arguments)
        if forgotten is not None:
            name = arguments.instance
            self._topology.change(forgotten, name, None)
            return self._answer(
                forgotten, name, f"{name} is not there; what was changed of it is forgotten"
            )
        pool, member = self._find(arguments)
        if arguments.now:
            self._topology.change(pool, member.name, without_member(member))
            text = f"{member.name} is removed from pool {pool}"
            return self._answer(pool, member.name, text)
        limit = self._start_drain(pool, member, arguments.limit_seconds, remove=True)
        self._topology.tick()  # one that nobody uses leaves at once
        if self._topology.pools[pool].find(member.name) is None:
            text = f"{member.name} is removed from pool {pool}"
        else:
            text = f"{member.name} is draining and leaves pool {pool} {limit}"
        return self._answer(pool, member.name, text)

    async def drain(self, arguments: StartDrain) -> Mapping[str, Any]:
        """Send no new clients to an instance."""
        pool, member = self._find(arguments)
        before = member.change.drain
        limit = self._start_drain(
            pool, member, arguments.limit_seconds, remove=before is not None and before.remove
        )
        text = f"{member.name} takes no new clients"
        if self._binds(pool):
            text += f"; bound ones go elsewhere {limit}"
        return self._answer(pool, member.name, text)

    async def undrain(self, arguments: OfInstance) -> Mapping[str, Any]:
        """Let an instance take new clients again; one that was to be removed stays."""
        pool, member = self._find(arguments)
        if member.change.drain is None:
            return self._answer(pool, member.name, f"{member.name} was not draining")
        change = msgspec.structs.replace(member.change, drain=None)
        self._topology.change(pool, member.name, change)
        return self._answer(pool, member.name, f"{member.name} takes new clients again")

    async def weight(self, arguments: SetWeight) -> Mapping[str, Any]:
        """Change an instance's share of the load."""
        pool, member = self._find(arguments)
        if arguments.weight is not None:
            self._require_weights(pool)
        change = msgspec.structs.replace(member.change, weight=arguments.weight)
        self._topology.change(pool, member.name, change)
        now = self._topology.pools[pool].find(member.name)
        assert now is not None
        text = f"{member.name} has weight {now.weight}"
        if now.weight != member.weight:
            text += f", it was {member.weight}"
        return self._answer(pool, member.name, text)

    # Parts of them.

    def _start_drain(
        self, pool: str, member: Member, limit_seconds: float | None, *, remove: bool
    ) -> str:
        """Drain an instance, or change how; return when it ends, in words.

        A limit counts from the command that names it.
        """
        drain = member.change.drain
        if drain is None or limit_seconds is not None:
            seconds = drain_limit(self._section(pool)) if limit_seconds is None else limit_seconds
            drain = Drain(since=self._clock.wall(), limit_seconds=seconds)
        drain = msgspec.structs.replace(drain, remove=remove)
        change = msgspec.structs.replace(member.change, drain=drain)
        self._topology.change(pool, member.name, change)
        left = max(drain.since + drain.limit_seconds - self._clock.wall(), 0.0)
        limit = format_duration(round(left))
        if remove and not self._binds(pool):
            return f"when its requests are answered, after {limit} at most"
        return f"after {limit}" if left else "now"

    def _section(self, pool: str) -> Pool:
        return next(each for each in self._topology.policy.pools if each.name == pool)

    def _require_weights(self, pool: str) -> None:
        method = self._section(pool).method
        if method is BalancingMethod.ROUND_ROBIN:
            refuse(
                409,
                f"Pool {pool} is balanced by round-robin, which ignores weights; write method = "
                '"weighted-round-robin" in the policy.',
            )

    def _binds(self, pool: str) -> bool:
        return self._section(pool).affinity is not None

    def _pool_for(self, arguments: Add) -> str:
        pools = self._topology.pools
        if arguments.pool is not None:
            return self._known_pool(arguments.pool)
        if len(pools) == 1:
            return next(iter(pools))
        holders = [key for key, each in pools.items() if arguments.name in each.removed]
        if len(holders) == 1:
            return holders[0]
        return refuse(422, f"add: name the pool; there are {', '.join(pools) or 'none'}.")

    def _known_pool(self, name: str) -> str:
        if name not in self._topology.pools:
            refuse(404, f"There is no pool {name!r}; {nearest(name, self._topology.pools)}")
        return name

    def _identity(self, arguments: Add, members: Members) -> tuple[str, str]:
        """Return name and address of an instance to add; either may be left out of what is known.

        An instance that was removed is known by its name, and by its address.
        """
        address, name = arguments.address, arguments.name
        if address is None:
            if name is None:
                refuse(422, 'add: name the address, e.g. {"address": "10.0.0.7:3000"}.')
            removed = members.removed.get(name)
            if removed is None:
                refuse(
                    422, f"add: {name} is not a removed instance, so its address is needed as well."
                )
            return name, removed.address
        try:
            FORMS["upstream"].check(address)
            address = str(parse_address(address))
            if name is not None:
                check_instance_name(name)
        except ValueError as error:
            refuse(422, f"add: {error}.")
        if name is None:
            back = (each.name for each in members.removed.values()
                    if place_of(each.address) == place_of(address))  # fmt: skip
            name = next(back, address)
        return name, address

    def _pool_without_effect(self, arguments: OfInstance) -> str | None:
        """Return the pool with a change of an instance that is not there, None when it is there."""
        name = arguments.instance
        pools = self._topology.pools
        if any(each.find(name) or name in each.removed for each in pools.values()):
            return None
        holders = [key for key, each in self._topology.changes.items() if name in each]
        wanted = [key for key in holders if arguments.pool in (None, key)]
        return wanted[0] if wanted else None

    def _find(self, arguments: OfInstance) -> tuple[str, Member]:
        name = arguments.instance
        pools = dict(self._topology.pools)
        if arguments.pool is not None:
            wanted = self._known_pool(arguments.pool)
            pools = {wanted: pools[wanted]}
        holders = [(key, found) for key, each in pools.items() if (found := each.find(name))]
        if len(holders) > 1:
            names = ", ".join(key for key, _ in holders)
            refuse(422, f"Several pools have an instance {name}: {names}. Name the pool.")
        if holders:
            return holders[0]
        if any(name in each.removed for each in pools.values()):
            refuse(404, f"{name} is removed. `poruwa add {name}` puts it back.")
        known = [each.name for merged in pools.values() for each in merged.members]
        return refuse(404, f"There is no instance {name!r}; {nearest(name, known)}")

    def _answer(self, pool: str, name: str, text: str) -> dict[str, Any]:
        path = self._topology.kept.path
        return {
            "pool": pool,
            "instance": name,
            "text": text,
            "kept": None if path is None else str(path),
            "note": NOT_KEPT if path is None else "",
        }
