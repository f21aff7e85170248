"""Where a hit's microseconds go: each step of it timed alone, inside the gateway, no sockets.

The gateway's own functions are called one after another with what they get from each other; each
step is repeated over many requests of the walk before the next one begins, so that its time can be
read from the thread's clock. What the whole takes by hand less all steps is what lies between
them; what a running gateway's process takes beyond that is the event loop and the sockets' objects,
and the kernel.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from bench.browser_headers import CHROMIUM
from bench.cache_origin import ETAG, LIFETIME_SECONDS, SMALL, SMALL_BYTES, page_body, page_path
from bench.cache_proxies import page_policy
from bench.errors import BenchError
from bench.micro import UPSTREAMS, Exchanges
from bench.pinning import Cores, pinned
from bench.report import Table
from bench.samples import spread
from bench.settings import say
from bench.zipf import zipf_walk

if TYPE_CHECKING:
    from poruwa.config.model import Policy
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.exchange import Exchange

_URLS = 10_000
_WALK = 10_000
_BATCH = 250  # exchanges made before a step is timed over them: few enough to stay in the cache
_REPETITIONS = 7
WHOLE = "whole"
LOG = "log"
RECORD = "record"
CONSULT = "consult"
ANSWER = "answer"
WRITE = "write"
STEPS: Mapping[str, str] = {
    "parse": "read the request line and field lines, check every byte",
    "begin": "framing, the exchange's state",
    "identify": "address, request id and trace, normal path",
    "route": "find the route",
    CONSULT: "key, look-up, may it be reused",
    ANSWER: "head of the answer, end of the exchange",
    WRITE: "outbox",
    RECORD: "metrics",
    LOG: "the line of the access log",
}
"""The steps in their order. ``consult`` is timed with ``answer`` in it, and that with the rest."""
_INSIDE = {CONSULT: (ANSWER,), ANSWER: (WRITE, RECORD, LOG)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Microseconds a hit of a running gateway's process, in its own code and in the kernel."""

    user: float
    kernel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Microseconds of each step, by its name and as timed: `WHOLE` is a hit by hand."""

    microseconds: Mapping[str, float]
    live: Live
    is_compiled: bool

    def rows(self) -> list[tuple[str, str, float]]:
        """Return name, what it does, and microseconds of its own, of all that a hit consists of."""
        timed = self.microseconds
        own = {
            name: timed[name] - sum(timed[inner] for inner in _INSIDE.get(name, ()))
            for name in STEPS
        }
        whole = timed[WHOLE]
        return [
            *((name, STEPS[name], own[name]) for name in STEPS),
            ("between", "the connection's state, calls, freeing", whole - sum(own.values())),
            ("loop", "event loop, sockets' objects (user time beyond these)",
             self.live.user - whole),
            ("kernel", "receive, send, wait; without interrupts", self.live.kernel),
        ]  # fmt: skip

    def table(self) -> Table:
        """Return the table of the rows with their shares."""
        rows = self.rows()
        total = sum(each for _, _, each in rows)
        return Table(
            title="Where a hit's microseconds go (Chrome's headers, 4 KB)",
            header=("step", "what", "us", "share"),
            rows=[
                *([name, what, f"{us:.2f}", f"{us / total:.0%}"] for name, what, us in rows),
                ["all", "processor time a hit", f"{total:.2f}", "100%"],
            ],
        )

    def notes(self) -> list[str]:
        """Return what a reader should know about the table."""
        how = "compiled" if self.is_compiled else "interpreted (make compile was not run)"
        return [
            f"The steps of a hit are timed one by one, each alone over many requests, the gateway "
            f"being {how}; a hit by hand, without sockets, takes "
            f"{self.microseconds[WHOLE]:.2f} us.",
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "is_compiled": self.is_compiled,
            "timed_microseconds": {k: round(v, 3) for k, v in self.microseconds.items()},
            "own_microseconds": {name: round(us, 3) for name, _, us in self.rows()},
        }


def measure_profile(live: Live, work: Path, cores: Cores) -> Profile:
    """Time the steps on the proxy's core; ``live`` is what a running gateway took.

    Raises:
        BenchError: a page is not stored, or not served from the store.
    """
    from poruwa.gateway import cache

    with pinned(cores.proxy):
        times = uvloop.run(_measure(work / "profile-access.log"))
    return Profile(
        microseconds={name: spread(values).low for name, values in times.items()},
        live=live,
        is_compiled=not (cache.__file__ or "").endswith(".py"),
    )


async def _measure(log: Path) -> dict[str, list[float]]:
    """Return microseconds a hit by step, one value a repetition."""
    from poruwa.observe.access_log import AccessLog

    access_log = AccessLog(str(log))
    access_log.open()
    try:
        bench = _Steps(
            Exchanges(
                asyncio.get_running_loop(), policy=_policy(log.parent), access_log=access_log
            ),
            access_log,
        )
        bench.fill()
        gc.collect()
        gc.freeze()  # as a worker does before it accepts
        times: dict[str, list[float]] = {}
        for _ in range(_REPETITIONS):
            for name, value in bench.once().items():
                times.setdefault(name, []).append(value)
            await asyncio.sleep(0)
        gc.unfreeze()
    finally:
        access_log.close()
    say("  profile: " + ", ".join(f"{name} {min(each):.2f}" for name, each in times.items()))
    return times


def _policy(work: Path) -> Policy:
    """Return the policy that our gateway is measured with."""
    from poruwa.config.load import load_policy

    path = work / "profile.toml"
    path.write_text(page_policy(UPSTREAMS))
    return load_policy(path, environ={})


class _Steps:
    """One client's requests of the walk, and the functions that answer them."""

    def __init__(self, exchanges: Exchanges, access_log: object) -> None:
        self._exchanges = exchanges
        self._gateway = exchanges.gateway
        self._client = exchanges.client
        cache = self._gateway.cache
        assert cache is not None
        self._cache: GatewayCache = cache
        self._access_log = access_log
        self._urls = [_request(page_path(SMALL, number)) for number in range(_URLS)]
        self._walk = zipf_walk(self._urls, _WALK)

    def fill(self) -> None:
        """Store every page, by a fetch from an instance each.

        Raises:
            BenchError: one is not stored, or asked for again.
        """
        outbox = self._gateway.outbox
        for number, request in enumerate(self._urls):
            self._client.data_received(request)
            outbox.flush()
            asked = [each for each in self._exchanges.instances if each[1].written]
            if len(asked) != 1:
                raise BenchError(f"{len(asked)} instances were asked for one page.")
            connection, transport = asked[0]
            transport.written = b""
            connection.data_received(_answer(number))
            outbox.flush()
        asked_before = self._asked()
        self._whole(self._urls)
        if self._asked() != asked_before:
            raise BenchError("Not all pages are hits: instances were asked again.")

    def _asked(self) -> int:
        """Return how many writes went to instances so far."""
        return sum(transport.writes for _, transport in self._exchanges.instances)

    def once(self) -> dict[str, float]:
        """Return microseconds a request of each step, over the walk."""
        seconds = dict.fromkeys((*STEPS, WHOLE), 0.0)
        for start in range(0, _WALK, _BATCH):
            batch = self._walk[start : start + _BATCH]
            started = time.thread_time()
            self._whole(batch)
            seconds[WHOLE] += time.thread_time() - started
            for name, took in self._steps(batch).items():
                seconds[name] += took
        return {name: each / _WALK * 1e6 for name, each in seconds.items()}

    def _whole(self, batch: Sequence[bytes]) -> None:
        take, flush = self._client.data_received, self._gateway.outbox.flush
        for request in batch:
            take(request)
            flush()

    def _steps(self, batch: Sequence[bytes]) -> dict[str, float]:
        from poruwa.gateway.cache import consult_cache
        from poruwa.gateway.exchange import Exchange
        from poruwa.gateway.routes import route_request
        from poruwa.gateway.security import identify_client
        from poruwa.net.http1 import take_request_head
        from poruwa.rules.message import body_framing

        gateway, client = self._gateway, self._client
        times = {"parse": _each(take_request_head, batch)}
        heads = [head for head in map(take_request_head, batch) if head is not None]
        exchanges: list[Exchange] = []

        def begin() -> None:
            for head in heads:
                body_framing(
                    head.content_length, head.transfer_encoding, minor_version=head.minor_version
                )
                exchanges.append(Exchange(gateway, client, head, 0))

        times["begin"] = _timed(begin)
        times["identify"] = _each(identify_client, exchanges)
        times["route"] = _each(route_request, exchanges)
        head, body = b"x" * 420, page_body(SMALL_BYTES)

        def write(exchange: Exchange) -> None:
            client.write_message(head, body)
            gateway.outbox.flush()

        times[WRITE] = _each(write, exchanges)
        gateway.access_log = None
        times[RECORD] = _each(gateway.record, exchanges)
        gateway.access_log = self._access_log  # type: ignore[assignment]
        times[LOG] = _each(gateway.record, exchanges) - times[RECORD]

        stored = list(self._cache.store.entries())[: len(exchanges)]
        times[ANSWER] = self._ended(
            lambda exchange, entry: exchange.answer_hit(entry, time.time(), has_it=False),
            [Exchange(gateway, client, exchange.head, 0) for exchange in exchanges],
            stored,
        )
        times[CONSULT] = self._ended(lambda exchange, _: consult_cache(exchange), exchanges, stored)
        return times

    def _ended(
        self,
        answer: Callable[[Exchange, Any], bool],
        exchanges: Sequence[Exchange],
        stored: Sequence[Any],
    ) -> float:
        """Return the seconds it takes to answer and so to end ``exchanges``.

        Raises:
            BenchError: one is not answered by what is stored.
        """
        client, flush = self._client, self._gateway.outbox.flush
        started = time.thread_time()
        for exchange, entry in zip(exchanges, stored, strict=True):
            client.exchange = exchange
            if not answer(exchange, entry):
                raise BenchError("A hit was not answered from the store.")
            flush()
        return time.thread_time() - started


def _timed(call: Callable[[], None]) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Return the seconds it takes to call ``function`` with each of ``items``."""
    started = time.thread_time()
    for item in items:
        function(item)
    return time.thread_time() - started


def _request(path: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in CHROMIUM.items())
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9100\r\n{lines}\r\n".encode()


def _answer(number: int) -> bytes:
    """Return what the origin of the other benchmarks answers; each page has bytes of its own."""
    body = (b"<p>%d</p>\n" % number + page_body(SMALL_BYTES))[:SMALL_BYTES]
    return (
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: %b\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Last-Modified: Thu, 26 Nov 2026 03:00:00 GMT\r\nConnection: keep-alive\r\n"
        b"Cache-Control: public, max-age=%d, no-transform\r\nETag: %b\r\n"
        b"Accept-Ranges: bytes\r\n\r\n%b"
    ) % (
        time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode(),
        SMALL_BYTES,
        LIFETIME_SECONDS,
        ETAG.encode(),
        body,
    )
