"""``poruwa up``: the whole stack in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poruwa.config.model import LogFormat
from poruwa.errors import ConfigError

if TYPE_CHECKING:
    from poruwa.stack.up import StackReport

DEFAULT_POLICY = Path("site.toml")


def up(
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The policy file; site.toml of this folder by default."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="H:P", help="Where clients are accepted; [NAME=]ADDRESS. Repeatable."),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="H:P", help="Where metrics and status are told; none for nowhere."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data, keys and sockets; stack.state of the policy."),
    ] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="Instances of the application.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=256, metavar="N", help="Gateway workers; 0 for one per core."),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Form of log lines.")] = None,
) -> None:
    """Start database, cache, bus, application and gateway, and keep them running.

    The first run makes keys and fills the database; later ones keep both. Ctrl-C drains and stops.
    """
    from poruwa.stack.up import UpOptions, run_stack

    path = policy or DEFAULT_POLICY
    if policy is None and not path.exists():
        raise ConfigError(
            "There is no site.toml in this folder. Name the policy with --policy FILE."
        )
    options = UpOptions(
        policy=path,
        state=state,
        listen=tuple(listen or ()),
        admin=admin,
        instances=instances,
        workers=workers,
        log_format=log_format,
    )
    asyncio.run(run_stack(options, on_ready=_show_banner))


def _show_banner(report: StackReport) -> None:
    parts = [f"database on {report.database}"] if report.database else []
    parts += [f"{name} on {' '.join(store['nodes'])}" for name, store in report.stores.items()]
    if report.instances:
        parts.append(f"{report.instances} instances")
    parts.append(f"gateway with {report.workers} worker{'s' if report.workers != 1 else ''}")
    lines = [f"  {report.site} is ready after {report.seconds:.1f} s", ""]
    lines += [f"    open     {url}" for url in report.urls]
    lines += [
        f"    admin    {_shown_admin(report.admin)}",
        f"    state    {_shown_path(report.state)}",
    ]
    if report.seed_said:
        lines.append(f"    seed     {report.seed_said}")
    if report.seed_password is not None:
        where = _shown_path(report.seed_password)
        lines.append(f"    sign in  where the seed made accounts: with the password in {where}")
    lines += [
        f"    running  {', '.join(parts)}; {len(report.pids) + report.workers} processes",
        "    stop     Ctrl-C",
    ]
    with contextlib.suppress(OSError):  # a reader that went away must not end the stack
        typer.echo("\n" + "\n".join(lines) + "\n")


def _shown_admin(address: str) -> str:
    if address.startswith("unix:"):
        return address
    return f"http://{address}/status  /metrics"


def _shown_path(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
