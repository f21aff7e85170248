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
from poruwa.units import format_duration

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
        "stores": report["stores"],
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
        lines += [
            f"  store      {name}  {store['mode']}  {' '.join(store['nodes'])}"
            for name, store in stack["stores"].items()
        ]
        lines += [f"  part       {name}  pid {pid}" for name, pid in stack["pids"].items()]
    lines += [
        f"  worker     {worker['index']}  {worker['state']}  pid {worker['pid']}"
        f"  connections {worker['connections']}  requests {worker['requests']}"
        f"  restarts {worker['restarts']}"
        for worker in found.get("workers", ())
    ]
    for pool in found.get("pools", ()):
        instances = [each for each in found["instances"] if each["pool"] == pool["name"]]
        lines += _pool_lines(pool, instances)
    return lines


def _pool_lines(pool: dict[str, Any], instances: list[dict[str, Any]]) -> list[str]:
    lines = []
    if "method" in pool:  # else one that the policy no longer has
        lines.append(
            f"  pool       {pool['name']}  {pool['method']}  {pool['up']} of {len(instances)} up"
        )
    for each in instances:
        lines.append(
            f"    {each['name']}  {each['state']} ({_why(each)})  since {each['since']}"
            f"  weight {each['weight']}  in flight {each['in_flight']}  from {each['source']}"
            f"{_changes(each)}"
        )
        if each["drain"] is not None and each["drain"]["phase"] == "draining":
            lines.append(f"      {_drain(each['drain'])}")
    lines += [f"    {name}  removed: `poruwa add {name}` puts it back" for name in
              pool.get("removed", ())]  # fmt: skip
    lines += [f"    {name}  passed over: its address is another's" for name in
              pool.get("passed_over", ())]  # fmt: skip
    lines += [
        f"    {name}  changed at run time, without effect: pool {pool['name']} has no such instance"
        for name in pool["changes_without_effect"]
    ]
    return lines


def _why(instance: dict[str, Any]) -> str:
    """Return the reason of a state: its code, and its words where they say more."""
    reason, detail = instance["reason"], instance["detail"]
    return f"{reason}: {detail}" if detail and detail != reason else str(reason)


def _changes(instance: dict[str, Any]) -> str:
    changes = {key: value for key, value in instance["changes"].items() if key == "weight"}
    return "".join(f"  {key} set at run time" for key in changes)


def _drain(drain: dict[str, Any]) -> str:
    text = f"draining since {drain['since']}, {drain['in_flight']} in flight"
    if drain["binds_clients"]:
        text += f", bound clients stay {format_duration(round(drain['remaining_seconds']))} more"
    if drain["then_remove"]:
        text += ", then removed"
    return text + ("; empty" if drain["empty"] else "")
