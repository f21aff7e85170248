"""The change log on a real server: order, waking, reading what is retained, leaving, refusing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.valkey_process import BUS, ValkeyProcess, free_port
from poruwa.config.model import Coherence, StoreMode, ValkeyStore
from poruwa.errors import BusUnavailable, ConfigError
from poruwa.rules.change import Change, encode_change
from poruwa.rules.position import epoch_of, make_position, n_of
from poruwa.stores import change_log
from poruwa.stores.change_log import ChangeLog

PATIENCE = 20.0
LONG = Coherence(lease_seconds=30, heartbeat_seconds=10)  # nothing comes by a heartbeat


@pytest.fixture(params=[False, True], ids=["valkey", "redis"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "bus", *BUS, redis=request.param) as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "bus", *BUS) as server:
        yield server


class Recorder:
    """What a layer was told."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, Change]] = []
        self.resets: list[int] = []

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_change": lambda position, change: self.changes.append((position, change)),
            "on_all_changed": self.resets.append,
        }


@contextlib.asynccontextmanager
async def running(
    server: ValkeyProcess,
    layer: str = "app/here/1",
    coherence: Coherence | None = None,
    **rest: Any,
) -> AsyncIterator[ChangeLog]:
    log = ChangeLog(server.store(), coherence or Coherence(), layer=layer, **rest)
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_a_change_reaches_every_layer_in_order_before_it_is_acknowledged(
    bus: ValkeyProcess,
) -> None:
    told = [Recorder() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        logs = [
            await stack.enter_async_context(
                running(bus, f"app/here/{index}", **recorder.callbacks())
            )
            for index, recorder in enumerate(told)
        ]
        assert all(log.is_sure() for log in logs)
        before = logs[0].position
        for n in range(1, 6):
            change = Change(tags=(b"n:%d" % n,), written_at=time.time(), source="write")
            answer = await logs[n % 3].publish(change)
            assert answer.is_complete
            assert answer.position == before + n
            assert set(answer.layers) == {"app/here/0", "app/here/1", "app/here/2"}
            for log, recorder in zip(logs, told, strict=True):
                assert recorder.changes[-1] == (before + n, change)
                assert log.changes.since((b"n:%d" % n,), before + n - 1)
                assert not log.changes.since((b"n:%d" % n,), before + n)
        assert [log.position for log in logs] == [before + 5] * 3
        assert [len(recorder.resets) for recorder in told] == [1, 1, 1]  # the start
        assert logs[0].stats.applied == logs[0].stats.staleness.count == 5


async def test_layers_are_woken_and_answer_without_waiting_for_a_heartbeat(
    bus: ValkeyProcess,
) -> None:
    async with running(bus, "a", LONG) as one, running(bus, "b", LONG) as two:
        # The epoch settles only by a lease; these leases outlast the test, so it is told.
        bus.client.hset("{poruwa}:epoch", "settled", 1)
        await until(lambda: bus.client.pubsub_numsub("{poruwa}:wake")[0][1] == 2)
        answer = await one.publish(Change(tags=(b"x",)), timeout=PATIENCE)
        assert answer.is_complete
        assert {each.lapsed for each in answer.layers.values()} == {False}
        assert two.changes.since((b"x",), answer.position - 1)
        assert await two.reached(answer.position, timeout=0)


async def test_who_waits_for_a_position_is_told_when_it_is_applied(valkey: ValkeyProcess) -> None:
    async with running(valkey, "a") as one, running(valkey, "b") as two:
        appended = await one.append(Change(tags=(b"x",)))
        assert await two.reached(appended.position, timeout=PATIENCE)
        assert two.position >= appended.position
        assert not await two.reached(appended.position + 1, timeout=0.02)


async def test_lost_wake_ups_cost_a_heartbeat(valkey: ValkeyProcess) -> None:
    async with running(valkey) as one, running(valkey, "writer", is_cache=False) as writer:
        valkey.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        answer = await writer.publish(Change(tags=(b"x",)))
        assert answer.is_complete
        assert one.changes.since((b"x",), answer.position - 1)


async def test_a_command_writes_and_waits_but_is_no_layer(valkey: ValkeyProcess) -> None:
    async with running(valkey) as layer, running(valkey, "cli", is_cache=False) as command:
        answer = await command.publish(Change(urls=(b"/venues/12",)))
        assert set(answer.layers) == {"app/here/1"}
        assert layer.position == answer.position
        assert command.position == 0
        assert not command.is_sure()
        assert not await command.reached(answer.position, timeout=0.01)


async def test_a_new_process_judges_by_what_the_log_retains(valkey: ValkeyProcess) -> None:
    async with running(valkey, "writer", is_cache=False) as writer:
        for n in range(1, 1301):  # several pages
            await writer.append(Change(tags=(b"n:%d" % n,)))
        recorder = Recorder()
        async with running(valkey, "late", **recorder.callbacks()) as late:
            await until(late.is_sure)
            epoch = epoch_of(late.position)
            assert n_of(late.position) == 1300
            assert late.changes.since((b"n:700",), make_position(epoch, 699))
            assert not late.changes.since((b"n:700",), make_position(epoch, 700))
            assert not late.changes.since((b"n:1",), make_position(epoch, 1))
            assert late.changes.since((), make_position(epoch, 0) - 1)
            # What was there before it is told in one go.
            assert recorder.changes == []
            assert recorder.resets == [late.position]


async def test_what_lies_before_a_trimmed_log_counts_as_changed(valkey: ValkeyProcess) -> None:
    async with running(valkey, "writer", is_cache=False, retained=100) as writer:
        for n in range(1, 1001):
            await writer.append(Change(tags=(b"n:%d" % n,)))
        kept = valkey.client.xlen("{poruwa}:log")
        assert 100 <= kept < 500
        async with running(valkey) as late:
            await until(late.is_sure)
            oldest = late.position - kept + 1
            assert not late.changes.since((b"other",), oldest - 1)
            assert late.changes.since((b"other",), oldest - 2)


async def test_a_layer_that_missed_what_was_trimmed_forgets_everything(
    valkey: ValkeyProcess,
) -> None:
    recorder = Recorder()
    async with (
        running(valkey, **recorder.callbacks()) as layer,
        running(valkey, "writer", is_cache=False) as writer,
    ):
        await until(layer.is_sure)
        # As a server that trimmed while the layer was away.
        with valkey.client as client, client.pipeline() as pipe:
            pipe.hincrby("{poruwa}:epoch", "n", 10)
            pipe.delete("{poruwa}:log")
            pipe.execute()
        answer = await writer.publish(Change(tags=(b"x",)))
        assert answer.is_complete
        assert recorder.resets[1:]
        assert layer.changes.since((b"other",), answer.position - 3)
        assert recorder.resets[-1] in (answer.position - 1, answer.position)


async def test_a_layer_far_behind_forgets_everything_at_once(
    valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "FAR_BEHIND", 50)
    recorder = Recorder()
    async with running(valkey, **recorder.callbacks()) as layer:
        await until(layer.is_sure)
        epoch, before = epoch_of(layer.position), layer.position
        with valkey.client as client, client.pipeline() as pipe:  # nobody is woken
            for n in range(1, 201):
                pipe.xadd("{poruwa}:log", {"c": encode_change(Change())}, id=f"{epoch}-{n}")
            pipe.hset("{poruwa}:epoch", "n", 200)
            pipe.execute()
        assert await layer.reached(before + 200, timeout=PATIENCE)
        assert recorder.changes == []
        assert recorder.resets[-1] == before + 200
        assert layer.changes.since((), before + 199)


async def test_nobody_waits_for_who_left(valkey: ValkeyProcess) -> None:
    async with running(valkey, "stays") as stays:
        async with running(valkey, "leaves"):
            await until(lambda: len(valkey.client.hgetall("{poruwa}:layers")) == 2)
        answer = await stays.publish(Change(tags=(b"x",)))
        assert set(answer.layers) == {"stays"}


async def test_a_layer_without_a_sign_of_life_is_struck(valkey: ValkeyProcess) -> None:
    async with running(valkey, "stays"):
        valkey.client.hset("{poruwa}:layers", "dead~1", "1-1 500 1")
        await until(lambda: not valkey.client.hexists("{poruwa}:layers", "dead~1"))


async def test_a_dead_layer_is_waited_for_until_its_lease_has_lapsed(
    valkey: ValkeyProcess,
) -> None:
    async with running(valkey, "lives") as lives:
        await until(lambda: valkey.client.hget("{poruwa}:epoch", "settled") == b"1")
        valkey.client.hset("{poruwa}:layers", "dead~1", "1-1 500 1")
        answer = await lives.publish(Change(tags=(b"x",)))
        assert answer.is_complete
        assert answer.layers["dead"].lapsed
        assert not answer.layers["lives"].lapsed
        assert answer.layers["lives"].applied_after is not None


async def test_an_acknowledgement_says_that_its_time_was_over_first(
    valkey: ValkeyProcess,
) -> None:
    async with running(valkey, "lives", LONG) as lives:
        valkey.client.hset("{poruwa}:layers", "dead~1", "1-1 500 1")
        answer = await lives.publish(Change(tags=(b"x",)), timeout=0.05)
        assert not answer.is_complete
        assert answer.layers["dead"].applied_after is None
        assert not answer.layers["dead"].lapsed
        assert lives.stats.incomplete == 1


async def test_it_starts_without_a_server_and_finds_it_by_itself(tmp_path: Path) -> None:
    port = free_port()
    store = ValkeyStore(mode=StoreMode.SINGLE, nodes=(f"127.0.0.1:{port}",))
    log = ChangeLog(store, Coherence(), layer="app/here/1")
    await log.start()
    try:
        assert not log.is_sure()
        with pytest.raises(BusUnavailable, match="did not take the change") as caught:
            await log.publish(Change(tags=(b"x",)))
        assert caught.value.status_hint == 503
        assert caught.value.retryable
        with ValkeyProcess(tmp_path / "bus", *BUS, port=port):
            await until(log.is_sure)
            assert (await log.publish(Change(tags=(b"x",)))).is_complete
        assert log.stats.reconnects >= 1
        assert log.stats.append_failures == 1
    finally:
        await log.close()


async def test_without_a_server_a_layer_becomes_unsure_and_refuses_writes(
    valkey: ValkeyProcess,
) -> None:
    async with running(valkey) as log:
        await until(log.is_sure)
        valkey.freeze()
        await until(lambda: not log.is_sure())
        with pytest.raises(BusUnavailable):
            await log.append(Change(tags=(b"x",)))
        valkey.thaw()
        await until(log.is_sure)
        assert log.unsure_seconds() > 0
        assert log.stats.unsure_episodes >= 2  # the start, and this


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "lost"])
async def test_another_server_process_begins_an_epoch_in_which_all_changed(
    valkey: ValkeyProcess, keep: bool
) -> None:
    recorder = Recorder()
    async with running(valkey, **recorder.callbacks()) as log:
        before = (await log.publish(Change(tags=(b"x",)))).position
        await asyncio.to_thread(valkey.restart, keep=keep)
        await until(lambda: epoch_of(log.position) > epoch_of(before) and log.is_sure())
        assert log.changes.since((), before)
        assert recorder.resets[-1] == make_position(epoch_of(log.position), 0)
        assert (await log.publish(Change(tags=(b"y",)))).position > before
        assert log.stats.epochs == 1


async def test_epochs_grow_even_where_everybody_forgot_them(valkey: ValkeyProcess) -> None:
    async with running(valkey, "writer", is_cache=False) as writer:
        before = (await writer.append(Change(tags=(b"x",)))).position
    valkey.client.hset("{poruwa}:epoch", "run", "another")
    async with running(valkey, "writer", is_cache=False) as writer:
        after = (await writer.append(Change(tags=(b"x",)))).position
    assert epoch_of(after) == epoch_of(before) + 1
    assert epoch_of(before) > 100_000  # of the date: all is lost and nobody knows any


async def test_a_lost_head_does_not_hide_the_log(valkey: ValkeyProcess) -> None:
    async with running(valkey, "writer", is_cache=False) as writer:
        before = (await writer.append(Change(tags=(b"x",)))).position
    valkey.client.delete("{poruwa}:epoch")
    async with running(valkey, "writer", is_cache=False) as writer:
        assert (await writer.append(Change(tags=(b"x",)))).position > before


async def test_soft_changes_are_told_but_nothing_counts_as_changed(valkey: ValkeyProcess) -> None:
    recorder = Recorder()
    async with running(valkey, **recorder.callbacks()) as log:
        change = Change(tags=(b"x",), soft=True)
        answer = await log.publish(change)
        assert recorder.changes == [(answer.position, change)]
        assert not log.changes.since((b"x",), answer.position - 1)


async def test_what_cannot_be_read_counts_as_everything(valkey: ValkeyProcess) -> None:
    recorder = Recorder()
    async with running(valkey, **recorder.callbacks()) as log:
        await until(log.is_sure)
        position = log.position + 1
        with valkey.client as client:
            n = client.hincrby("{poruwa}:epoch", "n", 1)
            client.xadd("{poruwa}:log", {"c": b"\xc1 noise"}, id=f"{epoch_of(position)}-{n}")
        assert await log.reached(position, timeout=PATIENCE)
        assert recorder.resets[-1] == position
        assert log.changes.since((b"other",), position - 1)


async def test_a_callback_that_fails_makes_everything_count_as_changed(
    valkey: ValkeyProcess,
) -> None:
    resets: list[int] = []

    def fail(position: int, change: Change) -> None:
        raise RuntimeError("no")

    async with running(valkey, on_change=fail, on_all_changed=resets.append) as log:
        answer = await log.publish(Change(tags=(b"x",)))
        assert answer.is_complete
        assert resets[-1] == answer.position


async def test_a_layer_that_cannot_forget_is_never_sure(valkey: ValkeyProcess) -> None:
    is_broken = True

    def fail(*_: object) -> None:
        if is_broken:
            raise RuntimeError("no")

    async with (
        running(valkey, on_change=fail, on_all_changed=fail) as log,
        running(valkey, "writer", is_cache=False) as writer,
    ):
        assert not log.is_sure()
        assert (await writer.publish(Change(tags=(b"x",)))).is_complete
        assert not log.is_sure()
        is_broken = False
        await until(log.is_sure)


async def test_two_sites_share_a_server(valkey: ValkeyProcess) -> None:
    async with (
        running(valkey, "one", Coherence(namespace="one")) as one,
        running(valkey, "two", Coherence(namespace="two")) as two,
    ):
        answer = await one.publish(Change(tags=(b"x",)))
        assert set(answer.layers) == {"one"}
        assert n_of(two.position) == 0


def test_a_bus_without_nodes_or_as_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="no nodes"):
        ChangeLog(ValkeyStore(), Coherence(), layer="x")
    cluster = ValkeyStore(mode=StoreMode.CLUSTER, nodes=("a:1", "b:1", "c:1"))
    with pytest.raises(ConfigError, match="cannot be a cluster"):
        ChangeLog(cluster, Coherence(), layer="x")
