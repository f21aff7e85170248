"""``poruwa reload`` and ``poruwa upgrade``: workers replaced while clients are served.

Both begin a new epoch of workers beside the old one (``stack.workers``). A reload reads the policy
again; an upgrade keeps it and takes what is installed now, since workers are started from the disk.

1. Read the policy: problems refuse it, as ``poruwa config check`` prints them.
2. Open the listeners it adds: a busy port refuses it.
3. Start the new workers: one that cannot use the policy refuses it, with its reason.
4. Instances and their checks are brought up to date; those that stay keep what is known of them.
5. The new workers accept, then the old ones drain; listeners no longer named are closed.

Until step 4 nothing has changed for any client, so a refusal is a refusal of the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

import structlog

from poruwa.config.address import parse_address
from poruwa.config.model import Listener, Policy
from poruwa.errors import PoruwaError, StackError
from poruwa.gateway.local_bus import Topology
from poruwa.stack.sockets import bound_address, open_listener
from poruwa.stack.workers import Epoch, WorkerGroup, WorkerSettings, worker_count

_log = structlog.get_logger(component="gateway")


class Verb(StrEnum):
    """How workers are replaced."""

    RELOAD = "reload"
    UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySource:
    """Where a gateway's policy comes from, again and again, and what the command line adds to it.

    Attributes:
        read: returns the policy as it is on disk now; raises ConfigError.
        access_log: returns where its access log goes, as workers are told.
        reports: where browsers' reports go, as workers are told.
        configure_logging: writes log lines of this process as it says.
    """

    read: Callable[[], Policy]
    access_log: Callable[[Policy], str]
    configure_logging: Callable[[Policy], None]
    reports: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What a gateway runs by: all of it changes together."""

    policy: Policy
    listeners: Mapping[str, socket.socket]
    topology: Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """What a reload or upgrade did.

    Attributes:
        epoch: of the workers that serve now.
        opened, closed: ``NAME ADDRESS`` of listeners.
        after_restart: settings that changed and are read at the start only.
    """

    verb: str
    epoch: int
    workers: int
    seconds: float
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    after_restart: tuple[str, ...] = ()

    def tree(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class Reloadable(Protocol):
    """The gateway whose workers are replaced."""

    @property
    def in_force(self) -> InForce: ...
    @property
    def workers(self) -> WorkerGroup: ...

    def reason_not_to_reload(self) -> str | None:
        """Return why workers cannot be replaced now."""
        ...

    def topology_for(self, policy: Policy) -> Topology:
        """Return the instances of ``policy``; those that stay keep their slots."""
        ...

    def settings_for(self, wanted: InForce) -> WorkerSettings:
        """Return what workers are started with."""
        ...

    def adopt(self, wanted: InForce) -> None:
        """Run by ``wanted`` from now on: check its instances, tell its listeners."""
        ...


class Reloads:
    """Reloads and upgrades of one gateway, one after the other."""

    def __init__(self, gateway: Reloadable, source: PolicySource) -> None:
        self._gateway = gateway
        self._source = source
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[ReloadReport]] = set()
        self._waiting: dict[Verb, asyncio.Task[ReloadReport]] = {}  # for the one under way

    async def reload(self) -> ReloadReport:
        """Serve by the policy as it is on disk now; cancelling does not undo it.

        Raises:
            ConfigError, StackError: refused, with a line per problem. Nothing has changed.
        """
        return await asyncio.shield(self._begin(Verb.RELOAD))

    async def upgrade(self) -> ReloadReport:
        """Serve with the code as it is installed now, by the same policy.

        Raises:
            StackError: refused; the old workers go on.
        """
        return await asyncio.shield(self._begin(Verb.UPGRADE))

    def on_signal(self, verb: Verb) -> None:
        """Do it without anybody who waits; the log tells the outcome."""
        self._begin(verb)

    def cancel(self) -> None:
        """Give up what is under way: the gateway stops."""
        for task in self._tasks:
            task.cancel()

    def _begin(self, verb: Verb) -> asyncio.Task[ReloadReport]:
        waiting = self._waiting.get(verb)
        if waiting is not None:  # it will read what there is then, so once is enough
            return waiting
        task = self._waiting[verb] = asyncio.create_task(self._log_outcome(verb), name=verb)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[ReloadReport]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the log has it, and whoever waits

    async def _log_outcome(self, verb: Verb) -> ReloadReport:
        try:
            try:
                await self._lock.acquire()
            finally:
                del self._waiting[verb]
            try:
                report = await self._replace(verb)
            finally:
                self._lock.release()
        except PoruwaError as error:
            for line in error.message.splitlines():
                _log.error(f"{verb} refused, all goes on as before", reason=line)
            raise
        _log.info(f"{verb} done", **{key: value for key, value in report.tree().items() if value})
        return report

    async def _replace(self, verb: Verb) -> ReloadReport:
        started = time.monotonic()
        gateway, before = self._gateway, self._gateway.in_force
        reason = gateway.reason_not_to_reload()
        if reason is not None:
            raise StackError(f"Not now: {reason}.")
        policy = self._source.read() if verb is Verb.RELOAD else before.policy
        kept, opened = _open_added(before, policy)
        try:
            wanted = InForce(
                policy=policy,
                listeners={each.name: (kept | opened)[each.name] for each in policy.listeners},
                topology=gateway.topology_for(policy),
            )
            old, epoch = await self._change_workers(wanted)
        except BaseException:
            for sock in opened.values():
                sock.close()
            raise
        self._source.configure_logging(policy)
        closed = {
            name: sock for name, sock in before.listeners.items() if sock not in kept.values()
        }
        try:
            await gateway.workers.retire(old, seconds=policy.gateway.old_workers_seconds)
        finally:
            descriptions = tuple(_described(closed))
            for sock in closed.values():
                _close_for_everybody(sock)
        return ReloadReport(
            verb=verb,
            epoch=epoch.number,
            workers=len(epoch.rows),
            seconds=round(time.monotonic() - started, 3),
            opened=tuple(_described(opened)),
            closed=descriptions,
            after_restart=needs_restart(before.policy, policy),
        )

    async def _change_workers(self, wanted: InForce) -> tuple[Epoch, Epoch]:
        """Let workers by ``wanted`` accept; return the epoch that did so far, and theirs."""
        gateway, before = self._gateway, self._gateway.in_force
        old = gateway.workers.current
        assert old is not None
        settings = gateway.settings_for(wanted)
        epoch = await gateway.workers.prepare(worker_count(wanted.policy), settings)
        try:
            gateway.adopt(wanted)
            await gateway.workers.open(epoch)
        except BaseException:
            gateway.adopt(before)
            await gateway.workers.discard(epoch)
            raise
        return old, epoch


def needs_restart(before: Policy, after: Policy) -> tuple[str, ...]:
    """Return the settings that differ and that a running gateway, or stack, cannot change."""
    pairs: dict[str, tuple[object, object]] = {
        "admin.address": (before.admin.address, after.admin.address),
        "admin.socket": (before.admin.socket, after.admin.socket),
        "admin.token": (_token(before), _token(after)),
        "logs.format": (before.logs.format, after.logs.format),
        # Read by `poruwa up`, which starts these parts.
        "stack": (before.stack, after.stack),
        "database": (before.database, after.database),
        "stores": (before.stores, after.stores),
    }
    counts = {pool.name: pool.count for pool in before.pools}
    for pool in after.pools:
        pairs[f"pools.{pool.name}.count"] = (counts.get(pool.name, 0), pool.count)
    return tuple(name for name, (old, new) in pairs.items() if old != new)


def match_listeners(before: Policy, after: Policy) -> dict[str, str]:
    """Return which listener of ``before`` each of ``after`` has its socket from, by name.

    A listener keeps its socket as long as its address stays, also under another name.
    """
    places = {listener.name: _place(listener) for listener in before.listeners}
    matched = {
        listener.name: listener.name
        for listener in after.listeners
        if places.get(listener.name) == _place(listener)
    }
    for listener in after.listeners:
        if listener.name in matched:
            continue
        for name, place in places.items():
            if place == _place(listener) and name not in matched.values():
                matched[listener.name] = name
                break
    return matched


def _place(listener: Listener) -> object:
    return parse_address(listener.address)


def _token(policy: Policy) -> str | None:
    token = policy.admin.token
    return None if token is None else token.reveal()


def _open_added(
    before: InForce, policy: Policy
) -> tuple[dict[str, socket.socket], dict[str, socket.socket]]:
    """Return the sockets that ``policy`` keeps, and those that were opened for it, by name.

    Raises:
        StackError: an address cannot be listened on; nothing stays open then.
    """
    matched = match_listeners(before.policy, policy)
    kept = {new: before.listeners[old] for new, old in matched.items()}
    opened: dict[str, socket.socket] = {}
    try:
        for listener in policy.listeners:
            if listener.name not in kept:
                opened[listener.name] = open_listener(
                    listener.address, option=f"listeners.{listener.name}.address"
                )
    except StackError:
        for sock in opened.values():
            sock.close()
        raise
    return kept, opened


def _described(sockets: Mapping[str, socket.socket]) -> list[str]:
    return [f"{name} {bound_address(sock)}" for name, sock in sockets.items()]


def _close_for_everybody(sock: socket.socket) -> None:
    """End a listener, also where ``poruwa up`` holds a copy of it: clients must be refused."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
