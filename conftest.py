"""Refuses to test old code: compiled modules must be as new as their sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_COMPILE = Path(__file__).parent / "tools" / "compile.py"


def pytest_configure(config: pytest.Config) -> None:
    if subprocess.run([sys.executable, str(_COMPILE), "--stale"], check=False).returncode:
        pytest.exit("compiled modules are older than their sources: run `make compile`", 3)
