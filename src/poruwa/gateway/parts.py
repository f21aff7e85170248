"""Parts of representations that the cache keeps: answered from, added to, continued.

Place on the path: beside `gateway.fill`, for requests of byte ranges and for what is held in part
only. Plain RFC 9111 mode: classes of a policy fetch the whole and cut it.

- A range of which nothing is stored goes to the origin as it is (`PartFill`). The 206 that comes is
  streamed to who asked, and kept.
- A part answers the ranges that lie within it, and once more the very range that brought it.
- Parts of one representation grow together (`merged`); with the last byte they become an entry as
  any other.
- A request for the whole, of which the beginning is held, asks for the rest only (`RestFill`).

Source: RFC 9111 sections 3.3 and 3.4, RFC 9110 sections 14 and 15.3.7; the rules are in
``rules.partial``. Bytes are put together only where a strong validator says that they belong
together.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from poruwa.gateway.fill import ITS_OWN, Fill
from poruwa.gateway.heads import stored_block
from poruwa.gateway.stored import RESPONSE_BYTES, StoredResponse, hit_lines, lines_of
from poruwa.net.http1 import RequestHead, ResponseHead
from poruwa.rules.cache_control import Directives
from poruwa.rules.conditional import Representation, range_applies, select
from poruwa.rules.freshness import ReuseAction, decide_reuse
from poruwa.rules.partial import (
    ContentRange,
    Segments,
    combine,
    first_segment,
    format_content_range,
    is_rest,
    multipart_body,
    parse_content_range,
    parse_ranges,
)
from poruwa.rules.stored_response import updated_lines

if TYPE_CHECKING:
    from poruwa.gateway.cache import CachePlan, GatewayCache
    from poruwa.gateway.exchange import Exchange

PART_MARK: Final = b"\n\0part"
"""After the key of the whole: what a part is found by. No variant's key ends so."""

PART_NAMES: Final = ITS_OWN - {b"range", b"if-range"}
"""Fields of a client that a `PartFill` does not pass on."""

_OF_ONE_PART: Final = frozenset((b"content-range", b"content-md5", b"content-digest"))
"""Fields of a response that speak of its own bytes, not of the representation."""

_CONTENT_TYPE: Final = frozenset((b"content-type",))
_CONDITIONS: Final = (b"if-none-match", b"if-modified-since")
_IF_FIELDS: Final = (*_CONDITIONS, b"if-range")


class StoredPart(StoredResponse):
    """What is held of a representation that is not held whole.

    Attributes:
        segments: the bytes.
        asked: the Range field that brought the latest of them; ``asked_start`` and ``asked_end``
            are where these are, ``content_range`` what the origin called them.
    """

    __slots__ = ("asked", "asked_end", "asked_start", "content_range", "segments")

    segments: Segments

    def __init__(self, primary: bytes, key: bytes) -> None:
        super().__init__(primary, key)
        self.asked = b""
        self.asked_start = 0
        self.asked_end = 0
        self.content_range = b""

    def charge(self) -> None:
        held = sum([len(data) for _, data in self.segments.parts])
        self.size = RESPONSE_BYTES + len(self.key) + len(self.block) + held


def is_range_alone(head: RequestHead) -> bool:
    """Tell whether a request of a range has no other condition than If-Range."""
    fields = head.fields
    return not any(name in fields for name in _CONDITIONS)


def answer_from_part(
    exchange: Exchange, part: StoredPart, directives: Directives, now: float
) -> bool:
    """Answer a request of a range from a stored part; False if it has not all that is asked for."""
    fields = exchange.head.fields
    asked = fields.get(b"range")
    if asked is None or exchange.method != b"GET":
        return False
    action = decide_reuse(directives, part.present_facts(), now).action
    if action is not ReuseAction.FRESH and action is not ReuseAction.STALE:
        return False
    segments = part.segments
    start, end = 0, 0
    content_range = b""
    if segments.total is not None:
        whole = Representation(
            size=segments.total, etag=part.etag, last_modified=part.last_modified, date=part.date
        )
        chosen = select(b"GET", fields, whole, now=now, for_cache=True)
        if chosen.status == 206:
            start, end = chosen.start, chosen.end
            content_range = format_content_range(start, end, segments.total)
    data = segments.read(start, end) if content_range else None
    if data is None and asked == part.asked and not any(name in fields for name in _IF_FIELDS):
        data = segments.read(part.asked_start, part.asked_end)
        content_range = part.content_range
    if data is None:
        return False
    lines = hit_lines(part, now) + b"Content-Range: %b\r\n" % content_range
    exchange.answer_stored(206, b"206 Partial Content", part.block, lines, data, len(data))
    return True


def answer_ranges(exchange: Exchange, entry: StoredResponse, lines: bytes, now: float) -> bool:
    """Answer a request of several ranges from a whole 200; False if it is to get the whole."""
    fields = exchange.head.fields
    asked = fields.get(b"range", b"")
    if exchange.method != b"GET" or b"," not in asked:
        return False
    if not range_applies(fields.get(b"if-range"), entry.representation(), now=now):
        return False
    size = len(entry.body)
    ranges = parse_ranges(asked, size)
    if ranges is None:
        lines += b"Content-Range: bytes */%d\r\n" % size
        exchange.answer_stored(416, b"416 Range Not Satisfiable", b"", lines, b"", 0)
        return True
    if not ranges:
        return False
    block = _without(entry.block, _OF_ONE_PART)
    if len(ranges) == 1:  # what touches is one
        start, end = ranges[0]
        lines += b"Content-Range: %b\r\n" % format_content_range(start, end, size)
        body = entry.body[start:end]
    else:
        types = [value for name, value in lines_of(block) if name == b"content-type"]
        boundary = secrets.token_hex(16).encode()
        parts = [(start, entry.body[start:end]) for start, end in ranges]
        body = multipart_body(parts, types[0] if types else None, boundary, size)
        block = _without(block, _CONTENT_TYPE)
        lines += b"Content-Type: multipart/byteranges; boundary=%b\r\n" % boundary
    exchange.answer_stored(206, b"206 Partial Content", block, lines, body, len(body))
    return True


class PartFill(Fill):
    """A fetch of a range for one client, who gets it as it comes."""

    __slots__ = ("_content_range",)

    def __init__(self, cache: GatewayCache, plan: CachePlan, *, as_of: int) -> None:
        super().__init__(cache, plan, None, as_of=as_of, is_listed=False)
        self._content_range: ContentRange | None = None

    def on_head(self, head: ResponseHead, framing: int, body: bytes, *, complete: bool) -> None:
        if head.status != 206:
            super().on_head(head, framing, body, complete=complete)
            return
        self._content_range = parse_content_range(head.fields.get(b"content-range"))
        entry: StoredResponse | None = None
        if self._content_range is not None:
            entry, _ = self._cache.entry_for(self, head, time.time(), is_part=True)
        self._take_head(head, framing, entry)
        self._block = stored_block(head, self.plan.route, self.plan.primary)
        self.is_stored = entry is not None
        for reader in list(self._readers):
            self._begin_reader(reader)
        self.on_body(body, complete=complete)

    def _finish(self, body: bytes) -> None:
        entry, content_range = self._entry, self._content_range
        if content_range is None or entry is None:
            super()._finish(body)
            return
        older = self._cache.store.peek(entry.key + PART_MARK)
        part = merged(older if isinstance(older, StoredPart) else None, entry, content_range, body)
        if part is not None:
            if isinstance(part, StoredPart):
                part.asked = self.request.fields.get(b"range", b"")
            if self._cache.may_keep(self, part.tags):
                self._cache.keep(part, self.plan.rule)
        self._is_complete = True
        for reader in list(self._readers):
            self.send_to(reader)


class RestFill(Fill):
    """A fetch of the rest of what is held from its beginning on, for all who want the whole."""

    __slots__ = ("_held",)

    def __init__(
        self, cache: GatewayCache, plan: CachePlan, held: StoredPart, *, as_of: int, is_listed: bool
    ) -> None:
        super().__init__(cache, plan, None, as_of=as_of, is_listed=is_listed)
        self._held: StoredPart | None = held

    def on_head(self, head: ResponseHead, framing: int, body: bytes, *, complete: bool) -> None:
        held, self._held = self._held, None
        if held is None or head.status not in (206, 416):
            super().on_head(head, framing, body, complete=complete)
            return
        beginning = held.segments.beginning()
        content_range = parse_content_range(head.fields.get(b"content-range"))
        now = time.time()
        newer: StoredResponse | None = None
        if head.status == 206 and content_range is not None:
            newer, _ = self._cache.entry_for(self, head, now, is_part=True)
        if (
            newer is None
            or content_range is None
            or newer.key != self.plan.key
            or not is_rest(
                held.segments,
                content_range,
                etag=newer.etag,
                last_modified=_strong_date(newer),
                length=framing,
            )
        ):
            self.ask_again()
            return
        entry = StoredResponse(held.primary, self.plan.key)
        _become_whole(entry, newer, _combined_block(held, newer))
        self._take_head(head, framing, entry)
        self._status, self._status_text = 200, entry.status_text
        self._block = entry.block
        self._pieces.append(beginning)
        self._bytes = len(beginning)
        self._length = content_range.end
        self._lend_head()
        for reader in list(self._readers):
            self._begin_reader(reader)
        self.on_body(body, complete=complete)


def rest_of(part: StoredPart, directives: Directives, now: float) -> bytes:
    """Return the lines that ask for what is missing behind a part; empty where it is not worth it.

    It is for a fresh part from the first byte on, of known length, with a strong validator.
    """
    segments = part.segments
    held = len(segments.beginning())
    validator = segments.etag or segments.last_modified
    if (
        not held
        or not validator
        or segments.total is None
        or decide_reuse(directives, part.present_facts(), now).action is not ReuseAction.FRESH
    ):
        return b""
    return b"Range: bytes=%d-\r\nIf-Range: %b\r\n" % (held, validator)


def merged(
    older: StoredPart | None, newer: StoredResponse, content_range: ContentRange, data: bytes
) -> StoredResponse | None:
    """Return what is to be kept once a 206 has brought ``data``: a part, or with it the whole.

    None where the data cannot be what the answer calls it. Bytes fewer than announced, in an answer
    that is whole by its framing, are kept for what they are.

    Args:
        older: the part that is stored; what cannot be combined with it takes its place.
        newer: the entry of the 206, without data.
    """
    if len(data) > content_range.end - content_range.start:
        return None
    segments = first_segment(
        content_range.start,
        data,
        total=content_range.complete_length,
        etag=newer.etag,
        last_modified=_strong_date(newer),
    )
    if segments is None:
        return None
    block = _without(newer.block, _OF_ONE_PART)
    both = combine(older.segments, segments) if older is not None else None
    if older is not None and both is not None:
        block = _combined_block(older, newer)
        segments = both
    whole = segments.whole()
    if whole is not None:
        entry = StoredResponse(newer.primary, newer.key)
        _become_whole(entry, newer, block)
        entry.body = whole
        return entry
    part = StoredPart(newer.primary, newer.key + PART_MARK)
    _become_whole(part, newer, block)
    part.segments = segments
    part.asked_start = content_range.start
    part.asked_end = content_range.start + len(data)
    part.content_range = format_content_range(
        content_range.start, content_range.end, content_range.complete_length
    )
    return part


def _become_whole(entry: StoredResponse, newer: StoredResponse, block: bytes) -> None:
    """Give ``entry`` what the 206 of ``newer`` says of the representation."""
    entry.status, entry.status_text = 200, b"200 OK"
    entry.block = block
    entry.vary = newer.vary
    entry.tags = newer.tags
    entry.as_of = newer.as_of
    entry.log_as_of = newer.log_as_of
    entry.began_at = newer.began_at
    entry.facts = newer.facts
    entry.expires_at = newer.expires_at
    entry.etag = newer.etag
    entry.last_modified_text = newer.last_modified_text
    entry.last_modified = newer.last_modified
    entry.date = newer.date


def _combined_block(older: StoredResponse, newer: StoredResponse) -> bytes:
    """Return the field lines of both, the newer ones before the older (RFC 9111 section 3.4)."""
    lines = updated_lines(lines_of(older.block), lines_of(newer.block))
    return b"".join([b"\r\n%b: %b" % line for line in lines])


def _without(block: bytes, names: frozenset[bytes]) -> bytes:
    """Return field lines without those of ``names``, which are in lower case."""
    return b"".join(
        [
            b"\r\n" + line
            for line in block.split(b"\r\n")[1:]
            if line.partition(b":")[0].lower() not in names
        ]
    )


def _strong_date(entry: StoredResponse) -> bytes:
    """Return Last-Modified where it is a strong validator (RFC 9110 section 8.8.2.2)."""
    modified = entry.last_modified
    return entry.last_modified_text if modified is not None and entry.date > modified else b""
