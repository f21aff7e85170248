"""Files of the results: a page and a JSON per benchmark, an index of those that are there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench.report import Report, Table, Target, render_index, render_table, write_report

FACTS = {
    "date": "2026-11-23",
    "cores": 2,
    "processor": "A processor",
    "memory_gib": 24.0,
    "kernel": "Linux 6.1",
    "versions": {"python": "3.11.2"},
}


def _report(name: str, *, met: bool = True) -> Report:
    return Report(
        name=name,
        title=f"About {name}",
        method="How.",
        tables=[Table(title="Figures", header=("what", "ms"), rows=[["one", "1.5"]])],
        targets=[Target(text="fast enough", met=met)],
        samples={"samples": [1, 2]},
        draw=_draw_nothing,
        notes=["Errors: none of them."],
    )


def _draw_nothing(path: Path) -> None:
    path.write_text("<svg/>")


def test_table_columns_line_up() -> None:
    table = Table(title="", header=("proxy", "p99 ms"), rows=[["ours", "1.25"], ["HAProxy", "10"]])
    assert render_table(table).splitlines() == [
        "| proxy   | p99 ms |",
        "| ------- | -----: |",
        "| ours    |   1.25 |",
        "| HAProxy |     10 |",
    ]


def test_a_report_leaves_page_samples_chart_and_index(tmp_path: Path) -> None:
    write_report(_report("micro"), FACTS, "python -m bench micro", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "micro.json", "micro.md", "micro.svg", "README.md",
    }  # fmt: skip
    content = json.loads((tmp_path / "micro.json").read_text())
    assert content["samples"] == [1, 2]
    assert content["machine"] == FACTS
    page = (tmp_path / "micro.md").read_text()
    assert "- met: fast enough" in page
    assert "Errors: none of them." in page
    assert "![About micro](micro.svg)" in page


def test_the_index_keeps_what_was_measured_before(tmp_path: Path) -> None:
    write_report(_report("site", met=False), FACTS, "python -m bench site", tmp_path)
    write_report(_report("micro"), FACTS, "python -m bench micro", tmp_path)
    index = (tmp_path / "README.md").read_text()
    assert index.index("About micro") < index.index("About site")
    assert "- MISSED: fast enough" in index
    assert "`python -m bench site`" in index


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    write_report(_report("micro", met=False), FACTS, "python -m bench micro", tmp_path)
    write_report(replace(_report("micro"), notes=()), FACTS, "python -m bench micro", tmp_path)
    index = (tmp_path / "README.md").read_text()
    assert "MISSED" not in index
    assert index.count("About micro](micro.md)") == 1


def test_an_index_of_nothing_still_says_how_to_make_results() -> None:
    assert "make bench" in render_index([])
