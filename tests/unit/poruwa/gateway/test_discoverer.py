"""Instances that are found, from a real DNS server and real files that change (A1)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.rcode
import pytest
from structlog.testing import capture_logs

from fakes.dns_server import DnsServer, dns_server
from poruwa.clock import SystemClock
from poruwa.config.model import Discovery, DiscoveryKind, Instance, Pool
from poruwa.gateway.discovery import Discoverer, PoolDiscovery
from poruwa.rules.discovery import DiscoveryProblem, FoundInstance

DEADLINE_SECONDS = 15.0
HOUR = 3600.0


class Found:
    """What a discoverer told, and a wait for the next."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, tuple[FoundInstance, ...]]] = asyncio.Queue()
        self.discoverer: Discoverer | None = None

    def on_found(self, pool: str, instances: tuple[FoundInstance, ...]) -> None:
        self.queue.put_nowait((pool, instances))

    async def next(self) -> list[str]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            _, instances = await self.queue.get()
        return [
            f"{each.address} {each.weight}" if each.weight != 1 else each.address
            for each in instances
        ]

    @property
    def view(self) -> PoolDiscovery:
        assert self.discoverer is not None
        (view,) = self.discoverer.pools
        return view

    async def problem(self, wanted: DiscoveryProblem | None) -> str:
        """Wait until the last look ended with ``wanted``; return its detail."""
        await until(lambda: self.view.state.problem is wanted)
        return self.view.state.detail


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def discovering(
    section: Discovery,
    *,
    listed: tuple[Instance, ...] = (),
    known: tuple[FoundInstance, ...] = (),
) -> AsyncIterator[Found]:
    found = Found()
    found.discoverer = Discoverer(
        [Pool(name="app", discovery=section, instances=listed), Pool(name="other")],
        on_found=found.on_found,
        clock=SystemClock(),
        known={"app": known},
        look_seconds=0.5,
    )
    running = asyncio.create_task(found.discoverer.run())
    try:
        yield found
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server() as running:
        yield running


def by_name(server: DnsServer, *, refresh: float = HOUR) -> Discovery:
    return Discovery(source="app.internal:3000", refresh_seconds=refresh, resolver=server.address)


def by_service(server: DnsServer, *, refresh: float = HOUR) -> Discovery:
    return Discovery(
        kind=DiscoveryKind.SRV,
        source="_http._tcp.app.internal",
        refresh_seconds=refresh,
        resolver=server.address,
    )


# A and AAAA.


async def test_a_name_is_looked_up_again_when_its_ttl_ends(server: DnsServer) -> None:
    """With a refresh of an hour, only the TTL can have caused the second look."""
    server.put("app.internal", "A", "10.0.0.2", "10.0.0.1", ttl=1)
    started = time.monotonic()
    async with discovering(by_name(server)) as found:
        assert await found.next() == ["10.0.0.1:3000", "10.0.0.2:3000"]
        server.put("app.internal", "AAAA", "2001:db8::1", ttl=1)
        server.put("app.internal", "A", "10.0.0.3", ttl=1)
        assert await found.next() == ["10.0.0.3:3000", "[2001:db8::1]:3000"]
        assert time.monotonic() - started >= 0.99  # not before it ended
        assert found.view.state.problem is None


async def test_the_same_answer_in_another_order_is_no_news(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", "10.0.0.2", ttl=0)
    async with discovering(by_name(server)) as found:
        await found.next()
        asked = len(server.asked)
        server.put("app.internal", "A", "10.0.0.2", "10.0.0.1", ttl=0)
        await until(lambda: len(server.asked) >= asked + 4)
        assert found.queue.empty()


async def test_refresh_is_the_longest_time_between_two_looks(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", ttl=86_400)
    async with discovering(by_name(server, refresh=0.5)) as found:
        assert await found.next() == ["10.0.0.1:3000"]
        server.put("app.internal", "A", "10.0.0.2", ttl=86_400)
        assert await found.next() == ["10.0.0.2:3000"]


async def test_an_alias_is_followed_and_its_ttl_counts(server: DnsServer) -> None:
    server.put("app.internal", "CNAME", "blue.internal.", ttl=1)
    server.put("blue.internal", "A", "10.0.0.1", ttl=3600)
    server.put("green.internal", "A", "10.0.0.2", ttl=3600)
    async with discovering(by_name(server)) as found:
        assert await found.next() == ["10.0.0.1:3000"]
        server.put("app.internal", "CNAME", "green.internal.", ttl=1)
        assert await found.next() == ["10.0.0.2:3000"]


async def test_an_answer_too_long_for_a_datagram_comes_whole(server: DnsServer) -> None:
    server.put("app.internal", "A", *(f"10.0.0.{number}" for number in range(1, 101)))
    async with discovering(by_name(server)) as found:
        assert await found.next() == [f"10.0.0.{number}:3000" for number in range(1, 101)]


# The last good list stays.


async def test_a_silent_server_takes_nobody_away(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", ttl=1)
    with capture_logs() as lines:
        async with discovering(by_name(server)) as found:
            await found.next()
            server.is_silent = True
            assert await found.problem(DiscoveryProblem.TIMEOUT)
            assert [each.address for each in found.view.state.instances] == ["10.0.0.1:3000"]
            asked = len(server.asked)
            await until(lambda: len(server.asked) > asked)  # it goes on asking
            server.is_silent = False
            await found.problem(None)
            assert found.queue.empty()
            server.put("app.internal", "A", "10.0.0.2", ttl=1)
            assert await found.next() == ["10.0.0.2:3000"]
    told = [(line["log_level"], line["event"], line.get("reason")) for line in lines]
    assert told == [
        ("info", "instances found", None),
        ("warning", "no instances found; the last ones stay", "timeout"),
        ("info", "instances are found again, the same", None),
        ("info", "instances found", None),
    ]
    assert lines[-1]["added"] == "10.0.0.2:3000"
    assert lines[-1]["removed"] == "10.0.0.1:3000"


async def test_a_name_that_is_gone_takes_nobody_away(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", ttl=1)
    async with discovering(by_name(server)) as found:
        await found.next()
        server.records.clear()
        assert "app.internal" in await found.problem(DiscoveryProblem.NO_SUCH_NAME)
        server.put("app.internal", "TXT", "nobody")
        await found.problem(DiscoveryProblem.EMPTY)
        server.rcode = dns.rcode.SERVFAIL
        assert "SERVFAIL" in await found.problem(DiscoveryProblem.SERVER)
        assert found.queue.empty()
        assert len(found.view.state.instances) == 1


async def test_who_is_not_there_at_first_is_found_later(server: DnsServer) -> None:
    async with discovering(by_name(server)) as found:
        await found.problem(DiscoveryProblem.NO_SUCH_NAME)
        assert found.view.state.instances == ()
        server.put("app.internal", "A", "10.0.0.1")
        assert await found.next() == ["10.0.0.1:3000"]


async def test_nobody_listens_where_the_resolver_should_be() -> None:
    section = Discovery(source="app.internal:3000", resolver="127.0.0.1:1")
    async with discovering(section) as found:
        await until(lambda: found.view.looked_at is not None)
        assert found.view.state.problem in (DiscoveryProblem.TIMEOUT, DiscoveryProblem.SERVER)


async def test_what_was_known_before_a_reload_is_no_news(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", ttl=1)
    known = (FoundInstance(name="10.0.0.1:3000", address="10.0.0.1:3000"),)
    async with discovering(by_name(server), known=known) as found:
        await found.problem(None)
        assert found.queue.empty()
        server.put("app.internal", "A", "10.0.0.2", ttl=1)
        assert await found.next() == ["10.0.0.2:3000"]


async def test_who_is_listed_is_not_found_as_well(server: DnsServer) -> None:
    server.put("app.internal", "A", "10.0.0.1", "10.0.0.2")
    listed = (Instance(name="main", address="10.0.0.1:3000", weight=5),)
    async with discovering(by_name(server), listed=listed) as found:
        assert await found.next() == ["10.0.0.2:3000"]


# SRV.


async def test_a_service_brings_ports_and_weights(server: DnsServer) -> None:
    name = "_http._tcp.app.internal"
    server.put(
        name, "SRV", "10 3 8001 a.internal.", "10 1 8002 B.internal.", "20 1 80 spare.", ttl=1
    )
    server.put("a.internal", "A", "10.0.0.1")
    server.put("b.internal", "AAAA", "2001:db8::1")
    async with discovering(by_service(server)) as found:
        assert await found.next() == ["10.0.0.1:8001 3", "[2001:db8::1]:8002"]
        assert "spare. A" not in server.asked  # of a priority that does not count
        server.put(name, "SRV", "10 1 8003 a.internal.", ttl=1)
        assert await found.next() == ["10.0.0.1:8003"]


async def test_addresses_that_come_along_are_not_asked_for(server: DnsServer) -> None:
    """RFC 2782: the additional section; Consul puts all of them there."""
    server.put("_http._tcp.app.internal", "SRV", "1 1 80 a.internal.", "1 1 80 b.internal.")
    server.put_additional("_http._tcp.app.internal", "a.internal", "A", "10.0.0.1")
    server.put("b.internal", "A", "10.0.0.2")
    async with discovering(by_service(server)) as found:
        assert await found.next() == ["10.0.0.1:80", "10.0.0.2:80"]
        assert sorted(server.asked) == [
            "_http._tcp.app.internal. SRV",
            "b.internal. A",
            "b.internal. AAAA",
        ]


async def test_a_target_without_address_is_left_out_and_named(server: DnsServer) -> None:
    server.put("_http._tcp.app.internal", "SRV", "1 1 80 a.internal.", "1 1 80 gone.internal.")
    server.put("a.internal", "A", "10.0.0.1")
    async with discovering(by_service(server)) as found:
        assert await found.next() == ["10.0.0.1:80"]
        assert found.view.state.detail == "no address: gone.internal"


async def test_a_service_that_was_withdrawn_takes_nobody_away(server: DnsServer) -> None:
    name = "_http._tcp.app.internal"
    server.put(name, "SRV", "1 1 80 a.internal.", ttl=1)
    server.put("a.internal", "A", "10.0.0.1")
    async with discovering(by_service(server)) as found:
        await found.next()
        server.put(name, "SRV", "0 0 0 .")
        await found.problem(DiscoveryProblem.EMPTY)
        assert found.queue.empty()


# Files.


class InstanceFile:
    """The file of a pool, as an operator or a program changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.section = Discovery(kind=DiscoveryKind.FILE, source=str(path))

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def append(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)

    def replace(self, text: str) -> None:
        """Replace the file the way that never shows half of it."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.path)

    def write_unnoticed(self, text: str) -> None:
        """Write, and set the time of the last change back."""
        before = self.path.stat()
        self.path.write_text(text)
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def remove(self) -> None:
        self.path.unlink()

    def become_folder(self) -> None:
        self.path.mkdir()

    def become_nothing(self) -> None:
        self.path.rmdir()


@pytest.fixture
def file(tmp_path: Path) -> InstanceFile:
    return InstanceFile(tmp_path / "instances.txt")


async def test_a_file_is_read_again_when_it_is_replaced_or_written(file: InstanceFile) -> None:
    file.write("10.0.0.1:80\n")
    async with discovering(file.section) as found:
        assert await found.next() == ["10.0.0.1:80"]
        file.replace("10.0.0.1:80 weight=4\n10.0.0.2:80\n")
        assert await found.next() == ["10.0.0.1:80 4", "10.0.0.2:80"]
        file.write("10.0.0.3:80\n")
        assert await found.next() == ["10.0.0.3:80"]


async def test_a_file_of_the_same_size_and_time_is_still_seen(file: InstanceFile) -> None:
    file.write("10.0.0.1:80\n")
    async with discovering(file.section) as found:
        await found.next()
        file.write_unnoticed("10.0.0.2:80\n")
        assert await found.next() == ["10.0.0.2:80"]


async def test_a_broken_file_takes_nobody_away_and_names_the_line(file: InstanceFile) -> None:
    file.write("10.0.0.1:80\n10.0.0.2:80\n")
    async with discovering(file.section) as found:
        await found.next()
        file.write("10.0.0.1:80\n10.0.0.")
        detail = await found.problem(DiscoveryProblem.FILE_INVALID)
        assert detail.startswith(f"{file.path}:2: '10.0.0.' is not an address")
        file.write("")
        await found.problem(DiscoveryProblem.EMPTY)
        file.remove()
        assert str(file.path) in await found.problem(DiscoveryProblem.FILE_MISSING)
        file.become_folder()
        assert (
            await found.problem(DiscoveryProblem.FILE_UNREADABLE) == f"{file.path}: is not a file"
        )
        file.become_nothing()
        file.write("10.0.0.1:80\n" * 100_000)
        assert "over 1 MiB" in await found.problem(DiscoveryProblem.FILE_INVALID)
        assert found.queue.empty()
        assert len(found.view.state.instances) == 2
        file.replace("10.0.0.2:80\n")
        assert await found.next() == ["10.0.0.2:80"]


async def test_a_file_is_not_read_while_it_is_written(file: InstanceFile) -> None:
    """Each piece is a list of its own, and none of them is the one that is meant."""
    file.write("10.0.0.1:80\n")
    async with discovering(file.section) as found:
        await found.next()
        file.write("")
        for number in range(2, 42):
            file.append(f"10.0.0.{number}:80\n")
            await asyncio.sleep(0.03)  # always due before the discoverer's next look
        assert await found.next() == [f"10.0.0.{number}:80" for number in range(2, 42)]


async def test_a_file_that_comes_later_is_found(file: InstanceFile) -> None:
    async with discovering(file.section) as found:
        await found.problem(DiscoveryProblem.FILE_MISSING)
        file.write("10.0.0.1:80")
        assert await found.next() == ["10.0.0.1:80"]


async def test_a_silent_server_delays_no_other_pool(server: DnsServer, file: InstanceFile) -> None:
    server.is_silent = True
    file.write("10.0.0.1:80\n")
    found = Found()
    discoverer = Discoverer(
        [
            Pool(name="silent", discovery=by_name(server)),
            Pool(name="files", discovery=file.section),
        ],
        on_found=found.on_found,
        clock=SystemClock(),
        look_seconds=DEADLINE_SECONDS * 2,
    )
    running = asyncio.create_task(discoverer.run())
    assert await found.next() == ["10.0.0.1:80"]
    silent, files = discoverer.pools
    assert silent.looked_at is None
    assert files.looked_at is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
