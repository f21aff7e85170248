"""What happened, and the rule: a read started after a write's acknowledgement sees that write.

All clients are tasks of one process, so a read that starts after an acknowledgement came compares
with it by program order; no clock and no time allowance takes part.

| write's answer                                | its venue                                      |
|-----------------------------------------------|------------------------------------------------|
| 2xx                                           | the floor rises to its version                 |
| an error that says ``"write": "refused"``     | nobody may ever read this version              |
| anything else                                 | the version may come into force later: nobody  |
|                                               | writes there until nothing can be under way    |
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tests.coherence.client import Answer, Gateway
from tests.coherence.marks import NEVER_WRITTEN, versions
from tests.coherence.targets import Target

_SHOWN_FIELDS = (
    "cache-status",
    "age",
    "etag",
    "x-request-id",
    "poruwa-as-of",
    "poruwa-acknowledged",
)


class Fate(Enum):
    """What became of a write, as far as its answer says."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class WriteTime:
    """Seconds of an acknowledged write.

    Attributes:
        whole: from the request to its answer: transaction, caches told, response.
        acknowledged: from the append to the last layer's answer, as the site tells
            (``Poruwa-Acknowledged``); ``whole`` where it does not.
    """

    whole: float
    acknowledged: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A read that saw less than it must."""

    venue: int
    version: int
    floor: int
    path: str
    gateway: str
    worker: int
    started: float
    ended: float
    acknowledged_before: float  # seconds from the acknowledgement to the start of the read
    fields: Mapping[str, str]
    by: str
    faults: str  # under way, or the last one
    explained: str = ""

    def __str__(self) -> str:
        return (
            f"{self.by} read version {self.version} of venue {self.venue}, "
            f"{self.acknowledged_before * 1000:.1f} ms after {self.floor} was acknowledged: "
            f"{self.path} from {self.gateway} worker {self.worker}, "
            f"{self.fields.get('cache-status', 'no Cache-Status')}, "
            f"Age {self.fields.get('age', '-')}; {self.faults}"
            + (f"\n{self.explained}" if self.explained else "")
        )


class History:
    """Reads and writes of one run, in memory as far as the rule needs them, else as JSON lines.

    Args:
        path: the file; None for none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.violations: list[Violation] = []
        self.halves: list[str] = []  # reads of what was refused
        self.reads: Counter[int] = Counter()  # by worker
        self.hits = 0
        self.failures: Counter[str] = Counter()
        self.write_failures: Counter[str] = Counter()
        self.write_times: list[WriteTime] = []  # of acknowledged writes
        self.faults = "no fault yet"
        self.is_counting = True
        self._refused: set[tuple[int, int]] = set()  # venue and version
        self._floors: dict[int, tuple[int, float]] = {}
        self._shown: dict[tuple[str, str], dict[int, int]] = {}  # by path and entity tag
        self._file = path.open("w") if path is not None else None
        self._began = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def floors(self, target: Target) -> dict[int, tuple[int, float]]:
        """Return what a read of ``target`` that starts now must see: version, and since when."""
        never = (NEVER_WRITTEN, 0.0)
        return {venue: self._floors.get(venue, never) for venue in target.venues}

    def floor(self, venue: int) -> int:
        return self._floors.get(venue, (NEVER_WRITTEN, 0.0))[0]

    def note_read(
        self,
        gateway: Gateway,
        target: Target,
        answer: Answer,
        floors: Mapping[int, tuple[int, float]],
        by: str,
    ) -> list[Violation]:
        """Judge one read; ``floors`` are those of when it started.

        A 304 says that what its client has is present: it shows what that page showed.
        """
        seen: dict[int, int] = {}
        is_page = answer.status in (200, 304)
        if is_page:
            seen = self._seen(target, answer)
            if self.is_counting:
                self.reads[answer.worker] += 1
                self.hits += answer.is_hit
        else:
            self.failures[answer.problem.partition(":")[0] or str(answer.status)] += 1
        self._write(
            kind="read", by=by, path=target.path, language=target.language, gateway=gateway.name,
            worker=answer.worker, started=answer.started, ended=answer.ended, status=answer.status,
            problem=answer.problem, seen=seen, floors={v: f[0] for v, f in floors.items()},
            fields=_shown(answer),
        )  # fmt: skip
        if not is_page:
            return []
        self.halves += [
            f"{target.path} shows version {version} of venue {venue}, which was refused"
            for venue, version in seen.items()
            if (venue, version) in self._refused
        ]
        found = [
            Violation(
                venue=venue, version=seen.get(venue, NEVER_WRITTEN), floor=floor, path=target.path,
                gateway=gateway.name, worker=answer.worker, started=answer.started,
                ended=answer.ended, acknowledged_before=answer.started - since,
                fields=_shown(answer), by=by, faults=self.faults,
            )
            for venue, (floor, since) in floors.items()
            if seen.get(venue, NEVER_WRITTEN) < floor
        ]  # fmt: skip
        self.violations += found
        for each in found:
            self._write(**{**asdict(each), "kind": "violation"})
        return found

    def _seen(self, target: Target, answer: Answer) -> dict[int, int]:
        if answer.status == 304:
            return self._shown[target.path, answer.etag]
        seen = versions(answer.body, target.language)
        before = self._shown.setdefault((target.path, answer.etag), seen)
        if before != seen and answer.etag:
            raise ValueError(f"{target.path}: {before} and {seen} have the same ETag {answer.etag}")
        return seen

    def note_write(self, venue: int, version: int, answer: Answer) -> Fate:
        """Take note of a write; return what became of it."""
        fate = _fate(answer)
        if fate is Fate.ACKNOWLEDGED:
            self._floors[venue] = (version, time.monotonic())
            self.write_times.append(_write_time(answer))
        else:
            self.write_failures[answer.problem.partition(":")[0] or str(answer.status)] += 1
        if fate is Fate.REFUSED:
            self._refused.add((venue, version))
        self._write(
            kind="write", venue=venue, version=version, started=answer.started, ended=answer.ended,
            status=answer.status, problem=answer.problem, fields=_shown(answer), fate=fate.value,
            body="" if fate is Fate.ACKNOWLEDGED else answer.body[:500].decode(errors="replace"),
        )  # fmt: skip
        return fate

    def note_fault(self, text: str) -> None:
        self.faults = text
        self._write(kind="fault", text=text, started=time.monotonic())

    def _write(self, **line: Any) -> None:
        if self._file is not None:
            line["at"] = round(time.monotonic() - self._began, 6)
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _shown(answer: Answer) -> dict[str, str]:
    return {name: answer.fields[name] for name in _SHOWN_FIELDS if name in answer.fields}


def _write_time(answer: Answer) -> WriteTime:
    whole = answer.ended - answer.started
    told = answer.fields.get("poruwa-acknowledged")
    return WriteTime(whole, whole if told is None else float(told) / 1000)


def _fate(answer: Answer) -> Fate:
    if 200 <= answer.status < 300:
        return Fate.ACKNOWLEDGED
    try:
        is_refused = json.loads(answer.body).get("write") == "refused"
    except (ValueError, AttributeError):
        is_refused = False
    return Fate.REFUSED if is_refused else Fate.OPEN
