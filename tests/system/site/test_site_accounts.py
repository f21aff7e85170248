"""Accounts on the real stack: `poruwa up` with the site's policy, three instances, two workers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

import weddinglk
from fakes.chromium import needs_browser, run_script

POLICY = Path(weddinglk.__file__).parent / "site.toml"
READY_SECONDS = 120.0
SESSION = "__Host-Http-weddinglk.session-token"
DEVICE = "__Host-Http-weddinglk.device"
FORM = "application/x-www-form-urlencoded"


class Stack:
    """A running `poruwa up`."""

    def __init__(self, folder: Path) -> None:
        text = POLICY.read_text("utf-8")
        text = re.sub(r'address = "127\.0\.0\.1:800[01]"', 'address = "127.0.0.1:0"', text)
        text = text.replace("weddinglk.cli:main seed", "weddinglk.cli:main seed --small")
        policy = folder / "site.toml"
        policy.write_text(text, encoding="utf-8")
        self.state = folder / "state"
        self.log = folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "poruwa.cli.main", "up", "--policy", str(policy),
                 "--state", str(self.state), "--workers", "2"],
                cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            said = self.log.read_text(errors="replace")
            assert self.process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        report = json.loads((self.state / "stack.json").read_text())
        self.url = str(report["urls"][0]).replace("localhost", "127.0.0.1")
        self.password = (self.state / "seed-password").read_text().strip()

    def _is_ready(self) -> bool:
        path = self.state / "stack.json"
        return path.exists() and bool(json.loads(path.read_text())["ready"])

    def instances(self) -> list[Path]:
        """Return the sockets of the instances."""
        known = json.loads((self.state / "stack.json").read_text())
        text = json.dumps(known) + self.log.read_text(errors="replace")
        folder = self.state / "run"
        found = sorted(folder.glob("app.*.sock")) if folder.exists() else []
        return found or sorted(
            {Path(each) for each in re.findall(r"/[^\s\"',]*app\.\d\.sock", text)}
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(30) == 0
        finally:
            self.process.kill()


class Browser:
    """Keeps cookies as a browser does that trusts localhost, and says where its forms are from."""

    def __init__(self, stack: Stack, agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0") -> None:
        self.client = httpx.Client(base_url=stack.url, timeout=20.0)
        _CLIENTS.append(self.client)
        self.agent = agent
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"User-Agent": self.agent, "Sec-Fetch-Site": "same-origin"}
        headers |= more.pop("headers", {})
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
        self.client.cookies.clear()
        answer = self.client.request(method, path, headers=headers, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.ask("POST", path, content=urlencode(fields), headers={"Content-Type": FORM})

    def sign_in(self, email: str, password: str, back: str = "") -> httpx.Response:
        return self.post("/sign-in", email=email, password=password, return_to=back)

    def told(self) -> dict[str, Any]:
        """Return what the session's page tells scripts."""
        told: dict[str, Any] = self.get("/_poruwa/session").json()
        return told

    def token(self) -> str:
        return str(self.told()["csrf_token"])


_CLIENTS: list[httpx.Client] = []


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("accounts"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def nimali(stack: Stack) -> Browser:
    """Somebody who has signed in once."""
    return signed_in(stack)


def signed_in(stack: Stack, email: str = "nimali@example.com") -> Browser:
    browser = Browser(stack)
    answer = browser.sign_in(email, stack.password)
    assert answer.status_code == 303, answer.text
    return browser


def test_the_walk_of_somebody_with_a_shortlist(stack: Stack) -> None:
    """D1, check 47: a heart on a cached page, its count for scripts; the page stays anybody's."""
    page = Browser(stack).get("/en/venues/3")
    browser = signed_in(stack)
    assert "__Host-Http-" in next(iter(browser.cookies))
    for _ in range(20):  # until both workers have it
        shared = browser.get("/en/venues/3")
        assert shared.text == page.text
        assert "set-cookie" not in shared.headers
    assert "hit" in shared.headers["cache-status"]
    told = browser.told()
    assert told["badges"] == {"name": "Nimali & Kasun", "shortlist": 0, "listings": []}
    kept = browser.ask(
        "POST", "/shortlist/keep", content="listing=venue:3",
        headers={"Content-Type": FORM, "Accept": "application/json",
                 "X-CSRF-Token": told["csrf_token"]},
    )  # fmt: skip
    assert kept.json()["listings"] == ["venue:3"]
    assert browser.told()["badges"]["shortlist"] == 1
    mine = browser.get("/si/shortlist")
    assert 'lang="si"' in mine.text
    assert "/si/venues/3" in mine.text
    assert "no-store" in mine.headers["cache-control"]
    other = signed_in(stack, "tharini@example.com")
    assert (
        "/venues/3"
        not in other.get("/en/shortlist").text.partition("<main")[2].partition("</main")[0]
    )
    assert (
        browser.post(
            "/shortlist/drop", listing="venue:3", csrf_token=told["csrf_token"]
        ).status_code
        == 303
    )
    assert browser.told()["badges"]["listings"] == []


def test_without_a_script_a_heart_leads_through_sign_in_to_a_page_that_asks(stack: Stack) -> None:
    """Checks 34, 41: GET changes nothing; the way back is the site's."""
    browser = Browser(stack)
    first = browser.get("/ta/shortlist/keep?listing=vendor:2")
    assert first.status_code == 303
    assert first.headers["location"].startswith("/ta/sign-in?return_to=%2Fta%2Fshortlist%2Fkeep")
    form = browser.get(first.headers["location"])
    back = re.search(r'name="return_to" value="([^"]*)"', form.text)
    assert back is not None
    answer = browser.sign_in("fathima@example.com", stack.password, back[1])
    assert answer.headers["location"] == "/ta/shortlist/keep?listing=vendor:2"
    asks = browser.get(answer.headers["location"])
    assert asks.status_code == 200
    assert browser.told()["badges"]["listings"] == []
    token = re.search(r'name="csrf_token" value="([^"]+)"', asks.text)
    assert token is not None
    assert (
        browser.post("/ta/shortlist/keep", listing="vendor:2", csrf_token=token[1]).status_code
        == 303
    )
    assert browser.told()["badges"]["listings"] == ["vendor:2"]
    for listing in ("venue:99999999999", "venue:0", "nothing", ""):
        assert browser.post("/shortlist/keep", listing=listing).status_code == 404


def test_a_new_sign_in_has_a_new_session_and_ends_the_old_one(stack: Stack) -> None:
    """Checks 11, 12."""
    browser = signed_in(stack)
    old = Browser(stack)
    old.cookies = {SESSION: browser.cookies[SESSION]}
    assert old.told()["signed_in"]
    assert browser.sign_in("nimali@example.com", stack.password).status_code == 303
    assert browser.cookies[SESSION] != old.cookies[SESSION]
    assert not old.told()["signed_in"]
    forged = Browser(stack)
    forged.cookies = {SESSION: "a.b.c.d.e"}
    forged.sign_in("nimali@example.com", stack.password)
    assert forged.cookies[SESSION] != "a.b.c.d.e"


def test_signed_out_means_everywhere_once_it_is_answered(stack: Stack) -> None:
    """Checks 13, 23: the cookie of before is worth nothing on any instance."""
    browser = signed_in(stack)
    replay = Browser(stack)
    replay.cookies = dict(browser.cookies)
    answer = browser.post("/sign-out", csrf_token=browser.token())
    assert answer.status_code == 303
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert SESSION not in browser.cookies
    sockets = stack.instances()
    for socket in sockets:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            told = client.get(
                "http://localhost/_poruwa/session",
                headers={"Cookie": f"{SESSION}={replay.cookies[SESSION]}"},
            )
            assert told.json() == {"signed_in": False}
    for _ in range(12):
        assert replay.get("/account").status_code == 303
    assert len(sockets) == 3


def test_devices_are_listed_and_ended_one_by_one_and_all(stack: Stack) -> None:
    """Check 18: one's own alone; an administrator ends anybody's."""
    email = "studio@example.com"
    here, there = signed_in(stack, email), Browser(stack, "Mozilla/5.0 (iPhone) Safari/604.1")
    there.sign_in(email, stack.password)
    page = here.get("/en/account").text
    assert "Firefox · Linux" in page
    assert "Safari · iPhone" in page
    handles = re.findall(r'name="handle" value="([0-9a-f]{32})"', page)
    assert len(handles) == 1
    stranger = signed_in(stack, "kitchen@example.com")
    token = stranger.token()
    assert stranger.post("/account/devices", handle=handles[0], csrf_token=token).status_code == 404
    assert there.told()["signed_in"]
    token = here.token()
    assert here.post("/account/devices", handle=handles[0], csrf_token=token).status_code == 303
    assert not there.told()["signed_in"]
    assert here.told()["signed_in"]
    there.sign_in(email, stack.password)
    answer = here.post("/account/sign-out-everywhere", csrf_token=here.token())
    assert answer.headers["location"] == "/sign-in"
    assert not there.told()["signed_in"]
    there.sign_in(email, stack.password)
    assert stranger.get("/account/people").status_code == 404
    assert stranger.post("/account/people", person="v1").status_code == 404
    assert there.told()["signed_in"]
    administrator = signed_in(stack, "admin@example.com")
    assert "Lotus Studio" in administrator.get("/en/account/people").text
    assert administrator.post("/account/people", person="v1").status_code == 303
    assert not there.told()["signed_in"]


def test_a_new_password_ends_all_other_sessions(stack: Stack) -> None:
    """Checks 17, 19: with the present password; the old one signs in no more."""
    email, new = "kitchen@example.com", "seven silver elephants"
    here, there = signed_in(stack, email), signed_in(stack, email)
    token = here.token()
    before = here.cookies[SESSION]
    wrong = here.post("/account/password", current="wrong", new=new, csrf_token=token)
    assert wrong.status_code == 422
    for weak in ("short", "weddinglk123", "aaaaaaaaaaaaaaaa"):
        answer = here.post("/account/password", current=stack.password, new=weak, csrf_token=token)
        assert answer.status_code == 422
    assert there.told()["signed_in"]
    answer = here.post("/account/password", current=stack.password, new=new, csrf_token=token)
    assert answer.status_code == 303
    assert here.cookies[SESSION] != before
    assert here.told()["signed_in"]
    assert not there.told()["signed_in"]
    assert Browser(stack).sign_in(email, stack.password).status_code == 422
    assert Browser(stack).sign_in(email, new).status_code == 303


def test_sign_in_is_refused_to_forms_of_other_sites(stack: Stack) -> None:
    """Check 32: also without a session."""
    for where in ("cross-site", "same-site"):
        fields = {"email": "nimali@example.com", "password": stack.password}
        foreign = {"Sec-Fetch-Site": where, "Origin": "https://evil.example"}
        answer = Browser(stack).ask(
            "POST", "/sign-in", content=urlencode(fields), headers={"Content-Type": FORM, **foreign}
        )
        assert answer.status_code == 403
        assert "session" not in answer.headers.get("set-cookie", "")
    wrong_type = Browser(stack).ask(
        "POST", "/sign-in", content="{}", headers={"Content-Type": "text/plain"}
    )
    assert wrong_type.status_code == 415


@pytest.mark.parametrize(
    "back", ["//evil.example", "/\\evil.example", "https:evil.example", "/%2f%2fevil.example",
             "/\t/evil.example", "/a@evil.example", "\n//evil.example", "/a//b", "javascript:1"],
)  # fmt: skip
def test_the_way_back_stays_on_the_site(stack: Stack, nimali: Browser, back: str) -> None:
    """Check 41."""
    browser = Browser(stack)
    browser.cookies = nimali.cookies
    assert browser.sign_in("nimali@example.com", stack.password, back).headers["location"] == "/"
    onward = browser.get("/sign-in?" + urlencode({"return_to": back}))
    assert onward.headers["location"] == "/"


@pytest.mark.parametrize(
    "path", ["/account", "/account/x.css", "/account;x.css", "/account%2f..%2fstatic", "/shortlist",
             "/en/shortlist", "/sign-in", "/en/account/password", "/account%00",
             "/account%23x.css"],
)  # fmt: skip
def test_what_is_one_persons_is_stored_by_nobody(stack: Stack, nimali: Browser, path: str) -> None:
    """Checks 47, 48."""
    browser = Browser(stack)
    browser.cookies = nimali.cookies
    for _ in range(2):
        answer = browser.get(path)
        assert "no-store" in answer.headers.get("cache-control", ""), answer.headers
        assert "hit" not in answer.headers.get("cache-status", "")
    assert "Nimali" not in Browser(stack).get(path).text


def test_nobody_learns_which_accounts_there_are(stack: Stack) -> None:
    """ASVS 6.3.8: the same words, for an address without an account."""
    wrong = Browser(stack).sign_in("fathima@example.com", "wrong wrong wrong")
    none = Browser(stack).sign_in("nobodyy@example.com", "wrong wrong wrong")
    assert wrong.status_code == none.status_code == 422
    assert wrong.text.replace("fathima", "") == none.text.replace("nobodyy", "")


@needs_browser
def test_the_walk_in_a_browser(stack: Stack) -> None:
    """D1, D7, check 47: hearts and counts on cached pages; 0 violations on one's own pages."""
    further = ("admin@example.com", stack.password)
    report = run_script("accounts.mjs", stack.url, further=further)
    assert len(report["held"]) == 5
    assert report["runs"] == 3 * 7 * 4
    assert report["violations"] == []
    assert report["overflow"] == []
    assert report["errors"] == []


def test_the_password_of_the_seed_is_its_owners_alone(stack: Stack) -> None:
    """Made on the first run, kept beside the operator's token, and in no log."""
    file = stack.state / "seed-password"
    assert file.stat().st_mode & 0o777 == 0o600
    assert stack.password not in stack.log.read_text(errors="replace")


def assert_told_how_long(refused: httpx.Response, limit: str, quota: str) -> None:
    """Check 55: the limit that refused, beside that of the route, which did not."""
    assert int(refused.headers["retry-after"]) > 0
    policies = refused.headers.get_list("ratelimit-policy", split_commas=True)
    assert f'"{limit}";{quota}' in policies
    limits = refused.headers.get_list("ratelimit", split_commas=True)
    assert any(re.fullmatch(rf'"{limit}";r=0;t=\d+', each) for each in limits), limits
    assert any(each.startswith('"person";r=') for each in limits), limits


@pytest.mark.parametrize("path", ["/account/confirm", "/account/password", "/account/email"])
def test_guesses_of_somebody_signed_in_are_bounded_and_told_how_long(
    stack: Stack, path: str
) -> None:
    """Check 55; each session has its own count, so that another browser of theirs goes on."""
    here, there = signed_in(stack, "fathima@example.com"), signed_in(stack, "fathima@example.com")
    fields = {"password": "wrong", "current": "wrong", "email": "d@example.com"}
    fields["csrf_token"] = here.token()
    statuses = [here.post(path, **fields).status_code for _ in range(40)]
    assert statuses[:30] == [422] * 30
    assert set(statuses[30:]) <= {422, 429}  # one more a minute
    assert_told_how_long(here.post(path, **fields), "sign-in-account", "q=60;w=3600")
    assert there.post(path, **{**fields, "csrf_token": there.token()}).status_code == 422


def test_guesses_are_bounded_and_the_owner_is_not_locked_out(stack: Stack) -> None:
    """Check 54: a browser in which the owner signed in before has its own bucket."""
    email = "tharini@example.com"
    owner = signed_in(stack, email)
    owner.post("/sign-out", csrf_token=owner.token())
    assert DEVICE in owner.cookies

    def guess(_: int) -> int:
        return Browser(stack).sign_in(email, "wrong wrong wrong").status_code

    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(guess, range(200)))
    assert set(seen) == {422, 429}
    refused = Browser(stack).sign_in(email, stack.password)
    assert refused.status_code == 429  # by its address, which guessed the most
    assert "no-store" in refused.headers["cache-control"]
    assert_told_how_long(refused, "sign-in-source", "q=300;w=3600")
    assert owner.sign_in(email, stack.password).status_code == 303
    stolen = Browser(stack)
    stolen.cookies = {DEVICE: owner.cookies[DEVICE]}
    assert stolen.sign_in("nimali@example.com", "wrong wrong wrong").status_code in (422, 429)
