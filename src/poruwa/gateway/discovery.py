"""Keeps looking for the instances of pools that do not list them: in the DNS or in a file.

Run by the control process, beside the health checks and never on a request's path. Each pool with
``[pools.NAME.discovery]`` has a watch of its own, so that a silent DNS server delays one pool only.
What a look means, and that the last good list stays, is decided in ``rules.discovery``.

A file is looked at twice a second, by its name, so that a replacement by rename is seen. A change
is read once the file has stayed as it is from one look to the next: who writes in place is done.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from poruwa.clock import Clock
from poruwa.config.model import Discovery, DiscoveryKind, Pool
from poruwa.errors import ConfigError
from poruwa.rules.discovery import (
    Answer,
    Discovered,
    DiscoveryProblem,
    FoundInstance,
    advance,
    beside,
    next_look_seconds,
    parse_instance_file,
)

FILE_LOOK_SECONDS = 0.5
LARGEST_FILE_BYTES = 1 << 20  # a thousand lines of a thousand bytes; more is another file

OnFound = Callable[[str, tuple[FoundInstance, ...]], None]

_log = structlog.get_logger(component="discovery")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDiscovery:
    """What is known of one pool's look-ups; times are wall time."""

    pool: str
    section: Discovery
    state: Discovered
    looked_at: float | None


class Discoverer:
    """Watches the sources of ``pools`` until cancelled.

    Args:
        pools: those without discovery are passed over.
        on_found: called with a pool's name and all its found instances whenever these change, but
            for those that the pool lists itself. Must not raise.
        known: what was found before a reload, by pool: it counts as the last good list, and
            ``on_found`` is called only for something else.
        look_seconds: longest time of one look in the DNS; None for the usual one.
    """

    def __init__(
        self,
        pools: Iterable[Pool],
        *,
        on_found: OnFound,
        clock: Clock,
        known: Mapping[str, tuple[FoundInstance, ...]] | None = None,
        look_seconds: float | None = None,
    ) -> None:
        self._look_seconds = look_seconds
        self._watches = tuple(
            _Watch(pool, pool.discovery, (known or {}).get(pool.name, ()), on_found, clock)
            for pool in pools
            if pool.discovery is not None
        )

    @property
    def pools(self) -> tuple[PoolDiscovery, ...]:
        """What is known now, in the order of the policy."""
        return tuple(watch.view() for watch in self._watches)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                is_file = watch.section.kind is DiscoveryKind.FILE
                looking = _watch_file(watch) if is_file else _watch_dns(watch, self._look_seconds)
                group.create_task(looking, name=f"discovery {watch.pool}")


class DiscoveryRunner:
    """A discoverer that a reload replaces: what was found stays known.

    Args:
        pools: of the policy.
        on_found: as of `Discoverer`.
    """

    def __init__(self, pools: Iterable[Pool], *, on_found: OnFound, clock: Clock) -> None:
        self._on_found = on_found
        self._clock = clock
        self._current = Discoverer(pools, on_found=on_found, clock=clock)
        self._changed = asyncio.Event()

    @property
    def pools(self) -> tuple[PoolDiscovery, ...]:
        """What is known now, in the order of the policy."""
        return self._current.pools

    def configure(self, pools: Iterable[Pool]) -> None:
        """Look by ``pools`` from now on; those whose source is another begin anew."""
        before = {each.pool: each for each in self._current.pools}
        pools = tuple(pools)
        known = {
            pool.name: before[pool.name].state.instances
            for pool in pools
            if pool.discovery is not None
            and pool.name in before
            and pool.discovery == before[pool.name].section
        }
        for name in before.keys() - known.keys():
            self._on_found(name, ())
        self._current = Discoverer(pools, on_found=self._on_found, clock=self._clock, known=known)
        self._changed.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._current.run())
                await self._changed.wait()
                looking.cancel()


class _Watch:
    """One pool: what was found, and who is told."""

    __slots__ = ("_clock", "_listed", "_looked_at", "_on_found", "_state", "_told", "pool",
                 "section")  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        section: Discovery,
        known: tuple[FoundInstance, ...],
        on_found: OnFound,
        clock: Clock,
    ) -> None:
        self.pool = pool.name
        self.section = section
        self._listed = [(each.name, each.address) for each in pool.instances]
        self._on_found = on_found
        self._clock = clock
        self._state = Discovered(instances=known)
        self._told = beside(self._listed, known)
        self._looked_at: float | None = None

    def view(self) -> PoolDiscovery:
        return PoolDiscovery(
            pool=self.pool, section=self.section, state=self._state, looked_at=self._looked_at
        )

    def take(self, answer: Answer) -> None:
        """Take note of what a look brought, and tell whom it concerns if that is news."""
        before = self._state
        self._looked_at = self._clock.wall()
        self._state = advance(before, answer, self._looked_at)
        self._log_news(before)
        found = beside(self._listed, self._state.instances)
        if found != self._told:
            self._told = found
            self._on_found(self.pool, found)

    def _log_news(self, before: Discovered) -> None:
        state = self._state
        about = {"pool": self.pool, "source": self.section.source}
        old = {each.address for each in before.instances}
        new = {each.address for each in state.instances}
        if state.instances != before.instances:
            _log.info(
                "instances found",
                **about,
                count=len(new),
                added=" ".join(sorted(new - old)),
                removed=" ".join(sorted(old - new)),
            )
        elif state.problem is None and before.problem not in (None, DiscoveryProblem.NOT_LOOKED):
            _log.info("instances are found again, the same", **about, count=len(new))
        if state.problem is not None and state.problem is not before.problem:
            _log.warning(
                "no instances found; the last ones stay" if new else "no instances found",
                **about,
                reason=state.problem.value,
                detail=state.detail,
                kept=len(new),
            )
        elif state.problem is None and state.detail and state.detail != before.detail:
            _log.warning("instances left out", **about, detail=state.detail)


async def _watch_dns(watch: _Watch, look_seconds: float | None) -> None:
    # Imported here: dnspython takes 60 ms to load, which only who uses it should wait for.
    from poruwa.gateway.dns_lookup import LOOK_SECONDS, look_up

    while True:
        answer = await look_up(watch.section, seconds=look_seconds or LOOK_SECONDS)
        watch.take(answer)
        await asyncio.sleep(next_look_seconds(answer, watch.section.refresh_seconds))


async def _watch_file(watch: _Watch) -> None:
    path = watch.section.source
    read = seen = _signature(path)
    answer = read_instance_file(path)
    watch.take(answer)
    while True:
        await asyncio.sleep(FILE_LOOK_SECONDS)
        now = _signature(path)
        # Nothing need change at the file for it to become readable (memory, descriptors).
        is_due = now != read or answer.problem is DiscoveryProblem.FILE_UNREADABLE
        if now == seen and is_due:
            answer = read_instance_file(path)
            if _signature(path) == now:
                read = now
                watch.take(answer)
        seen = now


def read_instance_file(path: str) -> Answer:
    """Return what the file at ``path`` lists, or why it cannot be used. Raises nothing.

    Reads at once, on the loop: the file is small and local, like the policy.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe could wait for ever
            raise OSError(errno.EINVAL, "is not a file")
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return Answer(problem=DiscoveryProblem.FILE_MISSING, detail=f"{path} does not exist")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Answer(problem=DiscoveryProblem.FILE_UNREADABLE, detail=f"{path}: {reason.lower()}")
    if len(data) > LARGEST_FILE_BYTES:
        return Answer(
            problem=DiscoveryProblem.FILE_INVALID,
            detail=f"{path}: is over 1 MiB, so probably not a list of instances",
        )
    try:
        return Answer(instances=parse_instance_file(data, path))
    except ConfigError as error:
        return Answer(problem=DiscoveryProblem.FILE_INVALID, detail=error.message)


def _signature(path: str) -> tuple[int, int, int, int] | None:
    """Return what differs between two states of a file; None while there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # The time of change: it also tells of new permissions, and cannot be set back.
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size
