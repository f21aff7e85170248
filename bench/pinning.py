"""Which core runs what: the proxy under test has one to itself, alike for every proxy.

Load generator and origin share another one. With more cores than two the others stay idle, so that
a result means the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.errors import BenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Numbers of the two cores of a run."""

    proxy: int
    load: int


def choose_cores() -> Cores:
    """Return the first two cores this process may use.

    Raises:
        BenchError: there is only one; proxy and load would take turns on it.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError(
            "Only one core may be used, and the proxy under test needs one to itself. "
            "Run on a machine (or with a CPU set) of two cores or more."
        )
    return Cores(proxy=usable[0], load=usable[1])


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Pin this thread, and what it starts, to ``core`` for the block; None leaves it alone."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
