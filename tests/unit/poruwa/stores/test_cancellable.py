"""A cancellation reaches the task, whatever a client of the store makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from poruwa.stores.valkey_connection import cancellable


async def _answers_instead(started: asyncio.Event) -> int:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return 1
    raise AssertionError


async def _fails_instead(started: asyncio.Event) -> int:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise OSError("timed out") from None
    raise AssertionError


@pytest.mark.parametrize("call", [_answers_instead, _fails_instead])
async def test_a_cancellation_that_a_client_swallows_is_raised_all_the_same(
    call: Callable[[asyncio.Event], Awaitable[int]],
) -> None:
    """As ``asyncio.wait_for`` up to Python 3.11 answers, and redis-py's time-outs fail."""
    started = asyncio.Event()
    task = asyncio.create_task(cancellable(call(started)))
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_error_of_a_call_that_nobody_cancelled_stays_what_it_is() -> None:
    async def refuse() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await cancellable(refuse())


async def test_a_time_out_around_a_call_that_fails_instead_is_a_time_out() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await cancellable(_fails_instead(asyncio.Event()))
