"""The index of a process follows the database (issue 5, hole H6), on the real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from fakes.database_process import DatabaseProcess
from weddinglk.database import open_database
from weddinglk.documents import vendor_to_document, venue_to_document
from weddinglk.search.query import Kind, SearchQuery
from weddinglk.search.upkeep import Upkeep
from weddinglk.seed.generator import Size, generate

Database = AsyncDatabase[dict[str, Any]]
WAIT_SECONDS = 20.0


class Sureness:
    """Whether the process is sure, as a test says."""

    def __init__(self) -> None:
        self.value = True

    def __call__(self) -> bool:
        return self.value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with DatabaseProcess(tmp_path_factory.mktemp("upkeep")) as process:
        yield process


@pytest_asyncio.fixture
async def database(
    server: DatabaseProcess, request: pytest.FixtureRequest
) -> AsyncIterator[Database]:
    """A database of the test's own, with 100 venues and 50 vendors."""
    marketplace = generate(Size.SMALL)
    async with open_database(server.url) as opened:
        own = opened.client[f"upkeep{crc32(request.node.name.encode())}"]
        for name in ("venues", "vendors"):
            await own[name].create_index("changed_at", sparse=True)
        await own["venues"].insert_many([venue_to_document(v) for v in marketplace.venues])
        await own["vendors"].insert_many([vendor_to_document(v) for v in marketplace.vendors[:50]])
        yield own


@pytest.fixture
def sureness() -> Sureness:
    return Sureness()


@pytest_asyncio.fixture
async def upkeep(database: Database, sureness: Sureness) -> AsyncIterator[Upkeep]:
    """The index, built and sure."""
    built = Upkeep(database, is_sure=sureness)
    await built.load()
    yield built
    await built.close()


async def write(database: Database, number: int, word: str, *, dated: bool = True) -> None:
    update: dict[str, Any] = {"$set": {"tagline": [word] * 3}}
    if dated:
        update["$currentDate"] = {"changed_at": True}
    await database["venues"].update_one({"_id": number}, update)


def found(upkeep: Upkeep, word: str) -> list[tuple[Kind, int]]:
    """Return what a search for exactly this word finds."""
    answer = upkeep.listings.everything(SearchQuery(text=word))
    return [] if answer.suggestion else list(answer.items)


async def test_what_is_marked_is_read_before_a_search(database: Database, upkeep: Upkeep) -> None:
    await write(database, 1, "xqone")
    await write(database, 2, "xqtwo")
    upkeep.note([b"venue:1", b"text:123", b"venue:x", b"vendor:", b"other"])
    await upkeep.current()
    assert found(upkeep, "xqone") == [(Kind.VENUE, 1)]
    assert found(upkeep, "xqtwo") == [], "nobody told of it"
    assert upkeep.rounds == 1
    await upkeep.current()
    assert upkeep.rounds == 1, "nothing to read"
    await database["venues"].delete_one({"_id": 3})
    await database["venues"].insert_one(venue_to_document(generate(Size.SMALL).venues[4]) | {
        "_id": 500, "tagline": ["xqnew"] * 3})  # fmt: skip
    upkeep.note([b"venue:3", b"venue:500", b"venues"])
    await upkeep.current()
    assert upkeep.listings.index.entry(Kind.VENUE, 3) is None
    assert found(upkeep, "xqnew") == [(Kind.VENUE, 500)]


async def test_searches_share_rounds(database: Database, upkeep: Upkeep) -> None:
    """H6: who finds a round under way waits for it, and all that wait for the same next one."""
    await write(database, 1, "xqone")
    upkeep.note([b"venue:1"])
    first = asyncio.gather(*(upkeep.current() for _ in range(50)))
    await asyncio.sleep(0)
    await write(database, 2, "xqtwo")
    upkeep.note([b"venue:2"])
    await asyncio.gather(first, *(upkeep.current() for _ in range(50)))
    assert found(upkeep, "xqone") == [(Kind.VENUE, 1)]
    assert found(upkeep, "xqtwo") == [(Kind.VENUE, 2)]
    assert upkeep.rounds <= 3


@pytest.mark.parametrize("is_sure", [True, False])
async def test_no_search_is_older_than_what_was_announced(
    database: Database, upkeep: Upkeep, sureness: Sureness, is_sure: bool
) -> None:
    """H6: marks cleared before reading, rounds one after another: under any interleaving."""
    sureness.value = is_sure

    async def writer(number: int) -> None:
        for version in range(25):
            word = f"xq{number}n{version}w"
            await write(database, number, word)
            if is_sure:
                upkeep.note([b"venue:%d" % number])
            if version % 3:
                await upkeep.current()
                assert found(upkeep, word) == [(Kind.VENUE, number)]

    await asyncio.gather(*(writer(number) for number in range(1, 7)))


async def test_a_failed_round_leaves_its_marks(
    server: DatabaseProcess, database: Database, upkeep: Upkeep
) -> None:
    await write(database, 1, "xqlost")
    upkeep.note([b"venue:1"])
    server.kill()
    with pytest.raises(PyMongoError):
        await upkeep.current()
    server.start()
    await upkeep.current()
    assert found(upkeep, "xqlost") == [(Kind.VENUE, 1)]


async def test_a_cancelled_search_leaves_the_round_to_others(
    database: Database, upkeep: Upkeep
) -> None:
    await write(database, 1, "xqone")
    upkeep.note([b"venue:1"])
    impatient = asyncio.create_task(upkeep.current())
    patient = asyncio.create_task(upkeep.current())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert found(upkeep, "xqone") == [(Kind.VENUE, 1)]


async def test_while_unsure_the_database_is_asked_what_changed(
    database: Database, upkeep: Upkeep, sureness: Sureness
) -> None:
    """Writes of which nothing was heard are found by their time, new listings too."""
    sureness.value = False
    for version in range(3):
        await write(database, 7, f"xqunheard{version}")
        await upkeep.current()
        assert found(upkeep, f"xqunheard{version}") == [(Kind.VENUE, 7)]
    assert upkeep.rounds == 3, "each search asks for itself"


async def test_who_becomes_unsure_while_others_read_has_it_asked(
    database: Database, upkeep: Upkeep, sureness: Sureness
) -> None:
    """Read your writes: a search that may not rely on the marks joins no round begun without it."""
    for version in range(20):
        upkeep.note([b"venue:1"])
        first = asyncio.gather(*(upkeep.current() for _ in range(3)))
        await asyncio.sleep(0)
        await write(database, 7, f"xqown{version}")
        sureness.value = False
        asking = asyncio.create_task(upkeep.current())
        await asyncio.sleep(0)
        sureness.value = True
        upkeep.note([b"venue:2"])
        await asyncio.gather(first, upkeep.current(), asking)
        assert found(upkeep, f"xqown{version}") == [(Kind.VENUE, 7)]


async def test_everything_compares_all(database: Database, upkeep: Upkeep) -> None:
    """What others deleted or wrote without a time is found behind it; ours at once."""
    await write(database, 7, "xqours")
    await write(database, 8, "xqtheirs", dated=False)
    await database["venues"].delete_one({"_id": 9})
    upkeep.note([], everything=True)
    await upkeep.current()
    assert found(upkeep, "xqours") == [(Kind.VENUE, 7)]
    deadline = time.monotonic() + WAIT_SECONDS
    while upkeep.listings.index.entry(Kind.VENUE, 9) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert found(upkeep, "xqtheirs") == [(Kind.VENUE, 8)]


async def test_a_comparison_overwrites_nothing_newer(database: Database, upkeep: Upkeep) -> None:
    """What a round reads while a comparison runs stays, whatever that read before."""
    for version in range(30):
        upkeep.note([], everything=True)
        word = f"xqnewer{version}"
        await write(database, 1 + version % 90, word)
        upkeep.note([b"venue:%d" % (1 + version % 90)])
        await upkeep.current()
        assert found(upkeep, word) == [(Kind.VENUE, 1 + version % 90)]
        await asyncio.sleep(0.003)
        assert found(upkeep, word) == [(Kind.VENUE, 1 + version % 90)]


async def test_what_comes_while_it_is_built_is_not_lost(database: Database) -> None:
    built = Upkeep(database)
    building = asyncio.create_task(built.load())
    await asyncio.sleep(0.005)
    await write(database, 1, "xqmeanwhile")
    built.note([b"venue:1"])
    await built.current()
    assert found(built, "xqmeanwhile") == [(Kind.VENUE, 1)]
    await building
    await built.close()
