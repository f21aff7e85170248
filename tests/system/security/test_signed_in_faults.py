"""Show 4: keys, stores and instances change or die under people who are signed in (A5, D2).

Nobody is signed out, and no session is taken whose end was acknowledged. What is broken here is
whole again at the end of each test: the stack is everybody's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import httpx
import pytest

from fakes.tls_stack import SESSION, TlsStack, token_of, tokens_of

WALKERS = 4
DARK_SECONDS = 4.0
PATHS = ("/doors/me", "/venues/1", "/doors/account", "/_poruwa/session", "/si/venues/2")


class Load:
    """People who walk, and one who signs out again and again, while something happens.

    Attributes:
        seen: what walkers were told on private pages, by what it was.
        ended: tokens whose sign-out was acknowledged; unacknowledged: how many were not.
        taken: ended tokens that opened a session all the same.
    """

    def __init__(self, stack: TlsStack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self.seen: Counter[str] = Counter()
        self.kids: set[str] = set()
        self.ended: list[str] = []
        self.unacknowledged = 0
        self.taken: list[str] = []

    def walk(self, number: int) -> None:
        """Walk as a browser does: each new cookie is kept."""
        user = f"walker{number}"
        token = self._stack.token(user, days_ago=number)
        with self._stack.client(keeps_cookies=False) as client:
            while not self._over.is_set():
                for path in PATHS:
                    answer = self._ask(client, "GET", path, token)
                    if path == "/doors/me":
                        is_known = answer.status_code == 200 and answer.json().get("user") == user
                        self._count("in" if is_known else f"{answer.status_code} {answer.text}")
                    elif path == "/_poruwa/session":
                        is_known = answer.status_code == 200 and answer.json()["signed_in"]
                        self._count("in" if is_known else f"{answer.status_code} {answer.text}")
                    elif answer.status_code != 200:
                        self._count(f"{answer.status_code} for {path}")
                    for token in tokens_of(answer):
                        self.kids.add(kid_of(token))

    def sign_out_again_and_again(self) -> None:
        with self._stack.client(keeps_cookies=False) as client:
            for number in count():
                if self._over.is_set():
                    return
                token = self._stack.token(f"leaver{number}")
                answer = self._ask(client, "POST", "/doors/sign-out", token)
                if answer.status_code == 200:
                    self.ended.append(token)
                else:
                    assert answer.status_code in (502, 503, 504), answer.text
                    assert not tokens_of(answer)
                    self.unacknowledged += 1
                for ended in self.ended[-3:] + self.ended[:2]:
                    told = self._ask(client, "GET", "/doors/me", ended)
                    if told.status_code == 200 and told.json():
                        self.taken.append(ended)

    def _ask(self, client: httpx.Client, method: str, path: str, token: str) -> httpx.Response:
        said = {"Cookie": f"{SESSION}={token}"}
        if method == "POST":
            said["Origin"] = self._stack.origin
        return client.request(method, path, headers=said)

    def _count(self, what: str) -> None:
        self.seen[what] += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        with ThreadPoolExecutor() as pool:
            tasks: list[Future[None]] = [pool.submit(self.walk, n) for n in range(WALKERS)]
            tasks.append(pool.submit(self.sign_out_again_and_again))
            try:
                self._stack.until(lambda: self.ended and self.seen["in"] > 20, "the load")
                yield self
            finally:
                self._over.set()
            for task in tasks:
                task.result()

    def until_more(self) -> None:
        """Wait until people have been served after what happened."""
        seen, ended = self.seen["in"], len(self.ended)
        self._stack.until(
            lambda: self.seen["in"] > seen + 40 and len(self.ended) > ended + 2, "more of the load"
        )

    def judge(self) -> None:
        """Assert what this show is about."""
        assert set(self.seen) == {"in"}, self.seen
        assert self.taken == []
        self._stack.until_certain()
        for ended in self.ended[-20:] + self.ended[:20]:
            assert self._stack.who(ended) == {None}


def kid_of(token: str) -> str:
    found: str = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]
    return found


@pytest.fixture
def load(stack: TlsStack) -> Iterator[Load]:
    stack.until_certain()
    yield Load(stack)
    stack.until_certain()


def pid_of(stack: TlsStack, part: str) -> int:
    pids: dict[str, int] = stack.report()["pids"]
    return pids[part]


def kill_and_wait(stack: TlsStack, part: str) -> None:
    """Kill a part as the machine would; return when there is another."""
    before = pid_of(stack, part)
    os.kill(before, signal.SIGKILL)
    stack.until(lambda: stack.report()["pids"].get(part, before) != before, f"another {part}")


def test_two_rotations_of_the_keys(stack: TlsStack, load: Load) -> None:
    """27, too: every walker's token is made anew under the new key, and nobody notices."""
    with load.running():
        names = set()
        for _ in range(2):
            stack.run("keys", "rotate", "--policy", str(stack.policy_path))
            names.add(stack.keys.sealer.kid)
            load.until_more()
    load.judge()
    assert load.unacknowledged == 0
    assert load.kids == names


def test_the_bus_stands_still_and_goes_on(stack: TlsStack, load: Load) -> None:
    """Reading goes on with the revocations known; ending a session is refused, not promised."""
    with load.running():
        os.kill(pid_of(stack, "bus"), signal.SIGSTOP)
        try:
            time.sleep(DARK_SECONDS)
            seen = load.seen["in"]
            stack.until(lambda: load.seen["in"] > seen + 20, "reading without the bus")
        finally:
            os.kill(pid_of(stack, "bus"), signal.SIGCONT)
        stack.until_certain()
        load.until_more()
    load.judge()
    assert load.unacknowledged > 0


@pytest.mark.parametrize("part", ["bus", "cache", "app.2", "database"])
def test_a_part_is_killed(stack: TlsStack, load: Load, part: str) -> None:
    with load.running():
        kill_and_wait(stack, part)
        stack.until_certain()
        load.until_more()
    load.judge()


def test_an_instance_stands_still_while_sessions_end(stack: TlsStack, load: Load) -> None:
    """Its lease lapses, so that ends are acknowledged without it; awake it takes none of them."""
    frozen = pid_of(stack, "app.3")
    with load.running():
        os.kill(frozen, signal.SIGSTOP)
        try:
            load.until_more()
            ended = load.ended[-1]
        finally:
            os.kill(frozen, signal.SIGCONT)
        told = stack.instance(3).get("/doors/me", headers={"Cookie": f"{SESSION}={ended}"})
        assert told.json() == {}
        load.until_more()
    load.judge()


@pytest.mark.check(27)
def test_27_rotating_signs_nobody_out_and_removing_a_key_does(stack: TlsStack) -> None:
    policy = ("--policy", str(stack.policy_path))
    before = stack.sign_in("rotated")
    old = stack.keys.sealer.kid
    stack.run("keys", "rotate", *policy)
    assert stack.keys.sealer.kid != old
    assert stack.who(before) == {"rotated"}
    anew = token_of(stack.get("/doors/me", before))
    assert stack.claims(anew) == stack.claims(before)  # no renewal: check 22
    assert kid_of(anew) == stack.keys.sealer.kid
    assert not tokens_of(stack.get("/doors/me", anew))
    with pytest.raises(AssertionError, match="sessions live for 30"):
        stack.run("keys", "remove", *policy, operands=[old])
    stack.run("keys", "remove", "--force", *policy, operands=[old])
    assert (stack.who(before), stack.who(anew)) == ({None}, {"rotated"})
