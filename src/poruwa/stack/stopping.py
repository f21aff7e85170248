"""Ctrl-C and its relatives: the first asks for an orderly end, the second for an end at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

# SIGHUP: the terminal was closed.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Two events: ``asked`` by the first signal, ``hurried`` by the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def take(self) -> None:
        """Count one request."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn `STOP_SIGNALS` into a `StopRequest` while the block runs."""
    loop = asyncio.get_running_loop()
    request = StopRequest()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, request.take)
    try:
        yield request
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
