"""Ending background tasks that speak to the database.

A single ``cancel`` is not enough: in pymongo's asynchronous client (4.20, Python 3.11) an answer
that comes in the same turn of the loop wins over the cancellation, which is then lost.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, again while they go on, and wait for their ends. Their errors are dropped."""
    remaining = {task for task in tasks if not task.done()}
    while remaining:
        for task in remaining:
            task.cancel()
        _, remaining = await asyncio.wait(remaining, timeout=_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen
