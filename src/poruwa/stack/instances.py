"""Instances of the application: uvicorn processes, each on a Unix socket of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from poruwa.config.model import Health, Policy, Pool
from poruwa.errors import StackError
from poruwa.net.health_check import check_instance
from poruwa.stack.child import Child, ProcessSpec
from poruwa.stack.supervisor import PartPlan

_POLL_SECONDS = 0.1
_CHECK_SECONDS = 2.0
_STOP_MARGIN_SECONDS = 2.0


def require_package(import_path: str) -> None:
    """Raise a `StackError` when the package of ``module:attribute`` is not installed."""
    package = package_of(import_path)
    if find_spec(package) is None:
        raise StackError(
            f"The policy names {import_path}, but there is no package {package!r} here. "
            "Install it with its dependencies, e.g. pip install '.[site]'."
        )


def package_of(import_path: str) -> str:
    """Return the package of ``module:attribute``: ``weddinglk.app:app`` -> ``weddinglk``."""
    return import_path.partition(":")[0].partition(".")[0]


def application_environment(
    policy: Policy,
    environ: Mapping[str, str],
    *,
    database_url: str,
    operator_token: str,
    seed_password: str,
) -> dict[str, str]:
    """Return the environment of the application and its seed.

    Database, build and the operator's token go by names that begin with the package, in capitals:
    an application ``weddinglk.app:app`` finds ``WEDDINGLK_DATABASE_URL``, ``WEDDINGLK_BUILD`` and
    ``WEDDINGLK_OPERATOR_TOKEN`` (one that is in ``environ`` already stays), its seed alike
    ``WEDDINGLK_SEED_PASSWORD``. What is the platform's (policy, cache, bus) is in ``environ``
    already: gateway and application share it.

    Raises:
        StackError: a package that is not installed.
    """
    environment = {**environ, "PYTHONUNBUFFERED": "1"}  # lines are read while a process runs
    for import_path in filter(None, (policy.stack.application, policy.stack.seed)):
        require_package(import_path)
        prefix = package_of(import_path).upper()
        environment[f"{prefix}_DATABASE_URL"] = database_url
        environment[f"{prefix}_BUILD"] = policy.site.build
        environment.setdefault(f"{prefix}_OPERATOR_TOKEN", operator_token)
        environment.setdefault(seed_password_name(import_path), seed_password)
    return environment


def seed_password_name(import_path: str) -> str:
    """Return the variable in which a seed finds the password for the accounts that it makes."""
    return f"{package_of(import_path).upper()}_SEED_PASSWORD"


def socket_path(sockets: Path, name: str) -> Path:
    """Return the socket of the instance called ``name``."""
    return sockets / f"{name}.sock"


def instance_plan(
    policy: Policy,
    pool: Pool,
    name: str,
    sockets: Path,
    environment: Mapping[str, str],
    *,
    filled: Callable[[], Awaitable[object]],
) -> PartPlan:
    """Return the plan of one instance; it is ready when the pool's health check passes.

    Args:
        filled: returns when the database has its data; instances start meanwhile.
    """
    assert policy.stack.application is not None, "a checked policy with a count has one"
    path = socket_path(sockets, name)
    spec = ProcessSpec(
        name=name,
        argv=(
            sys.executable, "-m", "uvicorn", policy.stack.application,
            "--uds", str(path),
            "--loop", "uvloop",
            "--http", "httptools",
            "--lifespan", "on",
            "--no-access-log",
            "--no-server-header",
            # Only the gateway can reach the socket, and it states the client truthfully.
            "--proxy-headers", "--forwarded-allow-ips", "*",
            "--log-level", "warning",
            "--timeout-graceful-shutdown", str(round(policy.timeouts.drain_seconds) or 1),
        ),
        env=environment,
        stop_grace_seconds=policy.timeouts.drain_seconds + _STOP_MARGIN_SECONDS,
    )  # fmt: skip
    health = dataclasses.replace(pool.health, timeout_seconds=_CHECK_SECONDS)

    async def wait_ready(child: Child) -> None:
        await until_healthy(f"unix:{path}", health)

    return PartPlan(
        name=name,
        make_spec=lambda generation: spec,
        wait_ready=wait_ready,
        ready_seconds=policy.stack.ready_seconds,
        deadline_from=filled,
    )


async def until_healthy(address: str, health: Health) -> None:
    """Return once a check of ``address`` passes; the caller has the deadline."""
    while True:
        result = await check_instance(address, health)
        if result.ok:
            return
        await asyncio.sleep(_POLL_SECONDS)
