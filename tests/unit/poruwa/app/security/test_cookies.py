"""The policy's cookies as they are set (security checks 1, 2, 3)."""

from __future__ import annotations

import pytest

from poruwa.app.security.cookies import cookie_forms, session_form
from poruwa.config.load import parse_policy
from poruwa.config.model import Policy
from poruwa.errors import ConfigError

PLAIN = """
[site]
name = "site"
domain = "www.weddinglk.test"
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[session]
cookie = "site.session-token"
"""


def policy(more: str = "") -> Policy:
    return parse_policy(PLAIN + more, "site.toml")


def line(more: str, name: str = "theme") -> str:
    return cookie_forms(policy(more))[name].line(b"v").decode().strip()


def test_2_the_sessions_cookie_is_host_only_and_out_of_reach_of_scripts() -> None:
    assert session_form(policy()).line(b"v").decode().strip() == (
        "Set-Cookie: __Host-Http-site.session-token=v; Path=/; Max-Age=2592000; HttpOnly; Secure; "
        "SameSite=Lax"
    )


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("", "__Host-Http-theme=v; Path=/; HttpOnly; Secure; SameSite=Lax"),
        ("http_only = false", "__Host-theme=v; Path=/; Secure; SameSite=Lax"),
        ('path = "/a"', "__Secure-theme=v; Path=/a; HttpOnly; Secure; SameSite=Lax"),
        (
            'domain = ".weddinglk.test"',
            "__Secure-theme=v; Path=/; Domain=weddinglk.test; HttpOnly; Secure; SameSite=Lax",
        ),
        ("secure = false", "theme=v; Path=/; HttpOnly; SameSite=Lax"),
        (
            'same_site = "strict"\nmax_age = "1h"',
            "__Host-Http-theme=v; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Strict",
        ),
        (
            'same_site = "none"\npartitioned = true',
            "__Host-Http-theme=v; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
        ),
    ],
)
def test_1_each_cookie_is_set_as_its_section_says(section: str, expected: str) -> None:
    assert line(f"[cookies.named.theme]\n{section}\n") == f"Set-Cookie: {expected}"


def test_what_all_cookies_have_in_common_counts_where_one_says_nothing() -> None:
    common = '[cookies]\nsame_site = "strict"\ndomain = "weddinglk.test"\n[cookies.named.theme]\n'
    assert "__Secure-theme=v; Path=/; Domain=weddinglk.test" in line(common)
    assert line(common).endswith("SameSite=Strict")


def test_a_name_with_a_prefix_keeps_it() -> None:
    assert "__Host-x=v" in line('[cookies.named."__Host-x"]\n', "__Host-x")


def test_3_what_no_browser_would_keep_is_refused_and_never_cut() -> None:
    form = cookie_forms(policy("[cookies.named.theme]\n"))["theme"]
    room = 4096 - len(form.name)
    assert form.line(b"v" * room)
    with pytest.raises(ValueError, match="4096 is the most"):
        form.line(b"v" * (room + 1))


def test_a_partitioned_cookie_must_be_secure() -> None:
    with pytest.raises(ConfigError, match="Partitioned"):
        policy("[cookies.named.theme]\npartitioned = true\nsecure = false\n")
