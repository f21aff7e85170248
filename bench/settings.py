"""What the command line says about a run, and the figures that all benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run of the benchmarks.

    Attributes:
        seconds: length of one measured point; wrk takes whole seconds.
        rounds: repetitions of every point, interleaved over the proxies.
        access_log: whether every proxy writes a line per request (none does otherwise).
        work: a folder for configurations, logs and state; removed after the run.
        out: where results go, and where those of the last run may be.
    """

    seconds: int = 3
    rounds: int = 3
    access_log: bool = False
    work: Path
    out: Path = RESULTS


def say(text: str) -> None:
    """Show progress at once, also through a pipe."""
    print(text, flush=True)
