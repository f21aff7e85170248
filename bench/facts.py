"""What machine and which programs a result belongs to; no names or paths of the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.processes import find_program

_PACKAGES = ("poruwa", "uvloop", "httptools", "uvicorn", "fastapi", "secantusdb")
_VERSION = re.compile(r"(\d+\.\d+(?:\.\d+)*)")


def machine_facts() -> dict[str, Any]:
    """Return cores, processor, memory, kernel, versions and today's date."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in _PACKAGES if (found := _package_version(name))},
            **{name: found for name in _PROGRAMS if (found := _program_version(name))},
        },
    }


_PROGRAMS = {"nginx": "-v", "varnishd": "-V", "haproxy": "-v", "wrk": "-v"}


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _program_version(name: str) -> str:
    try:
        program = find_program(name)
    except BenchError:
        return ""
    said = subprocess.run([program, _PROGRAMS[name]], capture_output=True, text=True, check=False)
    found = _VERSION.search(said.stdout + said.stderr)
    return found[1] if found else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
