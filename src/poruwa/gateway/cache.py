"""The gateway's shared cache (RFC 9111): whom a stored response answers, and who fetches anew.

Place on the path: after routing, before balancing. ``consult`` answers a request from the store,
lets it read along with a fetch that is under way (``gateway.fill``), begins one, or lets it pass.
What a request asks for and what of an answer is kept is the business of the route's rule
(``gateway.cache_rules``): the origin's fields, or a class of the policy.

| answered by                                   | Cache-Status (RFC 9211)                 |
|-----------------------------------------------|-----------------------------------------|
| a fresh entry                                 | ``hit; ttl=30``                         |
| a stale one, refreshed meanwhile              | ``hit; ttl=-5``                         |
| the origin, and stored                        | ``fwd=uri-miss; fwd-status=200; stored``|
| the origin, validated                         | ``fwd=stale; fwd-status=304; stored``   |
| the origin, nothing to do with us             | ``fwd=bypass`` or ``fwd=method``        |
| the origin: we may have missed a change       | ``fwd=bypass; detail=unsure``           |
| the origin: the client has seen a later one   | ``fwd=bypass; detail=behind``           |

A stored response is found by its URL and its variant. What turned out not to be for all is
remembered for a while, so that requests for it do not wait for one another. Every change of tags or
URLs has a position; a fetch that was begun before a change of what it brings is neither kept nor
joined (``rules.changes``).
"""

from __future__ import annotations

import time
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from poruwa.gateway.balancer import balance
from poruwa.gateway.cache_rules import CacheRule
from poruwa.gateway.coherence import MARK, UNSURE, GatewayCoherence, Sureness
from poruwa.gateway.encodings import Encodings
from poruwa.gateway.exchange import Exchange
from poruwa.gateway.fill import Fill, FillClient
from poruwa.gateway.heads import NOT_IN_BLOCK, with_security
from poruwa.gateway.parts import (
    PART_MARK,
    PART_NAMES,
    PartFill,
    RestFill,
    StoredPart,
    answer_from_part,
    answer_ranges,
    is_range_alone,
    rest_of,
)
from poruwa.gateway.past_fetches import PastFetches
from poruwa.gateway.stored import (
    EncodedResponse,
    StoredResponse,
    Variants,
    hit_lines,
    lines_of,
)
from poruwa.gateway.views import Views
from poruwa.net.head import AUTHORIZATION, CONDITION, COOKIE, IF_NONE_MATCH, RANGE
from poruwa.net.http1 import ResponseHead
from poruwa.rules.cache_control import NO_DIRECTIVES, Directives
from poruwa.rules.cache_groups import parse_groups
from poruwa.rules.cache_status import (
    FWD_BYPASS,
    FWD_METHOD,
    FWD_MISS,
    FWD_PARTIAL,
    FWD_REQUEST,
    FWD_STALE,
    FWD_URI_MISS,
    FWD_VARY_MISS,
    cache_status_member,
)
from poruwa.rules.changes import Changes
from poruwa.rules.coherence_fields import POSITION_LINE, take_position
from poruwa.rules.conditional import select
from poruwa.rules.freshness import (
    LifetimeSource,
    ReuseAction,
    decide_reuse,
    is_fetched_for_all,
    may_serve_stale_on_error,
)
from poruwa.rules.invalidation import answers_get, invalidated_keys, is_safe, normalise_origin
from poruwa.rules.partial import format_content_range
from poruwa.rules.stored_response import (
    matches_head,
    revalidation_fields,
    selects,
    updated_lines,
)
from poruwa.rules.vary import variant_key
from poruwa.stores.entry import Entry
from poruwa.stores.s3fifo import S3Fifo
from poruwa.stores.tag_index import TagIndex

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway
    from poruwa.gateway.routes import GatewayRoute
    from poruwa.gateway.siblings import Siblings
    from poruwa.rules.security_headers import SecurityFields

PASS_SECONDS: Final = 10.0  # how long it is remembered that something is not for all
PASSES_KEPT: Final = 10_000
LARGEST_BYTES: Final = 64 << 20
_RECLAIMED: Final = 200  # entries a time: about a millisecond
_NAME: Final = b"poruwa"
_NO_LENGTH: Final = -2
_NO_CONTENT: Final = frozenset((204, 304))
_OTHER_PART: Final = 1 << CONDITION | 1 << RANGE
_PART: Final = _OTHER_PART | 1 << IF_NONE_MATCH
_RANGE: Final = 1 << RANGE
_CREDENTIALS: Final = 1 << AUTHORIZATION
_COOKIE: Final = 1 << COOKIE
FORGET_TOPIC: Final = "cache.forget"
FORGET_TAG_TOPIC: Final = "cache.forget-tag"
URL_TAG: Final = b"url\n"
"""Before a URL that has changed; no tag begins so."""


class CachePlan:
    """How one request is cached.

    Attributes:
        primary: the URL, as the store knows it; key: that and the variant.
        forwarded: why it goes to the origin (``fwd`` of Cache-Status).
        wants_part: whether it has conditions or a range that the whole response decides.
        detail: of Cache-Status; why nothing of the answer is kept, empty where it may be.
    """

    __slots__ = (
        "detail",
        "directives",
        "forwarded",
        "is_collapsed",
        "key",
        "primary",
        "route",
        "rule",
        "wants_part",
    )

    def __init__(
        self,
        primary: bytes,
        key: bytes,
        directives: Directives,
        route: GatewayRoute,
        rule: CacheRule,
        *,
        wants_part: bool,
    ) -> None:
        self.primary = primary
        self.key = key
        self.directives = directives
        self.route = route
        self.rule = rule
        self.forwarded = FWD_URI_MISS
        self.detail = b""
        self.is_collapsed = False
        self.wants_part = wants_part


class GatewayCache:
    """The cache of one worker.

    Args:
        capacity_bytes: of heads and bodies with what keeping them takes.

    Attributes:
        largest_bytes: of one body; a larger one passes, unkept.
        stored: how many responses have been stored so far.
        changes: that this machine made: of tags, and of URLs as ``URL_TAG`` and the URL.
        coherence: what the change log of all machines says.
        sureness: until when (monotonic seconds) what is stored may be served without a second look.
        origins: how many URLs are stored of each.
        past: fetches of what may not be answered from here.
        views: what answers are counted as; None where nobody ranks them.
        siblings: what the other workers fetch and have; None for nobody.
    """

    __slots__ = (
        "_gateway",
        "_passing",
        "_variants",
        "changes",
        "coherence",
        "encodings",
        "fills",
        "largest_bytes",
        "origins",
        "past",
        "siblings",
        "store",
        "stored",
        "sureness",
        "tags",
        "views",
    )

    sureness: Sureness

    def __init__(self, gateway: Gateway, *, capacity_bytes: int) -> None:
        self._gateway = gateway
        self.largest_bytes = min(LARGEST_BYTES, capacity_bytes // 8)
        self.store: S3Fifo[StoredResponse] = S3Fifo(
            capacity_bytes, largest=self.largest_bytes, on_evict=self._forget_entry
        )
        self.fills: dict[bytes, Fill] = {}
        self._variants: dict[bytes, Variants] = {}
        self._passing: dict[bytes, float] = {}
        self.tags = TagIndex(self.store.drop)
        self.encodings = Encodings(gateway, self)
        self.changes = Changes()
        self.origins: dict[bytes, int] = {}
        self.past = PastFetches(self, gateway.loop)
        self.coherence = GatewayCoherence(gateway, self)
        self.sureness = self.coherence.sureness
        self.stored = 0
        self.views: Views | None = None
        self.siblings: Siblings | None = None

    # For the pipeline.

    def consult(self, exchange: Exchange, rule: CacheRule) -> bool:
        """Answer a request, or have it answered; False lets it pass to the balancer."""
        method = exchange.method
        head = exchange.head
        if method != b"GET" and method != b"HEAD":
            if not is_safe(method):
                exchange.observer = partial(self.on_unsafe, rule)
            return self._pass(exchange, FWD_METHOD)
        if exchange.framing != 0 or exchange.is_upgrade:
            return self._pass(exchange, FWD_BYPASS)
        primary = rule.locate(exchange)
        if primary is None:
            return self._pass(exchange, FWD_BYPASS)
        # A class has one way to vary; where it has a hit, that is one look-up.
        variants = None if rule.is_anonymous else self._variants.get(primary)
        key = rule.variant(exchange, primary, variants)
        if monotonic() >= self.sureness.sure_until:
            verdict = self.coherence.judge(rule, primary)
            if verdict == UNSURE:
                return self.ask_past(exchange, rule, primary, key, b"unsure")
            if verdict == MARK and self._serve_marked(exchange, rule, primary, key):
                return True
        directives = rule.directives(head)
        wants_part = head.has_any(_PART)
        entry = self.store.get(key)
        part: StoredPart | None = None
        views = self.views
        now = self._gateway.wall_time()
        if entry is None:
            reason = FWD_URI_MISS
            if rule.is_anonymous:
                variants = self._variants.get(primary)
            if variants is not None:
                reason = FWD_VARY_MISS
                held = self.store.get(key + PART_MARK)
                if isinstance(held, StoredPart):
                    if not rule.needs_origin(head) and answer_from_part(
                        exchange, held, directives, now
                    ):
                        self._count("hit", rule)
                        return True
                    part = held
                    reason = FWD_PARTIAL
        elif rule.needs_origin(head):
            reason = FWD_REQUEST if entry.is_fresh(now) else FWD_STALE
        elif directives is NO_DIRECTIVES and now < entry.expires_at:
            rule.hits += 1
            if views is not None:
                views.add(entry.viewed_as)
            if (
                entry.is_compressible
                and head.accept_encoding is not None
                # Who has the uncompressed one needs no other.
                and (head.if_none_match is None or head.if_none_match != entry.etag)
            ):
                entry = self.encodings.best(entry, head.accept_encoding, rule)
            if wants_part and (
                head.if_none_match != entry.etag
                or not entry.etag
                or entry.status != 200
                or head.has_any(_OTHER_PART)
            ):
                self._serve(exchange, entry, hit_lines(entry, now), now, wants_part=True)
            elif not exchange.answer_hit(entry, now, has_it=wants_part):
                self._serve(exchange, entry, hit_lines(entry, now), now, wants_part=wants_part)
            return True
        else:
            action = decide_reuse(directives, entry.present_facts(), now).action
            if action is not ReuseAction.REVALIDATE and action is not ReuseAction.GATEWAY_TIMEOUT:
                if views is not None:
                    views.add(entry.viewed_as)
                if action is ReuseAction.STALE_WHILE_REVALIDATE:
                    self._refresh(exchange, entry, rule, primary, key)
                    self._count("stale", rule)
                else:
                    self._count("hit", rule)
                self._serve(exchange, entry, hit_lines(entry, now), now, wants_part=wants_part)
                return True
            reason = FWD_REQUEST if entry.is_fresh(now) else FWD_STALE
        if directives.only_if_cached:
            member = cache_status_member(_NAME, hit=False, detail=b"only-if-cached")
            exchange.response_lines += _status_line(member)
            exchange.answer_error(504)
            return True
        if not is_fetched_for_all(
            method,
            directives,
            is_known_private=entry is None and self.is_passed(primary, now),
            has_origin_condition=rule.needs_origin(head),
            is_made_anew=rule.is_anonymous,
        ):
            if entry is not None and method == b"HEAD":
                exchange.observer = partial(self.update_by_head, entry, rule)
            return self._pass(exchange, reason)
        plan = CachePlan(
            primary,
            key,
            directives,
            exchange.route,
            rule,
            wants_part=wants_part or method == b"HEAD",
        )
        plan.forwarded = reason
        if (
            not rule.is_anonymous
            and head.has_any(_RANGE)
            and (entry is None or not (entry.etag or entry.last_modified_text))
        ):
            if not is_range_alone(head):
                return self._pass(exchange, reason)
            plan.wants_part = False  # what comes is what was asked for
            self._fetch_part(exchange, plan)
        else:
            self._fetch(exchange, entry, part, plan)
        return True

    def _fetch_part(self, exchange: Exchange, plan: CachePlan) -> None:
        """Have the origin answer for a range."""
        self._count("miss", plan.rule)
        fill = PartFill(self, plan, as_of=self.changes.position)
        fill.join(exchange, plan)
        fill.begin(exchange, b"", PART_NAMES)

    def _fetch(
        self,
        exchange: Exchange,
        entry: StoredResponse | None,
        part: StoredPart | None,
        plan: CachePlan,
    ) -> None:
        """Read along with a fetch under way, or begin one."""
        is_listed = plan.rule.is_anonymous or not exchange.head.has_any(_CREDENTIALS)
        fill = self.fills.get(plan.key) if is_listed else None
        if (
            fill is not None
            and not plan.directives.no_cache
            and self.is_present(fill)
            and satisfies(fill, exchange)
        ):
            plan.is_collapsed = True
            self._count("joined", plan.rule)
            fill.join(exchange, plan)
            return
        self._count("miss", plan.rule)
        fill, lines = self._new_fill(entry, part, plan, is_listed=is_listed)
        fill.join(exchange, plan)
        links = plan.rule.early_links
        if links and exchange.is_secure and exchange.head.field(b"sec-fetch-mode") == b"navigate":
            exchange.hint(links)
        fill.begin(exchange, lines)

    def _refresh(
        self,
        exchange: Exchange,
        entry: StoredResponse,
        rule: CacheRule,
        primary: bytes,
        key: bytes,
    ) -> None:
        """Fetch anew in the background, once."""
        if key not in self.fills:
            self._count("refresh", rule)
            plan = CachePlan(primary, key, NO_DIRECTIVES, exchange.route, rule, wants_part=False)
            plan.forwarded = FWD_STALE
            fill, lines = self._new_fill(entry, None, plan, is_listed=True)
            fill.begin(exchange, lines)

    def fetch_ahead(self, exchange: Exchange, rule: CacheRule, primary: bytes, key: bytes) -> bool:
        """Fetch anew what has changed, for nobody in particular; False if it is being fetched."""
        fill = self.fills.get(key)
        if fill is not None and self.is_present(fill):
            return False
        self._count("refresh", rule)
        plan = CachePlan(primary, key, NO_DIRECTIVES, exchange.route, rule, wants_part=False)
        fill, lines = self._new_fill(None, None, plan, is_listed=True)
        fill.begin(exchange, lines)
        return True

    def _new_fill(
        self,
        entry: StoredResponse | None,
        part: StoredPart | None,
        plan: CachePlan,
        *,
        is_listed: bool,
    ) -> tuple[Fill, bytes]:
        """Return a fill, and the lines that validate what is stored, or ask for what is missing.

        Args:
            is_listed: whether others may join it.
        """
        position = self.changes.position
        lines = rest_of(part, plan.directives, time.time()) if part is not None else b""
        fill: Fill
        if part is not None and lines:
            fill = RestFill(self, plan, part, as_of=position, is_listed=is_listed)
        else:
            if entry is not None:
                lines = revalidation_fields(entry.etag or None, entry.last_modified_text or None)
            fill = Fill(self, plan, entry, as_of=position, is_listed=is_listed)
        if is_listed:
            self.fills[plan.key] = fill
        return fill, lines

    def is_present(self, fill: Fill, tags: tuple[bytes, ...] | None = None) -> bool:
        """Tell whether nothing that a fill brings has changed since it was begun.

        Args:
            tags: of its answer; while they are unknown (None), any change is one of it.
        """
        if tags is None:
            tags = fill.tags
        changes = self.changes
        if fill.as_of != changes.position:
            if tags is None:
                return False
            if changes.since((*tags, URL_TAG + fill.plan.primary), fill.as_of):
                return False
        return self.coherence.is_present(fill, tags)

    def may_keep(self, fill: Fill, tags: tuple[bytes, ...]) -> bool:
        """Tell whether an answer with ``tags`` may be stored; count it where it may not."""
        rule = fill.plan.rule
        if fill.is_bypass:
            reason = fill.plan.detail.decode()
        elif self.coherence.is_doubtful(fill, tags):
            reason = "unsure"
        elif not self.is_present(fill, tags):
            reason = "changed"
        else:
            return True
        rule.refused[reason] = rule.refused.get(reason, 0) + 1
        return False

    def ask_past(
        self, exchange: Exchange, rule: CacheRule, primary: bytes, key: bytes, detail: bytes
    ) -> bool:
        """Have the origin answer what may not be answered from here; nothing of it is kept.

        Returns False where the request is to pass as it is, as ``consult``.
        """
        self._count(detail.decode(), rule)
        if not rule.is_anonymous or self.is_passed(primary, time.time()):
            return self._pass(exchange, FWD_BYPASS, detail)
        head = exchange.head
        plan = CachePlan(
            primary,
            key,
            NO_DIRECTIVES,
            exchange.route,
            rule,
            wants_part=head.has_any(_PART) or exchange.method == b"HEAD",
        )
        plan.forwarded = FWD_BYPASS
        plan.detail = detail
        self.past.ask(exchange, plan)
        return True

    def ask_next(self, exchange: Exchange, plan: CachePlan) -> None:
        """Have the origin asked once more for who joined what turned out not to be for joiners."""
        if not plan.rule.is_anonymous:
            self.send_alone(exchange)
            return
        self._count("unsure", plan.rule)
        plan.is_collapsed = False
        plan.detail = b"unsure"
        self.past.ask(exchange, plan)

    def ask_past_if_behind(self, exchange: Exchange, rule: CacheRule) -> bool:
        """As ``ask_past``, for who has seen a change that has not come here."""
        primary = rule.locate(exchange)
        if primary is None:
            return self._pass(exchange, FWD_BYPASS)
        key = rule.variant(exchange, primary, self._variants.get(primary))
        return self.ask_past(exchange, rule, primary, key, b"behind")

    def _serve_marked(
        self, exchange: Exchange, rule: CacheRule, primary: bytes, key: bytes
    ) -> bool:
        """Serve what may be out of date where that is accepted, and say so."""
        head = exchange.head
        entry = self.store.get(key)
        if entry is None or rule.needs_origin(head):
            return False
        now = time.time()
        action = decide_reuse(rule.directives(head), entry.present_facts(), now).action
        if action is ReuseAction.REVALIDATE or action is ReuseAction.GATEWAY_TIMEOUT:
            return False
        if action is ReuseAction.STALE_WHILE_REVALIDATE:
            self._refresh(exchange, entry, rule, primary, key)
            self._count("stale", rule)
        else:
            self._count("hit", rule)
        lines = hit_lines(entry, now, b"unsure")
        self._serve(exchange, entry, lines, now, wants_part=head.has_any(_PART))
        return True

    def _pass(self, exchange: Exchange, reason: bytes, detail: bytes | None = None) -> bool:
        rule = exchange.route.cache_rule
        assert rule is not None
        if detail is None:
            self._count("pass", rule)
        member = cache_status_member(_NAME, hit=False, fwd=reason, detail=detail)
        exchange.response_lines += _status_line(member)
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
        if fill.is_bypass:
            self.past.on_ended(fill)
        if self.siblings is not None:
            self.siblings.release(fill)

    def note_filled(self, fill: Fill) -> None:
        """Let siblings know who has what a fill brought; before it is forgotten."""
        if self.siblings is not None:
            self.siblings.note_stored(fill)

    def on_lent(self, fill: Fill) -> None:
        """Count a fill that a sibling answers."""
        self._count("lent", fill.plan.rule)

    def entry_for(
        self, fill: Fill, head: ResponseHead, now: float, *, is_part: bool = False
    ) -> tuple[StoredResponse | None, bool]:
        """Return the entry, yet without a body, that an answer makes; None if it is not kept.

        The second: whether an answer that is not kept may be another one for somebody else.
        """
        plan = fill.plan
        self.coherence.read(fill, head)
        entry, is_personal = plan.rule.entry(
            plan.primary,
            plan.key,
            head,
            route=plan.route,
            request=fill.request,
            directives=plan.directives,
            asked_at=fill.asked_at,
            now=now,
            is_part=is_part,
        )
        if entry is not None:
            entry.as_of = fill.as_of
            entry.log_as_of = fill.log_as_of
            entry.began_at = fill.began_at
        return entry, is_personal

    def keep(self, entry: StoredResponse, rule: CacheRule) -> None:
        """Store a whole answer in the place of what was stored before."""
        entry.charge()
        variants = self._variants.get(entry.primary)
        if variants is None:
            variants = self._add_variants(entry.primary)
        elif variants.names != entry.vary:
            for key in list(variants.keys):  # of another way to vary: not found any more
                self.store.remove(key)
        elif entry.key + PART_MARK in variants.keys:
            self.store.remove(entry.key + PART_MARK)
        variants.names = entry.vary
        if self.store.put(entry):
            self.stored += 1
            self.tags.add(entry)
            variants.keys.add(entry.key)
            if entry.primary not in self._variants:  # its last one was removed for it
                self._add_variants(entry.primary, variants)
            self._count("stored", rule)
        elif not variants.keys:
            self._drop_variants(entry.primary)

    def keep_variant(self, variant: EncodedResponse, rule: CacheRule) -> None:
        """Store a variant beside what it was made from."""
        variants = self._variants.get(variant.primary)
        variant.charge()
        if variants is not None and self.store.put(variant):
            self.stored += 1
            self.tags.add(variant)
            variants.keys.add(variant.key)
            self._count("encoded", rule)

    def freshen(
        self, stored: StoredResponse, head: ResponseHead, fill: Fill, now: float
    ) -> StoredResponse | None:
        """Return what is stored with what a 304 says of it (RFC 9111 section 4.3.4), stored anew.

        None where the 304 is not about it.
        """
        if not selects(stored.etag or None, stored.last_modified_text or None, head.fields):
            return None
        self.coherence.read(fill, head)
        plan = fill.plan
        entry = self._updated(
            stored, head, plan.rule, plan.route.security, asked_at=fill.asked_at, now=now
        )
        entry.as_of = fill.as_of
        entry.log_as_of = fill.log_as_of
        entry.began_at = fill.began_at
        groups = fill.plan.rule.groups_of(entry.primary, head.fields)
        if groups:  # what it was made from this time may have other names
            entry.tags = tuple(dict.fromkeys((*entry.tags, *groups)))
        self._count("validated", fill.plan.rule)
        if self.may_keep(fill, entry.tags):
            self.keep(entry, fill.plan.rule)
        return entry

    def _updated(
        self,
        stored: StoredResponse,
        head: ResponseHead,
        rule: CacheRule,
        security: SecurityFields | None,
        *,
        asked_at: float,
        now: float,
    ) -> StoredResponse:
        """Return what is stored with the fields of a newer answer (RFC 9111 section 3.2)."""
        newer = with_security(rule.kept_lines(head.lines()), security, stored.primary)
        lines = updated_lines(lines_of(stored.block), newer, head.connection_options()[2])
        fields: dict[bytes, bytes] = {}
        for name, value in lines:
            fields[name] = fields[name] + b", " + value if name in fields else value
        if b"age" in head.fields:
            fields[b"age"] = head.fields[b"age"]
        entry = StoredResponse(stored.primary, stored.key)
        entry.status, entry.status_text = stored.status, stored.status_text
        entry.block = b"".join(
            [b"\r\n%b: %b" % line for line in lines if line[0] not in NOT_IN_BLOCK]
        )
        entry.vary = stored.vary
        entry.tags = stored.tags
        entry.as_of = stored.as_of
        entry.log_as_of = stored.log_as_of
        entry.began_at = stored.began_at
        entry.body = stored.body
        entry.is_compressible = stored.is_compressible
        entry.viewed_as = stored.viewed_as
        entry.take(rule.facts(stored.status, fields, asked_at=asked_at, now=now), fields, now)
        return entry

    def on_not_stored(self, fill: Fill, status: int) -> None:
        """Remember that an answer is not for all; what was stored is no longer the answer.

        An answer to one client's credentials, and an origin that fails, say nothing of that.
        """
        if not fill.is_listed or status >= 500:
            return
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
        """Return the Cache-Status line of an answer for which the origin was asked.

        Args:
            status: of the origin's answer; 0 for none.
        """
        return _status_line(
            cache_status_member(
                _NAME,
                hit=False,
                fwd=plan.forwarded,
                fwd_status=status or None,
                stored=stored and not plan.detail,
                collapsed=plan.is_collapsed,
                detail=plan.detail or None,
            )
        )

    def serve_filled(
        self, exchange: Exchange, entry: StoredResponse, plan: CachePlan, now: float, status: int
    ) -> None:
        """Answer with what a fill has just stored; ``status`` is what the origin answered."""
        age = entry.age(now)
        lines = b"Age: %d\r\n" % age if age else b""
        lines += self.miss_lines(plan, status, stored=True)
        self._serve(exchange, entry, lines, now, wants_part=plan.wants_part)

    def may_serve_stale(
        self, entry: StoredResponse, plan: CachePlan, now: float, *, is_answered: bool
    ) -> bool:
        """Whether a stale response may be served while the origin fails, or does not answer.

        For its age, never for a change: not what has died meanwhile, or may have.
        """
        if not entry.alive or self.coherence.may_have_changed(entry, plan.rule):
            return False
        return may_serve_stale_on_error(
            entry.present_facts(),
            plan.directives,
            now,
            default_seconds=0.0 if is_answered else plan.rule.disconnected_seconds,
        )

    def serve_stale(
        self, exchange: Exchange, entry: StoredResponse, plan: CachePlan, now: float, status: int
    ) -> None:
        """Answer with a stale response: the origin failed; ``status`` as for ``miss_lines``."""
        self._count("stale-if-error", plan.rule)
        lines = b"Age: %d\r\n" % entry.age(now)
        lines += self.miss_lines(plan, status, stored=False)
        self._serve(exchange, entry, lines, now, wants_part=plan.wants_part)

    # Changes.

    def on_unsafe(
        self, rule: CacheRule, exchange: Exchange, head: ResponseHead, body: bytes | None
    ) -> None:
        """Forget what an unsafe request has changed, and keep what it says has come of it.

        Args:
            body: of the answer, where all of it is here.
        """
        origin = normalise_origin(b"https" if exchange.is_secure else b"http", exchange.head.host)
        if origin is None:
            return
        self.invalidate(rule, exchange, head, origin)
        if (
            body is not None
            and not rule.is_anonymous
            and answers_get(
                exchange.method,
                head.status,
                origin=origin,
                target=exchange.target,
                fields=head.fields,
            )
        ):
            self._keep_of_post(rule, exchange, head, body)

    def _keep_of_post(
        self, rule: CacheRule, exchange: Exchange, head: ResponseHead, body: bytes
    ) -> None:
        """Keep the answer to a POST for the GETs that follow (RFC 9110 section 9.3.3)."""
        primary = rule.locate(exchange)
        if primary is None or len(body) > min(self.largest_bytes, rule.largest_bytes):
            return
        now = time.time()
        entry, _ = rule.entry(
            primary,
            primary,
            head,
            route=exchange.route,
            request=exchange.head,
            directives=rule.directives(exchange.head),
            asked_at=now - (self._gateway.loop.time() - exchange.started_at),
            now=now,
        )
        if entry is None or entry.facts.lifetime_source is LifetimeSource.HEURISTIC:
            return
        if entry.tags and self.coherence.log is not None:
            return  # nobody noted the position when the request came
        if entry.is_fresh(now):
            entry.as_of = self.changes.position
            entry.body = body
            self.keep(entry, rule)

    def invalidate(
        self, rule: CacheRule, exchange: Exchange, head: ResponseHead, origin: bytes
    ) -> None:
        """Forget what an unsafe request has changed (RFC 9111 section 4.4, RFC 9875)."""
        for key in invalidated_keys(
            exchange.method,
            head.status,
            origin=origin,
            target=exchange.target,
            fields=head.fields,
        ):
            self.tell_and_forget(key[0] + key[1])
        if 200 <= head.status < 400:
            groups = parse_groups(head.fields.get(b"cache-group-invalidation"))
            if groups:
                tags = tuple([rule.tag_of(origin, group) for group in groups])
                self.forget_tags(tags)
                for tag in tags:
                    self._gateway.publish(FORGET_TAG_TOPIC, tag)

    def forget_tags(self, tags: tuple[bytes, ...]) -> int:
        """Let nothing stored with one of ``tags`` be served again; return how many that were."""
        self.changes.note(tags)
        return self.kill_tags(tags)

    def kill_tags(self, tags: tuple[bytes, ...]) -> int:
        """As ``forget_tags``, for a change that the change log has noted."""
        killed = sum([self.tags.kill(tag) for tag in tags])
        if killed:
            self._gateway.loop.call_soon(self._reclaim)
        return killed

    def kill_everything(self) -> None:
        """Let nothing that is stored be served again."""
        dead = list(self.store.entries())
        for entry in dead:
            entry.alive = False
        if dead:
            self._gateway.loop.call_soon(self._drop_slice, dead)

    def _drop_slice(self, dead: list[StoredResponse]) -> None:
        """Free what was killed, as ``_reclaim``."""
        for entry in dead[-_RECLAIMED:]:
            self.store.drop(entry)
        del dead[-_RECLAIMED:]
        if dead:
            self._gateway.loop.call_soon(self._drop_slice, dead)

    def _reclaim(self) -> None:
        """Free what was killed, a slice at a time, between requests."""
        if self.tags.reclaim(_RECLAIMED):
            self._gateway.loop.call_soon(self._reclaim)

    def update_by_head(
        self,
        entry: StoredResponse,
        rule: CacheRule,
        exchange: Exchange,
        head: ResponseHead,
        _body: bytes | None,
    ) -> None:
        """Bring what is stored of a GET up to date with the answer to a HEAD (section 4.3.5)."""
        if head.status != 200 or entry.status != 200 or self.store.peek(entry.key) is not entry:
            return
        now = time.time()
        if matches_head(entry.etag, entry.last_modified_text, len(entry.body), head.fields):
            waited = exchange.gateway.loop.time() - exchange.started_at
            security = exchange.route.security
            updated = self._updated(entry, head, rule, security, asked_at=now - waited, now=now)
            self.keep(updated, rule)
        else:
            entry.expires_at = min(entry.expires_at, now)
            if self.siblings is not None:
                self.siblings.note_change()

    def tell_and_forget(self, primary: bytes) -> None:
        """As ``forget``, in every worker."""
        self.forget(primary)
        self._gateway.publish(FORGET_TOPIC, primary)

    def on_published(self, topic: str, payload: bytes) -> None:
        """Follow what another worker has forgotten."""
        if topic == FORGET_TOPIC:
            self.forget(payload)
        elif topic == FORGET_TAG_TOPIC:
            self.forget_tags((payload,))

    def is_passed(self, primary: bytes, now: float) -> bool:
        """Tell whether it is remembered that a URL's answers are not for all."""
        return self._passing.get(primary, 0.0) > now

    def variants_of(self, primary: bytes) -> Variants | None:
        """Return what is known of the variants of a URL; None where nothing is stored of it."""
        return self._variants.get(primary)

    def entries_of(self, primary: bytes) -> list[StoredResponse]:
        """Return what is stored of a URL and may be served."""
        variants = self._variants.get(primary)
        if variants is None:
            return []
        found = [self.store.peek(key) for key in variants.keys]
        return [entry for entry in found if entry is not None]

    def age(self, primary: bytes) -> int:
        """Let what is stored of a URL be stale from now on; return how many entries that were."""
        self.changes.note((URL_TAG + primary,))
        entries = self.entries_of(primary)
        now = time.time()
        for entry in entries:
            entry.expires_at = min(entry.expires_at, now)
        return len(entries)

    def forget(self, primary: bytes) -> int:
        """Let nothing stored of a URL be served again; return how many entries that were."""
        self.changes.note((URL_TAG + primary,))
        variants = self._variants.get(primary)
        if variants is None:
            return 0
        return sum([self.store.remove(key) for key in list(variants.keys)])

    def _forget_entry(self, entry: Entry) -> None:
        assert isinstance(entry, StoredResponse)
        self.tags.discard(entry)
        variants = self._variants.get(entry.primary)
        if variants is not None:
            variants.keys.discard(entry.key)
            if not variants.keys:
                self._drop_variants(entry.primary)

    def known_origins(self) -> set[bytes]:
        """Return scheme and authority of all that is stored or being fetched."""
        fills = [each.fill for each in self._gateway.fetching if isinstance(each, FillClient)]
        fills += self.fills.values()  # what a sibling fetches for us, too
        return {*self.origins, *[origin_in(fill.plan.primary) for fill in fills]}

    def _add_variants(self, primary: bytes, variants: Variants | None = None) -> Variants:
        """List a URL of which something is stored, and count it for its origin."""
        self._variants[primary] = variants = variants or Variants()
        origin = origin_in(primary)
        self.origins[origin] = self.origins.get(origin, 0) + 1
        return variants

    def _drop_variants(self, primary: bytes) -> None:
        if self._variants.pop(primary, None) is not None:
            origin = origin_in(primary)
            self.origins[origin] -= 1
            if not self.origins[origin]:
                del self.origins[origin]

    # Inside.

    def _serve(
        self,
        exchange: Exchange,
        entry: StoredResponse,
        lines: bytes,
        now: float,
        *,
        wants_part: bool,
    ) -> None:
        """Send a stored response, or what of it the request's conditions and range leave."""
        body = entry.body
        length = len(body)
        is_head = exchange.method == b"HEAD"
        if not wants_part or entry.status != 200:
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
            entry.representation(),
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
        elif not exchange.head.has_any(_RANGE) or not answer_ranges(exchange, entry, lines, now):
            exchange.answer_stored(
                200, entry.status_text, block, lines, b"" if is_head else body, length
            )

    def _count(self, event: str, rule: CacheRule) -> None:
        rule.counts[event] = rule.counts.get(event, 0) + 1


def origin_in(primary: bytes) -> bytes:
    """Return scheme and authority of a URL that is a key."""
    return primary[: primary.find(b"/", len(b"https://"))]


def satisfies(fill: Fill, exchange: Exchange) -> bool:
    """Tell whether what a fill brings holds the position that a request's client has seen."""
    if POSITION_LINE not in exchange.identity:
        return True
    return fill.asked_position >= take_position(exchange.identity)[1]


def _status_line(member: bytes) -> bytes:
    return b"Cache-Status: %b\r\n" % member


_NOT_CACHED: Final = _status_line(cache_status_member(_NAME, hit=False, fwd=FWD_BYPASS))


def consult_cache(exchange: Exchange) -> bool:
    """Answer from the cache, where the route has one."""
    gateway = exchange.gateway
    writes = gateway.read_your_writes
    if writes is not None and exchange.head.has_any(_COOKIE) and writes.take(exchange):
        return True
    cache = gateway.cache
    if cache is None:
        return False
    rule = exchange.route.cache_rule
    if rule is None:
        exchange.response_lines += _NOT_CACHED
        return False
    return cache.consult(exchange, rule)
