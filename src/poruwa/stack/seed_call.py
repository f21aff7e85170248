"""Runs a policy's ``stack.seed`` in a process of its own.

    python -m poruwa.stack.seed_call weddinglk.cli:main seed

What is named is called without arguments; it finds the database as the application does, in the
environment, and the words after it in ``sys.argv``, as a command line's ``main`` does. It may be a
coroutine function, and may return an exit code.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys


def main(import_path: str, *arguments: str) -> int:
    """Call what ``import_path``, ``module:attribute``, names; return the exit code."""
    module_name, _, attribute = import_path.partition(":")
    target = importlib.import_module(module_name)
    for name in attribute.split("."):
        target = getattr(target, name)
    sys.argv = [import_path, *arguments]
    result = target()  # type: ignore[operator]
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
