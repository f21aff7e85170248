"""Six pages of a running site as PNG, at 390 and 1440 px, light and dark: for looking at them.

    python tools/screenshots.py http://127.0.0.1:8080 build/screenshots --language en --language ta

Needs node, chromium (or CHROMIUM), ``npm ci`` in tests/system/axe, and for Sinhala and Tamil the
fonts of Debian's fonts-noto-core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "tests" / "system" / "axe"


def main() -> int:
    """Take the pictures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_url", help="where the site answers, without a trailing slash")
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    parser.add_argument("--language", action="append", choices=("en", "si", "ta"), default=[])
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if shutil.which("node") is None or chromium is None:
        print(
            "node and chromium are needed; install them, or name one by CHROMIUM", file=sys.stderr
        )
        return 1
    if not (SCRIPTS / "node_modules" / "playwright-core").exists():
        print(f"run npm ci in {SCRIPTS} first", file=sys.stderr)
        return 1
    folder = str(arguments.folder.resolve())
    base_url = arguments.base_url.rstrip("/")
    command = ["node", "shots.mjs", base_url, folder, chromium, *arguments.language]
    return subprocess.run(command, cwd=SCRIPTS).returncode


if __name__ == "__main__":
    raise SystemExit(main())
