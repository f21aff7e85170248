"""The admin listener: metrics for Prometheus, status for people and programs, readiness for others.

Served by the control process, beside and not on the path of a request: a gateway under full load
still answers here. What it tells comes from an `AdminSource`.

``/healthz``  200 while the control process runs
``/readyz``   200 when clients would be served, else 503
``/status``   JSON: workers, instances, listeners, build, what is not ready
``/metrics``  Prometheus text

Anybody on the machine may ask on a loopback address or Unix socket. Elsewhere ``/status`` and
``/metrics`` need the bearer token; an admin listener without one is refused at the start.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from poruwa.config.address import parse_address
from poruwa.errors import ConfigError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_KEEP_ALIVE_SECONDS = 5
_SHUTDOWN_SECONDS = 1  # a scrape under way may end; nobody else waits here


class AdminSource(Protocol):
    """Who knows what the admin listener tells."""

    def status(self) -> Mapping[str, Any]:
        """Return the whole state; JSON values only."""
        ...

    def not_ready_reasons(self) -> list[str]:
        """Return what is still missing, a short text each; empty when ready."""
        ...

    async def metrics(self) -> bytes:
        """Return the exposition text; bounded in time."""
        ...


def require_token(address: str, token: str | None) -> str | None:
    """Return the token that requests at ``address`` must carry, None when they need none.

    Raises:
        ConfigError: the address is reachable from other machines and there is no token.
    """
    if parse_address(address).is_loopback:
        return None
    if not token:
        raise ConfigError(
            f"The admin address {address} is not loopback, so it needs a token: set admin.token, "
            'e.g. token = "env:PORUWA_ADMIN_TOKEN".'
        )
    return token


def make_admin_app(source: AdminSource, *, token: str | None) -> ASGIApp:
    """Return the admin application; ``token`` as `require_token` gives it."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        ready = not source.not_ready_reasons()
        return PlainTextResponse(
            "ready\n" if ready else "not ready\n", status_code=200 if ready else 503
        )

    async def status(request: Request) -> Response:
        return JSONResponse(source.status())

    async def metrics(request: Request) -> Response:
        return Response(await source.metrics(), media_type=METRICS_TYPE)

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/status", status),
        Route("/metrics", metrics),
    ]
    return _Guard(Starlette(routes=routes), token=token)


class _Guard:
    """Refuses requests without the token, and names a browser was lured to (DNS rebinding)."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if self._expected is None:
            if is_local_name(headers.get(b"host", b"").decode("latin-1")):
                return None
            return PlainTextResponse("Ask for localhost or an address.\n", status_code=421)
        if scope["path"] in OPEN_PATHS:
            return None
        if hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            return None
        return PlainTextResponse(
            "A bearer token is needed.\n", status_code=401, headers={"WWW-Authenticate": "Bearer"}
        )


def is_local_name(host: str) -> bool:
    """Return whether a Host header names localhost or a literal address, not a rebindable name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower()
    if name in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AdminServer(uvicorn.Server):
    """uvicorn in the loop of the control process, on a socket that is open already."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handlers alone: the control process has its own."""
        yield

    async def run_on(self, sock: socket.socket) -> None:
        """Serve until `stop`; cancelling drops connections."""
        await self.serve([sock])

    def stop(self) -> None:
        """Ask for the end; `run_on` returns soon after."""
        self.should_exit = True
