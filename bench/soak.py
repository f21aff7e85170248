"""Faults one after another under load: no POST twice, hedges and retries within their budgets.

Five minutes here stand for an hour: a fault every six seconds instead of every minute. At the end
every instance is ten times slower for a while, where hedging could only do harm. Source: issue 3,
Show 9.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.charts import COLOURS, new_figure, save_figure
from bench.closed_loop import ClosedLoop, Sample
from bench.fault_stack import FaultStack, Instance, running_stack
from bench.proxies import OURS
from bench.report import Report, Table, Target
from bench.settings import Settings, say
from bench.slow_instance import SERVICE_SECONDS

CLIENTS = 16
POST_EVERY = 4
FAULT_EVERY_SECONDS = 6.0
SOAK_SECONDS = 300.0
ALL_SLOW_SECONDS = 20.0
_PER_SETTING_SECOND = SOAK_SECONDS / 3  # `--seconds 3`, the default, is the whole soak

_HEDGES = 'poruwa_hedges_total{outcome="sent"}'
_RETRIES = "poruwa_retries_total"
_FREE = "idle-close"  # a kept connection that was closing; nothing was tried
_LARGEST_HEDGE_SHARE, _LARGEST_RETRY_SHARE = 0.05, 0.2


def run(settings: Settings) -> Report:
    """Soak our gateway.

    Raises:
        BenchError: it does not start, or ends.
    """
    facts, samples, faults = asyncio.run(_soak(settings))
    requests = len(samples)
    hedges, retries = facts["hedges"] / requests, facts["retries"] / requests
    slow_hedges = facts["slow_hedges"] / max(facts["slow_requests"], 1)
    slow_retries = facts["slow_retries"] / max(facts["slow_requests"], 1)
    gets_failed = sum(each.has_failed for each in samples if each.method == "GET")
    posts = [each for each in samples if each.method == "POST"]
    rows = [
        ("requests", f"{requests:,}"),
        ("POSTs among them", f"{len(posts):,}"),
        ("faults", str(faults)),
        ("GETs failed", str(gets_failed)),
        ("POSTs failed", str(sum(each.has_failed for each in posts))),
        ("POSTs that instances saw twice", str(facts["twice"])),
        ("sent to an instance again, as instances saw it", f"{facts['again'] / requests:.2%}"),
        ("hedges", f"{hedges:.2%}"),
        ("retries", f"{retries:.2%}"),
        ("hedges while all were slow", f"{slow_hedges:.2%}"),
        ("retries while all were slow", f"{slow_retries:.2%}"),
        ("ejections", f"{facts['ejections']:.0f}"),
    ]
    return Report(
        name="soak",
        title="Faults one after another",
        method=(
            f"{CLIENTS} closed-loop clients, every fourth request a POST without Idempotency-Key, "
            f"before three instances of 50 ms; every {FAULT_EVERY_SECONDS:g} s one of them is "
            "frozen, killed and restarted, made to answer 500, or slowed ten times; in the last "
            f"{ALL_SLOW_SECONDS:g} s all are slow. Defaults of `poruwa gateway`."
        ),
        tables=[Table(title="What came of it", header=("", ""), rows=rows)],
        targets=[
            Target(
                text=f"no POST is seen twice by the instances; {facts['twice']} are",
                met=not facts["twice"],
            ),
            Target(
                text=f"hedges stay within 5 %; {hedges:.2%}, {slow_hedges:.2%} while all are slow",
                met=max(hedges, slow_hedges) <= _LARGEST_HEDGE_SHARE,
            ),
            Target(
                text=f"instances see no more of them than that; {facts['again']:.0f} requests came "
                f"again, {facts['hedges']:.0f} hedges and {facts['retries']:.0f} retries",
                met=facts["again"] <= facts["hedges"] + facts["retries"] + facts["free"],
            ),
            Target(
                text=f"retries stay within 20 %; {retries:.2%}, {slow_retries:.2%} while all are "
                "slow",
                met=max(retries, slow_retries) <= _LARGEST_RETRY_SHARE,
            ),
        ],
        samples={"facts": facts},
        draw=lambda path: _draw(samples, path),
    )


async def _soak(settings: Settings) -> tuple[dict[str, Any], list[Sample], int]:
    seconds = settings.seconds * _PER_SETTING_SECOND
    with running_stack(OURS, settings.work) as stack:
        load = ClosedLoop(stack.port, ("127.0.0.1",) * CLIENTS, post_every=POST_EVERY)
        running = asyncio.create_task(load.run())
        faults = await _faults(stack, seconds)
        before = _counters(stack)
        requests_before = len(load.samples)
        for each in stack.instances:
            await asyncio.to_thread(each.control, f"seconds={10 * SERVICE_SECONDS}")
        await asyncio.sleep(ALL_SLOW_SECONDS)
        after = _counters(stack)
        slow_requests = len(load.samples) - requests_before
        load.stop()
        await running
        facts = {
            **after,
            "slow_requests": slow_requests,
            "slow_hedges": after["hedges"] - before["hedges"],
            "slow_retries": after["retries"] - before["retries"],
            "twice": stack.posts_seen_twice(),
            "again": stack.seen("GET").total() - len(stack.seen("GET")),
        }
        return facts, load.samples, faults


def _counters(stack: FaultStack) -> dict[str, float]:
    return {
        "hedges": stack.counter(_HEDGES),
        "retries": stack.counter(_RETRIES, without=_FREE),
        "free": stack.counter('poruwa_retries_total{reason="idle-close"'),
        "ejections": stack.counter("poruwa_ejections_total"),
    }


async def _faults(stack: FaultStack, seconds: float) -> int:
    """Do harm to one instance after another; return how often."""
    chance = random.Random(7)
    kinds = (_freeze, _kill, _fail, _slow)
    count = max(int(seconds / FAULT_EVERY_SECONDS), 1)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        say(f"  fault {number + 1} of {count}: {kind.__name__.strip('_')}")
        harm = asyncio.create_task(kind(chance.choice(stack.instances), chance))
        await asyncio.sleep(FAULT_EVERY_SECONDS)
        await harm
    return count


async def _freeze(instance: Instance, chance: random.Random) -> None:
    instance.signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(1.0, 3.0))
    instance.signal(signal.SIGCONT)


async def _kill(instance: Instance, chance: random.Random) -> None:
    instance.kill()
    await asyncio.sleep(chance.uniform(0.5, 2.0))
    await asyncio.to_thread(instance.restart)


async def _fail(instance: Instance, chance: random.Random) -> None:
    await asyncio.to_thread(instance.control, "failing=1")
    await asyncio.sleep(chance.uniform(1.0, 3.0))
    await asyncio.to_thread(instance.control, "failing=0")


async def _slow(instance: Instance, chance: random.Random) -> None:
    await asyncio.to_thread(instance.control, f"seconds={10 * SERVICE_SECONDS}")
    await asyncio.sleep(chance.uniform(1.0, 3.0))
    await asyncio.to_thread(instance.control, f"seconds={SERVICE_SECONDS}")


def _draw(samples: Sequence[Sample], path: Path) -> None:
    figure = new_figure(
        1, 1, title="Latency of each GET while one fault follows another", width=10.0, height=3.2
    )
    (axes,) = figure.axes
    gets = [each for each in samples if each.method == "GET"]
    began = samples[0].at
    axes.plot(
        [each.at - began for each in gets],
        [each.seconds for each in gets],
        ".",
        markersize=1.0,
        color=COLOURS[OURS],
        rasterized=True,
    )
    axes.set_yscale("log")
    axes.set_xlabel("s")
    axes.set_ylabel("s until answered")
    save_figure(figure, path)
