"""Storing, freshness, age and reuse: RFC 9111, 5861, 8246 and 9213."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.cache_control import (
    MAX_DELTA_SECONDS,
    NO_DIRECTIVES,
    Directives,
    parse_cache_control,
)
from poruwa.rules.freshness import (
    HEURISTIC_STATUSES,
    LifetimeSource,
    ReuseAction,
    ReuseReason,
    StoreDecision,
    StoredFacts,
    age_at_receipt,
    current_age,
    decide_reuse,
    facts_of,
    freshness_lifetime,
    is_fetched_for_all,
    is_storable,
    may_serve_stale_on_error,
    parse_age,
    request_directives,
    response_control,
)
from poruwa.rules.http_date import format_http_date

NOW = 1_767_225_600.0  # 2026-01-01
DAY = 86_400


def date(offset: float) -> bytes:
    return format_http_date(int(NOW + offset))


def fields(**named: bytes) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value for name, value in named.items()}


# Which directives count.


@pytest.mark.parametrize(
    ("request_fields", "no_cache"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param(fields(pragma=b"no-cache"), True, id="5.4 pragma"),
        pytest.param(fields(pragma=b"foo, No-Cache"), True, id="5.4 pragma in a list"),
        pytest.param(fields(pragma=b"foo"), False, id="5.4 other pragma"),
        pytest.param(
            fields(pragma=b"no-cache", cache_control=b"max-age=5"), False, id="5.4 not with it"
        ),
        pytest.param(
            fields(pragma=b"no-cache", cache_control=b""), False, id="5.4 not with an empty one"
        ),
        pytest.param(fields(cache_control=b"no-cache"), True, id="5.2.1.4"),
    ],
)
def test_request_directives(request_fields: dict[bytes, bytes], no_cache: bool) -> None:
    assert request_directives(request_fields).no_cache is no_cache


def test_most_requests_have_the_one_empty_object() -> None:
    assert request_directives({b"host": b"a"}) is NO_DIRECTIVES
    assert request_directives(fields(pragma=b"x")) is NO_DIRECTIVES


@pytest.mark.parametrize(
    ("response", "max_age", "targeted"),
    [
        pytest.param(fields(cache_control=b"max-age=1"), 1, False, id="no targeted field"),
        pytest.param(
            fields(cache_control=b"max-age=1", cdn_cache_control=b"max-age=2"),
            2,
            True,
            id="9213 2.2 valid",
        ),
        pytest.param(
            fields(cache_control=b"max-age=1", cdn_cache_control=b"public"),
            None,
            True,
            id="9213 2.2 replaces all",
        ),
        pytest.param(
            fields(cache_control=b"max-age=1", cdn_cache_control=b"max-age=2,"),
            1,
            False,
            id="9213 2.1 invalid",
        ),
        pytest.param(
            fields(cache_control=b"max-age=1", cdn_cache_control=b""),
            1,
            False,
            id="9213 2.1 empty",
        ),
    ],
)
def test_response_control(
    response: dict[bytes, bytes], max_age: int | None, targeted: bool
) -> None:
    control = response_control(response)
    assert (control.directives.max_age, control.targeted) == (max_age, targeted)


# Storing: section 3.


def storable(
    response: dict[bytes, bytes],
    *,
    method: bytes = b"GET",
    status: int = 200,
    request: bytes = b"",
    has_authorization: bool = False,
    heuristics: bool = True,
) -> StoreDecision:
    return is_storable(
        method=method,
        status=status,
        request=parse_cache_control(request),
        has_authorization=has_authorization,
        fields=response,
        control=response_control(response),
        heuristics=heuristics,
    )


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        pytest.param(b"max-age=5", StoreDecision.STORE, id="3 max-age"),
        pytest.param(b"s-maxage=5", StoreDecision.STORE, id="3 s-maxage"),
        pytest.param(b"no-cache", StoreDecision.STORE, id="5.2.2.4 stored, asked about each time"),
        pytest.param(b"no-store, max-age=5", StoreDecision.NO_STORE, id="5.2.2.5 no-store"),
        pytest.param(b"private, max-age=5", StoreDecision.PRIVATE, id="5.2.2.7 private"),
        pytest.param(b"public, private", StoreDecision.PRIVATE, id="5.2.2.7 private and public"),
        pytest.param(b'private="x", max-age=5', StoreDecision.STORE, id="5.2.2.7 qualified"),
        pytest.param(
            b"must-understand, no-store, max-age=5", StoreDecision.STORE, id="5.2.2.3 understood"
        ),
        pytest.param(
            b"must-understand, private", StoreDecision.PRIVATE, id="5.2.2.3 overrides no-store only"
        ),
        pytest.param(b"max-age=x", StoreDecision.STORE, id="4.2.1 stale, with a validator of use"),
    ],
)
def test_response_directives(control: bytes, expected: StoreDecision) -> None:
    assert storable(fields(cache_control=control)) is expected


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"QUERY", b"get", b"FOO"])
def test_only_get_is_stored(method: bytes) -> None:
    response = fields(cache_control=b"public, max-age=5")
    assert storable(response, method=method) is StoreDecision.METHOD


@pytest.mark.parametrize(
    ("status", "bare", "explicit", "understood"),
    [
        pytest.param(100, "not-final", "not-final", "not-final", id="3 interim"),
        pytest.param(103, "not-final", "not-final", "not-final", id="3 early hints"),
        pytest.param(200, "store", "store", "store", id="9110 15.1 heuristic"),
        pytest.param(404, "store", "store", "store", id="9110 15.1 heuristic error"),
        pytest.param(501, "store", "store", "store", id="9110 15.1 not implemented"),
        pytest.param(201, "not-explicit", "store", "store", id="3 created"),
        pytest.param(302, "not-explicit", "store", "store", id="3 found"),
        pytest.param(307, "not-explicit", "store", "store", id="3 temporary redirect"),
        pytest.param(503, "not-explicit", "store", "store", id="3 unavailable"),
        pytest.param(299, "not-explicit", "store", "not-understood", id="5.2.2.3 unknown 2xx"),
        pytest.param(499, "not-explicit", "store", "not-understood", id="5.2.2.3 unknown 4xx"),
        pytest.param(599, "not-explicit", "store", "not-understood", id="5.2.2.3 unknown 5xx"),
        pytest.param(206, "partial", "partial", "partial", id="3.3 partial"),
        pytest.param(304, "partial", "partial", "partial", id="3 not modified"),
        pytest.param(416, "one-request", "one-request", "one-request", id="9110 15.5.17 range"),
        pytest.param(429, "one-request", "one-request", "one-request", id="6585 4"),
        pytest.param(431, "one-request", "one-request", "one-request", id="6585 5"),
        pytest.param(511, "one-request", "one-request", "one-request", id="6585 6"),
    ],
)
def test_status(status: int, bare: str, explicit: str, understood: str) -> None:
    assert storable({}, status=status).value == bare
    for permission in (b"max-age=5", b"s-maxage=5", b"public"):
        assert storable(fields(cache_control=permission), status=status).value == explicit
    assert storable(fields(expires=date(5)), status=status).value == explicit
    must = fields(cache_control=b"max-age=5, must-understand")
    assert storable(must, status=status).value == understood


def test_no_client_may_keep_its_response_out_but_by_no_store() -> None:
    """Section 5.2.1.5."""
    response = fields(cache_control=b"max-age=5")
    assert storable(response, request=b"no-store") is StoreDecision.REQUEST_NO_STORE
    assert storable(response, request=b"no-cache, max-age=0") is StoreDecision.STORE


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (b"max-age=5", StoreDecision.AUTHORIZATION),
        (b"max-age=5, proxy-revalidate", StoreDecision.AUTHORIZATION),
        (b"", StoreDecision.AUTHORIZATION),
        (b"max-age=5, public", StoreDecision.STORE),
        (b"s-maxage=5", StoreDecision.STORE),
        (b"max-age=5, must-revalidate", StoreDecision.STORE),
        (b"private, must-revalidate", StoreDecision.PRIVATE),
    ],
)
def test_authorization(control: bytes, expected: StoreDecision) -> None:
    """Section 3.5."""
    assert storable(fields(cache_control=control), has_authorization=True) is expected


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        (b"*", StoreDecision.VARY_ANY),
        (b"Accept, *", StoreDecision.VARY_ANY),
        (b"*, Accept", StoreDecision.VARY_ANY),
        (b"Accept,\t*\t,Foo", StoreDecision.VARY_ANY),
        (b"Accept", StoreDecision.STORE),
        (b"X-*", StoreDecision.STORE),
        (b"", StoreDecision.STORE),
    ],
)
def test_vary_any(vary: bytes, expected: StoreDecision) -> None:
    """Section 4.1; two lines arrive joined."""
    assert storable(fields(vary=vary, cache_control=b"max-age=5")) is expected


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (b"", StoreDecision.NOT_EXPLICIT),
        (b"must-revalidate", StoreDecision.NOT_EXPLICIT),
        (b"no-cache", StoreDecision.STORE),
        (b"public", StoreDecision.STORE),
        (b"max-age=5", StoreDecision.STORE),
    ],
)
def test_without_heuristics_permission_is_explicit(control: bytes, expected: StoreDecision) -> None:
    assert storable(fields(cache_control=control), heuristics=False) is expected


def test_targeted_field_decides_on_storing() -> None:
    """RFC 9213 section 2.2: Cache-Control and Expires mean nothing then."""
    permitted = fields(cache_control=b"no-store", cdn_cache_control=b"max-age=5")
    assert storable(permitted) is StoreDecision.STORE
    forbidden = fields(cache_control=b"max-age=5", cdn_cache_control=b"no-store")
    assert storable(forbidden) is StoreDecision.NO_STORE
    expires = fields(expires=date(5), cdn_cache_control=b"x")
    assert storable(expires, status=302) is StoreDecision.NOT_EXPLICIT


def test_reasons_are_short_words() -> None:
    for decision in StoreDecision:
        assert decision.value.replace("-", "").isalpha()
        assert decision.value == decision.value.lower()


# How long: section 4.2.1 and 4.2.2.


@pytest.mark.parametrize(
    ("response", "expected", "source"),
    [
        pytest.param(
            fields(cache_control=b"max-age=5, s-maxage=7", expires=date(9)),
            7,
            LifetimeSource.S_MAXAGE,
            id="4.2.1 s-maxage first",
        ),
        pytest.param(
            fields(cache_control=b"max-age=5", expires=date(9)),
            5,
            LifetimeSource.MAX_AGE,
            id="4.2.1 max-age before Expires",
        ),
        pytest.param(
            fields(cache_control=b"max-age=x", expires=date(9)),
            0,
            LifetimeSource.MAX_AGE,
            id="4.2.1 invalid max-age is stale",
        ),
        pytest.param(
            fields(cache_control=b"s-maxage=x, max-age=9"),
            0,
            LifetimeSource.S_MAXAGE,
            id="4.2.1 invalid s-maxage is stale",
        ),
        pytest.param(
            fields(expires=date(100), date=date(40)),
            60,
            LifetimeSource.EXPIRES,
            id="4.2.1 Expires less the origin's Date",
        ),
        pytest.param(
            fields(expires=date(100), date=date(-40)),
            140,
            LifetimeSource.EXPIRES,
            id="4.2.1 an origin that is behind",
        ),
        pytest.param(
            fields(expires=date(100)), 100, LifetimeSource.EXPIRES, id="9110 6.6.1 no Date"
        ),
        pytest.param(
            fields(expires=date(100), date=b"yesterday"),
            100,
            LifetimeSource.EXPIRES,
            id="9110 6.6.1 invalid Date",
        ),
        pytest.param(
            fields(expires=date(-100), date=date(0)), 0, LifetimeSource.EXPIRES, id="5.3 past"
        ),
        pytest.param(
            fields(expires=b"0", last_modified=date(-DAY)),
            0,
            LifetimeSource.EXPIRES,
            id="5.3 zero is past, not a reason to guess",
        ),
        pytest.param(
            fields(expires=date(100) + b", " + date(100)),
            0,
            LifetimeSource.EXPIRES,
            id="4.2.1 several Expires",
        ),
        pytest.param(
            fields(cdn_cache_control=b"max-age=3", cache_control=b"s-maxage=5", expires=date(9)),
            3,
            LifetimeSource.CDN_CACHE_CONTROL,
            id="9213 2.2 targeted",
        ),
        pytest.param(
            fields(cdn_cache_control=b"max-age=3, s-maxage=4"),
            4,
            LifetimeSource.CDN_CACHE_CONTROL,
            id="9213 2.2 targeted s-maxage",
        ),
        pytest.param(
            fields(cdn_cache_control=b"public", cache_control=b"max-age=5", expires=date(9)),
            0,
            LifetimeSource.NONE,
            id="9213 2.2 targeted without lifetime",
        ),
        pytest.param(
            fields(cdn_cache_control=b"max-age=3,", cache_control=b"max-age=5"),
            5,
            LifetimeSource.MAX_AGE,
            id="9213 2.1 invalid targeted",
        ),
        pytest.param(
            fields(date=date(0), last_modified=date(-1000)),
            100,
            LifetimeSource.HEURISTIC,
            id="4.2.2 a tenth",
        ),
        pytest.param(
            fields(last_modified=date(-1000)), 100, LifetimeSource.HEURISTIC, id="4.2.2 no Date"
        ),
        pytest.param(
            fields(date=date(0), last_modified=date(-100 * DAY)),
            DAY,
            LifetimeSource.HEURISTIC,
            id="4.2.2 a day at most",
        ),
        pytest.param(
            fields(date=date(0), last_modified=date(100)),
            0,
            LifetimeSource.NONE,
            id="4.2.2 changed in the future",
        ),
        pytest.param(
            fields(date=date(0), last_modified=b"x"), 0, LifetimeSource.NONE, id="4.2.2 no date"
        ),
        pytest.param(
            fields(cache_control=b"max-age=0", last_modified=date(-1000)),
            0,
            LifetimeSource.MAX_AGE,
            id="4.2.2 not with explicit lifetime",
        ),
        pytest.param({}, 0, LifetimeSource.NONE, id="nothing said"),
    ],
)
def test_lifetime(response: dict[bytes, bytes], expected: float, source: LifetimeSource) -> None:
    found = freshness_lifetime(200, response, response_control(response), now=NOW)
    assert found == (expected, source)


def test_lifetime_is_guessed_for_some_statuses_only() -> None:
    """Section 4.2.2: those of RFC 9110 section 15.1, and what is marked public."""
    response = fields(last_modified=date(-1000))
    for status in range(200, 600):
        found = freshness_lifetime(status, response, response_control(response), now=NOW)
        assert found[0] == (100 if status in HEURISTIC_STATUSES else 0), status
    assert len(HEURISTIC_STATUSES) == 11
    public = response | fields(cache_control=b"public")
    assert freshness_lifetime(302, public, response_control(public), now=NOW)[0] == 100
    none = freshness_lifetime(200, public, response_control(public), now=NOW, heuristics=False)
    assert none == (0, LifetimeSource.NONE)


# How old: section 4.2.3 and 5.1.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(None, 0, id="none"),
        pytest.param(b"0", 0, id="zero"),
        pytest.param(b"7200", 7200, id="number"),
        pytest.param(b"007", 7, id="leading zeros"),
        pytest.param(b"10, 20", 10, id="5.1 first of several"),
        pytest.param(b"10,20", 10, id="5.1 first of several, no space"),
        pytest.param(b", 10", 10, id="9110 5.6.1 empty member"),
        pytest.param(b"x, 10", 0, id="5.1 first is invalid"),
        pytest.param(b"-10", 0, id="5.1 negative"),
        pytest.param(b"+10", 0, id="5.1 plus"),
        pytest.param(b"10.5", 0, id="5.1 fraction"),
        pytest.param(b'"10"', 0, id="5.1 quoted"),
        pytest.param(b"10;a=1", 0, id="5.1 parameter"),
        pytest.param(b"10 20", 0, id="5.1 two words"),
        pytest.param(b"", 0, id="5.1 empty"),
        pytest.param(b"2147483649", MAX_DELTA_SECONDS, id="1.2.2 cap"),
        pytest.param(b"9" * 5000, MAX_DELTA_SECONDS, id="1.2.2 cap of what int() refuses"),
    ],
)
def test_age_field(value: bytes | None, seconds: int) -> None:
    assert parse_age(value) == seconds


@given(st.binary(max_size=40))
def test_any_age_is_read(value: bytes) -> None:
    assert 0 <= parse_age(value) <= MAX_DELTA_SECONDS


@pytest.mark.parametrize(
    ("age_field", "date_offset", "sent", "came", "expected"),
    [
        pytest.param(None, None, 0, 0, 0, id="nothing known"),
        pytest.param(None, -30, 0, 0, 30, id="apparent age"),
        pytest.param(None, 30, 0, 0, 0, id="an origin that is ahead"),
        pytest.param(b"50", None, 0, 0, 50, id="Age"),
        pytest.param(b"50", -30, 0, 0, 50, id="Age above apparent"),
        pytest.param(b"20", -30, 0, 0, 30, id="apparent above Age"),
        pytest.param(b"50", -30, -4, 0, 54, id="delay of the response"),
        pytest.param(None, -4, -4, 0, 4, id="delay of a response made when asked for"),
        pytest.param(None, None, 5, 0, 0, id="clock set back meanwhile"),
        pytest.param(None, 0, 0.9, 0.9, 0, id="within the second of Date"),
    ],
)
def test_age(
    age_field: bytes | None,
    date_offset: int | None,
    sent: float,
    came: float,
    expected: float,
) -> None:
    known = {
        "age_field": age_field,
        "date_value": None if date_offset is None else int(NOW) + date_offset,
        "request_time": NOW + sent,
        "response_time": NOW + came,
    }
    assert age_at_receipt(**known) == pytest.approx(expected)
    assert current_age(**known, now=NOW + came + 100) == pytest.approx(expected + 100)


# Reuse: sections 4, 4.2.4 and 5.2.


def stored(control: bytes, **more: bytes) -> StoredFacts:
    """Return the facts of a response that came, newborn, at NOW."""
    response = fields(cache_control=control, **more)
    return facts_of(
        status=200,
        fields=response,
        control=response_control(response),
        request_time=NOW,
        response_time=NOW,
    )


def test_facts() -> None:
    assert stored(b"max-age=60, stale-while-revalidate=5", age=b"10", date=date(-3)) == StoredFacts(
        born_at=NOW - 10,
        lifetime_seconds=60,
        lifetime_source=LifetimeSource.MAX_AGE,
        must_revalidate=False,
        no_cache=False,
        immutable=False,
        stale_while_revalidate_seconds=5,
        stale_if_error_seconds=None,
    )
    facts = stored(b"no-cache, immutable, stale-if-error=0")
    assert facts.no_cache
    assert facts.immutable
    assert facts.stale_if_error_seconds == 0
    # The named fields are cut from the stored copy instead.
    assert not stored(b'no-cache="x", max-age=5').no_cache


@pytest.mark.parametrize(
    ("control", "age", "request_control", "action", "reason"),
    [
        # Section 4.2: fresh while the lifetime is greater than the age.
        pytest.param(b"max-age=10", 0, b"", "fresh", "fresh", id="4.2 new"),
        pytest.param(b"max-age=10", 9.9, b"", "fresh", "fresh", id="4.2 still fresh"),
        pytest.param(b"max-age=10", 10, b"", "revalidate", "stale", id="4.2 just stale"),
        pytest.param(b"max-age=0", 0, b"", "revalidate", "stale", id="4.2 never fresh"),
        pytest.param(b"max-age=10", 5, b"foo", "fresh", "fresh", id="5.2.3 unknown wish"),
        # Section 5.2.2.4.
        pytest.param(b"no-cache, max-age=10", 0, b"", "revalidate", "no-cache", id="5.2.2.4"),
        pytest.param(
            b"no-cache, max-age=10", 0, b"max-stale", "revalidate", "no-cache", id="5.2.2.4 any"
        ),
        pytest.param(
            b"no-cache, max-age=1, stale-while-revalidate=9",
            2,
            b"",
            "revalidate",
            "no-cache",
            id="5.2.2.4 no window",
        ),
        # Section 5.2.1.1.
        pytest.param(
            b"max-age=10", 5, b"max-age=4", "revalidate", "request-max-age", id="5.2.1.1 older"
        ),
        pytest.param(b"max-age=10", 5, b"max-age=5", "fresh", "fresh", id="5.2.1.1 as old"),
        pytest.param(
            b"max-age=10", 0, b"max-age=0", "revalidate", "request-max-age", id="5.2.1.1 reload"
        ),
        pytest.param(
            b"max-age=10", 1, b"max-age=x", "revalidate", "request-max-age", id="5.2.1.1 invalid"
        ),
        pytest.param(
            b"max-age=10, stale-while-revalidate=9",
            12,
            b"max-age=60",
            "revalidate",
            "stale",
            id="5.2.1.1 nothing stale",
        ),
        pytest.param(
            b"max-age=10", 12, b"max-age=60, max-stale=5", "stale", "request-max-stale",
            id="5.2.1.1 unless said",
        ),
        # Section 5.2.1.2.
        pytest.param(
            b"max-age=10", 15, b"max-stale=5", "stale", "request-max-stale", id="5.2.1.2 within"
        ),
        pytest.param(
            b"max-age=10", 15.1, b"max-stale=5", "revalidate", "stale", id="5.2.1.2 beyond"
        ),
        pytest.param(
            b"max-age=10", 9999, b"max-stale", "stale", "request-max-stale", id="5.2.1.2 any"
        ),
        pytest.param(b"max-age=10", 5, b"max-stale=5", "fresh", "fresh", id="5.2.1.2 fresh"),
        # Section 5.2.1.3.
        pytest.param(b"max-age=10", 5, b"min-fresh=5", "fresh", "fresh", id="5.2.1.3 enough"),
        pytest.param(
            b"max-age=10", 5, b"min-fresh=6", "revalidate", "request-min-fresh", id="5.2.1.3 less"
        ),
        # Section 5.2.1.4.
        pytest.param(
            b"max-age=10", 0, b"no-cache", "revalidate", "request-no-cache", id="5.2.1.4"
        ),
        pytest.param(
            b"max-age=10", 0, b"no-cache=x", "revalidate", "request-no-cache", id="5.2.1.4 limited"
        ),
        # Section 5.2.1.7.
        pytest.param(b"max-age=10", 5, b"only-if-cached", "fresh", "fresh", id="5.2.1.7 fresh"),
        pytest.param(
            b"max-age=10", 15, b"only-if-cached", "gateway-timeout", "stale", id="5.2.1.7 stale"
        ),
        pytest.param(
            b"max-age=10", 15, b"only-if-cached, max-stale", "stale", "request-max-stale",
            id="5.2.1.7 stale allowed",
        ),
        pytest.param(
            b"max-age=10", 5, b"only-if-cached, no-cache", "gateway-timeout", "request-no-cache",
            id="5.2.1.7 contradiction",
        ),
        # RFC 5861 section 3.
        pytest.param(
            b"max-age=10, stale-while-revalidate=5", 14.9, b"",
            "stale-while-revalidate", "stale-while-revalidate", id="5861 3 within",
        ),
        pytest.param(
            b"max-age=10, stale-while-revalidate=5", 15, b"", "revalidate", "stale",
            id="5861 3 beyond",
        ),
        pytest.param(
            b"max-age=10, stale-while-revalidate=5", 12, b"max-stale=9",
            "stale-while-revalidate", "stale-while-revalidate", id="5861 3 and max-stale",
        ),
        pytest.param(
            b"max-age=10, stale-while-revalidate=5", 12, b"min-fresh=1",
            "revalidate", "request-min-fresh", id="5861 3 and min-fresh",
        ),
        pytest.param(
            b"max-age=10, stale-while-revalidate=5", 12, b"only-if-cached",
            "stale-while-revalidate", "stale-while-revalidate", id="5861 3 and only-if-cached",
        ),
        # RFC 8246 section 2.1.
        pytest.param(
            b"max-age=10, immutable", 5, b"max-age=0", "fresh", "immutable", id="8246 2.1 reload"
        ),
        pytest.param(
            b"max-age=10, immutable", 5, b"max-age=4", "fresh", "immutable", id="8246 2.1 max-age"
        ),
        pytest.param(
            b"max-age=10, immutable", 5, b"no-cache", "revalidate", "request-no-cache",
            id="8246 2.1 forced reload",
        ),
        pytest.param(
            b"max-age=10, immutable", 15, b"max-age=0", "revalidate", "request-max-age",
            id="8246 2 only while fresh",
        ),
        pytest.param(
            b"max-age=10, immutable, no-cache", 5, b"max-age=0", "revalidate", "no-cache",
            id="8246 and no-cache",
        ),
    ],
)  # fmt: skip
def test_reuse(
    control: bytes, age: float, request_control: bytes, action: str, reason: str
) -> None:
    found = decide_reuse(parse_cache_control(request_control), stored(control), NOW + age)
    assert (found.action.value, found.reason.value) == (action, reason)


NEVER_STALE = [
    pytest.param(b"max-age=10, must-revalidate", id="5.2.2.2 must-revalidate"),
    pytest.param(b"max-age=10, proxy-revalidate", id="5.2.2.8 proxy-revalidate"),
    pytest.param(b"s-maxage=10", id="5.2.2.10 s-maxage"),
]


@pytest.mark.parametrize("control", NEVER_STALE)
@pytest.mark.parametrize("wish", [b"", b"max-stale", b"max-stale=99", b"max-age=99, max-stale"])
def test_never_stale(control: bytes, wish: bytes) -> None:
    """Section 4.2.4: no wish and no window allows what these forbid."""
    request = parse_cache_control(wish)
    facts = stored(control + b", stale-while-revalidate=99, stale-if-error=99")
    assert decide_reuse(request, facts, NOW + 9).action is ReuseAction.FRESH
    found = decide_reuse(request, facts, NOW + 10)
    assert found.action is ReuseAction.REVALIDATE
    assert found.reason is ReuseReason.MUST_REVALIDATE


@pytest.mark.parametrize(
    "wish", [b"no-cache", b"max-age=0", b"max-age=1", b"min-fresh=999", b"no-cache, max-age=0"]
)
def test_clients_have_no_say_on_shared_classes(wish: bytes) -> None:
    request = parse_cache_control(wish)
    facts = stored(b"max-age=10, stale-while-revalidate=5")
    assert decide_reuse(request, facts, NOW + 5).action is ReuseAction.REVALIDATE
    ignored = decide_reuse(request, facts, NOW + 5, ignore_client=True)
    assert ignored.action is ReuseAction.FRESH
    ignored = decide_reuse(request, facts, NOW + 12, ignore_client=True)
    assert ignored.action is ReuseAction.STALE_WHILE_REVALIDATE


def test_what_clients_say_on_shared_classes_nevertheless() -> None:
    """Only-if-cached costs the origin nothing; max-stale would serve what the policy does not."""
    facts = stored(b"max-age=10")
    only = parse_cache_control(b"only-if-cached, no-cache")
    assert decide_reuse(only, facts, NOW + 5, ignore_client=True).action is ReuseAction.FRESH
    found = decide_reuse(only, facts, NOW + 15, ignore_client=True)
    assert found.action is ReuseAction.GATEWAY_TIMEOUT
    any_stale = parse_cache_control(b"max-stale")
    found = decide_reuse(any_stale, facts, NOW + 15, ignore_client=True)
    assert found.action is ReuseAction.REVALIDATE


# Stale on error: RFC 5861 section 4, RFC 9111 section 4.2.4.


@pytest.mark.parametrize(
    ("control", "age", "request_control", "default", "expected"),
    [
        pytest.param(b"max-age=10, stale-if-error=5", 14.9, b"", 0, True, id="5861 4 within"),
        pytest.param(b"max-age=10, stale-if-error=5", 15, b"", 0, False, id="5861 4 beyond"),
        pytest.param(b"max-age=10", 14, b"", 0, False, id="no window"),
        pytest.param(b"max-age=10", 14, b"", 5, True, id="window of the policy"),
        pytest.param(b"max-age=10", 15, b"", 5, False, id="beyond that of the policy"),
        pytest.param(
            b"max-age=10, stale-if-error=0",
            14,
            b"",
            5,
            False,
            id="the origin's before the policy's",
        ),
        pytest.param(b"max-age=10", 14, b"stale-if-error=5", 0, True, id="5861 4 request"),
        pytest.param(b"max-age=10", 15, b"stale-if-error=5", 0, False, id="5861 4 request beyond"),
        pytest.param(
            b"max-age=10, stale-if-error=5", 14, b"stale-if-error=1", 0, True, id="5861 4 greater"
        ),
        pytest.param(b"max-age=10", 5, b"max-age=0", 0, True, id="4.2.4 reload of the fresh"),
        pytest.param(b"s-maxage=10", 5, b"max-age=0", 0, True, id="5.2.2.10 fresh"),
        pytest.param(b"max-age=10", 5, b"no-cache", 99, False, id="5.2.1.4 client's no-cache"),
        pytest.param(b"max-age=10", 5, b"no-cache=x", 99, False, id="5.2.1.4 limited"),
        pytest.param(b"no-cache, max-age=10", 5, b"", 99, False, id="5.2.2.4 no-cache"),
    ],
)
def test_stale_on_error(
    control: bytes, age: float, request_control: bytes, default: float, expected: bool
) -> None:
    request = parse_cache_control(request_control)
    found = may_serve_stale_on_error(stored(control), request, NOW + age, default_seconds=default)
    assert found is expected


@pytest.mark.parametrize("control", NEVER_STALE)
def test_never_stale_on_error(control: bytes) -> None:
    """Sections 5.2.2.2, 5.2.2.8 and 5.2.2.10: the caller answers 504."""
    facts = stored(control + b", stale-if-error=99")
    request = parse_cache_control(b"stale-if-error=99, max-stale")
    assert not may_serve_stale_on_error(facts, request, NOW + 10, default_seconds=99)
    assert may_serve_stale_on_error(facts, request, NOW + 9, default_seconds=0)


# Properties.

SECONDS = st.one_of(st.none(), st.integers(0, 40))
REQUESTS = st.builds(
    Directives,
    no_cache=st.booleans(),
    only_if_cached=st.booleans(),
    max_age=SECONDS,
    min_fresh=SECONDS,
    max_stale=st.one_of(SECONDS, st.just(-1)),
    stale_if_error=SECONDS,
)
FACTS = st.builds(
    StoredFacts,
    born_at=st.floats(NOW - 40, NOW),
    lifetime_seconds=st.floats(0, 40),
    lifetime_source=st.just(LifetimeSource.MAX_AGE),
    must_revalidate=st.booleans(),
    no_cache=st.booleans(),
    immutable=st.booleans(),
    stale_while_revalidate_seconds=st.floats(0, 40),
    stale_if_error_seconds=st.one_of(st.none(), st.floats(0, 40)),
)
SERVED = {ReuseAction.FRESH, ReuseAction.STALE, ReuseAction.STALE_WHILE_REVALIDATE}


@given(REQUESTS, FACTS, st.booleans())
def test_what_is_served_is_allowed(
    request: Directives, facts: StoredFacts, ignore_client: bool
) -> None:
    found = decide_reuse(request, facts, NOW, ignore_client=ignore_client)
    age = NOW - facts.born_at
    is_fresh = age < facts.lifetime_seconds
    assert (found.action is ReuseAction.GATEWAY_TIMEOUT) <= request.only_if_cached
    if found.action not in SERVED:
        assert (found.action is ReuseAction.REVALIDATE) is not request.only_if_cached
        return
    assert not facts.no_cache
    assert is_fresh is (found.action is ReuseAction.FRESH)
    assert is_fresh or not facts.must_revalidate
    if not ignore_client:
        assert not request.no_cache
        assert request.min_fresh is None or facts.lifetime_seconds - age >= request.min_fresh
        if request.max_age is not None and age > request.max_age:
            assert facts.immutable
            assert is_fresh
    if found.action is ReuseAction.STALE:
        assert not ignore_client
        assert request.max_stale is not None


@given(REQUESTS, FACTS, st.floats(0, 40), st.floats(0, 100))
def test_what_was_not_served_is_not_served_later(
    request: Directives, facts: StoredFacts, default: float, later: float
) -> None:
    """With age alone growing, no response becomes usable again."""
    if decide_reuse(request, facts, NOW).action not in SERVED:
        assert decide_reuse(request, facts, NOW + later).action not in SERVED
    if not may_serve_stale_on_error(facts, request, NOW, default_seconds=default):
        assert not may_serve_stale_on_error(facts, request, NOW + later, default_seconds=default)


@given(FACTS, st.floats(0, 40))
def test_the_shortcut_for_requests_without_directives_decides_alike(
    facts: StoredFacts, later: float
) -> None:
    same = replace(NO_DIRECTIVES)
    assert same is not NO_DIRECTIVES
    now = NOW + later
    assert decide_reuse(NO_DIRECTIVES, facts, now) == decide_reuse(same, facts, now)


VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"max-age=5", b"public", b"no-store", b"0", b"5", b"*", date(5), date(-5), date(9 * DAY)]
    ),
)
NAMES = st.sampled_from(
    [b"cache-control", b"cdn-cache-control", b"expires", b"date", b"age", b"vary", b"last-modified"]
)


@given(st.dictionaries(NAMES, VALUES), st.integers(100, 999))
def test_any_response_is_judged(response: dict[bytes, bytes], status: int) -> None:
    storable(response, status=status)
    facts = facts_of(
        status=status,
        fields=response,
        control=response_control(response),
        request_time=NOW - 1,
        response_time=NOW,
    )
    assert facts.born_at <= NOW - 1
    assert facts.lifetime_seconds >= 0
    assert (facts.lifetime_source is LifetimeSource.NONE) <= (facts.lifetime_seconds == 0)


@pytest.mark.parametrize(
    ("method", "request_control", "options", "result"),
    [
        pytest.param(b"GET", b"", {}, True, id="usual"),
        pytest.param(b"GET", b"no-cache", {}, True, id="5.2.1.4-no-cache"),
        pytest.param(b"GET", b"no-store", {}, False, id="5.2.1.5-no-store"),
        pytest.param(b"GET", b"", {"is_known_private": True}, False, id="known-private"),
        pytest.param(b"GET", b"", {"has_origin_condition": True}, False, id="4.3.2-if-match"),
        pytest.param(b"HEAD", b"", {}, False, id="3-head-has-no-content"),
        pytest.param(b"HEAD", b"", {"is_made_anew": True}, True, id="head-by-a-get"),
    ],
)
def test_fetched_for_all(
    method: bytes, request_control: bytes, options: dict[str, bool], result: bool
) -> None:
    given_options = {
        "is_known_private": False,
        "has_origin_condition": False,
        "is_made_anew": False,
    }
    request = parse_cache_control(request_control)
    assert is_fetched_for_all(method, request, **(given_options | options)) is result
