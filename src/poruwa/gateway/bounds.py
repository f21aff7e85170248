"""Limits and time-outs of the policy as connections look at them, several times a request.

Copies, because an attribute of a compiled class costs a few nanoseconds where one of the policy's
dataclasses costs fifty. What they mean: ``config.model_listen``.
"""

from __future__ import annotations

from poruwa.config.model import Limits, Timeouts


class ConnectionLimits:
    """Bounds on what one connection and one request may use; bytes or counts."""

    __slots__ = (
        "buffer_bytes",
        "connections",
        "connections_per_client",
        "header_bytes",
        "header_count",
        "request_line_bytes",
    )

    def __init__(self, section: Limits) -> None:
        self.buffer_bytes = section.buffer_bytes
        self.connections = section.connections
        self.connections_per_client = section.connections_per_client
        self.header_bytes = section.header_bytes
        self.header_count = section.header_count
        self.request_line_bytes = section.request_line_bytes


class ConnectionTimeouts:
    """Deadlines towards clients and instances, in seconds."""

    __slots__ = (
        "body_seconds",
        "connect_seconds",
        "header_seconds",
        "idle_seconds",
        "response_seconds",
        "tunnel_seconds",
    )

    def __init__(self, section: Timeouts) -> None:
        self.body_seconds = section.body_seconds
        self.connect_seconds = section.connect_seconds
        self.header_seconds = section.header_seconds
        self.idle_seconds = section.idle_seconds
        self.response_seconds = section.response_seconds
        self.tunnel_seconds = section.tunnel_seconds
