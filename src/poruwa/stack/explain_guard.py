"""What ``poruwa explain`` says of a request's way to the cache: guard, limit, cookies of answers.

By the rules that ``gateway.guard`` and ``gateway.rate_limit`` go by; nothing is counted.
"""

from __future__ import annotations

from typing import Any

from poruwa.config.model import Policy, RateKey, Route
from poruwa.rules.cookie import is_cookie_bomb
from poruwa.rules.csrf import (
    CsrfVerdict,
    WantedOrigins,
    origin_of,
)
from poruwa.rules.own_paths import REPORTS_PATH, SESSION_PATH, is_own_path
from poruwa.rules.rate_limit import quota_of
from poruwa.rules.retry import SAFE_METHODS
from poruwa.units import format_duration

_WORDS = {
    CsrfVerdict.SAFE: "safe: it changes nothing",
    CsrfVerdict.OWN: "from the site's own pages",
    CsrfVerdict.TRUSTED: "from an origin that the policy trusts",
    CsrfVerdict.NO_BROWSER: "of no browser: nothing says where from, and no cookie comes along",
    CsrfVerdict.TOKEN_NEEDED: "nothing says where from: the app must see a form token",
}
_PER = {
    RateKey.CLIENT: "per client",
    RateKey.SESSION: "per session, or client without one",
    RateKey.ROUTE: "for all together",
}


def guard_of(
    policy: Policy,
    route: Route | None,
    method: str,
    headers: dict[str, str],
    *,
    origin: tuple[bytes, bytes],
    path: bytes,
) -> dict[str, Any] | None:
    """Return ``status`` (None: it passes) and ``why``; None without a guard.

    Args:
        route: None where there is none.
        headers: by lower-case name.
        origin: scheme, and host with port: where the request is sent to.
        path: normalised.
    """
    if not policy.gateway.guard:
        return None
    fields = {name: value.encode() for name, value in headers.items()}
    cookie = fields.get("cookie")
    if cookie is not None and is_cookie_bomb(cookie):
        return _refused(431, "too-many-cookies")
    if is_own_path(path) and not _is_for_all(method, path):
        return _refused(404, "internal-path")
    is_handshake = fields.get("upgrade", b"").lower() == b"websocket"
    if method.encode() in SAFE_METHODS and not is_handshake:
        return _passes(_WORDS[CsrfVerdict.SAFE])
    word = "not asked where it is from: csrf.enabled is false"
    if policy.csrf.enabled:
        wanted = WantedOrigins(policy.csrf.trusted_origins, None if route is None else route.cors)
        verdict = wanted.judge(
            method.encode(),
            own_origin=origin_of(*origin),
            origin=fields.get("origin"),
            fetch_site=fields.get("sec-fetch-site"),
            has_cookies=cookie is not None,
            authorization=fields.get("authorization"),
            is_handshake=is_handshake,
        )
        if verdict.is_refused:
            return _refused(403, f"csrf-{verdict.value}")
        word = _WORDS[verdict]
    accepts = () if route is None else tuple(each.lower() for each in route.accepts)
    if accepts:
        given = headers.get("content-type")
        if given is not None and given.partition(";")[0].strip(" \t").lower() not in accepts:
            return _refused(415, f"type-not-accepted: {', '.join(accepts)} only")
        word += f"; a body is {' or '.join(accepts)}"
    return _passes(word)


def limit_of(policy: Policy, route: Route, method: str) -> dict[str, Any] | None:
    """Return the limit of a route, and who counts such a request; None without one."""
    section = next((each for each in policy.rate_limits if each.name == route.rate_limit), None)
    if section is None:
        return None
    quota = quota_of(section.requests, section.window_seconds, section.burst)
    return {
        "name": section.name,
        "requests": quota.requests,
        "window": format_duration(quota.window_seconds),
        "burst": quota.burst,
        "per": _PER[section.per],
        "counted": "on this machine"
        if method.encode() in SAFE_METHODS
        else "by the bus for all machines; while it is away, or without one, on this machine",
    }


def _is_for_all(method: str, path: bytes) -> bool:
    if path == SESSION_PATH:
        return method.encode() in SAFE_METHODS
    return path == REPORTS_PATH and method == "POST"


def _refused(status: int, why: str) -> dict[str, Any]:
    return {"status": status, "why": why}


def _passes(why: str) -> dict[str, Any]:
    return {"status": None, "why": why}
