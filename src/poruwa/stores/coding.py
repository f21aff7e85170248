"""What an entry of L2 looks like in the store, and how it is read with suspicion.

    offset  bytes
    0       2       "pw"
    2       1       version of this layout
    3       1       flags: 1 = the value is a zstd frame (RFC 8878)
    4       8       lifetime_seconds, float; not in the checksum, since `touch` rewrites it
    12      4       CRC-32 (ISO 3309) of the key and of everything from offset 16 on
    16      8       as_of, position
    24      8       stored_at, float, seconds since 1970
    32      8       stale_seconds, float
    40      4       length of the value before compression
    44      2       length of the tags
    46      ...     the tags, separated by NUL, then the value

All little-endian. Fixed fields instead of msgpack, so that `touch` can change one in place and the
checksum can cover the rest; reading 1 KB takes 1.0 us, half of it the checksum (msgpack without one
0.4). The checksum includes the key, so that neither a truncated or overwritten entry nor the
answer to somebody else's question (a confused proxy, a connection out of step) is ever served. It
does not protect from whoever may write to the store: that takes its password.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

import msgspec
import zstandard

COMPRESS_FROM_BYTES: Final = 1024
"""Smaller values are sent as they are: they fit into a packet or two anyway."""

LARGEST_VALUE_BYTES: Final = 16 << 20
"""Larger ones are not stored: all answers of a process come over one connection, one by one."""

LIFETIME_OFFSET: Final = 4
HEADER: Final = struct.Struct("<2sBBdIQddIH")
_CHECKED_FROM: Final = 16
_COPIED_BYTES: Final = 32_768
_MAGIC: Final = b"pw"
_VERSION: Final = 1
_ZSTD: Final = 1
_LONGEST_TAGS_BYTES: Final = 0xFFFF
_LONGEST_SECONDS: Final = 1e10
# It has to shrink by an eighth, or reading it is not worth the work.
_WORTHWHILE: Final = 7 / 8
_LEVEL: Final = 1  # 4 KB of text: 11 us, to 46 %, and 5 us to read; level 3: 15 us, 46 %


class Stored(msgspec.Struct, frozen=True):
    """A value of L2 with what decides whether it may be used.

    A struct of msgspec, which is made in a tenth of the time of a frozen dataclass; changed copies
    by ``msgspec.structs.replace``.

    Attributes:
        value: the value, encoded by whoever stores it.
        tags: what it depends on; without NUL.
        as_of: the position that its loader had applied before it began (DESIGN 6, rule 1).
        stored_at: wall time.
        lifetime_seconds: from ``stored_at`` on it is fresh for so long.
        stale_seconds: and so much longer it may be served while it is refreshed.
    """

    value: bytes
    tags: tuple[bytes, ...]
    as_of: int
    stored_at: float
    lifetime_seconds: float
    stale_seconds: float


class Unstorable(ValueError):
    """A value that cannot be written down: too large, too many tags, or numbers out of range."""


class Garbage(ValueError):
    """What the store holds is not what was stored."""


class Coder:
    """Turns entries into bytes and back. Not for several threads: it keeps zstd's contexts."""

    __slots__ = ("_compressor", "_decompressor")

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, key: bytes, stored: Stored) -> bytes:
        """Return what is stored under ``key``.

        Raises:
            Unstorable: with the reason.
        """
        value = stored.value
        length = len(value)
        if length > LARGEST_VALUE_BYTES:
            raise Unstorable(f"{length} bytes; L2 takes values up to {LARGEST_VALUE_BYTES}")
        tags = b"\0".join(stored.tags)
        if len(tags) > _LONGEST_TAGS_BYTES or tags.count(b"\0") != max(len(stored.tags) - 1, 0):
            raise Unstorable(f"{len(tags)} bytes of tags, or a NUL in one of them")
        if not (
            0 <= stored.lifetime_seconds < _LONGEST_SECONDS
            and 0 <= stored.stale_seconds < _LONGEST_SECONDS
        ):
            raise Unstorable("a lifetime that is negative or endless")
        flags = 0
        if length >= COMPRESS_FROM_BYTES:
            frame = self._compressor.compress(value)
            if len(frame) <= length * _WORTHWHILE:
                value = frame
                flags = _ZSTD
        try:
            header = HEADER.pack(
                _MAGIC, _VERSION, flags, stored.lifetime_seconds, 0,
                stored.as_of, stored.stored_at, stored.stale_seconds, length, len(tags),
            )  # fmt: skip
        except struct.error as error:
            raise Unstorable(str(error)) from None
        # An empty tag alone would read like no tags.
        if stored.tags == (b"",):
            raise Unstorable("an empty tag")
        checked = header[_CHECKED_FROM:] + tags + value
        checksum = crc32(checked, crc32(key))
        return b"".join((header[:12], checksum.to_bytes(4, "little"), checked))

    def decode(self, key: bytes, data: bytes) -> Stored:
        """Return what was stored under ``key``.

        Raises:
            Garbage: ``data`` is nothing that ``encode`` wrote for this key.
        """
        try:
            (
                magic, version, flags, lifetime, checksum,
                as_of, stored_at, stale, length, tags_length,
            ) = HEADER.unpack_from(data)  # fmt: skip
        except struct.error:
            raise Garbage(f"{len(data)} bytes are too few") from None
        if magic != _MAGIC or version != _VERSION or flags & ~_ZSTD:
            raise Garbage("of another layout")
        # Up to a size, copying is quicker than looking through a memoryview.
        rest = data if len(data) < _COPIED_BYTES else memoryview(data)
        if crc32(rest[_CHECKED_FROM:], crc32(key)) != checksum:
            raise Garbage("the checksum is another")
        if not 0 <= lifetime < _LONGEST_SECONDS:
            raise Garbage("the lifetime is none")
        begin = HEADER.size + tags_length
        value = data[begin:]
        if flags:
            value = self._decompressed(value, length)
        if len(value) != length:
            raise Garbage("the value has another length")
        tags = tuple(data[HEADER.size : begin].split(b"\0")) if tags_length else ()
        return Stored(value, tags, as_of, stored_at, lifetime, stale)

    def _decompressed(self, frame: bytes, length: int) -> bytes:
        # The frame states its size, and zstandard allocates as much: not more than is expected.
        try:
            if length > LARGEST_VALUE_BYTES or zstandard.frame_content_size(frame) != length:
                raise Garbage("the compressed value has another length")
            return self._decompressor.decompress(frame)
        except zstandard.ZstdError as error:
            raise Garbage(f"the compressed value cannot be read: {error}") from None
