"""Where a request comes from, and tokens for when nobody says (SECURITY-CHECKS 30 to 36)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.model_route import Cors
from poruwa.rules.csrf import (
    CsrfTokens,
    CsrfVerdict,
    WantedOrigins,
    cannot_be_forged,
    judge_origin,
    origin_of,
)

OWN = b"https://weddinglk.test"
HOUR = 3600
V = CsrfVerdict


@pytest.mark.parametrize(
    ("origin", "site", "cookies", "verdict"),
    [
        (OWN, b"same-origin", True, V.OWN),
        (b"HTTPS://WeddingLK.test", b"same-origin", False, V.OWN),
        (OWN, None, True, V.OWN),
        (None, b"same-origin", True, V.OWN),
        (None, b"none", True, V.OWN),
        (None, b"cross-site", True, V.CROSS_SITE),
        (None, b"cross-site", False, V.CROSS_SITE),  # 32: also where nobody is signed in
        (None, b"same-site", True, V.SAME_SITE),
        (None, b"rubbish", True, V.CROSS_SITE),
        (b"https://evil.example", b"cross-site", True, V.FOREIGN_ORIGIN),
        (b"https://evil.example", b"same-origin", True, V.FOREIGN_ORIGIN),
        (b"https://evil.weddinglk.test", b"same-site", True, V.FOREIGN_ORIGIN),
        (b"http://weddinglk.test", None, True, V.FOREIGN_ORIGIN),
        (b"https://weddinglk.test:8443", None, True, V.FOREIGN_ORIGIN),
        (b"https://weddinglk.test.evil.example", None, True, V.FOREIGN_ORIGIN),
        (b"null", None, True, V.FOREIGN_ORIGIN),  # 31
        (OWN, b"cross-site", True, V.CONTRADICTION),
        (OWN, b"same-site", True, V.CONTRADICTION),
        (b"https://admin.weddinglk.test", b"same-site", True, V.TRUSTED),
        (None, None, True, V.TOKEN_NEEDED),
        (None, None, False, V.NO_BROWSER),
    ],
)
def test_what_a_browser_says_decides(
    origin: bytes | None, site: bytes | None, cookies: bool, verdict: CsrfVerdict
) -> None:
    found = judge_origin(
        b"POST",
        own_origin=OWN,
        origin=origin,
        fetch_site=site,
        has_cookies=cookies,
        trusted=frozenset((b"https://admin.weddinglk.test",)),
    )
    assert found is verdict


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"PURGE", b"get"])
def test_every_method_but_the_safe_ones_is_judged(method: bytes) -> None:
    verdict = judge_origin(
        method, own_origin=OWN, origin=b"null", fetch_site=None, has_cookies=False
    )
    assert verdict.is_refused


@pytest.mark.parametrize(
    ("authorization", "is_out_of_reach"),
    [
        (b"Bearer abc", True),
        (b"bearer abc", True),
        (b"Basic YTpi", False),  # browsers add it themselves
        (b"Negotiate abc", False),
        (b"Bearer", False),
        (b"", False),
        (None, False),
    ],
)
def test_only_bearer_tokens_are_out_of_other_sites_reach(
    authorization: bytes | None, is_out_of_reach: bool
) -> None:
    assert cannot_be_forged(authorization) is is_out_of_reach


def test_a_get_is_safe_and_a_handshake_is_not() -> None:
    foreign = {"own_origin": OWN, "origin": b"https://evil.example", "fetch_site": b"cross-site"}
    assert judge_origin(b"GET", **foreign, has_cookies=True) is V.SAFE  # type: ignore[arg-type]
    handshake = judge_origin(
        b"GET",
        **foreign,
        has_cookies=True,
        is_handshake=True,  # type: ignore[arg-type]
    )
    assert handshake.is_refused  # 35


TOKENS = CsrfTokens((b"k" * 32,))
SESSION = b"s" * 16
START = 1_800_000_000


def test_a_token_has_32_characters_and_changes_every_hour() -> None:
    """D4: length 32, rotation 1 h."""
    hour = START - START % HOUR
    assert len(TOKENS.mint(SESSION, START)) == 32
    assert TOKENS.mint(SESSION, hour) == TOKENS.mint(SESSION, hour + HOUR - 1)
    assert TOKENS.mint(SESSION, hour) != TOKENS.mint(SESSION, hour + HOUR)


def test_a_form_that_was_opened_hours_ago_can_be_sent() -> None:
    token = TOKENS.mint(SESSION, START)
    assert TOKENS.is_good(token, SESSION, started_at=START, now=START + 3 * HOUR)  # 36
    assert TOKENS.is_good(token, SESSION, started_at=START - HOUR, now=START + 20 * 24 * HOUR)


def test_a_token_of_before_the_session_or_of_the_future_is_none() -> None:
    token = TOKENS.mint(SESSION, START)
    assert not TOKENS.is_good(token, SESSION, started_at=START + 2 * HOUR, now=START + 3 * HOUR)
    assert not TOKENS.is_good(token, SESSION, started_at=0, now=START - 3 * HOUR)


def test_another_sessions_token_is_none() -> None:
    token = TOKENS.mint(b"t" * 16, START)
    assert not TOKENS.is_good(token, SESSION, started_at=START, now=START)  # 33


def test_an_older_key_checks_and_a_removed_one_does_not() -> None:
    old = CsrfTokens((b"old",)).mint(SESSION, START)
    assert CsrfTokens((b"old", b"new")).is_good(old, SESSION, started_at=START, now=START)
    assert not CsrfTokens((b"new",)).is_good(old, SESSION, started_at=START, now=START)


@given(st.text(max_size=40))
def test_what_nobody_made_is_no_token(token: str) -> None:
    assert not TOKENS.is_good(token, SESSION, started_at=0, now=START)


@pytest.mark.parametrize("length", [32, 64, 128])
def test_a_changed_character_in_any_place_is_no_token(length: int) -> None:
    tokens = CsrfTokens((b"k",), length=length)
    token = tokens.mint(SESSION, START)
    assert len(token) == length
    for at in range(length):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert not tokens.is_good(changed, SESSION, started_at=0, now=START)


@pytest.mark.parametrize("length", [31, 33, 132])
def test_lengths_that_cannot_be_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 to 128"):
        CsrfTokens((b"k",), length=length)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        (b"https", b"WeddingLK.test", OWN),
        (b"https", b"weddinglk.test:443", OWN),
        (b"https", b"weddinglk.test:80", OWN + b":80"),
        (b"https", b"weddinglk.test:8443", OWN + b":8443"),
        (b"http", b"weddinglk.test:80", b"http://weddinglk.test"),
        (b"http", b"[::1]:8080", b"http://[::1]:8080"),
        (b"https", b"[::443]", b"https://[::443]"),
    ],
)
def test_an_origin_is_written_as_browsers_do(scheme: bytes, host: bytes, origin: bytes) -> None:
    """RFC 6454 section 6.2: without the scheme's own port, in lower case."""
    assert origin_of(scheme, host) == origin


PARTNER, READER = b"https://partner.test", b"https://Reader.test"
CORS = Cors(origins=("https://reader.test",), methods=("GET", "POST"))
WITH_COOKIES = Cors(origins=("https://reader.test",), methods=("POST",), credentials=True)
OPEN = Cors(origins=("*",), methods=("POST",))


@pytest.mark.parametrize(
    ("cors", "method", "origin", "cookies", "authorization", "is_wanted"),
    [
        (None, b"POST", READER, False, None, False),
        (CORS, b"POST", READER, False, None, True),
        (CORS, b"DELETE", READER, False, None, False),  # a method that it does not name
        (CORS, b"POST", b"https://evil.test", False, None, False),
        (CORS, b"POST", b"null", False, None, False),
        (CORS, b"POST", READER, True, None, False),
        (CORS, b"POST", READER, False, b"Basic YTpi", False),  # which browsers add by themselves
        (CORS, b"POST", READER, False, b"Bearer x", True),
        (WITH_COOKIES, b"POST", READER, True, None, True),
        (WITH_COOKIES, b"POST", READER, True, b"Basic YTpi", True),
        (WITH_COOKIES, b"POST", b"https://evil.test", True, None, False),
        (OPEN, b"POST", b"https://evil.test", False, None, True),
        (OPEN, b"POST", b"https://evil.test", True, None, False),
        (OPEN, b"POST", b"https://evil.test", False, b"Negotiate x", False),
        (OPEN, b"PUT", b"https://evil.test", False, None, False),
    ],
)
def test_31_a_routes_cors_lets_in_whom_it_names(
    cors: Cors | None,
    method: bytes,
    origin: bytes,
    cookies: bool,
    authorization: bytes | None,
    is_wanted: bool,
) -> None:
    """Checks 30, 31; D4: for the methods it names, with credentials only where it says so."""
    wanted = WantedOrigins((PARTNER.decode().upper(),), cors)
    found = wanted.of(method, origin, has_cookies=cookies, authorization=authorization)
    assert PARTNER in found
    assert (origin.lower() in found) is is_wanted
    assert wanted.of(method, None, has_cookies=cookies, authorization=None) == {PARTNER}
