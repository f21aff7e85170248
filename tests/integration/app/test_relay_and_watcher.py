"""What a crash left and what others wrote reaches the caches; processes are killed and paused."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect

from fakes.database_process import DatabaseProcess
from fakes.valkey_process import BUS, ValkeyProcess
from fakes.writing import Listener, open_database, open_log, open_writes, until
from fakes.writing_process import running_writer
from poruwa.app.outbox import OUTBOX
from poruwa.app.watch_store import WatchStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with DatabaseProcess(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "bus", *BUS) as process:
        yield process


@pytest.fixture
def listener() -> Listener:
    return Listener()


async def until_outbox_is_empty(database: AsyncDatabase[dict[str, Any]]) -> None:
    async with asyncio.timeout(10):
        while await database[OUTBOX].count_documents({}):
            await asyncio.sleep(0.02)


async def test_a_write_whose_writer_was_killed_after_the_commit_is_published_by_another(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "crash") as database,
        open_log(bus.store(), "app/other", listener) as log,
        open_writes(log, database),
    ):
        with running_writer("crash", server.url, "crash", bus.address, "app/killed") as writer:
            assert await writer.ended() == -signal.SIGKILL
        assert await database.venues.find_one({"_id": 77}) is not None
        assert {b"crashed"} not in listener.tags("write")
        await listener.until(lambda: {b"crashed"} in listener.tags("relay"))
        await until_outbox_is_empty(database)


async def test_several_relays_publish_all_that_was_left_oldest_first_and_clean_up(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    left = [
        {"_id": ObjectId(), "tags": [f"left:{n}"], "at": time.time(), "source": "write"}
        for n in range(1200)
    ]
    async with (
        open_database(server.url, "relays") as database,
        open_log(bus.store(), "app/one", listener) as one,
        open_log(bus.store(), "app/two") as two,
    ):
        await database[OUTBOX].insert_many(left)
        async with (
            open_writes(one, database) as first,
            open_writes(two, database) as second,
        ):
            await until_outbox_is_empty(database)
            await until(lambda: one.position == two.position)
        heard = dict.fromkeys(tag for change in listener.by("relay") for tag in change.tags)
        assert list(heard) == [b"left:%d" % n for n in range(1200)]
        assert all(change.operation_time for change in listener.by("relay"))
        assert first.relay.published + second.relay.published >= len(left)


async def test_an_outbox_document_that_cannot_be_read_says_that_everything_changed(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "odd") as database,
        open_log(bus.store(), "app/one", listener) as log,
        open_writes(log, database),
    ):
        await until(log.is_sure)
        listener.forget()
        await database[OUTBOX].insert_one({"tags": 7})
        await listener.until(lambda: listener.all_changed)
        await until_outbox_is_empty(database)


async def test_what_others_write_is_published_by_the_fields_of_the_documents(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "others") as database,
        open_log(bus.store(), "app/one", listener) as log,
        open_writes(log, database, bus=bus.store()) as writes,
    ):
        venues = database.venues  # which is there from its first document on
        await listener.until(lambda: writes.watcher and writes.watcher.published)
        listener.forget()

        async def heard(*tags: bytes) -> None:
            await listener.until(lambda: set(tags) in listener.tags("watch"))
            listener.forget()

        await venues.insert_one({"_id": 1, "town": "Galle"})
        await heard(b"venue:1", b"venues", b"town:Galle")
        await venues.update_one({"_id": 1}, {"$set": {"seats": 10}})
        await heard(b"venue:1", b"venues", b"town:Galle")
        await venues.update_one({"_id": 1}, {"$set": {"town": "Matara"}})
        await heard(b"venue:1", b"venues", b"town:Galle", b"town:Matara")
        await venues.replace_one({"_id": 1}, {"town": "Kandy"})
        await heard(b"venue:1", b"venues", b"town:Matara", b"town:Kandy")
        await venues.delete_one({"_id": 1})
        await heard(b"venue:1", b"venues", b"town:Kandy")
        await database.elsewhere.insert_one({})
        await venues.drop()
        await listener.until(lambda: listener.all_changed)
        assert not listener.by("watch")


async def test_a_bulk_update_is_published_in_few_changes(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "bulk") as database,
        open_log(bus.store(), "app/one", listener) as log,
        open_writes(log, database, bus=bus.store()) as writes,
    ):
        await database.venues.insert_many([{"_id": n} for n in range(1500)])
        await listener.until(lambda: writes.watcher and writes.watcher.published)
        listener.forget()
        await database.venues.update_many({}, {"$set": {"open": True}})
        wanted = {b"venue:%d" % n for n in range(1500)}
        await listener.until(lambda: wanted <= set().union(*listener.tags("watch")))
        assert len(listener.changes) < 100


async def test_own_transactions_are_not_published_twice(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "own") as database,
        open_log(bus.store(), "app/one", listener) as log,
        open_writes(log, database, bus=bus.store()) as writes,
    ):
        await database.create_collection("venues")
        await listener.until(lambda: writes.watcher and writes.watcher.published)
        for n in range(20):
            async with writes.transaction() as change:
                await database.venues.insert_one({"_id": n}, session=change.session)
                await database.venues.insert_one({"_id": 100 + n}, session=change.session)
                change.tag(f"own:{n}")
        async with writes.transaction() as change:  # names nothing: the mapping does
            await database.venues.insert_one({"_id": 50}, session=change.session)
        await listener.until(lambda: listener.by("watch"))
        assert listener.tags("watch") == [{b"venue:50", b"venues"}]
        assert listener.tags("write") == [{b"own:%d" % n} for n in range(20)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_another_watcher_takes_over_and_misses_nothing(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener, number: signal.Signals
) -> None:
    name = f"over{number.value}"
    async with (
        open_database(server.url, name) as database,
        open_log(bus.store(), "gateway/listens", listener),
    ):
        await database.create_collection("venues")
        with (
            running_writer("run", server.url, name, bus.address, "app/a") as leader,
        ):
            await leader.says("leading")
            with running_writer("run", server.url, name, bus.address, "app/b") as other:
                await other.says("ready")
                await listener.until(lambda: listener.all_changed)
                await database.venues.insert_one({"_id": 1})
                await listener.until(lambda: {b"venue:1", b"venues"} in listener.tags("watch"))
                listener.forget()
                leader.send(number)
                await database.venues.insert_one({"_id": 2})
                await database.venues.delete_one({"_id": 1})
                await other.says("leading")
                wanted = {b"venue:1", b"venue:2", b"venues"}
                await listener.until(lambda: wanted <= set().union(*listener.tags("watch")))
                assert not listener.all_changed
                if number is signal.SIGSTOP:
                    leader.send(signal.SIGCONT)  # and finds that it leads no more
                    await database.venues.insert_one({"_id": 3})
                    await listener.until(lambda: b"venue:3" in set().union(*listener.tags("watch")))


async def test_what_was_written_while_nobody_watched_is_published_at_the_next_start(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener
) -> None:
    async with (
        open_database(server.url, "resumed") as database,
        open_log(bus.store(), "app/one", listener) as log,
    ):
        await database.create_collection("venues")
        async with open_writes(log, database, bus=bus.store()) as writes:
            await listener.until(lambda: writes.watcher and writes.watcher.published)
            await database.venues.insert_one({"_id": 1})
            await listener.until(lambda: listener.by("watch"))
        listener.forget()
        await database.venues.insert_one({"_id": 2})
        async with open_writes(log, database, bus=bus.store()):
            await listener.until(lambda: b"venue:2" in set().union(*listener.tags("watch")))
        assert not listener.all_changed


@pytest.mark.parametrize("token", [{"_data": "82" + "0" * 20}, {"_data": "ff"}])
async def test_a_lost_history_says_that_everything_changed_and_goes_on(
    server: DatabaseProcess, bus: ValkeyProcess, listener: Listener, token: dict[str, str]
) -> None:
    async with (
        open_database(server.url, "history") as database,
        open_log(bus.store(), "app/one", listener) as log,
    ):
        before = WatchStore(bus.store(), namespace="t")
        assert await before.hold()
        assert await before.save(token)
        await before.leave()
        await before.disconnect()
        listener.forget()
        async with open_writes(log, database, bus=bus.store()) as writes:
            await listener.until(lambda: listener.all_changed)
            assert writes.watcher is not None
            await database.venues.insert_one({"_id": ObjectId()})
            await listener.until(lambda: listener.by("watch"))


async def test_the_watcher_goes_on_after_bus_and_database_were_away(
    bus: ValkeyProcess, listener: Listener, tmp_path: Path
) -> None:
    with DatabaseProcess(tmp_path / "own") as server:
        async with (
            open_database(server.url, "away") as database,
            open_log(bus.store(), "app/one", listener) as log,
            open_writes(log, database, bus=bus.store()) as writes,
        ):
            await listener.until(lambda: writes.watcher and writes.watcher.published)
            bus.kill()
            await database.venues.insert_one({"_id": 1})
            bus.start()
            await listener.until(lambda: b"venue:1" in set().union(*listener.tags("watch")))
            server.kill()
            server.start()
            async with asyncio.timeout(20):
                for tries in count():
                    with contextlib.suppress(AutoReconnect):
                        await database.venues.replace_one({"_id": 2}, {}, upsert=True)
                        break
                    assert tries < 20
            await listener.until(
                lambda: listener.all_changed or b"venue:2" in set().union(*listener.tags("watch"))
            )
