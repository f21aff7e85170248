"""``poruwa reports``: groups with counts, for people and programs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poruwa.cli.main import app
from poruwa.errors import PoruwaError
from poruwa.observe.report_store import FOLDER, ReportStore
from poruwa.rules.violation_report import ViolationReport


def run(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["reports", "--state", str(folder), *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def state(tmp_path: Path) -> Path:
    store = ReportStore(tmp_path / FOLDER)
    now = time.time()
    for page, blocked, at in (
        ("https://a.test/1", "https://evil.test/x.js", now - 7200),
        ("https://a.test/1", "https://evil.test/x.js", now - 60),
        ("https://a.test/2", "https://evil.test/x.js", now - 30),
        ("https://a.test/2", "inline", now - 10),
    ):
        report = ViolationReport(
            kind="csp-violation",
            directive="script-src-elem",
            page=page,
            blocked=blocked,
            disposition="enforce",
        )
        store.add(report, now=at, at=at)
    store.close()
    return tmp_path


def test_groups_come_with_counts_the_most_frequent_first(state: Path) -> None:
    said = run(state)
    assert said.index("evil.test") < said.index("inline")
    assert "      3  " in said
    assert "csp-violation script-src-elem: https://evil.test/x.js (blocked)" in said
    assert "on https://a.test/2 and 1 more" in said


def test_json_has_the_newest_page_first(state: Path) -> None:
    first, second = json.loads(run(state, "--json"))
    assert (first["count"], first["page_count"]) == (3, 2)
    assert first["pages"] == ["https://a.test/2", "https://a.test/1"]
    assert (second["count"], second["blocked"]) == (1, "inline")
    assert first["oldest"] < first["newest"] <= second["newest"]


def test_since_leaves_out_what_is_older(state: Path) -> None:
    assert json.loads(run(state, "--since", "1h", "--json"))[0]["count"] == 2
    assert run(state, "--since", "1ms") == "No browser reported anything in the last 1ms.\n"


def test_mistakes_are_said_clearly(state: Path) -> None:
    with pytest.raises(PoruwaError, match="--since: 'soon' is not a duration such as"):
        run(state, "--since", "soon")
    with pytest.raises(PoruwaError, match="There is no state folder"):
        run(state / "nowhere")


def test_nothing_reported(tmp_path: Path) -> None:
    assert run(tmp_path) == "No browser reported anything.\n"
    assert json.loads(run(tmp_path, "--json")) == []
