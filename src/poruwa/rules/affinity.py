"""The affinity cookie: which instance a browser came from, without saying so.

The value is a MAC of the instance's name, so that it names no address, cannot be forged and needs
no table of sessions. The gateway's balancer looks it up before it chooses; a value it does not
know (another site's, a removed instance's, a forged one) simply means a fresh choice. It is set
only on responses that no shared cache may store.

Sources: RFC 6265bis for cookies, RFC 9111 section 3 and RFC 9213 for what a shared cache may store.
Does not choose instances and does not know whether they are healthy.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from functools import lru_cache

from poruwa.rules.cookie import CookieForm, cookie_name

MAC_BYTES = 18  # 144 bits: 24 characters of base64url without padding

_DIRECTIVE = re.compile(
    rb"[ \t]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb"(?:=([!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"(?:[^\"\\]|\\.)*\"))?)?[ \t]*(?:,|\Z)"
)
_NEVER_STORED_METHODS = frozenset((b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE"))
_STORED_IF_EXPLICIT_METHODS = frozenset((b"POST", b"PATCH"))
# RFC 9110 section 15.1, and 304, which updates what is stored.
_HEURISTIC_STATUSES = frozenset((200, 203, 204, 206, 300, 301, 304, 308, 404, 405, 410, 414, 501))
_EXPLICIT_DIRECTIVES = frozenset((b"public", b"max-age", b"s-maxage"))


class AffinityTable:
    """Cookie values of a pool's instances, both ways. Built once per topology.

    Args:
        pool: the pool's name; the same instance name in another pool has another value.
        instance_names: every instance, also those that are down now.
        keys: the key ring, oldest first; values are written with the newest and read with all.

    Raises:
        ValueError: no key, an empty one, or a NUL in a name.
    """

    __slots__ = ("_instances", "_values")

    def __init__(self, pool: str, instance_names: Iterable[str], keys: Sequence[bytes]) -> None:
        if not keys or not all(keys):
            raise ValueError("the affinity cookie needs at least one key, and none may be empty")
        self._values: dict[str, bytes] = {}
        self._instances: dict[bytes, str] = {}
        for name in instance_names:
            if "\0" in name or "\0" in pool:
                raise ValueError(f"NUL in the name of pool {pool!r} or instance {name!r}")
            for key in keys:  # newest last: its value is the one that stays in _values
                value = _affinity_value(key, pool, name)
                self._values[name] = value
                self._instances[value] = name

    def value(self, instance_name: str) -> bytes:
        """Return the value to set for an instance. Raises KeyError for one it does not know."""
        return self._values[instance_name]

    def instance(self, value: bytes) -> str | None:
        """Return the instance that ``value`` names under any key of the ring, or None.

        A dict lookup, not a comparison in constant time: its time depends on a keyed hash of the
        whole value, so nothing about a right one can be learnt byte by byte.
        """
        return self._instances.get(value)


def affinity_forms(name: str, max_age_seconds: float) -> tuple[CookieForm, CookieForm]:
    """Return how the cookie is set over plain HTTP, and over TLS: where a prefixed name is kept.

    Args:
        name: without prefix.
        max_age_seconds: 0 until the browser closes.

    Raises:
        ValueError: browsers would not keep it.
    """
    plain, secure = (
        CookieForm(
            name=cookie_name(name, secure=is_secure, http_only=True, domain=None),
            max_age_seconds=int(max_age_seconds) or None,
            secure=is_secure,
        )
        for is_secure in (False, True)
    )
    return plain, secure


def may_bind(method: bytes, *, is_shared: bool) -> bool:
    """Whether a request goes where its client's affinity cookie says.

    On a shared route only what no cache keeps: a copy for everybody comes from anybody.
    """
    return not is_shared or method not in (b"GET", b"HEAD")


def may_carry_cookie(
    method: bytes,
    status: int,
    cache_control: bytes | None,
    *,
    targeted: bytes | None = None,
    has_expires: bool = False,
) -> bool:
    """Whether no shared cache may store the response, so that a cookie on it stays with one user.

    Args:
        method: of the request.
        status: of the response, 100-999.
        cache_control: Cache-Control of the response, its lines joined by ``", "``; None if absent.
        targeted: CDN-Cache-Control or Surrogate-Control: a CDN heeds it *instead* (RFC 9213).
        has_expires: whether the response has an Expires field.

    What cannot be parsed counts as storable: the cookie can wait for the next response.
    """
    if method in _NEVER_STORED_METHODS or status == 101:
        return True
    if targeted is not None and not _forbids_sharing(targeted):
        return False
    if cache_control is not None:
        if _forbids_sharing(cache_control):
            return True
        if _permits_explicitly(cache_control):
            return False
    if has_expires:
        return False
    return method in _STORED_IF_EXPLICIT_METHODS or (
        status not in _HEURISTIC_STATUSES and method in (b"GET", b"HEAD")
    )


def _affinity_value(key: bytes, pool: str, name: str) -> bytes:
    message = b"poruwa-affinity\0" + pool.encode() + b"\0" + name.encode()
    return urlsafe_b64encode(hmac.digest(key, message, "sha256")[:MAC_BYTES])


@lru_cache(maxsize=512)
def _directives(value: bytes) -> dict[bytes, bytes | None] | None:
    """Return the directives, names in lower case; None for what is no Cache-Control list."""
    found: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(value):
        match = _DIRECTIVE.match(value, at)
        if match is None:
            return None
        at = match.end()
        if match[1] is not None:
            found.setdefault(match[1].lower(), match[2])
    return found


def _forbids_sharing(value: bytes) -> bool:
    directives = _directives(value)
    if directives is None:
        return False
    # ``private="field"`` covers those fields only (RFC 9111 section 5.2.2.7), and a cache that
    # knows must-understand sets no-store aside (section 5.2.2.3).
    if b"private" in directives and directives[b"private"] is None:
        return True
    return b"no-store" in directives and b"must-understand" not in directives


def _permits_explicitly(value: bytes) -> bool:
    directives = _directives(value)
    return directives is None or not _EXPLICIT_DIRECTIVES.isdisjoint(directives)
