"""``poruwa purge`` and ``poruwa cache``: what the gateway keeps, and letting it go."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import msgspec
import typer

from poruwa.cli.target import (
    TOKEN_VARIABLE,
    AdminAddress,
    AsJson,
    StateFolder,
    command,
    find_gateway,
)

_COLUMNS = ("hit", "stale", "stale-if-error", "miss", "joined", "pass", "refresh", "stored")


def purge(
    url: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL...", help="Absolute; or a path, on all hosts."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="What depends on it. Repeatable.")
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Matching URLs, e.g. '/venues/*'. Repeatable."),
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft", help="Only age it: served stale where the policy allows.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, change nothing.")] = False,
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Let every layer forget stored responses; returns when they have.

    With a bus that is every gateway worker and app instance, on all machines; each is listed with
    the time after which it acknowledged. Without, the workers of this gateway.
    """
    wish = {
        "urls": url or [],
        "tags": tag or [],
        "patterns": pattern or [],
        "soft": soft,
        "dry_run": dry_run,
    }
    answer = command("purge", wish, state=state, admin=admin, as_json=as_json)
    if not as_json:
        for each in answer.get("layers", ()):
            if each["acknowledged"]:
                word = f"applied after {each['after_seconds'] * 1000:.1f} ms"
            else:
                word = "lease lapsed" if each["lapsed"] else "no answer"
            typer.echo(f"  {each['layer']}  {word}")


def cache(state: StateFolder = None, admin: AdminAddress = None, as_json: AsJson = False) -> None:
    """Show what the cache did, by class, and what it holds."""
    from poruwa.stack.admin_client import send_command

    answer = asyncio.run(
        send_command(find_gateway(state, admin), "cache", {}, token=os.environ.get(TOKEN_VARIABLE))
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        typer.echo("\n".join(_lines(answer)))


def _lines(answer: dict[str, Any]) -> list[str]:
    held = answer["held"]
    lines = [
        f"{held.get('entries', 0):,} entries, {held.get('bytes', 0) / (1 << 20):,.1f} MiB held,"
        f" {answer['evicted']:,} evicted"
    ]
    rows = [*answer["classes"].items(), ("all", answer["all"])]
    width = max(len(name) for name, _ in rows)
    header = "".join(f"{name:>15}" if "-" in name else f"{name:>10}" for name in _COLUMNS)
    lines.append(f"{'class':<{width}}  hit rate{header}")
    for name, counts in rows:
        ratio = counts["hit_ratio"]
        cells = "".join(
            f"{counts.get(column, 0):>15,}" if "-" in column else f"{counts.get(column, 0):>10,}"
            for column in _COLUMNS
        )
        lines.append(f"{name:<{width}}  {'-' if ratio is None else f'{ratio:.1%}':>8}{cells}")
    return lines
