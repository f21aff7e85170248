"""What a live site's responses say of its security: a score, and what to mend.

The score is counted as the MDN HTTP Observatory publishes it (developer.mozilla.org/observatory,
"Tests and scoring"): from 100, with a bonus or a penalty for each of a dozen things; bonuses count
only where 90 are reached without them. What the policy of a Poruwa site promises besides stands in
``audit_findings``. Knows no sockets: ``cli.audit`` fetches, this judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from poruwa.rules.audit_findings import PRIVATE_REFERRERS, Finding, findings_of
from poruwa.rules.audit_observed import (
    SetCookie,
    Visit,
    cookies_of,
    hsts_of,
    page_policy,
    scripts_of,
)

BASE: Final = 100
BONUS_FROM: Final = 90
SIX_MONTHS_SECONDS: Final = 15_768_000
_GRADES: Final = (
    (100, "A+"), (90, "A"), (85, "A-"), (80, "B+"), (70, "B"), (65, "B-"), (60, "C+"), (50, "C"),
    (45, "C-"), (40, "D+"), (30, "D"), (25, "D-"),
)  # fmt: skip
_BROAD: Final = frozenset(
    (
        "*", "ftp:", "http:", "https:",
        "http://*", "http://*.*", "https://*", "https://*.*",
    )
)  # fmt: skip
_OTHER_REFERRERS: Final = frozenset(
    ("origin", "origin-when-cross-origin", "unsafe-url", "no-referrer-when-downgrade")
)


@dataclass(frozen=True, slots=True)
class Result:
    """One test of the Observatory: its name, what was found, and what that adds to the score."""

    test: str
    outcome: str
    modifier: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Score, grade, the tests behind them, and findings beside them."""

    score: int
    grade: str
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]


def audit(visit: Visit) -> Audit:
    """Judge what was fetched of a site."""
    hsts = _hsts(visit)
    results = (
        _csp(visit),
        _cookies(visit, is_protected=hsts.modifier >= 0),
        _cors(visit),
        _redirection(visit),
        _referrer(visit),
        hsts,
        _integrity(visit),
        _sniffing(visit),
        _framing(visit),
        _embedding(visit),
        _opener(visit),
        _embedder(visit),
    )
    without_bonus = BASE + sum(min(each.modifier, 0) for each in results)
    bonus = sum(max(each.modifier, 0) for each in results)
    score = max(without_bonus + (bonus if without_bonus >= BONUS_FROM else 0), 0)
    grade = next((grade for least, grade in _GRADES if score >= least), "F")
    return Audit(score, grade, results, tuple(findings_of(visit)))


# The Observatory's tests.


def _csp(visit: Visit) -> Result:
    test = "content-security-policy"
    try:
        policy = page_policy(visit.page)
    except ValueError:
        return Result(test, "cannot be read", -25)
    if policy is None:
        return Result(test, "none", -25)
    default = policy.get("default-src", ("*",))
    scripts, styles = (
        {
            each
            for each in policy.get(name, default)
            # A browser that knows hashes or nonces ignores it beside them.
            if each != "'unsafe-inline'" or not _has_hash(policy.get(name, default))
        }
        for name in ("script-src", "style-src")
    )
    objects = set(policy.get("object-src", default))
    unsafe = _BROAD | {"'unsafe-inline'", "data:"}
    active = {
        each
        for name, values in policy.items()
        if name not in ("img-src", "media-src")
        for each in values
    }
    passive = {each for name in ("img-src", "media-src") for each in policy.get(name, default)}
    if scripts & unsafe or objects & _BROAD:
        return Result(test, "lets anybody's scripts or objects in", -20)
    if visit.page.is_secure and any(each.startswith(("http:", "ftp:")) for each in active):
        return Result(test, "loads scripts or styles over HTTP", -20)
    if "'unsafe-eval'" in scripts | styles:
        return Result(test, "allows 'unsafe-eval'", -10)
    if visit.page.is_secure and any(each.startswith(("http:", "ftp:")) for each in passive):
        return Result(test, "loads images over HTTP", -10)
    if styles & unsafe:
        return Result(test, "allows anybody's styles", 0)
    if policy.get("default-src") == ("'none'",):
        return Result(test, "nothing unsafe, default-src 'none'", 10)
    return Result(test, "nothing unsafe", 5)


def _has_hash(sources: Sequence[str]) -> bool:
    return any(each.startswith(("'sha256-", "'sha384-", "'sha512-", "'nonce-")) for each in sources)


def _cookies(visit: Visit, *, is_protected: bool) -> Result:
    cookies = [
        cookie
        for each in (visit.page, visit.robots, visit.preflight)
        if each is not None
        for cookie in cookies_of(each)
    ]
    if not cookies:
        return Result("cookies", "none", 0)
    worst = min(_cookie(each, is_protected) for each in cookies)
    if worst[0] < 0:
        return Result("cookies", worst[1], worst[0])
    if all(each.same_site is not None for each in cookies):
        return Result("cookies", "Secure, HttpOnly for sessions, SameSite", 5)
    return Result("cookies", "Secure, HttpOnly for sessions", 0)


def _cookie(cookie: SetCookie, is_protected: bool) -> tuple[int, str]:
    name = cookie.name.lower()
    is_session = "sess" in name or "login" in name
    troubles = [(0, "")]
    if not cookie.is_secure:
        if is_session:
            troubles.append((-10 if is_protected else -40, f"{cookie.name} is not Secure"))
        else:
            troubles.append((-5 if is_protected else -20, f"{cookie.name} is not Secure"))
        if (cookie.same_site or "").lower() == "none":
            troubles.append((-20, f"{cookie.name} is SameSite=None without Secure"))
    if is_session and not cookie.is_http_only:
        troubles.append((-30, f"{cookie.name} is in reach of scripts"))
    if "csrf" in name and cookie.same_site is None:
        troubles.append((-20, f"{cookie.name} has no SameSite"))
    if cookie.same_site is not None and cookie.same_site.lower() not in ("lax", "strict", "none"):
        troubles.append((-20, f"{cookie.name} has a SameSite that means nothing"))
    return min(troubles)


def _cors(visit: Visit) -> Result:
    test = "cross-origin-resource-sharing"
    answer = visit.preflight
    allowed = answer.first("access-control-allow-origin") if answer is not None else None
    if answer is None or not allowed:
        return Result(test, "none", 0)
    if allowed == "*":
        return Result(test, "public, without credentials", 0)
    credentials = (answer.first("access-control-allow-credentials") or "").lower() == "true"
    if credentials and not allowed.endswith(urlsplit(visit.page.url).hostname or "\0"):
        return Result(test, "any origin may read with credentials", -50)
    return Result(test, "some origins", 0)


def _redirection(visit: Visit) -> Result:
    chain = visit.redirections
    if not chain:
        return Result("redirection", "nothing answers over HTTP", 0)
    if not all(each.is_verified for each in chain):
        return Result("redirection", "a certificate on the way is not good", -20)
    if len(chain) == 1:
        return Result("redirection", "stays on HTTP", -20)
    if not chain[-1].is_secure:
        return Result("redirection", "does not end on HTTPS", -20)
    if not chain[1].is_secure:
        return Result("redirection", "goes to HTTP first", -10)
    if urlsplit(chain[0].url).hostname != urlsplit(chain[1].url).hostname:
        return Result("redirection", "leaves the host before HTTPS", -5)
    return Result("redirection", "to HTTPS on the same host", 0)


def _referrer(visit: Visit) -> Result:
    values = visit.page.all_of("referrer-policy")
    if not values:
        return Result("referrer-policy", "none", 0)
    known = [
        token
        for token in (part.strip().lower() for part in ",".join(values).split(","))
        if token in PRIVATE_REFERRERS | _OTHER_REFERRERS
    ]
    if not known:
        return Result("referrer-policy", "cannot be read", -5)
    if known[-1] in PRIVATE_REFERRERS:
        return Result("referrer-policy", known[-1], 5)
    return Result("referrer-policy", f"{known[-1]} tells other sites too much", -5)


def _hsts(visit: Visit) -> Result:
    test = "strict-transport-security"
    page = visit.page
    if not page.is_secure:
        return Result(test, "there is no HTTPS", -20)
    if not page.is_verified:
        return Result(test, "the certificate is not good", -20)
    if page.first("strict-transport-security") is None:
        return Result(test, "none", -20)
    hsts = hsts_of(page)
    if hsts is None:
        return Result(test, "cannot be read", -20)
    if hsts[0] < SIX_MONTHS_SECONDS:
        return Result(test, "less than six months", -10)
    return Result(test, "six months or more", 0)  # the preload list is not on this machine


def _integrity(visit: Visit) -> Result:
    test = "subresource-integrity"
    page = visit.page
    found = scripts_of(page).found
    sources = [(source, integrity) for source, integrity in found if source]
    if not found:
        return Result(test, "no scripts", 0)
    host = urlsplit(page.url).hostname
    foreign = [
        (source, integrity)
        for source, integrity in sources
        if source.startswith("//")
        or (urlsplit(source).scheme in ("http", "https") and urlsplit(source).hostname != host)
    ]
    insecure = [each for each in foreign if not each[0].startswith("https:")]
    if any(integrity is None for _, integrity in insecure):
        return Result(test, "foreign scripts over HTTP, without integrity", -50)
    if insecure:
        return Result(test, "foreign scripts over HTTP", -20)
    if any(integrity is None for _, integrity in foreign):
        return Result(test, "foreign scripts without integrity", -5)
    if foreign or (page.is_secure and any(integrity for _, integrity in sources)):
        return Result(test, "scripts with integrity, loaded securely", 5)
    return Result(test, "own scripts alone", 0)


def _sniffing(visit: Visit) -> Result:
    value = visit.page.first("x-content-type-options")
    if value is None:
        return Result("x-content-type-options", "none", -5)
    if value.lower() != "nosniff":
        return Result("x-content-type-options", "cannot be read", -5)
    return Result("x-content-type-options", "nosniff", 0)


def _framing(visit: Visit) -> Result:
    test = "x-frame-options"
    try:
        policy = page_policy(visit.page) or {}
    except ValueError:
        policy = {}
    ancestors = policy.get("frame-ancestors")
    if ancestors is not None and not _BROAD.intersection(ancestors):
        return Result(test, "by frame-ancestors", 5)
    value = (visit.page.first("x-frame-options") or "").lower()
    if value in ("deny", "sameorigin") or value.startswith("allow-from "):
        return Result(test, value, 0)
    return Result(test, "cannot be read" if value else "none", -20)


def _embedding(visit: Visit) -> Result:
    return _one_of(
        visit,
        "cross-origin-resource-policy",
        {"same-origin": 10, "same-site": 10, "cross-origin": 0},
    )


def _opener(visit: Visit) -> Result:
    return _one_of(
        visit,
        "cross-origin-opener-policy",
        {
            "same-origin": 10,
            "same-origin-allow-popups": 10,
            "noopener-allow-popups": 10,
            "unsafe-none": 0,
        },
    )


def _embedder(visit: Visit) -> Result:
    return _one_of(
        visit,
        "cross-origin-embedder-policy",
        {"require-corp": 10, "credentialless": 10, "unsafe-none": 0},
    )


def _one_of(visit: Visit, name: str, modifiers: dict[str, int]) -> Result:
    value = visit.page.first(name)
    if value is None:
        return Result(name, "none", 0)
    token = value.partition(";")[0].strip()
    if token not in modifiers:
        return Result(name, "cannot be read", -5)
    return Result(name, token, modifiers[token])
