"""Forged requests: whether one that changes something comes from the site's own pages.

Browsers say where a request comes from (``Sec-Fetch-Site``, Fetch Metadata; ``Origin``, Fetch
section 3.2), scripts cannot change what they say, and that decides nearly always, before anything
of the request is believed. Only where a browser says nothing, but sent cookies, is a token needed:
32 characters, bound to the session by a MAC, made anew every hour. Tokens of earlier hours of the
same session stay good, so that a form that was opened in the morning can be sent in the evening.

The gateway and ``SecurityMiddleware`` ask the same: which origin a request was sent to
(``origin_of``), whose pages may make it (``WantedOrigins``), and what follows (``judge_origin``).

Sources: OWASP CSRF Prevention cheat sheet; ASVS 5.0 section 3.5. No clock: ``now`` is in wall
seconds.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Final

from poruwa.config.model_route import Cors

SAFE_METHODS: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_PERIOD_CHARACTERS: Final = 4  # three bytes: hours until the year 3883
_PERIOD_BYTES: Final = 3
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}


class CsrfVerdict(Enum):
    """What is known of a request's origin; the value says it for logs and metrics."""

    SAFE = "safe"  # changes nothing
    OWN = "own"  # from the site's own pages
    TRUSTED = "trusted"  # from an origin that the policy names
    NO_BROWSER = "no-browser"  # nothing says where from, and it carries nothing of a browser
    TOKEN_NEEDED = "token-needed"  # noqa: S105
    CROSS_SITE = "cross-site"
    SAME_SITE = "same-site"  # of a sibling subdomain
    FOREIGN_ORIGIN = "foreign-origin"
    CONTRADICTION = "contradiction"  # its fields do not go together

    @property
    def is_refused(self) -> bool:
        """Whether it gets 403, whatever else it carries."""
        return self in _REFUSED


_REFUSED: Final = frozenset(
    (
        CsrfVerdict.CROSS_SITE,
        CsrfVerdict.SAME_SITE,
        CsrfVerdict.FOREIGN_ORIGIN,
        CsrfVerdict.CONTRADICTION,
    )
)


def judge_origin(
    method: bytes,
    *,
    own_origin: bytes,
    origin: bytes | None,
    fetch_site: bytes | None,
    has_cookies: bool,
    trusted: AbstractSet[bytes] = frozenset(),
    is_handshake: bool = False,
) -> CsrfVerdict:
    """Return what a request's fields say of where it comes from.

    Args:
        own_origin: ``scheme://host[:port]`` that the request was sent to, in lower case.
        origin: the Origin field; None where there is none. ``null`` is foreign.
        fetch_site: the Sec-Fetch-Site field.
        trusted: further origins, in lower case.
        is_handshake: of a WebSocket: a GET that browsers let any page make (RFC 6455 section 10.2).
    """
    if method in SAFE_METHODS and not is_handshake:
        return CsrfVerdict.SAFE
    if origin is not None:
        origin = origin.lower()
        if origin in trusted:
            return CsrfVerdict.TRUSTED
        if origin != own_origin:
            return CsrfVerdict.FOREIGN_ORIGIN
    if fetch_site is not None:
        if fetch_site == b"same-origin":
            return CsrfVerdict.OWN
        if fetch_site == b"none":  # typed, or a reload: no page caused it
            return CsrfVerdict.OWN
        if origin is not None:
            # A proxy that changed the host makes a browser's "same-origin" look otherwise never.
            return CsrfVerdict.CONTRADICTION
        if fetch_site == b"same-site":
            return CsrfVerdict.SAME_SITE
        return CsrfVerdict.CROSS_SITE
    if origin is not None:
        return CsrfVerdict.OWN
    return CsrfVerdict.TOKEN_NEEDED if has_cookies else CsrfVerdict.NO_BROWSER


def origin_of(scheme: bytes, host: bytes) -> bytes:
    """Return the origin of what is sent to a host, as browsers write it (RFC 6454 section 6.2).

    Args:
        scheme: ``http`` or ``https``.
        host: with its port, if there is one.
    """
    return scheme + b"://" + host.lower().removesuffix(_DEFAULT_PORTS[scheme])


class WantedOrigins:
    """The other origins whose pages may change something, on one route.

    Those that the policy trusts, and those that the route's ``cors`` lets use the method: without
    credentials, or where it says that they may come along.

    Args:
        trusted: ``csrf.trusted_origins``.
        cors: the route's; None where it has none.
    """

    __slots__ = ("_is_open", "_methods", "_named", "_takes_credentials", "_trusted")

    def __init__(self, trusted: Iterable[str], cors: Cors | None) -> None:
        self._trusted = frozenset([each.lower().encode() for each in trusted])
        origins = cors.origins if cors is not None else ()
        methods = cors.methods if cors is not None else ()
        self._is_open = "*" in origins
        self._named = frozenset([each.lower().encode() for each in origins])
        self._methods = frozenset([each.encode() for each in methods])
        self._takes_credentials = cors is not None and cors.credentials

    def of(
        self, method: bytes, origin: bytes | None, *, has_cookies: bool, authorization: bytes | None
    ) -> frozenset[bytes]:
        """Return those that matter for one request, in lower case.

        Args:
            method: of the request; GET for the handshake of a WebSocket.
            origin: the Origin field.
            has_cookies: whether it carries any.
            authorization: the field. What browsers add themselves to a form of anybody's counts
                like a cookie (``cannot_be_forged``).
        """
        if origin is None or method not in self._methods:
            return self._trusted
        if not self._takes_credentials and (
            has_cookies or (authorization is not None and not cannot_be_forged(authorization))
        ):
            return self._trusted
        origin = origin.lower()
        if self._is_open or origin in self._named:
            return self._trusted | {origin}
        return self._trusted

    def judge(
        self,
        method: bytes,
        *,
        own_origin: bytes,
        origin: bytes | None,
        fetch_site: bytes | None,
        has_cookies: bool,
        authorization: bytes | None,
        is_handshake: bool,
        further: frozenset[bytes] = frozenset(),
    ) -> CsrfVerdict:
        """Return ``judge_origin`` of a request, with these origins trusted.

        Args:
            further: others that are trusted as well, in lower case.
        """
        trusted = self.of(method, origin, has_cookies=has_cookies, authorization=authorization)
        return judge_origin(
            method,
            own_origin=own_origin,
            origin=origin,
            fetch_site=fetch_site,
            has_cookies=has_cookies and not cannot_be_forged(authorization),
            trusted=trusted | further,
            is_handshake=is_handshake,
        )


def cannot_be_forged(authorization: bytes | None) -> bool:
    """Whether a request's credentials are of a kind that no page makes a browser send by itself.

    Bearer tokens are put there by a program, or by a script of an origin that may (a field that
    other origins' scripts need leave for, Fetch section 3.3.5). Basic ones browsers add themselves.
    """
    return authorization is not None and authorization[:7].lower() == b"bearer "


class CsrfTokens:
    """Makes and checks tokens.

    Args:
        keys: the key ring, oldest first; made with the newest, checked with all.
        length: characters of a token, 32 to 128 and a multiple of four.
        rotation_seconds: how often a session's token changes.

    Raises:
        ValueError: no key, or a length that cannot be made.
    """

    __slots__ = ("_keys", "_length", "_rotation_seconds")

    def __init__(
        self, keys: tuple[bytes, ...], *, length: int = 32, rotation_seconds: int = 3600
    ) -> None:
        if not keys or not all(keys):
            raise ValueError("tokens need at least one key, and none may be empty")
        if length % 4 or not 32 <= length <= 128:
            raise ValueError(f"a token has 32 to 128 characters, a multiple of 4; not {length}")
        self._keys = keys
        self._length = length
        self._rotation_seconds = rotation_seconds

    def mint(self, session_id: bytes, now: float) -> str:
        """Return the token of a session for this hour."""
        period = int(now) // self._rotation_seconds
        return self._token(self._keys[-1], session_id, period).decode()

    def is_good(self, token: str, session_id: bytes, *, started_at: float, now: float) -> bool:
        """Whether a token was made for this session, in this hour or an earlier one of its life.

        Compares in constant time; whatever is wrong, the answer is the same.
        """
        given = token.encode("ascii", "replace")
        if len(given) != self._length:
            return False
        try:
            period = int.from_bytes(
                urlsafe_b64decode(given[:_PERIOD_CHARACTERS]), "big"
            )  # of what is no base64url something comes, too: then no MAC is right
        except ValueError:
            return False
        first = int(started_at) // self._rotation_seconds
        last = int(now) // self._rotation_seconds + 1  # another instance's clock may be ahead
        matches = [
            hmac.compare_digest(self._token(key, session_id, period), given) for key in self._keys
        ]
        return any(matches) and first <= period <= last

    def _token(self, key: bytes, session_id: bytes, period: int) -> bytes:
        stamp = (period % (1 << 8 * _PERIOD_BYTES)).to_bytes(_PERIOD_BYTES, "big")
        message = b"poruwa-csrf\0" + stamp + session_id
        mac = hmac.digest(key, message, "sha512")
        return (urlsafe_b64encode(stamp) + urlsafe_b64encode(mac + mac))[: self._length]
