"""Three slow instances and one proxy before them, made anew for each scenario."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.origin import nginx_user
from bench.processes import Server, fetch, find_program, free_port, start_server
from bench.proxies import HAPROXY, NGINX, OURS

OURS_WITHOUT_RETRIES = "Poruwa, no retries"
INSTANCES = 3
_HERE = Path(__file__).parent


class Instance:
    """One instance on a port it keeps over restarts."""

    def __init__(self, number: int, work: Path) -> None:
        self.name = f"i{number}"
        self.port = free_port()
        self._work = work
        self.log = work / f"{self.name}.requests"
        self.server = self._start()

    def _start(self) -> Server:
        script = str(_HERE / "slow_instance.py")
        argv = [sys.executable, script, self.name, str(self.port), str(self.log)]
        server = start_server(self.name, argv, core=None, work=self._work)
        server.wait_until_ready(self.port, "/control")
        return server

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.server.pid, number)

    def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        self.server.stop()

    def restart(self) -> None:
        """Start it again after ``kill``."""
        self.server = self._start()

    def control(self, query: str) -> None:
        """Tell it how to be from now on."""
        fetch(self.port, f"/control?{query}")

    def arrivals(self, method: str) -> list[int]:
        """Return the ids of the requests that it began to work at, also before a restart.

        An id is there as often as the request came; probes have none.
        """
        return [number for word, number in self._noted() if word == method and number]

    def unfinished(self) -> set[int]:
        """Return the ids of the requests that it began to work at and never answered."""
        begun: set[int] = set()
        for word, number in self._noted():
            (begun.discard if word == "END" else begun.add)(number)
        return begun - {0}

    def _noted(self) -> list[tuple[str, int]]:
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(word, int(number)) for word, number in lines]


class FaultStack:
    """A proxy, its instances, and the port for clients; ``admin`` is our gateway's, else 0."""

    def __init__(
        self, name: str, instances: list[Instance], port: int, proxy: Server, admin: int
    ) -> None:
        self.name = name
        self.instances = instances
        self.port = port
        self.proxy = proxy
        self.admin = admin

    def seen(self, method: str) -> Counter[int]:
        """Return how often each request of ``method`` came to instances."""
        return Counter(number for each in self.instances for number in each.arrivals(method))

    def posts_seen_twice(self) -> int:
        """Return how many POSTs came to instances more than once."""
        return sum(times > 1 for times in self.seen("POST").values())

    def status(self) -> dict[str, Any]:
        """Return what our gateway says of itself."""
        found: dict[str, Any] = json.loads(self._ask_admin("/status"))
        return found

    def counter(self, name: str, *, without: str = "") -> float:
        """Return the sum of our gateway's counter ``name`` over its labels."""
        lines = self._ask_admin("/metrics").splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(name) and not (without and without in line)
        )

    def _ask_admin(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return str(answer.read().decode())


@contextmanager
def running_stack(name: str, work: Path, *, workers: int | None = None) -> Iterator[FaultStack]:
    """Run instances and the proxy called ``name`` for the length of the block."""
    with ExitStack() as stack:
        instances = [Instance(number, work) for number in range(1, INSTANCES + 1)]
        stack.callback(lambda: [each.server.stop() for each in instances])
        port, admin = free_port(), free_port()
        argv = _COMMANDS[name](instances, work, port, admin)
        if workers is not None:
            argv += ["--workers", str(workers)]
        proxy = stack.enter_context(start_server("proxy", argv, core=None, work=work))
        is_ours = name in (OURS, OURS_WITHOUT_RETRIES)
        if is_ours:
            proxy.wait_until_ready(admin, "/readyz")
        proxy.wait_until_ready(port, "/work")
        yield FaultStack(name, instances, port, proxy, admin if is_ours else 0)
        proxy.require_alive()


def _ours(instances: list[Instance], work: Path, port: int, admin: int) -> list[str]:
    argv = [sys.executable, "-m", "poruwa.cli.main", "gateway", "--access-log", "none"]
    argv += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    for each in instances:
        argv += ["--upstream", f"127.0.0.1:{each.port}"]
    return argv


def _ours_without_retries(
    instances: list[Instance], work: Path, port: int, admin: int
) -> list[str]:
    upstreams = ", ".join(f'"127.0.0.1:{each.port}"' for each in instances)
    path = work / "site.toml"
    # The policy of a gateway without a file, but for its retries.
    path.write_text(f"""\
[listeners.http]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[retry]
attempts = 0
[pools.default]
instances = [{upstreams}]
health = {{ kind = "tcp", interval = "5s", timeout = "2s" }}
[[routes]]
path = "/*"
pool = "default"
""")
    argv = [sys.executable, "-m", "poruwa.cli.main", "gateway", "--access-log", "none"]
    return [*argv, "--policy", str(path)]


def _nginx(instances: list[Instance], work: Path, port: int, admin: int) -> list[str]:
    servers = "\n".join(f"        server 127.0.0.1:{each.port};" for each in instances)
    path = work / "nginx.conf"
    path.write_text(f"""\
daemon off;
pid {work}/nginx.pid;
worker_processes 2;
{nginx_user()}events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    keepalive_requests 1000000;
    upstream instances {{
        zone instances 64k;
        least_conn;
{servers}
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://instances;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 2s;
            proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
        }}
    }}
}}
""")
    return [find_program("nginx"), "-p", str(work), "-c", str(path), "-e", "stderr"]


def _haproxy(instances: list[Instance], work: Path, port: int, admin: int) -> list[str]:
    servers = "\n".join(
        f"    server {each.name} 127.0.0.1:{each.port} check inter 5s fastinter 1s "
        "observe layer7 error-limit 5 on-error mark-down"
        for each in instances
    )
    path = work / "haproxy.cfg"
    path.write_text(f"""\
global
    nbthread 2
    maxconn 4096
    no strict-limits
defaults
    mode http
    no log
    http-reuse safe
    retries 2
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 500 502 503 504
    timeout connect 2s
    timeout client 75s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
    default_backend instances
backend instances
    balance leastconn
    http-request disable-l7-retry if METH_POST
{servers}
""")
    return [find_program("haproxy"), "-f", str(path), "-db"]


_COMMANDS = {
    OURS: _ours,
    OURS_WITHOUT_RETRIES: _ours_without_retries,
    NGINX: _nginx,
    HAPROXY: _haproxy,
}
