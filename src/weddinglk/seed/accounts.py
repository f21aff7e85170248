"""A few accounts to try the site with, all with one password; made only where one is given.

``poruwa up`` makes the password on its first run and keeps it in its state folder
(``seed-password``). What is there stays as it is: somebody may have changed their password.
"""

from __future__ import annotations

from typing import Final

from pymongo.asynchronous.database import AsyncDatabase

from weddinglk.documents import Document
from weddinglk.people.accounts import Account, Role, account_document
from weddinglk.people.passwords import hash_password
from weddinglk.seed.loader import insert_missing

# Names as in names.txt; nobody in particular is meant.
SEEDED: Final = (
    ("c1", "nimali@example.com", "Nimali & Kasun", Role.COUPLE),
    ("c2", "tharini@example.com", "Tharini & Arjun", Role.COUPLE),
    ("c3", "fathima@example.com", "Fathima & Rizwan", Role.COUPLE),
    ("v1", "studio@example.com", "Lotus Studio", Role.VENDOR),
    ("v2", "kitchen@example.com", "Kandy Kitchen", Role.VENDOR),
    ("a1", "admin@example.com", "Site administration", Role.ADMINISTRATOR),
)


async def create_account_indexes(database: AsyncDatabase[Document]) -> None:
    """Make the indexes that accounts need, whether or not any are seeded."""
    await database["accounts"].create_index("email", unique=True)
    await database["known_devices"].create_index("until", expireAfterSeconds=0)
    await database["known_devices"].create_index("user")


async def seed_accounts(database: AsyncDatabase[Document], password: str) -> int:
    """Make the accounts that are missing; return how many. Hashing takes 25 ms for each."""
    accounts = database["accounts"]
    present = {document["_id"] async for document in accounts.find({}, {"_id": 1})}
    documents = [
        account_document(
            Account(id=id_, email=email, name=name, role=role, password=hash_password(password))
        )
        for id_, email, name, role in SEEDED
        if id_ not in present
    ]
    if not documents:
        return 0
    return await insert_missing(accounts, documents)


async def seeded_people(database: AsyncDatabase[Document]) -> list[str]:
    """Return the e-mail address, as it is now, and the role of each account of the seed."""
    ids = [id_ for id_, *_ in SEEDED]
    found = database["accounts"].find({"_id": {"$in": ids}}).sort("_id", 1)
    return [f"{document['email']} ({document['role']})" async for document in found]
