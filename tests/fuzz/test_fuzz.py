"""The fuzz targets: their seeds, what they once found, and a short run of all (Show 3)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import SEEDS, TARGETS

FUZZ_SECONDS = 20

# Inputs that once broke an invariant; each names its cause.
FOUND = {
    # A LF inside the ignored part of an UNKNOWN line: taken whole, refused in pieces.
    "proxy header with a bare LF": ("proxy-header", b"PROXY UNKNOWN \x0e\nf+\r\n"),
    # A Unix path that does not begin with a slash passed for an address.
    "proxy header with a relative path": (
        "proxy-header",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8"
        + b"a/".ljust(108, b"\0")
        + b"\xfe".ljust(108, b"\0"),
    ),
    # Framing fields in trailers: h11 reads them, we dropped them unread.
    "length in a trailer": ("chunked", b"\x040\r\nContent-Length: X\r\n\r\n"),
    # Claims whose text is no UTF-8 raised another error than other malformed ones.
    "claims with a text of other bytes": ("token", b"\x99\xc4\x10" + b"i" * 16 + b"\xa2\x99\xc4"),
    # 'none' beside other values allows nothing, but counted as something.
    "a policy with 'none' among others": ("csp", b"trusted-types a 'none'\x1e"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_hold(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_stays_fixed(what: str) -> None:
    name, data = FOUND[what]
    TARGETS[name](data)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not made for this Python"
)
def test_short_run(tmp_path: Path) -> None:
    """All targets within twenty seconds together; `make fuzz` takes ten minutes."""
    run = subprocess.run(
        (sys.executable, "-m", "tests.fuzz", "--seconds", str(FUZZ_SECONDS),
         "--findings", str(tmp_path)),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=FUZZ_SECONDS * 10,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(run.stdout.splitlines()) == len(TARGETS)
    assert list(tmp_path.iterdir()) == []
