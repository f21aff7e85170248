"""CORS decisions (Fetch standard, section 3.3), without sockets."""

from __future__ import annotations

import pytest

from poruwa.config.model_route import Cors
from poruwa.rules.cors import CorsPolicy, PreflightRefusal, is_preflight

SITE = "https://weddinglk.test"
OTHER = b"https://other.test"
SECTION = Cors(
    origins=(SITE, "http://localhost:8080"),
    methods=("GET", "PUT"),
    headers=("Content-Type", "X-Trace"),
    expose=("X-Total",),
    credentials=True,
    max_age_seconds=300.0,
)


def preflight_fields(origin: str = SITE, method: str = "PUT", headers: str | None = None):
    fields = {b"origin": origin.encode(), b"access-control-request-method": method.encode()}
    if headers is not None:
        fields[b"access-control-request-headers"] = headers.encode()
    return fields


def names_in(lines: bytes) -> list[bytes]:
    assert not lines or lines.endswith(b"\r\n")
    return [line.partition(b":")[0].lower() for line in lines.split(b"\r\n") if line]


def test_allowed_origin_may_read_and_is_named_exactly() -> None:
    lines = CorsPolicy(SECTION).response_lines(SITE.encode())
    assert b"Access-Control-Allow-Origin: https://weddinglk.test\r\n" in lines
    assert b"Access-Control-Allow-Credentials: true\r\n" in lines
    assert b"Access-Control-Expose-Headers: X-Total\r\n" in lines
    assert b"Vary: Origin\r\n" in lines


@pytest.mark.parametrize(
    "origin",
    [
        None,
        OTHER,
        b"null",
        b"*",
        b"",
        b"http://weddinglk.test",  # another scheme
        b"https://weddinglk.test:8443",  # another port
        b"https://weddinglk.test.evil.example",
        b"https://evil.example/https://weddinglk.test",
        b"https://weddinglk.test, https://weddinglk.test",  # the field twice
    ],
)
def test_other_origins_get_vary_alone(origin: bytes | None) -> None:
    assert CorsPolicy(SECTION).response_lines(origin) == b"Vary: Origin\r\n"


def test_every_origin_is_one_answer_without_vary() -> None:
    policy = CorsPolicy(Cors(origins=("*",)))
    assert policy.response_lines(None) == b"Access-Control-Allow-Origin: *\r\n"
    assert policy.response_lines(OTHER) == policy.response_lines(None)


def test_every_origin_never_goes_with_credentials() -> None:
    """The policy check refuses the pair; were it to slip through, it must still do no harm."""
    policy = CorsPolicy(Cors(origins=("*",), credentials=True))
    assert b"credentials" not in policy.response_lines(OTHER).lower()
    refusal, lines = policy.preflight(preflight_fields(method="GET"))
    assert refusal is None
    assert b"credentials" not in lines.lower()


def test_origin_of_the_policy_is_taken_as_browsers_write_it() -> None:
    policy = CorsPolicy(Cors(origins=("https://WeddingLK.test",)))
    assert b"Allow-Origin: https://weddinglk.test\r\n" in policy.response_lines(SITE.encode())


def test_preflight_is_told_what_it_may_use() -> None:
    refusal, lines = CorsPolicy(SECTION).preflight(preflight_fields(headers="content-type,x-trace"))
    assert refusal is None
    assert names_in(lines) == [
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"access-control-allow-credentials",
        b"access-control-allow-methods",
        b"access-control-allow-headers",
        b"access-control-max-age",
        b"vary",
        b"vary",
    ]
    assert b"Access-Control-Allow-Methods: GET, PUT\r\n" in lines
    assert b"Access-Control-Allow-Headers: Content-Type, X-Trace\r\n" in lines
    assert b"Access-Control-Max-Age: 300\r\n" in lines
    assert b"Vary: Origin\r\n" in lines
    assert b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n" in lines


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (preflight_fields(origin="https://other.test"), PreflightRefusal.ORIGIN),
        (preflight_fields(origin="null"), PreflightRefusal.ORIGIN),
        (preflight_fields(method="DELETE"), PreflightRefusal.METHOD),
        (preflight_fields(method="put"), PreflightRefusal.METHOD),  # methods are case-sensitive
        (preflight_fields(headers="x-other"), PreflightRefusal.HEADER),
        (preflight_fields(headers="x-trace, authorization"), PreflightRefusal.HEADER),
        (preflight_fields(headers="x-trace," * 1000), PreflightRefusal.HEADER),
    ],
)
def test_refused_preflight_has_no_allow_field(
    fields: dict[bytes, bytes], refusal: PreflightRefusal
) -> None:
    reason, lines = CorsPolicy(SECTION).preflight(fields)
    assert reason is refusal
    assert set(names_in(lines)) == {b"vary"}


@pytest.mark.parametrize("headers", [None, "", " X-TRACE ,\tcontent-type", "x-trace,,x-trace"])
def test_requested_headers_are_compared_as_names(headers: str | None) -> None:
    assert CorsPolicy(SECTION).preflight(preflight_fields(headers=headers))[0] is None


def test_preflight_for_every_origin_does_not_vary_by_origin() -> None:
    refusal, lines = CorsPolicy(Cors(origins=("*",))).preflight(preflight_fields(method="GET"))
    assert refusal is None
    assert b"Access-Control-Allow-Origin: *\r\n" in lines
    assert b"Vary: Origin" not in lines


def test_what_is_a_preflight() -> None:
    fields = preflight_fields()
    assert is_preflight(b"OPTIONS", fields)
    assert not is_preflight(b"GET", fields)
    assert not is_preflight(b"OPTIONS", {b"origin": OTHER})
    assert not is_preflight(b"OPTIONS", {b"access-control-request-method": b"PUT"})
