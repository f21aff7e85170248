"""The site in a real browser: axe-core, a strict CSP, nobody else's servers, no sideways scroll."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "axe"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
TIMEOUT_SECONDS = 180


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "axe-core").exists(),
        reason="axe-core is not installed: npm ci in tests/system/axe",
    ),
]


def test_six_pages_are_accessible(base_url: str) -> None:
    """F, D7: 0 violations on six pages, light and dark, 390 and 1440 px; si and ta at 390."""
    report = json.loads(_run("run.mjs", base_url))
    assert report["runs"] == 6 * 2 * 2 + 3 * 2
    assert report["violations"] == []
    assert report["refusals"] == []
    assert report["foreign"] == []
    assert report["overflow"] == []


def test_the_script_helps_and_is_not_needed(base_url: str) -> None:
    """F: filters in place, comparison, calendar, suggestions; and all of it without a script."""
    assert len(json.loads(_run("behave.mjs", base_url))) == 9


def _run(script: str, base_url: str) -> str:
    finished = subprocess.run(
        ["node", script, base_url, str(CHROMIUM)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout
