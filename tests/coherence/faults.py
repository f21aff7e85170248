"""Harm on command: each fault is a coroutine that does it, waits, and undoes what can be undone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.coherence.stack import CoherenceStack

FROZEN_SECONDS = 1.5  # three leases


@dataclass(frozen=True, slots=True)
class Fault:
    """``run`` returns when it is over; a killed part may still be starting then."""

    name: str
    run: Callable[[CoherenceStack, random.Random], Awaitable[None]]


async def _kill_instance(stack: CoherenceStack, chance: random.Random) -> None:
    _signal(_instance(stack, chance), signal.SIGKILL)


async def _freeze_instance(stack: CoherenceStack, chance: random.Random) -> None:
    await _frozen(_instance(stack, chance))


async def _kill_worker(stack: CoherenceStack, chance: random.Random) -> None:
    _signal(_worker(stack, chance), signal.SIGKILL)


async def _freeze_worker(stack: CoherenceStack, chance: random.Random) -> None:
    await _frozen(_worker(stack, chance))


async def _kill_cache(stack: CoherenceStack, chance: random.Random) -> None:
    _signal(stack.part_named("cache"), signal.SIGKILL)


async def _freeze_cache(stack: CoherenceStack, chance: random.Random) -> None:
    await _frozen(stack.part_named("cache"))


async def _kill_bus(stack: CoherenceStack, chance: random.Random) -> None:
    _signal(stack.part_named("bus"), signal.SIGKILL)


async def _freeze_bus(stack: CoherenceStack, chance: random.Random) -> None:
    await _frozen(stack.part_named("bus"))


async def _cut_off_gateway(stack: CoherenceStack, chance: random.Random) -> None:
    await _frozen(stack.proxy)


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
    return stack.pids()[chance.choice(names)]


def _worker(stack: CoherenceStack, chance: random.Random) -> int:
    workers = chance.choice(stack.gateways).workers
    return chance.choice(workers) if workers else 0


async def _frozen(pid: int) -> None:
    _signal(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_SECONDS)
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    if pid > 0:  # 0: this stack has no such part, or it is not back yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
