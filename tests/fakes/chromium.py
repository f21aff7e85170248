"""A real browser: the scripts of ``tests/system/axe``, run by node with playwright-core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "system" / "axe"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 300

in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        not (SCRIPTS / "node_modules" / "playwright-core").exists(),
        reason="playwright-core is not installed: npm ci in tests/system/axe",
    ),
]


def needs_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a single test so."""
    for mark in in_a_browser:
        test = mark(test)
    return test


def run_script(name: str, *sites: str, further: tuple[str, ...] = ()) -> Any:
    """Run a script on a site, or several; return what it printed, as JSON.

    Args:
        further: words that come behind the browser's path.
    """
    finished = subprocess.run(
        ["node", name, *sites, str(CHROMIUM), *further],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout)
