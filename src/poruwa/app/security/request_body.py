"""The body of a request, read by a middleware and given to the app all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive

MAX_FORM_BYTES: Final = 1 << 20


async def read_body(receive: Receive) -> bytes | None:
    """Return a whole body; None where it is longer than ``MAX_FORM_BYTES``."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_FORM_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def has_body(headers: Mapping[bytes, bytes], receive: Receive) -> tuple[bool, Receive]:
    """Return whether a request has a body, and what to receive it by.

    HTTP/1.1 says so in its fields (RFC 9112 section 6.3); from HTTP/2 on the first message does.
    """
    length = headers.get(b"content-length")
    if length is not None:
        return length.strip(b"0 ") != b"", receive
    if b"transfer-encoding" in headers:
        return True, receive
    first = await receive()
    is_there = bool(first.get("body", b"")) or bool(first.get("more_body", False))
    return is_there, once_more(first, receive)


def once_more(message: Message, receive: Receive) -> Receive:
    """Return what gives a message that was taken already to the app, then what comes after it."""
    messages = [message]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
