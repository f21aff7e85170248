"""The admin listener: metrics for Prometheus, status for people and programs, and commands.

Served by the control process, beside and not on the path of a request: a gateway under full load
still answers here. What it tells and does comes from an `AdminSource`.

``GET /healthz``    200 while the control process runs
``GET /readyz``     200 when clients would be served, else 503
``GET /status``     JSON: workers, instances, listeners, build, what is not ready
``GET /metrics``    Prometheus text
``POST /v1/VERB``   a command, its arguments a JSON object; refusals are RFC 9457 problems

| listener               | reading                     | commands                                 |
|------------------------|-----------------------------|------------------------------------------|
| Unix socket            | whoever can connect         | the owner of the process, and root       |
| loopback address       | everybody on the machine    | with the bearer token, if there is one   |
| any other address      | with the bearer token       | with the bearer token                    |

``/healthz`` and ``/readyz`` are open to all. An address that is not loopback needs a token at the
start. A page of another site can neither name a local listener (the Host is compared) nor send it
a command (a form cannot say ``application/json``, and a script may not without our consent).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from poruwa.config.address import parse_address
from poruwa.errors import ConfigError, ErrorSource, PoruwaError

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PROBLEM_TYPE = "application/problem+json"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_COMMAND_LIMIT_BYTES = 64 * 1024
_KEEP_ALIVE_SECONDS = 5
_SHUTDOWN_SECONDS = 1  # a scrape under way may end; nobody else waits here
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
_UID = "uid "  # what the client of a Unix socket is called in a scope


class AdminSource(Protocol):
    """Who knows what the admin listener tells, and does what it is asked for."""

    def status(self) -> Mapping[str, Any]:
        """Return the whole state; JSON values only."""
        ...

    def not_ready_reasons(self) -> list[str]:
        """Return what is still missing, a short text each; empty when ready."""
        ...

    async def metrics(self) -> bytes:
        """Return the exposition text; bounded in time."""
        ...

    async def command(self, verb: str, arguments: Mapping[str, Any], *, who: str) -> Any:
        """Carry out ``verb`` for ``who`` and return what it did; JSON values only.

        Raises:
            PoruwaError: refused, with the status to answer; nothing has changed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one admin listener asks of those who come."""

    token: str | None
    reading_is_open: bool


def listener_access(address: str, token: str | None) -> Access:
    """Return who may do what at ``address``.

    Raises:
        ConfigError: the address is reachable from other machines and there is no token.
    """
    is_loopback = parse_address(address).is_loopback
    if not is_loopback and not token:
        raise ConfigError(
            f"The admin address {address} is not loopback, so it needs a token: set admin.token, "
            'e.g. token = "env:PORUWA_ADMIN_TOKEN".'
        )
    return Access(token=token or None, reading_is_open=is_loopback)


def make_admin_app(source: AdminSource, access: Access) -> ASGIApp:
    """Return the admin application of a listener."""

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

    async def command(request: Request) -> Response:
        try:
            who = _who_may_command(request, access)
            arguments = await _arguments(request)
            verb = request.path_params["verb"]
            return JSONResponse(await source.command(verb, arguments, who=who))
        except PoruwaError as error:
            return problem(error.status_hint, error.message)

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/status", status),
        Route("/metrics", metrics),
        Route("/v1/{verb}", command, methods=["POST"]),
    ]
    return _Guard(Starlette(routes=routes), access)


def problem(status: int, detail: str) -> Response:
    """Return a refusal (RFC 9457)."""
    phrase = HTTPStatus(status).phrase
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(
        {"type": "about:blank", "title": phrase, "status": status, "detail": detail},
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )


def _who_may_command(request: Request, access: Access) -> str:
    """Return who asks, for the log."""
    client = request.scope.get("client") or ("", 0)
    if client[0].startswith(_UID):
        uid = int(client[0].removeprefix(_UID))
        if uid not in (0, os.geteuid()):
            raise _refused(403, f"Commands are for uid {os.geteuid()} and root, not uid {uid}.")
        return f"{client[0]}, pid {client[1]}"
    if access.token is None:
        raise _refused(
            403,
            "Commands are not taken at a TCP address without a token. Use the control socket "
            "(admin.socket of the policy, or --control), or set admin.token.",
        )
    if not _has_token(request.scope, access.token):
        raise _refused(401, "A command needs the bearer token (PORUWA_ADMIN_TOKEN).")
    return f"token, {client[0]}"


async def _arguments(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _refused(415, "Send the arguments as JSON: Content-Type: application/json.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _COMMAND_LIMIT_BYTES:
            raise _refused(413, f"A command has at most {_COMMAND_LIMIT_BYTES} bytes.")
    try:
        found = msgspec.json.decode(bytes(body))
    except msgspec.DecodeError as error:
        raise _refused(400, f"The body is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise _refused(400, 'The body is not a JSON object; send e.g. {"instance": "app.1"}.')
    return found


def _refused(status: int, message: str) -> PoruwaError:
    return PoruwaError(message, source=ErrorSource.CLIENT, status_hint=status)


def _has_token(scope: Scope, token: str) -> bool:
    given: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


class _Guard:
    """Refuses requests without the token, and names a browser was lured to (DNS rebinding)."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if self._access.reading_is_open:
            headers = dict(scope["headers"])
            if is_local_name(headers.get(b"host", b"").decode("latin-1")):
                return None
            return problem(421, "Ask for localhost or an address.")
        if scope["path"] in OPEN_PATHS:
            return None
        if self._access.token is not None and _has_token(scope, self._access.token):
            return None
        return problem(401, "A bearer token is needed.")


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


class _PeerProtocol(HttpToolsProtocol):
    """Names the process behind a Unix socket as the client: ``("uid 1000", pid)``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            pid, uid, _ = _PEER.unpack(data)
            self.client = (f"{_UID}{uid}", pid)


class AdminServer(uvicorn.Server):
    """uvicorn in the loop of the control process, on a socket that is open already."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=_PeerProtocol,
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
