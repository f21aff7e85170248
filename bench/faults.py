"""What clients notice when an instance freezes, dies, errs, slows or restarts.

16 closed-loop clients, three instances of 50 ms, each proxy with its defaults as its manual advises
them for failing over, on the same two cores, each scenario with fresh instances and a fresh proxy
and a normal phase of its own before the fault. How long each lasts is part of what is claimed, so
``--seconds`` and ``--rounds`` change nothing here. Source: issue 3, Shows 1 to 5.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.charts import COLOURS, new_figure, save_figure
from bench.closed_loop import ClosedLoop, Sample, quantile
from bench.fault_stack import OURS_WITHOUT_RETRIES, FaultStack, Instance, running_stack
from bench.optimum import Capacity, optimum
from bench.processes import fetch
from bench.proxies import HAPROXY, NGINX, OURS, require_programs
from bench.report import Report, Table, Target
from bench.settings import Settings, say
from bench.slow_instance import SERVICE_SECONDS

CLIENTS = 16
_WARM_SECONDS = 1.0
_NORMAL_SECONDS = 3.0
_LOCAL = "127.0.0.1"
_MANY, _FEW = "127.0.0.2", "127.0.0.3"  # 12 clients of one address, 4 of the other

Act = Callable[[FaultStack], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is done to the instances, and for how long clients are watched from then on.

    Attributes:
        seconds: what throughput and latency are taken of.
        after_seconds: how much longer failures are counted.
        prepare: before any client; None for nothing.
        act: the fault; returns when the instances are as they are to be at the end.
        capacities: where the instances are unlike, for the optimum.
    """

    name: str
    seconds: float
    act: Act | None = None
    prepare: Act | None = None
    after_seconds: float = 0.0
    post_every: int = 0
    sources: Sequence[str] = (_LOCAL,) * CLIENTS
    capacities: Sequence[Capacity] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the clients of one proxy saw in one scenario; times in seconds."""

    scenario: str
    proxy: str
    throughput: float
    throughput_ratio: float
    p99_ratio: float
    worst: float
    gets_failed: int
    posts_failed: int
    posts_failed_untouched: int
    posts_under_way: int
    posts_twice: int
    bad_share: float
    longest_by_source: dict[str, float] = field(default_factory=dict)
    timeline: list[tuple[float, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "timeline"}


async def _freeze(stack: FaultStack) -> None:
    stack.instances[0].signal(signal.SIGSTOP)
    await asyncio.sleep(8.0)
    stack.instances[0].signal(signal.SIGCONT)


async def _kill(stack: FaultStack) -> None:
    stack.instances[0].kill()
    await asyncio.sleep(3.0)
    await asyncio.to_thread(stack.instances[0].restart)


async def _fail(stack: FaultStack) -> None:
    await asyncio.to_thread(stack.instances[0].control, "failing=1")


async def _slow_down(stack: FaultStack) -> None:
    await asyncio.to_thread(stack.instances[0].control, f"seconds={10 * SERVICE_SECONDS}")


async def _restart_all(stack: FaultStack) -> None:
    for each in stack.instances:
        each.kill()
    await asyncio.sleep(1.0)
    await asyncio.gather(*(asyncio.to_thread(each.restart) for each in stack.instances))


def _unlike(*queries: str) -> Act:
    async def prepare(stack: FaultStack) -> None:
        for each, query in zip(stack.instances, queries, strict=True):
            await asyncio.to_thread(each.control, query)

    return prepare


SCENARIOS = (
    Scenario(name="one frozen for 8 s", act=_freeze, seconds=8.0, after_seconds=5.0),
    Scenario(name="one killed, back after 3 s", act=_kill, seconds=6.0, post_every=4),
    Scenario(name="one answers 500 in 1 ms", act=_fail, seconds=6.0),
    Scenario(name="one turns 10 times slower", act=_slow_down, seconds=8.0),
    Scenario(
        name="16, 4 and 1 at a time",
        prepare=_unlike("slots=16", "slots=4", "slots=1"),
        seconds=8.0,
        capacities=[Capacity(seconds=SERVICE_SECONDS, slots=slots) for slots in (16, 4, 1)],
    ),
    Scenario(
        name="12.5, 50 and 200 ms",
        prepare=_unlike("seconds=0.0125", "seconds=0.05", "seconds=0.2"),
        seconds=8.0,
        capacities=[Capacity(seconds=each) for each in (0.0125, 0.05, 0.2)],
    ),
    Scenario(
        name="all three restart",
        act=_restart_all,
        seconds=6.0,
        sources=(_MANY,) * 12 + (_FEW,) * 4,
    ),
)


def run(settings: Settings) -> Report:
    """Measure every scenario on every proxy.

    Raises:
        BenchError: a program is missing, or does not start.
    """
    require_programs()
    outcomes = []
    for scenario in SCENARIOS:
        names = [OURS, HAPROXY, NGINX]
        if scenario.act is _fail:
            names.insert(1, OURS_WITHOUT_RETRIES)
        for name in names:
            folder = settings.work / f"{len(outcomes)}"
            folder.mkdir()
            outcome = asyncio.run(_measure(scenario, name, folder))
            outcomes.append(outcome)
            say(f"  {'  '.join(_row(outcome))}")
    return Report(
        name="faults",
        title="Instances that freeze, die, err, slow down, restart",
        method=(
            f"{CLIENTS} closed-loop clients that keep their connections, three instances that take "
            "50 ms, two cores for everything. `poruwa gateway` with nothing but addresses; HAProxy "
            "with leastconn, checks every 5 s, passive health (observe layer7), redispatch and "
            "retries; nginx with least_conn, a shared zone and next_upstream also on 5xx. "
            "A client waits 50 ms after a failure. What is seen of an instance that answers 500 is "
            "counted from the second second on; POSTs under way are those that the killed instance "
            "had begun to work at. Throughput (of good answers) and p99 during "
            "the fault are compared with the same stack's seconds before it; where instances are "
            "unlike, throughput is compared with the optimum of a simulated balancer that knows "
            "every instance's service time (as measured without a proxy), capacity and queue."
        ),
        tables=[_table(outcomes)],
        targets=_targets(outcomes),
        samples={"outcomes": [each.as_dict() for each in outcomes]},
        draw=lambda path: _draw(outcomes, path),
        notes=_notes(outcomes),
    )


async def _measure(scenario: Scenario, name: str, folder: Path) -> Outcome:
    with running_stack(name, folder) as stack:
        if scenario.prepare is not None:
            await scenario.prepare(stack)
        seconds = [await asyncio.to_thread(_service_seconds, each) for each in stack.instances]
        capacities = [
            replace(capacity, seconds=real)
            for capacity, real in zip(scenario.capacities, seconds, strict=False)
        ]
        load = ClosedLoop(stack.port, scenario.sources, post_every=scenario.post_every)
        running = asyncio.create_task(load.run())
        # Unlike instances are learned in the normal phase; what is compared comes after it.
        await asyncio.sleep(_WARM_SECONDS + _NORMAL_SECONDS)
        began = time.monotonic()
        acting = asyncio.create_task(scenario.act(stack)) if scenario.act is not None else None
        await asyncio.sleep(scenario.seconds)
        ended = time.monotonic()
        await asyncio.sleep(scenario.after_seconds)
        load.stop()
        if acting is not None:
            await acting
        await running
        usual = optimum(capacities, CLIENTS) if capacities else None
        return _outcome(scenario, stack, load.samples, began, ended, usual)


def _service_seconds(instance: Instance) -> float:
    """Return how long an idle instance takes in truth, asked without a proxy; the median of ten."""
    times = []
    for _ in range(10):
        started = time.perf_counter()
        fetch(instance.port, "/work")
        times.append(time.perf_counter() - started)
    return quantile(times, 0.5)


def _outcome(
    scenario: Scenario,
    stack: FaultStack,
    samples: list[Sample],
    began: float,
    ended: float,
    usual: float | None,
) -> Outcome:
    """Return what the samples say; ``usual`` is the throughput to compare with, if not before."""
    normal = [each for each in samples if began - _NORMAL_SECONDS <= each.at < began]
    during = [each for each in samples if each.at + each.seconds > began and each.at < ended]
    later = [each for each in during if each.at > began + 1.0]
    watched = [each for each in samples if each.at + each.seconds > began]
    failed_posts = [each for each in watched if each.method == "POST" and each.has_failed]
    unfinished = stack.instances[0].unfinished()  # of the one that is killed
    posts = {each.number for each in watched if each.method == "POST"}
    good = [each for each in during if not each.has_failed]
    rate = sum(began <= each.at + each.seconds < ended for each in good) / (ended - began)
    usual = usual or len(normal) / _NORMAL_SECONDS
    bad = stack.instances[0].name
    is_failing = scenario.act is _fail
    seen_bad = [each for each in later if each.status >= 500 and (each.instance == bad)]
    return Outcome(
        scenario=scenario.name,
        proxy=stack.name,
        throughput=round(rate, 1),
        throughput_ratio=round(rate / usual, 3),
        p99_ratio=round(
            quantile([each.seconds for each in during], 0.99)
            / quantile([each.seconds for each in normal], 0.99),
            2,
        ),
        worst=round(max(each.seconds for each in watched), 3),
        gets_failed=sum(
            each.has_failed for each in (later if is_failing else watched) if each.method == "GET"
        ),
        posts_failed=len(failed_posts),
        posts_failed_untouched=sum(each.number not in unfinished for each in failed_posts),
        posts_under_way=len(posts & unfinished),
        posts_twice=stack.posts_seen_twice(),
        bad_share=round(len(seen_bad) / max(len(later), 1), 4),
        longest_by_source={
            source: round(max(each.seconds for each in during if each.source == source), 3)
            for source in sorted(set(scenario.sources))
        },
        timeline=[(each.at - began, each.seconds) for each in normal + during],
    )


_HEADER = (
    "fault", "proxy", "requests/s", "of normal", "p99, times normal", "worst", "GETs failed",
    "POSTs failed (under way)", "saw the 500s",
)  # fmt: skip


def _row(outcome: Outcome) -> list[str]:
    return [
        outcome.scenario,
        outcome.proxy,
        f"{outcome.throughput:.0f}",
        f"{outcome.throughput_ratio:.2f}",
        f"{outcome.p99_ratio:.1f}",
        f"{outcome.worst * 1000:.0f} ms",
        str(outcome.gets_failed),
        f"{outcome.posts_failed} ({outcome.posts_under_way})",
        f"{outcome.bad_share:.2%}",
    ]


def _table(outcomes: Sequence[Outcome]) -> Table:
    title = "What 16 clients saw (for unlike instances, normal is the simulated optimum)"
    return Table(title=title, header=_HEADER, rows=[_row(each) for each in outcomes])


def _targets(outcomes: Sequence[Outcome]) -> list[Target]:
    ours = {each.scenario: each for each in outcomes if each.proxy == OURS}
    freeze, kill, fail, slow, slots, speeds, restart = (ours[each.name] for each in SCENARIOS)
    without = next(each for each in outcomes if each.proxy == OURS_WITHOUT_RETRIES)
    return [
        Target(
            text="frozen: at least 95 % of normal throughput, no GET over 1 s, none failed; "
            f"{freeze.throughput_ratio:.1%}, {freeze.worst:.2f} s, {freeze.gets_failed} failed",
            met=freeze.throughput_ratio >= 0.95 and freeze.worst <= 1 and not freeze.gets_failed,
        ),
        Target(
            text="killed: no GET fails, a POST only if that instance was working on it, none is "
            f"seen twice; {kill.gets_failed} GETs, {kill.posts_failed} POSTs with "
            f"{kill.posts_under_way} under way there, {kill.posts_twice} twice",
            met=not (kill.gets_failed or kill.posts_failed_untouched or kill.posts_twice),
        ),
        Target(
            text="failing: at most 0.5 % see it after the first second; "
            f"{fail.bad_share:.2%}, with retries off {without.bad_share:.2%}",
            met=fail.bad_share <= 0.005 and without.bad_share <= 0.005,
        ),
        Target(
            text=f"slow: p99 at most twice normal; {slow.p99_ratio:.2f} times",
            met=slow.p99_ratio <= 2.0,
        ),
        Target(
            text="unlike: throughput at least 0.95 of the optimum; "
            f"{slots.throughput_ratio:.2f} by slots, {speeds.throughput_ratio:.2f} by speed",
            met=min(slots.throughput_ratio, speeds.throughput_ratio) >= 0.95,
        ),
        Target(
            text=f"all restart: no GET lost; {restart.gets_failed} of them",
            met=restart.gets_failed == 0,
        ),
        Target(
            text="all restart: the address with 4 clients waits no longer than that with 12; "
            f"{restart.longest_by_source[_FEW]:.2f} s and {restart.longest_by_source[_MANY]:.2f} s",
            met=restart.longest_by_source[_FEW] <= restart.longest_by_source[_MANY] + 0.1,
        ),
    ]


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    restart = SCENARIOS[-1].name
    return [
        f"{restart}, {each.proxy}: longest wait of the address with 12 clients "
        f"{each.longest_by_source[_MANY]:.2f} s, of the one with 4 "
        f"{each.longest_by_source[_FEW]:.2f} s."
        for each in outcomes
        if each.scenario == restart
    ]


def _draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw every request's latency around the freeze."""
    shown = [each for each in outcomes if each.scenario == SCENARIOS[0].name]
    figure = new_figure(
        len(shown), 1, title="Latency of each request while one of three instances is frozen",
        width=10.0, height=3.2,
    )  # fmt: skip
    for axes, outcome in zip(figure.axes, shown, strict=True):
        at, seconds = zip(*outcome.timeline, strict=True)
        axes.plot(at, seconds, ".", markersize=2.5, color=COLOURS[outcome.proxy])
        axes.axvspan(0.0, 8.0, color="#d0d7de", alpha=0.4, lw=0)
        axes.set_title(outcome.proxy)
        axes.set_yscale("log")
        axes.set_ylim(0.03, 12.0)
        axes.set_xlabel("s since the freeze")
    figure.axes[0].set_ylabel("s until answered")
    save_figure(figure, path)
