"""What an app tells the caches before it: tags and validators of every response.

Wraps any ASGI app, on the way out of it and before the server. Adds ``Cache-Groups`` (RFC 9875)
with the tags that were collected while the response was made, gives complete 200 responses an
``ETag`` made from their bytes, and answers 304 where the client has these bytes (RFC 9110 sections
8.8.3, 13.1.2, 15.4.5). Lifetimes are the policy's: nothing is said of them here.

With a log of changes it also tells the gateway how old the response may be at most, so that no
change is missed between the two (DESIGN section 6). These fields never leave the gateway, and it
takes none of them from clients:

- ``Poruwa-As-Of``: the position in the log that the response is not older than;
- ``Poruwa-Unsure: 1``: this process may have missed a change; not to be stored;
- ``Poruwa-Position`` of a response: that of the change that the request made; of a request: the one
  that its client must see (read your writes). It is waited for, for a moment, before the app runs.

The head of a response is kept back only where Content-Length says that its body is whole in the
next message. Streams, files and event streams pass as they are, but for the tags.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poruwa.app.tags import MAX_FIELD_BYTES, MAX_TAGS, Collector, cache_groups, collected
from poruwa.rules.conditional import Representation, select
from poruwa.rules.position import parse_position

_Fields = list[tuple[bytes, bytes]]

_ETAG_BYTES = 16  # of SHA-256: no two bodies will ever share it
# What describes the content that a 304 does not carry (RFC 9110 section 15.4.5), and the hint to
# load what goes with it.
_OF_CONTENT = frozenset(
    (
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-type",
        b"last-modified",
        b"link",
    )
)
_OF_LIFETIME = frozenset((b"cache-control", b"cdn-cache-control", b"expires"))
_logger = logging.getLogger("poruwa.app")


class Log(Protocol):
    """The log of changes, as far as responses tell of it."""

    position: int
    sure_until: float  # monotonic seconds

    async def reached(self, position: int, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until this process has applied ``position``; tell whether it has."""


class HasLog(Protocol):
    """Who has a log of changes, or none."""

    @property
    def log(self) -> Log | None: ...


class CacheHeadersMiddleware:
    """Writes ``Cache-Groups`` and ``ETag``, and answers ``If-None-Match``.

    ``app.add_middleware(poruwa.CacheHeadersMiddleware)``, outermost but for what compresses: an
    entity tag is of the bytes as they are sent.

    - An ``ETag`` of the app's own stays, and is answered by 304 alike.
    - A response with more tags than fit is marked ``no-store``, and logged: nobody could tell its
      copies that they are out of date. Tag the collection instead of each member.
    - Bodies of HEAD count as those of GET if the app sends them to the server, as Starlette and
      FastAPI do; without its body a response gets no new entity tag.
    - ``If-Match`` and ranges are not looked at.

    Args:
        app: any ASGI app.
        platform: whose log of changes it is; ``Platform.install`` gives itself.
        wait_seconds: how long a request waits for its client's own write to arrive here; then the
            caches are by-passed.

    Costs 4 us a response, 0.2 us a tag and, for the entity tag, SHA-256: 0.8 us a kilobyte.
    """

    def __init__(
        self, app: ASGIApp, *, platform: HasLog | None = None, wait_seconds: float = 0.0
    ) -> None:
        self.app = app
        self._platform = platform
        self._wait_seconds = wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        log = None if self._platform is None else self._platform.log
        if log is None:
            collector = Collector()
        else:
            needed = parse_position(_value(scope["headers"], b"poruwa-position") or b"") or 0
            if needed > log.position:
                await log.reached(needed, timeout=self._wait_seconds)
            collector = Collector(log.position, needed)
            collector.is_unsure = monotonic() >= log.sure_until
        response = _Response(scope, collector, log, send)
        token = collected.set(collector)
        try:
            await self.app(scope, receive, response.send)
        finally:
            collected.reset(token)


class _Response:
    """One response on its way: its head is sent at once, or waits for its whole body."""

    __slots__ = ("_collector", "_content_length", "_log", "_scope", "_send", "_start")

    def __init__(self, scope: Scope, collector: Collector, log: Log | None, send: Send) -> None:
        self._scope = scope
        self._collector = collector
        self._log = log
        self._send = send
        self._start: Message | None = None  # the head that is kept back
        self._content_length = b""

    async def send(self, message: Message) -> None:
        """Take one message of the app; wait as long as the server does."""
        if message["type"] == "http.response.start":
            if message["status"] == 200 and self._scope["method"] in ("GET", "HEAD"):
                length = _value(message.get("headers", ()), b"content-length")
                if length is not None:
                    self._start, self._content_length = message, length
                    return
            await self._send({**message, "headers": self._tagged(message)})
            return
        start, self._start = self._start, None
        if start is not None:
            start, message = self._answer(start, message)
            await self._send(start)
        await self._send(message)

    def _answer(self, start: Message, message: Message) -> tuple[Message, Message]:
        """Return the head that was kept back, and the message after it, as they are to be sent."""
        fields = self._tagged(start)
        etag = _value(fields, b"etag")
        body = message.get("body", b"")
        is_whole = (
            message["type"] == "http.response.body" and b"%d" % len(body) == self._content_length
        )
        if is_whole and etag is None:
            etag = b'"%b"' % hashlib.sha256(body).hexdigest()[: 2 * _ETAG_BYTES].encode()
            fields.append((b"etag", etag))
        if is_whole and etag is not None and self._has_client(etag):
            fields = [field for field in fields if field[0].lower() not in _OF_CONTENT]
            return {**start, "status": 304, "headers": fields}, {**message, "body": b""}
        return {**start, "headers": fields}, message

    def _tagged(self, start: Message) -> _Fields:
        """Return a copy of the head's fields, with what was collected."""
        # A copy: the list may belong to a response that is sent again.
        fields = list(start.get("headers", ()))
        collector = self._collector
        if collector.tags:
            field = cache_groups(collector.tags)
            if field is not None:
                fields.append((b"cache-groups", field))
            else:
                _logger.warning(
                    "%r: more than %d tags or %d bytes of them; sent as no-store",
                    self._scope["path"],
                    MAX_TAGS,
                    MAX_FIELD_BYTES,
                )
                fields = [field for field in fields if field[0].lower() not in _OF_LIFETIME]
                fields.append((b"cache-control", b"no-store"))
        if self._log is not None:
            fields.append((b"poruwa-as-of", b"%d" % collector.as_of))
            if collector.is_unsure or monotonic() >= self._log.sure_until:
                fields.append((b"poruwa-unsure", b"1"))
            if collector.written:
                fields.append((b"poruwa-position", b"%d" % collector.written))
        return fields

    def _has_client(self, etag: bytes) -> bool:
        """Whether If-None-Match names ``etag`` (RFC 9110 section 13.1.2)."""
        asked = [value for name, value in self._scope["headers"] if name == b"if-none-match"]
        if not asked:
            return False
        selection = select(
            b"GET",
            {b"if-none-match": b", ".join(asked)},
            Representation(size=0, etag=etag, last_modified=None),
            now=0.0,  # no date is looked at
        )
        return selection.status == 304


def _value(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of the first field of this lower-case name."""
    # ASGI has apps send lower case; some do not.
    for key, value in fields:
        if key == name or (len(key) == len(name) and key.lower() == name):
            return value
    return None
