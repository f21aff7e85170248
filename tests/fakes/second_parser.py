"""h11 as the second parser: what we accept, it must accept, and read alike.

Used by the property tests and the fuzz targets. The other direction does not hold on purpose: we
refuse much that h11 takes.
"""

from __future__ import annotations

import h11

from poruwa.net.head import Head
from poruwa.net.http1 import (
    ENDING_IN_REQUESTS,
    ENDING_IN_RESPONSES,
    ChunkedDecoder,
    Refused,
    RequestHead,
    parse_request_head,
    parse_response_head,
)
from poruwa.rules.message import (
    CHUNKED,
    UNTIL_CLOSE,
    RefusalReason,
    request_framing,
    response_framing,
)

_LIMIT_BYTES = 1 << 20


class DisagreementError(AssertionError):
    """Two parsers read the same bytes differently."""


def compare_request(data: bytes) -> bool:
    """Compare the reading of one request at the start of ``data``; True if we take all of it.

    Raises:
        DisagreementError: we take what h11 refuses or reads otherwise.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return False
    try:
        head = parse_request_head(data[:end])
    except Refused:
        return False
    framing = request_framing(head.fields, minor_version=head.minor_version)
    if isinstance(framing, RefusalReason):
        return False
    check_lines(head, ENDING_IN_REQUESTS, family=(b"poruwa-", b"poruwa_"))
    ours = take_body(framing, data[end:])
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=_LIMIT_BYTES)
    try:
        peer.receive_data(data)
        event = peer.next_event()
        if not isinstance(event, h11.Request):
            raise DisagreementError(f"h11 sees {event!r} in {data!r}")
        if event.method != head.method:
            raise DisagreementError(f"method {head.method!r}, h11 {event.method!r}")
        if not (event.target == head.target or event.target.lower().startswith(b"http")):
            raise DisagreementError(f"target {head.target!r}, h11 {event.target!r}")
        compare_fields(head, list(event.headers))
        theirs = body_events(peer)
    except h11.RemoteProtocolError as error:
        if ours is None:
            return False  # both find the body wrong, or we found it first
        raise DisagreementError(f"h11 refuses {data!r}: {error}") from error
    if ours is None:
        return False
    body, complete, rest = ours
    if theirs != (body, complete, rest):
        raise DisagreementError(f"ours {ours!r}, h11 {theirs!r} of {data!r}")
    return complete


def compare_response(data: bytes, *, answers_head: bool = False) -> bool:
    """Compare the reading of one final response; True if we take its head and body."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return False
    try:
        head = parse_response_head(data[:end])
    except Refused:
        return False
    framing = response_framing(
        head.fields, status=head.status, minor_version=head.minor_version, answers_head=answers_head
    )
    if isinstance(framing, RefusalReason) or head.status < 200:
        return False
    check_lines(head, ENDING_IN_RESPONSES)
    ours = take_body(framing, data[end:])
    peer = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LIMIT_BYTES)
    method = "HEAD" if answers_head else "GET"
    peer.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    try:
        peer.receive_data(data)
        event = peer.next_event()
        if not isinstance(event, h11.Response):
            raise DisagreementError(f"h11 sees {event!r} in {data!r}")
        status_text = b"%d %b" % (event.status_code, event.reason)
        if (event.status_code, status_text) != (head.status, head.status_text):
            raise DisagreementError(f"status {head.status_text!r}, h11 {event!r}")
        compare_fields(head, list(event.headers))
        theirs = body_events(peer)
    except h11.RemoteProtocolError as error:
        if ours is None or head.status > 999:
            return False
        raise DisagreementError(f"h11 refuses {data!r}: {error}") from error
    if ours is None:
        return False
    if theirs[:2] != ours[:2] or (framing != UNTIL_CLOSE and theirs[2] != ours[2]):
        raise DisagreementError(f"ours {ours!r}, h11 {theirs!r} of {data!r}")
    return True


def take_body(framing: int, data: bytes) -> tuple[bytes, bool, bytes] | None:
    """Return our body, whether it is whole, and the rest; None when it is refused."""
    if framing == UNTIL_CLOSE:
        return data, False, b""
    if framing == CHUNKED:
        decoder = ChunkedDecoder()
        try:
            body = decoder.feed(data)
        except Refused:
            return None
        return body, decoder.is_complete, decoder.rest
    if len(data) < framing:
        return data, False, b""
    return data[:framing], True, data[framing:]


def body_events(peer: h11.Connection) -> tuple[bytes, bool, bytes]:
    """Return h11's body, whether it is whole, and the rest."""
    body = b""
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, True, peer.trailing_data[0]
        else:
            return body, False, b""


def compare_fields(head: Head, fields: list[tuple[bytes, bytes]]) -> None:
    """Compare the fields that rules read with h11's; absence too."""
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        separator = b"; " if name == b"cookie" else b", "
        joined[name] = joined[name] + separator + value if name in joined else value
    for name, value in head.fields.items():
        theirs = joined.get(name)
        if name == b"transfer-encoding":
            value = value.lower()  # as h11 does
        # h11 merges equal lengths; we refuse repeated ones before this comparison matters.
        if theirs != value and name != b"content-length":
            raise DisagreementError(f"field {name!r}: {value!r}, h11 {theirs!r}")
    names = [b"content-length", b"transfer-encoding", b"connection", b"upgrade"]
    if isinstance(head, RequestHead):
        names += [b"host", b"cookie", b"expect"]
    for name in names:
        if name in joined and name not in head.fields:
            raise DisagreementError(f"field {name!r} was overlooked in {head.raw!r}")


def check_lines(head: Head, ending: frozenset[bytes], *, family: tuple[bytes, ...] = ()) -> None:
    """The lines passed on are the received ones but those that end here, in their order."""
    lines = head.raw[:-4].split(b"\r\n")[1:]
    nominated = head.connection_options()[2] or frozenset()
    for without in (frozenset[bytes](), nominated, frozenset((b"host", b"set-cookie"))):
        kept = [
            line
            for line in lines
            if (name := line.partition(b":")[0].lower()) not in ending | without
            and not name.startswith(family)
        ]
        expected = b"".join(b"\r\n" + line for line in kept)
        passed_on = head.passed_on_without(without) if without else head.passed_on
        if passed_on != expected:
            raise DisagreementError(f"{passed_on!r} is not {expected!r}")
    asked_for = {
        b"connection": head.connection,
        b"content-length": head.content_length,
        b"transfer-encoding": head.transfer_encoding,
    }
    if isinstance(head, RequestHead):
        asked_for[b"host"] = head.host_field
        asked_for[b"expect"] = head.expect
        asked_for[b"traceparent"] = head.traceparent
        asked_for[b"poruwa-timing"] = head.timing
        anew = parse_request_head(head.raw)  # whose fields nobody has taken apart
        asked_for |= {name: anew.field(name) for name in (b"accept", b"cookie", b"user-agent")}
    else:
        asked_for[b"date"] = head.date
    for name, value in asked_for.items():
        if head.fields.get(name) != value:
            raise DisagreementError(f"{name!r}: {value!r} is not {head.fields.get(name)!r}")
    if head.line_count != len(lines):
        raise DisagreementError(f"{head.line_count} lines in {head.raw!r}")
