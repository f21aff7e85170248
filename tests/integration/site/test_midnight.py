"""A day that is over puts out of date what was made on it, on a real platform with a real bus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest

import poruwa
import weddinglk
from fakes.valkey_process import BUS, ValkeyProcess
from poruwa import Platform
from weddinglk.midnight import declare_days_over
from weddinglk.web.availability import day_tag

POLICY = Path(weddinglk.__file__).with_name("site.toml")
WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


class Calendar:
    """A clock that is set by hand."""

    def __init__(self, day: date) -> None:
        self.day = day

    def __call__(self) -> date:
        return self.day


@asynccontextmanager
async def declaring(platform: Platform, calendar: Calendar) -> AsyncIterator[list[str]]:
    """Give the tags of each change that reaches the platform."""
    heard: list[str] = []
    platform.on_change(lambda change: heard.extend(tag.decode() for tag in change.tags))
    async with platform.running():
        task = asyncio.create_task(declare_days_over(platform, now=calendar, look_seconds=0.01))
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def environment(bus: ValkeyProcess) -> dict[str, str]:
    return {"PORUWA_BUS_URL": bus.url, "PORUWA_SESSION_KEYS": "s" * 43}


async def until_heard(heard: list[str], wanted: list[str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while heard != wanted:
        assert time.monotonic() < deadline, heard
        await asyncio.sleep(0.01)


async def test_each_day_is_declared_over(bus: ValkeyProcess) -> None:
    """Yesterday at the start, each day once it is over, all of them after a standstill."""
    platform = Platform.from_file(POLICY, environ=environment(bus))
    calendar = Calendar(date(2026, 12, 30))
    loads = 0

    @platform.cached("venue", key="calendar")
    async def load() -> str:
        nonlocal loads
        loads += 1
        poruwa.tag(day_tag(calendar.day))
        return calendar.day.isoformat()

    async with declaring(platform, calendar) as heard:
        await until_heard(heard, ["day:2026-12-29"])
        assert [await load(), await load()] == ["2026-12-30"] * 2
        assert loads == 1
        calendar.day = date(2026, 12, 31)
        await until_heard(heard, ["day:2026-12-29", "day:2026-12-30"])
        assert [await load(), await load()] == ["2026-12-31"] * 2
        assert loads == 2
        calendar.day = date(2027, 1, 2)
        await until_heard(
            heard, [f"day:2026-12-{day}" for day in (29, 30, 31)] + ["day:2027-01-01"]
        )
        assert await load() == "2027-01-02"


async def test_midnight_waits_for_the_bus(bus: ValkeyProcess) -> None:
    platform = Platform.from_file(POLICY, environ=environment(bus))
    calendar = Calendar(date(2026, 12, 30))
    async with declaring(platform, calendar) as heard:
        await until_heard(heard, ["day:2026-12-29"])
        heard.clear()
        bus.kill()
        calendar.day = date(2026, 12, 31)
        await asyncio.sleep(0.05)
        bus.start()
        await until_heard(heard, ["day:2026-12-30"])


async def test_a_process_alone_tells_itself() -> None:
    calendar = Calendar(date(2026, 12, 30))
    async with declaring(Platform.from_file(POLICY, environ={}), calendar) as heard:
        await until_heard(heard, ["day:2026-12-29"])
        calendar.day = date(2026, 12, 31)
        await until_heard(heard, ["day:2026-12-29", "day:2026-12-30"])
