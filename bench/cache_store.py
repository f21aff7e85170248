"""A store of 200,000 entries: what the collector and a purge do to hits, and what an entry takes.

A real gateway with one worker on a core of its own is filled over HTTP from a fast origin. The
collector's pauses are noted inside the worker (``bench/pauses``); what visitors notice is seen by a
client that asks for one page after another all the time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import procfs
from bench.cache_origin import ENTRY, MARKED, CacheOrigin, page_path, running_cache_origin
from bench.cache_proxies import POOL, page_policy
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pinning import Cores, choose_cores
from bench.probe import Probe
from bench.processes import Server, environment, find_program, free_port, start_server
from bench.report import Report, Table, Target
from bench.settings import Settings, say
from bench.wrk import Load, run_wrk
from bench.zipf import zipf_walk

ENTRIES = 200_000
MARKED_ENTRIES = 20_000  # that the purged tag is on
MOST_MILLISECONDS = 10.0  # issue 4, Show 6
SECONDS_FACTOR = 3
_CONNECTIONS = 8  # beside the probe: loaded, but not so that waiting in line is what is seen
_WALK_REQUESTS = 100_000
_PROBED_PAGES = 1000
_FILL_SECONDS = 5
_FILL_TRIES = 60
_PURGE_SECONDS = 3.0  # that the probe goes on for after a purge, which may be paid for in slices
_PAUSES = Path(__file__).parent / "pauses"
_TAG = f"size:{MARKED}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One run of the collector in the worker; ``at`` is when it ended, monotonic."""

    generation: int
    milliseconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What was seen during a part of the run. Latencies are the probe's, in milliseconds.

    ``longest_running_ms`` is the longest but for waiting for a core that another program had.
    """

    name: str
    pause_ms: float
    full_collections: int
    longest_ms: float
    longest_running_ms: float
    p999_ms: float
    hits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the entries take. ``payload_bytes`` are keys, heads and bodies of all."""

    entries: int
    payload_bytes: int
    resident_bytes: int

    @property
    def over_bytes(self) -> float:
        """Resident bytes of an entry beyond its key, head and body."""
        return (self.resident_bytes - self.payload_bytes) / self.entries


class Store:
    """A running gateway with a cache, and where its worker notes its pauses."""

    def __init__(self, server: Server, port: int, admin: int, control: Path, notes: Path) -> None:
        self.server = server
        self.port = port
        self.control = control
        self._admin = admin
        self._notes = notes

    @property
    def worker(self) -> int:
        """The process that has the store."""
        return procfs.leaf(self.server.pid)

    def held(self, what: str) -> int:
        """Return how many ``entries`` or ``bytes`` the cache holds."""
        url = f"http://127.0.0.1:{self._admin}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        found = re.search(rf'^poruwa_cache_held\{{[^}}]*what="{what}"[^}}]*\}} (\S+)$', text, re.M)
        return int(float(found[1])) if found else 0

    def pauses(self, since: float) -> list[Pause]:
        """Return the worker's pauses after ``since`` (monotonic)."""
        path = self._notes / f"{self.worker}.pauses"
        found = parse_pauses(path.read_text()) if path.exists() else []
        return [pause for pause in found if pause.at >= since]


def parse_pauses(text: str) -> list[Pause]:
    """Return what a process noted, but for a line it had not ended."""
    lines = (line.split() for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [
        Pause(generation=int(generation), milliseconds=int(took) / 1000, at=float(at))
        for generation, took, at in lines
    ]


def run(settings: Settings) -> Report:
    """Fill a store, serve from it, purge a tenth of it.

    Raises:
        BenchError: a program is missing, or the store does not fill.
    """
    for name in ("wrk", "nginx"):
        find_program(name)
    cores = choose_cores()
    seconds = settings.seconds * SECONDS_FACTOR
    with (
        running_cache_origin(settings.work, core=cores.load) as origin,
        _running_store(origin, cores, settings.work) as store,
    ):
        run_ = _Run(store, cores, settings.work)
        phases = [run_.serve("almost empty", [page_path(ENTRY, 0)], seconds)]
        before = procfs.resident_bytes(store.worker)
        phases.append(run_.fill())
        memory = _memory(store, before)
        pages = [page_path(ENTRY, number) for number in range(ENTRIES - MARKED_ENTRIES)]
        phases.append(run_.serve(f"{ENTRIES:,} entries, hits", pages, seconds))
        phases.append(run_.fill_beside(seconds))
        purge = run_.purge()
    return _report([*phases, *purge], memory, seconds)


@contextmanager
def _running_store(origin: CacheOrigin, cores: Cores, work: Path) -> Iterator[Store]:
    policy = work / "store.toml"
    policy.write_text(page_policy([origin.upstream]))
    notes = work / "notes"
    notes.mkdir()
    port, admin, control = free_port(), free_port(), work / "control.sock"
    argv = [
        sys.executable, "-m", "poruwa.cli.main", "gateway", "--policy", str(policy),
        "--listen", f"127.0.0.1:{port}", "--upstream", f"{POOL}={origin.upstream}",
        "--admin", f"127.0.0.1:{admin}", "--control", str(control),
        "--workers", "1", "--access-log", "none",
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, (str(_PAUSES), os.environ.get("PYTHONPATH"))))
    env = environment({"PYTHONPATH": path, "BENCH_PAUSES": str(notes)})
    with start_server("store", argv, core=cores.proxy, work=work, env=env) as server:
        server.wait_until_ready(port, page_path(ENTRY, 0))
        yield Store(server, port, admin, control, notes)


class _Run:
    """The parts of the run, each with the probe beside it."""

    def __init__(self, store: Store, cores: Cores, work: Path) -> None:
        self._store = store
        self._cores = cores
        self._work = work

    def serve(self, name: str, pages: Sequence[str], seconds: int) -> Phase:
        """Serve hits to `_CONNECTIONS` clients that walk over ``pages``."""
        walk = self._write("walk.txt", zipf_walk(pages, _WALK_REQUESTS))
        began = time.monotonic()
        with self._probe(pages[:: max(1, len(pages) // _PROBED_PAGES)]) as probe:
            self._load(walk, seconds)
        return self._phase(name, began, probe)

    def fill(self) -> Phase:
        """Ask for every page until all are held.

        Raises:
            BenchError: they never are.
        """
        paths = [page_path(MARKED, number) for number in range(MARKED_ENTRIES)]
        paths += [page_path(ENTRY, number) for number in range(ENTRIES - MARKED_ENTRIES)]
        every = self._write("every.txt", paths)
        began = time.monotonic()
        asked = 0
        with self._probe([page_path(ENTRY, 0)]) as probe:
            for _ in range(_FILL_TRIES):
                asked += self._load(every, _FILL_SECONDS, start=asked % len(paths))
                if self._store.held("entries") >= ENTRIES:
                    break
            else:
                raise BenchError(f"The store holds {self._store.held('entries')} entries.")
        say(f"  filled after {time.monotonic() - began:.1f} s")
        return self._phase(f"being filled with {ENTRIES:,}", began, probe)

    def fill_beside(self, seconds: int) -> Phase:
        """Serve hits while others ask for what is not there yet."""
        new = [page_path(ENTRY, ENTRIES + number) for number in range(ENTRIES)]
        pages = [page_path(ENTRY, number) for number in range(_PROBED_PAGES)]
        walk = self._write("new.txt", new)
        began = time.monotonic()
        with self._probe(pages) as probe:
            self._load(walk, seconds)
        return self._phase(f"{ENTRIES:,} entries, hits and misses", began, probe)

    def purge(self) -> list[Phase]:
        """Purge the tag on `MARKED_ENTRIES`; nothing where there is no such command."""
        argv = [sys.executable, "-m", "poruwa.cli.main", "purge"]
        known = subprocess.run([*argv, "--help"], capture_output=True, check=False)
        if known.returncode:
            say("  there is no command to purge")
            return []
        before = self._store.held("entries")
        pages = [page_path(ENTRY, number) for number in range(_PROBED_PAGES)]
        began = time.monotonic()
        with self._probe(pages) as probe, ThreadPoolExecutor(1) as thread:
            command = [*argv, "--tag", _TAG, "--admin", f"unix:{self._store.control}"]
            done: Future[subprocess.CompletedProcess[str]] = thread.submit(
                subprocess.run, command, capture_output=True, text=True, check=False
            )
            ended = done.result()
            time.sleep(_PURGE_SECONDS)
        if ended.returncode:
            raise BenchError(f"The purge failed: {ended.stderr or ended.stdout}")
        gone = before - self._store.held("entries")
        if gone < MARKED_ENTRIES:
            raise BenchError(f"The purge of {MARKED_ENTRIES:,} entries left {gone:,} less.")
        return [self._phase(f"purge of a tag on {MARKED_ENTRIES:,}", began, probe)]

    def _probe(self, pages: Sequence[str]) -> Probe:
        return Probe(self._store.port, pages, core=self._cores.load, worker=self._store.worker)

    def _load(self, paths: Path, seconds: int, *, start: int = 0) -> int:
        """Put the load of `_CONNECTIONS` on; return the requests that were answered."""
        url = f"http://127.0.0.1:{self._store.port}/"
        load = Load(connections=_CONNECTIONS, seconds=seconds, paths=paths, start=start)
        sample = run_wrk(url, load, core=self._cores.load)
        if sample.error_count:
            raise BenchError(f"Errors while the store was asked: {dict(sample.errors)}.")
        return sample.requests

    def _phase(self, name: str, began: float, probe: Probe) -> Phase:
        pauses = self._store.pauses(began)
        phase = Phase(
            name=name,
            pause_ms=max((pause.milliseconds for pause in pauses), default=0.0),
            full_collections=sum(pause.generation == 2 for pause in pauses),
            longest_ms=probe.longest_ms(),
            longest_running_ms=probe.longest_running_ms(),
            p999_ms=probe.quantile_ms(0.999),
            hits=len(probe.latencies),
        )
        say(
            f"  {name:<34} collector {phase.pause_ms:6.1f} ms  longest hit "
            f"{phase.longest_ms:6.1f} ms ({phase.longest_running_ms:.1f} running) of {phase.hits:,}"
        )
        return phase

    def _write(self, name: str, paths: Sequence[str]) -> Path:
        path = self._work / name
        path.write_text("".join(f"{line}\n" for line in paths))
        return path


def _memory(store: Store, before: int) -> Memory:
    from poruwa.gateway.stored import RESPONSE_BYTES

    entries = store.held("entries")
    return Memory(
        entries=entries,
        payload_bytes=store.held("bytes") - entries * RESPONSE_BYTES,
        resident_bytes=procfs.resident_bytes(store.worker) - before,
    )


def _report(phases: Sequence[Phase], memory: Memory, seconds: int) -> Report:
    from poruwa.gateway.stored import RESPONSE_BYTES

    has_purge = phases[-1].name.startswith("purge")
    return Report(
        name="cache_store",
        title=f"A store of {ENTRIES:,} entries",
        method=(
            f"A gateway with one worker on a core of its own keeps {ENTRIES:,} pages of 1 KB with "
            f"three tags each, fetched over HTTP; {_CONNECTIONS} connections ask for them by "
            f"Zipf's law for {seconds} s, a client beside them for one page after another. Its "
            f"longest latency is what the worker's longest pause looks like from outside; with a "
            f"store of one page it is what machine and load alone make of it, and what client and "
            f"worker waited for a core that another program had is taken off beside it. The "
            f"collector's pauses, from half a millisecond on, are noted inside the worker, in "
            f"processor time."
        ),
        tables=[_phases_table(phases), _memory_table(memory)],
        targets=list(_targets(phases)),
        samples={"phases": [asdict(phase) for phase in phases], "memory": asdict(memory)},
        draw=lambda path: _draw(phases, path),
        notes=[
            f"The store charges {RESPONSE_BYTES} bytes an entry beyond key, head and body; what "
            f"it really took here is {memory.over_bytes:,.0f}, the allocator's and the collector's "
            f"share with it.",
            *([] if has_purge else ["The purge was not measured: there is no command for it."]),
        ],
    )


def _phases_table(phases: Sequence[Phase]) -> Table:
    return Table(
        title="Pauses",
        header=(
            "store", "collector's longest ms", "full collections", "longest hit ms",
            "less waiting for a core", "p99.9 ms",
            "hits seen",
        ),
        rows=[
            [
                phase.name,
                f"{phase.pause_ms:.1f}",
                f"{phase.full_collections}",
                f"{phase.longest_ms:.1f}",
                f"{phase.longest_running_ms:.1f}",
                f"{phase.p999_ms:.2f}",
                f"{phase.hits:,}",
            ]
            for phase in phases
        ],
    )  # fmt: skip


def _memory_table(memory: Memory) -> Table:
    mib = 1 << 20
    return Table(
        title="Memory",
        header=("entries", "resident MiB", "keys, heads, bodies MiB", "bytes an entry over them"),
        rows=[
            [
                f"{memory.entries:,}",
                f"{memory.resident_bytes / mib:.1f}",
                f"{memory.payload_bytes / mib:.1f}",
                f"{memory.over_bytes:,.0f}",
            ]
        ],
    )


def _targets(phases: Sequence[Phase]) -> Iterator[Target]:
    longest = max(phases, key=lambda phase: phase.pause_ms)
    yield Target(
        text=(
            f"no pause over {MOST_MILLISECONDS:.0f} ms from the collector; "
            f"{longest.pause_ms:.1f} ms ({longest.name})"
        ),
        met=longest.pause_ms <= MOST_MILLISECONDS,
    )
    purge = phases[-1]
    if purge.name.startswith("purge"):
        yield Target(
            text=(
                f"a {purge.name} entries blocks no hit for {MOST_MILLISECONDS:.0f} ms; "
                f"longest {purge.longest_running_ms:.1f} ms, {purge.longest_ms:.1f} with what it "
                f"waited for a core"
            ),
            met=purge.longest_running_ms < MOST_MILLISECONDS,
        )


def _draw(phases: Sequence[Phase], path: Path) -> None:
    figure = new_figure(1, 1, title=f"{ENTRIES:,} entries: longest pauses", width=9, height=3.6)
    series: dict[str, Any] = {
        "collector": [(phase.pause_ms,) * 3 for phase in phases],
        "hit": [(phase.longest_ms,) * 3 for phase in phases],
        "hit, less waiting for a core": [(phase.longest_running_ms,) * 3 for phase in phases],
    }
    groups = [phase.name.replace(", ", ",\n") for phase in phases]
    draw_bars(figure.axes[0], groups, series, title="", unit="ms (lower is better)", form="{:.1f}")
    save_figure(figure, path)
