"""What a shared cache may keep, for how long, and whether it may answer with what it keeps.

When a response comes: ``response_control`` reads its directives, ``is_storable`` decides whether it
is kept, ``facts_of`` computes once what later decisions need. When a request comes:
``request_directives`` and ``decide_reuse``, a few comparisons on a hit; when the origin fails:
``may_serve_stale_on_error``.

Sources: RFC 9111 (sections named at each rule), RFC 5861 (stale-while-revalidate, stale-if-error),
RFC 8246 (immutable), RFC 9213 (CDN-Cache-Control). Not decided here: which variant is meant (Vary),
what a 304 or 206 changes, changes of tags, and what a policy's classes say instead of the origin.

All times are wall seconds. Fields map lower-case names to values, repeated lines joined by
``", "``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from poruwa.rules.cache_control import (
    ANY_STALENESS,
    MAX_DELTA_SECONDS,
    NO_DIRECTIVES,
    Directives,
    parse_cache_control,
    parse_cdn_cache_control,
)
from poruwa.rules.http_date import parse_http_date

HEURISTIC_STATUSES: Final = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
"""Kept without being told for how long (RFC 9110 section 15.1); a 206 as the 200 it is part of."""

UNDERSTOOD_STATUSES: Final = HEURISTIC_STATUSES | frozenset(
    (
        *(201, 202, 205, 302, 303, 305, 307),
        *(400, 401, 402, 403, 406, 409, 411, 413, 415, 422, 423, 424, 425, 426, 451),
        *(500, 502, 503, 504, 505, 506, 507, 508),
    )
)
"""Final statuses whose rules for caches are kept here: what must-understand asks for."""

ONE_REQUEST_STATUSES: Final = frozenset((407, 408, 412, 416, 417, 421, 428, 429, 431, 511))
"""Never kept: they speak of one client, connection, precondition or range, so that a copy would
answer others wrongly. RFC 6585 forbids the last four outright."""

HEURISTIC_SHARE: Final = 0.1
"""Of the time since the last change (RFC 9111 section 4.2.2 names this as typical)."""

MAX_HEURISTIC_SECONDS: Final = 86_400.0
"""From a day on RFC 7234 wanted a warning on a guess; we do not guess further."""

DISCONNECTED_SECONDS: Final = 86_400.0
"""How long after its lifetime a response stands in for an origin that gives no answer at all, if it
has not said so itself. RFC 9111 section 4.2.4 lets a disconnected cache serve stale, without a
limit; what is a day too old is not worth more than the error."""


class StoreDecision(Enum):
    """Whether a response may be kept, or the first reason why not."""

    STORE = "store"
    METHOD = "method"
    NOT_FINAL = "not-final"  # 1xx
    PARTIAL = "partial"  # 206 and 304: they complete or update something that is stored
    ONE_REQUEST = "one-request"
    NOT_UNDERSTOOD = "not-understood"
    REQUEST_NO_STORE = "request-no-store"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    VARY_ANY = "vary-any"
    NOT_EXPLICIT = "not-explicit"  # nothing says it may be kept


class LifetimeSource(Enum):
    """What a freshness lifetime was taken from."""

    CDN_CACHE_CONTROL = "cdn-cache-control"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    CLASS = "class"  # of the policy
    NONE = "none"


class ReuseAction(Enum):
    """What a request for a stored response comes to."""

    FRESH = "fresh"  # serve it
    STALE = "stale"  # serve it: the client said it may be stale
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"  # serve it, refresh in the background
    REVALIDATE = "revalidate"  # ask the origin first, with the stored validators
    GATEWAY_TIMEOUT = "gateway-timeout"  # answer 504: the origin must not be asked


class ReuseReason(Enum):
    """What the action follows from."""

    FRESH = "fresh"
    IMMUTABLE = "immutable"  # fresh; a reload was not passed on
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"
    REQUEST_MAX_STALE = "request-max-stale"
    NO_CACHE = "no-cache"
    STALE = "stale"
    MUST_REVALIDATE = "must-revalidate"
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseControl:
    """The directives a response is under.

    ``targeted`` when they are of CDN-Cache-Control: then Cache-Control and Expires mean nothing to
    us (RFC 9213 section 2.2).
    """

    directives: Directives
    targeted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """What is known of a stored response once and for all.

    Attributes:
        born_at: when its age was 0.
        lifetime_seconds: the age from which on it is stale.
        lifetime_source: what that was taken from.
        must_revalidate: never to be served stale: must-revalidate, proxy-revalidate or s-maxage.
        no_cache: never to be served without asking the origin.
        immutable: its content does not change while it is fresh.
        stale_while_revalidate_seconds: how long after its lifetime it may be served at once.
        stale_if_error_seconds: how long after its lifetime it may stand in for a failed origin;
            None if the origin did not say.
    """

    born_at: float
    lifetime_seconds: float
    lifetime_source: LifetimeSource
    must_revalidate: bool
    no_cache: bool
    immutable: bool
    stale_while_revalidate_seconds: float
    stale_if_error_seconds: float | None


@dataclass(frozen=True, slots=True)
class Reuse:
    """What to do with a stored response, and why."""

    action: ReuseAction
    reason: ReuseReason


_FRESH: Final = Reuse(ReuseAction.FRESH, ReuseReason.FRESH)
_IMMUTABLE: Final = Reuse(ReuseAction.FRESH, ReuseReason.IMMUTABLE)
_MAX_STALE: Final = Reuse(ReuseAction.STALE, ReuseReason.REQUEST_MAX_STALE)
_WHILE_REVALIDATE: Final = Reuse(
    ReuseAction.STALE_WHILE_REVALIDATE, ReuseReason.STALE_WHILE_REVALIDATE
)
_STALE: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.STALE)
_MUST_REVALIDATE: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.MUST_REVALIDATE)
_NO_CACHE: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.NO_CACHE)
_REQUEST_NO_CACHE: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.REQUEST_NO_CACHE)
_REQUEST_MAX_AGE: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.REQUEST_MAX_AGE)
_REQUEST_MIN_FRESH: Final = Reuse(ReuseAction.REVALIDATE, ReuseReason.REQUEST_MIN_FRESH)

_PRAGMA_NO_CACHE: Final = Directives(no_cache=True)


def request_directives(fields: Mapping[bytes, bytes]) -> Directives:
    """Return a request's directives; ``Pragma: no-cache`` counts where no Cache-Control is sent.

    Source: RFC 9111 sections 5.2.1 and 5.4. ``NO_DIRECTIVES`` itself for most requests.
    """
    value = fields.get(b"cache-control")
    if value is not None:
        return parse_cache_control(value)
    pragma = fields.get(b"pragma")
    if pragma is not None and parse_cache_control(pragma).no_cache:
        return _PRAGMA_NO_CACHE
    return NO_DIRECTIVES


def response_control(fields: Mapping[bytes, bytes]) -> ResponseControl:
    """Return the directives a response is under: a valid CDN-Cache-Control, else Cache-Control."""
    targeted = fields.get(b"cdn-cache-control")
    if targeted is not None:
        directives = parse_cdn_cache_control(targeted)
        if directives is not None:
            return ResponseControl(directives=directives, targeted=True)
    return ResponseControl(
        directives=parse_cache_control(fields.get(b"cache-control")), targeted=False
    )


def is_storable(
    *,
    method: bytes,
    status: int,
    request: Directives,
    has_authorization: bool,
    fields: Mapping[bytes, bytes],
    control: ResponseControl,
    heuristics: bool,
) -> StoreDecision:
    """Decide whether a whole response may be kept by a shared cache (RFC 9111 section 3).

    Before it is kept, ``private_fields`` and ``no_cache_fields`` of its directives must be cut from
    it (sections 5.2.2.4 and 5.2.2.7).

    Args:
        method: of the request; only responses to GET are kept.
        status: of the response; for a 206 that is kept as a part of a 200, 200 (section 3.3).
        request: its directives; ``NO_DIRECTIVES`` where clients have no say.
        has_authorization: whether it carried an Authorization field.
        fields: of the response.
        control: ``response_control`` of them.
        heuristics: whether a status may be kept that nothing is said of.
    """
    if method != b"GET":
        return StoreDecision.METHOD
    directives = control.directives
    refused = _refused_status(status, must_understand=directives.must_understand)
    if refused is not None:
        return refused
    if request.no_store:
        return StoreDecision.REQUEST_NO_STORE
    # Section 5.2.2.3: whoever understands the status and this directive ignores no-store.
    if directives.no_store and not directives.must_understand:
        return StoreDecision.NO_STORE
    if directives.private:
        return StoreDecision.PRIVATE
    # Section 3.5.
    if has_authorization and not (
        directives.public or directives.must_revalidate or directives.s_maxage is not None
    ):
        return StoreDecision.AUTHORIZATION
    if has_any_vary(fields.get(b"vary")):
        return StoreDecision.VARY_ANY
    if not _is_permitted(status, fields, control, heuristics=heuristics):
        return StoreDecision.NOT_EXPLICIT
    return StoreDecision.STORE


def _refused_status(status: int, *, must_understand: bool) -> StoreDecision | None:
    if status < 200:
        return StoreDecision.NOT_FINAL
    if status in (206, 304):
        return StoreDecision.PARTIAL
    if status in ONE_REQUEST_STATUSES:
        return StoreDecision.ONE_REQUEST
    if must_understand and status not in UNDERSTOOD_STATUSES:
        return StoreDecision.NOT_UNDERSTOOD
    return None


def _is_permitted(
    status: int, fields: Mapping[bytes, bytes], control: ResponseControl, *, heuristics: bool
) -> bool:
    """Tell whether anything allows keeping a response: the last condition of section 3.

    Without heuristics, no-cache still keeps what carries no lifetime: it says that each use will
    be asked for, which is as explicit as a lifetime.
    """
    directives = control.directives
    if directives.public or _has_explicit_lifetime(fields, control):
        return True
    return status in HEURISTIC_STATUSES and (heuristics or directives.no_cache)


def _has_explicit_lifetime(fields: Mapping[bytes, bytes], control: ResponseControl) -> bool:
    directives = control.directives
    if directives.s_maxage is not None or directives.max_age is not None:
        return True
    return not control.targeted and b"expires" in fields


def has_any_vary(vary: bytes | None) -> bool:
    """Tell whether a Vary field has ``*`` among its members: no request matches (section 4.1)."""
    if vary is None or b"*" not in vary:
        return False
    return any(member.strip(b" \t") == b"*" for member in vary.split(b","))


def freshness_lifetime(
    status: int,
    fields: Mapping[bytes, bytes],
    control: ResponseControl,
    *,
    now: float,
    heuristics: bool = True,
) -> tuple[float, LifetimeSource]:
    """Return how many seconds a response is fresh, and what says so (RFC 9111 section 4.2.1).

    Args:
        now: when the response came; stands in for a Date that is missing or invalid.
        heuristics: whether to guess where nothing is said (section 4.2.2).
    """
    directives = control.directives
    if directives.s_maxage is not None:
        source = LifetimeSource.CDN_CACHE_CONTROL if control.targeted else LifetimeSource.S_MAXAGE
        return float(directives.s_maxage), source
    if directives.max_age is not None:
        source = LifetimeSource.CDN_CACHE_CONTROL if control.targeted else LifetimeSource.MAX_AGE
        return float(directives.max_age), source
    if not control.targeted and b"expires" in fields:
        # Section 5.3: what is no date, such as 0 or two of them, has passed.
        expires = date_in(fields, b"expires", now=now)
        if expires is None:
            return 0.0, LifetimeSource.EXPIRES
        return max(0.0, expires - _origin_date(fields, now=now)), LifetimeSource.EXPIRES
    if heuristics and (status in HEURISTIC_STATUSES or directives.public):
        modified = date_in(fields, b"last-modified", now=now)
        if modified is not None:
            unchanged = _origin_date(fields, now=now) - modified
            if unchanged > 0.0:
                guess = min(unchanged * HEURISTIC_SHARE, MAX_HEURISTIC_SECONDS)
                return guess, LifetimeSource.HEURISTIC
    return 0.0, LifetimeSource.NONE


def date_in(fields: Mapping[bytes, bytes], name: bytes, *, now: float) -> int | None:
    """Return the date in a field; None if there is none, or several, or it is invalid."""
    value = fields.get(name)
    return None if value is None else parse_http_date(value, now=now)


def _origin_date(fields: Mapping[bytes, bytes], *, now: float) -> float:
    date = date_in(fields, b"date", now=now)
    return now if date is None else float(date)


def parse_age(value: bytes | None) -> int:
    """Return the seconds of an Age field, at most 2^31; 0 for what is no Age.

    Of a list the first member counts, and only a non-negative integer is an age (section 5.1).
    """
    if value is None:
        return 0
    first = value.lstrip(b", \t").partition(b",")[0].rstrip(b" \t")
    if not first.isdigit():
        return 0
    digits = first.lstrip(b"0")
    if len(digits) > 10:
        return MAX_DELTA_SECONDS
    return min(int(digits or b"0"), MAX_DELTA_SECONDS)


def age_at_receipt(
    *, age_field: bytes | None, date_value: int | None, request_time: float, response_time: float
) -> float:
    """Return how old a response was when it came: the corrected initial age (section 4.2.3).

    An entry keeps ``born_at = response_time - age_at_receipt(...)``; its age is ``now - born_at``.

    Args:
        date_value: of its Date field, None where missing or invalid.
        request_time, response_time: when the request was sent and the response's head had come.
    """
    # A Date is cut to whole seconds; cutting our time as well keeps a response of this very second
    # from seeming old.
    apparent_age = 0.0 if date_value is None else max(0.0, float(int(response_time) - date_value))
    delay = max(0.0, response_time - request_time)  # the wall clock may have been set back
    return max(apparent_age, parse_age(age_field) + delay)


def current_age(
    *,
    age_field: bytes | None,
    date_value: int | None,
    request_time: float,
    response_time: float,
    now: float,
) -> float:
    """Return how old a response is at ``now`` (section 4.2.3); see ``age_at_receipt``."""
    at_receipt = age_at_receipt(
        age_field=age_field,
        date_value=date_value,
        request_time=request_time,
        response_time=response_time,
    )
    return at_receipt + max(0.0, now - response_time)


def facts_of(
    *,
    status: int,
    fields: Mapping[bytes, bytes],
    control: ResponseControl,
    request_time: float,
    response_time: float,
    heuristics: bool = True,
) -> StoredFacts:
    """Return what an entry keeps of a response for ``decide_reuse``."""
    directives = control.directives
    lifetime, source = freshness_lifetime(
        status, fields, control, now=response_time, heuristics=heuristics
    )
    age = age_at_receipt(
        age_field=fields.get(b"age"),
        date_value=date_in(fields, b"date", now=response_time),
        request_time=request_time,
        response_time=response_time,
    )
    stale_if_error = directives.stale_if_error
    return StoredFacts(
        born_at=response_time - age,
        lifetime_seconds=lifetime,
        lifetime_source=source,
        # Section 5.2.2.10: s-maxage implies proxy-revalidate.
        must_revalidate=(
            directives.must_revalidate
            or directives.proxy_revalidate
            or directives.s_maxage is not None
        ),
        no_cache=directives.no_cache,
        immutable=directives.immutable,
        stale_while_revalidate_seconds=float(directives.stale_while_revalidate or 0),
        stale_if_error_seconds=None if stale_if_error is None else float(stale_if_error),
    )


def is_fetched_for_all(
    method: bytes,
    request: Directives,
    *,
    is_known_private: bool,
    has_origin_condition: bool,
    is_made_anew: bool,
) -> bool:
    """Tell whether what a request misses is fetched so that others may have it too.

    Else it goes to the origin as it came, and the answer to whom it came from.

    Args:
        method: GET or HEAD.
        request: its directives; nothing is stored for no-store (RFC 9111 section 5.2.1.5).
        is_known_private: nothing is stored, as a moment ago the answer was not for all.
        has_origin_condition: If-Match or If-Unmodified-Since, which only the origin can decide
            (RFC 9110 section 13.2.1; RFC 9111 section 4.3.2).
        is_made_anew: the origin is asked by a GET of our own making. If not, the answer to a HEAD
            has no content to keep.
    """
    return not (
        is_known_private
        or request.no_store
        or has_origin_condition
        or (method == b"HEAD" and not is_made_anew)
    )


def decide_reuse(
    request: Directives, stored: StoredFacts, now: float, *, ignore_client: bool = False
) -> Reuse:
    """Decide whether a stored response answers a request (RFC 9111 sections 4, 4.2.4 and 5.2.1).

    Args:
        request: ``request_directives`` of its fields.
        ignore_client: whether the client's wishes count for nothing, but only-if-cached: without
            that, anybody could make a shared page be fetched at every request.
    """
    fresh_seconds = stored.lifetime_seconds - (now - stored.born_at)
    if request is NO_DIRECTIVES:
        if fresh_seconds > 0.0 and not stored.no_cache:
            return _FRESH
        return _reuse_by_origin(stored, fresh_seconds)
    if ignore_client:
        reuse = _reuse_by_origin(stored, fresh_seconds)
    else:
        reuse = _reuse_by_both(request, stored, now, fresh_seconds)
    if request.only_if_cached and reuse.action is ReuseAction.REVALIDATE:
        return Reuse(ReuseAction.GATEWAY_TIMEOUT, reuse.reason)
    return reuse


def _reuse_by_origin(stored: StoredFacts, fresh_seconds: float) -> Reuse:
    """Decide by what the origin said alone. ``fresh_seconds`` is negative for the stale."""
    if stored.no_cache:
        return _NO_CACHE
    if fresh_seconds > 0.0:
        return _FRESH
    if stored.must_revalidate:
        return _MUST_REVALIDATE
    if -fresh_seconds < stored.stale_while_revalidate_seconds:
        return _WHILE_REVALIDATE
    return _STALE


def _reuse_by_both(
    request: Directives, stored: StoredFacts, now: float, fresh_seconds: float
) -> Reuse:
    """Decide by what the origin allows and the client wishes (section 5.2.1)."""
    if request.no_cache or request.no_cache_fields:
        return _REQUEST_NO_CACHE
    by_origin = _reuse_by_origin(stored, fresh_seconds)
    if by_origin.action is ReuseAction.REVALIDATE and by_origin is not _STALE:
        return by_origin
    is_fresh = by_origin is _FRESH
    max_age = request.max_age
    if max_age is not None and (max_age == 0 or now - stored.born_at > max_age):
        # RFC 8246 section 2.1: a reload (max-age=0) of what cannot have changed is not passed on;
        # a forced one (no-cache, above) is.
        if not (is_fresh and stored.immutable):
            return _REQUEST_MAX_AGE
        by_origin = _IMMUTABLE
    if request.min_fresh is not None and fresh_seconds < request.min_fresh:
        return _REQUEST_MIN_FRESH
    if is_fresh:
        return by_origin
    if request.max_stale is None:
        # Section 5.2.1.1: who names an age, but no staleness, wants nothing stale.
        return by_origin if max_age is None else _STALE
    if by_origin is _WHILE_REVALIDATE:
        return by_origin
    if request.max_stale == ANY_STALENESS or -fresh_seconds <= request.max_stale:
        return _MAX_STALE
    return _STALE


def may_serve_stale_on_error(
    stored: StoredFacts, request: Directives, now: float, *, default_seconds: float
) -> bool:
    """Tell whether a stored response may stand in for an origin that fails or cannot be reached.

    Where it may not, the caller passes the failure on, or answers 504 (RFC 9111 section 5.2.2.2).
    What is still fresh, and was to be validated for the client's sake only, always may.

    Args:
        request: its directives; its stale-if-error widens the origin's (RFC 5861 section 4), its
            no-cache forbids (section 5.2.1.4). ``NO_DIRECTIVES`` where clients have no say.
        default_seconds: the window where the origin names none: ``DISCONNECTED_SECONDS`` where it
            gave no answer; for an answer that is an error (section 4.3.3) 0, as only stale-if-error
            is leave to hide it.
    """
    if stored.no_cache or request.no_cache or request.no_cache_fields:
        return False
    stale_seconds = now - stored.born_at - stored.lifetime_seconds
    if stale_seconds < 0.0:
        return True
    if stored.must_revalidate:
        return False
    window = stored.stale_if_error_seconds
    if window is None:
        window = default_seconds
    if request.stale_if_error is not None and request.stale_if_error > window:
        window = float(request.stale_if_error)
    return stale_seconds < window
