"""Security fields of responses: what the policy says of every one, and what a page says itself.

The policy's value stands on every response of every origin: pages, 304, errors, files, the
gateway's own. Where the application sends a value of its own, the stricter of the two stands: a
page may close what the site leaves open, and not the other way round. Of two
Content-Security-Policies a browser enforces both, so that both are sent where neither is the
stricter.

Sources: RFC 6797 (HSTS), Fetch (nosniff, CORP), HTML (COOP, frames), Referrer Policy, Permissions
Policy, Reporting API (all W3C or WHATWG). ``X-XSS-Protection`` is ``0``: the filter that it
switched on let pages be broken selectively, and read across origins; no browser has it any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from poruwa.config.model_security import Headers
from poruwa.rules.csp import is_as_strict, parse_csp, serialize_csp

HSTS: Final = b"strict-transport-security"
CSP: Final = b"content-security-policy"
ENDPOINTS: Final = b"reporting-endpoints"
REPORT_GROUP: Final = "default"
SECURITY_NAMES: Final = frozenset(
    (
        b"x-content-type-options",
        b"x-frame-options",
        b"x-xss-protection",
        b"referrer-policy",
        b"permissions-policy",
        b"cross-origin-opener-policy",
        b"cross-origin-embedder-policy",
        b"cross-origin-resource-policy",
        CSP,
        ENDPOINTS,
        HSTS,
    )
)
"""Of all fields that a policy can state."""
_REPORTING: Final[tuple[str, ...]] = ("report-to", "report-uri")

# From the strictest on; what is in none of these lists is less strict than all that is.
_ORDERS: Final[Mapping[bytes, tuple[str, ...]]] = {
    b"x-content-type-options": ("nosniff",),
    b"x-frame-options": ("deny", "sameorigin"),
    b"referrer-policy": (
        "no-referrer",
        "same-origin",
        "strict-origin",
        "strict-origin-when-cross-origin",
    ),
    b"cross-origin-opener-policy": (
        "same-origin",
        "noopener-allow-popups",
        "same-origin-allow-popups",
        "unsafe-none",
    ),
    b"cross-origin-embedder-policy": ("require-corp", "credentialless", "unsafe-none"),
    b"cross-origin-resource-policy": ("same-origin", "same-site", "cross-origin"),
}
_MAX_AGE: Final = re.compile(r'(?:^|;)\s*max-age\s*=\s*"?(\d{1,10})"?\s*(?:;|$)', re.IGNORECASE)


class SecurityFields:
    """The policy's section on headers, ready to be sent.

    Args:
        section: of a policy, or what a route makes of it.
        domain: the site's, for which HSTS may be said: never for localhost or an address.
        report_path: where browsers report violations to; None for nowhere.

    Attributes:
        names: in lower case, of all fields that the policy states.
        content_security_policy: as it states it, without where violations are reported to.
    """

    __slots__ = ("_lines", "_values", "content_security_policy", "names")

    def __init__(self, section: Headers, *, domain: str, report_path: str | None = None) -> None:
        self.content_security_policy = csp = section.content_security_policy
        if csp is not None and report_path is not None:
            csp += f"; report-to {REPORT_GROUP}; report-uri {report_path}"
        stated = {
            b"x-content-type-options": section.content_type_options,
            b"x-frame-options": section.frame_options,
            b"x-xss-protection": section.xss_protection,
            b"referrer-policy": section.referrer_policy,
            b"permissions-policy": section.permissions_policy,
            b"cross-origin-opener-policy": section.cross_origin_opener_policy,
            b"cross-origin-embedder-policy": section.cross_origin_embedder_policy,
            b"cross-origin-resource-policy": section.cross_origin_resource_policy,
            CSP: csp,
            ENDPOINTS: f'{REPORT_GROUP}="{report_path}"' if report_path is not None else None,
            HSTS: _hsts(section) if is_hsts_host(domain) else None,
        }
        self._values = {name: value for name, value in stated.items() if value is not None}
        self.names = frozenset(self._values)
        self._lines = {
            is_secure: b"".join(
                _line(name, value)
                for name, value in self._values.items()
                if is_secure or name != HSTS
            )
            for is_secure in (False, True)
        }

    def lines(self, *, is_secure: bool) -> bytes:
        """Return the lines of a response that says nothing itself, each with its CRLF.

        Args:
            is_secure: whether it goes out over TLS; browsers must not heed HSTS elsewhere
                (RFC 6797 section 8.1).
        """
        return self._lines[is_secure]

    def lines_beside(self, own: Mapping[bytes, bytes], *, is_secure: bool) -> bytes:
        """Return the lines that replace all that a response has of ``names``.

        Args:
            own: the response's fields by name in lower case.
        """
        said = tuple([(name, own[name]) for name in self._values if name in own])
        if not said:
            return self._lines[is_secure]
        return self._beside(said, is_secure)

    def _beside(self, said: tuple[tuple[bytes, bytes], ...], is_secure: bool) -> bytes:
        own = dict(said)
        lines = b""
        for name, value in self._values.items():
            if name == HSTS and not is_secure:
                continue
            if name not in own:
                lines += _line(name, value)
                continue
            for each in combine(name, own[name].decode("latin-1"), value):
                lines += _line(name, each)
        return lines


@lru_cache(maxsize=4096)
def combine(name: bytes, own: str, policy: str) -> tuple[str, ...]:
    """Return the values that stand where a response says ``own`` and the policy ``policy``.

    Args:
        name: of the field, in lower case.
    """
    if own == policy:
        return (policy,)
    if name == CSP:
        return _combined_csp(own, policy)
    if name == HSTS:
        return (own,) if _hsts_strength(own) > _hsts_strength(policy) else (policy,)
    if name == b"permissions-policy":
        return (_closer_permissions(own, policy),)
    order = _ORDERS.get(name)
    if order is None:
        return (policy,)
    # Of several referrer policies the last that a browser knows counts.
    given = own.rpartition(",")[2].strip().lower()
    if given not in order:
        return (policy,)
    wanted_rank = order.index(policy.lower()) if policy.lower() in order else len(order)
    return (own,) if order.index(given) < wanted_rank else (policy,)


def _combined_csp(own: str, policy: str) -> tuple[str, ...]:
    """Return the policies that a browser is to enforce, all of them.

    Where the page's own suffices, it reports to where the site's does, unless it says where itself:
    reporting restricts nothing.

    Args:
        own: one or more, separated by commas (CSP section 2.2.2); what is none is left out.
    """
    wanted = dict(parse_csp(policy))
    reporting = {each: wanted.pop(each) for each in _REPORTING if each in wanted}
    stated: list[str] = []
    is_enough = False
    for text in map(str.strip, own.split(",")):
        try:
            directives = parse_csp(text)
        except ValueError:
            continue
        if not directives:
            continue
        if not is_enough and is_as_strict(directives, wanted):
            is_enough = True
            if reporting and not any(each in directives for each in _REPORTING):
                text = f"{text.rstrip('; ')}; {serialize_csp(reporting)}"
        stated.append(text)
    return tuple(stated) if is_enough else (*stated, policy)


def is_hsts_host(domain: str) -> bool:
    """Tell whether HSTS may be said for a host: a name of the public tree, no address."""
    host = domain.partition(":")[0].lower().rstrip(".")
    try:
        ip_address(host)
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost") and "." in host
    return False


def _hsts(section: Headers) -> str | None:
    hsts = section.hsts
    if hsts is None:
        return None
    value = f"max-age={int(hsts.max_age_seconds)}"
    if hsts.include_subdomains:
        value += "; includeSubDomains"
    return value + "; preload" if hsts.preload else value


def _hsts_strength(value: str) -> tuple[bool, int]:
    """Return how much a value covers: subdomains first, then for how long."""
    found = _MAX_AGE.search(value)
    if found is None:
        return False, -1
    return "includesubdomains" in value.lower(), int(found[1])


def _closer_permissions(own: str, policy: str) -> str:
    """Return the policy's features with those that a response closes besides."""
    features = {name: value for name, value in map(_feature, policy.split(",")) if name}
    for name, value in map(_feature, own.split(",")):
        if name and (name not in features or value == "()"):
            features[name] = value
    return ", ".join(f"{name}={value}" for name, value in features.items())


def _feature(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name.strip().lower(), value.strip()


def _line(name: bytes, value: str) -> bytes:
    shown = b"-".join(part.capitalize() for part in name.split(b"-"))
    return shown + b": " + value.encode("latin-1") + b"\r\n"
