"""The peers' configurations are ones that the real programs accept, and pass bodies whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bench.origin import running_origin
from bench.pinning import Cores
from bench.procfs import tree
from bench.proxies import HAPROXY, NGINX, OURS, Plan, require_alike, running_proxy

_HAVE_ALL = all(
    shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin") for name in ("nginx", "haproxy")
)


@pytest.mark.skipif(not _HAVE_ALL, reason="nginx and haproxy are not installed")
@pytest.mark.slow
@pytest.mark.parametrize("access_log", [False, True])
@pytest.mark.parametrize("name", [OURS, NGINX, HAPROXY])
def test_a_proxy_passes_bodies_and_names_the_client(
    name: str, access_log: bool, tmp_path: Path
) -> None:
    """Show 6: what is compared does the same work, and logs it or not as it was told."""
    core = min(os.sched_getaffinity(0))
    cores = Cores(proxy=core, load=core)
    with running_origin(tmp_path, core=cores.load) as origin:
        plan = Plan(upstreams=origin.upstreams, cores=cores, work=tmp_path, access_log=access_log)
        with running_proxy(name, plan) as proxy:
            require_alike(proxy)
            assert proxy.worker_pid() in tree(proxy.server.pid)
    assert not Path(f"/proc/{proxy.server.pid}").exists()
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert ("/large" in logs) is access_log
