"""What ``import poruwa`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import poruwa


@pytest.mark.parametrize("name", poruwa.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(poruwa, name).__name__ == name
    assert name in dir(poruwa)


def test_balancing_without_httpx() -> None:
    """httpx is an extra: only the transport needs it, and says so."""
    program = """
import sys
sys.modules["httpx"] = None
import poruwa
assert poruwa.LoadBalancer(["a:1"]).get_next_instance() == "a:1"
try:
    poruwa.BalancedTransport
except poruwa.ConfigError as error:
    assert "poruwa[client]" in error.message, error.message
else:
    raise AssertionError("no httpx and no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
