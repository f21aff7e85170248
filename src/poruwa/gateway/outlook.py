"""What would become of a request now: the steps of ``cache.consult``, without taking any.

For ``poruwa explain``. Nothing is counted, read or fetched; the rules that decide are the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from poruwa.gateway.coherence import MARK, TRUST
from poruwa.gateway.parts import PART_MARK
from poruwa.rules.cache_control import NO_DIRECTIVES
from poruwa.rules.coherence_fields import take_position
from poruwa.rules.freshness import ReuseAction, decide_reuse, is_fetched_for_all
from poruwa.rules.invalidation import is_safe

if TYPE_CHECKING:
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.cache_rules import CacheRule
    from poruwa.gateway.exchange import Exchange

HIT, STALE, JOIN, MISS, PASS, UNSURE, WAIT, REFUSED = (
    "hit", "stale", "join", "miss", "pass", "unsure", "wait", "504",
)  # fmt: skip


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker would do with a request.

    Attributes:
        outcome: ``hit``, ``stale`` (served, and fetched anew), ``join`` (a fetch under way),
            ``miss``, ``pass`` (goes to an instance as it is), ``unsure`` (past the cache), ``wait``
            (for a change that its client has seen), or ``504``.
        why: a sentence.
        url, variant: which copy it would get; empty where it gets none of the cache's.
    """

    outcome: str
    why: str
    url: str = ""
    variant: str = ""


def outlook(cache: GatewayCache, exchange: Exchange, rule: CacheRule) -> Outlook:
    """Return what would become of a request."""
    method = exchange.method
    if method != b"GET" and method != b"HEAD":
        also = "" if is_safe(method) else "; its answer says what to forget"
        return Outlook(outcome=PASS, why=f"{method.decode()} is never answered from a cache{also}")
    if exchange.is_upgrade:
        return Outlook(outcome=PASS, why="it asks for another protocol")
    primary = rule.locate(exchange)
    if primary is None:
        return Outlook(outcome=PASS, why="two parsers may read its path differently")
    key = rule.variant(exchange, primary, cache.variants_of(primary))
    names = {
        "url": primary.decode("latin-1"),
        "variant": ", ".join(key[len(primary) :].decode("latin-1").strip("\n").split("\n")),
    }
    position = take_position(exchange.identity)[1]
    if position > cache.coherence.position:
        why = f"its client has seen position {position}, which has not come here"
        return Outlook(outcome=WAIT, why=why, **names)
    verdict = TRUST if cache.coherence.is_sure() else cache.coherence.judge(rule, primary)
    if verdict not in (TRUST, MARK):
        why = "this worker may have missed a change, and the class asks the origin then"
        return Outlook(outcome=UNSURE, why=why, **names)
    return _by_store(cache, exchange, rule, primary, key, names)


def _by_store(
    cache: GatewayCache,
    exchange: Exchange,
    rule: CacheRule,
    primary: bytes,
    key: bytes,
    names: dict[str, str],
) -> Outlook:
    now = time.time()
    head = exchange.head
    directives = rule.directives(head)
    entry = cache.store.peek(key)
    needs_origin = rule.needs_origin(head)
    reason = "nothing is stored of it"
    if entry is None and cache.variants_of(primary) is not None:
        reason = "other copies of it are stored, not this one"
        if cache.store.peek(key + PART_MARK) is not None:
            reason = "a part of it is stored"
    elif entry is not None and not needs_origin:
        action = decide_reuse(directives, entry.present_facts(), now).action
        if action is ReuseAction.STALE_WHILE_REVALIDATE:
            return Outlook(outcome=STALE, why="served once more while it is fetched", **names)
        if action not in (ReuseAction.REVALIDATE, ReuseAction.GATEWAY_TIMEOUT):
            why = "fresh" if entry.is_fresh(now) else "stale, which the client accepts"
            return Outlook(outcome=HIT, why=why, **names)
        reason = (
            "the client wants it validated" if entry.is_fresh(now) else "what is stored is stale"
        )
    if directives.only_if_cached:
        return Outlook(outcome=REFUSED, why=f"only-if-cached, and {reason}", **names)
    is_private = entry is None and cache.is_passed(primary, now)
    if not is_fetched_for_all(
        exchange.method,
        directives,
        is_known_private=is_private,
        has_origin_condition=needs_origin,
        is_made_anew=rule.is_anonymous,
    ):
        if is_private:
            reason = "its answers were not for all a moment ago"
        elif needs_origin:
            reason = "only the origin can decide its condition"
        elif directives.no_store:
            reason = "the client wants nothing stored"
        else:
            reason = "the answer to a HEAD has nothing to keep"
        return Outlook(outcome=PASS, why=reason)
    fill = cache.fills.get(key)
    is_listed = rule.is_anonymous or b"authorization" not in head.fields
    if fill is not None and is_listed and not directives.no_cache and cache.is_present(fill):
        return Outlook(outcome=JOIN, why="it is being fetched", **names)
    if not is_listed:
        reason += "; fetched with its Authorization, for nobody else"
    elif directives is NO_DIRECTIVES and rule.is_anonymous and b"cookie" in head.fields:
        reason += "; cookies do not count"
    return Outlook(outcome=MISS, why=reason, **names)
