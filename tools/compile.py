"""Compile the gateway's hot modules with mypyc: the same source, more than twice as fast.

    python tools/compile.py            write the extensions beside the sources
    python tools/compile.py --clean    remove them
    python tools/compile.py --stale    exit 1 if a source is newer than its extension

Optional: without a C compiler everything runs interpreted. Why and what it gains:
``docs/decisions/0003-compiled-gateway.md``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
# What runs for every request. Modules that only start, configure or report stay interpreted, and
# so does observe.metrics, whose msgspec structs do not survive compilation.
MODULES = (
    "poruwa/net/head.py",
    "poruwa/net/http1.py",
    "poruwa/rules/message.py",
    "poruwa/rules/balancing.py",
    "poruwa/rules/routing.py",
    "poruwa/rules/trace.py",
    "poruwa/rules/retry.py",
    "poruwa/rules/latency.py",
    "poruwa/rules/own_paths.py",
    "poruwa/rules/cache_class.py",
    "poruwa/rules/cache_control.py",
    "poruwa/rules/changes.py",
    "poruwa/rules/conditional.py",
    "poruwa/rules/cookie.py",
    "poruwa/rules/freshness.py",
    "poruwa/rules/invalidation.py",
    "poruwa/rules/stored_response.py",
    "poruwa/rules/vary.py",
    "poruwa/stores/entry.py",
    "poruwa/stores/ghosts.py",
    "poruwa/stores/s3fifo.py",
    "poruwa/stores/tag_index.py",
    "poruwa/rules/fair_queue.py",
    "poruwa/gateway/fill_table.py",
    "poruwa/gateway/shared_state.py",
    "poruwa/gateway/selection.py",
    "poruwa/observe/access_line.py",
    "poruwa/observe/access_log.py",
    "poruwa/observe/response_counts.py",
    "poruwa/gateway/balancer.py",
    "poruwa/gateway/attempt.py",
    "poruwa/gateway/late_tries.py",
    "poruwa/gateway/timing.py",
    "poruwa/gateway/bounds.py",
    "poruwa/gateway/cache.py",
    "poruwa/gateway/cache_rules.py",
    "poruwa/gateway/connections.py",
    "poruwa/gateway/encodings.py",
    "poruwa/gateway/exchange.py",
    "poruwa/gateway/outbox.py",
    "poruwa/gateway/own_answers.py",
    "poruwa/gateway/own_request.py",
    "poruwa/gateway/parts.py",
    "poruwa/gateway/past_fetches.py",
    "poruwa/gateway/fill.py",
    "poruwa/gateway/gateway.py",
    "poruwa/gateway/guard.py",
    "poruwa/gateway/heads.py",
    "poruwa/gateway/listener.py",
    "poruwa/gateway/pipeline.py",
    "poruwa/gateway/rate_limit.py",
    "poruwa/gateway/rate_table.py",
    "poruwa/gateway/routes.py",
    "poruwa/gateway/security.py",
    "poruwa/gateway/set_cookies.py",
    "poruwa/gateway/stored.py",
    "poruwa/gateway/upstream.py",
    "poruwa/gateway/views.py",
)
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
GROUP = SOURCE / f"poruwa_compiled__mypyc{SUFFIX}"


def extensions() -> list[Path]:
    """Return where the extensions are, or would be: one a module, one with the code of all."""
    return [(SOURCE / module).with_suffix("").with_suffix(SUFFIX) for module in MODULES] + [GROUP]


def is_stale() -> bool:
    """Tell whether a source changed after it was compiled (false where nothing is compiled)."""
    if not GROUP.exists():
        return False
    compiled_at = GROUP.stat().st_mtime
    return any((SOURCE / module).stat().st_mtime > compiled_at for module in MODULES)


def remove() -> None:
    """Remove the extensions; the sources run again."""
    for path in extensions():
        path.unlink(missing_ok=True)


def build() -> None:
    """Compile in a temporary folder and put the extensions beside their sources."""
    remove()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "setup.py"
        script.write_text(
            "from mypyc.build import mypycify\n"
            "from setuptools import setup\n"
            f"modules = {list(MODULES)!r}\n"
            "setup(name='poruwa-compiled', packages=[], ext_modules=mypycify(\n"
            "    modules, group_name='poruwa_compiled', opt_level='2', debug_level='0'))\n"
        )
        command = [sys.executable, str(script), "-q", "build_ext"]
        command += ["--build-lib", str(SOURCE), "--build-temp", folder]
        environment = os.environ | {"MYPYPATH": str(SOURCE)}
        done = subprocess.run(
            command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=False
        )
        for leftover in (SOURCE / "build", SOURCE / ".mypy_cache"):
            subprocess.run(["rm", "-rf", str(leftover)], check=True)
    if done.returncode:
        remove()
        sys.exit(f"compiling failed, the gateway runs interpreted:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    if "--clean" in sys.argv:
        remove()
    elif "--stale" in sys.argv:
        sys.exit(is_stale())
    else:
        build()
