"""``poruwa add``, ``remove``, ``drain``, ``undrain``, ``weight``: a running gateway's instances."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated, Any

import typer

from poruwa.cli.target import (
    TOKEN_VARIABLE,
    AdminAddress,
    AsJson,
    PoolName,
    StateFolder,
    command,
    find_gateway,
)
from poruwa.config.address import parse_address
from poruwa.errors import ConfigError, StackError
from poruwa.units import parse_duration

AS_LISTED = "default"  # of a weight
_POLL_SECONDS = 0.2

InstanceName = Annotated[
    str, typer.Argument(metavar="INSTANCE", help="Its name, as `poruwa status` shows it.")
]
Limit = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS",
        help="How long bound clients may stay, e.g. 90 or 10min; the policy's affinity.drain.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Return once nobody needs it any more.")]


def add(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="Where it listens; or the name of one that was removed."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it; its address by default.")
    ] = None,
    weight: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=256, help="Its share; 1 by default.")
    ] = None,
    pool: PoolName = None,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Add an instance to a pool; it gets requests once a health check has passed."""
    is_name = name is None and not _is_address(address)
    arguments = _given(
        address=None if is_name else address,
        name=address if is_name else name,
        weight=weight,
        pool=pool,
    )
    command("add", arguments, state=state, admin=admin, as_json=as_json)


def remove(
    instance: InstanceName,
    limit: Limit = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do not drain it first; requests under way still end.")
    ] = False,
    pool: PoolName = None,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Take an instance away, once it is drained. `poruwa add NAME` puts it back."""
    arguments = _given(instance=instance, limit_seconds=_seconds(limit), now=now, pool=pool)
    command("remove", arguments, state=state, admin=admin, as_json=as_json)


def drain(
    instance: InstanceName,
    limit: Limit = None,
    wait: Wait = False,
    pool: PoolName = None,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Send no new clients to an instance. Those bound to it by cookie stay for a while.

    With --wait it returns when the instance can be stopped without anybody noticing.
    """
    arguments = _given(instance=instance, limit_seconds=_seconds(limit), pool=pool)
    answer = command("drain", arguments, state=state, admin=admin, as_json=as_json)
    if wait:
        _await_empty(answer["pool"], answer["instance"], find_gateway(state, admin))
        typer.echo(f"{instance} is empty.", err=as_json)


def undrain(
    instance: InstanceName,
    pool: PoolName = None,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Send new clients to a draining instance again."""
    arguments = _given(instance=instance, pool=pool)
    command("undrain", arguments, state=state, admin=admin, as_json=as_json)


def weight(
    instance: InstanceName,
    weight: Annotated[
        str, typer.Argument(metavar="WEIGHT", help="1 to 256; `default` for the policy's.")
    ],
    pool: PoolName = None,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Change an instance's share of the load relative to the others of its pool."""
    if weight != AS_LISTED and not (weight.isascii() and weight.isdigit()):
        raise ConfigError(
            f"{weight!r} is not a weight; write a number of 1 to 256, or {AS_LISTED}."
        )
    wanted = {"weight": None if weight == AS_LISTED else int(weight)}
    arguments = _given(instance=instance, pool=pool) | wanted
    command("weight", arguments, state=state, admin=admin, as_json=as_json)


def _given(**arguments: Any) -> dict[str, Any]:
    """Return what the command line says; the gateway decides the rest."""
    return {key: value for key, value in arguments.items() if value is not None}


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def _seconds(limit: str | None) -> float | None:
    if limit is None:
        return None
    try:
        return parse_duration(f"{limit}s" if limit.isdigit() else limit)
    except ValueError as error:
        raise ConfigError(f"--limit: {error}.") from error


def _await_empty(pool: str, name: str, address: str) -> None:
    from poruwa.stack.admin_client import fetch_status

    while True:
        found = asyncio.run(fetch_status(address, token=os.environ.get(TOKEN_VARIABLE)))
        instance = next(
            (each for each in found["instances"] if (each["pool"], each["name"]) == (pool, name)),
            None,
        )
        if instance is None:
            return
        if instance["drain"] is None:
            raise StackError(f"{name} takes new clients again: somebody ended the drain.")
        if instance["drain"]["empty"]:
            return
        time.sleep(_POLL_SECONDS)
