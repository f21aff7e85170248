"""Content-Security-Policies: read, added to, compared (SECURITY-CHECKS 44, 52)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.csp import block_hash, is_as_strict, parse_csp, serialize_csp, with_sources

SITE = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'"
HASH = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"


def test_a_policy_is_read_and_written() -> None:
    assert serialize_csp(parse_csp(SITE)) == SITE
    assert parse_csp(" Script-Src  'self'\t a.lk ;; script-src 'none' ") == {
        "script-src": ("'self'", "a.lk")
    }


@pytest.mark.parametrize("policy", ["script_src 'self'", "img-src a,b", "img-src \u00e9"])
def test_what_is_no_policy_is_refused(policy: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_csp(policy)


def test_the_hash_of_a_block_is_what_browsers_compute() -> None:
    assert block_hash("") == HASH
    assert block_hash("alert(1)") != block_hash("alert(1) ")


def test_adding_takes_nothing_away() -> None:
    added = with_sources(parse_csp(SITE), "script-src", [HASH])
    assert added["script-src"] == ("'self'", HASH)
    assert added["default-src"] == ("'self'",)
    assert with_sources(added, "script-src", [HASH]) == added
    assert with_sources(added, "script-src", []) is added
    assert with_sources(parse_csp("script-src 'none'"), "script-src", [HASH]) == {
        "script-src": (HASH,)
    }


@pytest.mark.parametrize(
    ("own", "is_stricter"),
    [
        (SITE, True),
        (SITE + "; script-src 'self' " + HASH, True),
        (SITE.replace("img-src 'self' data:", "img-src 'self'"), True),
        (SITE.replace("default-src 'self'", "default-src 'none'"), True),
        (SITE + "; script-src 'unsafe-inline'", False),
        (SITE + "; script-src https://cdn.example", False),
        (SITE.replace("default-src 'self'", "default-src *"), False),
        ("default-src 'self'; img-src 'self'; object-src 'none'", False),  # no base-uri
        ("base-uri 'none'", False),
    ],
)
def test_which_page_is_as_strict_as_the_site(own: str, is_stricter: bool) -> None:
    assert is_as_strict(parse_csp(own), parse_csp(SITE)) is is_stricter


@pytest.mark.parametrize(
    ("own", "is_stricter"),
    [
        ("require-trusted-types-for 'script'; script-src 'self'", True),
        ("script-src 'self'", False),
        ("require-trusted-types-for 'script'; script-src 'self' 'unsafe-eval'", False),
    ],
)
def test_a_restriction_that_is_left_out_is_less_strict(own: str, is_stricter: bool) -> None:
    policy = "require-trusted-types-for 'script'; script-src 'self'"
    assert is_as_strict(parse_csp(own), parse_csp(policy)) is is_stricter


@given(st.text(alphabet="abz-' ;\t*:/.", max_size=80))
def test_reading_is_stable(text: str) -> None:
    try:
        directives = parse_csp(text)
    except ValueError:
        return
    assert parse_csp(serialize_csp(directives)) == directives
    assert is_as_strict(directives, directives) or "script-src" not in directives
