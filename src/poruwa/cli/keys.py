"""``poruwa keys``: the keys that seal sessions; see docs/security.md."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poruwa.errors import ConfigError, StackError

if TYPE_CHECKING:
    from poruwa.app.security.keys import KeyRing
    from poruwa.config.model import Policy

DEFAULT_POLICY = Path("site.toml")

app = typer.Typer(no_args_is_help=True, help="List, rotate and remove the keys of sessions.")

PolicyFile = Annotated[
    Path, typer.Option("--policy", metavar="FILE", help="The policy file of the site.")
]
StateFolderOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="State folder; stack.state of the policy."),
]
Ring = Annotated[
    str | None,
    typer.Option(
        "--ring",
        metavar="-",
        help="'-': read a ring that is kept elsewhere from standard input; print what it becomes.",
    ),
]


@app.command("list")
def list_keys(
    policy: PolicyFile = DEFAULT_POLICY, state: StateFolderOption = None, ring: Ring = None
) -> None:
    """Show the names of the keys, as in the headers of tokens, and what each does."""
    if ring is not None:
        found = _given(ring)
    else:
        from poruwa.stack.session_keys import KeptRing

        read, folder = _policy(policy, state)
        found = KeptRing.of(read, folder, os.environ).read()
    today = _today()
    for key in found.keys:
        since = "" if key.sealing_since is None else f" since {key.sealing_since}"
        if key is found.sealing:
            does = f"seals{since}, opens"
        elif key.is_coming:
            does = "coming: opens, seals after the next `poruwa keys rotate`"
        else:
            days = found.days_out_of_use(key, today)
            does = "opens; " + ("out of use" if days is None else f"out of use for {days} days")
        typer.echo(f"{key.name}  {does}")


@app.command("rotate")
def rotate(
    policy: PolicyFile = DEFAULT_POLICY, state: StateFolderOption = None, ring: Ring = None
) -> None:
    """Have a new key seal sessions, once every instance can open with it. Nobody is signed out.

    Interrupted, or not acknowledged: run it again, it goes on. A ring that is kept elsewhere takes
    two runs: roll out what each prints to all instances before the next.
    """
    from poruwa.stack.session_keys import KeptRing, next_step, publish, running_bus

    today = _today()
    if ring is not None:
        typer.echo(next_step(_given(ring), today).text())
        return
    read, folder = _policy(policy, state)
    kept = KeptRing.of(read, folder, os.environ)
    bus = running_bus(read, folder, os.environ)
    coherence = read.stores.coherence
    with kept.alone():
        found = kept.read()
        if found.coming is None:
            found = next_step(found, today)
            kept.write(found)
        coming = found.coming
        if bus is not None:
            known = asyncio.run(publish(bus, coherence, coming))
            if not known.is_complete:
                late = [name for name, said in known.layers.items() if said.applied_after is None]
                raise StackError(
                    f"{', '.join(late) or 'A process'} did not say that it knows the new key, so "
                    "the old one goes on sealing. Run it again to go on."
                )
        found = next_step(found, today)
        kept.write(found)
        if bus is not None:
            asyncio.run(publish(bus, coherence, found.sealing))
    typer.echo(f"Key {found.sealing.name} seals from now on; {len(found.keys)} keys open.")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="KEY", help="Its name, or how it begins.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also one that sessions still need: they end.")
    ] = False,
    policy: PolicyFile = DEFAULT_POLICY,
    state: StateFolderOption = None,
    ring: Ring = None,
) -> None:
    """Let a key go. Sessions under it end, so it must be out of use for as long as they live."""
    from poruwa.stack.session_keys import KeptRing, publish, running_bus, shortened

    read, folder = _policy(policy, state)
    life_seconds = read.session.max_age_seconds
    if ring is not None:
        shorter = shortened(
            _given(ring), name, _today(), life_seconds=life_seconds, is_forced=force
        )
        typer.echo(shorter.text())
        return
    kept = KeptRing.of(read, folder, os.environ)
    bus = running_bus(read, folder, os.environ)
    with kept.alone():
        found = kept.read()
        shorter = shortened(found, name, _today(), life_seconds=life_seconds, is_forced=force)
        kept.write(shorter)
        if bus is not None:
            known = asyncio.run(publish(bus, read.stores.coherence, None))
            if not known.is_complete:
                raise StackError(
                    "The key is out of the ring, but not every process said that it read it again: "
                    "restart what did not, or sessions under the key go on there."
                )
    typer.echo(f"{len(shorter.keys)} keys are left.")


def _policy(path: Path, state: Path | None) -> tuple[Policy, Path]:
    from poruwa.config.load import parse_policy, read_policy_text

    read = parse_policy(read_policy_text(path), path.name, folder=path.resolve().parent)
    return read, state or Path(read.stack.state)


def _given(ring: str) -> KeyRing:
    from poruwa.app.security.keys import KeyRing

    if ring != "-":
        raise ConfigError("--ring takes '-' only: keys on a command line are everybody's to read")
    return KeyRing.parse(sys.stdin.read(), "the ring")


def _today() -> date:
    return datetime.now(UTC).date()
