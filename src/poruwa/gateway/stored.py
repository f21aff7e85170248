"""What the gateway's cache keeps: a response as it is sent, and the variants of a URL.

An entry is one object of bytes, numbers and tuples (DESIGN section 6, hot path): its head is a
block of field lines that is sent as it is, and the lines that say its age are made once a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from poruwa.observe.access_line import number_text
from poruwa.rules.conditional import Representation
from poruwa.rules.freshness import StoredFacts
from poruwa.rules.http_date import parse_http_date
from poruwa.stores.entry import OVERHEAD_BYTES, Entry

RESPONSE_BYTES = OVERHEAD_BYTES + 1_100
"""Charged for each response beyond key, head and body. Measured: 1,700 to 1,970 in a gateway that
holds 200,000 with three tags each (``python -m bench cache_store``)."""

_NO_CONTENT = frozenset((204, 304))


class StoredResponse(Entry):
    """A response as it is sent: its head as one block of bytes, without what each request adds.

    Attributes:
        primary: the URL it is found by; ``key`` is that and the variant.
        block: field lines, each with the CRLF before it.
        vary: names of the request fields that it varies on; empty under a class.
        date: when the origin sent it, in wall seconds; when it came, if it does not say.
        as_of: position of the worker's own changes that it holds (``rules.changes``).
        log_as_of: position of the change log that it holds.
        began_at: when it was asked for, in monotonic nanoseconds.
        expires_at: wall seconds; 0.0 for what is never served without asking.
        viewed_as: what it is counted as when it answers; empty for nothing (``gateway.views``).
        is_compressible: whether variants in content codings are made of it.
    """

    __slots__ = (
        "_second",
        "_second_lines",
        "as_of",
        "began_at",
        "block",
        "body",
        "date",
        "etag",
        "facts",
        "is_compressible",
        "last_modified",
        "last_modified_text",
        "log_as_of",
        "primary",
        "status",
        "status_text",
        "vary",
        "viewed_as",
    )

    facts: StoredFacts

    def __init__(self, primary: bytes, key: bytes) -> None:
        super().__init__(key, 0)
        self.primary = primary
        self.status = 200
        self.status_text = b""
        self.block = b""
        self.body = b""
        self.vary: tuple[bytes, ...] = ()
        self.viewed_as = b""
        self.as_of = 0
        self.log_as_of = 0
        self.began_at = 0
        self.etag = b""
        self.is_compressible = False
        self.last_modified_text = b""
        self.last_modified: int | None = None
        self.date = 0
        self._second = -1.0  # wall seconds, whole
        self._second_lines = b""

    def take(self, facts: StoredFacts, fields: Mapping[bytes, bytes], now: float) -> None:
        """Keep what ``fields`` say of age and validators."""
        self.facts = facts
        self.expires_at = 0.0 if facts.no_cache else facts.born_at + facts.lifetime_seconds
        self.etag = fields.get(b"etag", b"")
        self.last_modified_text = fields.get(b"last-modified", b"")
        self.last_modified = parse_http_date(self.last_modified_text, now=now)
        date = parse_http_date(fields.get(b"date", b""), now=now)
        self.date = int(now) if date is None else date

    def charge(self) -> None:
        """Set ``size`` to what keeping it takes."""
        self.size = RESPONSE_BYTES + len(self.key) + len(self.block) + len(self.body)

    def age(self, now: float) -> int:
        """Return its age in seconds."""
        return max(int(now - self.facts.born_at), 0)

    def is_fresh(self, now: float) -> bool:
        """Whether its lifetime has not passed, nor been cut by a soft purge."""
        return now < min(self.expires_at, self.facts.born_at + self.facts.lifetime_seconds) or (
            self.facts.no_cache and now < self.facts.born_at + self.facts.lifetime_seconds
        )

    def present_facts(self) -> StoredFacts:
        """Return its facts, with the lifetime that a soft purge has left of it."""
        facts = self.facts
        if facts.no_cache or self.expires_at >= facts.born_at + facts.lifetime_seconds:
            return facts
        return dataclasses.replace(
            facts, lifetime_seconds=max(self.expires_at - facts.born_at, 0.0)
        )

    def representation(self) -> Representation:
        """Return what preconditions and ranges are asked of (RFC 9111 section 4.3.2)."""
        return Representation(
            size=len(self.body), etag=self.etag, last_modified=self.last_modified, date=self.date
        )

    def hit(self, now: float, request_id: bytes, body: bytes) -> bytes:
        """Return the head of a hit in the usual case, and ``body`` after it, in one piece."""
        if self.status in _NO_CONTENT:
            length = b""
        else:
            length = b"Content-Length: %b\r\n" % number_text(len(self.body))
        return b"HTTP/1.1 %b%b\r\n%b%bX-Request-Id: %b\r\n\r\n%b" % (
            self.status_text,
            self.block,
            length,
            self._lines(now),
            request_id,
            body,
        )

    def not_modified(self, now: float, request_id: bytes) -> bytes:
        """Return a 304 that says the client's copy is the stored one.

        With all fields that describe the response, as RFC 9110 section 15.4.5 wants the few and
        allows the others: what a client keeps is then what it would have got.
        """
        return b"HTTP/1.1 304 Not Modified%b\r\n%bX-Request-Id: %b\r\n\r\n" % (
            self.block,
            self._lines(now),
            request_id,
        )

    def _lines(self, now: float) -> bytes:
        """Return ``hit_lines``, made once a second."""
        if not self._second <= now < self._second + 1.0:
            self._second = float(int(now))
            self._second_lines = hit_lines(self, now)
        return self._second_lines


class EncodedResponse(StoredResponse):
    """A stored response in a content coding.

    Attributes:
        base: the entry it was made from, whose life it shares.
    """

    __slots__ = ("base",)

    def __init__(self, base: StoredResponse, key: bytes, coding: bytes, body: bytes) -> None:
        super().__init__(base.primary, key)
        self.base = base
        self.status, self.status_text = base.status, base.status_text
        self.body = body
        self.vary = base.vary
        self.tags = base.tags
        self.as_of = base.as_of
        self.log_as_of = base.log_as_of
        self.facts = base.facts
        self.expires_at = base.expires_at
        self.last_modified_text, self.last_modified = base.last_modified_text, base.last_modified
        self.block = base.block + b"\r\nContent-Encoding: " + coding
        if base.etag:
            self.etag = base.etag[:-1] + b"-" + coding + b'"'
            self.block = self.block.replace(base.etag, self.etag, 1)


class Variants:
    """What is stored of one URL.

    Attributes:
        names: of the request fields that it varies on, as the latest response said.
        keys: of the variants.
    """

    __slots__ = ("keys", "names")

    def __init__(self) -> None:
        self.names: tuple[bytes, ...] = ()
        self.keys: set[bytes] = set()


def hit_lines(entry: StoredResponse, now: float, detail: bytes = b"") -> bytes:
    """Return the lines that say that and how a stored response answers, each with its CRLF.

    Args:
        detail: a token for Cache-Status, empty for none.
    """
    age = entry.age(now)
    return b"Age: %b\r\nCache-Status: poruwa; hit; ttl=%b%b\r\n" % (
        number_text(age),
        number_text(int(entry.present_facts().lifetime_seconds) - age),
        b"; detail=" + detail if detail else b"",
    )


def lines_of(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names, in lower case, and values of a stored block of field lines."""
    lines = []
    for line in block.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        lines.append((name.lower(), value.strip(b" \t")))
    return lines
