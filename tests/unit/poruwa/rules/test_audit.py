"""What an audit makes of responses: the Observatory's score, and findings (SECURITY-CHECKS 45).

The modifiers of each outcome are the published ones; the whole of a good site is 160 points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from poruwa.rules.audit import audit
from poruwa.rules.audit_observed import Observed, Visit

URL = "https://weddinglk.test/"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
FIELDS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "public, max-age=60",
    "content-security-policy": CSP,
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "0",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}
BODY = '<!doctype html><script src="/static/site.js" integrity="sha384-x"></script><p>Ayubowan'
COOKIE = "__Host-Http-s=1; Path=/; HttpOnly; Secure; SameSite=Lax"


def _response(url: str = URL, status: int = 200, body: str = "", **changes: str | None) -> Observed:
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return Observed(
        url, status, tuple((name, value) for name, value in fields.items() if value is not None),
        body,
    )  # fmt: skip


GOOD = Visit(
    page=_response(body=BODY),
    redirections=(
        Observed("http://weddinglk.test/", 308, (("location", URL),)),
        _response(),
    ),
    robots=_response(URL + "robots.txt"),
    preflight=_response(status=204, cache_control="no-store", set_cookie=COOKIE),
    others=(_response(URL + "not-there", 404),),
)


def _page(body: str = BODY, **changes: str | None) -> Visit:
    return dataclasses.replace(GOOD, page=_response(body=body, **changes))


def _csp(change: Callable[[str], str]) -> Visit:
    return _page(content_security_policy=change(CSP))


def test_a_good_site_has_160_points_and_nothing_to_mend() -> None:
    found = audit(GOOD)
    assert found.score == 160
    assert found.grade == "A+"
    assert found.findings == ()


WEAKNESSES: dict[str, tuple[Visit, str, int]] = {
    "inline scripts": (
        _csp(lambda csp: csp.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'")),
        "content-security-policy", -20),
    "no policy": (_page(content_security_policy=None), "content-security-policy", -25),
    "any script host": (
        _csp(lambda csp: csp.replace("script-src 'self'", "script-src https:")),
        "content-security-policy", -20),
    "eval": (
        _csp(lambda csp: csp.replace("script-src 'self'", "script-src 'self' 'unsafe-eval'")),
        "content-security-policy", -10),
    "images over HTTP": (
        _csp(lambda csp: csp.replace("img-src 'self'", "img-src http://a.lk")),
        "content-security-policy", -10),
    "no HSTS": (_page(strict_transport_security=None), "strict-transport-security", -20),
    "a short HSTS": (
        _page(strict_transport_security="max-age=3600; includeSubDomains"),
        "strict-transport-security", -10),
    "framing": (
        _page(x_frame_options=None,
              content_security_policy=CSP.replace("frame-ancestors 'none'; ", "")),
        "x-frame-options", -20),
    "sniffing": (_page(x_content_type_options=None), "x-content-type-options", -5),
    "a talkative referrer": (_page(referrer_policy="unsafe-url"), "referrer-policy", -5),
    "a session in reach of scripts": (
        dataclasses.replace(
            GOOD, robots=_response(URL + "robots.txt", set_cookie="session=1; Secure")),
        "cookies", -30),
    "a session in the clear": (
        dataclasses.replace(
            _page(strict_transport_security=None),
            robots=_response(URL + "robots.txt", set_cookie="session=1; HttpOnly")),
        "cookies", -40),
    "credentials for any origin": (
        dataclasses.replace(GOOD, preflight=_response(
            status=204, access_control_allow_origin="https://elsewhere.example",
            access_control_allow_credentials="true")),
        "cross-origin-resource-sharing", -50),
    "a foreign script": (
        _page(body='<script src="https://cdn.example/a.js"></script>'),
        "subresource-integrity", -5),
    "a foreign script over HTTP": (
        _page(body='<script src="//cdn.example/a.js"></script>'), "subresource-integrity", -50),
    "no way to HTTPS": (
        dataclasses.replace(GOOD, redirections=(_response("http://weddinglk.test/"),)),
        "redirection", -20),
    "a bad certificate": (
        dataclasses.replace(GOOD, page=dataclasses.replace(GOOD.page, is_verified=False)),
        "strict-transport-security", -20),
    "a resource policy that is none": (
        _page(cross_origin_resource_policy="same-orgin"), "cross-origin-resource-policy", -5),
}  # fmt: skip


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_a_planted_weakness_costs_what_is_published(weakness: str) -> None:
    visit, test, modifier = WEAKNESSES[weakness]
    found = audit(visit)
    result = next(each for each in found.results if each.test == test)
    assert result.modifier == modifier
    assert found.score < 160


FINDINGS: dict[str, tuple[Visit, str]] = {
    "an error page without fields": (
        dataclasses.replace(GOOD, others=(Observed(URL + "not-there", 404, ()),)),
        "status 404 lacks content-security-policy"),
    "HSTS without subdomains": (
        _page(strict_transport_security="max-age=31536000"), "less than a year with subdomains"),
    "the old filter": (_page(x_xss_protection="1; mode=block"), "x-xss-protection is '1; mode"),
    "a version": (_page(server="nginx/1.22.1"), "tells its version: server: nginx/1.22.1"),
    "a cookie on a shared page": (
        _page(set_cookie=COOKIE), "a cookie on a response that shared caches may keep"),
    "a cookie for every subdomain": (
        _page(cache_control="no-store",
              set_cookie="__Secure-a=1; Secure; Domain=weddinglk.test; SameSite=Lax"),
        "for every subdomain"),
    "a bare name": (
        _page(cache_control="no-store", set_cookie="a=1; Secure; SameSite=Lax"),
        "no __Host- or __Secure- name"),
    "a nonce on a shared page": (
        _csp(lambda csp: csp.replace("script-src 'self'", "script-src 'nonce-abc'")),
        "use hashes"),
    "no Trusted Types": (
        _csp(lambda csp: csp.replace("; require-trusted-types-for 'script'", "")),
        "lacks require-trusted-types-for"),
    "event handlers": (_page(body='<button onclick="buy()">'), "onclick"),
    "no base-uri": (_csp(lambda csp: csp.replace("base-uri 'none'; ", "")), "lacks base-uri"),
}  # fmt: skip


@pytest.mark.parametrize("weakness", FINDINGS)
def test_what_the_observatory_does_not_look_at_is_found(weakness: str) -> None:
    visit, text = FINDINGS[weakness]
    findings = [each.text for each in audit(visit).findings]
    assert any(text in each for each in findings), findings


def test_a_bonus_counts_only_from_90_on() -> None:
    """Three penalties of 20 and all the bonuses that are left: the penalties alone count."""
    visit = dataclasses.replace(
        _page(strict_transport_security=None), redirections=(_response("http://weddinglk.test/"),)
    )
    assert audit(visit).score == 60
    assert audit(visit).grade == "C+"


def test_two_policies_are_judged_as_browsers_enforce_them() -> None:
    fields = (*_response(body=BODY).fields, ("content-security-policy", "script-src *"))
    page = Observed(URL, 200, fields, BODY)
    result = audit(dataclasses.replace(GOOD, page=page)).results[0]
    assert result.modifier == 10
