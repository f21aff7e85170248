"""The fields that every response carries, and whose value stands (SECURITY-CHECKS 43, 44)."""

from __future__ import annotations

import pytest

from poruwa.config.model_security import Headers, Hsts
from poruwa.rules.security_headers import SecurityFields, combine, is_hsts_host

FIELDS = SecurityFields(Headers(), domain="weddinglk.test", report_path="/_poruwa/reports")


def test_every_response_carries_what_the_seed_asks_for() -> None:
    """D7: HSTS a year with subdomains, nosniff, DENY, Referrer-Policy, CSP; the filter off."""
    lines = FIELDS.lines(is_secure=True).split(b"\r\n")
    assert b"Strict-Transport-Security: max-age=31536000; includeSubDomains" in lines
    assert b"X-Content-Type-Options: nosniff" in lines
    assert b"X-Frame-Options: DENY" in lines
    assert b"Referrer-Policy: strict-origin-when-cross-origin" in lines
    assert b"X-Xss-Protection: 0" in lines
    assert b"Cross-Origin-Opener-Policy: same-origin" in lines
    assert b'Reporting-Endpoints: default="/_poruwa/reports"' in lines
    csp = next(line for line in lines if line.startswith(b"Content-Security-Policy: "))
    assert b"frame-ancestors 'none'" in csp
    assert b"report-to default" in csp


def test_hsts_is_said_over_tls_only() -> None:
    assert b"Strict-Transport-Security" not in FIELDS.lines(is_secure=False)
    own = {b"strict-transport-security": b"max-age=9"}
    assert b"Strict-Transport-Security" not in FIELDS.lines_beside(own, is_secure=False)


@pytest.mark.parametrize(
    ("domain", "is_said"),
    [
        ("weddinglk.com", True),
        ("weddinglk.test:8443", True),
        ("localhost", False),
        ("a.localhost", False),
        ("127.0.0.1", False),
        ("127.0.0.1:8443", False),
        ("intranet", False),
    ],
)
def test_hsts_is_never_said_for_this_machine_or_an_address(domain: str, is_said: bool) -> None:
    assert is_hsts_host(domain) is is_said
    lines = SecurityFields(Headers(), domain=domain).lines(is_secure=True)
    assert (b"Strict-Transport-Security" in lines) is is_said


@pytest.mark.parametrize(
    ("name", "own", "policy", "stands"),
    [
        (b"x-frame-options", "SAMEORIGIN", "DENY", ("DENY",)),
        (b"x-frame-options", "DENY", "SAMEORIGIN", ("DENY",)),
        (b"x-frame-options", "ALLOW-FROM https://evil.example", "DENY", ("DENY",)),
        (b"referrer-policy", "no-referrer", "same-origin", ("no-referrer",)),
        (b"referrer-policy", "unsafe-url", "same-origin", ("same-origin",)),
        (b"referrer-policy", "no-referrer, unsafe-url", "same-origin", ("same-origin",)),
        (b"x-content-type-options", "sniff", "nosniff", ("nosniff",)),
        (b"x-xss-protection", "1; mode=block", "0", ("0",)),
        (b"cross-origin-opener-policy", "unsafe-none", "same-origin", ("same-origin",)),
        (b"strict-transport-security", "max-age=0", "max-age=9", ("max-age=9",)),
        (b"strict-transport-security", "max-age=99; includeSubDomains", "max-age=9",
         ("max-age=99; includeSubDomains",)),
        (b"strict-transport-security", "max-age=99", "max-age=9; includeSubDomains",
         ("max-age=9; includeSubDomains",)),
        (b"permissions-policy", "camera=(self), usb=()", "camera=(), geolocation=(self)",
         ("camera=(), geolocation=(self), usb=()",)),
        (b"permissions-policy", "geolocation=()", "geolocation=(self)", ("geolocation=()",)),
        (b"content-security-policy", "default-src 'none'", "default-src 'self'",
         ("default-src 'none'",)),
        (b"content-security-policy", "img-src *", "default-src 'self'",
         ("img-src *", "default-src 'self'")),
        (b"content-security-policy", "n_t a policy", "default-src 'self'", ("default-src 'self'",)),
    ],
)  # fmt: skip
def test_the_stricter_value_stands(
    name: bytes, own: str, policy: str, stands: tuple[str, ...]
) -> None:
    assert combine(name, own, policy) == stands


def test_a_pages_own_hashes_stand_alone_where_they_open_nothing_else() -> None:
    page = (
        b"default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
        b"script-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    )
    lines = FIELDS.lines_beside({b"content-security-policy": page}, is_secure=True)
    assert lines.count(b"Content-Security-Policy: ") == 1
    assert page in lines
    assert b"X-Frame-Options: DENY" in lines


def test_what_the_policy_leaves_out_is_the_applications_business() -> None:
    fields = SecurityFields(Headers(hsts=Hsts(), frame_options=None), domain="a.lk")
    assert b"x-frame-options" not in fields.names
    own = {b"x-frame-options": b"SAMEORIGIN"}
    assert b"X-Frame-Options" not in fields.lines_beside(own, is_secure=True)
