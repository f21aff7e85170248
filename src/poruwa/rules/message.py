"""Why a message is refused, and how its body is framed (RFC 9112 sections 3.2 and 6).

The framing rules are narrower than the RFC allows: whatever two parsers could read differently is
refused, because the difference is what request smuggling lives on. Decides only; the bytes are
taken apart in ``poruwa.net.http1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final


class RefusalReason(Enum):
    """Why a message was not taken; the value is ``(code, status, sentence)``.

    The code is the same in logs, metrics and problem documents. A refusal of an upstream's
    response is always answered with 502, whatever the status here.
    """

    REQUEST_LINE_INVALID = ("request-line-invalid", 400, "The request line is malformed.")
    REQUEST_LINE_TOO_LONG = ("request-line-too-long", 414, "The request target is too long.")
    VERSION_UNSUPPORTED = ("version-unsupported", 505, "Only HTTP/1.0 and HTTP/1.1 are spoken.")
    TARGET_INVALID = ("target-invalid", 400, "The request target is not valid.")
    METHOD_NOT_SERVED = ("method-not-served", 501, "CONNECT and TRACE are not served here.")
    HEADER_TOO_LARGE = ("header-too-large", 431, "The header fields are too large.")
    HEADER_TOO_MANY = ("header-too-many", 431, "There are too many header fields.")
    HEADER_TIMEOUT = ("header-timeout", 408, "The header did not arrive in time.")
    FIELD_INVALID = ("field-invalid", 400, "A header field is malformed.")
    LINE_FOLDED = ("line-folded", 400, "A header field is continued on another line.")
    BARE_LINE_END = ("bare-line-end", 400, "A line does not end in CR LF.")
    CONTROL_CHARACTER = ("control-character", 400, "A header contains a control character.")
    SPACE_BEFORE_COLON = ("space-before-colon", 400, "White space stands before a colon.")
    HOST_MISSING = ("host-missing", 400, "The Host field is missing.")
    HOST_REPEATED = ("host-repeated", 400, "There is more than one Host field.")
    HOST_INVALID = ("host-invalid", 400, "The Host field is not a valid host.")
    LENGTH_INVALID = ("length-invalid", 400, "The Content-Length is malformed or repeated.")
    LENGTH_AND_CODING = (
        "length-and-coding",
        400,
        "Content-Length and Transfer-Encoding are both set.",
    )
    CODING_UNSUPPORTED = ("coding-unsupported", 400, "The only transfer coding taken is chunked.")
    CHUNK_INVALID = ("chunk-invalid", 400, "The chunked body is malformed.")
    EXPECTATION_UNKNOWN = ("expectation-unknown", 417, "The only expectation met is 100-continue.")
    BODY_TOO_LARGE = ("body-too-large", 413, "The body is larger than this site takes.")
    BODY_TIMEOUT = ("body-timeout", 408, "The body did not arrive in time.")
    STATUS_INVALID = ("status-invalid", 502, "The status line is malformed.")
    PROXY_HEADER = ("proxy-header", 400, "The PROXY protocol header is missing or not trusted.")
    CLIENT_CONNECTIONS = ("client-connections", 429, "There are too many connections from you.")
    CONNECTIONS = ("connections", 503, "The server holds as many connections as it takes.")

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def status(self) -> int:
        return self.value[1]

    @property
    def sentence(self) -> str:
        return self.value[2]


# Body framing: a length in bytes (0 or more) or one of these.
CHUNKED = -1
UNTIL_CLOSE = -2

_LENGTH_DIGITS = 18  # these fit a signed 64-bit integer in any language
_REG_NAME = rb"[A-Za-z0-9._~\-]+"
_IPV6 = rb"\[[0-9A-Fa-f:.]{2,45}\]"
_HOSTS_REMEMBERED: Final = 1024
_hosts: Final[dict[bytes, bytes]] = {}  # sites have few, and the same ones all the time
HOST = re.compile(rb"(?:" + _REG_NAME + rb"|" + _IPV6 + rb")(?::\d{1,5})?\Z")


def request_framing(fields: Mapping[bytes, bytes], *, minor_version: int) -> int | RefusalReason:
    """Return what ``body_framing`` says of the fields of a request, by lower-case name."""
    return body_framing(
        fields.get(b"content-length"),
        fields.get(b"transfer-encoding"),
        minor_version=minor_version,
    )


def body_framing(
    length: bytes | None, coding: bytes | None, *, minor_version: int
) -> int | RefusalReason:
    """Return the length of a request's body in bytes, ``CHUNKED``, or why it is refused.

    ``length`` and ``coding`` are the values of Content-Length and Transfer-Encoding, repeated ones
    joined by a comma (which makes them invalid here on purpose). RFC 9112 section 6.3, narrowed:
    both kinds of framing together, repeated lengths even when equal, and any coding list are
    refused.
    """
    if coding is not None:
        if length is not None:
            return RefusalReason.LENGTH_AND_CODING
        # RFC 9112 section 6.1: a coding in an HTTP/1.0 message means faulty framing.
        if minor_version == 0 or coding.lower() != b"chunked":
            return RefusalReason.CODING_UNSUPPORTED
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:  # of bytes: ASCII digits only
        return RefusalReason.LENGTH_INVALID
    number = 0
    for digit in length:  # int() of bytes takes as long as the rest of the function
        number = number * 10 + digit - 0x30
    return number


def response_framing(
    fields: Mapping[bytes, bytes], *, status: int, minor_version: int, answers_head: bool
) -> int | RefusalReason:
    """Return what ``response_body_framing`` says of a response's fields, by lower-case name."""
    return response_body_framing(
        fields.get(b"content-length"),
        fields.get(b"transfer-encoding"),
        status=status,
        minor_version=minor_version,
        answers_head=answers_head,
    )


def response_body_framing(
    length: bytes | None,
    coding: bytes | None,
    *,
    status: int,
    minor_version: int,
    answers_head: bool,
) -> int | RefusalReason:
    """Return the length of a response's body, ``CHUNKED``, ``UNTIL_CLOSE``, or why it is refused.

    RFC 9112 section 6.3, in its order: responses without body first, then codings, then lengths.
    The framing fields of a response without body are checked too: a client may trust them.
    """
    framing = body_framing(length, coding, minor_version=minor_version)
    if isinstance(framing, RefusalReason):
        return framing
    if answers_head or status < 200 or status in (204, 304):
        return 0
    if length is None and coding is None:
        return UNTIL_CLOSE
    return framing


def normal_host(host: bytes) -> bytes | None:
    """Return ``host`` in lower case if it is valid, the same object every time; None if not."""
    known = _hosts.get(host)
    if known is None:
        if not is_valid_host(host):
            return None
        if len(_hosts) >= _HOSTS_REMEMBERED:
            _hosts.clear()
        known = host.lower()
        known = _hosts.setdefault(known, known)
        _hosts[host] = known
    return known


def is_valid_host(host: bytes) -> bool:
    """Tell whether ``host`` is a name or address with an optional port (RFC 9112 section 3.2).

    Percent-encoded and sub-delim characters, legal in RFC 3986's reg-name, are refused: no DNS
    name has them and they are a way to make two parsers disagree.
    """
    return HOST.match(host) is not None
