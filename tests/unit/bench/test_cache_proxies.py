"""The caches' configurations are ones that the real programs accept, and each does its work."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from bench.cache_origin import SMALL, page_path, running_cache_origin
from bench.cache_proxies import CACHES, _running_cache, empty_logs, require_pages
from bench.errors import BenchError
from bench.pinning import Cores
from bench.processes import fetch
from bench.proxies import Plan, Proxy

_HAVE_ALL = all(
    shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    for name in ("nginx", "haproxy", "varnishd", "varnishncsa")
)
DEADLINE_SECONDS = 10.0
_CORE = min(os.sched_getaffinity(0))

pytestmark = [
    pytest.mark.skipif(not _HAVE_ALL, reason="nginx, haproxy and varnish are not installed"),
    pytest.mark.slow,
]


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_answers_from_its_store_and_logs(name: str, tmp_path: Path) -> None:
    """Show 2: what is compared are hits, of browsers with a cookie, and all are logged."""
    with running_cache_origin(tmp_path, core=_CORE) as origin:
        plan = Plan(
            upstreams=(origin.upstream,),
            cores=Cores(proxy=_CORE, load=_CORE),
            work=tmp_path,
            access_log=True,
            ready_path=page_path(SMALL, 0),
        )
        with _running_cache(name, plan) as cache:
            require_pages(cache, origin)
            (log,) = _logs_with(tmp_path, "/large/0")
    empty_logs(tmp_path)
    assert log.read_text() == ""


def _logs_with(folder: Path, text: str) -> list[Path]:
    """Return the logs that hold ``text``, once one does: writers gather lines for a while."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := [path for path in folder.glob("*.log") if text in path.read_text()]):
        assert time.monotonic() < deadline, f"no log has {text}"
        time.sleep(0.05)
    return found


def test_one_that_asks_each_time_is_found_out(tmp_path: Path) -> None:
    with running_cache_origin(tmp_path, core=_CORE) as origin:
        before = origin.requests()
        fetch(origin.port, page_path(SMALL, 1))
        assert origin.requests() == before + 1
        with pytest.raises(BenchError, match="although it had it"):
            require_pages(Proxy(name="none", port=origin.port, server=origin.server), origin)
