"""The proxies under test, configured alike: ours, Debian's nginx and Debian's HAProxy.

Alike means: one worker (one thread) on one core, HTTP/1.1 kept alive on both sides, least
connections, the client's address added as X-Forwarded-For, Host passed on, access logs off (or on)
for all, no compression, header time 10 s and keep-alive 75 s as ours has them, a check of each
instance every 30 s where the program has checks. Ours runs with its defaults otherwise: metrics,
request and trace ids and learned health are on.

Peers are given what their manuals advise for throughput, never less: kept upstream connections for
every client, no bound on requests per connection, buffers that take 100 KB without a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import procfs
from bench.errors import BenchError
from bench.origin import (
    FORWARDED_PATH,
    LARGE_BYTES,
    LARGE_PATH,
    SMALL_BYTES,
    SMALL_PATH,
    nginx_user,
)
from bench.pinning import Cores
from bench.processes import Server, fetch, find_program, free_port, start_server

OURS = "Poruwa"
NGINX = "nginx"
HAPROXY = "HAProxy"
NAMES = (OURS, NGINX, HAPROXY)

# Client connections a proxy must take: 10,000 idle ones, and what else is measured meanwhile.
_CONNECTIONS = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A running proxy; ``beside`` is what does a part of its work, e.g. writes its log."""

    name: str
    port: int
    server: Server
    beside: Sequence[Server] = ()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def cpu_seconds(self) -> float:
        """Processor time so far, of all its processes."""
        return sum(procfs.cpu_seconds(each.pid) for each in (self.server, *self.beside))

    def worker_pid(self) -> int:
        """The process that serves clients."""
        return procfs.leaf(self.server.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to put in front of ``upstreams``: ``host:port`` or ``unix:/path``.

    Attributes:
        policy: policy file for ours, with the pool of it that has the upstreams; None for defaults.
        env: of our gateway; None for the harness's own.
    """

    upstreams: Sequence[str]
    cores: Cores
    work: Path
    access_log: bool = False
    policy: tuple[Path, str] | None = None
    env: Mapping[str, str] | None = None
    ready_path: str = SMALL_PATH


@contextmanager
def running_proxy(name: str, plan: Plan) -> Iterator[Proxy]:
    """Run the proxy called ``name`` for the length of the block.

    Raises:
        BenchError: it is not installed, or does not start.
    """
    port = free_port()
    argv = _COMMANDS[name](plan, port)
    env = plan.env if name == OURS else None
    with start_server(name.lower(), argv, core=plan.cores.proxy, work=plan.work, env=env) as server:
        server.wait_until_ready(port, plan.ready_path)
        yield Proxy(name=name, port=port, server=server)


@contextmanager
def running_proxies(plan: Plan) -> Iterator[list[Proxy]]:
    """Run all proxies for the length of the block.

    An idle one costs the core next to nothing; starting each anew for every point would measure
    its first moments.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(running_proxy(name, plan)) for name in NAMES]


def require_programs() -> None:
    """Raise a `BenchError` when one of the programs is not installed."""
    for name in ("wrk", "nginx", "haproxy"):
        find_program(name)


def require_alike(proxy: Proxy) -> None:
    """Raise a `BenchError` unless the proxy passes bodies whole and names the client."""
    expected = {SMALL_PATH: SMALL_BYTES, LARGE_PATH: LARGE_BYTES}
    for path, size in expected.items():
        status, body = fetch(proxy.port, path)
        if status != 200 or body != b"x" * size:
            raise BenchError(f"{proxy.name} answered {path} with {status} and {len(body)} bytes.")
    status, body = fetch(proxy.port, FORWARDED_PATH)
    if status != 200 or body != b"127.0.0.1":
        raise BenchError(f"{proxy.name} sent X-Forwarded-For {body!r}, not 127.0.0.1.")


def gateway_command(plan: Plan, port: int) -> list[str]:
    """Return what starts ours."""
    argv = [sys.executable, "-m", "poruwa.cli.main", "gateway"]
    pool = ""
    if plan.policy is not None:
        path, name = plan.policy
        argv += ["--policy", str(path)]
        pool = f"{name}="
    argv += ["--listen", f"127.0.0.1:{port}"]
    for upstream in plan.upstreams:
        argv += ["--upstream", pool + upstream]
    log = str(plan.work / "poruwa-access.log") if plan.access_log else "none"
    return [*argv, "--workers", "1", "--admin", "none", "--access-log", log]


def _nginx_command(plan: Plan, port: int) -> list[str]:
    log = f"{plan.work}/nginx-access.log combined buffer=64k flush=1s"
    servers = "\n".join(f"        server {upstream};" for upstream in plan.upstreams)
    path = plan.work / "nginx.conf"
    path.write_text(f"""\
{nginx_user()}daemon off;
pid {plan.work}/nginx.pid;
worker_processes 1;
events {{ worker_connections {_CONNECTIONS + 4000}; multi_accept on; }}
http {{
    access_log {log if plan.access_log else "off"};
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_header_timeout 10s;
    client_body_temp_path {plan.work}/nginx-body;
    proxy_temp_path {plan.work}/nginx-proxy;
    fastcgi_temp_path {plan.work}/nginx-fastcgi;
    uwsgi_temp_path {plan.work}/nginx-uwsgi;
    scgi_temp_path {plan.work}/nginx-scgi;
    upstream instances {{
        least_conn;
{servers}
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 4s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://instances;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
""")
    return [find_program("nginx"), "-p", str(plan.work), "-c", str(path), "-e", "stderr"]


def _haproxy_command(plan: Plan, port: int) -> list[str]:
    servers = "\n".join(
        f"    server i{number} {upstream.replace('unix:', 'unix@')} check inter 30s"
        for number, upstream in enumerate(plan.upstreams, start=1)
    )
    log = "    log stdout format raw local0 info" if plan.access_log else ""
    path = plan.work / "haproxy.cfg"
    path.write_text(f"""\
global
    nbthread 1
    maxconn {_CONNECTIONS}
    # It reckons two descriptors a connection, and would not start where 10,000 idle ones fit.
    no strict-limits
{log}
defaults
    mode http
    {"log global" if plan.access_log else "no log"}
    {"option httplog" if plan.access_log else ""}
    option forwardfor
    http-reuse always
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client 75s
    timeout server 60s
    default-server pool-purge-delay 4s
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
    default_backend instances
backend instances
    balance leastconn
{servers}
""")
    return [find_program("haproxy"), "-f", str(path), "-db"]


_COMMANDS: Mapping[str, Callable[[Plan, int], list[str]]] = {
    OURS: gateway_command,
    NGINX: _nginx_command,
    HAPROXY: _haproxy_command,
}
