"""``poruwa status``: is all ready? Exit code 0 when it is, 1 when it is not."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from poruwa.cli.target import (
    DEFAULT_STATE,
    TOKEN_VARIABLE,
    AdminAddress,
    AsJson,
    StateFolder,
    control_address,
    read_report,
)
from poruwa.errors import StackError

NOT_READY = 1
_POLL_SECONDS = 0.1


def status(
    as_json: AsJson = False,
    state: StateFolder = None,
    admin: AdminAddress = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for all to be ready.")
    ] = 0.0,
) -> None:
    """Tell whether all is ready, and what runs. The exit code is 0 when it is, else 1.

    Asks the stack or the gateway of a state folder (./state by default), or a gateway by its admin
    address. An address that is not loopback needs the token, in PORUWA_ADMIN_TOKEN.
    """
    deadline = time.monotonic() + wait
    while True:
        found = _of_gateway(admin) if admin else _of_stack(state or DEFAULT_STATE)
        if found["ready"] or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        typer.echo("\n".join(_lines(found)))
    if not found["ready"]:
        raise typer.Exit(NOT_READY)


def _of_stack(state: Path) -> dict[str, Any]:
    from poruwa.stack.state import running_pid

    pid = running_pid(state)
    if pid is None:
        control = control_address(state)
        if control is not None:
            return _of_gateway(control)
        return {"ready": False, "missing": [f"no stack runs in {state}"]}
    report = read_report(state)
    if not report:
        return {"ready": False, "pid": pid, "missing": ["the stack is starting"]}
    stack = {
        "pid": report["pid"],
        "state": str(state),
        "urls": report["urls"],
        "database": report["database"],
        "pids": report["pids"],
        "started_in_seconds": report["started_in_seconds"],
    }
    if not report["ready"]:
        return {"ready": False, "missing": ["the stack is starting"], "stack": stack}
    return {**_of_gateway(report["admin"]), "stack": stack}


def _of_gateway(address: str) -> dict[str, Any]:
    from poruwa.stack.admin_client import fetch_status

    try:
        found = asyncio.run(fetch_status(address, token=os.environ.get(TOKEN_VARIABLE)))
    except StackError as error:
        return {"ready": False, "missing": [error.message]}
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    lines = ["ready" if found["ready"] else "not ready"]
    lines += [f"  missing    {reason}" for reason in found.get("missing", ())]
    stack = found.get("stack")
    if stack is not None:
        lines += [f"  open       {url}" for url in stack["urls"]]
        lines += [f"  part       {name}  pid {pid}" for name, pid in stack["pids"].items()]
    lines += [
        f"  worker     {worker['index']}  {worker['state']}  pid {worker['pid']}"
        f"  connections {worker['connections']}  requests {worker['requests']}"
        f"  restarts {worker['restarts']}"
        for worker in found.get("workers", ())
    ]
    lines += [
        f"  instance   {instance['name']}  {instance['state']} ({instance['detail']})"
        f"  since {instance['since']}  in flight {instance['in_flight']}"
        for instance in found.get("instances", ())
    ]
    return lines
