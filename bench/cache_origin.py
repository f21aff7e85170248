"""The origin behind every cache: nginx with pages that may be kept, and a count of requests.

Pages of one size share one file, so that the origin's own memory is not what is measured; to a
cache they are as many URLs. All of them say what such a page says: HTML, a lifetime, an ETag, a
date of change. And ``no-transform`` and the security fields that our gateway adds if they are
missing, so that all caches send the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.origin import nginx_user
from bench.processes import Server, fetch, find_program, free_port, start_server

LIFETIME_SECONDS = 7200  # longer than any run
ETAG = '"page-1"'
SMALL_BYTES = 4096
LARGE_BYTES = 100 * 1024
ENTRY_BYTES = 1024
SMALL, LARGE, ENTRY, MARKED = "small", "large", "entry", "marked"
SIZES = {SMALL: SMALL_BYTES, LARGE: LARGE_BYTES, ENTRY: ENTRY_BYTES, MARKED: ENTRY_BYTES}
_COUNTER_PATH = "/requests"
_COUNTS = re.compile(rb"^ *\d+ +\d+ +(\d+) *$", re.MULTILINE)

_CONFIG = """\
{user}daemon off;
pid {work}/cache-origin.pid;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    sendfile on;
    etag off;
    open_file_cache max=16;
    client_body_temp_path {work}/origin-body;
    proxy_temp_path {work}/origin-proxy;
    fastcgi_temp_path {work}/origin-fastcgi;
    uwsgi_temp_path {work}/origin-uwsgi;
    scgi_temp_path {work}/origin-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {files};
        default_type "text/html; charset=utf-8";
        location / {{
            add_header Cache-Control "public, max-age={lifetime}, no-transform";
            add_header ETag '{etag}';
            {security}
            rewrite ^/([a-z]+)/ /$1 break;
        }}
        location = {counter} {{ stub_status; }}
    }}
}}
"""


def page_path(size: str, number: int) -> str:
    """Return the path of a page; ``size`` is one of `SIZES`."""
    return f"/{size}/{number}"


class CacheOrigin:
    """A running origin."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self._asked = 0  # for the count itself, which counts too

    @property
    def upstream(self) -> str:
        return f"127.0.0.1:{self.port}"

    def requests(self) -> int:
        """Return how many requests came so far, but for those that asked this."""
        status, body = fetch(self.port, _COUNTER_PATH)
        self._asked += 1
        found = _COUNTS.search(body)
        if status != 200 or found is None:
            raise BenchError(f"The origin's count of requests: status {status}, {body[:80]!r}.")
        return int(found[1]) - self._asked


@contextmanager
def running_cache_origin(work: Path, *, core: int) -> Iterator[CacheOrigin]:
    """Run the origin on ``core`` for the length of the block.

    Raises:
        BenchError: nginx is not installed, or does not start.
    """
    files = work / "pages"
    files.mkdir(exist_ok=True)
    for name, size in SIZES.items():
        (files / name).write_bytes(page_body(size))
    port = free_port()
    config = work / "cache-origin.conf"
    config.write_text(
        _CONFIG.format(
            user=nginx_user(),
            work=work,
            files=files,
            port=port,
            lifetime=LIFETIME_SECONDS,
            etag=ETAG,
            security=_security_lines(),
            counter=_COUNTER_PATH,
        )
    )
    argv = [find_program("nginx"), "-p", str(work), "-c", str(config), "-e", "stderr"]
    with start_server("cache-origin", argv, core=core, work=work) as server:
        origin = CacheOrigin(server, port)
        server.wait_until_ready(port, page_path(SMALL, 0))
        origin.requests()
        yield origin


def _security_lines() -> str:
    from poruwa.config.model import Headers
    from poruwa.rules.own_paths import REPORTS_PATH
    from poruwa.rules.security_headers import SecurityFields

    fields = SecurityFields(Headers(), domain="localhost", report_path=REPORTS_PATH.decode())
    lines = fields.lines(is_secure=False).decode().splitlines()
    pairs = [line.partition(": ")[::2] for line in lines]
    quoted = [(name, value.replace('"', '\\"')) for name, value in pairs]
    return " ".join(f'add_header {name} "{value}";' for name, value in quoted)


def page_body(size: int) -> bytes:
    """Return ``size`` bytes of a page."""
    line = b"<p>The hall seats three hundred guests; the garden looks over the lake.</p>\n"
    return (line * (size // len(line) + 1))[:size]
