"""The local bus: framing, requests with a deadline, relay; a frozen worker blocks nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.errors import ProtocolError
from poruwa.gateway.local_bus import (
    LAST_WORD,
    MESSAGE_LIMIT_BYTES,
    QUEUE_LIMIT_BYTES,
    Accept,
    BusClient,
    BusHub,
    Configure,
    Drain,
    Draining,
    FrameDecoder,
    Hello,
    InstanceEntry,
    LostReason,
    Message,
    MetricsReply,
    MetricsRequest,
    PoolTopology,
    Prepared,
    Publish,
    Ready,
    Topology,
    encode,
)

TOPOLOGY = Topology([PoolTopology("app", [InstanceEntry(0, "app1", "unix:/run/a.sock", 2)])])
MESSAGES: list[Message] = [
    Hello(1, 4711, 3),
    Configure(b"policy", TOPOLOGY),
    Prepared(1),
    Accept(),
    Ready(1),
    TOPOLOGY,
    Drain(30.0, 0.25),
    Draining(1),
    MetricsRequest(7),
    MetricsReply(7, b"\x00\xff"),
    Publish("purge", b"venue:12"),
]


class Recorder:
    """A hub with what it was told, and workers on real socket pairs."""

    def __init__(self) -> None:
        self.received: list[tuple[int, Message]] = []
        self.lost: list[tuple[int, LostReason]] = []
        self.hub = BusHub(
            on_message=lambda index, message: self.received.append((index, message)),
            on_lost=lambda index, reason: self.lost.append((index, reason)),
        )
        self.raw_ends: list[socket.socket] = []
        self.clients: list[BusClient] = []

    async def raw_worker(self, index: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        await self.hub.attach(index, ours)
        self.raw_ends.append(theirs)
        return theirs

    async def worker(self, index: int) -> tuple[BusClient, list[Message], list[str]]:
        ours, theirs = socket.socketpair()
        await self.hub.attach(index, ours)
        inbox: list[Message] = []
        events: list[str] = []
        client = BusClient(on_message=inbox.append, on_lost=lambda: events.append("lost"))
        await client.connect(theirs.detach())
        self.clients.append(client)
        return client, inbox, events


@pytest.fixture
async def bus() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.hub.close()
    for client in recorder.clients:
        await client.close()
    for sock in recorder.raw_ends:
        sock.close()
    await asyncio.sleep(0)  # transports close in the next turn of the loop


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.005)


@given(cuts=st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_messages_survive_any_cuts_between_reads(cuts: list[int]) -> None:
    stream = b"".join(encode(message) for message in MESSAGES)
    decoder = FrameDecoder()
    decoded: list[Message] = []
    position = 0
    turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        decoded += decoder.feed(stream[position : position + size])
        position += size
        turn += 1
    assert decoded == MESSAGES


@pytest.mark.parametrize(
    "frame",
    [
        (MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"),
        (3).to_bytes(4, "big") + b"\xc1\xc1\xc1",
        (5).to_bytes(4, "big") + b"\x81\xa1a\x01\x00",
    ],
    ids=["too long", "no msgpack", "unknown message"],
)
def test_bytes_that_are_no_message_are_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(frame)


async def test_both_ends_exchange_messages_in_order(bus: Recorder) -> None:
    client, inbox, _ = await bus.worker(0)
    client.send(Hello(0, os.getpid(), 1))
    client.send(Ready(0))
    bus.hub.send(0, Configure(b"p" * 300_000, TOPOLOGY))
    bus.hub.send(0, Drain(1.5, 0.25))
    await until(lambda: len(bus.received) == 2 and len(inbox) == 2)
    assert bus.received == [(0, Hello(0, os.getpid(), 1)), (0, Ready(0))]
    assert inbox == [Configure(b"p" * 300_000, TOPOLOGY), Drain(1.5, 0.25)]


async def test_a_publication_reaches_all_others_and_the_control_process(bus: Recorder) -> None:
    """B7: purges travel this way later."""
    first, first_inbox, _ = await bus.worker(0)
    _, second_inbox, _ = await bus.worker(1)
    _, third_inbox, _ = await bus.worker(2)
    first.send(Publish("purge", b"x"))
    await until(lambda: second_inbox and third_inbox)
    assert second_inbox == third_inbox == [Publish("purge", b"x")]
    assert first_inbox == []
    assert bus.received == [(0, Publish("purge", b"x"))]


async def test_metrics_are_answered_or_none_after_the_time_out(bus: Recorder) -> None:
    client, inbox, _ = await bus.worker(0)
    await bus.raw_worker(1)  # never answers
    answer = asyncio.create_task(bus.hub.request_metrics(0, timeout_seconds=5.0))
    await until(lambda: inbox)
    request = inbox[0]
    assert isinstance(request, MetricsRequest)
    client.send(MetricsReply(request.id, b"snapshot"))
    assert await answer == b"snapshot"
    started = time.monotonic()
    assert await bus.hub.request_metrics(1, timeout_seconds=0.05) is None
    assert time.monotonic() - started < 1.0
    assert await bus.hub.request_metrics(99, timeout_seconds=5.0) is None


async def test_what_a_worker_counted_until_its_end_is_heard(bus: Recorder) -> None:
    """Its last word is sent before its end of the link is closed, whatever its size."""
    client, _, _ = await bus.worker(0)
    snapshot = b"s" * 1_000_000
    client.send(MetricsReply(LAST_WORD, snapshot))
    await client.close()
    await until(lambda: bus.lost)
    assert bus.received == [(0, MetricsReply(LAST_WORD, snapshot))]


async def test_a_request_to_a_worker_that_dies_ends_at_once(bus: Recorder) -> None:
    worker = await bus.raw_worker(0)
    answer = asyncio.create_task(bus.hub.request_metrics(0, timeout_seconds=60.0))
    await asyncio.sleep(0)
    worker.close()
    async with asyncio.timeout(5.0):
        assert await answer is None
    assert bus.lost == [(0, LostReason.CLOSED)]


async def test_a_frozen_worker_is_cut_off_and_others_go_on(bus: Recorder) -> None:
    """A worker that reads nothing fills its own queue only."""
    await bus.raw_worker(0)
    _, inbox, _ = await bus.worker(1)
    payload = b"x" * (QUEUE_LIMIT_BYTES // 8)
    for _ in range(12):
        bus.hub.broadcast(Publish("t", payload))
        seen = len(inbox)
        await until(lambda seen=seen: len(inbox) > seen)  # type: ignore[misc]
    assert len(inbox) == 12
    assert bus.lost == [(0, LostReason.LAGGING)]
    assert bus.hub.connected == (1,)


async def test_noise_from_a_worker_ends_its_link_only(bus: Recorder) -> None:
    worker = await bus.raw_worker(0)
    await bus.worker(1)
    worker.sendall(b"\xff" * 64)
    await until(lambda: bus.lost)
    assert bus.lost == [(0, LostReason.PROTOCOL)]
    assert bus.hub.connected == (1,)


async def test_a_worker_learns_that_the_control_process_is_gone(bus: Recorder) -> None:
    client, _, events = await bus.worker(0)
    bus.hub.close()
    await until(lambda: events)
    assert events == ["lost"]
    client.send(Ready(0))  # nobody is there: without effect
    assert bus.lost == []


async def test_a_new_link_replaces_the_old_one_silently(bus: Recorder) -> None:
    old, _, events = await bus.worker(0)
    new, _, _ = await bus.worker(0)
    old.send(Ready(0))
    new.send(Hello(0, 1, 2))
    await until(lambda: bus.received and events)
    assert bus.received == [(0, Hello(0, 1, 2))]
    assert bus.lost == []
