"""Who is at work is waited for, who is frozen is not: a purge takes a while (issue 4)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from poruwa.gateway.cache_answers import Purged
from poruwa.gateway.purge import Purge
from poruwa.observe.metrics import MetricsSnapshot
from poruwa.stack import cache_verbs
from poruwa.stack.cache_verbs import FROZEN_SECONDS, CacheVerbs

BUSY, FROZEN = 0, 1


async def no_log() -> None:
    return None


async def no_figures() -> MetricsSnapshot:
    return MetricsSnapshot()


async def test_a_busy_worker_is_waited_for_and_a_frozen_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_verbs, "ANSWER_SECONDS", 0.001)
    looks: list[int] = []
    is_done = asyncio.Event()

    def silent_seconds(row: int) -> float:
        looks.append(row)
        if looks.count(BUSY) == 3:  # it answers after the third look at it
            is_done.set()
        return 0.05 if row == BUSY else FROZEN_SECONDS + 0.1

    async def ask(row: int, topic: str, payload: bytes, seconds: float) -> bytes | None:
        await (is_done if row == BUSY else asyncio.Event()).wait()
        return msgspec.msgpack.encode(Purged(7))

    verbs = CacheVerbs(
        lambda: (BUSY, FROZEN), ask, silent_seconds=silent_seconds, refresh=no_figures, log=no_log
    )
    answer = await verbs.purge(Purge(patterns=["/venues/*"]))
    assert answer["workers"] == [
        {"worker": BUSY, "entries": 7, "acknowledged": True},
        {"worker": FROZEN, "entries": None, "acknowledged": False},
    ]
    assert answer["note"].startswith(f"no answer, and no sign of life, from worker {FROZEN},")
