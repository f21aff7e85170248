"""What the middleware adds to a response, message by message (RFC 9110, RFC 9875).

Every exchange goes through h11 as a server would send it, which refuses a body that differs from
its Content-Length and anything after the end.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import h11
import pytest
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import poruwa
from poruwa.app.tags import MAX_TAGS
from poruwa.rules.cache_groups import parse_groups

BODY = b"ayubowan " * 100
ETAG = '"' + hashlib.sha256(BODY).hexdigest()[:32] + '"'


@dataclass(frozen=True)
class Answer:
    """What a client has got; ``fields`` by lower-case name, repeated lines joined."""

    status: int
    fields: dict[str, str]
    body: bytes
    messages: list[Message]

    @property
    def tags(self) -> tuple[bytes, ...]:
        return parse_groups(self.fields.get("cache-groups", "").encode())


async def ask(app: ASGIApp, method: str = "GET", **fields: str) -> Answer:
    """Return the answer of ``app``, with the middleware around it, as h11 lets it through."""
    return await ask_bare(poruwa.CacheHeadersMiddleware(app), method, **fields)


async def ask_bare(app: ASGIApp, method: str = "GET", **fields: str) -> Answer:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "scheme": "http",
        "headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    messages: list[Message] = []

    async def receive() -> Message:
        if receive.is_first:  # type: ignore[attr-defined]
            receive.is_first = False  # type: ignore[attr-defined]
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    receive.is_first = True  # type: ignore[attr-defined]

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return _through_h11(method, messages)


def _through_h11(method: str, messages: list[Message]) -> Answer:
    server, client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
    request = h11.Request(method=method, target="/", headers=[("Host", "x")])
    server.receive_data((client.send(request) or b"") + (client.send(h11.EndOfMessage()) or b""))
    assert isinstance(server.next_event(), h11.Request)
    start, *rest = messages
    assert start["type"] == "http.response.start"
    wire = server.send(h11.Response(status_code=start["status"], headers=start["headers"])) or b""
    for message in rest:
        assert message["type"] == "http.response.body"
        if method != "HEAD":
            wire += server.send(h11.Data(data=message.get("body", b""))) or b""
    assert not rest[-1].get("more_body", False)
    wire += server.send(h11.EndOfMessage()) or b""
    client.receive_data(wire)
    head = client.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    fields: dict[str, str] = {}
    for name, value in head.headers:
        key = name.decode()
        fields[key] = f"{fields[key]}, {value.decode()}" if key in fields else value.decode()
    return Answer(head.status_code, fields, body, messages)


def page(*tags: str, body: bytes = BODY, status: int = 200, **fields: str) -> ASGIApp:
    """Return an app of one page, which Starlette sends with its Content-Length."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        poruwa.tag(*tags)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        await Response(body, status, headers, "text/html")(scope, receive, send)

    return app


async def test_a_page_says_what_it_depends_on_and_what_it_is() -> None:
    """RFC 9875 section 2, RFC 9110 section 8.8.3: tags, and a strong validator of the bytes."""
    answer = await ask(page("venue:12", "venues", "venue:12"))
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.fields["cache-groups"] == '"venue:12", "venues"'
    assert answer.fields["etag"] == ETAG
    assert answer.fields["content-length"] == str(len(BODY))
    assert "cache-control" not in answer.fields
    other = await ask(page(body=BODY + b"!"))
    assert other.fields["etag"] != ETAG
    assert "cache-groups" not in other.fields


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("field", [ETAG, f"W/{ETAG}", f'"a", {ETAG}', "*"])
async def test_who_has_the_bytes_gets_304(method: str, field: str) -> None:
    """RFC 9110 sections 13.1.2 and 15.4.5: what a 200 would say of caching, and nothing else of
    its content; fields that are not of the content stay.
    """
    app = page("venue:12", Vary="Accept-Language", Cache_Control="private", Expires="0",
               Content_Language="si", Link="</a.css>; rel=preload; as=style",
               Content_Location="/en", X_Frame_Options="DENY",
               Last_Modified="Mon, 23 Nov 2026 03:00:00 GMT")  # fmt: skip
    answer = await ask(app, method, if_none_match=field)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.fields == {
        "vary": "Accept-Language",
        "cache-control": "private",
        "expires": "0",
        "content-location": "/en",
        "x-frame-options": "DENY",
        "cache-groups": '"venue:12"',
        "etag": ETAG,
    }


@pytest.mark.parametrize(
    ("method", "field"),
    [("GET", '"other"'), ("GET", ETAG.strip('"')), ("GET", ""), ("POST", ETAG), ("POST", "*")],
)
async def test_others_get_the_page(method: str, field: str) -> None:
    """RFC 9110 section 13.1.2: another tag, none, or a method that changes things."""
    answer = await ask(page(), method, if_none_match=field)
    assert (answer.status, answer.body) == (200, BODY)
    assert ("etag" in answer.fields) == (method == "GET")


async def test_several_lines_are_one_list() -> None:
    """RFC 9110 section 5.3."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        lines = [(b"if-none-match", b'"a"'), (b"if-none-match", ETAG.encode())]
        wrapped = poruwa.CacheHeadersMiddleware(page())
        await wrapped({**scope, "headers": lines}, receive, send)

    assert (await ask_bare(app)).status == 304


@pytest.mark.parametrize("etag", ['"v7"', 'W/"v7"'])
async def test_an_entity_tag_of_the_app_stays(etag: str) -> None:
    """RFC 9110 section 8.8.3: the app may know better; it is answered alike."""
    answer = await ask(page(ETag=etag))
    assert (answer.status, answer.fields["etag"]) == (200, etag)
    assert (await ask(page(ETag=etag), if_none_match='"v7"')).status == 304
    assert (await ask(page(ETag=etag), if_none_match=ETAG)).status == 200


@pytest.mark.parametrize("status", [201, 204, 206, 301, 404, 500])
async def test_other_statuses_have_their_tags_only(status: int) -> None:
    """A validator is of a 200; If-None-Match of what failed is no reason for 304."""
    body = b"" if status == 204 else b"x"
    answer = await ask(page("venue:12", body=body, status=status), if_none_match="*")
    assert (answer.status, answer.body, answer.tags) == (status, body, (b"venue:12",))
    assert "etag" not in answer.fields


async def test_head_has_the_validator_of_get() -> None:
    """RFC 9110 section 9.3.2: Starlette sends the body of HEAD to the server, which drops it.

    Without its body there is nothing to make a tag of, and none is made of the empty one.
    """
    answer = await ask(page("venue:12"), "HEAD")
    assert (answer.body, answer.fields["etag"]) == (b"", ETAG)
    assert answer.fields["content-length"] == str(len(BODY))

    async def without_body(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"Content-Length", b"900")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body"})

    answer = await ask(without_body, "HEAD", if_none_match="*")
    assert (answer.status, answer.fields) == (200, {"content-length": "900"})


async def test_a_stream_passes_as_it_is() -> None:
    """The head of a stream does not wait for its first byte; it says what was tagged before."""
    events: list[str] = []

    async def parts() -> AsyncIterator[bytes]:
        events.append("body asked for")
        yield b"data: 1\n\n"
        poruwa.tag("too-late")
        yield b"data: 2\n\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            await send(message)
            events.append(f"{message['type']} {message.get('body', b'')!r}")

        poruwa.tag("venue:12")
        response = StreamingResponse(parts(), media_type="text/event-stream")
        await poruwa.CacheHeadersMiddleware(_tagging("feed", response))(scope, receive, noting)

    answer = await ask_bare(app, if_none_match="*")
    assert (answer.status, answer.body) == (200, b"data: 1\n\ndata: 2\n\n")
    assert answer.tags == (b"feed",)
    assert "etag" not in answer.fields
    assert events[:2] == ["http.response.start b''", "body asked for"]


def _tagging(tag: str, app: ASGIApp) -> ASGIApp:
    async def tagging(scope: Scope, receive: Receive, send: Send) -> None:
        poruwa.tag(tag)
        await app(scope, receive, send)

    return tagging


async def test_a_file_keeps_its_own_validators(tmp_path: Path) -> None:
    """A body in several messages is not gathered, whatever its Content-Length."""
    path = tmp_path / "large.bin"
    path.write_bytes(b"x" * 200_000)
    bare = await ask_bare(FileResponse(path))
    answer = await ask(_tagging("build", FileResponse(path)))
    assert answer.body == path.read_bytes()
    assert len(answer.messages) == len(bare.messages) > 2
    assert answer.fields == {**bare.fields, "cache-groups": '"build"'}


async def test_a_whole_body_behind_starlettes_function_middleware() -> None:
    """BaseHTTPMiddleware makes two messages of one body: Content-Length tells that it is whole."""

    async def passing(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    app = BaseHTTPMiddleware(page("venue:12"), dispatch=passing)
    answer = await ask(app)
    assert (answer.body, answer.fields["etag"], answer.tags) == (BODY, ETAG, (b"venue:12",))
    assert (await ask(app, if_none_match=ETAG)).status == 304


async def test_too_many_tags_make_a_response_that_nobody_keeps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A copy that some change would not reach is worse than none (DESIGN section 6)."""
    app = page(*(f"venue:{number}" for number in range(MAX_TAGS + 1)), Cache_Control="public",
               CDN_Cache_Control="max-age=60", Expires="0")  # fmt: skip
    with caplog.at_level(logging.WARNING, "poruwa.app"):
        answer = await ask(app)
    assert (answer.status, answer.body) == (200, BODY)
    assert answer.fields["cache-control"] == "no-store"
    assert not {"cache-groups", "cdn-cache-control", "expires"} & answer.fields.keys()
    assert "'/': more than 512 tags" in caplog.text
    assert (await ask(app, if_none_match=ETAG)).fields["cache-control"] == "no-store"


async def test_groups_of_the_app_itself_stay() -> None:
    """RFC 9110 section 5.3: two lines are one list."""
    answer = await ask(page("venue:12", Cache_Groups='"own"'))
    assert answer.tags == (b"own", b"venue:12")


async def test_one_response_sent_twice_is_the_same_twice() -> None:
    """The fields of a response that an app keeps are not written to."""
    kept = PlainTextResponse("ready")
    first, second = await ask(_tagging("a", kept)), await ask(_tagging("a", kept))
    assert first.fields == second.fields
    assert "etag" not in kept.headers


async def test_a_background_task_tags_nobody() -> None:
    """What runs after the response may load what it likes."""
    response = PlainTextResponse("x", background=BackgroundTask(poruwa.tag, "late"))
    assert "cache-groups" not in (await ask(response)).fields
    with poruwa.collect_tags() as outer:
        await ask(response)
    assert not outer


async def test_a_failure_is_the_servers_to_answer() -> None:
    """A head that was kept back is not sent when its body fails: 500 can still be said."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        raise OSError("template is gone")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(OSError, match="template"):
        await poruwa.CacheHeadersMiddleware(app)(scope, receive, send)
    assert sent == []
    with poruwa.collect_tags() as tags:
        poruwa.tag("after")
    assert list(tags) == ["after"]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_what_is_no_request_passes(kind: str) -> None:
    """Messages of other protocols are not looked at."""
    given: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.extend((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": kind}
    await poruwa.CacheHeadersMiddleware(app)(scope, receive, send)
    assert given == [scope, receive, send]


async def test_messages_of_extensions_pass() -> None:
    """ASGI extensions: what comes before the head, and a body the server reads from a path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.debug", "info": {}})
        length = [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.pathsend", "path": "/tmp/x"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"if-none-match", b"*")]}
    await poruwa.CacheHeadersMiddleware(app)(scope, receive, send)
    assert [message["type"] for message in sent] == [
        "http.response.debug", "http.response.start", "http.response.pathsend",
    ]  # fmt: skip
    assert sent[1]["headers"] == [(b"content-length", b"5")]


async def test_requests_leave_nothing_behind() -> None:
    """No cycle keeps a body until the collector comes."""
    app = poruwa.CacheHeadersMiddleware(page("venue:12"))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}

    async def send(message: Message) -> None:
        pass

    async def receive() -> Message:
        raise AssertionError

    await app(scope, receive, send)
    gc.collect()
    for _ in range(50):
        await app(scope, receive, send)
    assert gc.collect() < 10
