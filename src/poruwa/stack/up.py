"""``poruwa up``: the whole stack in the foreground, from a database to a gateway.

Order of a start: state folder locked · policy · listening sockets (a busy port is known before
anything runs; they stay open here, so that clients wait instead of being refused while a gateway
is replaced) · database, cache and bus, at once · seed · instances, all at once · gateway. The end
is the reverse: the gateway drains first, so that instances finish what it is answering.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from poruwa.config.address import parse_address
from poruwa.config.load import load_policy, parse_policy, read_policy_text
from poruwa.config.model import Health, LogFormat, Policy, Pool
from poruwa.errors import PoruwaError, StackError
from poruwa.observe.logs import configure_logging, relay_line
from poruwa.stack.child import Output, ProcessSpec, start_child
from poruwa.stack.database import PART_NAME as DATABASE_PART
from poruwa.stack.database import choose_port, database_plan, embedded_url, external_url
from poruwa.stack.gateway import (
    GatewaySockets,
    first_error,
    open_gateway_sockets,
)
from poruwa.stack.generated import generated_secret_names, kept_in
from poruwa.stack.instances import (
    application_environment,
    instance_plan,
    seed_password_name,
    socket_path,
    until_healthy,
)
from poruwa.stack.overrides import (
    NO_ADDRESS,
    with_admin,
    with_control,
    with_listen,
    with_workers,
)
from poruwa.stack.sockets import bound_address, describe_listeners
from poruwa.stack.state import SEED_PASSWORD, StateFolder, disk_full, open_state
from poruwa.stack.stopping import StopRequest, stop_on_signals
from poruwa.stack.supervisor import PartPlan, Supervisor, describe_exit, shown_lines
from poruwa.stack.valkey import (
    EmbeddedStore,
    StorePlace,
    embedded_stores,
    store_environment,
    store_places,
    valkey_plan,
)
from poruwa.stack.workers import worker_count

GATEWAY_PART = "gateway"
GATEWAY_READY_SECONDS = 30.0
_STOP_MARGIN_SECONDS = 8.0  # of the gateway, over its own workers' grace
_SEED_PART = "seed"
POLICY_VARIABLE = "PORUWA_POLICY"
"""Names the policy file to instances."""

_log = structlog.get_logger(component="stack")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What the command line of ``poruwa up`` says; None where the policy decides."""

    policy: Path
    state: Path | None = None
    listen: tuple[str, ...] = ()
    admin: str | None = None
    instances: int | None = None
    workers: int | None = None
    log_format: LogFormat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReport:
    """What runs and where, once it is ready; also in ``stack.json``."""

    site: str
    urls: tuple[str, ...]
    admin: str
    state: Path
    seed_said: str  # its last line; empty without a seed
    seed_password: Path | None  # the file; None where the seed was given no password out of it
    database: str
    stores: dict[str, StorePlace]
    pids: dict[str, int]
    instances: int
    workers: int
    seconds: float


async def run_stack(options: UpOptions, *, on_ready: Callable[[StackReport], None]) -> None:
    """Start everything, watch it until a signal asks for the end, and stop it.

    Args:
        on_ready: called once, when clients are served.

    Raises:
        StackError, ConfigError: one part cannot start; what had started is stopped again.
    """
    unresolved = parse_policy(read_policy_text(options.policy), options.policy.name)
    with open_state(options.state or Path(unresolved.stack.state)) as state:
        names = [name for name in generated_secret_names(unresolved) if name not in os.environ]
        environ = {**os.environ, **state.make_secrets(names), **kept_in(names, state)}
        policy = load_policy(options.policy, environ=environ)
        policy = with_workers(
            with_admin(with_listen(policy, options.listen), options.admin), options.workers
        )
        configure_logging(
            log_format=options.log_format or policy.logs.format, level=policy.logs.level
        )
        sockets = open_gateway_sockets(_with_control_socket(policy, state))
        try:
            await Stack(options, policy, state, sockets, environ, on_ready).run()
        finally:
            sockets.close()


class Stack:
    """One running stack; used by `run_stack`."""

    def __init__(
        self,
        options: UpOptions,
        policy: Policy,
        state: StateFolder,
        sockets: GatewaySockets,
        environ: dict[str, str],
        on_ready: Callable[[StackReport], None],
    ) -> None:
        assert sockets.control is not None
        self._options = options
        self._policy = policy
        self._state = state
        self._sockets = sockets
        self._control = bound_address(sockets.control)
        # Where people and Prometheus ask; the control socket tells the same.
        self._admin = self._control if sockets.admin is None else bound_address(sockets.admin)
        self._environ = environ
        self._on_ready = on_ready
        self._started = time.monotonic()
        self._supervisor = Supervisor(
            first_delay_seconds=policy.stack.backoff_seconds,
            longest_delay_seconds=policy.stack.backoff_longest_seconds,
        )
        self._instances: dict[str, str] = {}  # name -> pool
        self._is_ready = False
        self._database_url = ""
        self._database_place = ""  # without user and password
        self._seed_said = ""
        self._seed_password: Path | None = None
        self._embedded_stores: list[EmbeddedStore] = []

    async def run(self) -> None:
        """Start, wait for a signal, stop."""
        try:
            with stop_on_signals() as request:
                async with self._supervisor, asyncio.TaskGroup() as group:
                    starting = group.create_task(self._start())
                    asked = group.create_task(request.asked.wait())
                    await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
                    if starting.done():
                        starting.result()
                        self._announce()
                        await asked
                    starting.cancel()
                    await self._stop(request)
        except* PoruwaError as errors:
            raise self._explained(first_error(errors)) from None

    async def _start(self) -> None:
        policy, state = self._policy, self._state
        state.rotate_access_log()
        self._embedded_stores = embedded_stores(policy.stores, state)
        self._environ = {
            **self._environ,
            **store_environment(self._embedded_stores),
            POLICY_VARIABLE: str(self._options.policy.absolute()),
        }
        plans = []
        if policy.database.embedded:
            port = choose_port(state)
            self._database_url = embedded_url(port, policy.database)
            self._database_place = f"127.0.0.1:{port}"
            plans.append(database_plan(state, port))
        else:
            self._database_url = external_url(policy.database)
            self._database_place = policy.database.primary or ""
        plans += [valkey_plan(store, state) for store in self._embedded_stores]
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(self._start_part(plan))
        pools = self._counted_pools()
        environment = application_environment(
            policy,
            self._environ,
            database_url=self._database_url,
            operator_token=state.operator_token(),
            seed_password=state.seed_password(),
        )
        filled = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill(policy.stack.seed, environment, filled))
            for pool, count in pools:
                for number in range(1, count + 1):
                    name = f"{pool.name}.{number}"
                    self._instances[name] = pool.name
                    plan = instance_plan(
                        policy, pool, name, state.sockets, environment, filled=filled.wait
                    )
                    group.create_task(self._start_part(plan))
        await self._start_part(self._gateway_plan())

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started, 2)

    async def _start_part(self, plan: PartPlan) -> None:
        watched = replace(plan, on_ready=lambda generation: self._write_report())
        await self._supervisor.start(watched)
        _log.info("started", part=plan.name, seconds=self._elapsed())

    def _counted_pools(self) -> list[tuple[Pool, int]]:
        pools = [(pool, pool.count) for pool in self._policy.pools if pool.count]
        if self._options.instances is None:
            return pools
        if not pools:
            raise StackError(
                "--instances: no pool of the policy has a count, so there is nothing to start."
            )
        return [(pools[0][0], self._options.instances), *pools[1:]]

    async def _fill(
        self, call: str | None, environment: dict[str, str], filled: asyncio.Event
    ) -> None:
        if call:
            await self._seed(call, environment)
        filled.set()

    async def _seed(self, call: str, environment: dict[str, str]) -> None:
        _log.info("seeding", call=call)
        spec = ProcessSpec(
            name=_SEED_PART,
            argv=(sys.executable, "-m", "poruwa.stack.seed_call", *call.split()),
            env=environment,
        )
        child = start_child(spec, lambda line: relay_line(_SEED_PART, line))
        try:
            code = await child.wait()
        finally:
            child.kill()
        if code:
            raise StackError(f"{_SEED_PART} {describe_exit(code)}.{shown_lines(child.last_lines)}")
        self._seed_said = child.last_lines[-1] if child.last_lines else ""
        if environment.get(seed_password_name(call)) == self._state.seed_password():
            self._seed_password = self._state.path / SEED_PASSWORD

    def _gateway_plan(self) -> PartPlan:
        inherited = {**self._sockets.listeners, **self._sockets.for_operators}
        arguments = ["--policy", str(self._options.policy), "--inherit"]
        arguments.append(describe_listeners(inherited))
        arguments += ["--log-format", "json"]
        if self._options.workers is not None:  # else by the policy, which a reload reads again
            arguments += ["--workers", str(self._options.workers)]
        access_log = str(self._state.access_log) if self._policy.logs.access else "none"
        arguments += ["--access-log", access_log, "--state", str(self._state.path)]
        arguments += ["--control", self._control.removeprefix("unix:")]
        if self._sockets.admin is None:
            arguments += ["--admin", NO_ADDRESS]
        for text in self._options.listen:
            arguments += ["--listen", text]
        for name, pool in self._instances.items():
            arguments += [
                "--upstream", f"{pool}=unix:{socket_path(self._state.sockets, name)}"
            ]  # fmt: skip
        drain_seconds = self._policy.timeouts.drain_seconds
        spec = ProcessSpec(
            name=GATEWAY_PART,
            argv=(sys.executable, "-m", "poruwa.cli.main", "gateway", *arguments),
            env=self._environ,
            pass_fds=tuple(sock.fileno() for sock in inherited.values()),
            stop_grace_seconds=drain_seconds + _STOP_MARGIN_SECONDS,
            output=Output.INHERIT,
        )
        # Also in a gateway with a token: readiness is told to everybody.
        readiness = Health(path="/readyz", host="localhost", timeout_seconds=1.0)
        return PartPlan(
            name=GATEWAY_PART,
            make_spec=lambda generation: spec,
            wait_ready=lambda child: until_healthy(self._control, readiness),
            ready_seconds=GATEWAY_READY_SECONDS,
        )

    def report(self) -> StackReport:
        """Return what runs now."""
        return StackReport(
            site=self._policy.site.name,
            urls=tuple(
                _url(
                    bound_address(self._sockets.listeners[listener.name]), listener.tls is not None
                )
                for listener in self._policy.listeners
            ),
            admin=self._admin,
            state=self._state.path,
            seed_said=self._seed_said,
            seed_password=self._seed_password,
            database=self._database_place,
            stores=store_places(self._policy.stores, self._embedded_stores),
            pids=self._supervisor.pids(),
            instances=len(self._instances),
            workers=worker_count(self._policy),
            seconds=self._elapsed(),
        )

    def _announce(self) -> None:
        self._is_ready = True
        self._write_report()
        self._on_ready(self.report())

    def _write_report(self) -> None:
        """Bring ``stack.json`` up to date; a full disk then must not take the stack down."""
        report = self.report()
        try:
            self._state.write_report(
                {
                    "pid": os.getpid(),
                    "ready": self._is_ready,
                    "site": report.site,
                    "urls": report.urls,
                    "admin": report.admin,
                    "control": self._control,
                    "database": self._database_place,
                    "stores": report.stores,
                    "pids": report.pids,
                    "started_in_seconds": report.seconds if self._is_ready else None,
                }
            )
        except StackError as error:
            _log.error("the state is not written", reason=error.message)

    async def _stop(self, request: StopRequest) -> None:
        _log.info("stopping", now="press Ctrl-C again to stop at once")
        self._sockets.close_listeners()
        stopping = asyncio.create_task(self._stop_in_order())
        hurried = asyncio.create_task(request.hurried.wait())
        await asyncio.wait((stopping, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            self._supervisor.kill_all()
        await stopping

    async def _stop_in_order(self) -> None:
        stores = [store.name for store in self._embedded_stores]
        for names in ([GATEWAY_PART], list(self._instances), [DATABASE_PART, *stores]):
            started = time.monotonic()
            running = [name for name in names if self._supervisor.find(name) is not None]
            await self._supervisor.stop_together(running)
            seconds = round(time.monotonic() - started, 2)
            if running:
                _log.info("stopped", parts=" ".join(running), seconds=seconds)

    def _explained(self, error: PoruwaError) -> PoruwaError:
        """Return ``error``, or what is behind it where that is known."""
        if "No space left on device" in error.message or "ENOSPC" in error.message:
            return disk_full(self._state.path)
        return error


def _with_control_socket(policy: Policy, state: StateFolder) -> Policy:
    """A stack's gateway always has a private socket: for commands, and to know its readiness."""
    if policy.admin.socket is not None:
        return policy
    return with_control(policy, state.sockets / "admin.sock", None)


def reachable(address_text: str) -> str:
    """Return an address that reaches a listener bound to ``address_text`` from this machine."""
    address = parse_address(address_text)
    if address.host in ("", "0.0.0.0", "::"):  # noqa: S104
        return f"127.0.0.1:{address.port}"
    return address_text


def _url(address_text: str, is_tls: bool) -> str:
    """Return what to type into a browser: localhost, where secure cookies work without TLS."""
    address = parse_address(reachable(address_text))
    if address.is_unix:
        return address_text
    host = "localhost" if address.is_loopback else str(address).rpartition(":")[0]
    scheme, usual = ("https", 443) if is_tls else ("http", 80)
    return f"{scheme}://{host}" + ("" if address.port == usual else f":{address.port}")
