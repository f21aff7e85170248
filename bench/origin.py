"""The origin behind every proxy: nginx answering from its memory, on two ports.

Two ports give the balancing something to choose from; one process serves both, on the core of the
load generator. Measured here with wrk -c32 on the other core: nginx ``return`` 185,000 requests/s,
HAProxy ``http-request return`` 170,000; a 100 KB file with ``sendfile`` 20,000.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, find_program, free_port, start_server

SMALL_BYTES = 200
LARGE_BYTES = 100 * 1024
SMALL_PATH = "/small"
LARGE_PATH = "/large"
FORWARDED_PATH = "/forwarded"  # answers with the X-Forwarded-For that came

_CONFIG = """\
{user}daemon off;
pid {work}/origin.pid;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    client_body_temp_path {work}/origin-body;
    proxy_temp_path {work}/origin-proxy;
    fastcgi_temp_path {work}/origin-fastcgi;
    uwsgi_temp_path {work}/origin-uwsgi;
    scgi_temp_path {work}/origin-scgi;
    server {{
        listen 127.0.0.1:{ports[0]} backlog=4096;
        listen 127.0.0.1:{ports[1]} backlog=4096;
        location / {{ return 200 "{small}"; }}
        location = {large_path} {{ root {files}; }}
        location = {forwarded_path} {{ return 200 "$http_x_forwarded_for"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A running origin and the ports it answers on."""

    server: Server
    ports: tuple[int, int]

    @property
    def upstreams(self) -> tuple[str, ...]:
        return tuple(f"127.0.0.1:{port}" for port in self.ports)


@contextmanager
def running_origin(work: Path, *, core: int) -> Iterator[Origin]:
    """Run the origin on ``core`` for the length of the block.

    Raises:
        BenchError: nginx is not installed, or does not start.
    """
    files = work / "files"
    files.mkdir(exist_ok=True)
    (files / LARGE_PATH[1:]).write_bytes(b"x" * LARGE_BYTES)
    ports = (free_port(), free_port())
    config = work / "origin.conf"
    config.write_text(
        _CONFIG.format(
            user=nginx_user(),
            work=work,
            files=files,
            ports=ports,
            small="x" * SMALL_BYTES,
            large_path=LARGE_PATH,
            forwarded_path=FORWARDED_PATH,
        )
    )
    argv = [find_program("nginx"), "-p", str(work), "-c", str(config), "-e", "stderr"]
    with start_server("origin", argv, core=core, work=work) as server:
        for port in ports:
            server.wait_until_ready(port, SMALL_PATH)
        yield Origin(server=server, ports=ports)


def nginx_user() -> str:
    """Return the directive that keeps nginx's worker our own user, who owns the work folder."""
    return "user root;\n" if os.geteuid() == 0 else ""
