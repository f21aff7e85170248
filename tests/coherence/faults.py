"""Harm on command: each fault is a coroutine that does it, waits, and undoes what can be undone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.coherence.stack import CoherenceStack, StackFailure

FROZEN_SECONDS = 1.5  # three leases
_BACK_SECONDS = 20.0  # until what was killed runs again


@dataclass(frozen=True, slots=True)
class Fault:
    """``run`` returns when it is over; a killed part may still be starting then."""

    name: str
    run: Callable[[CoherenceStack, random.Random], Awaitable[None]]


async def _kill_instance(stack: CoherenceStack, chance: random.Random) -> None:
    await _kill(lambda: _instance(stack, chance))


async def _freeze_instance(stack: CoherenceStack, chance: random.Random) -> None:
    await _freeze(lambda: _instance(stack, chance))


async def _kill_worker(stack: CoherenceStack, chance: random.Random) -> None:
    await _kill(lambda: _worker(stack, chance))


async def _freeze_worker(stack: CoherenceStack, chance: random.Random) -> None:
    await _freeze(lambda: _worker(stack, chance))


async def _kill_cache(stack: CoherenceStack, chance: random.Random) -> None:
    await _kill(lambda: stack.part("cache"))


async def _freeze_cache(stack: CoherenceStack, chance: random.Random) -> None:
    await _freeze(lambda: stack.part("cache"))


async def _kill_bus(stack: CoherenceStack, chance: random.Random) -> None:
    await _kill(lambda: stack.part("bus"))


async def _freeze_bus(stack: CoherenceStack, chance: random.Random) -> None:
    await _freeze(lambda: stack.part("bus"))


async def _cut_off_gateway(stack: CoherenceStack, chance: random.Random) -> None:
    await _freeze(lambda: stack.proxy)


FAULTS = (
    Fault("kill an instance", _kill_instance),
    Fault("freeze an instance", _freeze_instance),
    Fault("kill a worker", _kill_worker),
    Fault("freeze a worker", _freeze_worker),
    Fault("kill the cache", _kill_cache),
    Fault("freeze the cache", _freeze_cache),
    Fault("kill the bus", _kill_bus),
    Fault("freeze the bus", _freeze_bus),
    Fault("cut gateway 2 off the bus", _cut_off_gateway),
)


def in_random_order(seconds: float, every: float, seed: int) -> list[Fault]:
    """Return as many faults as fit, every kind once before any comes again."""
    chance = random.Random(seed)
    wanted = max(1, int(seconds / every))
    order: list[Fault] = []
    while len(order) < wanted:
        order += chance.sample(FAULTS, len(FAULTS))
    return order[:wanted]


def _instance(stack: CoherenceStack, chance: random.Random) -> int:
    names = [name for name in stack.pids() if name.startswith("app.")]
    return stack.part(chance.choice(names)) if names else 0


def _worker(stack: CoherenceStack, chance: random.Random) -> int:
    workers = chance.choice(stack.gateways).workers
    return chance.choice(workers) if workers else 0


async def _kill(find: Callable[[], int]) -> None:
    os.kill(await _pid(find), signal.SIGKILL)


async def _freeze(find: Callable[[], int]) -> None:
    pid = await _pid(find)
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _pid(find: Callable[[], int]) -> int:
    """Return the pid of a part that runs; one that was killed before is waited for."""
    deadline = time.monotonic() + _BACK_SECONDS
    while time.monotonic() < deadline:
        pid = find()
        with contextlib.suppress(ProcessLookupError):
            if pid > 0:
                os.kill(pid, 0)
                return pid
        await asyncio.sleep(0.05)
    raise StackFailure("a part that is to be harmed does not run")
