"""What the gateway answers itself, over real sockets: files of a folder, CORS (B1, B10).

One gateway process with one worker serves all tests of this file; an instance in this process
stands behind the routes that have a pool.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

DEADLINE_SECONDS = 20.0
LARGE = bytes(range(256)) * 4096 * 3 + b"the end"  # 3 MiB and a bit
HUGE_BYTES = 256 << 20
ORIGIN = b"https://app.test"
POLICY = """
[listeners.http]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[gateway]
workers = 1

[pools.site]
instances = ["{instance}"]

[[routes]]
path = "/static/*"
static = {{ folder = "{folder}/files" }}

[[routes]]
path = "/gone/*"
static = {{ folder = "{folder}/files" }}

[[routes]]
path = "/hashed/*"
static = {{ folder = "{folder}/files", fingerprinted = true }}

[[routes]]
path = "/current/*"
static = {{ folder = "{folder}/current" }}
cors = {{ origins = ["https://app.test"] }}

[[routes]]
path = "/open/*"
static = {{ folder = "{folder}/files" }}
cors = {{ origins = ["*"] }}

[[routes]]
path = "/api/*"
pool = "site"

[routes.cors]
origins = ["https://app.test"]
methods = ["GET", "PUT"]
headers = ["Content-Type"]
expose = ["X-Total"]
credentials = true
max_age = "10min"

[[routes]]
path = "/narrow/*"
methods = ["PUT"]
pool = "site"
cors = {{ origins = ["https://app.test"], methods = ["PUT"] }}

[[routes]]
path = "/moved"
redirect = {{ to = "/api/x" }}
cors = {{ origins = ["https://app.test"] }}
"""


@dataclass(frozen=True, slots=True)
class Served:
    """The gateway under test."""

    port: int
    worker_pid: int
    folder: Path
    admin: str

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def open_files(self) -> list[str]:
        """Return what of the folder the worker holds open."""
        found = []
        for link in Path(f"/proc/{self.worker_pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except FileNotFoundError:
                continue
            if target.startswith(str(self.folder)):
                found.append(target)
        return found

    def requests_of(self, route: str) -> int:
        """Return how many requests the metrics count for ``route``."""
        text = urlopen(f"http://{self.admin}/metrics").read().decode()
        counts = re.findall(
            rf'^poruwa_requests_total{{[^}}]*route="{re.escape(route)}"[^}}]*}} (\S+)$', text, re.M
        )
        return int(sum(float(count) for count in counts))

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: lower-case names, the values of repeated fields in a list."""

    status: int
    fields: dict[str, list[str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        (value,) = self.fields[name]
        return value

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def names(self) -> set[str]:
        return set(self.fields)


class Client:
    """One connection, used as a browser would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, method: str, target: str, **fields: str | bytes) -> None:
        lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: weddinglk.test"]
        for name, value in fields.items():
            text = value if isinstance(value, bytes) else value.encode()
            lines.append(name.replace("_", "-").encode() + b": " + text)
        self.writer.write(b"\r\n".join([*lines, b"", b""]))

    async def read_head(self) -> tuple[int, dict[str, list[str]]]:
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.removesuffix("\r\n\r\n").split("\r\n")
        fields: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), []).append(value.strip())
        return int(first.split(" ")[1]), fields

    async def receive(self, *, head_only: bool = False) -> Answer:
        async with asyncio.timeout(DEADLINE_SECONDS):
            status, fields = await self.read_head()
            length = int(fields.get("content-length", ["0"])[0])
            bodiless = head_only or status in (204, 304)
            body = b"" if bodiless else await self.reader.readexactly(length)
        return Answer(status, fields, body)

    async def receive_bytes(self, count: int) -> None:
        while count:
            count -= len(await self.reader.readexactly(min(count, 1 << 16)))

    async def ask(self, method: str, target: str, **fields: str | bytes) -> Answer:
        self.send(method, target, **fields)
        return await self.receive(head_only=method == "HEAD")


@asynccontextmanager
async def connected(served: Served, *, limit: int = 1 << 16) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=limit)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def ask(served: Served, method: str, target: str, **fields: str | bytes) -> Answer:
    async with connected(served) as client:
        return await client.ask(method, target, **fields)


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.01)


def make_files(folder: Path) -> None:
    files = folder / "files"
    (files / "deep" / "er").mkdir(parents=True)
    (files / "bare").mkdir()
    (files / "site.css").write_bytes(b"body { color: teal }\n")
    (files / "empty.txt").write_bytes(b"")
    (files / "large.bin").write_bytes(LARGE)
    (files / "Käthe & co.txt").write_text("Käthe")
    (files / "deep" / "index.html").write_text("<h1>Deep</h1>")
    (files / "deep" / "er" / "x.json").write_text("{}")
    (files / ".env").write_text("SECRET=1")
    (files / ".git").mkdir()
    (files / ".git" / "config").write_text("secret")
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.txt").write_text("secret")
    (folder / "outside" / "index.html").write_text("secret")
    (folder / "files-too").mkdir()
    (folder / "files-too" / "secret.txt").write_text("secret")
    (files / "link-in.css").symlink_to("site.css")
    (files / "link-deep").symlink_to("deep")
    (files / "link-out.txt").symlink_to(folder / "outside" / "secret.txt")
    (files / "link-out").symlink_to("../outside")
    (files / "link-beside").symlink_to("../files-too")
    (files / "link-loop").symlink_to("link-loop")
    (files / "link-host").symlink_to("/etc/hostname")
    os.mkfifo(files / "pipe.txt")
    with (files / "huge.bin").open("wb") as file:
        file.truncate(HUGE_BYTES)
    (folder / "build-1").mkdir()
    (folder / "build-1" / "v.txt").write_text("one")
    (folder / "build-2").mkdir()
    (folder / "build-2" / "v.txt").write_text("two")
    (folder / "current").symlink_to("build-1")


INSTANCE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("Vary", "Accept-Language")
        self.send_header("Access-Control-Allow-Origin", "https://instance.test")
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.end_headers()
        self.wfile.write(b"ok")
    do_OPTIONS = do_PUT = do_GET
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def wait_for_line(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return line
    raise AssertionError("it ended:\n" + "".join(seen))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("edge")
    make_files(folder)
    instance = subprocess.Popen([sys.executable, "-c", INSTANCE], stdout=subprocess.PIPE, text=True)
    gateway = None
    try:
        port = wait_for_line(instance, "").strip()
        policy = folder / "site.toml"
        policy.write_text(POLICY.format(instance=f"127.0.0.1:{port}", folder=folder))
        gateway = subprocess.Popen(
            [sys.executable, "-m", "poruwa.cli.main", "gateway", "--policy", str(policy),
             "--log-format", "json", "--access-log", "none"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        ready = json.loads(wait_for_line(gateway, '"ready"'))
        children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
        (worker_pid,) = children
        yield Served(
            int(ready["listeners"].rpartition(":")[2]), int(worker_pid), folder, ready["admin"]
        )
    finally:
        for process in (gateway, instance):
            if process is not None:
                process.terminate()
                process.wait(DEADLINE_SECONDS)
                assert process.stdout is not None
                process.stdout.close()


# Files.


async def test_a_small_file(served: Served) -> None:
    answer = await ask(served, "GET", "/static/site.css?v=1")
    assert answer.status == 200
    assert answer.body == b"body { color: teal }\n"
    assert answer["content-type"] == "text/css; charset=utf-8"
    assert answer["cache-control"] == "no-cache"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["accept-ranges"] == "bytes"
    assert re.fullmatch(r'"[0-9a-f]{24}"', answer["etag"])
    assert answer["last-modified"].endswith(" GMT")
    assert "date" in answer
    assert "x-request-id" in answer


async def test_large_and_empty_files(served: Served) -> None:
    async with connected(served) as client:
        assert (await client.ask("GET", "/static/large.bin")).body == LARGE
        empty = await client.ask("GET", "/static/empty.txt")
        assert (empty.status, empty["content-length"]) == (200, "0")
        assert (await client.ask("GET", "/static/large.bin")).body == LARGE


@pytest.mark.parametrize("target", ["/static/site.css", "/static/large.bin", "/static/deep/"])
async def test_head_has_the_fields_of_get_and_no_content(served: Served, target: str) -> None:
    """RFC 9110 section 9.3.2; the connection is good for the next request."""
    async with connected(served) as client:
        got = await client.ask("GET", target)
        head = await client.ask("HEAD", target)
        again = await client.ask("GET", target)
    varying = ("date", "x-request-id")
    assert {k: v for k, v in head.fields.items() if k not in varying} == {
        k: v for k, v in got.fields.items() if k not in varying
    }
    assert again.body == got.body


async def test_names_are_decoded_once(served: Served) -> None:
    answer = await ask(served, "GET", "/static/K%C3%A4the%20%26%20co.txt")
    assert answer.body == "Käthe".encode()
    assert (await ask(served, "GET", "/static/site%252Ecss")).status == 404


async def test_revalidation_costs_no_content(served: Served) -> None:
    """RFC 9110 section 15.4.5: the fields a cache needs to go on with what it has."""
    async with connected(served) as client:
        first = await client.ask("GET", "/static/large.bin")
        for condition in (
            {"If_None_Match": first["etag"]},
            {"If_None_Match": f'"other", W/{first["etag"]}'},
            {"If_Modified_Since": first["last-modified"]},
        ):
            again = await client.ask("GET", "/static/large.bin", **condition)
            assert again.status == 304
            assert again["etag"] == first["etag"]
            assert again["cache-control"] == first["cache-control"]
            assert "content-length" not in again
        changed = await client.ask("GET", "/static/large.bin", If_None_Match='"other"')
        assert changed.body == LARGE


async def test_a_replaced_file_has_another_tag(served: Served) -> None:
    path = served.files / "replaced.txt"
    path.write_text("one")
    first = await ask(served, "GET", "/static/replaced.txt")
    new = served.files / "replaced.new"
    new.write_text("two")
    modified = path.stat()
    os.utime(new, ns=(modified.st_atime_ns, modified.st_mtime_ns))  # same size, same time
    new.rename(path)
    second = await ask(served, "GET", "/static/replaced.txt", If_None_Match=first["etag"])
    assert (second.status, second.body) == (200, b"two")


async def test_ranges(served: Served) -> None:
    size = len(LARGE)
    async with connected(served) as client:
        whole = await client.ask("GET", "/static/large.bin")
        for wanted, start, end in (
            ("bytes=0-9", 0, 10),
            ("bytes=100-200099", 100, 200_100),
            (f"bytes={size - 7}-", size - 7, size),
            ("bytes=-100000", size - 100_000, size),
        ):
            part = await client.ask("GET", "/static/large.bin", Range=wanted)
            assert part.status == 206
            assert part["content-range"] == f"bytes {start}-{end - 1}/{size}"
            assert part.body == LARGE[start:end]
        tag = whole["etag"]
        part = await client.ask("GET", "/static/large.bin", Range="bytes=0-9", If_Range=tag)
        assert part.status == 206
        full = await client.ask("GET", "/static/large.bin", Range="bytes=0-9", If_Range='"old"')
        assert (full.status, full.body) == (200, LARGE)
        several = await client.ask("GET", "/static/large.bin", Range="bytes=0-9,20-29")
        assert (several.status, several.body) == (200, LARGE)


async def test_range_outside_and_failed_precondition(served: Served) -> None:
    async with connected(served) as client:
        outside = await client.ask("GET", "/static/site.css", Range="bytes=5000-")
        assert outside.status == 416
        assert outside["content-range"] == "bytes */21"
        failed = await client.ask("GET", "/static/site.css", If_Match='"other"')
        assert failed.status == 412
        assert (await client.ask("GET", "/static/site.css")).status == 200


async def test_fingerprinted_names_are_immutable_but_not_their_index(served: Served) -> None:
    immutable = "public, max-age=31536000, immutable"
    assert (await ask(served, "GET", "/hashed/site.css"))["cache-control"] == immutable
    assert (await ask(served, "GET", "/hashed/deep/"))["cache-control"] == "no-cache"
    assert (await ask(served, "GET", "/hashed/none.css"))["cache-control"] == "no-store"


async def test_folders(served: Served) -> None:
    async with connected(served) as client:
        index = await client.ask("GET", "/static/deep/")
        assert index.body == b"<h1>Deep</h1>"
        assert index["content-type"] == "text/html; charset=utf-8"
        redirect = await client.ask("GET", "/static/deep?a=1&b=2")
        assert redirect.status == 308
        assert redirect["location"] == "/static/deep/?a=1&b=2"
        for target in ("/static/bare", "/static/bare/", "/static/", "/static", "/static/deep/er"):
            assert (await client.ask("GET", target)).status == 404, target
        assert (await client.ask("GET", "/static/site.css/")).status == 404
        assert (await client.ask("GET", "/static/site.css/x")).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
async def test_other_methods(served: Served, method: str) -> None:
    answer = await ask(served, method, "/static/site.css")
    assert answer.status == 405
    assert answer["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "target",
    [
        "/static/../outside/secret.txt",
        "/static/%2e%2e/outside/secret.txt",
        "/static/deep/%2e%2e/%2e%2e/outside/secret.txt",
        "/static/..%2foutside/secret.txt",
        "/static/%5c..%5coutside",
        "/static/site.css%00.txt",
        "/static//etc/hostname",
        "/static/%2fetc/hostname",
        "/static/.env",
        "/static/%2eenv",
        "/static/.git/config",
        "/static/link-out.txt",
        "/static/link-out/secret.txt",
        "/static/link-out/",
        "/static/link-out",
        "/static/link-beside/secret.txt",  # another folder, whose name only begins alike
        "/static/link-host",
        "/static/link-loop",
        "/static/pipe.txt",
        "/static/" + "a" * 300,
    ],
)
async def test_nothing_but_files_of_the_folder(served: Served, target: str) -> None:
    answer = await ask(served, "GET", target)
    assert answer.status in (400, 404)
    assert b"secret" not in answer.body.lower()


async def test_links_within_the_folder_work(served: Served) -> None:
    assert (await ask(served, "GET", "/static/link-in.css")).body == b"body { color: teal }\n"
    assert (await ask(served, "GET", "/static/link-deep/er/x.json")).body == b"{}"


async def test_the_folder_itself_may_be_turned_round(served: Served) -> None:
    """A deploy that renames a link over ``current`` is seen by the next request."""
    assert (await ask(served, "GET", "/current/v.txt")).body == b"one"
    (served.folder / "next").symlink_to("build-2")
    (served.folder / "next").rename(served.folder / "current")
    assert (await ask(served, "GET", "/current/v.txt")).body == b"two"


async def test_an_unreadable_file_is_not_found(served: Served) -> None:
    path = served.files / "closed.txt"
    if os.geteuid() == 0:  # who may read everything, but not what leads nowhere
        path.symlink_to(path)
    else:
        path.write_text("closed")
        path.chmod(0)
    assert (await ask(served, "GET", "/static/closed.txt")).status == 404


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    async with connected(served) as client:
        client.send("GET", "/static/large.bin")
        client.send("HEAD", "/static/large.bin")
        client.send("GET", "/static/site.css")
        client.send("GET", "/static/none")
        client.send("GET", "/static/large.bin", Range="bytes=-7")
        assert (await client.receive()).body == LARGE
        assert (await client.receive(head_only=True))["content-length"] == str(len(LARGE))
        assert (await client.receive()).body.startswith(b"body")
        assert (await client.receive()).status == 404
        assert (await client.receive()).body == b"the end"


async def test_a_request_with_a_body_is_answered_and_closed(served: Served) -> None:
    """The body is nobody's; what follows it could not be told apart, so the connection ends."""
    async with connected(served) as client:
        client.send("GET", "/static/site.css", Content_Length="1000")
        answer = await client.receive()
        assert answer.status == 200
        assert answer["connection"] == "close"
        assert await client.reader.read() == b""


async def test_a_slow_client_costs_no_memory_and_holds_up_nobody(served: Served) -> None:
    async with connected(served, limit=4096) as slow:
        before = served.resident_bytes()
        slow.send("GET", "/static/huge.bin")
        _, fields = await slow.read_head()
        assert fields["content-length"] == [str(HUGE_BYTES)]
        for _ in range(500):  # time enough to read all of it, were it to go on reading
            assert (await ask(served, "GET", "/static/site.css")).status == 200
        assert served.resident_bytes() - before < 16 << 20
        assert served.open_files() == [str(served.files / "huge.bin")]
        left = HUGE_BYTES
        async with asyncio.timeout(60):
            while left:
                piece = await slow.reader.read(1 << 20)
                assert piece, "the download broke off"
                assert not piece.strip(b"\0")
                left -= len(piece)
        assert (await slow.ask("GET", "/static/site.css")).status == 200
    await until(lambda: not served.open_files(), "the file to be closed")


async def test_a_client_that_goes_away_leaves_nothing_open(served: Served) -> None:
    """Whenever it goes: before the answer, at its beginning, in its midst."""
    request = b"GET /gone/huge.bin HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    for _ in range(20):
        for wanted_bytes in (0, 1, 300_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request)
            if wanted_bytes:
                await reader.readexactly(wanted_bytes)
            else:
                await writer.drain()
            writer.transport.abort()
    await until(lambda: not served.open_files(), "the files to be closed")
    assert (await ask(served, "GET", "/static/site.css")).status == 200
    # Each request is recorded once; one whose reset came before it was read is none.
    await until(lambda: served.requests_of("/gone/*") >= 40, "the requests to be recorded")
    assert served.requests_of("/gone/*") <= 60


async def test_a_file_that_shrinks_breaks_the_connection_off(served: Served) -> None:
    """Short content must not pass for the whole (RFC 9112 section 8)."""
    path = served.files / "shrinking.bin"
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)
    async with connected(served, limit=4096) as client:
        client.send("GET", "/static/shrinking.bin")
        await client.read_head()
        os.truncate(path, 1000)
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await client.receive_bytes(HUGE_BYTES)
    await until(lambda: not served.open_files(), "the file to be closed")


async def test_many_at_once(served: Served) -> None:
    async def one() -> None:
        async with connected(served) as client:
            for _ in range(3):
                assert (await client.ask("GET", "/static/large.bin")).body == LARGE

    await asyncio.gather(*(one() for _ in range(16)))
    await until(lambda: not served.open_files(), "the files to be closed")


async def test_a_client_of_http_1_0_may_keep_its_connection(served: Served) -> None:
    async with connected(served) as client:
        for _ in range(2):
            client.writer.write(b"GET /static/site.css HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = await client.receive()
            assert answer["connection"] == "keep-alive"
            assert answer.body.startswith(b"body")


# CORS.


async def test_preflight_is_answered_by_the_gateway(served: Served) -> None:
    async with connected(served) as client:
        answer = await client.ask(
            "OPTIONS",
            "/api/x",
            Origin=ORIGIN,
            Access_Control_Request_Method="PUT",
            Access_Control_Request_Headers="content-type",
        )
        assert answer.status == 204
        assert "content-length" not in answer  # RFC 9110 section 8.6
        assert answer["access-control-allow-origin"] == "https://app.test"
        assert answer["access-control-allow-methods"] == "GET, PUT"
        assert answer["access-control-allow-headers"] == "Content-Type"
        assert answer["access-control-allow-credentials"] == "true"
        assert answer["access-control-max-age"] == "600"
        vary = ", ".join(answer.fields["vary"]).lower()
        for name in ("origin", "access-control-request-method", "access-control-request-headers"):
            assert name in vary
        assert (await client.ask("GET", "/api/x")).body == b"ok"


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://other.test", "PUT", ""),
        ("null", "PUT", ""),
        ("https://app.test", "DELETE", ""),
        ("https://app.test", "PUT", "x-other"),
    ],
)
async def test_refused_preflight(served: Served, origin: str, method: str, headers: str) -> None:
    answer = await ask(
        served,
        "OPTIONS",
        "/api/x",
        Origin=origin,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers=headers,
    )
    assert answer.status == 403
    assert not {name for name in answer.names() if name.startswith("access-control")}
    assert "Origin" in answer.fields["vary"]


async def test_preflight_of_a_route_that_takes_no_options(served: Served) -> None:
    fields = {"Origin": ORIGIN, "Access_Control_Request_Method": "PUT"}
    assert (await ask(served, "OPTIONS", "/narrow/x", **fields)).status == 204
    assert (await ask(served, "OPTIONS", "/narrow/x", Origin=ORIGIN)).status == 405


async def test_options_that_is_no_preflight_goes_to_the_instance(served: Served) -> None:
    assert (await ask(served, "OPTIONS", "/api/x", Origin=ORIGIN)).body == b"ok"


async def test_answers_of_an_instance_may_be_read_by_the_origin(served: Served) -> None:
    answer = await ask(served, "GET", "/api/x", Origin=ORIGIN)
    assert answer["access-control-allow-origin"] == "https://app.test"
    assert answer["access-control-expose-headers"] == "X-Total"
    assert sorted(answer.fields["vary"]) == ["Accept-Language", "Origin"]
    for origin in ({"Origin": "https://other.test"}, {}):
        other = await ask(served, "GET", "/api/x", **origin)
        assert other.status == 200
        assert "access-control-allow-origin" not in other  # nor the one its instance sent
        assert "access-control-allow-credentials" not in other
        assert "Origin" in other.fields["vary"]


async def test_files_errors_redirects_and_304_carry_the_fields_too(served: Served) -> None:
    async with connected(served) as client:
        found = await client.ask("GET", "/current/v.txt", Origin=ORIGIN)
        missing = await client.ask("GET", "/current/none", Origin=ORIGIN)
        known = await client.ask(
            "GET", "/current/v.txt", Origin=ORIGIN, If_None_Match=found["etag"]
        )
        moved = await client.ask("GET", "/moved", Origin=ORIGIN)
    assert [each.status for each in (found, missing, known, moved)] == [200, 404, 304, 308]
    for answer in (found, missing, known, moved):
        assert answer["access-control-allow-origin"] == "https://app.test"
        assert "Origin" in answer.fields["vary"]


async def test_every_origin_is_allowed_without_vary(served: Served) -> None:
    answer = await ask(served, "GET", "/open/site.css")
    assert answer["access-control-allow-origin"] == "*"
    assert "vary" not in answer
