"""Names of a request: its trace context and its request id.

The gateway continues the trace of a valid ``traceparent`` (with its own span as the parent that the
upstream sees) or begins one; a request id is taken over from trusted hops and made otherwise.

Source: W3C Trace Context, level 1 (and the random flag of level 2). Sends no spans anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

SAMPLED_FLAG = 0x01
RANDOM_FLAG = 0x02  # level 2: the right half of the trace id is random
POOL_BYTES = 4096  # random bytes fetched at once: a system call a request would cost 0.4 us more

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.S)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}")
_MAX_TRACEPARENT_BYTES = 512


class TraceParent(NamedTuple):
    """A valid ``traceparent``: ids as lower-case hexadecimal digits (32 and 16 of them)."""

    trace_id: bytes
    parent_id: bytes
    flags: int


class RandomIds:
    """Random numbers and ids from the system's generator, fetched a page at a time.

    Args:
        entropy: returns that many unpredictable bytes; one that repeats makes tests repeat.
    """

    __slots__ = ("_at", "_entropy", "_ids", "_ids_at", "_pool")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._pool = b""
        self._at = POOL_BYTES
        self._ids = b""
        self._ids_at = 0

    def random64(self) -> int:
        """Return a number of 64 random bits."""
        return int.from_bytes(self._take(8), "big")

    def request_id(self) -> bytes:
        """Return a new request id: 128 random bits as 32 hexadecimal digits."""
        return self._take(16).hex().encode()

    def traceparent(self, *, sampled: bool = False) -> bytes:
        """Return the ``traceparent`` of a new trace: what ``child_traceparent`` does, faster."""
        ids = self._take(24).hex()
        flags = RANDOM_FLAG | SAMPLED_FLAG if sampled else RANDOM_FLAG
        # 24 random bytes are never all zeros in a part of them: 2^-64 a request.
        return f"00-{ids[:32]}-{ids[32:]}-{flags:02x}".encode()

    def digits(self, count: int) -> bytes:
        """Return up to 64 random hexadecimal digits: 32 are a trace id, or a good request id.

        Made a page at a time, so that a request pays for one slice.
        """
        at = self._ids_at
        if at + count > len(self._ids):
            self._ids = self._entropy(POOL_BYTES).hex().encode()
            at = 0
        self._ids_at = at + count
        return self._ids[at : at + count]

    def _take(self, count: int) -> bytes:
        at = self._at
        if at + count > POOL_BYTES:
            self._pool = self._entropy(POOL_BYTES)
            at = 0
        self._at = at + count
        return self._pool[at : at + count]


def parse_traceparent(value: bytes) -> TraceParent | None:
    """Return what a ``traceparent`` field says, or None if it is invalid (then drop tracestate).

    Version ff is invalid; of a version above 00 the four known parts are read (section 3.2.2).
    """
    if len(value) > _MAX_TRACEPARENT_BYTES:
        return None
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == b"ff" or (match[5] is not None and match[1] == b"00"):
        return None
    if not match[2].strip(b"0") or not match[3].strip(b"0"):
        return None
    return TraceParent(match[2], match[3], int(match[4], 16))


def child_traceparent(
    incoming: TraceParent | None, random64: Callable[[], int], *, sampled: bool = False
) -> bytes:
    """Return the ``traceparent`` to send upstream: the same trace, a new parent id.

    Without an incoming one a new trace begins, sampled if ``sampled``. Of incoming flags the two
    that are defined are kept. ``random64`` returns 64 random bits a call.
    """
    parent_id = random64() or 1  # all zeros is the one invalid id
    if incoming is not None:
        flags = incoming.flags & (SAMPLED_FLAG | RANDOM_FLAG)
        return b"00-%b-%016x-%02x" % (incoming.trace_id, parent_id, flags)
    flags = RANDOM_FLAG | (SAMPLED_FLAG if sampled else 0)
    return b"00-%016x%016x-%016x-%02x" % (random64(), random64() or 1, parent_id, flags)


def accepted_request_id(value: bytes | None, *, is_trusted: bool) -> bytes | None:
    """Return the request id a hop gave, if that hop is trusted and the id harmless in a log."""
    if value is not None and is_trusted and _REQUEST_ID.fullmatch(value):
        return value
    return None
