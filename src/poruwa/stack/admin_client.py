"""Asks a gateway's admin listener for its status, and sends it commands."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from poruwa.config.address import Address, parse_address
from poruwa.errors import ProtocolError, StackError
from poruwa.net.http1 import parse_response_head

TIMEOUT_SECONDS = 3.0
_ANSWER_LIMIT_BYTES = 16 * 1024 * 1024


async def fetch_status(address_text: str, *, token: str | None = None) -> dict[str, Any]:
    """Return the JSON of ``/status`` at ``address_text``.

    Raises:
        StackError: nobody answers there in time, or not with a status.
    """
    address = _address(address_text)
    status, found = await _ask(address, "GET", "/status", None, token, TIMEOUT_SECONDS)
    if status == 401:
        raise StackError(f"the admin listener at {address} wants another token")
    if status != 200 or "ready" not in found:
        raise StackError(f"what answers at {address} is not an admin listener")
    return found


async def send_command(
    address_text: str,
    verb: str,
    arguments: Mapping[str, Any],
    *,
    token: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Carry out a command at ``address_text`` and return what it did.

    Raises:
        StackError: it is refused, with the gateway's reason, or nobody answers in time; whether it
            was carried out is then not known.
    """
    address = _address(address_text)
    body = msgspec.json.encode(arguments)
    status, found = await _ask(address, "POST", f"/v1/{verb}", body, token, timeout_seconds)
    if status != 200:
        reason = found.get("detail") or f"the admin listener at {address} answers {status}"
        raise StackError(str(reason), status_hint=status)
    return found


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise StackError(f"--admin: {error}.") from error


async def _ask(
    address: Address,
    method: str,
    path: str,
    body: bytes | None,
    token: str | None,
    timeout_seconds: float,
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of an answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    request = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + (body or b"")
    try:
        async with asyncio.timeout(timeout_seconds):
            status, answer = await _exchange(address, request)
    except (OSError, TimeoutError, EOFError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer in time"
        raise StackError(f"the admin listener at {address} does not answer: {reason}") from error
    try:
        found = msgspec.json.decode(answer)
    except msgspec.DecodeError as error:
        raise StackError(f"what answers at {address} is not an admin listener") from error
    if not isinstance(found, dict):
        raise StackError(f"what answers at {address} is not an admin listener")
    return status, found


async def _exchange(address: Address, request: bytes) -> tuple[int, bytes]:
    if address.is_unix:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host or "localhost", address.port)
    try:
        writer.write(request)
        head = parse_response_head(await reader.readuntil(b"\r\n\r\n"))
        length = head.fields.get(b"content-length")
        if length is None or int(length) > _ANSWER_LIMIT_BYTES:
            raise ProtocolError("an answer without a sensible length")
        return head.status, await reader.readexactly(int(length))
    finally:
        writer.close()
