"""Contradictions among cookies, sessions, CSRF, headers, rate limits and sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from poruwa.config.model import Cookie, Headers, Hsts, Policy, ProviderKind, SameSite
from poruwa.config.positions import Path
from poruwa.config.problems import Findings
from poruwa.units import format_duration

_PRELOAD_SECONDS = 31_536_000
COOKIE_PREFIX = re.compile(r"__(?:host-http-|http-|host-|secure-)", re.IGNORECASE)


def check_security(policy: Policy, findings: Findings) -> None:
    """Check everything that protects people."""
    _check_cookies(policy, findings)
    _check_session(policy, findings)
    _check_csrf(policy, findings)
    _check_headers(policy.headers, ("headers",), findings)
    for index, route in enumerate(policy.routes):
        if route.headers is not None:
            _check_headers(route.headers, ("routes", index, "headers"), findings)
    _check_sign_in(policy, findings)


def _check_cookies(policy: Policy, findings: Findings) -> None:
    domain = policy.cookies.domain
    if domain is not None:
        findings.warn(
            ("cookies", "domain"),
            f"every host below {domain} can read and overwrite the cookies: their names get "
            "__Secure- instead of __Host-; drop it unless subdomains must share sign-in",
        )
        _check_domain(policy, domain, ("cookies", "domain"), findings)
    if policy.cookies.same_site is SameSite.NONE:
        findings.warn(("cookies", "same_site"), "other sites' pages send these cookies along")
    for cookie in policy.cookies.named:
        path: Path = ("cookies", "named", cookie.name)
        _check_cookie(policy, cookie, path, findings)
    seen: dict[str, Path] = {}
    for name, path in _all_cookies(policy):
        first = seen.setdefault(name, path)
        if first != path:
            line = findings.positions.line_of(first)
            findings.refuse(path, f'the cookie name "{name}" is taken on line {line}; use another')


def _all_cookies(policy: Policy) -> Iterator[tuple[str, Path]]:
    yield policy.session.cookie, ("session", "cookie")
    yield policy.consent.cookie, ("consent", "cookie")
    shared_by_pools: set[str] = set()
    for pool in policy.pools:
        # Pools of one site may use the same affinity cookie: it names an instance of either.
        if pool.affinity is not None and pool.affinity.cookie not in shared_by_pools:
            shared_by_pools.add(pool.affinity.cookie)
            yield pool.affinity.cookie, ("pools", pool.name, "affinity", "cookie")
    for cookie in policy.cookies.named:
        yield cookie.name, ("cookies", "named", cookie.name)


def _check_cookie(policy: Policy, cookie: Cookie, path: Path, findings: Findings) -> None:
    same_site = cookie.same_site or policy.cookies.same_site
    if same_site is SameSite.NONE and not cookie.secure:
        findings.refuse(
            (*path, "secure"),
            "browsers drop SameSite=None cookies that are not Secure; write secure = true",
        )
    if cookie.partitioned and not cookie.secure:
        findings.refuse(
            (*path, "secure"), "browsers drop Partitioned cookies that are not Secure; write true"
        )
    prefix = COOKIE_PREFIX.match(cookie.name)
    if prefix is not None and not cookie.secure:
        findings.refuse((*path, "secure"), f"{prefix[0]} names must be Secure; write secure = true")
    is_host = prefix is not None and prefix[0].lower().startswith("__host-")
    domain = cookie.domain or policy.cookies.domain
    if is_host and domain is not None:
        findings.refuse(
            (*path, "domain"),
            f"browsers drop a __Host- cookie with a Domain ({domain}); drop the domain, "
            "or name it __Secure-",
        )
    if is_host and cookie.path != "/":
        findings.refuse((*path, "path"), 'browsers drop a __Host- cookie whose path is not "/"')
    if cookie.domain is not None:
        _check_domain(policy, cookie.domain, (*path, "domain"), findings)


def _check_domain(policy: Policy, domain: str, path: Path, findings: Findings) -> None:
    bare = domain.lstrip(".").lower()
    host = policy.site.domain.lower().partition(":")[0]
    if host != bare and not host.endswith(f".{bare}"):
        findings.refuse(
            path,
            f"browsers drop cookies for {domain} from {host}; write {host} or a domain above it, "
            "or correct site.domain",
        )
    elif "." not in bare:
        findings.refuse(path, f"browsers drop cookies for all of {bare}; leave the domain out")


def _check_session(policy: Policy, findings: Findings) -> None:
    session = policy.session
    life = session.max_age_seconds
    pairs = (
        ("renew_before", session.renew_before_seconds, life, "session.max_age"),
        ("update_every", session.update_every_seconds, life, "session.max_age"),
        ("max_age", life, session.longest_seconds, "session.longest"),
    )
    for key, seconds, bound, bound_name in pairs:
        beyond = seconds > bound if key == "max_age" else seconds >= bound
        if beyond:
            findings.refuse(
                ("session", key),
                f"{format_duration(seconds)} is not below {bound_name}, {format_duration(bound)}; "
                "lower it",
            )
    if session.rolling and session.update_every_seconds > session.renew_before_seconds > 0:
        findings.refuse(
            ("session", "update_every"),
            f"{format_duration(session.update_every_seconds)} is longer than session.renew_before, "
            f"{format_duration(session.renew_before_seconds)}: a session could end between two "
            "updates; lower it",
        )
    if session.same_site is SameSite.NONE and not policy.csrf.enabled:
        findings.refuse(
            ("session", "same_site"),
            "none without CSRF protection lets every site act in people's names; write lax, or "
            "enable csrf",
        )
    if policy.cookies.domain and session.cookie.lower().startswith("__host-"):
        findings.refuse(
            ("session", "cookie"),
            f"browsers drop a __Host- cookie with a Domain ({policy.cookies.domain}); drop the "
            "prefix, which is added as it fits",
        )
    if not session.validate:
        findings.warn(("session", "validate"), "nobody's session is checked")


def _check_csrf(policy: Policy, findings: Findings) -> None:
    csrf = policy.csrf
    if not policy.gateway.guard:
        findings.warn(
            ("gateway", "guard"),
            "the gateway lets other sites' forms pass, and everybody ask for /_poruwa/metrics",
        )
    if not csrf.enabled:
        findings.warn(("csrf", "enabled"), "other sites can post forms in people's names")
    if csrf.rotation_seconds > policy.session.max_age_seconds:
        findings.refuse(
            ("csrf", "rotation"),
            f"{format_duration(csrf.rotation_seconds)} is longer than a session, "
            f"{format_duration(policy.session.max_age_seconds)}, so tokens would "
            "never rotate; lower it",
        )
    if "*" in csrf.trusted_origins:
        findings.refuse(
            ("csrf", "trusted_origins"), '"*" trusts every site, which is no protection; list them'
        )


def _check_headers(headers: Headers, path: Path, findings: Findings) -> None:
    hsts = headers.hsts
    if hsts is not None and hsts.preload:
        _check_preload(hsts, path, findings)
    csp = headers.content_security_policy or ""
    frames = re.search(r"frame-ancestors\s+([^;]*)", csp)
    if frames is not None and headers.frame_options is not None:
        wanted = {"DENY": "'none'", "SAMEORIGIN": "'self'"}[headers.frame_options]
        if frames[1].strip() != wanted:
            findings.refuse(
                (*path, "frame_options"),
                f"{headers.frame_options} contradicts frame-ancestors {frames[1].strip()} of the "
                f"content security policy; write frame-ancestors {wanted}",
            )
    if (headers.xss_protection or "0") != "0":
        findings.warn(
            (*path, "xss_protection"),
            "the filter it switches on has been used to attack pages and is gone from browsers; "
            'write "0"',
        )
    if headers.referrer_policy == "unsafe-url":
        findings.warn((*path, "referrer_policy"), "tells other sites whole addresses of pages")


def _check_preload(hsts: Hsts, path: Path, findings: Findings) -> None:
    if hsts.max_age_seconds < _PRELOAD_SECONDS or not hsts.include_subdomains:
        findings.refuse(
            (*path, "hsts", "preload"),
            "the preload list takes only max_age of 1y or more with include_subdomains; set both",
        )


def _check_sign_in(policy: Policy, findings: Findings) -> None:
    for provider in policy.sign_in:
        path: Path = ("sign_in", provider.name)
        if provider.kind is ProviderKind.OIDC and provider.issuer is None:
            findings.refuse(
                path, 'kind oidc needs its issuer; write issuer = "https://accounts.example.lk"'
            )
        if provider.kind is not ProviderKind.OIDC and provider.issuer is not None:
            findings.refuse(
                (*path, "issuer"), f"{provider.kind} has an issuer of its own; drop this line"
            )
        if provider.issuer is not None and provider.issuer.startswith("http://"):
            findings.refuse((*path, "issuer"), "sign-in needs TLS; write https://")
