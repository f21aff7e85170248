"""Cases kept as data under ``tests/spec``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SPEC = Path(__file__).parents[1] / "spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCase:
    """Bytes to send, and what must come of them; ``reason`` empty where several are right."""

    name: str
    send: bytes
    status: int = 502
    reason: str = ""
    why: str = ""


def raw_cases(name: str) -> list[RawCase]:
    """Return the cases of ``tests/spec/http1/<name>.json``."""
    rows = json.loads((SPEC / "http1" / f"{name}.json").read_text())
    cases = [RawCase(**row | {"send": row["send"].encode("latin-1")}) for row in rows]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    return cases


def case_id(case: RawCase) -> str:
    return case.name.replace(" ", "-")
