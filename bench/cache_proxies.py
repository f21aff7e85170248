"""The caches under test, configured alike: ours, Debian's nginx, Varnish and HAProxy.

Alike means: one worker (HAProxy: one thread; Varnish: one pool of threads, on one core) with its
store in memory (nginx: files on tmpfs), HTTP/1.1 kept alive on both sides, every page of a run kept
until its end, a line of an access log per request written to tmpfs. Ours has a class for the pages
that gives each three tags. Varnish has its lines written
by varnishncsa, as its manual says; that runs on the same core, and its time counts as Varnish's.

Peers get what their manuals advise for throughput: nginx sendfile, a cache of open files and of
upstream connections, one fetch at a time per page; Varnish threads that wait for every connection.
nginx has no tcp_nopush: where the kernel's buffer is full, the rest of 100 KB then waits 40 ms for
the client's acknowledgement. Requests carry a cookie, as browsers' do, which says nothing to these
pages: Varnish, which would not answer such requests from its store, is told to leave it out; the
others do not look at it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.cache_origin import (
    LARGE_BYTES,
    LIFETIME_SECONDS,
    SIZES,
    CacheOrigin,
    page_body,
    page_path,
)
from bench.errors import BenchError
from bench.origin import nginx_user
from bench.processes import READY_SECONDS, Server, fetch, find_program, free_port, start_server
from bench.proxies import HAPROXY, NGINX, OURS, Plan, Proxy, gateway_command

VARNISH = "Varnish"
CACHES = (OURS, NGINX, VARNISH, HAPROXY)
_STORE_MIB = 1024
POOL = "origin"
_CONNECTIONS = 4096


def require_caches() -> None:
    """Raise a `BenchError` when one of the programs is not installed."""
    for name in ("wrk", "nginx", "varnishd", "varnishncsa", "haproxy"):
        find_program(name)


@contextmanager
def running_caches(plan: Plan) -> Iterator[list[Proxy]]:
    """Run all caches before the one upstream of ``plan`` for the length of the block.

    Raises:
        BenchError: one is not installed, does not start, or changes a page.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_running_cache(name, plan)) for name in CACHES]


@contextmanager
def _running_cache(name: str, plan: Plan) -> Iterator[Proxy]:
    port = free_port()
    argv = _COMMANDS[name](plan, port)
    core, work = plan.cores.proxy, plan.work
    with ExitStack() as stack:
        server = stack.enter_context(start_server(name.lower(), argv, core=core, work=work))
        server.wait_until_ready(port, plan.ready_path)
        beside: tuple[Server, ...] = ()
        if name == VARNISH and plan.access_log:
            log = start_server("varnishncsa", _log_command(plan), core=core, work=work)
            beside = (stack.enter_context(log),)
            _wait_until_logging(port, plan)
        yield Proxy(name=name, port=port, server=server, beside=beside)


def _wait_until_logging(port: int, plan: Plan) -> None:
    """Ask until Varnish's log has a line: what happens before its writer looks is not in it."""
    deadline = time.monotonic() + READY_SECONDS
    path = _varnish_log(plan)
    while not path.exists() or not path.stat().st_size:
        if time.monotonic() > deadline:
            raise BenchError("varnishncsa writes no log.")
        fetch(port, plan.ready_path)
        time.sleep(0.1)


def require_pages(proxy: Proxy, origin: CacheOrigin) -> None:
    """Raise a `BenchError` unless the cache hands out pages whole, from its store, cookie or no."""
    for size, length in SIZES.items():
        path = page_path(size, 0)
        for _ in range(2):  # of which the first may have to ask
            before = origin.requests()
            status, body = fetch(proxy.port, path, {"Cookie": "theme=dark"})
            if status != 200 or body != page_body(length):
                raise BenchError(f"{proxy.name}: {path}: status {status}, {len(body)} bytes.")
        if origin.requests() != before:
            raise BenchError(f"{proxy.name} asked for {path} although it had it.")


def empty_logs(work: Path) -> None:
    """Forget the lines written so far: the folder is in memory."""
    for path in work.glob("*.log"):
        os.truncate(path, 0)


def page_policy(upstreams: Sequence[str]) -> str:
    """Return a policy of ours that keeps the origin's pages, with three tags on each."""
    instances = ", ".join(f'"{upstream}"' for upstream in upstreams)
    return f"""\
[cache]
memory = "{_STORE_MIB}MiB"

[pools.{POOL}]
instances = [{instances}]
health = {{ kind = "tcp", interval = "30s" }}

[classes.page]
scope = "shared"
tags = ["pages", "size:{{size}}", "page:{{number}}"]
lifetimes = {{ browser = "0s", gateway = "{LIFETIME_SECONDS}s" }}

[[routes]]
name = "page"
path = "/{{size}}/{{number}}"
pool = "{POOL}"
data_class = "page"
"""


def _ours(plan: Plan, port: int) -> list[str]:
    path = plan.work / "pages.toml"
    path.write_text(page_policy(plan.upstreams))
    return gateway_command(replace(plan, policy=(path, POOL)), port)


def _nginx(plan: Plan, port: int) -> list[str]:
    log = f"{plan.work}/nginx-access.log combined buffer=64k flush=1s"
    path = plan.work / "nginx-cache.conf"
    path.write_text(f"""\
{nginx_user()}daemon off;
pid {plan.work}/nginx-cache.pid;
worker_processes 1;
worker_rlimit_nofile 65536;
events {{ worker_connections {_CONNECTIONS}; multi_accept on; }}
http {{
    access_log {log if plan.access_log else "off"};
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_header_timeout 10s;
    sendfile on;
    open_file_cache max=30000 inactive=2h;
    open_file_cache_valid 2h;
    client_body_temp_path {plan.work}/nginx-body;
    proxy_temp_path {plan.work}/nginx-proxy;
    fastcgi_temp_path {plan.work}/nginx-fastcgi;
    uwsgi_temp_path {plan.work}/nginx-uwsgi;
    scgi_temp_path {plan.work}/nginx-scgi;
    proxy_cache_path {plan.work}/nginx-cache levels=1:2 keys_zone=pages:64m inactive=2h
                     max_size={_STORE_MIB}m use_temp_path=off;
    upstream origin {{
        server {plan.upstreams[0]};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_cache pages;
            proxy_cache_lock on;
            proxy_buffers 8 16k;
        }}
    }}
}}
""")
    return [find_program("nginx"), "-p", str(plan.work), "-c", str(path), "-e", "stderr"]


def _varnish(plan: Plan, port: int) -> list[str]:
    host, _, upstream_port = plan.upstreams[0].rpartition(":")
    path = plan.work / "varnish.vcl"
    path.write_text(f"""\
vcl 4.1;
backend origin {{ .host = "{host}"; .port = "{upstream_port}"; }}
sub vcl_recv {{ unset req.http.Cookie; }}
""")
    return [
        find_program("varnishd"), "-F", "-j", "none", "-n", str(_varnish_folder(plan)),
        "-f", str(path), "-a", f"127.0.0.1:{port}", "-s", f"malloc,{_STORE_MIB}m",
        "-p", "thread_pools=1", "-p", "thread_pool_min=300", "-p", "thread_pool_max=2000",
        "-p", "listen_depth=4096", "-p", "timeout_idle=75",
    ]  # fmt: skip


def _log_command(plan: Plan) -> list[str]:
    return [
        find_program("varnishncsa"), "-n", str(_varnish_folder(plan)),
        "-a", "-w", str(_varnish_log(plan)),
    ]  # fmt: skip


def _varnish_log(plan: Plan) -> Path:
    return plan.work / "varnish-access.log"


def _varnish_folder(plan: Plan) -> Path:
    return plan.work / "varnish"


def _haproxy(plan: Plan, port: int) -> list[str]:
    log = "    log stdout format raw local0 info" if plan.access_log else ""
    path = plan.work / "haproxy-cache.cfg"
    path.write_text(f"""\
global
    nbthread 1
    maxconn {_CONNECTIONS}
    no strict-limits
{log}
cache pages
    total-max-size {_STORE_MIB}
    max-object-size {LARGE_BYTES * 2}
    max-age {LIFETIME_SECONDS}
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
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    http-request cache-use pages
    http-response cache-store pages
    # wrk waits for the body whose length a 304 may tell (RFC 9110 section 8.6).
    http-after-response del-header content-length if {{ status 304 }}
    default_backend origin
backend origin
    server i1 {plan.upstreams[0]}
""")
    return [find_program("haproxy"), "-f", str(path), "-db"]


_COMMANDS: Mapping[str, Callable[[Plan, int], list[str]]] = {
    OURS: _ours,
    NGINX: _nginx,
    VARNISH: _varnish,
    HAPROXY: _haproxy,
}
