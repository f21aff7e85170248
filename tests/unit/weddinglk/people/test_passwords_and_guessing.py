"""Passwords, bounds on guessing them, and where one goes after signing in."""

from __future__ import annotations

import pytest

from poruwa import Limiter
from poruwa.app.limits import Limits
from poruwa.config.model import RateLimit
from weddinglk.people.accounts import Account, Role, is_email
from weddinglk.people.guessing import Guessing
from weddinglk.people.passwords import Passwords, hash_password, is_outdated
from weddinglk.web.account import described, wrong_with_password
from weddinglk.web.return_to import safe_path

ACCOUNT = Account(
    id="c1", email="nimali@example.com", name="Nimali", role=Role.COUPLE, password=""
)  # fmt: skip


def limiter(name: str, burst: int) -> Limiter:
    """Return a limit as the platform has it; this process counts for itself."""
    section = RateLimit(name=name, requests=burst, window_seconds=3600.0)
    return Limits([section], None, "test").limiter(name)


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
    guessing = Guessing(limiter("account", 3), limiter("source", 5))
    for number in range(3):
        assert await guessing.refusal("a@example.com", f"192.0.2.{number}", None) is None
    refused = await guessing.refusal("A@example.com ", "192.0.2.9", None)
    assert refused is not None
    assert refused["RateLimit-Policy"] == '"account";q=3;w=3600'
    assert refused["RateLimit"].startswith('"account";r=0;t=')
    assert 1190 <= int(refused["Retry-After"]) <= 1200  # check 55
    assert await guessing.refusal("a@example.com", "192.0.2.9", "held") is None
    for number in range(5):
        await guessing.refusal(f"{number}@example.com", f"2001:db8::{number}", None)
    refused = await guessing.refusal("x@example.com", "2001:db8::99", None)
    assert refused is not None
    assert refused["RateLimit-Policy"] == '"source";q=5;w=3600'
    assert await guessing.refusal("x@example.com", "2001:db8:0:1::1", None) is None


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("nimali@example.com", True), (" Nimali+w@Mail.Example.lk ", True), ("o'brien@a.ie", True),
        ("nimali", False), ("@example.com", False), ("a@example", False), ("a@-b.com", False),
        ("a b@example.com", False), ("a@b..com", False), ("a@example.com\r\nBcc: x", False),
        ("a" * 65 + "@example.com", False), ("a@" + "b." * 150 + "com", False), ("", False),
    ],
)  # fmt: skip
def test_what_an_address_looks_like(text: str, is_one: bool) -> None:
    assert is_email(text) is is_one


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
