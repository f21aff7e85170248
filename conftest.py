"""Refuses to test old code (compiled modules must be as new as their sources); same signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_COMPILE = Path(__file__).parent / "tools" / "compile.py"


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what tests start would ignore it
    if subprocess.run([sys.executable, str(_COMPILE), "--stale"], check=False).returncode:
        pytest.exit("compiled modules are older than their sources: run `make compile`", 3)
