"""The refusals kept as data (``tests/spec/http1``), against the parser itself."""

from __future__ import annotations

import pytest

from fakes.cases import RawCase, case_id, raw_cases
from poruwa.net.http1 import (
    ChunkedDecoder,
    Refused,
    has_bare_line_end,
    parse_request_head,
    parse_response_head,
)
from poruwa.rules.message import (
    CHUNKED,
    RefusalReason,
    request_framing,
    response_framing,
)

# Not the parser's business, but that of who reads from the connection.
_NOT_PARSED = {
    "closed without a byte", "closed within the head", "head of 20 KiB",
    "switch nobody asked for",
}  # fmt: skip


def take_request(data: bytes) -> None:
    """Take a request as the listener does; raise Refused where it refuses."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        assert has_bare_line_end(data), "the head never ends"
        raise Refused(RefusalReason.BARE_LINE_END)
    head = parse_request_head(data[:end])
    framing = request_framing(head.fields, minor_version=head.minor_version)
    if isinstance(framing, RefusalReason):
        raise Refused(framing)
    if framing == CHUNKED:
        ChunkedDecoder().feed(data[end:])


def take_response(data: bytes, end: int) -> None:
    """Take a response as an upstream connection does; ``end`` is that of its head."""
    head = parse_response_head(data[:end])
    framing = response_framing(
        head.fields, status=head.status, minor_version=head.minor_version, answers_head=False
    )
    if isinstance(framing, RefusalReason):
        raise Refused(framing)
    assert framing == CHUNKED
    ChunkedDecoder().feed(data[end:])


@pytest.mark.parametrize(
    "case", raw_cases("requests_refused") + raw_cases("chunks_refused"), ids=case_id
)
def test_request_is_refused(case: RawCase) -> None:
    """Show 3. What is sent behind it changes nothing."""
    with pytest.raises(Refused) as refused:
        take_request(case.send + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert refused.value.status_hint == case.status
    if case.reason:
        assert refused.value.reason.code == case.reason


@pytest.mark.parametrize(
    "case",
    [case for case in raw_cases("responses_refused") if case.name not in _NOT_PARSED],
    ids=case_id,
)
def test_response_is_refused(case: RawCase) -> None:
    end = case.send.find(b"\r\n\r\n") + 4
    if end < 4:
        assert has_bare_line_end(case.send)
        return
    with pytest.raises(Refused):
        take_response(case.send, end)
