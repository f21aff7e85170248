"""Security checks 43 to 45: what every response says to browsers, whoever made it (D5)."""

from __future__ import annotations

import re

import httpx
import pytest

from fakes.every_response import PAGES, every_response
from fakes.tls_stack import TlsStack
from poruwa.cli.audit import Reach, describe, visit
from poruwa.rules.audit import Audit, audit
from poruwa.rules.audit_observed import Observed, scripts_of
from poruwa.rules.csp import block_hash, parse_csp

YEAR = 31_536_000
STRICT_REFERRERS = ("strict-origin-when-cross-origin", "no-referrer", "same-origin")
CSP = "content-security-policy"
# Inline blocks that browsers run: data and external scripts are none.
_INLINE = re.compile(
    r"<(script|style)(?![^>]*(?:\bsrc=|application/ld\+json|application/json))[^>]*>(.*?)</\1>",
    re.DOTALL | re.IGNORECASE,
)


@pytest.mark.check(43)
def test_43_hsts_of_a_year_on_every_response(stack: TlsStack) -> None:
    """ASVS 3.4.1: pages, hits, 304, errors of site and gateway, files, preflights."""
    statuses = set()
    for kind in every_response(stack):
        values = kind.response.headers.get_list("strict-transport-security")
        assert len(values) == 1, (kind.name, values)
        age = re.match(r"max-age=(\d+)", values[0])
        assert age is not None
        assert int(age[1]) >= YEAR
        assert "includeSubDomains" in values[0], kind.name
        statuses.add(kind.response.status_code)
    assert {200, 204, 206, 304, 400, 401, 403, 404, 405, 414, 431, 500} <= statuses


@pytest.mark.check(43)
def test_43_no_hsts_without_tls_though_the_page_was_kept_with_it(stack: TlsStack) -> None:
    """RFC 6797 section 7.2; the two listeners share no page either way."""
    with httpx.Client(headers={"Host": "weddinglk.test"}, timeout=20) as client:
        for path in ("/", "/venues/1", "/not-there", "/venues/..%2fx", "/robots.txt"):
            for _ in range(3):
                secure = stack.get(path)
                plain = client.get(f"http://127.0.0.1:{stack.plain_port}{path}")
                assert "strict-transport-security" in secure.headers
                assert "strict-transport-security" not in plain.headers, path


@pytest.mark.check(44)
def test_44_the_other_fields_on_every_response(stack: TlsStack) -> None:
    for kind in every_response(stack):
        fields = kind.response.headers
        assert fields.get_list("x-content-type-options") == ["nosniff"], kind.name
        assert fields.get_list("x-frame-options") == ["DENY"], kind.name
        assert fields.get_list("x-xss-protection") == ["0"], kind.name
        assert fields["referrer-policy"] in STRICT_REFERRERS, kind.name
        assert fields["cross-origin-opener-policy"] == "same-origin", kind.name
        assert "camera=()" in fields["permissions-policy"], kind.name
        assert "cross-origin-resource-policy" in fields, kind.name
        closed = [_closes(each) for each in fields.get_list(CSP)]
        assert any(closed), (kind.name, fields.get_list(CSP))


def _closes(policy: str) -> bool:
    directives = parse_csp(policy)
    objects = directives.get("object-src", directives.get("default-src"))
    return (
        objects == ("'none'",)
        and directives.get("base-uri") == ("'none'",)
        and directives.get("frame-ancestors") == ("'none'",)
    )


@pytest.mark.check(44)
def test_44_no_response_tells_what_runs_here(stack: TlsStack) -> None:
    for kind in every_response(stack):
        fields = kind.response.headers
        assert "server" not in fields, kind.name
        assert "x-powered-by" not in fields, kind.name
        assert not any(name.startswith("poruwa-tag") for name in fields), kind.name
        assert "127.0.0.1" not in str(fields), kind.name
        assert "Traceback" not in kind.response.text, kind.name


def score(stack: TlsStack, path: str) -> Audit:
    """Return what the audit says of a page."""
    ca = stack.folder / "ca.pem"
    ca.write_text(stack.authority.pem)
    place = f"127.0.0.1:{stack.port}"
    return audit(visit(stack.origin + path, Reach(ca=ca, secure=place, plain="none")))


@pytest.mark.check(45)
@pytest.mark.parametrize(
    "path",
    ["/", "/si/venues", "/ta/venues/1", "/search?q=beach", "/about", "/sign-in", "/shortlist"],
)
def test_45_the_audit_gives_the_site_160_and_finds_nothing(stack: TlsStack, path: str) -> None:
    """Show 5: by the MDN Observatory's rules, and by what the policy promises besides.

    Five of the points are for cookies. A page that shared caches keep has none (check 46); the
    answer to the Observatory's preflight, which nobody keeps, has the affinity cookie.
    """
    found = score(stack, path)
    assert found.score >= 160, describe(found)
    assert found.findings == (), describe(found)


@pytest.mark.check(52)
@pytest.mark.parametrize("path", PAGES)
def test_52_a_page_names_the_hashes_of_its_own_inline_blocks(stack: TlsStack, path: str) -> None:
    """From the cache as from the app, and neither a nonce nor 'unsafe-inline'."""
    for _ in range(2):
        answer = stack.get(path)
        (policy,) = answer.headers.get_list(CSP)
        assert "nonce-" not in policy
        assert "unsafe" not in policy
        directives = parse_csp(policy)
        for name, text in _INLINE.findall(answer.text):
            allowed = directives.get(f"{name.lower()}-src", directives["default-src"])
            assert block_hash(text) in allowed, text
        assert not scripts_of(_observed(answer)).handlers
        assert not re.search(r"<[^>]+ style=", answer.text)
    assert "require-trusted-types-for" in directives


def _observed(answer: httpx.Response) -> Observed:
    return Observed(
        url=str(answer.url), status=answer.status_code, body=answer.text,
        fields=tuple(answer.headers.items()),
    )  # fmt: skip
