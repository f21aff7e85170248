"""The gateway's shared cache (RFC 9111): what is stored, whom it answers, who fetches anew.

Place on the path: after routing, before balancing. ``consult`` answers a request from the store,
lets it read along with a fetch that is under way (``gateway.fill``), begins one, or lets it pass.
What may be stored and served is decided in ``poruwa.rules``; here it is looked up and sent.

| answered by                                   | Cache-Status (RFC 9211)                 |
|-----------------------------------------------|-----------------------------------------|
| a fresh entry                                 | ``hit; ttl=30``                         |
| a stale one, refreshed meanwhile              | ``hit; ttl=-5``                         |
| the origin, and stored                        | ``fwd=uri-miss; fwd-status=200; stored``|
| the origin, validated                         | ``fwd=stale; fwd-status=200; stored``   |
| the origin, nothing to do with us             | ``fwd=bypass`` or ``fwd=method``        |

A stored response is found by its URL and, where it varies, by the normalised values of the request
fields it varies on. What turned out not to be for all is remembered for a while, so that requests
for it do not wait for one another.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from poruwa.gateway.balancer import balance
from poruwa.gateway.exchange import Exchange
from poruwa.gateway.fill import Fill
from poruwa.gateway.heads import NOT_IN_BLOCK, stored_block
from poruwa.net.http1 import ResponseHead
from poruwa.rules.cache_control import NO_DIRECTIVES, Directives
from poruwa.rules.cache_status import (
    FWD_BYPASS,
    FWD_METHOD,
    FWD_MISS,
    FWD_REQUEST,
    FWD_STALE,
    FWD_URI_MISS,
    FWD_VARY_MISS,
    cache_status_member,
)
from poruwa.rules.conditional import Representation, select
from poruwa.rules.freshness import (
    ResponseControl,
    ReuseAction,
    StoreDecision,
    StoredFacts,
    decide_reuse,
    facts_of,
    is_storable,
    may_serve_stale_on_error,
    request_directives,
    response_control,
)
from poruwa.rules.http_date import parse_http_date
from poruwa.rules.invalidation import (
    invalidated_keys,
    is_safe,
    normalise_origin,
    normalise_target,
)
from poruwa.rules.partial import format_content_range
from poruwa.rules.stored_response import revalidation_fields, selects, updated_lines
from poruwa.rules.vary import parse_vary, variant_key
from poruwa.stores.entry import OVERHEAD_BYTES, Entry
from poruwa.stores.s3fifo import S3Fifo

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway
    from poruwa.gateway.routes import GatewayRoute

PASS_SECONDS: Final = 10.0  # how long it is remembered that something is not for all
PASSES_KEPT: Final = 10_000
ORIGINS_KEPT: Final = 1_000
LARGEST_BYTES: Final = 64 << 20
_NAME: Final = b"poruwa"
_NO_LENGTH: Final = -2
_NO_CONTENT: Final = frozenset((204, 304))


class CachePlan:
    """How one request is cached.

    Attributes:
        primary: the URL, as the store knows it; key: that and the variant.
        forwarded: why it goes to the origin (``fwd`` of Cache-Status).
        wants_part: whether it has conditions or a range that the whole response decides.
    """

    __slots__ = ("directives", "forwarded", "is_collapsed", "key", "primary", "route", "wants_part")

    def __init__(
        self, primary: bytes, key: bytes, directives: Directives, route: GatewayRoute
    ) -> None:
        self.primary = primary
        self.key = key
        self.directives = directives
        self.route = route
        self.forwarded = FWD_URI_MISS
        self.is_collapsed = False
        self.wants_part = False


class StoredResponse(Entry):
    """A response as it is sent: its head as one block of bytes, without what each request adds."""

    __slots__ = (
        "block",
        "body",
        "etag",
        "facts",
        "last_modified",
        "last_modified_text",
        "primary",
        "status",
        "status_text",
        "vary",
    )

    facts: StoredFacts

    def __init__(self, primary: bytes, key: bytes) -> None:
        super().__init__(key, 0)
        self.primary = primary
        self.status = 200
        self.status_text = b""
        self.block = b""
        self.body = b""
        self.vary: tuple[bytes, ...] = ()
        self.etag = b""
        self.last_modified_text = b""
        self.last_modified: int | None = None

    def take(self, facts: StoredFacts, fields: Mapping[bytes, bytes], now: float) -> None:
        """Keep what ``fields`` say of age and validators."""
        self.facts = facts
        self.etag = fields.get(b"etag", b"")
        self.last_modified_text = fields.get(b"last-modified", b"")
        self.last_modified = parse_http_date(self.last_modified_text, now=now)

    def age(self, now: float) -> int:
        """Return its age in seconds."""
        return max(int(now - self.facts.born_at), 0)

    def is_fresh(self, now: float) -> bool:
        """Whether its lifetime has not passed."""
        return now - self.facts.born_at < self.facts.lifetime_seconds


class GatewayCache:
    """The cache of one worker.

    Args:
        capacity_bytes: of heads and bodies with what keeping them takes.

    Attributes:
        largest_bytes: of one body; a larger one passes, unkept.
    """

    __slots__ = (
        "_gateway",
        "_origins",
        "_origins_secure",
        "_passing",
        "_variants",
        "counts",
        "fills",
        "largest_bytes",
        "store",
    )

    def __init__(self, gateway: Gateway, *, capacity_bytes: int) -> None:
        self._gateway = gateway
        self.largest_bytes = min(LARGEST_BYTES, capacity_bytes // 8)
        self.store: S3Fifo[StoredResponse] = S3Fifo(
            capacity_bytes, largest=self.largest_bytes, on_evict=self._forget_entry
        )
        self.fills: dict[bytes, Fill] = {}
        self._variants: dict[bytes, Variants] = {}
        self._passing: dict[bytes, float] = {}
        self._origins: dict[bytes, bytes] = {}
        self._origins_secure: dict[bytes, bytes] = {}
        self.counts: dict[str, int] = {}

    # For the pipeline.

    def consult(self, exchange: Exchange) -> bool:
        """Answer a request, or have it answered; False lets it pass to the balancer."""
        method = exchange.method
        head = exchange.head
        if method != b"GET" and method != b"HEAD":
            exchange.is_invalidating = not is_safe(method)
            return self._pass(exchange, FWD_METHOD)
        if exchange.framing != 0 or exchange.is_upgrade:
            return self._pass(exchange, FWD_BYPASS)
        primary = self._primary(exchange)
        if primary is None:
            return self._pass(exchange, FWD_BYPASS)
        lowered = head.raw.lower()
        key = primary
        variants = self._variants.get(primary)
        if variants is not None and variants.names:
            key = primary + b"\n" + variant_key(variants.names, head.fields)
        directives = NO_DIRECTIVES
        if b"\r\ncache-control:" in lowered or b"\r\npragma:" in lowered:
            directives = request_directives(head.fields)
        plan = CachePlan(primary, key, directives, exchange.route)
        plan.wants_part = b"\r\nif-" in lowered or b"\r\nrange:" in lowered
        entry = self.store.get(key)
        now = time.time()
        if entry is not None:
            action = decide_reuse(directives, entry.facts, now).action
            if (
                action is not ReuseAction.REVALIDATE and action is not ReuseAction.GATEWAY_TIMEOUT
            ) and not (plan.wants_part and _has_origin_condition(lowered)):
                if action is ReuseAction.STALE_WHILE_REVALIDATE:
                    self._refresh(exchange, entry, plan)
                self._count("hit")
                self._serve(exchange, entry, plan, _hit_lines(entry, now), now)
                return True
            plan.forwarded = FWD_REQUEST if entry.is_fresh(now) else FWD_STALE
        elif variants is not None and variants.keys:
            plan.forwarded = FWD_VARY_MISS
        if directives.only_if_cached:
            exchange.answer_error(504)
            return True
        if (
            method == b"HEAD"
            or directives.no_store
            or b"\r\nauthorization:" in lowered
            or b"\r\nrange:" in lowered
            or (plan.wants_part and _has_origin_condition(lowered))
            or (entry is None and self._passing.get(primary, 0.0) > now)
        ):
            return self._pass(exchange, plan.forwarded)
        self._fetch(exchange, entry, plan)
        return True

    def _fetch(self, exchange: Exchange, entry: StoredResponse | None, plan: CachePlan) -> None:
        """Read along with a fetch under way, or begin one."""
        fill = self.fills.get(plan.key)
        if fill is not None and not plan.directives.no_cache:
            plan.is_collapsed = True
            self._count("joined")
            fill.join(exchange, plan)
            return
        self._count("miss")
        fill, lines = self._new_fill(entry, plan)
        fill.join(exchange, plan)
        fill.begin(exchange, lines)

    def _refresh(self, exchange: Exchange, entry: StoredResponse, plan: CachePlan) -> None:
        """Fetch anew in the background, once."""
        if plan.key not in self.fills:
            self._count("refresh")
            fill, lines = self._new_fill(entry, plan)
            fill.begin(exchange, lines)

    def _new_fill(self, entry: StoredResponse | None, plan: CachePlan) -> tuple[Fill, bytes]:
        """Return a fill that requests may join, and the lines that validate what is stored."""
        lines = b""
        if entry is not None:
            lines = revalidation_fields(entry.etag or None, entry.last_modified_text or None)
        self.fills[plan.key] = fill = Fill(self, plan, entry)
        return fill, lines

    def _primary(self, exchange: Exchange) -> bytes | None:
        """Return what a request's URL is stored under, however it is written; None for no URL."""
        head = exchange.head
        host = head.host
        known = self._origins_secure if exchange.is_secure else self._origins
        origin = known.get(host)
        if origin is None:
            origin = normalise_origin(b"https" if exchange.is_secure else b"http", host)
            if origin is None:
                return None
            if len(known) >= ORIGINS_KEPT:
                known.clear()
            known[host] = origin
        target = exchange.target
        if not head.plain_path or exchange.route.rewrite is not None:
            normal = normalise_target(target)
            if normal is None:
                return None
            target = normal
        return origin + target

    def _pass(self, exchange: Exchange, reason: bytes) -> bool:
        self._count("pass")
        exchange.response_lines += _status_line(cache_status_member(_NAME, hit=False, fwd=reason))
        return False

    # For fills.

    def send_alone(self, exchange: Exchange) -> None:
        """Send a request on its own way: what it waited for is not for all."""
        self._pass(exchange, FWD_MISS)
        balance(exchange)

    def forget_fill(self, fill: Fill) -> None:
        """Let nobody join a fill any more."""
        if self.fills.get(fill.plan.key) is fill:
            del self.fills[fill.plan.key]

    def entry_for(self, fill: Fill, head: ResponseHead, now: float) -> StoredResponse | None:
        """Return the entry, yet without a body, that an answer makes; None if it is not kept."""
        fields = head.fields
        request = fill.fetch_fields
        control = response_control(fields)
        decision = is_storable(
            method=b"GET",
            status=head.status,
            request=fill.plan.directives,
            has_authorization=b"authorization" in request,
            fields=fields,
            control=control,
            heuristics=True,
        )
        names = parse_vary(fields.get(b"vary"))
        if decision is not StoreDecision.STORE or names is None:
            return None
        facts = facts_of(
            status=head.status,
            fields=fields,
            control=control,
            request_time=fill.asked_at,
            response_time=now,
        )
        if facts.lifetime_seconds <= 0 and not (b"etag" in fields or b"last-modified" in fields):
            return None  # it could never be of use
        primary = fill.plan.primary
        key = primary + b"\n" + variant_key(names, request) if names else primary
        entry = StoredResponse(primary, key)
        entry.status, entry.status_text = head.status, head.status_text
        entry.block = stored_block(head, fill.plan.route, without=_qualified(control))
        entry.vary = names
        entry.take(facts, fields, now)
        return entry

    def keep(self, entry: StoredResponse) -> None:
        """Store a whole answer in the place of what was stored before."""
        entry.size = OVERHEAD_BYTES + len(entry.key) + len(entry.block) + len(entry.body)
        variants = self._variants.get(entry.primary)
        if variants is None:
            self._variants[entry.primary] = variants = Variants()
        elif variants.names != entry.vary:
            for key in list(variants.keys):  # of another way to vary: not found any more
                self.store.remove(key)
        variants.names = entry.vary
        if self.store.put(entry):
            variants.keys.add(entry.key)
            self._variants[entry.primary] = variants
            self._count("stored")
        elif not variants.keys:
            self._variants.pop(entry.primary, None)

    def freshen(
        self, stored: StoredResponse, head: ResponseHead, fill: Fill, now: float
    ) -> StoredResponse | None:
        """Return what is stored with what a 304 says of it (RFC 9111 section 4.3.4), stored anew.

        None where the 304 is not about it.
        """
        if not selects(stored.etag or None, stored.last_modified_text or None, head.fields):
            return None
        lines = updated_lines(lines_of(stored.block), head.lines())
        fields: dict[bytes, bytes] = {}
        for name, value in lines:
            fields[name] = fields[name] + b", " + value if name in fields else value
        if b"age" in head.fields:
            fields[b"age"] = head.fields[b"age"]
        facts = facts_of(
            status=stored.status,
            fields=fields,
            control=response_control(fields),
            request_time=fill.asked_at,
            response_time=now,
        )
        entry = StoredResponse(stored.primary, stored.key)
        entry.status, entry.status_text = stored.status, stored.status_text
        entry.block = b"".join(
            [b"\r\n%b: %b" % line for line in lines if line[0] not in NOT_IN_BLOCK]
        )
        entry.vary = stored.vary
        entry.body = stored.body
        entry.take(facts, fields, now)
        self._count("validated")
        if not fill.is_outdated:
            self.keep(entry)
        return entry

    def on_not_stored(self, fill: Fill) -> None:
        """Remember that an answer is not for all; what was stored is no longer the answer."""
        self.store.remove(fill.plan.key)
        if len(self._passing) >= PASSES_KEPT:
            self._passing.clear()
        self._passing[fill.plan.primary] = time.time() + PASS_SECONDS

    def is_variant(self, entry: StoredResponse, exchange: Exchange) -> bool:
        """Whether a stored response is one that a request selects (RFC 9111 section 4.1)."""
        if not entry.vary:
            return True
        return entry.key == entry.primary + b"\n" + variant_key(entry.vary, exchange.head.fields)

    def miss_lines(self, plan: CachePlan, status: int, *, stored: bool) -> bytes:
        """Return the Cache-Status line of an answer that comes from the origin."""
        return _status_line(
            cache_status_member(
                _NAME,
                hit=False,
                fwd=plan.forwarded,
                fwd_status=status,
                stored=stored,
                collapsed=plan.is_collapsed,
            )
        )

    def serve_filled(
        self, exchange: Exchange, entry: StoredResponse, plan: CachePlan, now: float
    ) -> None:
        """Answer with what a fill has just stored."""
        age = entry.age(now)
        lines = b"Age: %d\r\n" % age if age else b""
        lines += self.miss_lines(plan, entry.status, stored=True)
        self._serve(exchange, entry, plan, lines, now)

    def may_serve_stale(self, entry: StoredResponse, plan: CachePlan, now: float) -> bool:
        """Whether a stale response may be served while the origin fails."""
        return may_serve_stale_on_error(entry.facts, plan.directives, now, default_seconds=0.0)

    def serve_stale(
        self, exchange: Exchange, entry: StoredResponse, plan: CachePlan, now: float
    ) -> None:
        """Answer with a stale response: the origin failed."""
        self._count("stale-if-error")
        self._serve(exchange, entry, plan, _hit_lines(entry, now), now)

    # Changes.

    def invalidate(self, exchange: Exchange, head: ResponseHead) -> None:
        """Forget what an unsafe request has changed (RFC 9111 section 4.4)."""
        origin = normalise_origin(b"https" if exchange.is_secure else b"http", exchange.head.host)
        if origin is None:
            return
        for key in invalidated_keys(
            exchange.method,
            head.status,
            origin=origin,
            target=exchange.target,
            fields=head.fields,
        ):
            self._forget(key[0] + key[1])

    def _forget(self, primary: bytes) -> None:
        variants = self._variants.get(primary)
        if variants is not None:
            for key in list(variants.keys):
                self.store.remove(key)
        # What is being fetched may be of before: it is passed on to who waits, and not joined.
        for fill in [each for each in self.fills.values() if each.plan.primary == primary]:
            fill.is_outdated = True
            self.forget_fill(fill)

    def _forget_entry(self, entry: Entry) -> None:
        assert isinstance(entry, StoredResponse)
        variants = self._variants.get(entry.primary)
        if variants is not None:
            variants.keys.discard(entry.key)
            if not variants.keys:
                del self._variants[entry.primary]

    # Inside.

    def _serve(
        self,
        exchange: Exchange,
        entry: StoredResponse,
        plan: CachePlan,
        lines: bytes,
        now: float,
    ) -> None:
        """Send a stored response, or what of it the request's conditions and range leave."""
        body = entry.body
        length = len(body)
        is_head = exchange.method == b"HEAD"
        if not plan.wants_part or entry.status != 200:
            if entry.status in _NO_CONTENT:
                length = _NO_LENGTH
            exchange.answer_stored(
                entry.status,
                entry.status_text,
                entry.block,
                lines,
                b"" if is_head else body,
                length,
            )
            return
        chosen = select(
            exchange.method,
            exchange.head.fields,
            Representation(size=length, etag=entry.etag, last_modified=entry.last_modified),
            now=now,
            for_cache=True,
        )
        block = entry.block
        if chosen.status == 304:
            exchange.answer_stored(304, b"304 Not Modified", block, lines, b"", _NO_LENGTH)
        elif chosen.status == 206:
            lines += b"Content-Range: %b\r\n" % format_content_range(
                chosen.start, chosen.end, length
            )
            part = body[chosen.start : chosen.end]
            exchange.answer_stored(206, b"206 Partial Content", block, lines, part, len(part))
        elif chosen.status == 416:
            lines += b"Content-Range: bytes */%d\r\n" % length
            exchange.answer_stored(416, b"416 Range Not Satisfiable", b"", lines, b"", 0)
        elif chosen.status == 412:
            exchange.answer_stored(412, b"412 Precondition Failed", b"", lines, b"", 0)
        else:
            exchange.answer_stored(
                200, entry.status_text, block, lines, b"" if is_head else body, length
            )

    def _count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1


class Variants:
    """What is stored of one URL.

    Attributes:
        names: of the request fields that it varies on, as the latest response said.
        keys: of the variants.
    """

    __slots__ = ("keys", "names")

    def __init__(self) -> None:
        self.names: tuple[bytes, ...] = ()
        self.keys: set[bytes] = set()


def consult_cache(exchange: Exchange) -> bool:
    """Answer from the cache, where the route has one."""
    cache = exchange.gateway.cache
    return cache is not None and exchange.route.is_cached and cache.consult(exchange)


def lines_of(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names, in lower case, and values of a stored block of field lines."""
    lines = []
    for line in block.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        lines.append((name.lower(), value.strip(b" \t")))
    return lines


def _qualified(control: ResponseControl) -> frozenset[bytes]:
    """Return the fields that are not for all, or not without asking (section 5.2.2.4 and .7)."""
    directives = control.directives
    return frozenset((*directives.private_fields, *directives.no_cache_fields))


def _status_line(member: bytes) -> bytes:
    return b"Cache-Status: %b\r\n" % member


def _hit_lines(entry: StoredResponse, now: float) -> bytes:
    age = entry.age(now)
    return b"Age: %d\r\nCache-Status: %b; hit; ttl=%d\r\n" % (
        age,
        _NAME,
        int(entry.facts.lifetime_seconds) - age,
    )


def _has_origin_condition(lowered: bytes) -> bool:
    """Whether a request has a condition that the origin decides (RFC 9110 section 13.2.1)."""
    return b"\r\nif-match:" in lowered or b"\r\nif-unmodified-since:" in lowered
