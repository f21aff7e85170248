"""Dates of header fields: RFC 9110 section 5.6.7."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.http_date import format_http_date, parse_http_date

NOW = 1_767_225_600.0  # 2026-01-01


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"SUN, 06 nOV 1994 08:49:37 gmt",  # RFC 9111 section 4.2: in any case
    ],
)
def test_the_three_forms(value: bytes) -> None:
    assert parse_http_date(value, now=NOW) == 784111777


def test_two_digits_of_a_year_are_at_most_fifty_years_ahead() -> None:
    def year_of(digits: bytes) -> bytes:
        seconds = parse_http_date(b"Sunday, 06-Nov-%b 08:49:37 GMT" % digits, now=NOW)
        assert seconds is not None
        return format_http_date(seconds)[12:16]

    assert year_of(b"76") == b"2076"
    assert year_of(b"77") == b"1977"


def test_leap_second_is_taken() -> None:
    value = b"Sat, 31 Dec 2016 23:59:60 GMT"
    assert parse_http_date(value, now=NOW) == 1483228799


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 31 Jun 1994 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b" Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_no_date(value: bytes) -> None:
    assert parse_http_date(value, now=NOW) is None


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=253_402_300_799))
def test_there_and_back(seconds: int) -> None:
    assert parse_http_date(format_http_date(seconds), now=NOW) == seconds


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_break_it(value: bytes) -> None:
    parse_http_date(value, now=NOW)
