"""A write is in the database and known to every cache, or it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from fakes.database_process import DatabaseProcess
from fakes.valkey_process import BUS, ValkeyProcess
from fakes.writing import Listener, open_database, open_log, open_writes, until
from poruwa.app.outbox import OUTBOX
from poruwa.app.writes import WrittenChange, causal_session
from poruwa.errors import WriteRefused, WriteUnacknowledged


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with DatabaseProcess(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "bus", *BUS) as process:
        yield process


async def is_outbox_empty(database: AsyncDatabase[dict[str, Any]]) -> bool:
    return await database[OUTBOX].count_documents({}) == 0


async def until_outbox_is_empty(database: AsyncDatabase[dict[str, Any]]) -> None:
    async with asyncio.timeout(10):
        while not await is_outbox_empty(database):
            await asyncio.sleep(0.02)


async def test_a_write_is_stored_published_and_acknowledged_by_every_layer(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    listener = Listener()
    async with (
        open_database(server.url, "stored") as database,
        open_log(bus.store(), "app/writer") as log,
        open_log(bus.store(), "gateway/other", listener) as other,
        open_writes(log, database) as writes,
    ):
        await until(lambda: log.is_sure() and other.is_sure())
        async with writes.transaction() as change:
            await database.venues.insert_one({"_id": 12, "name": "Lagoon"}, session=change.session)
            change.tag("venue:12", "venues")
            change.key("venue:12")
            change.url("/venues/12")
        assert change.acknowledgement is not None
        assert change.acknowledgement.is_complete
        assert change.position == change.acknowledgement.position
        assert set(change.acknowledgement.layers) == {"app/writer", "gateway/other"}
        assert other.position >= change.position
        [(position, heard)] = [each for each in listener.changes if each[1].source == "write"]
        assert position == change.position
        assert heard.tags == (b"venue:12", b"venues")
        assert heard.keys == (b"venue\n12",)
        assert heard.urls == (b"/venues/12",)
        assert heard.operation_time == change.operation_time
        assert heard.operation_time is not None
        async with causal_session(database.client, heard.operation_time) as session:
            found = await database.venues.find_one({"_id": 12}, session=session)
        assert found == {"_id": 12, "name": "Lagoon"}
        await until_outbox_is_empty(database)


async def test_an_exception_in_the_block_leaves_no_trace(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    listener = Listener()
    async with (
        open_database(server.url, "aborted") as database,
        open_log(bus.store(), "app/writer", listener) as log,
        open_writes(log, database) as writes,
    ):
        await database.venues.insert_one({"_id": 1})
        await until(log.is_sure)
        with pytest.raises(LookupError):
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": 2}, session=change.session)
                change.tag("venue:2")
                raise LookupError
        with pytest.raises(DuplicateKeyError):
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": 3}, session=change.session)
                change.tag("venue:3")
                await database.venues.insert_one({"_id": 1}, session=change.session)
        assert await database.venues.count_documents({}) == 1
        assert await is_outbox_empty(database)
        async with writes.transaction() as change:
            change.tag("last")
        # In order: had the others been published, they would have come before it.
        assert listener.tags("write") == [{b"last"}]


async def test_without_names_nothing_is_published(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    async with (
        open_database(server.url, "unnamed") as database,
        open_log(bus.store(), "app/writer") as log,
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)
        before = log.position
        async with writes.transaction() as change:
            await database.venues.insert_one({"_id": 1}, session=change.session)
        assert change.position is None
        assert change.acknowledgement is None
        assert await database.venues.count_documents({}) == 1
        async with writes.transaction() as change:
            change.tag("x")
        assert change.position == before + 1


async def test_while_the_bus_is_away_a_write_is_refused_before_anything_is_written(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    async with (
        open_database(server.url, "refused") as database,
        open_log(bus.store(), "app/writer") as log,
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)
        bus.kill()
        await until(lambda: not log.is_sure())
        entered = False
        with pytest.raises(WriteRefused) as refused:
            async with writes.transaction() as change:
                entered = True
                await database.venues.insert_one({"_id": 1}, session=change.session)
        assert not entered
        assert refused.value.status_hint == 503
        assert refused.value.retryable
        with pytest.raises(WriteRefused):
            await writes.run(lambda change: asyncio.sleep(0))
        assert await database.venues.count_documents({}) == 0
        bus.start()
        await until(log.is_sure)
        async with writes.transaction() as change:
            await database.venues.insert_one({"_id": 1}, session=change.session)
            change.tag("venue:1")
        assert change.acknowledgement is not None


async def test_a_bus_lost_during_the_write_leaves_it_stored_and_the_relay_publishes_it(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    listener = Listener()
    async with (
        open_database(server.url, "lost") as database,
        open_log(bus.store(), "app/writer", listener) as log,
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)
        with pytest.raises(WriteUnacknowledged) as lost:
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": 1}, session=change.session)
                change.tag("venue:1")
                bus.kill()
        assert lost.value.is_stored
        assert lost.value.position is None
        assert not lost.value.retryable
        assert await database.venues.count_documents({}) == 1
        bus.start()
        await listener.until(lambda: {b"venue:1"} in listener.tags("relay"))
        await until_outbox_is_empty(database)


async def test_writes_that_meet_are_tried_again_and_none_is_lost(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    async with (
        open_database(server.url, "counted") as database,
        open_log(bus.store(), "app/writer") as log,
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)
        await database.venues.insert_one({"_id": 1, "n": 0})
        calls = 0

        async def increment(change: WrittenChange) -> int:
            nonlocal calls
            calls += 1
            found = await database.venues.find_one({"_id": 1}, session=change.session)
            assert found is not None
            change.tag(f"n:{found['n'] + 1}")
            await database.venues.update_one(
                {"_id": 1}, {"$set": {"n": found["n"] + 1}}, session=change.session
            )
            return int(found["n"]) + 1

        results = await asyncio.gather(*(writes.run(increment) for _ in range(8)))
        assert sorted(results) == list(range(1, 9))
        assert calls > 8  # they did meet
        await until_outbox_is_empty(database)


async def test_a_block_that_meets_another_write_is_refused_with_nothing_written(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    async with (
        open_database(server.url, "met") as database,
        open_log(bus.store(), "app/writer") as log,
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)
        await database.venues.insert_one({"_id": 1, "n": 0})
        async with writes.transaction() as first:
            await database.venues.update_one({"_id": 1}, {"$set": {"n": 1}}, session=first.session)
            first.tag("venue:1")
            with pytest.raises(WriteRefused):
                async with writes.transaction() as second:
                    second.tag("venue:1")
                    await database.venues.update_one(
                        {"_id": 1}, {"$set": {"n": 2}}, session=second.session
                    )
        assert await database.venues.find_one({"_id": 1}) == {"_id": 1, "n": 1}


async def test_a_writer_that_is_cancelled_after_the_commit_is_published_all_the_same(
    server: DatabaseProcess, bus: ValkeyProcess
) -> None:
    listener = Listener()
    async with (
        open_database(server.url, "cancelled") as database,
        open_log(bus.store(), "app/writer") as log,
        open_log(bus.store(), "gateway/other", listener),
        open_writes(log, database) as writes,
    ):
        await until(log.is_sure)

        async def write() -> None:
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": 1}, session=change.session)
                change.tag("venue:1")

        writer = asyncio.create_task(write())
        while await database.venues.count_documents({}) == 0:
            assert not writer.done()
        writer.cancel()
        await asyncio.wait([writer])
        await listener.until(
            lambda: {b"venue:1"} in listener.tags("write") + listener.tags("relay")
        )
