"""Seeding and reading against the real embedded database (requirements F, C1, C4)."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

import weddinglk
from poruwa import Platform
from weddinglk.catalogue import Catalogue
from weddinglk.database import is_healthy, open_database
from weddinglk.documents import MARKER_ID, review_from_document, venue_from_document
from weddinglk.domain import VenueStyle
from weddinglk.search.query import SearchQuery, VendorQuery, VenueQuery
from weddinglk.seed.generator import DEFAULT_ANCHOR, Marketplace, Size, generate
from weddinglk.seed.loader import Outcome, seed, stamp_of

POLICY = Path(weddinglk.__file__).with_name("site.toml")

# pymongo leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestWarning")

READY_SECONDS = 20.0
Database = AsyncDatabase[dict[str, Any]]


class Server:
    """An embedded database on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "empty.toml"
        self._config.touch()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        options = "retryWrites=false&directConnection=true"
        return f"mongodb://127.0.0.1:{self._port}/weddinglk?{options}"

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "secantusd-py"), "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--storage-path", str(self._folder / "data")]
        command += ["--sync-on-commit", "--config", str(self._config)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY_SECONDS
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=200) as client:
            while True:
                try:
                    client.admin.command("ping")
                except PyMongoError:
                    assert time.monotonic() < deadline, "the embedded database did not start"
                else:
                    return

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Silent:
    """Progress that says nothing, and does ``at_step`` when ``name`` has been half written."""

    def __init__(self, name: str = "", at_step: Any = None) -> None:
        self._name, self._do, self._step = name, at_step, ""

    def step(self, name: str, total: int) -> None:
        self._step = name

    def advance(self, amount: int) -> None:
        if self._do and self._step == self._name:
            self._do()


@pytest.fixture(scope="module")
def marketplace() -> Marketplace:
    return generate(Size.SMALL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    embedded = Server(tmp_path)
    embedded.start()
    yield embedded
    embedded.kill()
    gc.collect()  # see pytestmark


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    async with open_database(server.url, max_pool_size=4, min_pool_size=0) as opened:
        yield opened


async def _seed(database: Database, progress: Silent | None = None) -> Outcome:
    return await seed(
        database, size=Size.SMALL, anchor=DEFAULT_ANCHOR, progress=progress or Silent()
    )


def _kill_at(command: list[str], word: bytes) -> None:
    """Run ``command`` until it writes ``word`` to stderr, then kill -9 it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if word in line:
                child.kill()
                break


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


async def _assert_complete(database: Database, marketplace: Marketplace) -> None:
    venues = [venue_from_document(row) async for row in database["venues"].find().sort("_id", 1)]
    assert tuple(venues) == marketplace.venues
    reviews = database["reviews"].find().sort("_id", 1)
    assert tuple([review_from_document(row) async for row in reviews]) == marketplace.reviews
    assert await database["vendors"].count_documents({}) == len(marketplace.vendors)
    marker = await database["meta"].find_one({"_id": MARKER_ID})
    assert marker is not None
    assert marker["completed_at"]


async def test_seeding_is_idempotent_and_spares_what_users_changed(
    database: Database, marketplace: Marketplace
) -> None:
    first = await _seed(database)
    assert first.written == sum(Size.SMALL.value)
    await _assert_complete(database, marketplace)
    again = await _seed(database)
    assert again.already_complete
    assert again.written == 0

    # An older generator's data: replaced, but for what was edited or written by users.
    old = stamp_of(Size.SMALL) - 1
    await database["venues"].update_many({}, {"$set": {"seed": old, "name": "Old"}})
    edited = {"name": "Mine", "edited_at": datetime.now(UTC)}
    await database["venues"].update_one({"_id": 1}, {"$set": edited})
    await database["venues"].update_one({"_id": 2}, {"$unset": {"seed": ""}})
    await database["meta"].update_one({"_id": MARKER_ID}, {"$set": {"stamp": old}})
    upgraded = await _seed(database)
    assert upgraded.written == len(marketplace.venues) - 2
    names = {row["_id"]: row["name"] async for row in database["venues"].find({}, {"name": 1})}
    assert (names[1], names[2]) == ("Mine", "Old")
    assert names[3] == marketplace.venues[2].name


async def test_killed_database_is_survived(
    server: Server, database: Database, marketplace: Marketplace
) -> None:
    """kill -9 of the server between two batches; acknowledged ones remain, the rerun completes."""
    with pytest.raises(PyMongoError):
        await _seed(database, Silent("vendors", server.kill))
    server.start()
    assert await database["venues"].count_documents({}) == len(marketplace.venues)
    outcome = await _seed(database)
    assert 0 < outcome.written < sum(Size.SMALL.value)
    await _assert_complete(database, marketplace)


async def test_killed_seeding_is_completed_by_the_next(
    server: Server, database: Database, marketplace: Marketplace
) -> None:
    """kill -9 of the command itself; the next run keeps the interrupted run's anchor."""
    command = [sys.executable, "-m", "weddinglk.cli", "seed", "--small"]
    command += ["--anchor", DEFAULT_ANCHOR.isoformat(), "--database-url", server.url]
    await asyncio.to_thread(_kill_at, command, b"reviews")
    marker = await database["meta"].find_one({"_id": MARKER_ID})
    assert marker is not None
    assert "completed_at" not in marker
    assert not await Catalogue(database, Platform.from_file(POLICY, environ={})).ready()
    command[6] = "2031-05-01"
    output = await asyncio.to_thread(_output, command)
    assert "Filled with 100 venues, 300 vendors, 3000 reviews" in output
    await _assert_complete(database, marketplace)
    assert (await asyncio.to_thread(_output, command)).startswith("Nothing to do")


def test_unreachable_database_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "weddinglk.cli", "seed", "--small", "--database-url"]
    done = subprocess.run(
        [*command, f"mongodb://127.0.0.1:{port}/?directConnection=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be filled" in done.stderr
    assert "Traceback" not in done.stderr


async def test_catalogue_reads_what_was_seeded(
    server: Server, database: Database, marketplace: Marketplace
) -> None:
    catalogue = Catalogue(database, Platform.from_file(POLICY, environ={}))
    await catalogue.load()
    assert not await catalogue.ready()
    await _seed(database)
    assert await catalogue.ready()
    assert await catalogue.venue(1) == marketplace.venues[0]
    assert await catalogue.vendor(7) == marketplace.vendors[6]
    assert await catalogue.venue(999_999) is None
    assert [venue.id for venue in await catalogue.venues([3, 999_999, 1])] == [3, 1]

    busiest = max(marketplace.venues, key=lambda venue: venue.review_count)
    page = await catalogue.reviews(f"venue:{busiest.id}", page=99, per_page=5)
    assert page.total == busiest.review_count
    assert page.page == page.pages
    first = await catalogue.reviews(f"venue:{busiest.id}")
    dates = [review.written_on for review in first.items]
    assert dates == sorted(dates, reverse=True)

    found = await catalogue.search_venues(VenueQuery(text="beach"))
    assert all(VenueStyle.BEACH in venue.styles for venue in found.items[:3])
    assert (await catalogue.search_vendors(VendorQuery(district="kandy"))).total > 0
    mixed = await catalogue.search(SearchQuery(text="kandy", per_page=12))
    assert len(mixed.items) == 12
    assert marketplace.venues[0] not in await catalogue.similar_venues(marketplace.venues[0])
    featured = await catalogue.featured()
    assert (len(featured.venues), len(featured.vendors)) == (8, 4)
    overview = await catalogue.overview()
    assert (overview.venues, overview.vendors, overview.reviews) == Size.SMALL.value
    assert sum(overview.venues_by_district.values()) == overview.venues

    await database["venues"].update_one({"_id": 1}, {"$set": {"name": "Zanzibarina"}})
    catalogue.upkeep.note([b"venue:1"])
    assert [v.id for v in (await catalogue.search(SearchQuery(text="zanzibarina"))).items] == [1]

    server.kill()
    assert not await is_healthy(database, timeout_seconds=0.5)
    assert not await catalogue.ready()
