"""HTTP/1.1 heads and chunked bodies: bytes in, facts out, and back (RFC 9112).

Theory of operation. A head is read in one pass: its start line here, its field lines in
``poruwa.net.head``. Where the grammar allows no next byte, the bytes are not a head, and only then
is looked for the reason. All work is linear to the head. Why not a parser library:
``docs/decisions/0002`` and ``0009``.

No socket and no clock here. Framing and refusals are decided in ``poruwa.rules.message``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from poruwa.errors import ErrorSource, ProtocolError
from poruwa.net.head import (
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CACHE_DIRECTIVES,
    CONDITION,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    DATE,
    EXPECT,
    HOST,
    IF_NONE_MATCH,
    ORIGIN_CONDITION,
    RANGE,
    REFERER,
    TIMING,
    TOKEN,
    TRACEPARENT,
    TRANSFER_ENCODING,
    USER_AGENT,
    FieldNames,
    Head,
    end_of_text,
    table_of,
)
from poruwa.rules.coherence_fields import INTERNAL_NAMES
from poruwa.rules.forwarding import CLIENT_CLAIM_NAMES
from poruwa.rules.message import RefusalReason, normal_host
from poruwa.rules.routing import PLAIN_PATH_BYTES
from poruwa.rules.security_headers import SECURITY_NAMES

if TYPE_CHECKING:
    from mypy_extensions import i64  # machine integers, where this is compiled; else just ints

# RFC 9110 section 7.6.1, and the de-facto ones before it. Trailers are dropped with the chunked
# framing they came in, so the announcement goes too.
HOP_BY_HOP: Final = frozenset(
    (b"connection", b"http2-settings", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
# Fields of this family, ``Poruwa-...``, are said among ourselves: none of a client's goes on.
OWN_FAMILY: Final = b"poruwa"
# What instances do not get from clients, and clients not from instances.
ENDING_IN_REQUESTS: Final = (
    HOP_BY_HOP
    | CLIENT_CLAIM_NAMES
    | INTERNAL_NAMES
    | {b"poruwa-timing", b"traceparent", b"x-request-id"}
)
ENDING_IN_RESPONSES: Final = HOP_BY_HOP | INTERNAL_NAMES | {b"x-request-id"}
INTERNAL: Final = 22
"""In responses, for ``Head.has_any``: one of `rules.coherence_fields`."""
SECURITY: Final = 23
"""Likewise: one of `rules.security_headers`."""

_REQUEST_NAMES: Final = FieldNames(
    {
        b"accept-encoding": ACCEPT_ENCODING, b"accept-language": ACCEPT_LANGUAGE,
        b"authorization": AUTHORIZATION, b"cache-control": CACHE_DIRECTIVES,
        b"connection": CONNECTION, b"content-length": CONTENT_LENGTH, b"cookie": COOKIE,
        b"expect": EXPECT, b"host": HOST, b"if-match": ORIGIN_CONDITION,
        b"if-modified-since": CONDITION, b"if-none-match": IF_NONE_MATCH, b"if-range": CONDITION,
        b"if-unmodified-since": ORIGIN_CONDITION, b"poruwa-timing": TIMING,
        b"pragma": CACHE_DIRECTIVES, b"range": RANGE, b"referer": REFERER,
        b"traceparent": TRACEPARENT, b"transfer-encoding": TRANSFER_ENCODING,
        b"user-agent": USER_AGENT,
    },
    ENDING_IN_REQUESTS,
    ending_family=OWN_FAMILY,
)  # fmt: skip
_RESPONSE_NAMES: Final = FieldNames(
    {
        b"connection": CONNECTION, b"content-length": CONTENT_LENGTH, b"date": DATE,
        b"transfer-encoding": TRANSFER_ENCODING,
    }
    | dict.fromkeys(sorted(INTERNAL_NAMES), INTERNAL)
    | dict.fromkeys(sorted(SECURITY_NAMES), SECURITY),
    ENDING_IN_RESPONSES,
)  # fmt: skip

_METHOD_BYTES: Final = 32
_GET: Final = b"GET"  # one object for most requests
# Visible ASCII without what RFC 3986 and browsers alike keep out of paths and queries (URL
# standard, "percent-encode sets"): ``|`` and ``^`` pass anywhere, braces, backticks and
# backslashes in a query.
_PATH = rb"[!$-;=@-\[\]^_a-z|~]"
_QUERY = rb"[!$-;=?-~]"
_ORIGIN_FORM = re.compile(rb"/" + _PATH + rb"*+(?:\?" + _QUERY + rb"*+)?")
_ABSOLUTE_TARGET = re.compile(
    rb"https?://([^/?#@]+)(" + _ORIGIN_FORM.pattern + rb")?\Z", re.IGNORECASE
)
_TOKEN = rb"[" + re.escape(TOKEN) + rb"]"
_IS_TOKEN: Final = table_of(TOKEN)
_IS_PLAIN_PATH: Final = table_of(PLAIN_PATH_BYTES)
_IS_QUERY: Final = table_of(bytes(range(0x21, 0x7F)).translate(None, b'"#<>'))
_IS_VISIBLE: Final = table_of(bytes(range(0x21, 0x7F)))
_SPACE: Final = 0x20
_SLASH: Final = 0x2F
_ZERO: Final = 0x30
_QUESTION_MARK: Final = 0x3F
_CR: Final = 0x0D
_LF: Final = 0x0A


class Refused(ProtocolError):
    """A message that is not taken, with its reason."""

    def __init__(self, reason: RefusalReason, *, source: ErrorSource = ErrorSource.CLIENT) -> None:
        status = reason.status if source is ErrorSource.CLIENT else 502
        super().__init__(reason.sentence, source=source, status_hint=status)
        self.reason = reason


class RequestHead(Head):
    """The head of a request; ``target`` is in origin form (or ``*``), ``host`` lower-case.

    ``plain_path`` is the target's path where no character of it needs a second look
    (``rules.routing``), else empty.
    """

    __slots__ = ("host", "method", "plain_path", "target")

    method: bytes
    target: bytes
    plain_path: bytes
    host: bytes


class ResponseHead(Head):
    """The head of a response: ``status`` is 100-999, ``status_text`` that and the reason phrase."""

    __slots__ = ("status", "status_text")

    status: int
    status_text: bytes


def parse_request_head(raw: bytes) -> RequestHead:
    """Return the head whose bytes are ``raw``, from the method to the empty line, inclusive.

    Raises:
        Refused: with the reason, when the bytes are not a head that every parser reads alike.
    """
    head = take_request_head(raw)
    if head is None or len(head.raw) != len(raw):
        raise Refused(_why_request_refused(raw))
    return head


def take_request_head(data: bytes) -> RequestHead | None:
    """Return the head that ``data`` begins with, None when there is none or not all of one.

    Raises:
        Refused: the grammar is kept, but host or target are not such that every parser reads them
            alike.
    """
    head = RequestHead()
    try:
        if not _read_request_line(head, data):
            return None
    except IndexError:  # the data ends within the head
        return None
    if head.host_field is None:
        if head.minor_version:
            raise Refused(RefusalReason.HOST_MISSING)
        head.host = b""
    else:
        host = normal_host(head.host_field)
        if host is None:
            repeated = len([1 for name, _ in head.lines() if name == b"host"]) > 1
            raise Refused(RefusalReason.HOST_REPEATED if repeated else RefusalReason.HOST_INVALID)
        head.host = host
    if not head.plain_path:
        head.target = _origin_form(head)
    return head


def _read_request_line(head: RequestHead, data: bytes) -> bool:
    """Read a request line and what follows; returns whether the grammar was kept.

    Raises:
        IndexError: ``data`` ends before the head does.
    """
    is_token, is_plain, is_query, is_visible = _IS_TOKEN, _IS_PLAIN_PATH, _IS_QUERY, _IS_VISIBLE
    at: i64 = 0
    while is_token[data[at]]:
        at += 1
    if data[at] != _SPACE or at == 0 or at > _METHOD_BYTES:
        return False
    head.method = method = _GET if at == 3 and data.startswith(_GET) else data[:at]
    if method == b"CONNECT" or method == b"TRACE":
        return False
    start: i64 = at + 1
    at = start
    while is_plain[data[at]]:
        at += 1
    path_end: i64 = at
    if data[at] == _QUESTION_MARK:
        at += 1
        while is_query[data[at]]:
            at += 1
    is_plain_target = data[start] == _SLASH and data[at] == _SPACE
    while is_visible[data[at]]:
        at += 1
    head.target = data[start:at]
    if not is_plain_target:
        head.plain_path = b""
    elif path_end == at:
        head.plain_path = head.target
    else:
        head.plain_path = data[start:path_end]
    version = data[at : at + 11]
    if version == b" HTTP/1.1\r\n":
        head.minor_version = 1
    elif version == b" HTTP/1.0\r\n":
        head.minor_version = 0
    else:
        return False
    return at > start and head.read_lines(data, at + 9, _REQUEST_NAMES)


def parse_response_head(raw: bytes) -> ResponseHead:
    """Return the head whose bytes are ``raw``, from the version to the empty line, inclusive.

    Raises:
        Refused: when the bytes are not a head that every parser reads alike (status 502).
    """
    head = take_response_head(raw)
    if head is None or len(head.raw) != len(raw):
        first_line = raw.partition(b"\r\n")[0]
        good_start = re.match(rb"HTTP/1\.[01] [1-9]\d\d(?: |\Z)", first_line)
        reason = _why_fields_refused(raw) if good_start else RefusalReason.STATUS_INVALID
        raise Refused(reason, source=ErrorSource.UPSTREAM)
    return head


def take_response_head(data: bytes) -> ResponseHead | None:
    """Return the head that ``data`` begins with, None when there is none or not all of one."""
    head = ResponseHead()
    try:
        return head if _read_status_line(head, data) else None
    except IndexError:  # the data ends within the head
        return None


def _read_status_line(head: ResponseHead, data: bytes) -> bool:
    """Read a status line and what follows; returns whether the grammar was kept.

    Raises:
        IndexError: ``data`` ends before the head does.
    """
    minor: i64 = data[7] - _ZERO
    hundreds: i64 = data[9] - _ZERO
    tens: i64 = data[10] - _ZERO
    ones: i64 = data[11] - _ZERO
    if (
        not data.startswith(b"HTTP/1.")
        or minor < 0 or minor > 1
        or data[8] != _SPACE
        or hundreds < 1 or hundreds > 9 or tens < 0 or tens > 9 or ones < 0 or ones > 9
    ):  # fmt: skip
        return False
    at: i64 = 12
    if data[at] == _SPACE:
        at = end_of_text(data, at)
        head.status_text = data[9:at]
    else:
        # RFC 9112 section 4: the space after the status stands there also without a phrase.
        head.status_text = data[9:at] + b" "
    if data[at] != _CR or data[at + 1] != _LF:
        return False
    head.minor_version = minor
    head.status = hundreds * 100 + tens * 10 + ones
    return head.read_lines(data, at, _RESPONSE_NAMES)


def _origin_form(head: RequestHead) -> bytes:
    """Return the origin form of a target (RFC 9112 section 3.2)."""
    target = head.target
    if _ORIGIN_FORM.fullmatch(target) or (target == b"*" and head.method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE_TARGET.match(target)
    # RFC 9112 section 3.2.2 would let the target overrule Host; a difference is refused instead.
    if absolute is None or absolute[1].lower() != head.host:
        raise Refused(RefusalReason.TARGET_INVALID)
    return absolute[2] or b"/"


def _why_request_refused(raw: bytes) -> RefusalReason:
    """Name the fault of a request head that the grammar refused."""
    line = raw.partition(b"\n")[0].removesuffix(b"\r")
    parts = line.split(b" ")
    if len(parts) != 3 or re.fullmatch(_TOKEN + rb"{1,32}", parts[0]) is None:
        return RefusalReason.REQUEST_LINE_INVALID
    if parts[0] in (b"CONNECT", b"TRACE"):
        return RefusalReason.METHOD_NOT_SERVED
    if re.fullmatch(rb"[\x21-\x7e]+", parts[1]) is None:
        return RefusalReason.TARGET_INVALID
    if re.fullmatch(rb"HTTP/1\.[01]", parts[2]) is None:
        known = re.fullmatch(rb"HTTP/\d\.\d", parts[2])
        return RefusalReason.VERSION_UNSUPPORTED if known else RefusalReason.REQUEST_LINE_INVALID
    return _why_fields_refused(raw)


def _why_fields_refused(raw: bytes) -> RefusalReason:
    """Name the fault of field lines that the grammar refused."""
    if has_bare_line_end(raw):
        return RefusalReason.BARE_LINE_END
    for line in raw[:-4].split(b"\r\n")[1:]:
        if line[:1] in (b" ", b"\t"):
            return RefusalReason.LINE_FOLDED
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line):
            return RefusalReason.CONTROL_CHARACTER
        if re.match(_TOKEN + rb"+[ \t]+:", line):
            return RefusalReason.SPACE_BEFORE_COLON
    return RefusalReason.FIELD_INVALID


def has_bare_line_end(data: bytes) -> bool:
    """Tell whether a CR or LF stands alone in ``data`` (a CR as the last byte is still open)."""
    pairs = data.count(b"\r\n")
    open_end = data.endswith(b"\r")
    return data.count(b"\n") != pairs or data.count(b"\r") - open_end != pairs


_CHUNK_SIZE_BYTES = (
    4096  # of a size line with its extensions; the longest any peer was seen to send
)
_TRAILER_BYTES = 8192
_CHUNK_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;[ \t]*" + _TOKEN + rb"+"
    rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"+|\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]"
    rb"|\\[\t \x21-\x7e\x80-\xff])*+\"))?)*+\r\n"
)
_TRAILERS = re.compile(rb"(?:" + _TOKEN + rb"++:[\x20-\x7e\x80-\xff\t]*+\r\n)*+\r\n")
# RFC 9110 section 6.5.1 forbids them there: who sends them wants somebody to read them.
_FRAMING_TRAILER = re.compile(rb"(?:\A|\n)(?:content-length|transfer-encoding):", re.IGNORECASE)


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 section 7.1), extensions and trailers dropped.

    ``feed`` returns the data that is complete so far; ``is_complete`` turns true at the end of
    the trailers, and ``rest`` then holds the bytes that follow the message.
    """

    __slots__ = ("_at", "_buffer", "_remaining", "_stage", "is_complete", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0  # what of the buffer is taken; it is cut once a feed, not once a chunk
        self._remaining = 0
        self._stage: Callable[[list[bytes]], bool] = self._read_size
        self.is_complete = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the body bytes that ``data`` brings.

        Raises:
            Refused: a size, an extension, a line end or a trailer is malformed or too long.
        """
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        pieces: list[bytes] = []
        while not self.is_complete and self._stage(pieces):
            pass
        self._buffer = self._buffer[self._at :]
        if self.is_complete:
            self.rest, self._buffer = self._buffer, b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_size(self, pieces: list[bytes]) -> bool:
        limit = self._at + _CHUNK_SIZE_BYTES
        end = self._buffer.find(b"\n", self._at, limit) + 1
        if not end:
            if len(self._buffer) >= limit:
                raise Refused(RefusalReason.CHUNK_INVALID)
            return False
        match = _CHUNK_SIZE.fullmatch(self._buffer, self._at, end)
        if match is None:
            raise Refused(RefusalReason.CHUNK_INVALID)
        self._at = end
        self._remaining = int(match[1], 16)
        self._stage = self._read_data if self._remaining else self._read_trailers
        return True

    def _read_data(self, pieces: list[bytes]) -> bool:
        end = min(self._at + self._remaining, len(self._buffer))
        if end > self._at:
            pieces.append(self._buffer[self._at : end])
            self._remaining -= end - self._at
            self._at = end
        if self._remaining:
            return False
        self._stage = self._read_data_end
        return True

    def _read_data_end(self, pieces: list[bytes]) -> bool:
        line_end = self._buffer[self._at : self._at + 2]
        if not b"\r\n".startswith(line_end):
            raise Refused(RefusalReason.CHUNK_INVALID)
        if len(line_end) < 2:
            return False
        self._at += 2
        self._stage = self._read_size
        return True

    def _read_trailers(self, pieces: list[bytes]) -> bool:
        buffer, at = self._buffer, self._at
        if buffer.startswith(b"\r\n", at):
            end = at + 2
        else:
            end = buffer.find(b"\r\n\r\n", at, at + _TRAILER_BYTES) + 4
            if end < 4:
                if len(buffer) - at >= _TRAILER_BYTES or has_bare_line_end(buffer[at:]):
                    raise Refused(RefusalReason.CHUNK_INVALID)
                return False
        trailers = buffer[at:end]
        if _TRAILERS.fullmatch(trailers) is None or _FRAMING_TRAILER.search(trailers):
            raise Refused(RefusalReason.CHUNK_INVALID)
        self._at = end
        self.is_complete = True
        return True


def encode_chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk; ``data`` must not be empty, that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
