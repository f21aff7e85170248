"""Asks a gateway's admin listener for its status."""

from __future__ import annotations

import asyncio
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
    try:
        address = parse_address(address_text)
    except ValueError as error:
        raise StackError(f"--admin: {error}.") from error
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, body = await _get(address, "/status", token)
    except (OSError, TimeoutError, EOFError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer in time"
        raise StackError(f"the admin listener at {address} does not answer: {reason}") from error
    if status == 401:
        raise StackError(f"the admin listener at {address} wants another token")
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise StackError(f"what answers at {address} is not an admin listener") from error
    if status != 200 or not isinstance(found, dict) or "ready" not in found:
        raise StackError(f"what answers at {address} is not an admin listener")
    return found


async def _get(address: Address, path: str, token: str | None) -> tuple[int, bytes]:
    if address.is_unix:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host or "localhost", address.port)
    try:
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"{authorization}\r\n".encode()
        )
        head = parse_response_head(await reader.readuntil(b"\r\n\r\n"))
        length = head.fields.get(b"content-length")
        if length is None or int(length) > _ANSWER_LIMIT_BYTES:
            raise ProtocolError("an answer without a sensible length")
        return head.status, await reader.readexactly(int(length))
    finally:
        writer.close()
