"""H1: ``async with balancer`` checks its instances until it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import poruwa
from poruwa import InstanceState

GENEROUS_SECONDS = 20.0
OFTEN = poruwa.Health(
    path="/healthz", interval_seconds=0.1, fast_interval_seconds=0.05, rise=2, fall=2
)


class Checked:
    """An instance whose answer to checks a test decides, and which says when it was asked."""

    def __init__(self) -> None:
        self.status = b"200 OK"
        self.is_silent = False
        self.asked = 0
        self.name = ""
        self.open = 0
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Checked]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def asked_times(self, more: int) -> None:
        """Wait until ``more`` further checks came."""
        wanted = self.asked + more
        async with self._news, asyncio.timeout(GENEROUS_SECONDS):
            await self._news.wait_for(lambda: self.asked >= wanted)

    async def left_alone(self) -> None:
        """Wait until no connection is open."""
        async with self._news, asyncio.timeout(GENEROUS_SECONDS):
            await self._news.wait_for(lambda: not self.open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            async with self._news:
                self.asked += 1
                self._news.notify_all()
            if not self.is_silent:
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % self.status)
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            async with self._news:
                self.open -= 1
                self._news.notify_all()


async def reached(balancer: poruwa.LoadBalancer, instance: Checked, state: InstanceState) -> None:
    """Wait until the checks of ``instance`` have led to ``state``."""
    while next(s.state for s in balancer.status() if s.instance == instance.name) is not state:
        await instance.asked_times(1)


async def test_down_and_up_by_the_checks() -> None:
    async with Checked().serving() as one, Checked().serving() as other:
        async with poruwa.LoadBalancer([one.name, other.name], health=OFTEN) as balancer:
            await asyncio.gather(one.asked_times(1), other.asked_times(1))
            one.status = b"500 Internal Server Error"
            await reached(balancer, one, InstanceState.DOWN)
            known = balancer.status()[0]
            assert (known.reason.value, known.detail) == ("unexpected-status", "status 500")
            assert {balancer.get_next_instance() for _ in range(4)} == {other.name}
            one.status = b"200 OK"
            await reached(balancer, one, InstanceState.UP)
            assert balancer.status()[0].slowness == pytest.approx(10.0, rel=0.2)  # slow start
        await asyncio.gather(one.left_alone(), other.left_alone())


async def test_leaving_closes_a_check_under_way() -> None:
    async with Checked().serving() as silent:
        silent.is_silent = True
        async with poruwa.LoadBalancer([silent.name], health=OFTEN):
            await silent.asked_times(1)
        await silent.left_alone()
    assert not [task for task in asyncio.all_tasks() if "health" in task.get_name()]


async def test_checks_can_be_switched_off_and_entered_once() -> None:
    async with poruwa.LoadBalancer(["127.0.0.1:1"], health=poruwa.Health(enabled=False)):
        assert not [task for task in asyncio.all_tasks() if "health" in task.get_name()]
    async with poruwa.LoadBalancer(["127.0.0.1:1"]) as balancer:
        with pytest.raises(RuntimeError, match="enter it once"):
            await balancer.__aenter__()
    async with balancer:  # but again, later
        pass
