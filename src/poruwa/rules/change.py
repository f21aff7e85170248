"""What one entry of the change log says: what changed, and what is known of the write.

Coded as a msgpack map without the fields that have their default, so that versions of the platform
that run side by side during a deploy read each other: unknown fields are skipped, missing ones have
their default. What cannot be read means that anything may have changed.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change.

    Attributes:
        tags: of what changed.
        keys: of the cache manager, ``class\\nkey``.
        urls: as ``poruwa purge`` takes them, or what the gateway stores under.
        patterns: of URLs or keys, as ``rules.purge.compile_pattern`` takes them.
        everything: anything may have changed.
        soft: what matches has only aged; it may be served stale as its class allows.
        operation_time: MongoDB's (seconds, increment); fills read causally after it.
        written_at: wall seconds of the write, for the staleness histograms; 0 is unknown.
        source: who found out: ``write``, ``watch``, ``purge``, ``epoch``.
    """

    tags: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()
    urls: tuple[bytes, ...] = ()
    patterns: tuple[str, ...] = ()
    everything: bool = False
    soft: bool = False
    operation_time: tuple[int, int] | None = None
    written_at: float = 0.0
    source: str = ""


EVERYTHING: Final = Change(everything=True, source="epoch")
"""The first entry of every epoch."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Change)


def encode_change(change: Change) -> bytes:
    return _encoder.encode(change)


def decode_change(data: bytes) -> Change:
    """Return the change that ``data`` holds; everything where it cannot be read."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):  # ValidationError is a DecodeError
        return Change(everything=True, source="unreadable")
