"""``poruwa gateway``: a gateway alone, from a policy file or from nothing but addresses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from poruwa.config.load import default_policy, load_policy
from poruwa.config.model import LogFormat, Policy
from poruwa.errors import ConfigError
from poruwa.stack.overrides import (
    with_admin,
    with_cache,
    with_control,
    with_listen,
    with_upstreams,
    with_workers,
)

NO_ACCESS_LOG = "none"


def gateway(
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="H:P", help="Where clients are accepted; [NAME=]ADDRESS. Repeatable."),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="H:P", help="An instance; [POOL=]ADDRESS. Repeatable."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=256, help="Worker processes; 0 for one per core.", metavar="N"),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="H:P", help="Where metrics and status are told; none for nowhere."),
    ] = None,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Keep what RFC 9111 allows, as the origin's fields say."),
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The policy file, e.g. site.toml.")
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="File for a line per request; - for standard output, none for none.",
        ),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Form of log lines.")] = None,
    control: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Unix socket for commands: add, drain, weight, ..."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that keeps what commands change over restarts."),
    ] = None,
    inherit: Annotated[str, typer.Option(hidden=True, help="Inherited sockets: name=fd,...")] = "",
) -> None:
    """Run a gateway: accept clients and spread their requests over instances.

    With nothing but --listen and --upstream it forwards every request, least connections first.
    Addresses are host:port, [v6]:port, :port or unix:/path. Ctrl-C drains and stops.
    """
    from poruwa.observe.logs import configure_logging
    from poruwa.stack.gateway import GatewayControl, open_gateway_sockets
    from poruwa.stack.kept_changes import KeptChanges
    from poruwa.stack.reload import PolicySource
    from poruwa.stack.sockets import inherited_listeners

    def read() -> Policy:
        wanted = read_policy(
            policy, listen=listen or [], upstreams=upstream or [], workers=workers, admin=admin
        )
        wanted = with_control(wanted, control, state)
        return with_cache(wanted, is_wanted=cache, is_alone=policy is None)

    source = PolicySource(
        read=read,
        access_log=lambda wanted: access_log_target(access_log, wanted),
        reports=reports_target(state, is_alone=policy is None),
        configure_logging=lambda wanted: configure_logging(
            log_format=log_format or wanted.logs.format, level=wanted.logs.level
        ),
    )
    wanted = source.read()
    source.configure_logging(wanted)
    kept = KeptChanges(state)
    kept.open()
    sockets = open_gateway_sockets(wanted, inherited_listeners(inherit))
    asyncio.run(GatewayControl(wanted, sockets, source, kept).run())


def read_policy(
    path: Path | None,
    *,
    listen: list[str],
    upstreams: list[str],
    workers: int | None,
    admin: str | None,
) -> Policy:
    """Return the policy of the file at ``path``, or the default one, with what options say over it.

    Raises:
        ConfigError: the file or an option cannot be used, or there is no upstream.
    """
    if path is None:
        if not upstreams:
            raise ConfigError(
                "Where to send requests is missing: give --upstream HOST:PORT, or --policy FILE."
            )
        policy = default_policy(upstreams=tuple(upstreams))
    else:
        policy = with_upstreams(load_policy(path, environ=os.environ), upstreams)
    return with_workers(with_admin(with_listen(policy, listen), admin), workers)


def reports_target(state: Path | None, *, is_alone: bool) -> str:
    """Return where browsers' reports go: a folder, ``-`` to count them only, "" to take none."""
    from poruwa.observe.report_store import FOLDER

    if is_alone:
        return ""
    return "-" if state is None else str((state / FOLDER).absolute())


def access_log_target(option: str | None, policy: Policy) -> str:
    """Return where the access log goes: a path, ``-``, or "" for nowhere."""
    if option is None:
        return "-" if policy.logs.access else ""
    if option == NO_ACCESS_LOG:
        return ""
    # Workers may run elsewhere than where the path was written.
    return option if option == "-" else str(Path(option).absolute())
