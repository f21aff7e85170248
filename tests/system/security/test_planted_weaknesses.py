"""Show 5: ``poruwa audit`` finds each weakness that was planted in a live site (D5)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.authority import Authority
from fakes.weak_site import Answer, Asked, Weakness, weak_site
from poruwa.cli.audit import Reach, visit
from poruwa.rules.audit import Audit, audit

CSP = "Content-Security-Policy"
SAFE_SCORE = 160


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("weak"))


def audited(
    authority: Authority, weakness: Weakness | None = None, *, redirects: bool = True
) -> Audit:
    """Run a site with a weakness, and audit it as the command does."""
    planted = {} if weakness is None else {"weakness": weakness}
    ca = authority.certificate_path.with_name("ca.pem")
    ca.write_text(authority.pem)
    with weak_site(authority=authority, redirects=redirects, **planted) as site:
        return audit(visit(site.url, Reach(ca=ca, secure=site.secure, plain=site.plain)))


def outcome(found: Audit, test: str) -> tuple[str, int]:
    (result,) = [each for each in found.results if each.test == test]
    return result.outcome, result.modifier


def test_without_a_weakness_nothing_is_found(authority: Authority) -> None:
    """Else the others would prove nothing."""
    found = audited(authority)
    assert found.score >= SAFE_SCORE
    assert found.findings == ()
    assert all(each.modifier >= 0 for each in found.results)


def _changed(name: str, value: str | None) -> Weakness:
    return lambda asked, answer: answer.set(name, value)


def _csp(old: str, new: str) -> Weakness:
    def weaken(asked: Asked, answer: Answer) -> None:
        policy = dict(answer.fields)[CSP]
        assert old in policy
        answer.set(CSP, policy.replace(old, new))

    return weaken


def _cookie(line: str) -> Weakness:
    def weaken(asked: Asked, answer: Answer) -> None:
        if asked.path == "/":
            answer.set("Set-Cookie", line)

    return weaken


def _any_origin(asked: Asked, answer: Answer) -> None:
    if "Origin" in asked.fields:
        answer.set("Access-Control-Allow-Origin", asked.fields["Origin"])
        answer.set("Access-Control-Allow-Credentials", "true")


def _body(text: str) -> Weakness:
    def weaken(asked: Asked, answer: Answer) -> None:
        answer.body += text

    return weaken


def _shared_cookie(asked: Asked, answer: Answer) -> None:
    answer.set("Cache-Control", "public, max-age=60")


def _shared_nonce(asked: Asked, answer: Answer) -> None:
    answer.set("Set-Cookie", None)
    answer.set("Cache-Control", "public, max-age=60")
    _csp("script-src 'self'", "script-src 'nonce-abcdefgh'")(asked, answer)


def _bare(status: int) -> Weakness:
    def weaken(asked: Asked, answer: Answer) -> None:
        if asked.status == status:
            answer.set("X-Content-Type-Options", None)
            answer.set("Strict-Transport-Security", None)

    return weaken


SCORED: dict[str, tuple[Weakness, str]] = {
    "no HSTS": (_changed("Strict-Transport-Security", None), "strict-transport-security"),
    "HSTS of a day": (
        _changed("Strict-Transport-Security", "max-age=86400"), "strict-transport-security",
    ),
    "unsafe-inline scripts": (
        _csp("script-src 'self'", "script-src 'self' 'unsafe-inline'"), "content-security-policy",
    ),
    "scripts from anywhere": (
        _csp("script-src 'self'", "script-src https:"), "content-security-policy",
    ),
    "no policy at all": (_changed(CSP, None), "content-security-policy"),
    "session without Secure": (
        _cookie("session=abc; Path=/; HttpOnly; SameSite=Lax"), "cookies",
    ),
    "session in reach of scripts": (
        _cookie("__Host-session=abc; Path=/; Secure; SameSite=Lax"), "cookies",
    ),
    "any origin reads with credentials": (_any_origin, "cross-origin-resource-sharing"),
    "foreign script without integrity": (
        _body('<script src="https://elsewhere.example/x.js"></script>'), "subresource-integrity",
    ),
    "referrers told in full": (_changed("Referrer-Policy", "unsafe-url"), "referrer-policy"),
    "types guessed": (_changed("X-Content-Type-Options", None), "x-content-type-options"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCORED)
def test_a_planted_weakness_costs_points(authority: Authority, name: str) -> None:
    weakness, test = SCORED[name]
    found = audited(authority, weakness)
    said, modifier = outcome(found, test)
    assert modifier < 0, said
    assert found.score < SAFE_SCORE


def test_a_site_that_can_be_framed(authority: Authority) -> None:
    def weakness(asked: Asked, answer: Answer) -> None:
        _csp("; frame-ancestors 'none'", "")(asked, answer)
        answer.set("X-Frame-Options", None)

    found = audited(authority, weakness)
    assert outcome(found, "x-frame-options") == ("none", -20)


def test_plain_http_that_stays_plain(authority: Authority) -> None:
    found = audited(authority, redirects=False)
    assert outcome(found, "redirection") == ("stays on HTTP", -20)


def test_a_certificate_of_nobody_known(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    ca = tmp_path / "ca.pem"
    ca.write_text(other.pem)
    with weak_site(authority=authority) as site:
        found = audit(visit(site.url, Reach(ca=ca, secure=site.secure, plain="none")))
    assert outcome(found, "strict-transport-security") == ("the certificate is not good", -20)


FOUND: dict[str, tuple[Weakness, str]] = {
    "errors without the fields": (_bare(404), "status 404 lacks x-content-type-options"),
    "304 without HSTS": (_bare(304), "status 304 lacks strict-transport-security"),
    "refusals without the fields": (_bare(405), "status 405 lacks x-content-type-options"),
    "cookie on a shared page": (_shared_cookie, "sets a cookie on a response that shared caches"),
    "nonce on a shared page": (_shared_nonce, "has a nonce: use hashes"),
    "cookie for every subdomain": (
        _cookie("__Secure-id=a; Path=/; Domain=weddinglk.test; Secure; HttpOnly; SameSite=Lax"),
        "is for every subdomain",
    ),
    "cookie without a prefix": (
        _cookie("id=a; Path=/; Secure; HttpOnly; SameSite=Lax"), "has no __Host- or __Secure- name",
    ),
    "cookie without SameSite": (
        _cookie("__Host-id=a; Path=/; Secure; HttpOnly"), "has no SameSite",
    ),
    "cookie that browsers drop": (
        _cookie(f"__Host-id={'a' * 5000}; Path=/; Secure; HttpOnly; SameSite=Lax"), "is too large",
    ),
    "handlers in the markup": (_body("<body onload=x()>"), "event handlers in its markup"),
    "no Trusted Types": (
        _csp("; require-trusted-types-for 'script'", ""), "lacks require-trusted-types-for",
    ),
    "a base from anywhere": (_csp("; base-uri 'none'", ""), "lacks base-uri"),
    "a version told": (_changed("Server", "nginx/1.18.0"), "tells its version"),
    "subdomains left out": (
        _changed("Strict-Transport-Security", "max-age=31536000"), "less than a year with",
    ),
    "the harmful filter": (_changed("X-XSS-Protection", "1; mode=block"), "x-xss-protection is"),
    "no permissions policy": (_changed("Permissions-Policy", None), "lacks permissions-policy"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_weakness_is_told(authority: Authority, name: str) -> None:
    weakness, text = FOUND[name]
    found = audited(authority, weakness)
    assert any(text in each.text for each in found.findings), found.findings


def test_a_site_without_https_is_told_so(authority: Authority) -> None:
    """Asked for by its http URL, wherever it listens, as one does on one's own machine."""
    with weak_site(authority=authority, redirects=False) as site:
        url = f"http://{site.plain}/"
        found = audit(visit(url, Reach()))
    assert outcome(found, "redirection") == ("stays on HTTP", -20)
    assert outcome(found, "strict-transport-security") == ("there is no HTTPS", -20)


@pytest.mark.parametrize(
    ("weakness", "options", "code"),
    [
        (None, ("--strict", "--least", str(SAFE_SCORE)), 0),
        (_bare(404), (), 0),
        (_bare(404), ("--strict",), 1),
        (_changed(CSP, None), (), 1),
    ],
    ids=["safe", "found", "found and strict", "scored"],
)
def test_the_commands_exit_code_is_for_ci(
    authority: Authority, weakness: Weakness | None, options: tuple[str, ...], code: int
) -> None:
    planted: dict[str, Callable[..., None]] = {} if weakness is None else {"weakness": weakness}
    ca = authority.certificate_path.with_name("ca.pem")
    ca.write_text(authority.pem)
    with weak_site(authority=authority, **planted) as site:
        done = subprocess.run(
            [sys.executable, "-m", "poruwa.cli.main", "audit", site.url, "--json", "--ca", str(ca),
             "--connect", site.secure, "--connect-http", site.plain, *options],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert (json.loads(done.stdout)["score"] >= 100) == (code == 0 or "--strict" in options)
