"""The modules that write generated pages tell how they are called, and write only what is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WRITERS = ["poruwa.config.reference", "poruwa.gateway.request_path"]


def _run(module: str, *arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", WRITERS)
def test_help_is_told_and_nothing_written(module: str, tmp_path: Path) -> None:
    done = _run(module, "--help", where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m {module}" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", WRITERS)
def test_the_page_is_written_where_the_argument_says(module: str, tmp_path: Path) -> None:
    done = _run(module, "page.md", where=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith(("# ", "<!--"))
