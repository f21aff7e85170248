"""The gateway's own answers: complete, harmless, in the form the client reads."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256

import h11
import pytest

from poruwa.gateway.error_pages import WORDS, error_response, prefers_html

DATE = b"Mon, 23 Nov 2026 03:00:00 GMT"
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def response(status: int, **changes: object) -> bytes:
    given: dict[str, object] = {
        "accept": BROWSER,
        "request_id": b"4bf92f3577b34da6",
        "head_only": False,
        "keep_alive": False,
        "date": DATE,
    }
    return error_response(status, **{**given, **changes})  # type: ignore[arg-type]


def parsed(raw: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """Read with another parser."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    head = client.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    return head, body


@pytest.mark.parametrize("status", [*WORDS, 418, 599])
@pytest.mark.parametrize("accept", [BROWSER, b"application/json"])
def test_every_status_in_both_forms(status: int, accept: bytes) -> None:
    head, body = parsed(response(status, accept=accept))
    fields = dict(head.headers)
    assert head.status_code == status
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert b"default-src 'none'" in fields[b"content-security-policy"]
    assert fields[b"connection"] == b"close"
    assert fields[b"date"] == DATE
    assert b"server" not in fields
    assert b"4bf92f3577b34da6" in body
    if accept == BROWSER:
        assert body.startswith(b"<!doctype html>")
        assert str(status).encode() in body
    else:
        assert fields[b"content-type"] == b"application/problem+json"
        assert json.loads(body)["status"] == status


def test_policy_allows_exactly_the_pages_own_style() -> None:
    head, body = parsed(response(502))
    style = re.search(rb"<style>(.*?)</style>", body, re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1]).digest())
    policy = dict(head.headers)[b"content-security-policy"]
    assert b"style-src 'sha256-" + digest + b"'" in policy
    assert b"unsafe" not in policy
    assert b"style=" not in body
    assert b"<script" not in body


def test_head_has_the_fields_and_no_body() -> None:
    whole, only_head = response(503), response(503, head_only=True)
    assert whole.startswith(only_head)
    assert only_head.endswith(b"\r\n\r\n")
    parsed(only_head, "HEAD")


def test_extras() -> None:
    head, _ = parsed(response(405, keep_alive=True, extra_lines=b"Allow: GET, HEAD\r\n"))
    fields = dict(head.headers)
    assert fields[b"allow"] == b"GET, HEAD"
    assert b"connection" not in fields
    assert dict(parsed(response(503, retry_after=7))[0].headers)[b"retry-after"] == b"7"


def test_too_many_cookies_can_be_recovered_from() -> None:
    """SECURITY-CHECKS 9."""
    fields = dict(parsed(response(431, accept=b""))[0].headers)
    assert fields[b"clear-site-data"] == b'"cookies"'
    assert b"clear-site-data" not in dict(parsed(response(400))[0].headers)


@pytest.mark.parametrize(
    "request_id", [b"<script>alert(1)</script>", b"a\r\nSet-Cookie: x=1", b"\xff", b""]
)
def test_a_hostile_request_id_does_nothing(request_id: bytes) -> None:
    for accept in (BROWSER, b"application/json"):
        head, body = parsed(response(400, request_id=request_id, accept=accept))
        assert b"set-cookie" not in dict(head.headers)
        assert b"<script" not in body or accept != BROWSER


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        (BROWSER, True),
        (b"", True),
        (b"*/*", True),
        (b"application/json", False),
        (b"application/problem+json, */*;q=0.1", False),
        (b"application/json, text/plain, */*", False),
        (b"text/html;q=0.5, application/json;q=0.9", False),
        (b"text/html;q=0.9, application/json;q=0.5", True),
        (b"text/html;q=0, */*", False),
        (b"application/*", False),
        (b"text/*", True),
        (b"image/png", True),
        (b"text/html;level=1;q=0.2, application/json;q=0.3", False),
        (b"rubbish;;;=, ,,application/json", False),
    ],
)
def test_negotiation(accept: bytes, is_html: bool) -> None:
    """RFC 9110 section 12.5.1."""
    assert prefers_html(accept) is is_html
