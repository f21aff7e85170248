"""Time of a pass-through exchange inside the gateway: no socket, no kernel, no load generator.

The gateway's own connection objects are given bytes by hand: a request goes in at the client's
side, the origin's answer at the instance's, and the time of both is taken. The figure is what one
request costs a worker before the kernel has its share, steady enough to judge a change of the hot
path: run it before and after, and it shows both.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvloop

from bench.browser_headers import CHROMIUM
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.origin import SMALL_BYTES
from bench.pinning import choose_cores, pinned
from bench.report import Report, Table
from bench.samples import Spread, spread
from bench.settings import Settings, say

if TYPE_CHECKING:
    from poruwa.config.model import Policy
    from poruwa.observe.access_log import AccessLog

UPSTREAMS = ("127.0.0.1:9101", "127.0.0.1:9102")
_EXCHANGES = 10_000  # of one measurement: long enough for the clock, short enough to repeat
_WARM_UP = 3_000
_REPETITIONS = 9

_BARE = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:9100\r\n\r\n"
_BROWSER = (
    b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:9100\r\n"
    + b"".join(f"{name}: {value}\r\n".encode() for name, value in CHROMIUM.items())
    + b"\r\n"
)
REQUESTS: Mapping[str, bytes] = {"bare": _BARE, "browser headers": _BROWSER}
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 23 Nov 2026 03:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b"
    % (SMALL_BYTES, b"x" * SMALL_BYTES)
)


class FakeTransport:
    """Takes what is written and says what a socket of loopback would say."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.written = data
        self.writes += 1

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Bytes come by hand."""

    resume_reading = pause_reading
    close = pause_reading
    abort = pause_reading


class Exchanges:
    """A gateway of the default policy with one client and one connection to each instance.

    Args:
        policy: with the two upstreams in its one pool; None for the default.
        access_log: opened; None for none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        policy: Policy | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        from poruwa.config.load import default_policy
        from poruwa.gateway.gateway import Gateway
        from poruwa.gateway.listener import ClientConnection
        from poruwa.gateway.shared_state import (
            InstanceState,
            SharedState,
            Verdict,
            WorkerRow,
        )
        from poruwa.gateway.upstream import UpstreamConnection
        from poruwa.stack.topology import make_topology

        if policy is None:
            policy = default_policy(upstreams=UPSTREAMS, workers=1)
        shared = SharedState.create(max_workers=2)
        for slot in range(len(UPSTREAMS)):
            shared.set_instance(slot, Verdict(state=InstanceState.UP))
        self.gateway = Gateway(
            policy,
            make_topology(policy, max_instances=256),
            shared=shared,
            row=WorkerRow(shared, 0, generation=1),
            loop=loop,
            access_log=access_log,
            folder=Path(),
        )
        self.transport = FakeTransport()
        self.client = ClientConnection(self.gateway, is_tls=False, listener_port=9100)
        self.client.connection_made(cast(asyncio.BaseTransport, self.transport))
        self.instances: list[tuple[UpstreamConnection, FakeTransport]] = []
        (pool,) = self.gateway.pools.values()
        for instance in pool.instances:
            connections = instance.connections
            upstream = UpstreamConnection(connections, policy.limits.header_bytes)
            transport = FakeTransport()
            upstream.connection_made(cast(asyncio.BaseTransport, transport))
            self.instances.append((upstream, transport))
            connections._open.add(upstream)  # as if it had been opened and used before
            connections.take_back(upstream)

    def one(self, request: bytes) -> None:
        """Carry one request through, and its answer back."""
        outbox = self.gateway.outbox
        self.client.data_received(request)
        outbox.flush()  # at the end of a turn, the loop would
        exchange = self.client.exchange
        assert exchange is not None
        attempt = exchange.attempt
        assert attempt is not None
        connection = attempt.connection
        assert connection is not None, "no kept connection was free"
        connection.data_received(_ANSWER)
        outbox.flush()

    def require_working(self, request: bytes) -> None:
        """Raise a `BenchError` unless an exchange leaves the client with the whole answer."""
        before = self.transport.writes
        self.one(request)
        whole = self.transport.written.endswith(b"x" * SMALL_BYTES)
        if self.transport.writes == before or not whole:
            raise BenchError(f"The exchange did not end: {self.transport.written[:200]!r}")

    def microseconds(self, request: bytes) -> float:
        """Return the processor time of one exchange, over `_EXCHANGES`."""
        one = self.one
        started = time.thread_time()  # of this thread: other programs on the core do not count
        for _ in range(_EXCHANGES):
            one(request)
        return (time.thread_time() - started) / _EXCHANGES * 1e6


def run(settings: Settings) -> Report:
    """Measure all kinds of request on the proxy's core.

    Raises:
        BenchError: an exchange does not work.
    """
    before = _last_lowest(settings.out / "micro.json")
    with pinned(choose_cores().proxy):
        times = uvloop.run(_measure())
    spreads = {name: spread(values) for name, values in times.items()}
    return Report(
        name="micro",
        title="A pass-through exchange inside the gateway",
        method=(
            f"One request and its answer ({SMALL_BYTES} bytes, two instances, default policy: "
            f"metrics, ids and balancing on) through the gateway's own objects, without sockets. "
            f"{_REPETITIONS} measurements of {_EXCHANGES:,} exchanges; the lowest is the steadiest "
            f"figure, since whatever disturbs a measurement makes it longer. Times are processor "
            f"time of the thread, so that other programs do not count."
        ),
        tables=[_table(spreads, before)],
        targets=[],
        samples={
            "microseconds": {name: found.as_dict() for name, found in spreads.items()},
            "samples": {name: [round(v, 3) for v in values] for name, values in times.items()},
        },
        draw=lambda path: _draw(spreads, path),
    )


async def _measure() -> dict[str, list[float]]:
    """Return microseconds per kind of request; kinds take turns, so that noise meets both."""
    exchanges = Exchanges(asyncio.get_running_loop())
    for request in REQUESTS.values():
        exchanges.require_working(request)
        for _ in range(_WARM_UP):
            exchanges.one(request)
    gc.collect()
    gc.freeze()  # as a worker does before it accepts
    times: dict[str, list[float]] = {name: [] for name in REQUESTS}
    for _ in range(_REPETITIONS):
        for name, request in REQUESTS.items():
            times[name].append(exchanges.microseconds(request))
            await asyncio.sleep(0)  # what was scheduled meanwhile is not part of the next one
    gc.unfreeze()
    for name, values in times.items():
        say(f"  {name:<16} {min(values):6.2f} us at least, {max(values):6.2f} at most")
    return times


def _table(spreads: Mapping[str, Spread], before: Mapping[str, float]) -> Table:
    rows = []
    for name, found in spreads.items():
        last = before.get(name)
        rows.append(
            [
                name,
                f"{found.low:.2f}",
                f"{found.median:.2f}",
                f"{found.high:.2f}",
                "" if last is None else f"{last:.2f}",
                "" if last is None else f"{found.low / last - 1:+.1%}",
            ]
        )
    return Table(
        title="Microseconds per exchange",
        header=("request", "lowest", "median", "highest", "lowest before", "change"),
        rows=rows,
    )


def _last_lowest(path: Path) -> dict[str, float]:
    """Return the lowest times of the last run, if its results are there."""
    try:
        found: Mapping[str, Any] = json.loads(path.read_text())["microseconds"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: float(values["low"]) for name, values in found.items()}


def _draw(spreads: Mapping[str, Spread], path: Path) -> None:
    figure = new_figure(1, 1, title="One exchange inside the gateway", width=5, height=3)
    values = [(found.median, found.low, found.high) for found in spreads.values()]
    draw_bars(
        figure.axes[0], list(spreads), {"Poruwa": values},
        title="median, lowest and highest", unit="microseconds", form="{:.1f}",
    )  # fmt: skip
    save_figure(figure, path)
