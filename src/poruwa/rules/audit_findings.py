"""What to mend in a live site besides the Observatory's score: what a Poruwa policy promises.

Every response carries the security fields, pages and errors alike; cookies have prefixed names and
ride on nothing that shared caches keep; a page runs no script but its own, and says so in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from poruwa.rules.audit_observed import (
    Observed,
    Visit,
    cookies_of,
    hsts_of,
    page_policy,
    scripts_of,
)
from poruwa.rules.csp import Directives

YEAR_SECONDS: Final = 31_536_000
MAX_COOKIE_BYTES: Final = 4096
PRIVATE_REFERRERS: Final = frozenset(
    ("no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin")
)
_VERSION: Final = re.compile(r"\d+\.\d+")
_WANTED: Final[Mapping[str, Callable[[str], bool]]] = {
    "x-content-type-options": lambda value: value.lower() == "nosniff",
    "referrer-policy": lambda value: value.rpartition(",")[2].strip() in PRIVATE_REFERRERS,
    "content-security-policy": lambda value: "frame-ancestors" in value,
    "permissions-policy": lambda value: "=" in value,
    "x-xss-protection": lambda value: value == "0",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to mend, and how."""

    subject: str
    text: str


def findings_of(visit: Visit) -> Iterator[Finding]:
    """Return what to mend, response by response."""
    for response in visit.responses:
        yield from _fields(response)
        yield from _cookies(response)
    yield from _page(visit.page)


def _page(page: Observed) -> Iterator[Finding]:
    handlers = sorted(set(scripts_of(page).handlers))
    if handlers:
        yield Finding(
            page.url,
            f"has event handlers in its markup ({', '.join(handlers)}), which a strict policy does "
            "not run; listen in a script",
        )
    try:
        policy = page_policy(page)
    except ValueError as error:
        yield Finding(page.url, f"Content-Security-Policy: {error}")
        return
    if policy is not None:
        yield from _policy(page, policy)


def _policy(page: Observed, policy: Directives) -> Iterator[Finding]:
    for name in ("base-uri", "form-action", "frame-ancestors"):
        if name not in policy:
            yield Finding(page.url, f"Content-Security-Policy lacks {name}: it has no default")
    if "require-trusted-types-for" not in policy:
        yield Finding(
            page.url,
            "Content-Security-Policy lacks require-trusted-types-for 'script': strings become "
            "markup unchecked",
        )
    has_nonce = any(each.startswith("'nonce-") for each in policy.get("script-src", ()))
    if has_nonce and not _is_private(page):
        yield Finding(page.url, "is kept by shared caches and has a nonce: use hashes")


def _fields(response: Observed) -> Iterator[Finding]:
    for name, is_good in _WANTED.items():
        value = response.first(name)
        if value is None:
            yield Finding(response.url, f"status {response.status} lacks {name}")
        elif not is_good(value):
            yield Finding(response.url, f"status {response.status}: {name} is {value!r}")
    if response.is_secure:
        hsts = hsts_of(response)
        if hsts is None:
            yield Finding(response.url, f"status {response.status} lacks strict-transport-security")
        elif hsts[0] < YEAR_SECONDS or not hsts[1]:
            yield Finding(
                response.url, "strict-transport-security covers less than a year with subdomains"
            )
    for name in ("server", "x-powered-by"):
        value = response.first(name)
        if value is not None and _VERSION.search(value):
            yield Finding(response.url, f"tells its version: {name}: {value}")


def _cookies(response: Observed) -> Iterator[Finding]:
    cookies = cookies_of(response)
    if cookies and not _is_private(response):
        yield Finding(response.url, "sets a cookie on a response that shared caches may keep")
    for cookie in cookies:
        prefixed = cookie.name.lower().startswith(("__host-", "__secure-"))
        if response.is_secure and not prefixed:
            yield Finding(response.url, f"cookie {cookie.name} has no __Host- or __Secure- name")
        if cookie.same_site is None:
            yield Finding(response.url, f"cookie {cookie.name} has no SameSite")
        if cookie.has_domain:
            yield Finding(response.url, f"cookie {cookie.name} is for every subdomain")
        if cookie.size > MAX_COOKIE_BYTES:
            yield Finding(response.url, f"cookie {cookie.name} is too large for browsers")


def _is_private(response: Observed) -> bool:
    control = (response.first("cache-control") or "").lower()
    return "no-store" in control or "private" in control or response.status in (101, 204)
