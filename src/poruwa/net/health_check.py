"""One active health check: a request (or only a connection) to an instance, and what came of it.

Speaks the least of HTTP/1.1: one request with ``Connection: close``, the final response's head read
by the same strict parser as live traffic, the body only as far as an expected text needs. What a
series of results means is decided in ``rules.health``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from poruwa.config.address import parse_address
from poruwa.config.model import Health, HealthKind
from poruwa.errors import ProtocolError
from poruwa.net.http1 import parse_response_head
from poruwa.rules.health import CheckReason, CheckResult, judge_response

HEAD_LIMIT_BYTES = 32 * 1024
BODY_LIMIT_BYTES = 64 * 1024  # the extent that `Health.expect_body` promises to look at
_CLOSE_SECONDS = 1.0


async def check_instance(address: str, settings: Health) -> CheckResult:
    """Check the instance at ``address`` once, within ``settings.timeout_seconds``.

    Never raises for what an instance does; cancelling closes the connection.
    """
    clock = asyncio.get_running_loop().time
    started = clock()

    def failed(reason: CheckReason, detail: str) -> CheckResult:
        return CheckResult(ok=False, reason=reason, detail=detail, seconds=clock() - started)

    limit = f"{settings.timeout_seconds:g} s"
    is_connected = False

    def on_connected() -> None:
        nonlocal is_connected
        is_connected = True

    try:
        async with asyncio.timeout(settings.timeout_seconds):
            return await _check(address, settings, on_connected, lambda: clock() - started)
    except TimeoutError:
        if is_connected:
            return failed(CheckReason.TIMEOUT, f"no answer within {limit}")
        return failed(CheckReason.CONNECT_TIMEOUT, f"no connection within {limit}")
    except ProtocolError as error:
        return failed(CheckReason.NOT_HTTP, f"not HTTP: {error.message}")
    except ConnectionRefusedError:
        return failed(CheckReason.REFUSED, "connection refused")
    except FileNotFoundError:
        return failed(CheckReason.REFUSED, "its socket does not exist")
    except (ConnectionResetError, BrokenPipeError, EOFError):
        return failed(CheckReason.CLOSED, "connection closed before an answer")
    except OSError as error:
        return failed(CheckReason.UNREACHABLE, (error.strerror or str(error)).lower())


async def _check(
    address_text: str,
    settings: Health,
    on_connected: Callable[[], None],
    elapsed: Callable[[], float],
) -> CheckResult:
    address = parse_address(address_text)
    if address.is_unix:
        reader, writer = await asyncio.open_unix_connection(address.path, limit=HEAD_LIMIT_BYTES)
    else:
        reader, writer = await asyncio.open_connection(
            address.host, address.port, limit=HEAD_LIMIT_BYTES
        )
    on_connected()
    try:
        if settings.kind is HealthKind.TCP:
            return CheckResult(ok=True, detail="connected", seconds=elapsed())
        host = settings.host or ("localhost" if address.is_unix else str(address))
        writer.write(
            f"{settings.method} {settings.path} HTTP/1.1\r\nHost: {host}\r\n"
            "User-Agent: poruwa-health\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        status, body = await _read_response(reader, settings.expect_body)
        return judge_response(
            status,
            body,
            expect_status=settings.expect_status,
            expect_body=settings.expect_body,
            seconds=elapsed(),
        )
    finally:
        # An abort, not a close: lingering would hold a socket per check of a frozen instance.
        writer.transport.abort()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await writer.wait_closed()


async def _read_response(
    reader: asyncio.StreamReader, expect_body: str | None
) -> tuple[int, bytes]:
    """Return status and, where a text is expected, so much of the body as it takes to find it."""
    status = 100
    while 100 <= status < 200:  # interim responses come before the one that counts
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise ProtocolError(f"a head of more than {HEAD_LIMIT_BYTES} bytes") from error
        status = parse_response_head(raw).status
    body = b""
    if expect_body is not None:
        # Chunk sizes stay in: they hide a text only where the sender cut it in two.
        wanted = expect_body.encode()
        while wanted not in body and len(body) < BODY_LIMIT_BYTES:
            data = await reader.read(BODY_LIMIT_BYTES - len(body))
            if not data:
                break
            body += data
    return status, body
