"""Ctrl-C and its relatives: the first asks for an orderly end, the second for an end at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: terminal closed


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
    # Under nohup(1) SIGHUP is ignored, and is meant to be.
    is_detached = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [each for each in STOP_SIGNALS if not (is_detached and each is signal.SIGHUP)]
    for number in numbers:
        loop.add_signal_handler(number, request.take)
    try:
        yield request
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
