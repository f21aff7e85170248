"""The gateway's control process: opens sockets, starts workers, checks instances, tells operators.

It carries no client's bytes: a request goes through a worker only, so what happens here cannot slow
one down. When it ends, all that it started ends.

Order of a start: listening sockets (a busy port is known before anything runs) · shared memory ·
admin listener and health checks · workers · ready. Order of an end: our copies of the listening
sockets are closed · workers drain · admin listener. Between the two, workers can be replaced by
others with a new policy or new code: ``stack.reload``.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from poruwa.clock import SystemClock
from poruwa.config.model import Policy
from poruwa.config.wire import encode_policy
from poruwa.errors import PoruwaError, StackError
from poruwa.gateway.active_health import HealthMonitor, InstanceHealth
from poruwa.gateway.admin import AdminServer, listener_access, make_admin_app
from poruwa.gateway.cache_answers import CacheQuestion
from poruwa.gateway.coherence import durations
from poruwa.gateway.discovery import DiscoveryRunner
from poruwa.gateway.local_bus import Configure, Topology
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.shared_state import InstanceState, SharedState
from poruwa.observe.metrics import MetricsSnapshot, render_prometheus
from poruwa.rules.ejection import PassiveState, Standing
from poruwa.rules.speed import UNLIMITED
from poruwa.stack.cache_verbs import CacheVerbs
from poruwa.stack.change_publisher import ChangePublisher
from poruwa.stack.commands import Commands, InstanceVerbs, NoArguments, Verb
from poruwa.stack.explain import Explainer, Question
from poruwa.stack.kept_changes import KeptChanges
from poruwa.stack.reload import InForce, PolicySource, ReloadReport, Reloads
from poruwa.stack.reload import Verb as Replacing
from poruwa.stack.snapshots import SnapshotKeeper
from poruwa.stack.sockets import bound_address, open_listener
from poruwa.stack.stopping import StopRequest, is_on_terminal, stop_on_signals
from poruwa.stack.supervisor import Supervisor
from poruwa.stack.topology import TICK_SECONDS, RunningTopology
from poruwa.stack.topology_status import change_status, pool_statuses
from poruwa.stack.workers import (
    LEAST_ROWS,
    OLD_EPOCHS,
    WorkerGroup,
    WorkerSettings,
    worker_count,
    worker_name,
)

# Their names among inherited sockets; no listener may have them.
ADMIN, CONTROL = "admin", "control"

_SERVES = frozenset((InstanceState.UP, InstanceState.DRAINING))

_log = structlog.get_logger(component="gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySockets:
    """Open sockets of a gateway: of its listeners by name, and of what operators use.

    ``admin`` is at ``admin.address``, ``control`` at ``admin.socket``; either may be missing.
    """

    listeners: Mapping[str, socket.socket]
    admin: socket.socket | None
    control: socket.socket | None = None

    @property
    def for_operators(self) -> dict[str, socket.socket]:
        """By their names among inherited sockets, as far as they are there."""
        named = {ADMIN: self.admin, CONTROL: self.control}
        return {name: sock for name, sock in named.items() if sock is not None}

    def close(self) -> None:
        """Close our copies; connections they hold are refused once no process has one."""
        self.close_listeners()
        for sock in self.for_operators.values():
            sock.close()

    def close_listeners(self) -> None:
        for sock in self.listeners.values():
            sock.close()


def open_gateway_sockets(
    policy: Policy, inherited: Mapping[str, socket.socket] | None = None
) -> GatewaySockets:
    """Open what ``policy`` names, but for what is ``inherited``.

    Raises:
        StackError: an address is in use, not allowed or not ours. Nothing stays open then.
    """
    given = dict(inherited or {})
    opened: dict[str, socket.socket] = {}
    address, control = policy.admin.address, policy.admin.socket
    try:
        for listener in policy.listeners:
            opened[listener.name] = given.get(listener.name) or open_listener(listener.address)
        listeners = dict(opened)
        if ADMIN not in given and address is not None:
            opened[ADMIN] = open_listener(address, option="--admin", private=True)
        if CONTROL not in given and control is not None:
            where = f"unix:{Path(control).absolute()}"
            opened[CONTROL] = open_listener(where, option="--control", private=True)
    except StackError:
        for sock in opened.values():
            sock.close()
        raise
    named = given | opened
    return GatewaySockets(listeners=listeners, admin=named.get(ADMIN), control=named.get(CONTROL))


class GatewayControl:
    """One gateway; an `AdminSource`, and `Reloadable`. Use `run`."""

    def __init__(
        self, policy: Policy, sockets: GatewaySockets, source: PolicySource, kept: KeptChanges
    ) -> None:
        self._for_operators = sockets.for_operators
        self._source = source
        self._started_at = time.time()
        self._started = time.monotonic()
        self._is_stopping = False
        count = worker_count(policy)
        self._shared = SharedState.create(max_workers=max(LEAST_ROWS, (OLD_EPOCHS + 2) * count))
        self.topology = RunningTopology(
            policy,
            kept=kept,
            capacity=self._shared.max_instances,
            in_flight=self._shared.in_flight,
            is_held=lambda slot: self.workers.holds(slot),
            on_change=self._take_topology,
            clock=SystemClock(),
        )
        self.in_force = InForce(
            policy=policy, listeners=sockets.listeners, topology=self.topology.message
        )
        self.judge = Judge(self._shared, policy.pools, clock=SystemClock())
        self._health = HealthMonitor(
            self.judge, self.topology.targets, clock=SystemClock(), random=random.random
        )
        self._discovery = DiscoveryRunner(
            policy.pools, on_found=self.topology.set_found, clock=SystemClock()
        )
        self._supervisor = Supervisor()
        self.workers = WorkerGroup(
            self._supervisor,
            self._shared,
            on_exit=lambda row: self._snapshots.retire(row),
            on_last_word=lambda row, snapshot: self._snapshots.take(row, snapshot),
        )
        self._snapshots = SnapshotKeeper(
            lambda: self.workers.rows,
            lambda row, seconds: self.workers.hub.request_metrics(row, timeout_seconds=seconds),
        )
        self.reloads = Reloads(self, source)
        self._publisher = ChangePublisher()
        instances = InstanceVerbs(self.topology, clock=SystemClock())
        self._cache = CacheVerbs(
            lambda: self.workers.rows,
            lambda row, topic, payload, seconds: self.workers.hub.ask(
                row, topic, payload, timeout_seconds=seconds
            ),
            silent_seconds=self._shared.heartbeat_age,
            refresh=self._fresh_snapshot,
            log=lambda: self._publisher.open(self.in_force.policy),
        )
        self._commands = Commands(
            {
                **instances.verbs,
                **self._cache.verbs,
                "explain": Verb(Question, self._explain),
                "reload": Verb(NoArguments, lambda _: self._replace_workers(self.reloads.reload())),
                "upgrade": Verb(
                    NoArguments, lambda _: self._replace_workers(self.reloads.upgrade())
                ),
            }
        )

    async def run(self) -> None:
        """Run until a signal asks for the end, then drain.

        Raises:
            StackError: a worker could not start.
        """
        try:
            with stop_on_signals(self._signal_actions()) as request:
                async with self._supervisor, asyncio.TaskGroup() as group:
                    await self._serve(group, request)
        except* PoruwaError as errors:
            raise first_error(errors) from None
        finally:
            self._close_listeners()
            for sock in self._for_operators.values():
                sock.close()
            self._shared.close()

    # As `Reloadable`.

    def reason_not_to_reload(self) -> str | None:
        """Return why workers cannot be replaced now."""
        if self._is_stopping:
            return "the gateway is stopping"
        if self.workers.current is None:
            return "the gateway is starting"
        return None

    def topology_for(self, policy: Policy) -> Topology:
        """Return the instances of ``policy``; those that stay keep their slots."""
        return self.topology.preview(policy)

    def settings_for(self, wanted: InForce) -> WorkerSettings:
        """Return what workers are started with."""
        policy = wanted.policy
        return WorkerSettings(
            configure=Configure(encode_policy(policy), wanted.topology),
            access_log=self._source.access_log(policy),
            reports=self._source.reports,
            listeners=wanted.listeners,
            drain_seconds=policy.timeouts.drain_seconds,
        )

    def adopt(self, wanted: InForce) -> None:
        """Run by ``wanted`` from now on: check its instances, tell its listeners."""
        self.in_force = wanted
        self.judge.configure(wanted.policy.pools)
        self.topology.set_policy(wanted.policy)
        self._discovery.configure(wanted.policy.pools)
        self._take_topology()  # what was prepared may be older than the last command

    async def _explain(self, question: Question) -> Mapping[str, Any]:
        explainer = Explainer(
            self.in_force.policy,
            self.in_force.topology,
            self._shared,
            self.judge,
            patience=self._snapshots.total().patience,
        )
        asked = CacheQuestion(url=question.url, method=question.method, headers=question.headers)
        return explainer.explain(question) | {"cache": await self._cache.view(asked)}

    async def _fresh_snapshot(self) -> MetricsSnapshot:
        await self._snapshots.refresh()
        return self._snapshots.total()

    def _take_topology(self) -> None:
        """Pass on which instances there are now: checks first, so that verdicts are there."""
        self.in_force = replace(self.in_force, topology=self.topology.message)
        self._health.update(self.topology.targets)
        self.workers.set_topology(self.in_force.topology)

    # As `AdminSource`.

    def status(self) -> Mapping[str, Any]:
        """Return the JSON of ``/status``."""
        missing = self.not_ready_reasons()
        policy, listeners = self.in_force.policy, self.in_force.listeners
        current = self.workers.current
        return {
            "site": policy.site.name,
            "build": policy.site.build,
            "version": version("poruwa"),
            "pid": os.getpid(),
            "started_at": _iso(self._started_at),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "ready": not missing,
            "missing": missing,
            "epoch": 0 if current is None else current.number,
            "listeners": [
                {"name": listener.name, "address": bound_address(listeners[listener.name]),
                 "tls": listener.tls is not None}
                for listener in policy.listeners
            ],
            "workers": [
                self._worker_status(row, epoch.number)
                for epoch in self.workers.epochs
                for row in epoch.rows
            ],
            "pools": pool_statuses(self.topology, self._health, self._discovery.pools),
            "instances": [self._instance_status(known) for known in self._health.instances],
            "changes_kept": str(self.topology.kept.path) if self.topology.kept.path else None,
        }  # fmt: skip

    async def command(
        self, verb: str, arguments: Mapping[str, Any], *, who: str
    ) -> Mapping[str, Any]:
        """Carry out a command of the admin listener."""
        reason = self.reason_not_to_reload()
        if reason is not None:
            raise StackError(f"Not now: {reason}.", retryable=True, status_hint=503)
        return await self._commands.run(verb, arguments, who=who)

    async def _replace_workers(self, doing: Awaitable[ReloadReport]) -> Mapping[str, Any]:
        report = await doing
        text = f"{report.verb} done in {report.seconds:.1f} s by {report.workers} workers"
        return {"text": text, **report.tree()}

    def not_ready_reasons(self) -> list[str]:
        """Return what is missing before clients are served as the policy says."""
        if self._is_stopping:
            return ["the gateway is stopping"]
        if self.workers.current is None:
            return ["workers are starting"]
        reasons = [f"worker {row} is not accepting" for row in self.workers.missing()]
        for pool in self.in_force.policy.pools:
            states = [known.state for known in self._health.instances
                      if known.target.pool == pool.name]  # fmt: skip
            is_meant_to_have_some = bool(states or pool.instances or pool.discovery)
            if is_meant_to_have_some and InstanceState.UP not in states:
                reasons.append(f"no instance of pool {pool.name} is up")
        return reasons

    async def metrics(self) -> bytes:
        """Return the Prometheus page; waits for workers at most `REPLY_SECONDS`."""
        await self._snapshots.refresh()
        total = self._snapshots.total()
        # The control process knows health and load exactly; workers may have been asked earlier.
        total.instance_up = {}
        for known in self._health.instances:
            pool = total.instance_up.setdefault(known.target.pool, {})
            pool[known.target.name] = known.state in _SERVES
            total.in_flight[known.target.name] = self._shared.in_flight(known.target.slot)
        total.ejections = dict(self.judge.ejections)
        total.acknowledgements = {
            kind: durations(each) for kind, each in self._cache.acknowledgements.items()
        }
        return render_prometheus(total)

    async def _serve(self, group: asyncio.TaskGroup, request: StopRequest) -> None:
        servers = self._start_admin(group)
        tasks = [
            group.create_task(self._health.run(), name="health checks"),
            group.create_task(self.judge.run(), name="judge"),
            group.create_task(self._discovery.run(), name="discovery"),
            group.create_task(self._watch_drains(), name="drains"),
        ]
        await self._publisher.open(self.in_force.policy)
        starting = group.create_task(self._start_workers())
        asked = group.create_task(request.asked.wait())
        await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            self._log_ready()
            tasks.append(group.create_task(self.workers.watch_heartbeats()))
            tasks.append(group.create_task(self._snapshots.refresh_regularly()))
            await asked
        starting.cancel()
        self.reloads.cancel()
        await self._drain(request)
        await self._publisher.close()
        for task in tasks:
            task.cancel()
        for server in servers:
            server.stop()

    async def _watch_drains(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.topology.tick()

    async def _start_workers(self) -> None:
        wanted = self.in_force
        epoch = await self.workers.prepare(worker_count(wanted.policy), self.settings_for(wanted))
        await self.workers.open(epoch)

    def _signal_actions(self) -> dict[signal.Signals, Callable[[], None]]:
        actions = {signal.SIGUSR2: lambda: self.reloads.on_signal(Replacing.UPGRADE)}
        if not is_on_terminal():
            actions[signal.SIGHUP] = lambda: self.reloads.on_signal(Replacing.RELOAD)
        return actions

    async def _drain(self, request: StopRequest) -> None:
        self._is_stopping = True
        seconds = self.in_force.policy.timeouts.drain_seconds
        _log.info("draining", at_most_seconds=seconds, now="signal again to stop at once")
        self._close_listeners()
        draining = asyncio.create_task(self.workers.drain())
        hurried = asyncio.create_task(request.hurried.wait())
        await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not draining.done():
            self._supervisor.kill_all()
        await draining
        _log.info("stopped")

    def _close_listeners(self) -> None:
        for sock in self.in_force.listeners.values():
            sock.close()

    def _start_admin(self, group: asyncio.TaskGroup) -> list[AdminServer]:
        section = self.in_force.policy.admin
        secret = None if section.token is None else section.token.reveal()
        servers = []
        for name, sock in self._for_operators.items():
            access = listener_access(bound_address(sock), secret)
            servers.append(AdminServer(make_admin_app(self, access)))
            group.create_task(servers[-1].run_on(sock), name=f"{name} listener")
        return servers

    def _log_ready(self) -> None:
        where = {name: bound_address(sock) for name, sock in self._for_operators.items()}
        _log.info(
            "ready",
            listeners=" ".join(map(bound_address, self.in_force.listeners.values())),
            admin=where.get(ADMIN, "none"),
            control=where.get(CONTROL, "none"),
            workers=len(self.workers.rows),
            seconds=round(time.monotonic() - self._started, 2),
        )
        if self.in_force.policy.cache.follow_origin:
            # RFC 9111 section 7.3: that a response sets a cookie does not forbid to store it.
            _log.warning(
                "cookies may be shared",
                why="the cache keeps what the origin lets it keep, with its Set-Cookie",
                remedy="Cache-Control: private or no-store on answers that set a visitor's cookie",
            )

    def _worker_status(self, row: int, epoch: int) -> dict[str, Any]:
        view = self._shared.worker(row)
        part = self._supervisor.find(worker_name(row))
        state = "stopped" if part is None else part.state
        return {
            "index": row,
            "pid": view.pid or None,
            "epoch": epoch,
            "generation": view.generation,
            "state": "draining" if view.is_draining else state,
            "restarts": 0 if part is None else max(part.generation - 1, 0),
            "last_end": "" if part is None else part.last_end,
            "heartbeat_age_seconds": (
                round(self._shared.heartbeat_age(row), 3) if view.pid else None
            ),
            "connections": view.connections,
            "requests": view.requests,
        }

    def _instance_status(self, known: InstanceHealth) -> dict[str, Any]:
        target = known.target
        slot = target.slot
        judged = self.judge.find(slot)
        passive = judged.passive if judged is not None else PassiveState()
        return {
            "pool": target.pool,
            "name": target.name,
            "address": target.address,
            "state": InstanceState(self._shared.state(slot)).name.lower(),
            "checks": known.health.status.value,
            "reason": known.health.reason.value,
            "detail": known.health.detail,
            "since": _iso(known.health.since),
            "check_seconds": round(known.health.seconds, 4),
            "weight": self._shared.weight(slot),
            "slowness": round(self._shared.slowness(slot), 2),
            "latency_ratio": round(self._shared.ratio(slot), 2),
            "capacity": None
            if (capacity := self._shared.capacity(slot)) == UNLIMITED
            else capacity,
            "latency_seconds": round(judged.speed.latency_seconds, 4) if judged else 0.0,
            "ejection": _ejection_status(passive),
            "in_flight": self._shared.in_flight(slot),
            "in_flight_by_worker": [
                self._shared.in_flight_of(slot, row) for row in self.workers.rows
            ],
            **change_status(self.topology, target, in_flight=self._shared.in_flight(slot)),
        }


def first_error(group: BaseExceptionGroup[PoruwaError]) -> PoruwaError:
    """Return the first of the errors that a group of tasks ended with."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PoruwaError)
    return error


def _ejection_status(state: PassiveState) -> dict[str, Any]:
    """Return what live traffic says of an instance, for people; seconds of the monotonic clock."""
    return {
        "standing": state.standing.value,
        "reason": state.reason.value,
        "ends_in_seconds": (
            round(max(state.until - time.monotonic(), 0.0), 1)
            if state.standing is Standing.EJECTED
            else None
        ),
        "ejections": state.ejections,
        "failures_in_a_row": state.in_a_row,
        "error_share": round(state.error_share, 3),
    }


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
