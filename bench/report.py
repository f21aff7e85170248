"""Results on disk: a JSON file, a Markdown page and a chart per benchmark, and an index of them.

The index is made from the JSON files that are there, so that running one benchmark again leaves
the pages of the others as they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ORDER = (
    "micro",
    "pass_through",
    "cache_hits",
    "secured_hits",
    "cache_store",
    "cached",
    "l2",
    "sessions",
    "faults",
    "soak",
    "coherence",
    "connections",
    "site",
    "with_without",
)  # of running and of the index


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text; the first column is aligned left, the others right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was promised, and whether it was reached."""

    text: str
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one benchmark found.

    Attributes:
        name: of the benchmark; names the files.
        method: how it was measured, one paragraph.
        notes: what a reader should know about these figures, errors first.
        samples: everything that was measured, as JSON.
        draw: writes the chart to a path ending in .svg or .png.
    """

    name: str
    title: str
    method: str
    tables: Sequence[Table]
    targets: Sequence[Target]
    samples: Mapping[str, Any]
    draw: Callable[[Path], None]
    notes: Sequence[str] = field(default_factory=tuple)


def write_report(report: Report, facts: Mapping[str, Any], command: str, out: Path) -> None:
    """Write the files of ``report`` into ``out`` and bring the index up to date."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": report.name,
        "title": report.title,
        "command": command,
        "machine": facts,
        "targets": [{"text": target.text, "met": target.met} for target in report.targets],
        "notes": list(report.notes),
        **report.samples,
    }
    (out / f"{report.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / f"{report.name}.md").write_text(render_page(report, facts, command))
    report.draw(out / f"{report.name}.svg")
    (out / "README.md").write_text(render_index(_read_results(out)))


def render_page(report: Report, facts: Mapping[str, Any], command: str) -> str:
    """Return the Markdown page of one benchmark."""
    parts = [f"# {report.title}", report.method, f"![{report.title}]({report.name}.svg)"]
    parts += [f"- {target}" for target in report.targets]
    for table in report.tables:
        parts += [f"## {table.title}", render_table(table)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    parts += ["## Where and with what", render_facts(facts)]
    parts += [f"Made by `{command}`; every sample is in [{report.name}.json]({report.name}.json)."]
    return _joined(parts)


def render_index(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the index of the results, given what their JSON files hold."""
    parts = [
        "# Results of the benchmarks",
        "Made by `make bench` (all, about half an hour) or by the command of each. Proxies are "
        "measured in the same run, pinned alike, one worker each; a result belongs to the machine "
        "it names. How they are measured is told on each page and in the modules of `bench/`.",
    ]
    for result in results:
        name = result["benchmark"]
        machine = result["machine"]
        parts += [
            f"## [{result['title']}]({name}.md)",
            f"`{result['command']}` · {machine['date']} · {machine['cores']} cores, "
            f"{machine['processor']}",
            f"![{result['title']}]({name}.svg)",
        ]
        parts += [
            f"- {Target(text=target['text'], met=target['met'])}"
            for target in result["targets"]
        ]  # fmt: skip
    return _joined(parts)


def render_table(table: Table) -> str:
    """Return ``table`` in Markdown, its columns padded so that the source can be read, too."""
    rows = [list(table.header), *(list(row) for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [
        "-" * width if column == 0 else "-" * (width - 1) + ":"
        for column, width in enumerate(max(width, 2) for width in widths)
    ]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def render_facts(facts: Mapping[str, Any]) -> str:
    """Return the machine and the versions in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return (
        f"{facts['date']} · {facts['cores']} cores, {facts['processor']} · "
        f"{facts['memory_gib']} GiB · {facts['kernel']} · {versions}"
    )


def _read_results(out: Path) -> list[dict[str, Any]]:
    paths = [out / f"{name}.json" for name in ORDER]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def _joined(parts: Sequence[str]) -> str:
    """Join with empty lines, but for neighbours that are items of one list."""
    text = ""
    for before, part in zip(["", *parts], parts, strict=False):
        gap = "\n" if before.startswith("- ") and part.startswith("- ") else "\n\n"
        text += (gap if text else "") + part
    return text + "\n"
