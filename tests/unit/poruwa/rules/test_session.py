"""How long a session lives, and what renews it (SECURITY-CHECKS 15, 16, 19, 20, 22, 26)."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.model_security import Session
from poruwa.rules.session import (
    SKEW_SECONDS,
    Claims,
    SessionRefusal,
    SessionRules,
    decode_claims,
    encode_claims,
    is_recent,
)

DAY = 86_400
NOW = 1_800_000_000
RULES = SessionRules.of(Session(), "weddinglk")
BEGUN = RULES.begin(bytes(16), "user-1", NOW)


def test_the_given_figures() -> None:
    """D2: 30 days, rolling, renewed in the last 7, updated at most every 24 hours."""
    assert BEGUN.expires_at == NOW + 30 * DAY
    assert not RULES.is_due(BEGUN, NOW + 22 * DAY)
    assert RULES.is_due(BEGUN, NOW + 23 * DAY)
    renewed = RULES.renewed(BEGUN, NOW + 23 * DAY)
    assert renewed.expires_at == pytest.approx(NOW + 53 * DAY, abs=60)
    assert renewed.generation == 1
    assert renewed.session_id == BEGUN.session_id


@pytest.mark.parametrize(
    ("claims", "now", "refusal"),
    [
        (BEGUN, NOW, None),
        (BEGUN, NOW - SKEW_SECONDS, None),
        (BEGUN, NOW - SKEW_SECONDS - 1, SessionRefusal.NOT_YET),
        (BEGUN, NOW + 30 * DAY - 1, None),
        (BEGUN, NOW + 30 * DAY, SessionRefusal.IDLE),
        (BEGUN, NOW + 90 * DAY, SessionRefusal.TOO_OLD),
        (SessionRules.of(Session(), "other").begin(bytes(16), "u", NOW), NOW,
         SessionRefusal.AUDIENCE),
    ],
)  # fmt: skip
def test_when_claims_open_a_session(
    claims: Claims, now: int, refusal: SessionRefusal | None
) -> None:
    assert RULES.judge(claims, now) is refusal


def test_no_number_of_renewals_moves_the_absolute_end() -> None:
    claims, now = BEGUN, NOW
    while RULES.judge(claims, now) is None:
        if RULES.is_due(claims, now):
            claims = RULES.renewed(claims, now)
        now += DAY
    assert now == NOW + 90 * DAY
    assert RULES.judge(claims, now) is SessionRefusal.TOO_OLD


def test_a_hundred_renewals_at_once_make_one_generation() -> None:
    at = NOW + 25 * DAY
    at -= at % 60
    assert len({RULES.renewed(BEGUN, at + second % 60) for second in range(100)}) == 1


@given(st.lists(st.integers(1, 40 * DAY), max_size=60))
def test_a_token_is_renewed_at_most_once_a_day(pauses: list[int]) -> None:
    claims, now = BEGUN, NOW
    renewals: list[int] = []
    for pause in pauses:
        now += pause
        if RULES.judge(claims, now) is None and RULES.is_due(claims, now):
            claims = RULES.renewed(claims, now)
            renewals.append(now)
            assert RULES.judge(claims, now) is None
    assert all(later - earlier >= DAY - 60 for earlier, later in pairwise(renewals))


def test_proving_it_again_changes_the_id_and_no_end() -> None:
    again = RULES.reauthenticated(BEGUN, b"\1" * 16, NOW + 80 * DAY)
    assert again.session_id != BEGUN.session_id
    assert again.started_at == BEGUN.started_at
    assert again.expires_at == NOW + 90 * DAY
    assert is_recent(again, NOW + 80 * DAY + 60, within_seconds=300)
    assert not is_recent(BEGUN, NOW + 80 * DAY, within_seconds=300)


def test_claims_are_read_as_they_were_written() -> None:
    assert decode_claims(encode_claims(BEGUN)) == BEGUN


@given(st.binary(max_size=100))
def test_what_is_no_claims_is_none(plain: bytes) -> None:
    whole = encode_claims(BEGUN)
    assert decode_claims(plain) is None
    assert decode_claims(whole + b"\0" + plain) is None
    assert decode_claims(whole[:-2]) is None
    assert (
        decode_claims(encode_claims(msgspec.structs.replace(BEGUN, session_id=plain[:15]))) is None
    )


def test_a_session_id_has_128_bits() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 8"):
        RULES.begin(bytes(8), "user-1", NOW)
