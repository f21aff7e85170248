"""A gateway whose workers follow a real change log, before a scripted origin.

Changes are published as an app instance would, by a `ChangeLog` of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from fakes.gateway_process import GatewayProcess, policy_head
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient
from fakes.valkey_process import BUS, ValkeyProcess
from fakes.wire import Response
from poruwa.config.model import Coherence
from poruwa.rules.change import Change
from poruwa.stores.change_leases import Acknowledgement
from poruwa.stores.change_log import ChangeLog

LEASE_SECONDS = 0.5
HOST = "weddinglk.test"
POLICY = """
[site]
name = "follow"
[retry]
attempts = 0
statuses = []
[pools.app]
instances = ["{origin}"]
health.kind = "tcp"
[pools.app.affinity]
cookie = "who"
keys = "file:affinity-keys"
[dimensions.language]
header = "Accept-Language"
values = ["en", "si"]
default = "en"
[classes.page]
scope = "shared"
tags = ["pages", "page:{{page_id}}"]
dimensions = ["language"]
query_parameters = ["v"]
lifetimes = {{ browser = "0s", gateway = "1h" }}
stale_while_revalidate = "1h"
stale_if_error = "1h"
[classes.brief]
scope = "shared"
tags = ["briefs"]
lifetimes = {{ browser = "0s", gateway = "100ms" }}
stale_if_error = "1h"
[classes.lax]
scope = "shared"
tags = ["lax"]
unsure = "serve"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[classes.free]
scope = "shared"
lifetimes = {{ browser = "0s", gateway = "1h" }}
[classes.hot]
scope = "shared"
tags = ["hot", "hot:{{page_id}}"]
dimensions = ["language"]
refresh_on_change = true
lifetimes = {{ browser = "0s", gateway = "1h" }}
[[routes]]
path = "/pages/{{page_id}}"
pool = "app"
data_class = "page"
[[routes]]
path = "/brief/*"
pool = "app"
data_class = "brief"
[[routes]]
path = "/lax/*"
pool = "app"
data_class = "lax"
[[routes]]
path = "/free/*"
pool = "app"
data_class = "free"
[[routes]]
path = "/hot/{{page_id}}"
pool = "app"
data_class = "hot"
[[routes]]
path = "/*"
pool = "app"
"""


class FollowedSite:
    """Use `followed_site`."""

    def __init__(self, folder: Path, *, workers: int, more_policy: str) -> None:
        self.bus = ValkeyProcess(folder / "bus", *BUS)
        self.origin = Origin()
        (folder / "affinity-keys").write_text("k" * 32)
        self.control = f"unix:{folder}/control.sock"
        self.gateway = GatewayProcess(
            folder,
            "--control",
            f"{folder}/control.sock",
            policy=policy_head(workers=workers)
            + POLICY.format(origin=self.origin.address)
            + more_policy,
            environment={"PORUWA_BUS_URL": self.bus.url},
        )

    def close(self) -> None:
        """End what stands behind the gateway."""
        self.bus.stop()
        self.origin.stop()

    # The app's side.

    def page(self, path: str, body: str, *, as_of: int | None = None, fields: str = "") -> None:
        """Have the origin answer ``path`` from now on."""
        lines = fields if as_of is None else f"{fields}Poruwa-As-Of: {as_of}\r\n"
        self.origin.on(path, lambda call: call.reply(body.encode(), fields=lines.encode()))

    def held(self, path: str) -> list[Call]:
        """Have the origin leave calls of ``path`` unanswered, and return where they come."""
        calls: list[Call] = []
        self.origin.on(path, calls.append)
        return calls

    def publish(self, *tags: str, seconds: float = 5.0, **what: object) -> Acknowledgement:
        """Publish a change and wait until it is acknowledged."""
        change = Change(
            tags=tuple([tag.encode() for tag in tags]),
            written_at=time.time(),
            **what,  # type: ignore[arg-type]
        )
        return asyncio.run(self._publish(change, seconds))

    async def _publish(self, change: Change, seconds: float) -> Acknowledgement:
        log = ChangeLog(self.bus.store(), Coherence(), layer="test/0/0", is_cache=False)
        await log.start()
        try:
            return await log.publish(change, timeout=seconds)
        finally:
            await log.close()

    # The clients' side.

    def get(self, path: str, fields: str = "", *, client: RawClient | None = None) -> Response:
        """Ask once, on a connection of its own if none is given."""
        with contextlib.ExitStack() as stack:
            if client is None:
                client = stack.enter_context(self.gateway.connect())
            ask(client, path, fields)
            return client.response()

    def body(self, path: str, fields: str = "") -> str:
        return self.get(path, fields).body.decode()

    def await_sure(self, path: str = "/pages/sure") -> None:
        """Wait until what is asked for is kept and served again, on all workers."""
        self.page(path, "sure")
        self.gateway.until(
            lambda: all("; hit" in said(self.get(path)) for _ in range(8)), "hits", 15.0
        )

    def await_unsure(self, path: str = "/pages/sure") -> None:
        """Wait until the lease has run out."""
        self.gateway.until(lambda: "detail=unsure" in said(self.get(path)), "unsure", 15.0)


def ask(client: RawClient, path: str, fields: str = "", method: str = "GET") -> None:
    client.send(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode())


def said(response: Response) -> str:
    """Return what Cache-Status says."""
    return (response.get("cache-status") or b"").decode()


@contextlib.contextmanager
def followed_site(
    folder: Path, *, workers: int = 1, more_policy: str = ""
) -> Iterator[FollowedSite]:
    """Run a site; its gateway must end well and log no fault of ours."""
    site = FollowedSite(folder, workers=workers, more_policy=more_policy)
    try:
        yield site
    except BaseException:
        site.gateway.kill()
        raise
    else:
        site.gateway.stop()
    finally:
        site.close()
