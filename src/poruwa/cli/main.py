"""``poruwa``: one program, one verb per task. Each verb has its module here.

A failure that people can act on is one clear line on standard error and exit code 2; anything else
is a fault of ours and shows its traceback.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from poruwa.cli.audit import audit_site
from poruwa.cli.cache import cache, purge
from poruwa.cli.config import app as config_app
from poruwa.cli.explain import explain
from poruwa.cli.gateway import gateway
from poruwa.cli.instances import add, drain, remove, undrain, weight
from poruwa.cli.keys import app as keys_app
from poruwa.cli.reload import reload, upgrade
from poruwa.cli.reports import reports
from poruwa.cli.status import status
from poruwa.cli.up import up
from poruwa.errors import FAILURE_PREFIX, PoruwaError

EXIT_FAILURE = 2  # as for a wrong command line
EXIT_INTERRUPTED = 130  # 128 and SIGINT, as shells have it

app = typer.Typer(
    name="poruwa",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"poruwa {version('poruwa')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The platform a Python web site stands on: balancing, caching, sessions, operations."""


app.command()(up)
app.command()(gateway)
app.command()(status)
app.command()(explain)
app.command()(cache)
app.command()(purge)
app.command("audit")(audit_site)
app.command()(reports)
for verb in (reload, upgrade, add, remove, drain, undrain, weight):
    app.command()(verb)
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")


def main() -> None:
    """Run the command line; the entry point of the ``poruwa`` script."""
    try:
        app()
    except PoruwaError as error:
        sys.stderr.write(f"{FAILURE_PREFIX}{error.message}\n")
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:  # before, or after, a verb handles signals itself
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
