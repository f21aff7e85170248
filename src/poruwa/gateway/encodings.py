"""Compressed variants of what is stored: made once, off the event loop, when somebody can use them.

Only under a class of the policy, where the origin is asked for content without a coding; what
another origin says byte for byte is passed on so. The first client that accepts a coding gets what
is there; a thread meanwhile makes the variant, and those after get that. A variant is an entry of
its own: it is charged, evicted and purged like any other, and ends with the entry it was made from.

Sources: RFC 9110 section 8.4.1 (codings), section 8.8.3 (each variant has an entity tag of its
own), section 12.5.3 (which one a client wants); RFC 8878 (zstd: a window of 8 MiB at most, by
RFC 9659).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import brotli
import zstandard

from poruwa.gateway.stored import EncodedResponse, StoredResponse
from poruwa.rules.vary import IDENTITY, preferred_codings

if TYPE_CHECKING:
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.cache_rules import CacheRule
    from poruwa.gateway.gateway import Gateway

LEAST_GAIN: Final = 0.9  # of the size; more is not worth another copy
PENDING: Final = 64  # variants being made or waiting for a thread
# About 10 ms for 100 KB of HTML, and within 5 % of the smallest: it is done once for many.
_BROTLI_QUALITY: Final = 6
_ZSTD_LEVEL: Final = 9
_GZIP_LEVEL: Final = 7
_GZIP_WINDOW: Final = 31  # zlib's way to ask for gzip's framing


class Encodings:
    """Finds and makes the compressed variants of one worker's cache."""

    __slots__ = ("_cache", "_gateway", "_pending")

    def __init__(self, gateway: Gateway, cache: GatewayCache) -> None:
        self._gateway = gateway
        self._cache = cache
        self._pending: set[bytes] = set()

    def best(self, entry: StoredResponse, accept: bytes, rule: CacheRule) -> StoredResponse:
        """Return the variant of ``entry`` that a client wants most, of those that are there."""
        for coding in preferred_codings(accept):
            if coding == IDENTITY:
                break
            key = entry.key + b"\n" + coding
            found = self._cache.store.get(key)
            if isinstance(found, EncodedResponse) and found.base is entry:
                return found
            if key not in self._pending and len(self._pending) < PENDING:
                self._pending.add(key)
                self._gateway.loop.create_task(self._make(entry, key, coding, rule))
            break  # once made it is served; what is less wanted is not made for the meantime
        return entry

    async def _make(
        self, entry: StoredResponse, key: bytes, coding: bytes, rule: CacheRule
    ) -> None:
        try:
            body = await self._gateway.loop.run_in_executor(None, encode, entry.body, coding)
            if len(body) > len(entry.body) * LEAST_GAIN:
                entry.is_compressible = False
            elif self._cache.store.peek(entry.key) is entry:  # not purged or replaced meanwhile
                self._cache.keep_variant(EncodedResponse(entry, key, coding, body), rule)
        finally:
            self._pending.discard(key)


def encode(body: bytes, coding: bytes) -> bytes:
    """Return ``body`` in a content coding; for a thread: all three let others run."""
    if coding == b"br":
        encoded: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
        return encoded
    if coding == b"zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()
