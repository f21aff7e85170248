"""Purges by operators, in one worker: by URL, tag or pattern; hard or soft; or only counted.

A hard purge holds from the moment it is applied: nothing that matches is served again, not even
stale, and what was being fetched before is neither kept nor joined. A soft one ages what matches:
it is stale from now on, and stale-while-revalidate and stale-if-error count from now; what was
being fetched before is not kept either, since it would be kept as fresh.

Memory is given back, and patterns are looked for, in slices between requests: no hit waits for a
purge longer than a slice takes (well below a millisecond).
"""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from poruwa.gateway.stored import StoredResponse
from poruwa.rules.purge import PurgeTarget, compile_pattern, parse_purge_url

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway

SLICE_ENTRIES = 500


class Purge(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to purge: everything that one of ``urls``, ``tags`` or ``patterns`` names."""

    urls: list[str] = []
    tags: list[str] = []
    patterns: list[str] = []
    soft: bool = False
    dry_run: bool = False


def check_purge(wish: Purge) -> None:
    """Raise a ValueError for what can match nothing."""
    if not (wish.urls or wish.tags or wish.patterns):
        raise ValueError("name what to purge: a URL, --tag or --pattern")
    for url in wish.urls:
        parse_purge_url(url)
    for pattern in wish.patterns:
        compile_pattern(pattern)


async def purge(gateway: Gateway, wish: Purge) -> int:
    """Apply a purge; return how many entries were removed or aged, or would be."""
    cache = gateway.cache
    if cache is None:
        return 0
    count = 0
    for url in wish.urls:
        for primary in primaries_of(gateway, parse_purge_url(url)):
            count += _purge_url(gateway, primary, wish)
    for name in wish.tags:
        tags = (name.encode(),)
        if wish.dry_run:
            count += sum([cache.tags.count(tag) for tag in tags])
        elif wish.soft:
            cache.changes.note(tags)
            now = time.time()
            count += sum([cache.tags.soft(tag, now) for tag in tags])
        else:
            count += cache.forget_tags(tags)
    for pattern in wish.patterns:
        count += await _purge_pattern(gateway, pattern, wish)
    return count


def primaries_of(gateway: Gateway, target: PurgeTarget) -> list[bytes]:
    """Return what a URL may be stored under: for a path alone, of every origin there is here.

    The query is cut to what the route's class lists, as it is for requests.
    """
    routes = gateway.routes
    origins: set[bytes] = set()
    if target.origin is not None:
        origins.add(target.origin)
    elif gateway.cache is not None:
        origins |= gateway.cache.known_origins()
    primaries = []
    for origin in sorted(origins):
        index = routes.find(origin.partition(b"://")[2], b"GET", target.path)
        found = None if index is None else routes.route(index).cache_rule
        if found is not None:
            primary = found.primary_of(origin, target.path, target.query)
            if primary is not None:
                primaries.append(primary)
    return primaries


def _purge_url(gateway: Gateway, primary: bytes, wish: Purge) -> int:
    cache = gateway.cache
    assert cache is not None
    if not (wish.dry_run or wish.soft):
        return cache.forget(primary)
    return cache.age(primary) if not wish.dry_run else len(cache.entries_of(primary))


async def _purge_pattern(gateway: Gateway, pattern: str, wish: Purge) -> int:
    cache = gateway.cache
    assert cache is not None
    expression = compile_pattern(pattern)
    if not wish.dry_run:
        # What is being fetched may match, too; what is stored from now on is of after the purge.
        cache.changes.note_all()
    entries = cache.store.entries()
    count = 0
    while True:
        some = list(islice(entries, SLICE_ENTRIES))
        if not some:
            return count
        for entry in some:
            if expression.fullmatch(entry.primary) is None:
                continue
            count += 1
            if wish.dry_run:
                continue
            if wish.soft:
                age_now(entry)
            else:
                cache.store.drop(entry)
        await asyncio.sleep(0)


def age_now(entry: StoredResponse) -> None:
    """Let an entry be stale from now on."""
    entry.expires_at = min(entry.expires_at, time.time())
