"""Refuses to test old code (compiled modules must be as new as their sources); same signals.

Generated examples differ from run to run, so that runs together see more; in CI (``.ci/run``) they
are always the same, so that what fails there is what has changed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ("security_checks",)  # in tests/: says which of them a run has shown

_COMPILE = Path(__file__).parent / "tools" / "compile.py"

settings.register_profile("default", deadline=None)  # machines are noisy: no timed assertions
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, what tests start would ignore it
    if subprocess.run([sys.executable, str(_COMPILE), "--stale"], check=False).returncode:
        pytest.exit("compiled modules are older than their sources: run `make compile`", 3)
