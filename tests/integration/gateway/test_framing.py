"""Show 3: what two parsers could frame differently is refused, seen from both ends of a gateway.

Requests: the stated status, one answer, the connection closed, nothing of the rest taken for a
request, no whole request at the instance. Responses: 502, and the connection is not used again.
"""

from __future__ import annotations

import pytest

from fakes.cases import RawCase, case_id, raw_cases
from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"


def refused_once(gateway: GatewayProcess, case: RawCase) -> None:
    """Send a case with a request behind it; expect one refusal and the end."""
    with gateway.connect() as client:
        client.send(case.send + SMUGGLED)
        answer = client.response()
        assert (answer.status, answer.get("connection")) == (case.status, b"close")
        assert answer.get("x-request-id")
        assert b"Traceback" not in answer.body
        assert client.rest() == b""


def barrier(gateway: GatewayProcess) -> None:
    """Send one good request: what the worker sent before, the origin has by its answer."""
    assert gateway.get("/after").status == 200


@pytest.mark.parametrize("case", raw_cases("requests_refused"), ids=case_id)
def test_request_is_refused(gateway: GatewayProcess, origin: Origin, case: RawCase) -> None:
    before = len(origin.calls)
    refused_once(gateway, case)
    barrier(gateway)
    assert [call.target for call in origin.calls[before:]] == [b"/after"]


@pytest.mark.parametrize("case", raw_cases("chunks_refused"), ids=case_id)
def test_chunked_body_is_refused(gateway: GatewayProcess, origin: Origin, case: RawCase) -> None:
    """The instance may have seen the head already; it never sees the end of the body."""
    before = len(origin.calls)
    refused_once(gateway, case)
    barrier(gateway)
    calls = origin.calls[before:]
    assert b"/smuggled" not in [call.target for call in calls]
    assert not [call for call in calls if call.target == b"/poison-chunk" and call.is_complete]


def test_refusal_does_not_depend_on_how_bytes_are_cut(gateway: GatewayProcess) -> None:
    """Each byte in a segment of its own."""
    for case in raw_cases("requests_refused")[:3]:
        with gateway.connect() as client:
            for at in range(len(case.send)):
                client.send(case.send[at : at + 1])
            assert client.response().status == case.status
            assert client.rest() == b""


def test_bytes_after_a_refusal_do_nothing(gateway: GatewayProcess, origin: Origin) -> None:
    """Requests that come in later segments, after the refusal was read, are not served either."""
    with gateway.connect() as client:
        client.send(b"GET /poison HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.response().status == 400
        for _ in range(3):
            client.send(SMUGGLED)
        client.finish_sending()
        assert client.rest() == b""
    barrier(gateway)
    assert origin.seen("/smuggled") == []


def test_requests_before_a_refusal_are_answered(gateway: GatewayProcess) -> None:
    with gateway.connect() as client:
        good = b"GET /good HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
        client.send(good + good + b"GET /bad HTTP/1.1\r\nHost : x\r\n\r\n" + SMUGGLED)
        assert [client.response().status for _ in range(3)] == [200, 200, 400]
        assert client.rest() == b""


@pytest.mark.parametrize("case", raw_cases("responses_refused"), ids=case_id)
def test_response_is_refused(gateway: GatewayProcess, origin: Origin, case: RawCase) -> None:
    """POST, so that one send is all there may be; the poisoned connection ends at both sides."""
    path = "/bad-response"
    connections: list[int] = []

    def poison(call: Call) -> None:
        _ = call.body
        connections.append(call.connection.number)
        if case.name.startswith("closed"):
            call.send(case.send)
            call.close()
        else:  # a second response waits behind: it must never reach anybody
            call.send(case.send + b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled")

    origin.on(path, poison)
    with gateway.connect() as client:
        client.send(
            b"POST /bad-response HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 2\r\n\r\nhi"
        )
        answer = client.response()
        assert answer.status == 502
        assert b"smuggled" not in answer.body
    assert len(connections) == 1
    after = account(gateway.get("/after"))
    assert after["connection"] not in connections


def test_response_with_more_than_it_announced(gateway: GatewayProcess, origin: Origin) -> None:
    """The body is cut where its length ends; the rest is nobody's and its connection is closed."""
    seen: list[int] = []

    def answer(call: Call) -> None:
        seen.append(call.connection.number)
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
                  b"Content-Length: 8\r\n\r\nsmuggled")  # fmt: skip

    origin.on("/too-much", answer)
    with gateway.connect() as client:
        first, second = client.get("/too-much"), client.get("/after")
    assert first.body == b"ok"
    assert account(second)["connection"] not in seen


def test_response_nobody_asked_for(gateway: GatewayProcess, origin: Origin) -> None:
    """Bytes on an idle connection: RFC 9112 section 9.2 has it closed."""
    seen: list[Call] = []

    def answer(call: Call) -> None:
        seen.append(call)
        call.reply(b"ok")

    origin.on("/then-more", answer)
    with gateway.connect() as client:
        assert client.get("/then-more").body == b"ok"
        seen[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled")
        assert client.get("/then-more").body == b"ok"
        assert client.get("/then-more").body == b"ok"


@pytest.mark.parametrize("early", [b"\r\n", b"\r\n\r\n", b"\r\n" * 5])
def test_empty_lines_before_a_request(gateway: GatewayProcess, early: bytes) -> None:
    """RFC 9112 section 2.2: at least one is ignored, at the start and between requests."""
    request = b"GET /hello HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    with gateway.connect() as client:
        client.send(early + request + early + request)
        assert [client.response().status for _ in range(2)] == [200, 200]
        for at in range(len(early)):
            client.send(early[at : at + 1])
        client.send(request)
        assert client.response().status == 200


@pytest.mark.parametrize(
    ("send", "target"),
    [
        ("GET http://weddinglk.test/a?b HTTP/1.1", "/a?b"),
        ("GET HTTP://WEDDINGLK.TEST HTTP/1.1", "/"),
        ("GET https://weddinglk.test/a HTTP/1.1", "/a"),
        ("OPTIONS * HTTP/1.1", "*"),
        ("GET /a?q=x|y&z={1}^`\\ HTTP/1.1", "/a?q=x|y&z={1}^`\\"),
        ("GET /a;b=1/c:d@e!$&'()*+,=~ HTTP/1.1", "/a;b=1/c:d@e!$&'()*+,=~"),
        ("GET /%E0%B6%BD HTTP/1.1", "/%E0%B6%BD"),
        ("PURGE-ALL.x /a HTTP/1.1", "/a"),
    ],
)
def test_unusual_but_sound_targets(gateway: GatewayProcess, send: str, target: str) -> None:
    """Absolute form (RFC 9112 section 3.2.2), and what browsers send unencoded in a query."""
    with gateway.connect() as client:
        client.send(f"{send}\r\nHost: weddinglk.test\r\n\r\n".encode())
        answer = account(client.response())
    assert answer["target"] == target


def test_chunked_body_in_every_sound_form(gateway: GatewayProcess) -> None:
    body = b'5;a;b=c;d="x\\"y"\r\nhello\r\n00001\r\n!\r\nA\r\n0123456789\r\n0;z\r\nX-T: 1\r\n\r\n'
    with gateway.connect() as client:
        head = (
            b"POST /chunks HTTP/1.1\r\nHost: weddinglk.test\r\nTransfer-Encoding: Chunked\r\n\r\n"
        )
        client.send(head + body + head)
        answer = account(client.response())
        assert answer["body"] == "hello!0123456789"
        for at in range(len(body)):
            client.send(body[at : at + 1])
        answer = account(client.response())
    assert answer["body"] == "hello!0123456789"
    assert "X-T".lower() not in dict(answer["fields"])


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
    ],
)
def test_two_segments_cut_anywhere(gateway: GatewayProcess, framed: bytes) -> None:
    """A request and the next one's beginning, cut at every byte: always the same two requests."""
    request = b"POST /cut HTTP/1.1\r\nHost: weddinglk.test\r\n" + framed
    data = request + b"GET /next HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    with gateway.connect() as client:
        for at in range(1, len(data)):
            client.send(data[:at])
            client.send(data[at:])
            first, second = account(client.response()), account(client.response())
            assert (first["target"], first["body"]) == ("/cut", "hello"), at
            assert (second["target"], second["body"]) == ("/next", ""), at
