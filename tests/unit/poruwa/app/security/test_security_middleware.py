"""Sessions and forged requests through ``SecurityMiddleware``, without stores.

Numbers in names are those of the security checks (SECURITY-CHECKS).
"""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

import poruwa
from poruwa.app.security.key_source import SessionKeys
from poruwa.app.security.middleware import SecurityMiddleware
from poruwa.app.security.session_page import SessionPage
from poruwa.app.security.sessions import Session, Sessions
from poruwa.config.model_security import Headers
from poruwa.config.model_security import Session as SessionSection
from poruwa.rules.cookie import CookieForm
from poruwa.rules.security_headers import SecurityFields
from poruwa.rules.session import Claims, SessionRules, encode_claims
from poruwa.rules.token import Sealer

HOST = "weddinglk.test"
ORIGIN = {"Origin": f"https://{HOST}"}
NAME = "__Host-Http-site.session"
OLD, NEW = "o" * 43, "n" * 43
DAY = 86_400
NOW = 1_800_000_000.0
SHARED = {
    "Cache-Control": "public, max-age=60",
    "CDN-Cache-Control": "max-age=60",
    "Surrogate-Control": "max-age=60",
    "Expires": "Thu, 01 Jan 2099 00:00:00 GMT",
}


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Site:
    """An app with sessions on a clock of its own; ``ring`` may be written anew."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.ring = OLD
        self.keys = SessionKeys(lambda: self.ring)
        rules = SessionRules.of(SessionSection(), "site")
        form = CookieForm(name=NAME.encode(), max_age_seconds=30 * DAY)
        self.sessions = Sessions(rules, self.keys, form, clock=self.clock)
        app = Starlette(
            routes=[
                Route("/sign-in", _sign_in, methods=["POST"]),
                Route("/sign-out", _sign_out, methods=["POST"]),
                Route("/prove", _prove, methods=["POST"]),
                Route("/password", _password, methods=["POST"]),
                Route("/echo", _echo, methods=["POST"]),
                Route("/me", _me),
                Route("/shared", _shared),
                Route("/says", _says),
                Route("/fresh", self._fresh),
                WebSocketRoute("/socket", _socket),
            ]
        )
        app.add_middleware(SessionPage, badges=_badges)
        app.add_middleware(SecurityMiddleware, sessions=self.sessions, **options)
        self.app = app

    async def _fresh(self, request: Request) -> Response:
        session = poruwa.session_of(request)
        assert session is not None
        return JSONResponse(session.is_fresh(now=self.clock()))

    def cookie(self, **claims: Any) -> str:
        """Return a token of this site, made otherwise than it would."""
        now = int(self.clock.now)
        values: dict[str, Any] = {
            "session_id": b"i" * 16,
            "user_id": "u1",
            "audience": "site",
            "started_at": now,
            "authenticated_at": now,
            "issued_at": now,
            "expires_at": now + 30 * DAY,
        }
        return self.keys.sealer.seal(encode_claims(Claims(**(values | claims)))).decode()


async def _sign_in(request: Request) -> Response:
    await poruwa.sign_in(request, request.query_params.get("user", "u1"))
    # What a cache would keep, if the middleware did not know better.
    return PlainTextResponse("in", headers=SHARED)


async def _sign_out(request: Request) -> Response:
    await poruwa.sign_out(request)
    return PlainTextResponse("out")


async def _prove(request: Request) -> Response:
    await poruwa.prove_again(request, level=int(request.query_params.get("level", "0")))
    return PlainTextResponse("proved")


async def _password(request: Request) -> Response:
    await poruwa.end_other_sessions(request)
    return PlainTextResponse("changed")


async def _echo(request: Request) -> Response:
    return Response(await request.body())


async def _me(request: Request) -> Response:
    session = poruwa.session_of(request)
    told = None if session is None else [session.user_id, session.level]
    return JSONResponse(told, headers={"Cache-Control": "private"})


async def _shared(request: Request) -> Response:
    return PlainTextResponse("page", headers={"Cache-Control": "public, max-age=60"})


async def _says(request: Request) -> Response:
    """Answer with the fields that the query names."""
    response = PlainTextResponse("page")
    response.raw_headers += [
        (name.encode(), value.encode()) for name, value in request.query_params.multi_items()
    ]
    return response


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


async def _badges(session: Session) -> dict[str, Any]:
    return {"shortlist": 3, "of": session.user_id}


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(site) as client:
        yield client


def open_client(site: Site) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(site.app)
    return httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}", headers=ORIGIN)


async def asked(client: httpx.AsyncClient, token: str, path: str = "/me") -> httpx.Response:
    client.cookies.clear()
    return await client.get(path, headers={"Cookie": f"{NAME}={token}"})


async def signed_in(client: httpx.AsyncClient, user: str = "u1") -> str:
    response = await client.post(f"/sign-in?user={user}")
    assert response.status_code == 200
    client.cookies.clear()
    return token_of(response)


def token_of(response: httpx.Response) -> str:
    (line,) = response.headers.get_list("set-cookie")
    pair, *attributes = line.split("; ")
    name, _, value = pair.partition("=")
    assert name == NAME
    assert "Secure" in attributes
    assert "HttpOnly" in attributes
    assert "SameSite=Lax" in attributes
    assert "Path=/" in attributes
    assert not any(each.startswith("Domain") for each in attributes)
    return value


async def test_who_signs_in_is_known_and_nobody_stores_that_answer(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/sign-in?user=u7")
    assert response.headers["cache-control"] == "no-store"
    assert (await asked(client, token_of(response))).json() == ["u7", 0]
    assert (await client.get("/me")).json() is None


@pytest.mark.check(5)
@pytest.mark.parametrize("before", [b"", b"a=1;", b"a=1; "])
@pytest.mark.parametrize(
    "blank",
    [b"\xa0", b"\x85", b"\x1f", b"\x0b", b"\x0c", *map(str.encode, "\u0085\u00a0\u2000\ufeff")],
)
async def test_5_no_blank_makes_a_session_of_another_cookie(
    client: httpx.AsyncClient, before: bytes, blank: bytes
) -> None:
    """Raw bytes, as a browser sends what a sibling host has set; without a gateway before."""
    token = await signed_in(client)
    field = before + blank + f"{NAME}={token}".encode()
    planted = await client.get("/me", headers=[(b"Cookie", field)])
    assert (planted.status_code, planted.json()) == (200, None)
    beside = f"{NAME}={token}; ".encode() + field
    mine = await client.get("/me", headers=[(b"Cookie", beside)])
    assert mine.json() == ["u1", 0]  # it is another cookie, and no second one of this name


async def test_6_two_cookies_of_the_sessions_name_are_nobodys_and_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    token = await signed_in(client)
    for field in (f"{NAME}={token}; {NAME}=x", f"{NAME}={token};{NAME}={token}"):
        with caplog.at_level(logging.WARNING, "poruwa.app"):
            response = await client.get("/me", headers={"Cookie": field})
        assert response.json() is None
        assert "two cookies" in caplog.text
        assert token not in caplog.text
        caplog.clear()


async def test_6_two_cookie_lines_count_as_one_field(client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    client.cookies.clear()
    lines = [("Cookie", f"{NAME}={token}"), ("Cookie", f"{NAME}=other")]
    assert (await client.get("/me", headers=lines)).json() is None
    lines[1] = ("Cookie", "theme=dark")
    assert (await client.get("/me", headers=lines)).json() == ["u1", 0]


async def test_8_a_malformed_neighbour_leaves_the_session(client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    for neighbour in ("a", "=b", 'q="x', "b[]=1", "\xff=1", "a b=c"):
        field = f"{neighbour}; {NAME}={token}; {neighbour}".encode("latin-1")
        response = await client.get("/me", headers=[(b"Cookie", field)])
        assert response.json() == ["u1", 0], neighbour


async def test_9_too_many_cookies_are_refused(client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    field = "; ".join([f"{NAME}={token}", *(f"c{n}=1" for n in range(180))])
    response = await client.get("/me", headers={"Cookie": field})
    assert response.status_code == 431
    assert response.headers["clear-site-data"] == '"cookies"'


@pytest.mark.parametrize("path", ["/sign-in", "/prove?level=1", "/password"])
async def test_11_the_id_is_new_and_the_old_one_dead(client: httpx.AsyncClient, path: str) -> None:
    before = await signed_in(client)
    response = await client.post(path, headers={"Cookie": f"{NAME}={before}"})
    after = token_of(response)
    assert (await asked(client, after)).json() == ["u1", 1 if "level" in path else 0]
    assert (await asked(client, before)).json() is None


async def test_12_a_forged_token_is_never_adopted(site: Site, client: httpx.AsyncClient) -> None:
    claims = encode_claims(Claims(b"p" * 16, "u1", "site", 0, 0, 0, int(NOW) + DAY))
    planted = Sealer([b"x" * 32], "session+jwe").seal(claims).decode()
    response = await client.post("/sign-in", headers={"Cookie": f"{NAME}={planted}"})
    given = site.keys.sealer.open(token_of(response).encode())
    assert given is not None
    assert b"p" * 16 not in given[0]
    for value in (planted, "", "x", "a.b.c.d.e", ".." * 5, "u1"):
        assert (await asked(client, value)).json() is None


async def test_13_a_replay_after_sign_out_opens_nothing(client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    await client.post("/sign-out", headers={"Cookie": f"{NAME}={token}"})
    assert (await asked(client, token)).json() is None


async def test_15_the_idle_limit_is_the_tokens_own(site: Site, client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    site.clock.now += 30 * DAY - 1
    assert (await asked(client, token)).json() == ["u1", 0]
    site.clock.now += 1
    assert (await asked(client, token)).json() is None
    assert site.sessions.refused["idle"] == 1


async def test_16_the_absolute_end_survives_any_number_of_renewals(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    renewals = 0
    while site.clock.now < NOW + 100 * DAY:
        site.clock.now += 12 * 3600
        response = await asked(client, token)
        if response.json() is None:
            break
        if "set-cookie" in response.headers:
            token = token_of(response)
            renewals += 1
    assert renewals >= 3
    assert site.clock.now - NOW == 90 * DAY
    assert site.sessions.refused == {"too-old": 1}


async def test_17_a_new_password_ends_all_other_sessions(client: httpx.AsyncClient) -> None:
    tokens = [await signed_in(client) for _ in range(3)]
    other = await signed_in(client, "u2")
    client.cookies.clear()
    response = await client.post("/password", headers={"Cookie": f"{NAME}={tokens[0]}"})
    for token in tokens:
        assert (await asked(client, token)).json() is None
    assert (await asked(client, token_of(response))).json() == ["u1", 0]
    assert (await asked(client, other)).json() == ["u2", 0]
    again = await signed_in(client)  # within the same second
    assert (await asked(client, again)).json() == ["u1", 0]


async def test_19_sensitive_acts_ask_for_a_fresh_proof(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    assert (await asked(client, token, "/fresh")).json() is True
    site.clock.now += 600
    assert (await asked(client, token, "/fresh")).json() is False
    response = await client.post("/prove", headers={"Cookie": f"{NAME}={token}"})
    assert (await asked(client, token_of(response), "/fresh")).json() is True


async def test_21_a_renewed_token_lives_to_its_own_end_and_never_after_the_session_was_ended(
    site: Site, client: httpx.AsyncClient
) -> None:
    first = await signed_in(client)
    site.clock.now += 25 * DAY
    second = token_of(await asked(client, first))
    assert (await asked(client, first)).json() == ["u1", 0]
    site.clock.now += 5 * DAY
    assert (await asked(client, first)).json() is None
    assert (await asked(client, second)).json() == ["u1", 0]
    now = int(site.clock.now)
    due = site.cookie(expires_at=now + DAY, issued_at=now - 29 * DAY)
    third = token_of(await asked(client, due))
    await client.post("/sign-out", headers={"Cookie": f"{NAME}={third}"})
    assert (await asked(client, third)).json() is None


async def test_22_a_session_is_renewed_once_a_day_in_its_last_week(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    site.clock.now += 22 * DAY
    assert "set-cookie" not in (await asked(client, token)).headers
    site.clock.now += DAY
    token = token_of(await asked(client, token))
    assert "set-cookie" not in (await asked(client, token)).headers
    short = site.cookie(expires_at=int(site.clock.now) + 6 * DAY)  # made a moment ago
    assert "set-cookie" not in (await asked(client, short)).headers


async def test_22_renewing_waits_for_a_response_that_no_shared_cache_keeps(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    site.clock.now += 25 * DAY
    assert "set-cookie" not in (await asked(client, token, "/shared")).headers
    assert "set-cookie" in (await asked(client, token, "/_poruwa/session")).headers


@pytest.mark.check(46)
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Cache-Control", "public, max-age=60")],
        [("CACHE-CONTROL", "max-age=60")],
        [("Cache-Control", "no-cache")],
        [("Cache-Control", 'private="x-name"')],
        [("Cache-Control", "no-store, must-understand")],
        [("Cache-Control", "private"), ("CDN-Cache-Control", "max-age=60")],
        [("Cache-Control", "private"), ("Surrogate-Control", "max-age=60")],
        [("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
    ],
)
async def test_46_no_cookie_is_renewed_on_what_a_shared_cache_may_keep(
    site: Site, client: httpx.AsyncClient, fields: list[tuple[str, str]]
) -> None:
    """Neither a renewal nor a token under a new key; the same request gets both when private."""
    token = await signed_in(client)
    site.clock.now += 25 * DAY
    site.ring = f"{OLD},{NEW}"
    site.keys.reread()
    target = "/says?" + str(httpx.QueryParams(fields))
    answer = await asked(client, token, target)
    assert "set-cookie" not in answer.headers
    assert answer.headers.get_list("cache-control", split_commas=False) == [
        value for name, value in fields if name.lower() == "cache-control"
    ]
    assert "set-cookie" in (await asked(client, token, "/says?Cache-Control=private")).headers


@pytest.mark.check(46)
async def test_46_what_sets_a_session_says_nothing_else_of_storing(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/sign-in")
    assert "set-cookie" in response.headers
    assert response.headers["cache-control"] == "no-store"
    assert not {"cdn-cache-control", "surrogate-control", "expires"} & response.headers.keys()


@pytest.mark.check(46)
async def test_46_a_cookie_that_the_app_sets_itself_is_on_nothing_shared(
    client: httpx.AsyncClient,
) -> None:
    """With or without a session, by ``Response.set_cookie`` and the like."""
    token = await signed_in(client)
    fields = [("Set-Cookie", "theme=dark"), *SHARED.items()]
    for each in ("", token):
        answer = await asked(client, each, "/says?" + str(httpx.QueryParams(fields)))
        assert answer.headers["set-cookie"] == "theme=dark"
        assert answer.headers["cache-control"] == "no-store"
        assert not {"cdn-cache-control", "surrogate-control", "expires"} & answer.headers.keys()
    answer = await asked(client, "", "/says?Set-Cookie=theme%3Ddark&Cache-Control=private")
    assert answer.headers["cache-control"] == "private"


async def test_22_a_new_key_makes_the_token_anew_and_renews_nothing(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    site.ring = f"{OLD},{NEW}"
    site.keys.reread()
    made_anew = token_of(await asked(client, token))
    before, after = (site.keys.sealer.open(each.encode()) for each in (token, made_anew))
    assert before is not None
    assert after is not None
    assert before[0] == after[0]
    assert (before[1], after[1]) == (False, True)


async def test_23_signing_out_clears_storage_but_no_other_cookie(
    client: httpx.AsyncClient,
) -> None:
    token = await signed_in(client)
    response = await client.post("/sign-out", headers={"Cookie": f"{NAME}={token}; consent=all"})
    assert response.headers["clear-site-data"] == '"cache", "storage"'
    (line,) = response.headers.get_list("set-cookie")
    assert line.startswith(f"{NAME}=; ")
    assert "Max-Age=0" in line
    assert response.headers["cache-control"] == "no-store"


def encoded(header: dict[str, object]) -> str:
    return (
        urlsafe_b64encode(json.dumps(header, separators=(",", ":")).encode()).rstrip(b"=").decode()
    )


async def test_24_other_algorithms_and_signed_tokens_are_none_of_ours(
    client: httpx.AsyncClient,
) -> None:
    token = await signed_in(client)
    rest = token.split(".", 1)[1]
    for algorithm in ("none", "HS256", "RS256", "A256KW", "PBES2-HS256+A128KW", "RSA1_5"):
        header = encoded({"alg": algorithm, "enc": "A256GCM", "typ": "session+jwe"})
        assert (await asked(client, f"{header}.{rest}")).json() is None
    assert (
        await asked(client, encoded({"alg": "none"}) + "." + encoded({"sub": "u1"}) + ".")
    ).json() is None
    assert (await asked(client, ".".join(token.split(".")[2:]))).json() is None


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "zip", "crit", "p2c"])
async def test_25_fields_that_ask_for_something_are_refused(
    client: httpx.AsyncClient, field: str
) -> None:
    token = await signed_in(client)
    head, rest = token.split(".", 1)
    stated = json.loads(urlsafe_b64decode(head + "==")) | {field: "https://evil.test/"}
    assert (await asked(client, f"{encoded(stated)}.{rest}")).json() is None


@pytest.mark.parametrize(
    "claims",
    [
        {"audience": "other"},
        {"issued_at": int(NOW) + 3600},
        {"expires_at": int(NOW)},
        {"started_at": int(NOW) - 90 * DAY},
        {"session_id": b"short"},
    ],
)
async def test_26_claims_that_do_not_fit_open_nothing(
    site: Site, client: httpx.AsyncClient, claims: dict[str, Any]
) -> None:
    assert (await asked(client, site.cookie())).json() == ["u1", 0]
    assert (await asked(client, site.cookie(**claims))).json() is None


async def test_26_a_token_for_another_purpose_is_no_session(
    site: Site, client: httpx.AsyncClient
) -> None:
    from poruwa.app.security.keys import SESSIONS

    token = site.cookie()
    opened = site.keys.sealer.open(token.encode())
    assert opened is not None
    state = Sealer(site.keys.ring.derived(SESSIONS), "state+jwe").seal(opened[0]).decode()
    assert (await asked(client, state)).json() is None
    session = Session(Claims(b"i" * 16, "u1", "site", int(NOW), int(NOW), int(NOW), int(NOW)))
    assert (await asked(client, site.sessions.csrf_token(session))).json() is None


async def test_27_sessions_outlive_a_rotation_and_end_with_their_key(
    site: Site, client: httpx.AsyncClient
) -> None:
    first = await signed_in(client)
    site.ring = f"{OLD},next:{NEW}"
    site.keys.reread()
    coming = await signed_in(client)
    assert coming.split(".")[0] == first.split(".")[0]  # it does not seal yet
    site.ring = f"{OLD},{NEW}@2027-01-15"
    site.keys.reread()
    client.cookies.clear()
    second = token_of(await asked(client, first))
    assert second.split(".")[0] != first.split(".")[0]
    site.ring = NEW
    site.keys.reread()
    assert (await asked(client, first)).json() is None
    assert (await asked(client, second)).json() == ["u1", 0]


async def test_27_a_process_that_slept_through_the_rotation_reads_the_ring_at_the_first_token(
    site: Site, client: httpx.AsyncClient
) -> None:
    other = Site()
    other.ring = f"{OLD},{NEW}"
    other.keys.reread()
    token = other.cookie()
    assert (await asked(client, token)).json() is None
    site.keys._reread_after = 0.0
    site.ring = other.ring
    assert (await asked(client, token)).json() == ["u1", 0]


async def test_28_a_key_that_has_sealed_all_it_may_seals_no_more(
    site: Site, client: httpx.AsyncClient
) -> None:
    site.keys.sealer.sealed = (1 << 32) - 1
    with pytest.raises(ValueError, match="rotate"):
        site.cookie()


async def test_29_a_flipped_bit_anywhere_gets_the_same_answer(client: httpx.AsyncClient) -> None:
    token = await signed_in(client)
    answers = set()
    for at in range(0, len(token), 3):
        other = "A" if token[at] != "A" else "B"
        response = await asked(client, token[:at] + other + token[at + 1 :])
        answers.add((response.status_code, response.content, str(sorted(response.headers.items()))))
    assert len(answers) == 1
    assert answers.pop()[1] == b"null"


Fields = dict[str, str]


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/echo"])
@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}"},
        {"Origin": f"https://{HOST}:8443"},
        {"Origin": f"https://sub.{HOST}", "Sec-Fetch-Site": "same-site"},
        {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "cross-site"},
        {"Cookie": "theme=dark"},  # 31: nothing says where from, and there are cookies
    ],
)
async def test_30_31_32_foreign_posts_are_refused_with_and_without_a_session(
    site: Site, path: str, fields: Fields
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=f"https://{HOST}"
    ) as client:
        response = await client.post(path, headers=fields)
        assert response.status_code == 403
        assert "set-cookie" not in response.headers
        cookie = {"Cookie": f"{NAME}={site.cookie()}; theme=dark"}
        assert (await client.post(path, headers=fields | cookie)).status_code == 403


def form(token: str) -> dict[str, Any]:
    return {
        "content": f"a=1&csrf_token={token}&b=%C3%A4",
        "headers": {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    }


async def post_silently(site: Site, cookie: str, **request: Any) -> httpx.Response:
    """Post as a browser that says nothing of where the form was."""
    headers = request.pop("headers", {}) | {"Cookie": f"{NAME}={cookie}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=f"https://{HOST}"
    ) as client:
        return await client.post("/echo", headers=headers, **request)


async def test_31_a_silent_browser_needs_the_sessions_token(site: Site) -> None:
    cookie = site.cookie()
    session = site.sessions.opened(f"{NAME}={cookie}".encode())
    assert isinstance(session, Session)
    token = site.sessions.csrf_token(session)
    assert len(token) == 32
    assert (await post_silently(site, cookie)).status_code == 403
    response = await post_silently(site, cookie, **form(token))
    assert response.content == form(token)["content"].encode()  # the app has the whole body
    response = await post_silently(site, cookie, headers={"X-CSRF-Token": token}, content=b"{}")
    assert response.status_code == 200
    flipped = ("A" if token[9] != "A" else "B").join((token[:9], token[10:]))
    assert (await post_silently(site, cookie, **form(flipped))).status_code == 403
    assert (await post_silently(site, cookie, **form(token + "x"))).status_code == 403


async def test_31_the_gateway_can_ask_for_a_token(site: Site, client: httpx.AsyncClient) -> None:
    fields = {"Cookie": f"{NAME}={site.cookie()}", "Poruwa-Csrf": "token-needed"}
    assert (await client.post("/echo", headers=fields)).status_code == 403
    del fields["Poruwa-Csrf"]
    assert (await client.post("/echo", headers=fields)).status_code == 200


async def test_33_a_planted_token_of_somebody_else_is_worth_nothing(site: Site) -> None:
    mine = site.cookie()
    session = Session(Claims(b"j" * 16, "u2", "site", int(NOW), int(NOW), int(NOW), int(NOW) + DAY))
    theirs = site.sessions.csrf_token(session)
    for name in ("csrf_token", "__Host-csrf", "XSRF-TOKEN"):
        cookies = f"{mine}; {name}={theirs}"
        assert (await post_silently(site, cookies, **form(theirs))).status_code == 403


async def test_36_a_form_that_was_opened_three_hours_ago_can_be_sent(site: Site) -> None:
    cookie = site.cookie()
    session = site.sessions.opened(f"{NAME}={cookie}".encode())
    assert isinstance(session, Session)
    token = site.sessions.csrf_token(session)
    site.clock.now += 3 * 3600
    assert site.sessions.csrf_token(session) != token
    assert (await post_silently(site, cookie, **form(token))).status_code == 200


async def test_a_program_with_a_bearer_token_may_keep_cookies(site: Site) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=f"https://{HOST}"
    ) as client:
        fields = {"Cookie": "a=1", "Authorization": "Bearer abc"}
        assert (await client.post("/echo", headers=fields)).status_code == 200
        fields["Authorization"] = "Basic YTpi"  # browsers add that themselves
        assert (await client.post("/echo", headers=fields)).status_code == 403


async def test_a_program_without_cookies_is_not_asked_where_it_is_from(site: Site) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=f"https://{HOST}"
    ) as client:
        assert (await client.post("/echo", content=b"x")).content == b"x"


@pytest.mark.parametrize(
    ("fields", "is_taken"),
    [
        ({"origin": f"https://{HOST}"}, True),
        ({"origin": "https://evil.test"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"cookie": "theme=dark"}, False),
        ({}, True),  # a program
    ],
)
async def test_35_a_handshake_from_another_site_is_refused(
    site: Site, fields: Fields, is_taken: bool
) -> None:
    headers = [(b"host", HOST.encode())]
    headers += [(name.encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "websocket", "scheme": "wss", "path": "/socket", "headers": headers,
             "query_string": b"", "subprotocols": []}  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.app(scope, receive, send)
    assert sent[0]["type"] == ("websocket.accept" if is_taken else "websocket.close")


async def test_the_session_page_tells_who_somebody_is_and_nobody_stores_it(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    response = await asked(client, token, "/_poruwa/session")
    assert response.headers["cache-control"] == "no-store"
    told = response.json()
    assert len(told.pop("csrf_token")) == 32
    assert told == {"signed_in": True, "user": "u1", "badges": {"shortlist": 3, "of": "u1"}}
    assert (await client.get("/_poruwa/session")).json() == {"signed_in": False}
    assert (await client.post("/_poruwa/session")).status_code == 405


async def test_4_no_answer_holds_a_sessions_id_or_token(
    site: Site, client: httpx.AsyncClient
) -> None:
    token = await signed_in(client)
    response = await asked(client, token, "/_poruwa/session")
    opened = site.sessions.opened(f"{NAME}={token}".encode())
    assert isinstance(opened, Session)
    assert token not in response.text
    assert opened.session_id.hex() not in response.text


async def test_alone_it_sets_the_security_fields_on_every_answer() -> None:
    site = Site(fields=SecurityFields(Headers(), domain=HOST))
    async with open_client(site) as client:
        answers = [
            await client.get("/me"),
            await client.get("/nowhere"),
            await client.post("/echo", headers={"Sec-Fetch-Site": "cross-site"}),
            await client.get("/me", headers={"Cookie": f"{NAME}=x; " + "a=1; " * 200}),
        ]
    assert [each.status_code for each in answers] == [200, 404, 403, 431]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "max-age=31536000" in answer.headers["strict-transport-security"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_several_policies_of_an_app_all_stand() -> None:
    """A browser enforces every Content-Security-Policy (CSP section 3.1)."""
    middleware = SecurityMiddleware(Starlette(), fields=SecurityFields(Headers(), domain=HOST))
    own = [
        (b"content-security-policy", b"img-src 'none'"),
        (b"Content-Security-Policy", b"sandbox"),
    ]
    sent = middleware.set_security_headers(own, is_secure=True)
    policies = [value for each, value in sent if each == own[0][0]]
    assert policies[:2] == [b"img-src 'none'", b"sandbox"]
    assert b"frame-ancestors 'none'" in policies[2]
