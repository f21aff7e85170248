"""What the cache makes of answers that break off, contradict what is stored, or come in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin

FRESH = b"Cache-Control: max-age=100\r\n"
STALE = b"Cache-Control: max-age=10\r\nAge: 50\r\n"
A, B = b'ETag: "a"\r\n', b'ETag: "b"\r\n'

_numbers = count(1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Origin]]:
    origin = Origin()
    folder = tmp_path_factory.mktemp("cache")
    gateway = GatewayProcess(folder, "--upstream", origin.address, "--cache", "--workers", "1")
    yield gateway, origin
    gateway.stop()
    origin.stop()


@pytest.fixture
def path() -> str:
    return f"/odd-{next(_numbers)}"


def in_turn(*handlers: Callable[[Call], None]) -> Callable[[Call], None]:
    """Answer each request by the next handler; one more than there are fails the test."""
    left = iter(handlers)
    return lambda call: next(left)(call)


def replies(
    body: bytes, fields: bytes, status: bytes = b"200 OK", *, before: bytes = b""
) -> Callable[[Call], None]:
    def reply(call: Call) -> None:
        if before:
            call.send(before)
        call.reply(body, status=status, fields=fields)

    return reply


def not_modified(fields: bytes) -> Callable[[Call], None]:
    return lambda call: call.send(b"HTTP/1.1 304 Not Modified\r\n" + fields + b"\r\n")


def breaks_off(
    body: bytes, fields: bytes, length: int, status: bytes = b"200 OK"
) -> Callable[[Call], None]:
    def send(call: Call) -> None:
        head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, length)
        call.send(head + body)
        call.close()

    return send


def closes(call: Call) -> None:
    call.close()


def test_a_304_of_something_else_is_followed_by_an_unconditional_request(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9111 section 4.3.4: it updates nothing; whoever asked no condition gets no 304."""
    gateway, origin = site
    new = replies(b"new", FRESH + B)
    origin.on(path, in_turn(replies(b"old", STALE + A), not_modified(FRESH + B), new))
    assert gateway.get(path).body == b"old"
    answer = gateway.get(path)
    assert (answer.status, answer.body) == (200, b"new")
    second, third = origin.seen(path)[1:]
    assert second.request.get("if-none-match") == b'"a"'
    assert third.request.get("if-none-match") is None
    assert gateway.get(path).body == b"new"


def test_a_304_that_nobody_asked_for_is_no_answer(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9110 section 15.4.5: it answers a conditional request."""
    gateway, origin = site
    origin.on(path, not_modified(FRESH + A))
    assert gateway.get(path).status == 502
    assert len(origin.seen(path)) == 1


def test_what_breaks_off_is_not_kept(site: tuple[GatewayProcess, Origin], path: str) -> None:
    """RFC 9111 section 3.3: an incomplete response is no complete one."""
    gateway, origin = site
    whole = replies(b"whole", FRESH + A)
    origin.on(path, in_turn(breaks_off(b"wh", FRESH + A, 5), whole))
    with gateway.connect() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n".encode())
        assert not client.rest().endswith(b"whole")
    answer = gateway.get(path)
    assert answer.body == b"whole"
    assert origin.seen(path)[1].request.get("range") is None


def test_a_rest_that_breaks_off_leaves_the_beginning(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9111 section 3.4: what was held is still held, and asked for again is the rest."""
    gateway, origin = site
    partial = b"206 Partial Content"
    beginning = replies(b"01234", FRESH + A + b"Content-Range: bytes 0-4/10\r\n", partial)
    rest = FRESH + A + b"Content-Range: bytes 5-9/10\r\n"
    cut = breaks_off(b"56", rest, 5, partial)
    origin.on(path, in_turn(beginning, cut, replies(b"56789", rest, partial)))
    assert gateway.get(path, "Range: bytes=0-4\r\n").status == 206
    with gateway.connect() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n".encode())
        assert b"0123456789" not in client.rest()  # a reset may overtake what was sent before
    assert gateway.get(path).body == b"0123456789"
    assert origin.seen(path)[2].request.get("range") == b"bytes=5-"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        pytest.param(A + b"Content-Range: bytes 5-8/10\r\n", b"5678", id="not-all"),
        pytest.param(A + b"Content-Range: bytes 4-9/10\r\n", b"456789", id="from-elsewhere"),
        pytest.param(A + b"Content-Range: bytes 5-10/11\r\n", b"56789A", id="another-length"),
        pytest.param(B + b"Content-Range: bytes 5-9/10\r\n", b"FGHIJ", id="another-tag"),
        pytest.param(b"Content-Range: bytes 5-9/10\r\n", b"56789", id="no-tag"),
        pytest.param(A, b"56789", id="no-range"),
        pytest.param(A + b"Content-Range: bytes 5-9/10\r\n", b"5678", id="fewer-bytes"),
    ],
)
def test_a_rest_that_does_not_fit_is_not_added(
    site: tuple[GatewayProcess, Origin], path: str, fields: bytes, body: bytes
) -> None:
    """RFC 9111 section 3.4: the whole is asked for instead."""
    gateway, origin = site
    partial = b"206 Partial Content"
    beginning = replies(b"01234", FRESH + A + b"Content-Range: bytes 0-4/10\r\n", partial)
    whole = replies(b"whole", FRESH + B)
    origin.on(path, in_turn(beginning, replies(body, FRESH + fields, partial), whole))
    assert gateway.get(path, "Range: bytes=0-4\r\n").status == 206
    answer = gateway.get(path)
    assert (answer.status, answer.body) == (200, b"whole")
    assert origin.seen(path)[2].request.get("range") is None


def test_interim_responses_are_passed_on_and_not_kept(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9110 section 15.2, RFC 8297: each reaches who asked, and nobody who gets a hit."""
    gateway, origin = site
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Early: 1\r\n\r\n"
    interim = b"HTTP/1.1 102 Processing\r\n\r\n" + hints
    origin.on(path, in_turn(replies(b"one", FRESH, before=interim)))
    answer = gateway.get(path)
    assert [each.start.split()[1] for each in answer.interim] == [b"102", b"103"]
    assert answer.interim[1].get("link") == b"</a.css>; rel=preload"
    assert answer.get("x-early") is None
    hit = gateway.get(path)
    assert (hit.body, hit.interim, hit.get("x-early"), hit.get("link")) == (b"one", [], None, None)


def test_a_request_is_sent_twice_at_most(site: tuple[GatewayProcess, Origin], path: str) -> None:
    """RFC 9110 section 9.2.2: a retry that fails is not retried, on whatever connection it was."""
    gateway, origin = site
    for _ in range(4):  # kept connections, each of which might be found closing
        assert gateway.get(f"{path}-other-{next(_numbers)}").status == 200
    origin.on(path, closes)
    assert gateway.get(path).status == 502
    assert len(origin.seen(path)) == 2


def test_a_refresh_that_may_not_be_reused_ends_serving_stale(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 5861 section 3: what the refresh brought counts, here that each use is asked for."""
    gateway, origin = site
    first = replies(b"one", STALE + b"Cache-Control: stale-while-revalidate=100\r\n" + A)
    second = replies(b"two", b"Cache-Control: no-cache\r\n" + B)
    third = replies(b"three", FRESH)
    origin.on(path, in_turn(first, second, third))
    assert gateway.get(path).body == b"one"
    assert gateway.get(path).body == b"one"
    origin.await_calls(path, 2)
    gateway.until(lambda: gateway.get(path).body == b"three", "an answer asked for")
    assert origin.seen(path)[2].request.get("if-none-match") == b'"b"'


def test_a_cookie_is_stored_where_the_origin_lets_it_be_and_the_operator_is_told(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9111 section 7.3: Set-Cookie alone does not inhibit caching."""
    gateway, origin = site
    gateway.await_log(lambda event: event.get("event") == "cookies may be shared")
    private = b"Cache-Control: private, max-age=100\r\nSet-Cookie: a=1\r\n"
    shared = replies(b"", FRESH + b"Set-Cookie: a=2\r\n")
    origin.on(path, in_turn(replies(b"", private), shared))
    # One that is not for all keeps the URL from being stored for a while.
    assert gateway.get(path).get("set-cookie") == b"a=1"
    assert gateway.get(path).get("set-cookie") == b"a=2"
    origin.on(path + "-shared", in_turn(shared))
    assert gateway.get(path + "-shared").get("set-cookie") == b"a=2"
    assert gateway.get(path + "-shared").get("set-cookie") == b"a=2"


def test_nobody_reads_along_with_a_request_that_has_credentials(
    site: tuple[GatewayProcess, Origin], path: str
) -> None:
    """RFC 9111 section 3.5: an answer to them is for one; others do not even wait for it."""
    gateway, origin = site
    with gateway.connect() as mine, gateway.connect() as other:

        def answer(call: Call) -> None:
            if call.request.get("authorization") is None:
                call.reply(b"all", fields=FRESH)
                return
            # Answered only once the other one has been.
            request = f"GET {path} HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
            other.send(request.encode())
            assert other.response().body == b"all"
            call.reply(b"mine", fields=FRESH)

        origin.on(path, answer)
        fields = "Authorization: Basic eDp5\r\n"
        assert mine.get(path, fields).body == b"mine"
    assert gateway.get(path).body == b"all"
