"""Security checks 30 to 36: requests that other sites' pages have a browser make (D4)."""

from __future__ import annotations

import socket
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fakes.tls_stack import DAY, HOST, SESSION, TlsStack, tokens_of

USER = "form-user"
OTHER_PORT = f"https://{HOST}:444"
SIBLING = f"https://evil.{HOST}"
FOREIGN = "https://elsewhere.example"


@pytest.fixture(scope="module")
def token(stack: TlsStack) -> str:
    return stack.sign_in(USER)


@pytest.mark.check(30)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "made-up"])
def test_30_what_browsers_say_is_of_another_site_is_refused(
    stack: TlsStack, token: str, method: str, site: str
) -> None:
    fields = {"Sec-Fetch-Site": site}
    assert stack.post("/doors/note", token, fields, method=method).status_code == 403
    assert stack.post("/doors/note", None, fields, method=method).status_code == 403


@pytest.mark.check(30)
def test_30_the_sites_own_pages_and_typed_addresses_are_served(stack: TlsStack, token: str) -> None:
    for fields in (
        {"Sec-Fetch-Site": "same-origin", "Origin": stack.origin},
        {"Sec-Fetch-Site": "none"},
    ):
        assert stack.post("/doors/note", token, fields).status_code == 200
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert stack.get("/venues/1", token, cross).status_code == 200  # a link changes nothing


@pytest.mark.check(31)
@pytest.mark.parametrize(
    "origin",
    ["null", FOREIGN, SIBLING, OTHER_PORT, f"http://{HOST}", f"https://{HOST}.elsewhere.example",
     f"https://{HOST}@elsewhere.example", "", "https://"],
)  # fmt: skip
def test_31_foreign_origins_are_refused(stack: TlsStack, token: str, origin: str) -> None:
    answer = stack.post("/doors/note", token, {"Origin": origin})
    assert answer.status_code == 403
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.check(31)
def test_31_where_nothing_says_where_from_a_token_is_needed(stack: TlsStack, token: str) -> None:
    assert stack.post("/doors/note", token, {}).status_code == 403
    made = stack.get("/doors/form", token).text
    assert stack.post("/doors/note", token, {"X-CSRF-Token": made}).status_code == 200
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    sent = stack.post("/doors/note", token, form, content=f"a=b&csrf_token={made}".encode())
    assert (sent.status_code, sent.text) == (200, f"noted {len(made) + 15} by POST")


@pytest.mark.check(32)
@pytest.mark.parametrize("path", ["/doors/sign-in?user=victim", "/doors/sign-out"])
@pytest.mark.parametrize(
    "fields",
    [{"Origin": FOREIGN}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Cookie": "theme=dark"}],
    ids=str,
)  # fmt: skip
def test_32_nobody_is_signed_in_or_out_by_another_site(
    stack: TlsStack, path: str, fields: dict[str, str]
) -> None:
    """Without a session, too: else one's searches go to the attacker's account (login CSRF)."""
    answer = stack.post(path, fields=fields)
    assert answer.status_code == 403
    assert not tokens_of(answer)
    assert "clear-site-data" not in answer.headers


@pytest.mark.check(33)
def test_33_a_token_that_a_sibling_host_planted_is_none(stack: TlsStack, token: str) -> None:
    """Nor is another session's, or one of a session before."""
    other = stack.get("/doors/form", stack.sign_in("planter")).text
    mine = stack.get("/doors/form", token).text
    later = stack.keys.tokens
    assert later is not None
    future = later.mint(stack.claims(token).session_id, time.time() + 3 * 3600)
    for made in ("x" * 32, other, mine[:4] + other[4:], mine[:-1], mine + "A", future, ""):
        for cookie in ("csrf_token", "__Host-csrf", "XSRF-TOKEN"):
            fields = {"Cookie": f"{SESSION}={token}; {cookie}={made}", "X-CSRF-Token": made}
            assert stack.post("/doors/note", fields=fields).status_code == 403
    assert stack.post("/doors/note", token, {"X-CSRF-Token": mine}).status_code == 200


@pytest.mark.check(34)
@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_34_no_field_makes_another_method_of_it(stack: TlsStack, token: str, name: str) -> None:
    own = {"Origin": stack.origin, name: "DELETE"}
    assert stack.post("/doors/note", token, own).text == "noted 0 by POST"
    assert stack.get("/doors/note", token, {name: "POST"}).text == "noted 0 by GET"
    assert stack.get("/doors/sign-out", token, {name: "POST"}).status_code == 405
    assert stack.get("/doors/sign-out?_method=POST", token).status_code == 405
    assert stack.who(token) == {USER}


@pytest.mark.check(34)
@pytest.mark.parametrize(
    "stated",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
     "text/plain; application/json", "application/jsonp", "application/json, text/plain", None],
)  # fmt: skip
def test_34_a_json_route_takes_json_alone(stack: TlsStack, token: str, stated: str | None) -> None:
    """ASVS 3.5.2: what a form of another site can send without asking is no JSON."""
    own = {"Origin": stack.origin}
    said = own if stated is None else {**own, "Content-Type": stated}
    body = b'{"a": 1}'
    assert stack.post("/doors/json", token, said, content=body).status_code == 415
    for good in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        answer = stack.post("/doors/json", token, {**own, "Content-Type": good}, content=body)
        assert answer.text == "noted 8 by POST"


@pytest.mark.check(34)
def test_34_no_get_changes_anything(stack: TlsStack, token: str) -> None:
    for path in ("/doors/sign-out", "/doors/sign-in?user=x", "/doors/end?user=x", "/doors/prove"):
        answer = stack.get(path, token)
        assert answer.status_code == 405
        assert not tokens_of(answer)
    assert stack.who(token) == {USER}


@pytest.mark.check(35)
@pytest.mark.parametrize("origin", [FOREIGN, SIBLING, OTHER_PORT, "null"])
def test_35_a_websocket_of_another_origin_is_refused(
    stack: TlsStack, token: str, origin: str
) -> None:
    assert _said(stack, token, stack.origin) == USER
    with pytest.raises(InvalidStatus) as refused:
        _said(stack, token, origin)
    assert refused.value.response.status_code == 403


def _said(stack: TlsStack, token: str, origin: str) -> str:
    with connect(
        f"wss://{HOST}:{stack.port}/doors/socket",
        sock=socket.create_connection(("127.0.0.1", stack.port)),
        ssl=stack.context,
        server_hostname=HOST,
        origin=origin,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"{SESSION}={token}"},
        compression=None,
    ) as client:
        return str(client.recv(timeout=10))


@pytest.mark.check(36)
def test_36_a_form_of_three_hours_ago_can_be_sent(stack: TlsStack) -> None:
    """Tokens change every hour; earlier ones of the same session stay good, others' do not."""
    tokens = stack.keys.tokens
    assert tokens is not None
    token = stack.token(USER, days_ago=0.5)
    session_id, now = stack.claims(token).session_id, time.time()
    for hours in (0, 1, 3, 11):
        old = tokens.mint(session_id, now - hours * 3600)
        assert stack.post("/doors/note", token, {"X-CSRF-Token": old}).status_code == 200
    before = tokens.mint(session_id, now - DAY)  # the session had not begun
    assert stack.post("/doors/note", token, {"X-CSRF-Token": before}).status_code == 403
