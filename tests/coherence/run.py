"""One run: start the parts, find what to read, let clients work, do harm, compare at the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.coherence.client import Client, Gateway
from tests.coherence.faults import FAULTS, Fault, in_random_order
from tests.coherence.history import Fate, History, Violation, WriteTime
from tests.coherence.load import Load, WriteFunction, past_everything, patching
from tests.coherence.marks import versions
from tests.coherence.stack import CoherenceStack, StackFailure, running_stack
from tests.coherence.targets import (
    NotFound,
    Target,
    featured_venues,
    find_targets,
    listing,
    missing_kinds,
)

READS_PER_WORKER = 1_000
SETTLE_SECONDS = 1.0  # after the last fault, before all must equal the database
_EXPLAINED_AT_MOST = 3
_WHOLE_SECONDS = 75.0  # the site has each instance looked at every 30 s
_TRIES_PER_WORKER = 60  # of a final read, until each worker has answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        seconds: without faults.
        fault_seconds: with faults one after another, each kind before any comes again; 0 for none.
        fault: the name of the only fault to do; "" for all.
        venues: how many are written, shared out among writers.
        reads_per_worker: the part without faults lasts longer, to a limit, until each worker has so
            many.
        is_direct: writes go into the database past everything; then staleness is to be seen.
    """

    seconds: float = 20.0
    fault_seconds: float = 40.0
    fault: str = ""
    fault_every: float = 4.0
    readers: int = 8
    writers: int = 2
    venues: int = 6
    write_every: float = 2.0
    seed: int = 1
    reads_per_worker: int = READS_PER_WORKER
    is_direct: bool = False


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it. ``*_unfaulted`` are of the part without faults."""

    violations: list[Violation] = field(default_factory=list)
    halves: list[str] = field(default_factory=list)  # reads of writes that were refused
    differences: list[str] = field(default_factory=list)  # at the end, from the database
    reads_unfaulted: Counter[int] = field(default_factory=Counter)
    hits_unfaulted: int = 0
    writes_unfaulted: list[WriteTime] = field(default_factory=list)
    writes_faulted: list[WriteTime] = field(default_factory=list)
    failures_unfaulted: Counter[str] = field(default_factory=Counter)
    failures_faulted: Counter[str] = field(default_factory=Counter)
    write_failures_unfaulted: Counter[str] = field(default_factory=Counter)
    write_failures_faulted: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    compared: int = 0  # reads of the final comparison
    workers: int = 0
    targets: int = 0

    @property
    def hit_rate(self) -> float:
        return self.hits_unfaulted / max(self.reads_unfaulted.total(), 1)


async def run(
    plan: Plan,
    folder: Path,
    *,
    history_path: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run ``plan`` with parts whose files go into ``folder``."""
    with running_stack(folder) as stack:
        return await _Run(plan, stack, History(history_path), say).run()


class _Run:
    def __init__(
        self, plan: Plan, stack: CoherenceStack, history: History, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._stack = stack
        self._history = history
        self._say = say
        self._client = Client()
        self._outcome = Outcome()
        self._targets: list[Target] = []

    async def run(self) -> Outcome:
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._stack.keep_fresh())
                await self._observed()
                watching.cancel()
        finally:
            self._client.close()
            self._history.close()
        self._outcome.violations = self._history.violations
        self._outcome.halves = self._history.halves
        return self._outcome

    async def _observed(self) -> None:
        plan, outcome, history = self._plan, self._outcome, self._history
        if missing := await self._missing():
            raise StackFailure(f"not all parts are up: {missing} {self._stack.last_words('up')}")
        venues = await self._venues()
        load = await self._prepared(venues)
        await self._warm(load)
        history.is_counting = True
        async with asyncio.TaskGroup() as group:
            for number in range(plan.readers):
                group.create_task(load.reader(number))
            for number in range(plan.writers):
                own = venues[number :: plan.writers]
                group.create_task(load.writer(number, own, plan.write_every))
            await asyncio.sleep(plan.seconds)
            await self._until_read_enough()
            load.reads_per_write = 0
            outcome.reads_unfaulted = Counter(history.reads)
            outcome.hits_unfaulted = history.hits
            outcome.writes_unfaulted = list(history.write_times)
            outcome.failures_unfaulted = Counter(history.failures)
            outcome.write_failures_unfaulted = Counter(history.write_failures)
            await self._faults()
            load.stop()
        outcome.writes_faulted = history.write_times[len(outcome.writes_unfaulted) :]
        outcome.failures_faulted = history.failures - outcome.failures_unfaulted
        outcome.write_failures_faulted = history.write_failures - outcome.write_failures_unfaulted
        await self._compare(venues)

    # Before.

    async def _venues(self) -> list[int]:
        found = await featured_venues(self._client, self._stack.gateways[0])
        return found[: self._plan.venues]

    async def _prepared(self, venues: Sequence[int]) -> Load:
        """Write version 1 everywhere, and find the pages that show it."""
        client, gateway = self._client, self._stack.gateways[0]
        shown = [await listing(client, gateway, venue) for venue in venues]
        writing = Load(client, self._stack.gateways, (), self._history, self._write_function())
        for venue in venues:
            await self._write_first(writing, venue)
        self._targets = await find_targets(client, gateway, shown, frozenset(venues))
        missing = missing_kinds(self._targets, shown)
        if missing and not self._plan.is_direct:
            raise NotFound(f"what was written and acknowledged is not on: {sorted(missing)}")
        self._outcome.targets = len(self._targets)
        self._say(f"  {len(self._targets)} pages show venues {sorted(venues)}")
        load = Load(
            client, self._stack.gateways, self._targets, self._history, self._write_function(),
            seed=self._plan.seed, after=writing,
        )  # fmt: skip
        load.on_violation = self._violated
        return load

    async def _write_first(self, writing: Load, venue: int) -> None:
        """Write until it is acknowledged: parts that have just started may refuse."""
        deadline = time.monotonic() + _WHOLE_SECONDS
        while True:
            answer, fate = await writing.write(venue)
            if fate is Fate.ACKNOWLEDGED:
                return
            if fate is Fate.OPEN or time.monotonic() > deadline:
                raise StackFailure(
                    f"the first write is answered {answer.status} {answer.problem}: "
                    f"{answer.body[:500].decode(errors='replace')}"
                )
            await asyncio.sleep(0.1)

    def _write_function(self) -> WriteFunction:
        if self._plan.is_direct:
            return past_everything(self._stack.write_past_everything)
        return patching(self._client, self._stack.gateways, self._stack.operator_token())

    async def _warm(self, load: Load) -> None:
        """Read every page by every gateway a few times, uncounted."""
        self._history.is_counting = False
        for _ in range(6):
            for gateway in self._stack.gateways:
                async with asyncio.TaskGroup() as group:
                    for target in self._targets:
                        group.create_task(load.read(gateway, target, "warm-up"))

    # Meanwhile.

    async def _until_read_enough(self) -> None:
        """Give a slow machine up to three times as long."""
        deadline = time.monotonic() + 2 * self._plan.seconds
        while time.monotonic() < deadline:
            counts = [
                self._history.reads[pid] for each in self._stack.gateways for pid in each.workers
            ]
            if min(counts, default=0) >= self._plan.reads_per_worker:
                return
            await asyncio.sleep(0.1)

    async def _faults(self) -> None:
        plan = self._plan
        if not plan.fault_seconds:
            return
        chance = random.Random(plan.seed)
        order: Sequence[Fault] = in_random_order(plan.fault_seconds, plan.fault_every, plan.seed)
        if plan.fault:
            order = [each for each in FAULTS if each.name == plan.fault] * len(order)
        for number, fault in enumerate(order, 1):
            self._outcome.faults.append(fault.name)
            self._history.note_fault(f"during: {fault.name}")
            began = time.monotonic()
            failed, refused, done = self._figures()
            await fault.run(self._stack, chance)
            self._history.note_fault(f"after: {fault.name}")
            if number < len(order):
                await asyncio.sleep(max(0.0, plan.fault_every - (time.monotonic() - began)))
            failed_now, refused_now, _ = self._figures()
            times = [each.acknowledged for each in self._history.write_times[done:]]
            self._say(
                f"  fault {number} of {len(order)}: {fault.name}: {failed_now - failed} reads "
                f"failed, {refused_now - refused} writes not acknowledged, slowest "
                f"acknowledgement {max(times, default=0.0) * 1000:.0f} ms"
            )

    def _figures(self) -> tuple[int, int, int]:
        """Return how many reads failed and writes were not acknowledged, or were, so far."""
        history = self._history
        return (
            history.failures.total(),
            history.write_failures.total(),
            len(history.write_times),
        )

    def _violated(self, violation: Violation) -> None:
        if len(self._history.violations) <= _EXPLAINED_AT_MOST:
            number = [each.name for each in self._stack.gateways].index(violation.gateway)
            self._say(f"  STALE: {violation}")
            self._say(self._stack.explain(number, violation.path))

    # After.

    async def _compare(self, venues: Sequence[int]) -> None:
        """Read every page from every worker: it must equal the database.

        First by the workers that are there a second after the last fault, then by those that had
        to start again.
        """
        await asyncio.sleep(SETTLE_SECONDS)
        before = await asyncio.to_thread(self._stack.taglines, list(venues))
        compared = await self._compare_with(before, frozenset())
        if missing := await self._missing():
            self._outcome.differences.append(f"not all came back: {missing}")
        compared |= await self._compare_with(before, compared)
        self._outcome.workers = len(compared)
        after = await asyncio.to_thread(self._stack.taglines, list(venues))
        if after != before:
            self._outcome.differences.append(f"the database changed at rest: {before} to {after}")
        for venue in venues:
            found = versions(before[venue].encode(), "en").get(venue, 0)
            if found < self._history.floor(venue):
                self._outcome.differences.append(
                    f"the database has version {found} of venue {venue}, but "
                    f"{self._history.floor(venue)} was acknowledged"
                )

    async def _compare_with(
        self, database: dict[int, str], known: frozenset[int]
    ) -> frozenset[int]:
        """Compare what workers that are not ``known`` answer; return their pids."""
        await asyncio.to_thread(self._stack.refresh)
        gate = asyncio.Semaphore(8)
        found: frozenset[int] = frozenset()
        async with asyncio.TaskGroup() as group:
            for gateway in self._stack.gateways:
                new = frozenset(gateway.workers) - known
                found |= new
                for target in self._targets if new else ():
                    group.create_task(self._compare_one(gate, gateway, new, target, database))
        return found

    async def _missing(self) -> str:
        """Wait until all parts serve; return those that do not for too long."""
        deadline = time.monotonic() + _WHOLE_SECONDS
        while missing := await asyncio.to_thread(self._stack.missing):
            if time.monotonic() > deadline:
                return missing
            await asyncio.sleep(0.2)
        return ""

    async def _compare_one(
        self,
        gate: asyncio.Semaphore,
        gateway: Gateway,
        workers: frozenset[int],
        target: Target,
        database: dict[int, str],
    ) -> None:
        wanted = {
            venue: versions(database[venue].encode(), "en").get(venue, 0) for venue in target.venues
        }
        pending = set(workers)
        tries = 0
        while pending and tries < _TRIES_PER_WORKER:
            tries += 1
            async with gate:
                answer = await self._client.ask(gateway, target.path, fields=target.fields)
            self._outcome.compared += 1
            if answer.status != 200:
                self._outcome.differences.append(
                    f"{target.path} at rest: {answer.status} {answer.problem}"
                )
                return
            pending.discard(answer.worker)
            seen = versions(answer.body, target.language)
            found = {venue: seen.get(venue, 0) for venue in target.venues}
            if found != wanted:
                status = answer.fields.get("cache-status", "")
                self._outcome.differences.append(
                    f"{target.path} from {gateway.name} worker {answer.worker}: {found}, the "
                    f"database {wanted} ({status})"
                )
                return
        if pending:
            self._outcome.differences.append(
                f"{target.path}: workers {sorted(pending)} of {gateway.name} answered none of "
                f"{tries} connections"
            )
