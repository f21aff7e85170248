"""HTTP/1.1 heads and chunked bodies: bytes in, facts out, and back (RFC 9112).

Theory of operation. A head is checked in one pass by a regular expression that is the grammar of
RFC 9112 written out; it refuses whatever the grammar does not allow. A second expression finds
only those fields that some rule of the platform reads; all others stay in the raw block untouched,
so that passing a head on is cutting a few spans out of it. Both run in C, in time linear to the
head (possessive quantifiers). Why not a parser library: ``docs/decisions/0002``.

No socket and no clock here. Framing and refusals are decided in ``poruwa.rules.message``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from poruwa.errors import ErrorSource, ProtocolError
from poruwa.rules.forwarding import CLIENT_CLAIM_NAMES
from poruwa.rules.message import RefusalReason, is_valid_host

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELD_LINE = _TOKEN + rb"++:[\x20-\x7e\x80-\xff\t]*+\r\n"
# Visible ASCII without what RFC 3986 and browsers alike keep out of paths and queries (URL
# standard, "percent-encode sets"): ``|`` and ``^`` pass anywhere, braces, backticks and
# backslashes in a query.
_PATH = rb"[!$-;=@-\[\]^_a-z|~]"
_QUERY = rb"[!$-;=?-~]"
_ORIGIN_FORM = rb"/" + _PATH + rb"*+(?:\?" + _QUERY + rb"*+)?"
_METHOD = rb"(?!CONNECT |TRACE )(" + _TOKEN + rb"{1,32}+)"
_FIELDS = rb"(?:" + _FIELD_LINE + rb")*+\r\n"
_REQUEST = re.compile(_METHOD + rb" (" + _ORIGIN_FORM + rb") HTTP/1\.([01])\r\n" + _FIELDS)
# The same with any other target: absolute, asterisk, or one that is refused.
_UNUSUAL_REQUEST = re.compile(_METHOD + rb" ([\x21-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d(?: [\x20-\x7e\x80-\xff\t]*+)?)\r\n" + _FIELDS)
_ABSOLUTE_TARGET = re.compile(rb"https?://([^/?#@]+)(" + _ORIGIN_FORM + rb")?\Z", re.IGNORECASE)

_match_request, _match_unusual_request = _REQUEST.fullmatch, _UNUSUAL_REQUEST.fullmatch
_match_response = _RESPONSE.fullmatch

# Fields that a rule reads. Every other field is passed on unread.
_REQUEST_NAMES = CLIENT_CLAIM_NAMES | {
    b"accept", b"access-control-request-headers", b"access-control-request-method",
    b"authorization", b"cache-control", b"connection", b"content-length", b"cookie", b"expect",
    b"host", b"http2-settings", b"idempotency-key", b"if-match", b"if-modified-since",
    b"if-none-match", b"if-range", b"if-unmodified-since", b"keep-alive", b"origin",
    b"poruwa-timing", b"proxy-authorization", b"proxy-connection", b"range", b"referer", b"te",
    b"traceparent", b"trailer", b"transfer-encoding", b"upgrade", b"user-agent", b"x-request-id",
}  # fmt: skip
_RESPONSE_NAMES = (
    b"access-control-allow-credentials", b"access-control-allow-origin",
    b"access-control-expose-headers", b"cache-control", b"cdn-cache-control", b"connection",
    b"content-length", b"date", b"expires", b"keep-alive", b"proxy-authenticate",
    b"proxy-connection", b"set-cookie", b"surrogate-control", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"x-request-id",
)  # fmt: skip

# RFC 9110 section 7.6.1, and the de-facto ones before it. Trailers are dropped with the chunked
# framing they came in, so the announcement goes too.
HOP_BY_HOP = frozenset(
    (b"connection", b"http2-settings", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
# Connection may not nominate these away: the message would mean something else without them.
_NOT_NOMINABLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"close"))


def _finder(names: Iterable[bytes]) -> Callable[[bytes, int], Iterator[re.Match[bytes]]]:
    """Return a search for ``names`` at the line starts of a lower-cased head."""
    return re.compile(rb"\r\n(" + _any_of(sorted(names)) + rb"):[ \t]*+([^\r]*+)").finditer


def _any_of(names: list[bytes]) -> bytes:
    """Return an expression for ``names`` as a tree by letters: a miss costs one comparison."""
    branches = []
    for first, group in groupby(names, key=lambda name: name[:1]):
        rest = [name[1:] for name in group]
        if first:
            branches.append(re.escape(first) + (_any_of(rest) if rest != [b""] else b""))
        else:
            branches.append(b"")
    branches.sort(key=len, reverse=True)  # the empty branch, a name's end, comes last
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")"


_find_request_fields = _finder(_REQUEST_NAMES)
_find_response_fields = _finder(_RESPONSE_NAMES)


class Refused(ProtocolError):
    """A message that is not taken, with its reason."""

    def __init__(self, reason: RefusalReason, *, source: ErrorSource = ErrorSource.CLIENT) -> None:
        status = reason.status if source is ErrorSource.CLIENT else 502
        super().__init__(reason.sentence, source=source, status_hint=status)
        self.reason = reason


class Head:
    """The head of a message: the fields that rules read, and the raw block they stand in.

    ``fields`` maps lower-case names to values without surrounding white space; repeated fields
    are joined as RFC 9110 section 5.3 says (cookies by ``"; "``). ``lines`` are the spans of those
    fields in ``raw``, each from the CRLF before the line to its last byte.
    """

    __slots__ = ("block_start", "fields", "lines", "minor_version", "raw")

    raw: bytes
    minor_version: int
    fields: dict[bytes, bytes]
    lines: list[tuple[int, int, bytes]]
    block_start: int

    def block_without(self, names: frozenset[bytes], nominated: frozenset[bytes] | None) -> bytes:
        """Return all field lines but ``names`` and those ``Connection`` nominated.

        The result starts with the CRLF before its first line and has none at its end, so that
        it goes between a start line and further lines; empty when no line is left.
        """
        raw = self.raw
        if nominated:
            return _block_without_any(raw[self.block_start : -4], names | nominated)
        position = self.block_start
        pieces = []
        for start, end, name in self.lines:
            if name in names:
                if start > position:
                    pieces.append(raw[position:start])
                position = end
        end = len(raw) - 4
        if not pieces:
            return raw[position:end]
        pieces.append(raw[position:end])
        return b"".join(pieces)

    def field(self, name: bytes) -> bytes | None:
        """Return the value of any field by its lower-case name, its lines joined; None without.

        For the few fields that a policy names; those that rules read are in ``fields``.
        """
        if name in self.fields:
            return self.fields[name]
        lines = self.raw[self.block_start : -4].split(b"\r\n")[1:]
        pairs = [line.partition(b":") for line in lines]
        values = [value.strip(b" \t") for key, _, value in pairs if key.lower() == name]
        return b", ".join(values) if values else None

    def connection_options(self) -> tuple[bool, bool, frozenset[bytes] | None]:
        """Return what the ``Connection`` field says: ``(close, upgrade, other names or None)``."""
        value = self.fields.get(b"connection")
        if value is None:
            return self.minor_version == 0, False, None
        options = {option.strip(b" \t") for option in value.lower().split(b",")}
        close = b"close" in options or (self.minor_version == 0 and b"keep-alive" not in options)
        upgrade = b"upgrade" in options
        others = options - _NOT_NOMINABLE - {b"", b"keep-alive", b"upgrade"}
        return close, upgrade, frozenset(others) or None


class RequestHead(Head):
    """The head of a request; ``target`` is in origin form (or ``*``), ``host`` lower-case."""

    __slots__ = ("host", "method", "target")

    method: bytes
    target: bytes
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
    match = _match_request(raw)
    is_unusual = match is None
    if match is None:
        match = _match_unusual_request(raw)
        if match is None:
            raise Refused(_why_request_refused(raw))
    head = RequestHead()
    head.raw = raw
    head.method, head.target, minor = match.groups()
    head.minor_version = 0 if minor == b"0" else 1
    head.block_start = match.end(3)
    _read_fields(head, _find_request_fields)
    host = head.fields.get(b"host")
    if host is None:
        if head.minor_version:
            raise Refused(RefusalReason.HOST_MISSING)
        host = b""
    elif not is_valid_host(host):
        repeated = b"," in host and len([1 for line in head.lines if line[2] == b"host"]) > 1
        raise Refused(RefusalReason.HOST_REPEATED if repeated else RefusalReason.HOST_INVALID)
    head.host = host.lower()
    if is_unusual:
        head.target = _origin_form(head)
    return head


def parse_response_head(raw: bytes) -> ResponseHead:
    """Return the head whose bytes are ``raw``, from the version to the empty line, inclusive.

    Raises:
        Refused: when the bytes are not a head that every parser reads alike (status 502).
    """
    match = _match_response(raw)
    if match is None:
        first_line = raw.partition(b"\r\n")[0]
        good_start = re.match(rb"HTTP/1\.[01] [1-9]\d\d(?: |\Z)", first_line)
        reason = _why_fields_refused(raw) if good_start else RefusalReason.STATUS_INVALID
        raise Refused(reason, source=ErrorSource.UPSTREAM)
    head = ResponseHead()
    head.raw = raw
    minor, status_text = match.groups()
    head.minor_version = 0 if minor == b"0" else 1
    head.status = int(status_text[:3])
    # RFC 9112 section 4: the space after the status stands there also without a phrase.
    head.status_text = status_text if len(status_text) > 3 else status_text + b" "
    head.block_start = match.end(2)
    _read_fields(head, _find_response_fields)
    return head


def _read_fields(head: Head, find: Callable[[bytes, int], Iterator[re.Match[bytes]]]) -> None:
    """Fill ``head.fields`` and ``head.lines`` with the fields that rules read."""
    raw = head.raw
    fields: dict[bytes, bytes] = {}
    lines = []
    for match in find(raw.lower(), head.block_start):
        name = match[1]
        start, end = match.span(2)
        value = raw[start:end].rstrip(b" \t")
        if name in fields:
            separator = b"; " if name == b"cookie" else b", "
            value = fields[name] + separator + value
        fields[name] = value
        lines.append((match.start(), end, name))
    head.fields = fields
    head.lines = lines


def _origin_form(head: RequestHead) -> bytes:
    """Return the origin form of an absolute or asterisk target (RFC 9112 section 3.2)."""
    target = head.target
    if target == b"*" and head.method == b"OPTIONS":
        return target
    absolute = _ABSOLUTE_TARGET.match(target)
    # RFC 9112 section 3.2.2 would let the target overrule Host; a difference is refused instead.
    if absolute is None or absolute[1].lower() != head.host:
        raise Refused(RefusalReason.TARGET_INVALID)
    return absolute[2] or b"/"


def _block_without_any(block: bytes, names: frozenset[bytes]) -> bytes:
    """Return ``block`` without the lines named ``names``, whichever they are."""
    kept = [
        line for line in block.split(b"\r\n")[1:] if line.partition(b":")[0].lower() not in names
    ]
    return b"".join(b"\r\n" + line for line in kept)


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
_TRAILERS = re.compile(rb"(?:" + _FIELD_LINE + rb")*+\r\n")
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
