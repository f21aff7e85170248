"""Two ways for a route to be cached: as its origin says, or as a class of the policy says.

A rule names what a request asks for, makes the request of a fill, and turns an answer into an entry
or refuses to. The cache itself (``gateway.cache``) knows neither Cache-Control nor classes.

- `FollowOrigin`: RFC 9111 for any origin, what ``--cache`` does. Clients may ask for more than is
  kept; the request of whoever comes first is the one that is sent.
- `CacheClass`: a shared class. One copy for all who ask alike, as ``rules.cache_class`` says; the
  origin is asked by an anonymous request of our own making, so that no client's fields reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from poruwa.config.model import (
    CdnProvider,
    DataClass,
    Dimension,
    Policy,
    Route,
    Scope,
    Unsure,
)
from poruwa.gateway.heads import stored_block
from poruwa.gateway.stored import StoredResponse, Variants
from poruwa.net.head import (
    CACHE_DIRECTIVES,
    COOKIE,
    ORIGIN_CONDITION,
)
from poruwa.net.http1 import RequestHead, ResponseHead, parse_request_head
from poruwa.rules.cache_class import (
    ClassDecision,
    allowed_query,
    browser_control,
    decide_class,
    expand_tags,
    is_compressible,
    is_key_path,
    preload_lines,
    query_value,
)
from poruwa.rules.cache_control import NO_DIRECTIVES, Directives
from poruwa.rules.cache_groups import parse_groups
from poruwa.rules.cookie import find_cookie
from poruwa.rules.freshness import (
    DISCONNECTED_SECONDS,
    LifetimeSource,
    ResponseControl,
    StoreDecision,
    StoredFacts,
    age_at_receipt,
    date_in,
    facts_of,
    is_storable,
    request_directives,
    response_control,
)
from poruwa.rules.invalidation import normalise_origin, normalise_target
from poruwa.rules.routing import RouteTable
from poruwa.rules.vary import best_language, canonical_accept_encoding, parse_vary, variant_key

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.routes import GatewayRoute

ORIGINS_KEPT: Final = 1_000
CLASS_LINES: Final = frozenset(
    (b"cache-control", b"cache-groups", b"cache-group-invalidation", b"cdn-cache-control",
     b"expires", b"pragma", b"set-cookie", b"surrogate-control", b"vary")
)  # fmt: skip
"""Response fields that a class says in the origin's place, or that end at the gateway."""

_DIRECTIVES: Final = 1 << CACHE_DIRECTIVES
_ORIGIN_CONDITION: Final = 1 << ORIGIN_CONDITION
_COOKIE: Final = 1 << COOKIE


class CacheRule:
    """How the requests of a route are cached."""

    __slots__ = (
        "_origins",
        "_origins_secure",
        "asks_when_unsure",
        "counts",
        "early_links",
        "hits",
        "is_refreshed_on_change",
        "is_tagged",
        "largest_bytes",
        "name",
        "refused",
        "views",
    )

    is_anonymous = False
    disconnected_seconds = 0.0

    def __init__(self, name: str, largest_bytes: int) -> None:
        self.name = name
        self.largest_bytes = largest_bytes
        self.is_tagged = False
        self.asks_when_unsure = True
        self.is_refreshed_on_change = False
        self.views: tuple[str, ...] = ()  # templates of what answers are counted as
        self.counts: dict[str, int] = {}
        self.refused: dict[str, int] = {}  # fills that were not kept, by reason
        self.hits = 0  # of the usual kind, counted apart from ``counts``
        self.early_links = b""  # lines of what the latest page had clients load ahead
        self._origins: dict[bytes, bytes] = {}
        self._origins_secure: dict[bytes, bytes] = {}

    def locate(self, exchange: Exchange) -> bytes | None:
        """Return what a request's URL is stored under, however it is written; None for no key."""
        raise NotImplementedError

    def primary_of(self, origin: bytes, path: bytes, query: bytes) -> bytes | None:
        """Return the same for a URL in normal form that nobody asked for, e.g. to purge it."""
        raise NotImplementedError

    def tag_of(self, origin: bytes, group: bytes) -> bytes:
        """Return the tag for a cache group of an origin (RFC 9875)."""
        return group

    def groups_of(self, primary: bytes, fields: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Return the tags that the cache groups of an origin's answer are."""
        return parse_groups(fields.get(b"cache-groups"))

    def variant(self, exchange: Exchange, primary: bytes, variants: Variants | None) -> bytes:
        """Return the key of what a request asks for of a URL."""
        raise NotImplementedError

    def directives(self, head: RequestHead) -> Directives:
        """Return what the client may say about caching."""
        return NO_DIRECTIVES

    def needs_origin(self, head: RequestHead) -> bool:
        """Tell whether a request has a condition that only the origin can decide."""
        return False

    def fill_head(self, exchange: Exchange, primary: bytes) -> RequestHead:
        """Return the head of the request that a fill sends."""
        raise NotImplementedError

    def request_for(self, primary: bytes, key: bytes) -> RequestHead | None:
        """Return a request that is answered with the variant ``key``; None if none can be made."""
        return None

    def fill_lines(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """Return a fill's lines on whom it serves, and its lines in place of the client's."""
        raise NotImplementedError

    def entry(
        self,
        primary: bytes,
        key: bytes,
        head: ResponseHead,
        *,
        route: GatewayRoute,
        request: RequestHead,
        directives: Directives,
        asked_at: float,
        now: float,
        is_part: bool = False,
    ) -> tuple[StoredResponse | None, bool]:
        """Return the entry, yet without a body, that an answer makes, or None if it is not kept.

        The second says whether an answer that is not kept might differ from client to client.

        Args:
            is_part: a 206 may be kept, as the part of a 200; else it is not.
        """
        raise NotImplementedError

    def facts(
        self, status: int, fields: Mapping[bytes, bytes], *, asked_at: float, now: float
    ) -> StoredFacts:
        """Return what ``fields`` say about age and lifetime."""
        raise NotImplementedError

    def kept_lines(self, lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return what of a validating answer's lines may update an entry."""
        return lines

    def origin_of(self, exchange: Exchange) -> bytes | None:
        """Return scheme and authority of a request in normal form; None for none."""
        host = exchange.head.host
        known = self._origins_secure if exchange.is_secure else self._origins
        origin = known.get(host)
        if origin is None:
            origin = normalise_origin(b"https" if exchange.is_secure else b"http", host)
            if origin is not None:
                if len(known) >= ORIGINS_KEPT:
                    known.clear()
                known[host] = origin
        return origin


class FollowOrigin(CacheRule):
    """RFC 9111, as the origin says."""

    __slots__ = ()

    disconnected_seconds = DISCONNECTED_SECONDS

    def locate(self, exchange: Exchange) -> bytes | None:
        origin = self.origin_of(exchange)
        target = exchange.target
        if not exchange.head.plain_path or exchange.route.rewrite is not None:
            normal = normalise_target(target)
            if normal is None:
                return None
            target = normal
        return None if origin is None else origin + target

    def primary_of(self, origin: bytes, path: bytes, query: bytes) -> bytes | None:
        return origin + path + b"?" + query if query else origin + path

    def tag_of(self, origin: bytes, group: bytes) -> bytes:
        return origin + b"\n" + group  # of one origin only (section 2)

    def groups_of(self, primary: bytes, fields: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Each by the name that its origin invalidates it by, and as operators call it."""
        origin = primary[: primary.find(b"/", len(b"https://"))]
        groups = parse_groups(fields.get(b"cache-groups"))
        return tuple([tag for each in groups for tag in (self.tag_of(origin, each), each)])

    def variant(self, exchange: Exchange, primary: bytes, variants: Variants | None) -> bytes:
        if variants is None or not variants.names:
            return primary
        return primary + b"\n" + variant_key(variants.names, exchange.head.fields)

    def directives(self, head: RequestHead) -> Directives:
        return request_directives(head.fields) if head.has_any(_DIRECTIVES) else NO_DIRECTIVES

    def needs_origin(self, head: RequestHead) -> bool:
        return head.has_any(_ORIGIN_CONDITION)

    def fill_head(self, exchange: Exchange, primary: bytes) -> RequestHead:
        return exchange.head

    def fill_lines(self, exchange: Exchange) -> tuple[bytes, bytes]:
        accepted = exchange.head.accept_encoding
        if accepted is None:
            return exchange.forwarding, b""
        # All that are stored as one are to be asked for as one.
        line = b"Accept-Encoding: " + canonical_accept_encoding(accepted) + b"\r\n"
        return exchange.forwarding, line

    def entry(
        self,
        primary: bytes,
        key: bytes,
        head: ResponseHead,
        *,
        route: GatewayRoute,
        request: RequestHead,
        directives: Directives,
        asked_at: float,
        now: float,
        is_part: bool = False,
    ) -> tuple[StoredResponse | None, bool]:
        fields = head.fields
        control = response_control(fields)
        decision = is_storable(
            method=b"GET",
            status=200 if is_part and head.status == 206 else head.status,
            request=directives,
            has_authorization=b"authorization" in request.fields,
            fields=fields,
            control=control,
            heuristics=True,
        )
        names = parse_vary(fields.get(b"vary"))
        if decision is not StoreDecision.STORE or names is None:
            return None, True
        facts = self.facts(head.status, fields, asked_at=asked_at, now=now)
        if facts.lifetime_seconds <= 0 and not (b"etag" in fields or b"last-modified" in fields):
            return None, True  # it could never be of use
        key = primary + b"\n" + variant_key(names, request.fields) if names else primary
        entry = StoredResponse(primary, key)
        entry.status, entry.status_text = head.status, head.status_text
        entry.block = stored_block(head, route, primary, without=_qualified(control))
        entry.vary = names
        entry.tags = self.groups_of(primary, fields)
        entry.take(facts, fields, now)
        return entry, True

    def facts(
        self, status: int, fields: Mapping[bytes, bytes], *, asked_at: float, now: float
    ) -> StoredFacts:
        return facts_of(
            status=status,
            fields=fields,
            control=response_control(fields),
            request_time=asked_at,
            response_time=now,
        )


class CacheClass(CacheRule):
    """A shared class of the policy, on one route.

    Args:
        route: of the policy; its path says which place-holders there are.
        data_class: with scope shared and a lifetime in the gateway.
    """

    __slots__ = (
        "_client_lines",
        "_dimensions",
        "_lifetime",
        "_path",
        "_query_names",
        "_stale_if_error",
        "_stale_while_revalidate",
        "_tags",
        "_varies_on",
    )

    is_anonymous = True

    def __init__(self, route: Route, data_class: DataClass, policy: Policy) -> None:
        super().__init__(data_class.name, data_class.largest_bytes)
        dimensions = {each.name: each for each in policy.dimensions}
        self._dimensions = tuple(
            RequestDimension(dimensions[name])
            for name in data_class.dimensions
            # Where the path says it, it is in the key already.
            if not is_said_by_path(dimensions[name], route.path)
        )
        self._query_names = frozenset(
            [name.encode() for name in data_class.query_parameters]
            + [each.query for each in self._dimensions if each.query is not None]
        )
        # Also those that the path says: the origin is not sent the field then, and cannot vary.
        headers = [dimensions[name].header for name in data_class.dimensions]
        self._varies_on = frozenset([each.lower().encode() for each in headers if each])
        lifetimes = data_class.lifetimes
        self._lifetime = lifetimes.gateway_seconds or 0.0
        self._stale_while_revalidate = data_class.stale_while_revalidate_seconds
        self._stale_if_error = data_class.stale_if_error_seconds
        self._tags = data_class.tags
        self.is_tagged = bool(data_class.tags)
        self.asks_when_unsure = data_class.unsure is Unsure.ASK_ORIGIN
        self.is_refreshed_on_change = data_class.refresh_on_change
        self.views = data_class.views
        self._path = RouteTable((route,))
        self._client_lines = b"\r\nCache-Control: " + browser_control(
            lifetimes.browser_seconds, immutable=data_class.immutable
        )
        if policy.cdn.provider is not CdnProvider.NONE and lifetimes.cdn_seconds:
            self._client_lines += b"\r\nCDN-Cache-Control: max-age=%d" % int(lifetimes.cdn_seconds)
        asked = sorted([each.header.title() for each in self._dimensions if each.header])
        if asked:
            self._client_lines += b"\r\nVary: " + b", ".join(asked)

    def locate(self, exchange: Exchange) -> bytes | None:
        path = exchange.path
        origin = self.origin_of(exchange)
        if origin is None or not is_key_path(path):
            return None
        target = exchange.target
        if len(target) == len(path):  # no query
            return origin + path
        return self.primary_of(origin, path, target.partition(b"?")[2])

    def primary_of(self, origin: bytes, path: bytes, query: bytes) -> bytes | None:
        query = allowed_query(query, self._query_names)
        return origin + path + b"?" + query if query else origin + path

    def variant(self, exchange: Exchange, primary: bytes, variants: Variants | None) -> bytes:
        if not self._dimensions:
            return primary
        key = primary
        for dimension in self._dimensions:
            key = key + b"\n" + dimension.value(exchange)
        return key

    def fill_head(self, exchange: Exchange, primary: bytes) -> RequestHead:
        origin = self.origin_of(exchange) or b""
        lines = [b"GET " + primary[len(origin) :] + b" HTTP/1.1"]
        lines.append(b"Host: " + exchange.head.host)
        lines.append(b"Accept: */*")
        for dimension in self._dimensions:
            lines += dimension.lines_of(dimension.value(exchange))
        return parse_request_head(b"\r\n".join(lines) + b"\r\n\r\n")

    def request_for(self, primary: bytes, key: bytes) -> RequestHead | None:
        values = key[len(primary) + 1 :].split(b"\n") if self._dimensions else []
        host, slash, target = primary.partition(b"://")[2].partition(b"/")
        if len(values) != len(self._dimensions):
            return None
        lines = [b"GET " + slash + target + b" HTTP/1.1", b"Host: " + host]
        for dimension, value in zip(self._dimensions, values, strict=True):
            lines += dimension.lines_of(value)
        return parse_request_head(b"\r\n".join(lines) + b"\r\n\r\n")

    def fill_lines(self, exchange: Exchange) -> tuple[bytes, bytes]:
        scheme = b"https" if exchange.is_secure else b"http"
        host = exchange.head.host
        forwarding = b"X-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (scheme, host)
        return forwarding, b""

    def entry(
        self,
        primary: bytes,
        key: bytes,
        head: ResponseHead,
        *,
        route: GatewayRoute,
        request: RequestHead,
        directives: Directives,
        asked_at: float,
        now: float,
        is_part: bool = False,
    ) -> tuple[StoredResponse | None, bool]:
        fields = head.fields
        decision = decide_class(
            head.status, fields, response_control(fields), varies_on=self._varies_on
        )
        if decision is not ClassDecision.KEEP:
            return None, decision.is_personal
        entry = StoredResponse(primary, key)
        entry.status, entry.status_text = head.status, head.status_text
        entry.block = stored_block(head, route, primary, without=CLASS_LINES)
        entry.block += self._client_lines
        self.early_links = preload_lines(head.lines())
        length = head.content_length
        entry.is_compressible = is_compressible(
            fields, -1 if length is None or not length.isdigit() else int(length)
        )
        if entry.is_compressible:
            entry.block += b"\r\nVary: Accept-Encoding"
        parameters = self._path.parameters(0, primary_path(primary))
        own = expand_tags(self._tags, parameters)
        entry.tags = tuple(dict.fromkeys((*own, *self.groups_of(primary, fields))))
        if self.views:
            entry.viewed_as = next(iter(expand_tags(self.views, parameters)), b"")
        entry.take(self.facts(head.status, fields, asked_at=asked_at, now=now), fields, now)
        return entry, True

    def facts(
        self, status: int, fields: Mapping[bytes, bytes], *, asked_at: float, now: float
    ) -> StoredFacts:
        control = response_control(fields)
        lifetime = self._lifetime
        if control.directives.s_maxage is not None:
            lifetime = min(lifetime, float(control.directives.s_maxage))
        age = age_at_receipt(
            age_field=fields.get(b"age"),
            date_value=date_in(fields, b"date", now=now),
            request_time=asked_at,
            response_time=now,
        )
        return StoredFacts(
            born_at=now - age,
            lifetime_seconds=lifetime,
            lifetime_source=LifetimeSource.CLASS,
            must_revalidate=False,
            no_cache=False,
            immutable=False,
            stale_while_revalidate_seconds=self._stale_while_revalidate,
            stale_if_error_seconds=self._stale_if_error,
        )

    def kept_lines(self, lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [line for line in lines if line[0] not in CLASS_LINES]


class RequestDimension:
    """A dimension of the policy, as it is taken from requests: query, cookie, header, default."""

    __slots__ = ("_by_value", "_cookie", "_default", "_is_language", "_values", "header", "query")

    def __init__(self, dimension: Dimension) -> None:
        self._values = tuple(value.encode() for value in dimension.values)
        self._by_value = {value.lower(): value for value in self._values}
        self._default = dimension.default.encode()
        self.query = dimension.query.encode() if dimension.query is not None else None
        self._cookie = dimension.cookie.encode() if dimension.cookie is not None else None
        self.header = dimension.header.lower().encode() if dimension.header is not None else None
        self._is_language = self.header == b"accept-language"

    def value(self, exchange: Exchange) -> bytes:
        """Return the one of the dimension's values that a request is for."""
        if self.query is not None and len(exchange.target) != len(exchange.path):
            stated = query_value(exchange.target.partition(b"?")[2], self.query)
            if stated is not None and stated.lower() in self._by_value:
                return self._by_value[stated.lower()]
        head = exchange.head
        if self._cookie is not None and head.has_any(_COOKIE):
            stated = find_cookie(head.field(b"cookie") or b"", self._cookie)
            if stated is not None and stated.lower() in self._by_value:
                return self._by_value[stated.lower()]
        if self._is_language:
            return best_language(head.accept_language, self._values, self._default)
        if self.header is not None:
            stated = head.field(self.header)
            if stated is not None:
                return self._by_value.get(stated.strip(b" \t").lower(), self._default)
        return self._default

    def lines_of(self, value: bytes) -> list[bytes]:
        """Return the lines that tell the origin a value; the query stays in the target."""
        lines = []
        if self._cookie is not None:
            lines.append(b"Cookie: %b=%b" % (self._cookie, value))
        if self.header is not None:
            lines.append(self.header.title() + b": " + value)
        return lines


def rule_of(route: Route, policy: Policy) -> CacheRule | None:
    """Return how a route is cached; None for not at all."""
    if not policy.cache.enabled or route.pool is None:
        return None
    if route.data_class is None:
        if not policy.cache.follow_origin:
            return None
        return FollowOrigin("origin", policy.cache.memory_bytes)
    data_class = next(each for each in policy.classes if each.name == route.data_class)
    if data_class.scope is not Scope.SHARED or not data_class.lifetimes.gateway_seconds:
        return None
    return CacheClass(route, data_class, policy)


def client_control_of(route: Route, policy: Policy) -> bytes:
    """Return the Cache-Control line of what a class's routes answer unkept, if they say nothing.

    Private things may stay in the browser of whom they are for; of a shared class only what could
    not be shared comes this way.
    """
    data_class = next((each for each in policy.classes if each.name == route.data_class), None)
    if data_class is None:
        return b""
    seconds = data_class.lifetimes.browser_seconds
    if data_class.scope is Scope.SHARED:
        said = b"no-cache"
    elif data_class.scope is Scope.NONE or seconds is None:
        said = b"no-store"
    else:
        said = b"private, max-age=%d" % int(seconds) if seconds else b"private, no-cache"
    return b"Cache-Control: " + said + b"\r\n"


def is_said_by_path(dimension: Dimension, path: str) -> bool:
    """Tell whether a route's path states a dimension: by a segment, or as its fixed first one.

    ``/{language}/venues`` says it for each request, ``/en`` for the route.
    """
    if dimension.path is None:
        return False
    return f"{{{dimension.path}}}" in path or path.split("/")[1] in dimension.values


def primary_path(primary: bytes) -> bytes:
    """Return the path of a URL that is a key."""
    return primary[primary.find(b"/", len(b"https://")) :].partition(b"?")[0]


def _qualified(control: ResponseControl) -> frozenset[bytes]:
    """Return the fields that are not for all, or not without asking (section 5.2.2.4 and .7)."""
    directives = control.directives
    return frozenset((*directives.private_fields, *directives.no_cache_fields))
