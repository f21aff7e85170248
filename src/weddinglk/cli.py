"""The site's command line: ``weddinglk seed`` fills a database with the marketplace.

The clock is read here and only here: bookings lie in the year after the first of this month.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Annotated

import typer
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from weddinglk.database import open_database
from weddinglk.seed.accounts import create_account_indexes, seed_accounts, seeded_people
from weddinglk.seed.generator import Size
from weddinglk.seed.loader import Outcome, seed

app = typer.Typer(no_args_is_help=True, add_completion=False, help="WeddingLK, the site.")


@app.callback()
def _root() -> None:
    """WeddingLK, the site on the Poruwa platform."""


@app.command("seed")
def seed_command(
    database_url: Annotated[
        str, typer.Option(envvar="WEDDINGLK_DATABASE_URL", help="mongodb://host:port/name?options")
    ],
    small: Annotated[bool, typer.Option(help="A twentieth of the data.")] = False,
    anchor: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day the data is seen from."),
    ] = None,
    password: Annotated[
        str,
        typer.Option(
            envvar="WEDDINGLK_SEED_PASSWORD",
            help="Of the accounts to try the site with; without one there are none.",
        ),
    ] = "",
) -> None:
    """Fill the database; does nothing if it is filled, completes what was interrupted."""
    day = anchor.date() if anchor else datetime.now(UTC).date().replace(day=1)
    console = Console(stderr=True)
    size = Size.SMALL if small else Size.FULL
    started = time.monotonic()
    try:
        outcome, people = asyncio.run(_seed(database_url, size, day, password, console))
    except PyMongoError as error:
        reason = " ".join(str(error).split())[:200]
        console.print(
            f"The database cannot be filled: {reason}. Check the address and run again.",
            markup=False,
            highlight=False,
        )
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("Interrupted; run again to complete it.")
        raise typer.Exit(130) from None
    typer.echo(_summary(outcome, time.monotonic() - started))
    if people:
        typer.echo(f"Accounts to sign in with: {', '.join(people)}.")


def main() -> None:
    """Entry point of the command ``weddinglk``."""
    app()


async def _seed(
    url: str, size: Size, anchor: date, password: str, console: Console
) -> tuple[Outcome, list[str]]:
    async with open_database(url, max_pool_size=2, min_pool_size=0) as database:
        await create_account_indexes(database)
        people: list[str] = []
        if password:
            await seed_accounts(database, password)
            people = await seeded_people(database)
        with _Bar(console) if console.is_terminal else _Lines() as progress:
            return await seed(database, size=size, anchor=anchor, progress=progress), people


def _summary(outcome: Outcome, elapsed_seconds: float) -> str:
    counts = f"{outcome.venues} venues, {outcome.vendors} vendors, {outcome.reviews} reviews"
    if outcome.already_complete:
        return f"Nothing to do: the database has {counts}."
    return f"Filled with {counts}; {outcome.written} documents in {elapsed_seconds:.1f} s."


class _Bar:
    """A progress bar for each step, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = RichProgress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=None, visible=False)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, name: str, total: int) -> None:
        self._task = self._progress.add_task(name, total=total)

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)


class _Lines:
    """A line for each step, on anything that is no terminal."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def step(self, name: str, total: int) -> None:
        amount = f" ({total})" if total > 1 else ""
        print(f"seed: {name}{amount}", file=sys.stderr, flush=True)  # noqa: T201 -- its output

    def advance(self, amount: int) -> None:
        return None


if __name__ == "__main__":
    main()
