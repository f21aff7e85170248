"""Accounts: couples, vendors and administrators, and what each kept on a shortlist.

Collections: ``accounts`` (one document a person, found by id or e-mail address), ``shortlists``
(one document a person), ``known_devices`` (browsers in which somebody has signed in, by a hash of
what the browser holds). Writes go through the site's transactions, so that whoever wrote reads it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from poruwa import Platform
from weddinglk.documents import Document
from weddinglk.editor import Transactions, Writing
from weddinglk.people.passwords import Passwords, is_outdated

SHORTLIST_MAX: Final = 100  # listings; all of them are told to scripts with each page
EMAIL_MAX: Final = 254  # characters; RFC 5321 section 4.5.3.1.3
DEVICE_SECONDS: Final = 180 * 86_400
_TOKEN_BYTES: Final = 24
_CLASS: Final = "user"
# What browsers take in a field of type email (HTML Standard, "valid email address"), with a dot.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL: Final = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


class Role(StrEnum):
    """What somebody is on the site."""

    COUPLE = "couple"
    VENDOR = "vendor"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person. ``password`` is the hash."""

    id: str
    email: str
    name: str
    role: Role
    password: str

    @property
    def level(self) -> int:
        """Of privilege, as sessions carry it."""
        return 1 if self.role is Role.ADMINISTRATOR else 0


class Accounts:
    """Reads and writes accounts, shortlists and known devices.

    Operations raise PyMongoError where the database is away; those that write, what
    ``Writes.run`` raises besides.
    """

    def __init__(
        self, database: AsyncDatabase[Document], transactions: Transactions, platform: Platform
    ) -> None:
        self._accounts = database["accounts"]
        self._shortlists = database["shortlists"]
        self._devices = database["known_devices"]
        self._transactions = transactions
        self._passwords = Passwords()
        self.shortlist: Callable[[str], Awaitable[tuple[str, ...]]] = platform.cached(
            _CLASS, tags=("shortlist:{user_id}",), key="shortlist:{user_id}"
        )(self._load_shortlist)
        self.name_of: Callable[[str], Awaitable[str]] = platform.cached(
            _CLASS, tags=("account:{user_id}",), key="name:{user_id}"
        )(self._load_name)

    async def of_id(self, user_id: str) -> Account | None:
        """Return an account; None where there is none (any more)."""
        document = await self._accounts.find_one({"_id": user_id})
        return None if document is None else _account(document)

    async def everybody(self) -> list[Account]:
        """Return all accounts by name; for administrators."""
        documents = await self._accounts.find({}).sort("name").limit(200).to_list()
        return [_account(document) for document in documents]

    async def proven(self, email: str, password: str) -> Account | None:
        """Return whose e-mail address and password these are; None, after as long, if nobody's."""
        document = await self._accounts.find_one({"email": normal_email(email)})
        account = None if document is None else _account(document)
        stored = None if account is None else account.password
        if not await self._passwords.is_right(password, stored) or account is None:
            return None
        if is_outdated(account.password):
            return await self._with_password(account, password) or account
        return account

    async def is_password(self, account: Account, password: str) -> bool:
        """Whether it is theirs."""
        return await self._passwords.is_right(password, account.password)

    async def change_password(self, account: Account, password: str) -> bool:
        """Store another password; browsers that were known are known no longer.

        Returns:
            False where the password is no longer the one that ``account`` was read with: whoever
            proved themselves by that one has proved nothing now.
        """
        if await self._with_password(account, password) is None:
            return False
        await self._devices.delete_many({"user": account.id})
        return True

    async def change_email(self, account: Account, email: str) -> bool:
        """Store another e-mail address.

        Args:
            email: one that ``is_email``.

        Returns:
            False where somebody has it already, or the password is no longer the one that
            ``account`` was read with.
        """
        try:
            return await self._set(account, "email", normal_email(email))
        except DuplicateKeyError:  # by the index, so that of two at once one gets it
            return False

    async def is_current(self, account: Account) -> bool:
        """Whether address and password are still those that ``account`` was read with."""
        now = await self.of_id(account.id)
        return now is not None and (now.email, now.password) == (account.email, account.password)

    async def keep(self, user_id: str, listing: str) -> bool:
        """Put a listing (``venue:12``) on a shortlist; tell whether there was room."""
        is_kept = False

        async def run(writing: Writing) -> None:
            nonlocal is_kept
            kept = await self._load_shortlist(user_id, session=writing.session)
            is_kept = listing in kept or len(kept) < SHORTLIST_MAX
            if is_kept and listing not in kept:
                await self._store(user_id, (listing, *kept), writing)
            writing.tag(f"shortlist:{user_id}")

        await self._transactions.run(run)
        return is_kept

    async def drop(self, user_id: str, listing: str) -> None:
        """Take a listing off a shortlist; one that is not on it is no mistake."""

        async def run(writing: Writing) -> None:
            kept = await self._load_shortlist(user_id, session=writing.session)
            if listing in kept:
                await self._store(user_id, tuple(each for each in kept if each != listing), writing)
            writing.tag(f"shortlist:{user_id}")

        await self._transactions.run(run)

    async def know_device(self, user_id: str) -> str:
        """Return what a browser is to hold, so that its next sign-in counts by itself."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        until = datetime.now(UTC) + timedelta(seconds=DEVICE_SECONDS)
        await self._devices.insert_one({"_id": _hashed(token), "user": user_id, "until": until})
        return token

    async def is_known_device(self, token: str, email: str) -> bool:
        """Whether the owner of an e-mail address has signed in where ``token`` is held."""
        known = await self._devices.find_one({"_id": _hashed(token)})
        if known is None or known["until"].replace(tzinfo=UTC) < datetime.now(UTC):
            return False
        account = await self.of_id(known["user"])
        return account is not None and account.email == normal_email(email)

    async def _with_password(self, account: Account, password: str) -> Account | None:
        hashed = await self._passwords.hashed(password)
        is_set = await self._set(account, "password", hashed)
        return replace(account, password=hashed) if is_set else None

    async def _set(self, account: Account, field: str, value: str) -> bool:
        async def run(writing: Writing) -> bool:
            outcome = await self._accounts.update_one(
                {"_id": account.id, "password": account.password},
                {"$set": {field: value}},
                session=writing.session,
            )
            writing.tag(f"account:{account.id}")
            return outcome.matched_count == 1

        return await self._transactions.run(run)

    async def _store(self, user_id: str, listings: tuple[str, ...], writing: Writing) -> None:
        await self._shortlists.replace_one(
            {"_id": user_id}, {"listings": list(listings)}, upsert=True, session=writing.session
        )

    async def _load_shortlist(self, user_id: str, session: Any = None) -> tuple[str, ...]:
        document = await self._shortlists.find_one({"_id": user_id}, session=session)
        return () if document is None else tuple(document["listings"])

    async def _load_name(self, user_id: str) -> str:
        document = await self._accounts.find_one({"_id": user_id}, {"name": 1})
        return "" if document is None else str(document["name"])


def normal_email(text: str) -> str:
    """Return an e-mail address as accounts are found by it."""
    return text.strip().lower()[:EMAIL_MAX]


def is_email(text: str) -> bool:
    """Whether mail could be sent there, as far as the address itself says."""
    return _EMAIL.fullmatch(normal_email(text)) is not None and len(text.strip()) <= EMAIL_MAX


def account_document(account: Account) -> Document:
    """Return the document that accounts are read from."""
    return {
        "_id": account.id,
        "email": account.email,
        "name": account.name,
        "role": account.role.value,
        "password": account.password,
    }


def _account(document: Document) -> Account:
    return Account(
        id=document["_id"],
        email=document["email"],
        name=document["name"],
        role=Role(document["role"]),
        password=document["password"],
    )


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
