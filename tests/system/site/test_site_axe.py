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


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.skipif(
    not (FOLDER / "node_modules" / "axe-core").exists(),
    reason="axe-core is not installed: npm ci in tests/system/axe",
)
def test_six_pages_in_a_browser(base_url: str) -> None:
    """F, D7: 0 violations on six pages, light and dark, 390 and 1440 px; si and ta at 390."""
    finished = subprocess.run(
        ["node", "run.mjs", base_url, str(CHROMIUM)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    report = json.loads(finished.stdout)
    assert report["runs"] == 6 * (2 * 2 + 2)
    assert report["violations"] == []
    assert report["refusals"] == []
    assert report["foreign"] == []
    assert report["overflow"] == []
