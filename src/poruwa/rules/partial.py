"""Parts of representations: which are asked for, which are held, how they are put together.

Used by the cache for responses of 206, for those that ended early, and for requests of ranges.
Preconditions, If-Range and the one range of most requests are ``conditional``'s; ask
``range_applies`` there before ``parse_ranges`` here.

Source: RFC 9111 sections 3.3 and 3.4, RFC 9110 sections 14 and 15.3.7. Ranges are pairs of start
and end, in bytes, the end not included. Nothing here raises on bytes of strangers, and time is
linear in their number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_SEGMENTS: Final = 16
"""Segments held of one representation. Players and downloads have one or two that grow."""

MAX_RANGES: Final = 16
"""Ranges answered of one request; one of more is answered with the whole (RFC 9110 section 17.15:
many small ranges are an attack)."""

_RANGES_UNIT: Final = re.compile(rb"bytes=", re.IGNORECASE)
_ONE_RANGE: Final = re.compile(rb"(\d{0,18})-(\d{0,18})")
_CONTENT_RANGE: Final = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(?:(\d{1,18})|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRange:
    """What a part is of the whole; ``complete_length`` is None where the sender does not know."""

    start: int
    end: int
    complete_length: int | None


def parse_content_range(value: bytes | None) -> ContentRange | None:
    """Return the range that a 206 carries, or None if it is not valid (RFC 9110 section 14.4).

    None too for the form of a 416, which has no range.
    """
    match = None if value is None else _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    complete = None if match[3] is None else int(match[3])
    if last < first or (complete is not None and complete <= last):
        return None
    return ContentRange(start=first, end=last + 1, complete_length=complete)


def format_content_range(start: int, end: int, complete_length: int | None) -> bytes:
    """Return the value of Content-Range for a range that is not empty."""
    if complete_length is None:
        return b"bytes %d-%d/*" % (start, end - 1)
    return b"bytes %d-%d/%d" % (start, end - 1, complete_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """The bytes held of one representation that is not whole, or was not.

    Made by ``first_segment`` and ``combine``, which keep ``parts`` sorted, not touching each
    other, none empty, ``MAX_SEGMENTS`` at most.

    Attributes:
        parts: pairs of start and bytes.
        total: the bytes of the whole; None where unknown.
        etag: a strong entity tag, with its quotes; empty where there is none.
        last_modified: the field value if it is a strong validator (RFC 9110 section 8.8.2.2: a
            second or more before Date), else empty.
    """

    parts: tuple[tuple[int, bytes], ...]
    total: int | None
    etag: bytes
    last_modified: bytes

    def read(self, start: int, end: int) -> bytes | None:
        """Return the bytes from ``start`` up to ``end``, or None if not all of them are held."""
        for at, data in self.parts:
            if at <= start and end <= at + len(data):
                return data[start - at : end - at]
        return None

    def beginning(self) -> bytes:
        """Return the bytes that are held from the first one on; empty if that is missing."""
        start, data = self.parts[0]
        return b"" if start else data

    def whole(self) -> bytes | None:
        """Return the whole representation once it is held, else None."""
        if self.total is None or len(self.parts) != 1:
            return None
        start, data = self.parts[0]
        return data if start == 0 and len(data) == self.total else None


def first_segment(
    start: int, data: bytes, *, total: int | None, etag: bytes, last_modified: bytes
) -> Segments | None:
    """Return what is held after a 206, or after a 200 that ended early (RFC 9111 section 3.3).

    None for no data, and for data that would not fit into ``total``.

    Args:
        start: of the data in the representation.
        total: see ``Segments``, as for those below.
        etag: weak ones are taken for none.
        last_modified: to be left empty where it is no strong validator.
    """
    if not data or start < 0 or (total is not None and start + len(data) > total):
        return None
    strong = b"" if etag.startswith(b"W/") else etag
    return Segments(parts=((start, data),), total=total, etag=strong, last_modified=last_modified)


def combine(segments: Segments, newer: Segments) -> Segments | None:
    """Return what is held of both, or None if they may be of different representations.

    RFC 9111 section 3.4 and RFC 9110 section 15.3.7.3: they must share a strong validator, and
    here must not contradict each other either, in another validator, in the length of the whole
    or in bytes that both have. Where not combined, the newer one alone may replace the older.
    Beyond ``MAX_SEGMENTS`` the smallest parts are given up.

    Touching parts become one, at the cost of copying them.
    """
    if not _is_same(segments, newer):
        return None
    total = segments.total if newer.total is None else newer.total
    parts: list[tuple[int, bytes]] = []
    for start, data in sorted((*segments.parts, *newer.parts), key=_start_of):
        if not parts or parts[-1][0] + len(parts[-1][1]) < start:
            parts.append((start, data))
            continue
        before_start, before = parts[-1]
        offset = start - before_start
        overlap = before[offset : offset + len(data)]
        if overlap != data[: len(overlap)]:
            return None
        if len(overlap) < len(data):
            parts[-1] = (before_start, before + data[len(overlap) :])
    if total is not None and parts[-1][0] + len(parts[-1][1]) > total:
        return None
    while len(parts) > MAX_SEGMENTS:
        parts.remove(min(parts, key=_length_of))
    return Segments(
        parts=tuple(parts),
        total=total,
        etag=newer.etag or segments.etag,
        last_modified=newer.last_modified or segments.last_modified,
    )


def is_rest(
    held: Segments, brought: ContentRange, *, etag: bytes, last_modified: bytes, length: int
) -> bool:
    """Tell whether a 206 brings all that is missing behind ``held.beginning()``.

    Args:
        etag, last_modified: of the 206, as for ``first_segment``.
        length: of its content, negative where unknown. One that is not what the range says is
            found out too late to mend it, so that it is refused here.
    """
    strong = b"" if etag.startswith(b"W/") else etag
    newer = Segments(
        parts=(), total=brought.complete_length, etag=strong, last_modified=last_modified
    )
    return (
        brought.start == len(held.beginning())
        and brought.end == held.total
        and length == brought.end - brought.start
        and _is_same(held, newer)
    )


def _is_same(one: Segments, other: Segments) -> bool:
    """Tell whether both are of the same representation: a validator is shared, none differs."""
    if one.total is not None and other.total is not None and one.total != other.total:
        return False
    both_tagged = bool(one.etag and other.etag)
    both_dated = bool(one.last_modified and other.last_modified)
    if both_tagged and one.etag != other.etag:
        return False
    if both_dated and one.last_modified != other.last_modified:
        return False
    return both_tagged or both_dated


def _start_of(part: tuple[int, bytes]) -> int:
    return part[0]


def _length_of(part: tuple[int, bytes]) -> int:
    return len(part[1])


def parse_ranges(value: bytes, size: int) -> list[tuple[int, int]] | None:
    """Return the ranges that a ``Range`` field asks for (RFC 9110 section 14.2).

    Empty where the field is to be ignored and the whole is the answer: units other than bytes,
    anything malformed, more than ``MAX_RANGES``, and ranges of an empty representation, of which
    no Content-Range can speak. None where no range is satisfiable (416). Those that are not are
    left out beside others; those that overlap or touch become one, in the place of the first.

    Args:
        value: lines joined by ``", "``.
        size: of the representation, in bytes.
    """
    unit = _RANGES_UNIT.match(value)
    if unit is None or not size:
        return []
    asked = 0
    ranges: list[tuple[int, int]] = []
    for member in value[unit.end() :].split(b","):
        text = member.strip(b" \t")
        if not text:  # section 5.6.1.2: empty elements do not count
            continue
        asked += 1
        match = _ONE_RANGE.fullmatch(text)
        if match is None or asked > MAX_RANGES:
            return []
        first, last = match[1], match[2]
        if first:
            start = int(first)
            if last and int(last) < start:
                return []
            end = min(int(last) + 1, size) if last else size
        elif last:
            start, end = max(size - int(last), 0), size
        else:
            return []
        if start < end:
            _add_range(ranges, start, end)
    if not asked:
        return []
    return ranges or None


def _add_range(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a range, made one with those that it overlaps or touches."""
    place = len(ranges)
    for index in range(len(ranges) - 1, -1, -1):
        other_start, other_end = ranges[index]
        if other_start <= end and start <= other_end:
            start, end = min(start, other_start), max(end, other_end)
            del ranges[index]
            place = index
    ranges.insert(place, (start, end))


def multipart_body(
    parts: Sequence[tuple[int, bytes]],
    content_type: bytes | None,
    boundary: bytes,
    total: int | None,
) -> bytes:
    """Return the content of a 206 with several ranges (RFC 9110 section 15.3.7.2, RFC 2046).

    The response's own Content-Type is ``multipart/byteranges; boundary=`` and the boundary; it has
    no Content-Range.

    Args:
        parts: pairs of start and bytes.
        content_type: the whole representation's; None where it has none.
        boundary: letters and digits, 70 at most, too random to occur in the bytes.
        total: the bytes of the whole; None where unknown.
    """
    pieces: list[bytes] = []
    for start, data in parts:
        pieces.append(b"--%b\r\n" % boundary)
        if content_type is not None:
            pieces.append(b"Content-Type: %b\r\n" % content_type)
        content_range = format_content_range(start, start + len(data), total)
        pieces.append(b"Content-Range: %b\r\n\r\n" % content_range)
        pieces.append(data)
        pieces.append(b"\r\n")
    pieces.append(b"--%b--\r\n" % boundary)
    return b"".join(pieces)
