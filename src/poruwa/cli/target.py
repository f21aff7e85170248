"""Which running gateway a verb speaks to: of a state folder, or at an admin address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from poruwa.errors import StackError

TOKEN_VARIABLE = "PORUWA_ADMIN_TOKEN"  # noqa: S105
DEFAULT_STATE = Path("state")

StateFolder = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State folder of the stack, or of the gateway."),
]
AdminAddress = Annotated[
    str | None,
    typer.Option(
        "--admin", metavar="H:P", help="Admin address of a gateway; host:port or unix:/path."
    ),
]
PoolName = Annotated[
    str | None,
    typer.Option("--pool", metavar="NAME", help="The pool; needed where several could be meant."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def read_report(state: Path) -> dict[str, Any]:
    """Return what the stack of the folder ``state`` says of itself; empty where none does."""
    from poruwa.stack.state import running_pid

    pid = running_pid(state)
    if pid is None:
        return {}
    try:
        report = msgspec.json.decode((state / "stack.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    # Of another pid: not written yet, or by a stack that was killed.
    return report if isinstance(report, dict) and report.get("pid") == pid else {}


def control_address(state: Path) -> str | None:
    """Return the control socket of a gateway alone that keeps its changes in ``state``."""
    from poruwa.stack.overrides import CONTROL_SOCKET

    path = (state / CONTROL_SOCKET).absolute()
    return f"unix:{path}" if path.is_socket() else None


def find_gateway(state: Path | None, admin: str | None) -> str:
    """Return where commands are sent.

    Raises:
        StackError: both are given, or no gateway runs there.
    """
    if admin is not None:
        if state is not None:
            raise StackError("Give --state or --admin, not both.")
        return admin
    folder = state or DEFAULT_STATE
    address = read_report(folder).get("control") or control_address(folder)
    if address is None:
        raise StackError(
            f"No gateway runs in {folder}. Name its folder with --state, or its admin address "
            "with --admin."
        )
    return str(address)


def command(
    verb: str,
    arguments: Mapping[str, Any],
    *,
    state: Path | None,
    admin: str | None,
    as_json: bool,
    timeout_seconds: float | None = None,
) -> dict[str, Any]:
    """Send a command, print what it did, and return that.

    Raises:
        StackError: refused, with the gateway's reason, or no gateway answers.
    """
    from poruwa.stack.admin_client import TIMEOUT_SECONDS, send_command

    answer = asyncio.run(
        send_command(
            find_gateway(state, admin),
            verb,
            arguments,
            token=os.environ.get(TOKEN_VARIABLE),
            timeout_seconds=timeout_seconds or TIMEOUT_SECONDS,
        )
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        typer.echo(f"{answer['text']}.")
        if answer.get("note"):
            typer.echo(f"({answer['note']})")
    return answer
