"""The policy's sections about clients: listeners, admin, workers, limits, time-outs, trust.

Frozen and slotted; ``Setting`` in each annotation carries range and reason. Names end in
``_seconds`` or ``_bytes``; the policy file drops that ending and writes ``"30s"``, ``"64KiB"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import Secret, Setting


class TlsVersion(StrEnum):
    """Oldest protocol version a listener accepts."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS of a listener. Both files are read again when they change."""

    certificate: Annotated[
        str, Setting(form="file-path", why="PEM file: the certificate, then its chain.")
    ]
    key: Annotated[
        str, Setting(form="file-path", why="PEM file of the private key; never part of the policy.")
    ]
    minimum_version: Annotated[
        TlsVersion, Setting(why="TLS 1.0 and 1.1 are forbidden by RFC 8996.")
    ] = TlsVersion.TLS_1_2


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address at which the gateway accepts clients."""

    name: Annotated[str, Setting(form="name", why="Names the listener in logs and metrics.")] = (
        "http"
    )
    address: Annotated[
        str,
        Setting(form="address", why="Loopback by default: being reachable is a decision."),
    ] = "127.0.0.1:8000"
    tls: Annotated[
        Tls | None,
        Setting(why="Without it the listener speaks plain HTTP, as behind a front tier."),
    ] = None
    proxy_protocol: Annotated[
        bool,
        Setting(
            why="Every connection must open with a PROXY protocol header (v1 or v2) from a trusted "
            "proxy; off, since accepting it from anybody lets clients choose their address."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """Metrics, health and control of a running gateway."""

    address: Annotated[
        str | None,
        Setting(form="address", why="Loopback: what it shows and does is for the operator."),
    ] = "127.0.0.1:8001"
    socket: Annotated[
        str | None,
        Setting(
            form="path",
            why="Unix socket that is served as well, for its owner only: `poruwa add`, `drain` and "
            "the other verbs change the running gateway there without a token.",
        ),
    ] = None
    token: Annotated[
        Secret | None,
        Setting(
            why="Bearer token; required as soon as the address is not loopback, and for commands "
            "at any TCP address."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The worker processes and the queue in front of the pool."""

    workers: Annotated[
        int,
        Setting(
            least=1, most=256, zero="one per core", why="A worker is one event loop, one core."
        ),
    ] = 0
    queue_requests: Annotated[
        int,
        Setting(
            least=1,
            most=100_000,
            zero="no queue: 503 at once",
            unit="requests per worker",
            why="Holds requests while no instance is ready, e.g. during a restart.",
        ),
    ] = 1000
    queue_seconds: Annotated[
        float,
        Setting(
            least=0.01,
            most=300,
            why="Longest wait in the queue; then the client gets 503 and Retry-After.",
        ),
    ] = 5.0
    guard: Annotated[
        bool,
        Setting(
            why="Refuse forged requests, cookie bombs and what is asked of /_poruwa/ from outside; "
            "without a policy file it is off."
        ),
    ] = True
    timing_key: Annotated[
        Secret | None,
        Setting(
            why="Requests with Poruwa-Timing: KEY are told queue and tries in Server-Timing; "
            "without a key only clients on this machine are."
        ),
    ] = None
    old_workers_seconds: Annotated[
        float,
        Setting(
            least=0,
            most=604_800,
            why="What workers replaced by a reload or upgrade may take to end; then their "
            "WebSockets are cut. Ten minutes: a reload a minute leaves ten sets of them in memory.",
        ),
    ] = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one client, one request and one connection may use."""

    request_line_bytes: Annotated[
        int, Setting(least=512, most=1 << 20, why="Longer request lines get 414.")
    ] = 8192
    header_bytes: Annotated[
        int, Setting(least=1024, most=1 << 20, why="Larger header sections get 431.")
    ] = 32_768
    header_count: Annotated[
        int, Setting(least=8, most=10_000, unit="fields", why="More fields get 431.")
    ] = 100
    body_bytes: Annotated[
        int,
        Setting(
            least=1, most=1 << 40, zero="no limit", why="Larger bodies get 413; a route may differ."
        ),
    ] = 10 * 1024 * 1024
    connections: Annotated[
        int,
        Setting(
            least=1, most=1_000_000, unit="connections", why="Open client connections per worker."
        ),
    ] = 20_000
    connections_per_client: Annotated[
        int,
        Setting(
            least=1,
            most=1_000_000,
            zero="no limit",
            unit="connections per address and worker",
            why="0, since many people may share one address; a site at the edge sets it.",
        ),
    ] = 0
    upstream_connections_per_instance: Annotated[
        int,
        Setting(
            least=1,
            most=65_535,
            unit="connections per worker",
            why="A slow instance must not take every descriptor of a worker.",
        ),
    ] = 256
    buffer_bytes: Annotated[
        int,
        Setting(
            least=4096,
            most=64 << 20,
            why="Bytes held per direction before the sender is told to wait: bounds memory per "
            "connection.",
        ),
    ] = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Deadlines of the gateway towards clients and instances."""

    header_seconds: Annotated[
        float,
        Setting(
            least=0.1,
            most=600,
            why="From the first byte of a request to the end of its head (408): slow clients.",
        ),
    ] = 10.0
    idle_seconds: Annotated[
        float,
        Setting(
            least=0.1, most=86_400, why="Client keep-alive without a request (as nginx: 75 s)."
        ),
    ] = 75.0
    body_seconds: Annotated[
        float,
        Setting(least=0.1, most=3600, why="Between two reads from, or writes to, a client."),
    ] = 30.0
    connect_seconds: Annotated[
        float,
        Setting(
            least=0.01, most=60, why="To reach an instance; two seconds cover one lost SYN packet."
        ),
    ] = 2.0
    first_byte_seconds: Annotated[
        float,
        Setting(
            least=0.01,
            most=86_400,
            zero="none",
            why="From the sent request to the first byte of the answer (504); a route may differ.",
        ),
    ] = 60.0
    response_seconds: Annotated[
        float,
        Setting(least=0.01, most=86_400, zero="none", why="Between two reads from an instance."),
    ] = 60.0
    upstream_idle_seconds: Annotated[
        float,
        Setting(
            least=0.1,
            most=3600,
            why="An unused connection to an instance is closed after this; below the 5 s after "
            "which uvicorn closes its side, so that the race is rare.",
        ),
    ] = 4.0
    tunnel_seconds: Annotated[
        float,
        Setting(
            least=1,
            most=604_800,
            zero="none",
            why="Silence allowed on a WebSocket or other tunnel.",
        ),
    ] = 3600.0
    drain_seconds: Annotated[
        float,
        Setting(
            least=0, most=3600, why="What a stopping worker or drained instance may take to finish."
        ),
    ] = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom the gateway believes about the client's address and scheme."""

    proxies: Annotated[
        tuple[str, ...],
        Setting(
            form="network-or-unix",
            why="Addresses or networks whose Forwarded, X-Forwarded-* and PROXY header count; "
            '"unix" for peers on a Unix socket. Nobody by default.',
        ),
    ] = ()
