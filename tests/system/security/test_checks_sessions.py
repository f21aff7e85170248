"""Security checks 11 to 23: sessions on three instances behind the gateway, over TLS (D2)."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import httpx
import pytest

from fakes.tls_stack import DAY, SESSION, TlsStack, lines_of, token_of, tokens_of
from poruwa.app.security.devices import handle_of
from poruwa.rules.token import Sealer

RENEWALS = 100
FORM = "application/x-www-form-urlencoded"
NEW = "seven silver elephants"


@pytest.mark.check(11)
def test_11_a_sign_in_makes_a_new_id_and_the_old_one_dies(stack: TlsStack) -> None:
    first = stack.sign_in("ada")
    second = stack.sign_in("ada", first)  # in the same browser
    assert stack.claims(first).session_id != stack.claims(second).session_id
    assert (stack.who(first), stack.who(second)) == ({None}, {"ada"})


@pytest.mark.check(11)
@pytest.mark.parametrize("path", ["/doors/prove", "/doors/prove?level=3"])
def test_11_a_step_up_and_another_level_make_a_new_id(stack: TlsStack, path: str) -> None:
    before = stack.sign_in("ben")
    after = token_of(stack.post(path, before))
    assert stack.claims(before).session_id != stack.claims(after).session_id
    assert stack.claims(after).level == (3 if "level" in path else 0)
    assert (stack.who(before), stack.who(after)) == ({None}, {"ben"})


@pytest.mark.check(12)
def test_12_a_session_that_somebody_made_up_is_never_adopted(stack: TlsStack) -> None:
    """Session cheat sheet, "strict": neither before a sign-in nor by it."""
    ours = stack.claims(stack.sign_in("cleo"))
    foreign = Sealer([os.urandom(32)], "session+jwe").seal(b"claims").decode()
    for planted in ("x", "a.b.c.d.e", foreign, ours.session_id.hex(), "A" * 3000):
        assert stack.who(planted) == {None}
        answer = stack.get("/doors/me", planted)
        assert not tokens_of(answer)  # nor made good
        taken = stack.sign_in("cleo", planted)
        assert taken != planted
        assert stack.claims(taken).session_id != ours.session_id


@pytest.mark.check(13)
def test_13_after_the_answer_to_a_sign_out_no_instance_takes_the_cookie(stack: TlsStack) -> None:
    for number in range(1, 4):
        token = stack.sign_in("dora")
        answer = stack.instance(number).post(
            "/doors/sign-out", headers={"Origin": stack.origin, "Cookie": f"{SESSION}={token}"}
        )
        assert answer.status_code == 200
        assert stack.who(token) == {None}
        assert stack.get("/doors/account", token).status_code == 401


@pytest.mark.check(14)
def test_14_a_slow_renewing_answer_brings_no_session_back(stack: TlsStack) -> None:
    """nextjs-auth0#2530: it was renewed before the sign-out, and comes after it."""
    token = stack.token("eve", days_ago=25)
    with stack.client(keeps_cookies=False) as client, ThreadPoolExecutor() as pool:
        fields = {"Cookie": f"{SESSION}={token}"}
        slow = pool.submit(client.get, "/doors/me?seconds=1", headers=fields)
        time.sleep(0.4)  # it is validated by now; if not, its own answer says so
        assert stack.post("/doors/sign-out", token).status_code == 200
        answer = slow.result()
    for renewed in tokens_of(answer):
        assert stack.claims(renewed).session_id == stack.claims(token).session_id
        assert stack.who(renewed) == {None}
    assert answer.json().get("user") == "eve"
    assert tokens_of(answer)
    assert stack.who(token) == {None}


@pytest.mark.check(15)
def test_15_the_idle_limit_holds_though_the_browser_sends_the_cookie(stack: TlsStack) -> None:
    now = int(time.time())
    assert stack.who(stack.token("fay", days_ago=29.9)) == {"fay"}
    assert stack.who(stack.token("fay", days_ago=30.01)) == {None}
    assert stack.who(stack.token("fay", days_ago=3, expires_at=now - 1)) == {None}


@pytest.mark.check(16)
def test_16_the_absolute_limit_holds_whatever_was_renewed(stack: TlsStack) -> None:
    now = int(time.time())
    rules = stack.rules()
    assert rules.longest_seconds == 90 * DAY
    old = {"started_at": now - 85 * DAY, "authenticated_at": now - 85 * DAY}
    token = stack.token("gus", **old, issued_at=now - 28 * DAY, expires_at=now + 2 * DAY)
    renewed = stack.claims(token_of(stack.get("/doors/me", token)))
    assert renewed.expires_at == renewed.started_at + 90 * DAY
    proved = stack.claims(token_of(stack.post("/doors/prove", token)))  # makes it no younger
    assert proved.started_at == now - 85 * DAY
    assert proved.expires_at <= now + 5 * DAY
    over = {"started_at": now - 90 * DAY - 1, "issued_at": now - DAY, "expires_at": now + DAY}
    assert stack.who(stack.token("gus", **over)) == {None}


@pytest.mark.check(17)
def test_17_a_new_password_ends_all_other_sessions_everywhere(stack: TlsStack) -> None:
    tokens = [stack.sign_in("hal") for _ in range(3)]
    kept = token_of(stack.post("/doors/password", tokens[0]))
    assert [stack.who(token) for token in tokens] == [{None}] * 3
    assert stack.who(kept) == {"hal"}


@pytest.mark.check(17)
def test_17_whose_account_is_closed_is_signed_out_everywhere(stack: TlsStack) -> None:
    tokens = [stack.sign_in("ida") for _ in range(3)]
    assert stack.post("/doors/sign-out?everywhere", tokens[1]).status_code == 200
    assert [stack.who(token) for token in tokens] == [{None}] * 3


@pytest.mark.check(18)
def test_18_people_list_and_end_their_own_sessions_and_nobody_elses(stack: TlsStack) -> None:
    mine, phone, theirs = stack.sign_in("jo"), stack.sign_in("jo"), stack.sign_in("kim")
    handles = {each["handle"] for each in stack.get("/doors/devices", mine).json()}
    assert handles == {handle_of(stack.claims(each).session_id) for each in (mine, phone)}
    for handle in handles:
        assert stack.post(f"/doors/end?handle={handle}", theirs).text == "none"
    assert (stack.who(mine), stack.who(phone)) == ({"jo"}, {"jo"})
    handle = handle_of(stack.claims(phone).session_id)
    assert stack.post(f"/doors/end?handle={handle}", mine).text == "ended"
    assert (stack.who(mine), stack.who(phone), stack.who(theirs)) == ({"jo"}, {None}, {"kim"})
    assert len(stack.get("/doors/devices", mine).json()) == 1


@pytest.mark.check(18)
def test_18_an_administrator_ends_the_sessions_of_anybody(stack: TlsStack) -> None:
    tokens = [stack.sign_in("lea") for _ in range(2)]
    other, admin = stack.sign_in("max"), stack.sign_in("root", level=9)
    assert stack.post("/doors/end?user=lea", other).status_code == 403
    assert stack.who(tokens[0]) == {"lea"}
    assert stack.post("/doors/end?user=lea", admin).text == "ended"
    assert [stack.who(token) for token in (*tokens, other)] == [{None}, {None}, {"max"}]


@pytest.mark.check(19)
def test_19_a_sensitive_act_wants_a_fresh_proof(stack: TlsStack) -> None:
    now = int(time.time())
    token = stack.token("noa", authenticated_at=now - 660, started_at=now - 660)
    assert stack.post("/doors/email", token).status_code == 403
    assert stack.who(token) == {"noa"}
    proved = token_of(stack.post("/doors/prove", token))
    assert stack.post("/doors/email", proved).text == "changed"
    assert stack.post("/doors/email").status_code == 403


@pytest.mark.check(19)
@pytest.mark.parametrize("page", ["/account/password", "/account/email"])
def test_19_the_sites_sensitive_pages_send_an_old_proof_to_confirm(
    stack: TlsStack, page: str
) -> None:
    now = int(time.time())
    token = stack.token("c3", authenticated_at=now - 660, started_at=now - 660)
    form = {"Origin": stack.origin, "Content-Type": FORM}
    body = urlencode({"current": stack.password, "email": "x@example.com", "new": NEW}).encode()
    for answer in (stack.get(page, token), stack.post(page, token, form, content=body)):
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/account/confirm?{urlencode({'return_to': page})}"
    proof = urlencode({"password": stack.password, "return_to": page}).encode()
    proved = stack.post("/account/confirm", token, form, content=proof)
    assert proved.headers["location"] == page
    fresh = token_of(proved)
    assert stack.claims(fresh).session_id != stack.claims(token).session_id
    assert stack.who(token) == {None}
    assert stack.get(page, fresh).status_code == 200


@pytest.mark.check(17)
def test_17_another_address_ends_all_other_sessions(stack: TlsStack) -> None:
    """ASVS 7.4.3; with the present password, and never one that somebody else has."""
    form = {"Origin": stack.origin, "Content-Type": FORM}
    here, there = stack.sign_in("v2"), stack.sign_in("v2")

    def change(email: str, password: str) -> httpx.Response:
        body = urlencode({"email": email, "current": password}).encode()
        return stack.post("/account/email", here, form, content=body)

    for email, password in (
        ("pots@example.com", "wrong"), ("nimali@example.com", stack.password),
        ("no address", stack.password),
    ):  # fmt: skip
        assert change(email, password).status_code == 422
    assert (stack.who(here), stack.who(there)) == ({"v2"}, {"v2"})
    answer = change(" Pots@Example.com", stack.password)
    assert answer.status_code == 303
    assert [stack.who(each) for each in (here, there)] == [{None}, {None}]
    kept = token_of(answer)
    assert stack.who(kept) == {"v2"}
    for email, status in (("kitchen@example.com", 422), ("pots@example.com", 303)):
        body = urlencode({"email": email, "password": stack.password}).encode()
        assert stack.post("/sign-in", None, form, content=body).status_code == status


@pytest.mark.check(20)
async def test_20_a_hundred_renewals_at_once_are_one_session(stack: TlsStack) -> None:
    """D2; show 3: over three instances all are answered, with one generation of one session."""
    token = stack.token("olu", days_ago=25)
    fields = {"Cookie": f"{SESSION}={token}"}

    async with stack.async_client() as client:

        async def ask(number: int) -> httpx.Response:
            return await client.get(f"/doors/me?seconds=0.{number % 3}", headers=fields)

        answers = await asyncio.gather(*map(ask, range(RENEWALS)))
    said = Counter((each.status_code, each.json().get("user")) for each in answers)
    assert said == {(200, "olu"): RENEWALS}
    claims = {stack.claims(token_of(each)) for each in answers}
    assert {each.session_id for each in claims} == {stack.claims(token).session_id}
    assert {each.generation for each in claims} == {1}
    assert len(claims) <= 2  # of one minute, or two if it has just turned
    affinity = {line for each in answers for line in lines_of(each) if SESSION not in line}
    assert len(affinity) == 3, "not all instances took part"
    # Whichever of them the browser keeps is good everywhere, and so is the one it had.
    kept = [token_of(each) for each in answers[:4]]
    assert [stack.who(each) for each in (*kept, token)] == [{"olu"}] * 5


@pytest.mark.check(21)
def test_21_a_renewed_away_token_is_good_until_its_own_end_alone(stack: TlsStack) -> None:
    token = stack.token("pia", days_ago=25)
    ends = stack.claims(token).expires_at
    renewed = token_of(stack.get("/doors/me", token))
    assert stack.claims(token).expires_at == ends < stack.claims(renewed).expires_at
    assert stack.who(token) == {"pia"}
    assert stack.rules().judge(stack.claims(token), ends) is not None
    assert stack.post("/doors/sign-out", renewed).status_code == 200
    assert stack.who(token) | stack.who(renewed) == {None}


@pytest.mark.check(22)
def test_22_a_session_is_renewed_at_most_once_a_day(stack: TlsStack) -> None:
    now = int(time.time())
    assert not tokens_of(stack.get("/doors/me", stack.token("quy", days_ago=22)))  # not yet
    renewed = token_of(stack.get("/doors/me", stack.token("quy", days_ago=25)))
    for path in ("/doors/me", "/_poruwa/session", "/doors/account"):
        assert not tokens_of(stack.get(path, renewed))
    due = {"issued_at": now - DAY + 60, "expires_at": now + DAY}
    assert not tokens_of(stack.get("/doors/me", stack.token("quy", days_ago=5, **due)))
    due["issued_at"] = now - DAY - 60
    assert tokens_of(stack.get("/doors/me", stack.token("quy", days_ago=5, **due)))


@pytest.mark.check(23)
def test_23_a_sign_out_clears_caches_storage_and_the_sessions_cookie(stack: TlsStack) -> None:
    """And nothing else: the choice of consent survives."""
    answer = stack.post("/doors/sign-out", stack.sign_in("rob"))
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    (line,) = [each for each in lines_of(answer) if each.startswith(SESSION)]
    assert line.startswith(f"{SESSION}=;")
    assert "Max-Age=0" in line
    assert "theme" not in "".join(lines_of(answer))
