"""The WeddingLK site as `poruwa up` runs it: database, three uvicorn instances, seeded data.

Its own gateway runs as well, on one worker, but gets no request: the proxies under test are put in
front of the same instances, on their Unix sockets.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.processes import Server, fetch, free_port, start_server
from bench.settings import say

POOL = "app"
INSTANCES = 3
READY_SECONDS = 180.0  # the first start fills the database


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStack:
    """A running stack.

    Attributes:
        policy: its policy file.
        upstreams: addresses of its instances, ``unix:/path``.
        port: of its own gateway; admin: where that tells its metrics.
        state: its state folder.
        database_port: on loopback.
    """

    server: Server
    policy: Path
    upstreams: tuple[str, ...]
    port: int
    admin: int
    state: Path
    database_port: int


@contextmanager
def running_site(work: Path, *, policy: Path | None = None) -> Iterator[SiteStack]:
    """Run the whole stack on all cores, with an empty state, for the length of the block.

    Args:
        policy: its policy file; None for the site's own.

    Raises:
        BenchError: the site or the embedded database is not installed, or the stack does not start.
    """
    for package in ("weddinglk", "fastapi", "uvicorn"):
        if find_spec(package) is None:
            raise BenchError(
                f"The site needs {package}, which is not installed. Run: make bench "
                "(or pip install -e '.[site,embedded]')."
            )
    policy = policy or policy_file()
    port, admin = free_port(), free_port()
    argv = [
        sys.executable, "-m", "poruwa.cli.main", "up",
        "--policy", str(policy),
        "--listen", f"127.0.0.1:{port}",
        "--admin", f"127.0.0.1:{admin}",
        "--state", str(work / "state"),
        "--instances", str(INSTANCES),
        "--workers", "1",
    ]  # fmt: skip
    started = time.monotonic()
    with start_server("site", argv, core=None, work=work) as server:
        server.wait_until_ready(admin, "/readyz", seconds=READY_SECONDS)
        say(f"  site ready after {time.monotonic() - started:.1f} s")
        yield SiteStack(
            server=server,
            policy=policy,
            upstreams=_instances(admin),
            port=port,
            admin=admin,
            state=work / "state",
            database_port=int((work / "state" / "database.port").read_text()),
        )


def choose_walk(port: int) -> list[str]:
    """Return the paths of the walk: what people look at, with a venue that there is.

    Raises:
        BenchError: the site has no venues.
    """
    status, body = fetch(port, "/api/v1/venues?district=Kandy&per_page=5")
    items = items_of(json.loads(body)) if status == 200 else []
    if not items:
        raise BenchError(f"The site's API told of no venue in Kandy (status {status}).")
    venues = [f"/venues/{item['id']}" for item in items[:3]]
    return [
        "/",
        "/venues?district=Kandy",
        venues[0],
        "/search?q=beach",
        "/api/v1/venues?district=Galle",
        "/si/venues?district=Kandy",
        venues[1 % len(venues)],
        "/vendors",
        "/api/v1/search?q=garden",
        "/ta",
        venues[2 % len(venues)],
        "/venues?guests=250&sort=price",
    ]


def items_of(document: Any) -> list[dict[str, Any]]:
    """Return the list that a page of the API holds, whatever its name."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if lists else []
    return [item for item in document if isinstance(item, dict) and "id" in item]


def _instances(admin: int) -> tuple[str, ...]:
    status, body = fetch(admin, "/status")
    if status != 200:
        raise BenchError(f"The stack's /status answered {status}.")
    addresses = tuple(
        instance["address"]
        for instance in json.loads(body)["instances"]
        if instance["pool"] == POOL
    )
    if len(addresses) != INSTANCES:
        raise BenchError(f"The stack tells of instances {addresses}, not of {INSTANCES}.")
    return addresses


def policy_file() -> Path:
    """Return the site's own policy file."""
    spec = find_spec("weddinglk")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "site.toml"
