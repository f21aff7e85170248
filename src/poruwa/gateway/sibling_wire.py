"""What two workers say to each other about a fill: frames on a Unix socket, one fill a connection.

| frame | from  | payload                                      | then                            |
|-------|-------|----------------------------------------------|---------------------------------|
| ASK   | asker | what is wanted (``Ask``)                     | the owner answers               |
| HEAD  | owner | the stored response without body (``Lent``)  | BODY, and END when it is whole  |
| BODY  | owner | bytes of the body, as they come              |                                 |
| END   | owner |                                              | the connection is closed        |
| GONE  | owner | status, whether that is to be remembered     | all who wait ask for themselves |
| ERROR | owner | status                                       | all who wait are told so        |
| NONE  | owner |                                              | the asker claims anew           |

A frame is its kind, the length of its payload (4 bytes, big-endian) and the payload. A connection
that ends before END, GONE, ERROR or NONE is an owner that was lost.

Both ends are of one version: the fill table's hash keeps others apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from poruwa.gateway.stored import StoredResponse
from poruwa.rules.freshness import LifetimeSource, StoredFacts

ASK: Final = 0
HEAD: Final = 1
BODY: Final = 2
END: Final = 3
GONE: Final = 4
ERROR: Final = 5
NONE: Final = 6

PIECE_BYTES: Final = 256 << 10
_PREFIX: Final = struct.Struct(">BI")


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What an asker wants.

    Attributes:
        key: URL and variant, as the cache knows them.
        since: what was begun earlier, in monotonic ns, may lack a change and is of no use.
        joins: whether a fill under way will do.
        takes_stored: whether a fresh stored response will do.
    """

    key: bytes
    since: int
    joins: bool
    takes_stored: bool


class Lent(msgspec.Struct, frozen=True, kw_only=True):
    """A stored response without its body; ``length`` as ``Exchange.begin_stream`` takes it."""

    primary: bytes
    key: bytes
    status: int
    status_text: bytes
    block: bytes
    vary: tuple[bytes, ...]
    tags: tuple[bytes, ...]
    viewed_as: bytes
    etag: bytes
    last_modified_text: bytes
    last_modified: int | None
    date: int
    expires_at: float
    began_at: int
    log_as_of: int
    born_at: float
    lifetime_seconds: float
    lifetime_source: LifetimeSource
    flags: tuple[bool, bool, bool]
    stale_while_revalidate_seconds: float
    stale_if_error_seconds: float | None
    length: int


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not for all; its ``status``, and whether to remember the URL by it."""

    status: int
    is_remembered: bool


decode_ask = msgspec.msgpack.Decoder(Ask).decode
decode_lent = msgspec.msgpack.Decoder(Lent).decode
decode_gone = msgspec.msgpack.Decoder(Gone).decode
decode_status = msgspec.msgpack.Decoder(int).decode
encode = msgspec.msgpack.encode


def lent(entry: StoredResponse, length: int) -> Lent:
    """Return what of ``entry`` goes ahead of its body."""
    facts = entry.facts
    return Lent(
        primary=entry.primary,
        key=entry.key,
        status=entry.status,
        status_text=entry.status_text,
        block=entry.block,
        vary=entry.vary,
        tags=entry.tags,
        viewed_as=entry.viewed_as,
        etag=entry.etag,
        last_modified_text=entry.last_modified_text,
        last_modified=entry.last_modified,
        date=entry.date,
        expires_at=entry.expires_at,
        began_at=entry.began_at,
        log_as_of=entry.log_as_of,
        born_at=facts.born_at,
        lifetime_seconds=facts.lifetime_seconds,
        lifetime_source=facts.lifetime_source,
        flags=(facts.must_revalidate, facts.no_cache, facts.immutable),
        stale_while_revalidate_seconds=facts.stale_while_revalidate_seconds,
        stale_if_error_seconds=facts.stale_if_error_seconds,
        length=length,
    )


def entry_of(head: Lent) -> StoredResponse:
    """Return the entry, yet without a body, that a sibling lends."""
    entry = StoredResponse(head.primary, head.key)
    entry.status, entry.status_text, entry.block = head.status, head.status_text, head.block
    entry.vary, entry.tags, entry.viewed_as = head.vary, head.tags, head.viewed_as
    entry.etag, entry.last_modified_text = head.etag, head.last_modified_text
    entry.last_modified, entry.date = head.last_modified, head.date
    entry.expires_at, entry.began_at = head.expires_at, head.began_at
    entry.log_as_of = head.log_as_of
    must_revalidate, no_cache, immutable = head.flags
    entry.facts = StoredFacts(
        born_at=head.born_at,
        lifetime_seconds=head.lifetime_seconds,
        lifetime_source=head.lifetime_source,
        must_revalidate=must_revalidate,
        no_cache=no_cache,
        immutable=immutable,
        stale_while_revalidate_seconds=head.stale_while_revalidate_seconds,
        stale_if_error_seconds=head.stale_if_error_seconds,
    )
    return entry


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return _PREFIX.pack(kind, len(payload)) + payload


class FrameReader:
    """Takes frames off a stream of bytes."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and payload of each frame that is whole."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _PREFIX.size:
            kind, size = _PREFIX.unpack_from(buffer, at)
            end = at + _PREFIX.size + size
            if len(buffer) < end:
                break
            yield kind, bytes(buffer[at + _PREFIX.size : end])
            at = end
        del buffer[:at]
