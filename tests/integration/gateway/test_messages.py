"""Messages that pass through: which fields, which bodies, which statuses, on which connection."""

from __future__ import annotations

import re
import threading
import time

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import account, field


def reply_with(origin: Origin, path: str, raw: bytes, *, close: bool = False) -> None:
    """Answer ``path`` with raw bytes, and perhaps the end of the connection."""

    def answer(call: Call) -> None:
        _ = call.body
        call.send(raw)
        if close:
            call.close()

    origin.on(path, answer)


# Connections are kept on both sides.


def test_connections_are_kept_on_both_sides(gateway: GatewayProcess) -> None:
    with gateway.connect() as client:
        accounts = [account(client.get(f"/kept/{number}")) for number in range(5)]
    assert len({each["connection"] for each in accounts}) == 1
    assert [each["target"] for each in accounts] == [f"/kept/{number}" for number in range(5)]


def test_fifty_pipelined_requests_in_one_segment(gateway: GatewayProcess) -> None:
    requests = b"".join(
        b"GET /pipelined/%d HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n" % number
        for number in range(50)
    )
    with gateway.connect() as client:
        client.send(requests)
        targets = [account(client.response())["target"] for _ in range(50)]
    assert targets == [f"/pipelined/{number}" for number in range(50)]


def test_pipelined_requests_with_bodies_then_half_close(gateway: GatewayProcess) -> None:
    """What a client sent whole before it closed its side is answered (as with ``nc``)."""
    requests = b"".join(
        b"POST /half/%d HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 3\r\n\r\nab%d"
        % (number, number)
        for number in range(5)
    )
    with gateway.connect() as client:
        client.send(requests)
        client.finish_sending()
        bodies = [account(client.response())["body"] for _ in range(5)]
        assert client.rest() == b""
    assert bodies == [f"ab{number}" for number in range(5)]


def test_half_close_while_the_answer_is_made(gateway: GatewayProcess, origin: Origin) -> None:
    go_on = threading.Event()

    def slow(call: Call) -> None:
        go_on.wait(5)
        call.reply(b"late")

    origin.on("/slow-half", slow)
    with gateway.connect() as client:
        client.send(b"GET /slow-half HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        client.finish_sending()
        origin.await_calls("/slow-half", 1)
        go_on.set()
        assert client.response().body == b"late"
        assert client.rest() == b""


def test_half_close_within_a_head_or_body(gateway: GatewayProcess, origin: Origin) -> None:
    """A request that can never be whole: closed, and nothing whole at the instance."""
    for part in (
        b"GET /half-head HTTP/1.1\r\nHost: wedd",
        b"POST /half-body HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 10\r\n\r\nhello",
        b"POST /half-body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ):
        with gateway.connect() as client:
            client.send(part)
            client.finish_sending()
            assert client.rest() == b""
    assert gateway.get("/after").status == 200
    assert not [call for call in origin.seen("/half-body") if call.is_complete]
    assert origin.seen("/half-head") == []


def test_connection_close_is_honoured(gateway: GatewayProcess) -> None:
    with gateway.connect() as client:
        answer = client.get("/closing", "Connection: close\r\n")
        assert answer.get("connection") == b"close"
        assert field(account(answer), "connection") is None
        assert client.rest() == b""


def test_http_1_0(gateway: GatewayProcess) -> None:
    """Closed by default, kept when asked for; no Host needed (RFC 9112 appendix C)."""
    with gateway.connect() as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = client.response()
        assert answer.start.startswith(b"HTTP/1.1 200")
        assert answer.get("connection") == b"close"
        assert field(account(answer), "via") == "1.0 poruwa"
        assert client.rest() == b""
    with gateway.connect() as client:
        for _ in range(2):
            client.send(
                b"GET /old HTTP/1.0\r\nHost: weddinglk.test\r\nConnection: keep-alive\r\n\r\n"
            )
            assert client.response().get("connection") == b"keep-alive"


def test_error_page_to_http_1_0_closes(gateway: GatewayProcess) -> None:
    with gateway.connect() as client:
        client.send(b"GET /a/../../b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        client.response()
        assert client.rest() == b""


# Statuses and responses without body.


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (b"999 Odd", b"999 Odd"),
        (b"599 ", b"599 "),
        (b"200", b"200 "),
        (b"299 \xe9\xff", b"299 \xe9\xff"),
        (b"418 I'm\ta teapot", b"418 I'm\ta teapot"),
        (b"600 X", b"600 X"),
    ],
)
def test_any_final_status_and_reason(
    gateway: GatewayProcess, origin: Origin, status: bytes, shown: bytes
) -> None:
    reply_with(origin, "/status", b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
    with gateway.connect() as client:
        answer = client.get("/status")
        assert answer.start == b"HTTP/1.1 " + shown
        assert answer.body == b"ok"
        assert client.get("/after").status == 200


@pytest.mark.parametrize("method", ["PURGE", "PROPFIND", "X-ANY!", "PATCH", "DELETE", "get"])
def test_extension_methods(gateway: GatewayProcess, method: str) -> None:
    answer = account(gateway.get("/extension", method=method, body=b"content"))
    assert (answer["method"], answer["body"]) == (method, "content")


@pytest.mark.parametrize(
    "fields",
    [b"Content-Length: 1234\r\n", b"Transfer-Encoding: chunked\r\n", b""],
)
def test_head_has_no_body(gateway: GatewayProcess, origin: Origin, fields: bytes) -> None:
    """And the length that GET would have stays (RFC 9110 section 9.3.2)."""
    reply_with(origin, "/head", b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    with gateway.connect() as client:
        answer = client.get("/head", method="HEAD")
        assert answer.status == 200
        assert answer.get("content-length") == (b"1234" if b"1234" in fields else None)
        assert client.get("/after").status == 200


def test_204_and_304(gateway: GatewayProcess, origin: Origin) -> None:
    """RFC 9110 section 8.6: no length in a 204; that of the content may stand in a 304."""
    reply_with(origin, "/204", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    reply_with(
        origin, "/304", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n'
    )
    reply_with(
        origin, "/304-chunked", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with gateway.connect() as client:
        assert client.get("/204").get("content-length") is None
        assert client.get("/304").get("etag") == b'"a"'
        answer = client.get("/304-chunked")
        assert (answer.status, answer.get("transfer-encoding")) == (304, None)
        assert client.get("/after").status == 200


def test_interim_responses_pass(gateway: GatewayProcess, origin: Origin) -> None:
    """100 and 103 to HTTP/1.1, never to HTTP/1.0 (RFC 9110 section 15.2)."""
    reply_with(
        origin,
        "/hints",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n"
        b"Connection: x-hop\r\nX-Hop: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    with gateway.connect() as client:
        answer = client.get("/hints")
        assert [each.start for each in answer.interim] == [
            b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints",
        ]  # fmt: skip
        assert answer.interim[1].get("link") == b"</a.css>; rel=preload"
        assert answer.interim[1].get("x-hop") is None
        client.send(b"GET /hints HTTP/1.0\r\n\r\n")
        assert client.response().interim == []


def test_early_hints_are_not_held_back(gateway: GatewayProcess, origin: Origin) -> None:
    go_on = threading.Event()

    def hint(call: Call) -> None:
        call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        go_on.wait(5)
        call.reply(b"ok")

    origin.on("/hint", hint)
    with gateway.connect() as client:
        client.send(b"GET /hint HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        head = client.reader.head()
        assert head is not None
        assert head.start == b"HTTP/1.1 103 Early Hints"
        go_on.set()
        assert client.response().body == b"ok"


# Expect.


def test_expect_100_continue(gateway: GatewayProcess, origin: Origin) -> None:
    """RFC 9110 section 10.1.1: the instance's 100 is awaited, the body follows."""

    def answer(call: Call) -> None:
        assert call.request.get("expect") == b"100-Continue"
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.reply(call.body)

    origin.on("/expect", answer)
    with gateway.connect() as client:
        client.send(b"POST /expect HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 5\r\n"
                    b"Expect: 100-Continue\r\n\r\n")  # fmt: skip
        head = client.reader.head()
        assert head is not None
        assert head.start == b"HTTP/1.1 100 Continue"
        client.send(b"hello")
        assert client.response().body == b"hello"
        assert client.get("/after").status == 200


def test_expect_with_a_final_answer_at_once(gateway: GatewayProcess, origin: Origin) -> None:
    """The body never comes: the connection must end, or it would be taken for a request."""
    reply = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"

    def refuse(call: Call) -> None:
        call.send(reply)
        call.is_body_read = True

    origin.on("/expect-refused", refuse)
    with gateway.connect() as client:
        client.send(
            b"POST /expect-refused HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        answer = client.response()
        assert (answer.status, answer.get("connection")) == (403, b"close")
        assert client.rest() == b""


def test_unknown_expectation(gateway: GatewayProcess, origin: Origin) -> None:
    answer = gateway.get("/expect-else", "Expect: 200-ok\r\n")
    assert answer.status == 417
    assert origin.seen("/expect-else") == []


# Bodies.


def test_chunked_response(gateway: GatewayProcess, origin: Origin) -> None:
    """Chunked to HTTP/1.1, ended by the connection to HTTP/1.0; trailers and extensions dropped."""
    reply_with(
        origin,
        "/chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    )
    with gateway.connect() as client:
        answer = client.get("/chunked")
        assert (answer.body, answer.get("trailer")) == (b"hello world", None)
        client.send(b"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.response()
        assert answer.get("transfer-encoding") is None
        assert (answer.get("connection"), answer.body) == (b"close", b"hello world")


def test_response_until_close(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(origin, "/until-close", b"HTTP/1.0 200 OK\r\n\r\nhello world", close=True)
    with gateway.connect() as client:
        answer = client.get("/until-close")
        assert (answer.get("transfer-encoding"), answer.body) == (b"chunked", b"hello world")
        client.send(b"GET /until-close HTTP/1.0\r\n\r\n")
        answer = client.response()
        assert (answer.get("connection"), answer.body) == (b"close", b"hello world")


def test_empty_bodies(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(
        origin, "/empty-chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    reply_with(origin, "/empty-close", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", close=True)
    reply_with(origin, "/empty-length", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with gateway.connect() as client:
        for path in ("/empty-chunked", "/empty-close", "/empty-length"):
            assert client.get(path).body == b""


def test_response_in_single_bytes(gateway: GatewayProcess, origin: Origin) -> None:
    raw = (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"5\r\nhello\r\n3;a\r\nyou\r\n0\r\n\r\n")  # fmt: skip

    def trickle(call: Call) -> None:
        for at in range(len(raw)):
            call.send(raw[at : at + 1])
            time.sleep(0.0005)

    origin.on("/trickle", trickle)
    answer = gateway.get("/trickle")
    assert (answer.body, len(answer.interim)) == (b"helloyou", 1)


TRUNCATED = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "within a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "bad second chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("kind", TRUNCATED)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_truncated_response_is_seen_as_such(
    gateway: GatewayProcess, origin: Origin, kind: str, version: str
) -> None:
    """RFC 9112 section 8: the client must not take a part for the whole.

    To HTTP/1.0, where the connection's end may be the body's end, only a reset tells.
    """
    go_on = threading.Event()

    def answer(call: Call) -> None:
        call.send(TRUNCATED[kind])
        go_on.wait(5)
        if kind.startswith("bad"):
            call.send(b"xyz\r\n")
        call.close()

    origin.on("/truncated", answer)
    with gateway.connect() as client:
        client.send(f"GET /truncated HTTP/{version}\r\nHost: weddinglk.test\r\n\r\n".encode())
        head = client.reader.head()
        assert head is not None
        assert head.start == b"HTTP/1.1 200 OK"
        go_on.set()
        with pytest.raises(ConnectionResetError):
            client.reader.rest()
    assert b"0\r\n\r\n" not in client.reader.received


def test_reset_by_the_instance_within_a_close_delimited_body(
    gateway: GatewayProcess, origin: Origin
) -> None:
    go_on = threading.Event()

    def answer(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
        go_on.wait(5)
        call.reset()

    origin.on("/reset-close", answer)
    with gateway.connect() as client:
        client.send(b"GET /reset-close HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        assert client.reader.head() is not None
        go_on.set()
        with pytest.raises(ConnectionResetError):
            client.reader.rest()


def test_answer_before_the_body_was_sent(gateway: GatewayProcess, origin: Origin) -> None:
    """An instance that refuses an upload: its answer reaches the client, not a reset."""

    def refuse(call: Call) -> None:
        call.is_body_read = True
        call.send(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwho?"
        )

    origin.on("/big/refused", refuse)
    with gateway.connect() as client:
        client.send(b"POST /big/refused HTTP/1.1\r\nHost: weddinglk.test\r\n"
                    b"Content-Length: 10000000\r\n\r\n" + b"x" * 200_000)  # fmt: skip
        answer = client.response()
        assert (answer.status, answer.body) == (401, b"who?")
        assert answer.get("connection") == b"close"


# Fields.


def test_hop_by_hop_fields_end_here(gateway: GatewayProcess) -> None:
    """RFC 9110 section 7.6.1: the known ones, and those that Connection names."""
    fields = (
        "Connection: keep-alive, X-Secret-Hop, x-other\r\nX-Secret-Hop: 1\r\nX-OTHER: 2\r\n"
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n"
        "Proxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        "X-End-To-End: 3\r\n"
    )
    answer = account(gateway.get("/hops", fields))
    names = {name for name, _ in answer["fields"]}
    assert "x-end-to-end" in names
    assert not names & {
        "connection", "x-secret-hop", "x-other", "keep-alive", "proxy-connection", "te",
        "proxy-authorization", "upgrade", "http2-settings",
    }  # fmt: skip


def test_hop_by_hop_fields_of_responses(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(
        origin,
        "/response-hops",
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nok",
    )
    answer = gateway.get("/response-hops")
    names = {name for name, _ in answer.fields}
    assert b"x-end" in names
    assert not names & {b"connection", b"x-hop", b"keep-alive", b"upgrade", b"proxy-authenticate"}


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For"])
def test_connection_cannot_name_what_a_message_needs(gateway: GatewayProcess, name: str) -> None:
    answer = account(
        gateway.get("/nominated", f"Connection: {name}\r\n", method="POST", body=b"hello")
    )
    assert answer["body"] == "hello"
    assert field(answer, "host") == "weddinglk.test"
    assert field(answer, "x-forwarded-for") == "127.0.0.1"


def test_fields_pass_untouched(gateway: GatewayProcess) -> None:
    fields = "X-Same: 1\r\nx-same: 2\r\nX-Raw: \xe9\xff\r\nX-Empty:\r\nX-Spaces:  a  b \t\r\n"
    answer = account(gateway.get("/untouched", fields))
    values = [(name, value) for name, value in answer["fields"] if name.startswith("x-")]
    assert ("x-same", "1") in values
    assert ("x-same", "2") in values
    assert ("x-raw", "\xe9\xff") in values
    assert ("x-empty", "") in values
    assert ("x-spaces", "a  b") in values


def test_set_cookie_lines_stay_apart(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(
        origin, "/cookies",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    )  # fmt: skip
    assert gateway.get("/cookies").all("set-cookie") == [b"a=1", b"b=2"]


def test_request_id_and_trace(gateway: GatewayProcess) -> None:
    """An untrusted client's request id is not taken; its trace goes on with a new parent."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    response = gateway.get(
        "/ids", f"X-Request-Id: mine\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n"
    )
    answer = account(response)
    request_id = field(answer, "x-request-id")
    assert request_id is not None
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert response.get("x-request-id") == request_id.encode()
    assert re.fullmatch(
        f"00-{trace}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", field(answer, "traceparent") or ""
    )


@pytest.mark.parametrize("value", ["x", "00-0-0-00", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01"])
def test_bad_trace_starts_a_new_one(gateway: GatewayProcess, value: str) -> None:
    answer = account(gateway.get("/ids", f"traceparent: {value}\r\n"))
    found = field(answer, "traceparent") or ""
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", found)
    assert found != value


def test_date_is_added_once(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(origin, "/dated", b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
               b"Content-Length: 0\r\n\r\n")  # fmt: skip
    assert gateway.get("/dated").get("date") == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert gateway.get("/plain").get("date")


# Error pages.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", b"text/html; charset=utf-8"),
        ("Accept: text/html,*/*;q=0.8\r\n", b"text/html; charset=utf-8"),
        ("Accept: application/json\r\n", b"application/problem+json"),
        ("Accept: application/problem+json\r\n", b"application/problem+json"),
    ],
)
def test_error_pages(gateway: GatewayProcess, origin: Origin, accept: str, kind: bytes) -> None:
    reply_with(origin, "/broken", b"nonsense\r\n\r\n", close=True)
    answer = gateway.get("/broken", accept)
    assert (answer.status, answer.get("content-type")) == (502, kind)
    request_id = answer.get("x-request-id")
    assert request_id
    assert request_id in answer.body
    assert answer.get("cache-control") == b"no-store"
    assert b"Traceback" not in answer.body
    assert b"127.0.0.1" not in answer.body


def test_error_answer_to_head(gateway: GatewayProcess, origin: Origin) -> None:
    reply_with(origin, "/broken", b"nonsense\r\n\r\n", close=True)
    with gateway.connect() as client:
        assert client.get("/broken", method="HEAD").status == 502
        assert client.get("/after").status == 200
