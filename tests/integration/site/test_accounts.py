"""Accounts in a real database: what is changed by two at once, or by who proved too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import weddinglk
from fakes.database_process import DatabaseProcess
from poruwa import Platform
from weddinglk.database import open_database
from weddinglk.local_writes import LocalWrites
from weddinglk.people.accounts import Account, Accounts
from weddinglk.seed.accounts import create_account_indexes, seed_accounts, seeded_people

POLICY = Path(weddinglk.__file__).with_name("site.toml")
PASSWORD, NEW = "of all that are seeded", "seven silver elephants"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with DatabaseProcess(tmp_path_factory.mktemp("database")) as running:
        yield running


@asynccontextmanager
async def people(server: DatabaseProcess, name: str) -> AsyncIterator[Accounts]:
    """Give the seeded accounts, in a database of their own."""
    async with open_database(server.url.replace("/?", f"/{name}?")) as database:
        await create_account_indexes(database)
        await seed_accounts(database, PASSWORD)
        platform = Platform.from_file(POLICY, environ={})
        yield Accounts(database, LocalWrites(database, platform), platform)


async def found(accounts: Accounts, email: str, password: str = PASSWORD) -> Account:
    account = await accounts.proven(email, password)
    assert account is not None
    return account


async def test_of_two_who_want_one_address_at_once_one_gets_it(server: DatabaseProcess) -> None:
    async with people(server, "two") as accounts:
        first = await found(accounts, "nimali@example.com")
        second = await found(accounts, "tharini@example.com")
        for number in range(8):
            email = f"both{number}@example.com"
            got = await asyncio.gather(
                accounts.change_email(first, email), accounts.change_email(second, email)
            )
            assert sorted(got) == [False, True]
            winner = first if got[0] else second
            assert (await found(accounts, email)).id == winner.id


async def test_one_may_ask_for_ones_own_address_again(server: DatabaseProcess) -> None:
    """Where the caches or other sessions could not be told, the form is sent once more."""
    async with people(server, "again") as accounts:
        account = await found(accounts, "nimali@example.com")
        assert await accounts.change_email(account, "new@example.com")
        assert await accounts.change_email(account, " New@Example.com")
        assert not await accounts.change_email(account, "tharini@example.com")
        assert await accounts.proven("nimali@example.com", PASSWORD) is None


@pytest.mark.check(17)
async def test_an_old_password_changes_nothing_once_there_is_another(
    server: DatabaseProcess,
) -> None:
    """Whoever proved themselves by it just before the owner replaced it takes nothing over."""
    async with people(server, "old") as accounts:
        thief = await found(accounts, "nimali@example.com")
        owner = await found(accounts, "nimali@example.com")
        assert await accounts.change_password(owner, NEW)
        assert not await accounts.change_email(thief, "thief@example.com")
        assert not await accounts.change_password(thief, "a password of the thief")
        assert not await accounts.is_current(thief)
        assert (await found(accounts, "nimali@example.com", NEW)).email == "nimali@example.com"


@pytest.mark.check(17)
async def test_a_sign_in_by_an_address_that_is_changed_meanwhile_is_seen(
    server: DatabaseProcess,
) -> None:
    async with people(server, "meanwhile") as accounts:
        account = await found(accounts, "nimali@example.com")
        assert await accounts.is_current(account)
        assert await accounts.change_email(account, "new@example.com")
        assert not await accounts.is_current(account)


async def test_the_seed_names_addresses_as_they_are_now(server: DatabaseProcess) -> None:
    """``poruwa up`` shows them on every start."""
    async with (
        people(server, "named") as accounts,
        open_database(server.url.replace("/?", "/named?")) as database,
    ):
        account = await found(accounts, "nimali@example.com")
        assert await accounts.change_email(account, "new@example.com")
        assert await seed_accounts(database, PASSWORD) == 0
        named = await seeded_people(database)
    assert len(named) == 6
    assert "new@example.com (couple)" in named
    assert "nimali@example.com (couple)" not in named
