"""Every exception of the platform.

One hierarchy. A subclass exists only where a caller acts differently on it. Errors of libraries
are mapped to these at the edge where they arise, with ``raise ... from``.
"""

from __future__ import annotations

from enum import Enum

FAILURE_PREFIX = "poruwa: "  # of the line that a program of ours ends with


class ErrorSource(Enum):
    """Whose doing an error is: decides the status sent and who is paged."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    STORE = "store"
    INTERNAL = "internal"


class PoruwaError(Exception):
    """Base of all errors of the platform.

    Args:
        message: what was wrong and what would be right, one sentence each, no trailing newline.
        source: whose doing it is.
        retryable: whether the same call may succeed when made again unchanged.
        status_hint: the HTTP status (100-999) that a gateway would answer with.
    """

    def __init__(
        self,
        message: str,
        *,
        source: ErrorSource = ErrorSource.INTERNAL,
        retryable: bool = False,
        status_hint: int = 500,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.retryable = retryable
        self.status_hint = status_hint


class ConfigError(PoruwaError):
    """A policy file, or a command line, that cannot be used. The message names place and remedy."""


class ProtocolError(PoruwaError):
    """Bytes of a peer that are not the protocol it should speak."""


class UpstreamError(PoruwaError):
    """An instance that could not be reached or did not answer as it should."""


class StackError(PoruwaError):
    """A part of the stack that cannot start or run: busy port, missing package, full disk."""


class BusUnavailable(PoruwaError):
    """The change log cannot be reached: nothing was written, or it is not known whether it was.

    A write that has not begun is refused; one that has is published later by the relay.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, source=ErrorSource.STORE, retryable=True, status_hint=503)


class WriteRefused(PoruwaError):
    """A write of which nothing is stored: the caches could not be told of it, or it met another.

    The same write may succeed when made again.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, source=ErrorSource.STORE, retryable=True, status_hint=503)


class WriteUnacknowledged(PoruwaError):
    """A write that is stored, but not every cache is known to know of it.

    The relay tells them, by itself. Making the write again would make it twice.

    Attributes:
        is_stored: None where the database did not say; if it is, the relay finds it.
        position: in the log of changes; None where it did not get there yet.
    """

    def __init__(
        self, message: str, *, is_stored: bool | None = True, position: int | None = None
    ) -> None:
        super().__init__(message, source=ErrorSource.STORE, retryable=False, status_hint=503)
        self.is_stored = is_stored
        self.position = position
