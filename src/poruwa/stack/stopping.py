"""Signals of a process in the foreground.

Ctrl-C and its relatives: the first asks for an orderly end, the second for an end at once. Others
may mean something else, as `stop_on_signals` is told.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
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
def stop_on_signals(
    actions: Mapping[signal.Signals, Callable[[], None]] | None = None,
) -> Iterator[StopRequest]:
    """Turn `STOP_SIGNALS` into a `StopRequest` while the block runs.

    Args:
        actions: what other signals do; one of `STOP_SIGNALS` among them does not stop then.
    """
    loop = asyncio.get_running_loop()
    request = StopRequest()
    handlers: dict[signal.Signals, Callable[[], None]] = dict.fromkeys(STOP_SIGNALS, request.take)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del handlers[signal.SIGHUP]  # under nohup(1) it is not to end us
    handlers |= dict(actions or {})
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield request
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def is_on_terminal() -> bool:
    """Tell whether SIGHUP means that our terminal was closed, and not that somebody asks for it."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False
