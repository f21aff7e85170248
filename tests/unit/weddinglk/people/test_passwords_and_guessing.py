"""Passwords, bounds on guessing them, and where one goes after signing in."""

from __future__ import annotations

import pytest

from poruwa.rules.rate_limit import Decision, Quota, decide
from weddinglk.people.accounts import Account, Role
from weddinglk.people.guessing import Guessing
from weddinglk.people.passwords import Passwords, hash_password, is_outdated
from weddinglk.web.account import described, wrong_with_password
from weddinglk.web.return_to import safe_path

ACCOUNT = Account(
    id="c1", email="nimali@example.com", name="Nimali", role=Role.COUPLE, password=""
)  # fmt: skip


class Counting:
    """Counts as the platform's limiter does, at one moment."""

    def __init__(self, burst: int) -> None:
        self._quota = Quota(requests=burst, window_seconds=3600.0, burst=burst)
        self._arrivals: dict[str, float] = {}

    async def take(self, key: str, *, cost: int = 1) -> Decision:
        decision = decide(self._quota, self._arrivals.get(key, 0.0), 1.0, cost=cost)
        self._arrivals[key] = decision.arrival
        return decision


async def test_a_password_is_known_by_its_hash_alone() -> None:
    stored = hash_password("seven silver elephants")
    passwords = Passwords()
    assert await passwords.is_right("seven silver elephants", stored)
    assert not await passwords.is_right("seven silver elephant", stored)
    assert not await passwords.is_right("seven silver elephants", "no hash")
    assert not await passwords.is_right("", None)
    assert not is_outdated(stored)
    assert is_outdated(stored.replace("t=2", "t=1"))
    # One spelling of letters that keyboards write differently.
    assert await passwords.is_right("caf\u00e9", hash_password("cafe\u0301"))


async def test_the_owners_browser_has_a_bucket_of_its_own() -> None:
    """Check 54: no lockout; and an IPv6 /64 is one source."""
    guessing = Guessing(Counting(3), Counting(5))
    for number in range(3):
        assert (await guessing.try_("a@example.com", f"192.0.2.{number}", None)).is_allowed
    assert not (await guessing.try_("A@example.com ", "192.0.2.9", None)).is_allowed
    assert (await guessing.try_("a@example.com", "192.0.2.9", "held")).is_allowed
    for number in range(5):
        await guessing.try_(f"{number}@example.com", f"2001:db8::{number}", None)
    assert not (await guessing.try_("x@example.com", "2001:db8::99", None)).is_allowed
    assert (await guessing.try_("x@example.com", "2001:db8:0:1::1", None)).is_allowed


@pytest.mark.parametrize(
    ("password", "wrong"),
    [
        ("seven silver elephants", None), ("short", "length"), ("x" * 129, "length"),
        ("aaaaaaaaaaaaaaaa", "guessable"), ("nimaliweddinglk1", "guessable"),
        ("Password1234", "guessable"),
    ],
)  # fmt: skip
def test_new_passwords_are_neither_short_nor_plain(password: str, wrong: str | None) -> None:
    assert wrong_with_password(password, ACCOUNT) == wrong


@pytest.mark.parametrize(
    "text",
    ["/", "/account", "/en/shortlist/keep?listing=venue:12", "/venues?district=kandy&page=2"],
)
def test_paths_of_the_site_are_kept(text: str) -> None:
    assert safe_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "//evil", "/\\evil", "https:evil", "https://evil/", "/%2f%2fevil", "/a//b", "/\t/evil",
     "/a@b", "/a/../b", "javascript:x", "/a\n", " /a", "/?x=//evil", "/a#b", "/" + "a" * 400],
)  # fmt: skip
def test_all_else_leads_home(text: str) -> None:
    """Check 41."""
    assert safe_path(text) == "/"


def test_browsers_are_told_apart() -> None:
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
    assert described(chrome) == "Chrome · Windows"
    assert described(chrome + " Edg/140.0") == "Edge · Windows"
    assert described("curl/8.5") == "curl/8.5"
