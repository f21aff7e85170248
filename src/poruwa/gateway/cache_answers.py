"""What a worker tells the control process about its cache: purges done, and one request explained.

Topics travel as ``local_bus.Ask``; payloads are msgpack of the structs here and in ``purge``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from poruwa.gateway.purge import Purge, primaries_of, purge
from poruwa.rules.purge import parse_purge_url

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway

PURGE: Final = "cache.purge"
EXPLAIN: Final = "cache.explain"


class Purged(msgspec.Struct, frozen=True):
    """How many entries a purge reached."""

    entries: int


class StoredCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that a worker holds of a URL.

    Attributes:
        variant: what of the key comes after the URL; empty where it has but one copy.
        age_seconds, ttl_seconds: the second negative for a stale one.
        as_of: position of the changes that it holds.
    """

    url: str
    variant: str
    status: int
    age_seconds: int
    ttl_seconds: int
    bytes: int
    tags: list[str]
    as_of: int
    etag: str


class CacheView(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's cache has of a URL.

    Attributes:
        rule: the class by which the route is cached; ``origin`` where its answers decide, empty
            where it is not cached.
        filling_seconds: how long a fetch of it has been under way; None for none.
        is_passed: whether its answers turned out not to be for all, so that it is not looked for.
        position: of the last change this worker knows of.
    """

    rule: str
    copies: list[StoredCopy]
    filling_seconds: float | None
    is_passed: bool
    position: int


async def answer_about_cache(gateway: Gateway, topic: str, payload: bytes) -> bytes:
    """Return the answer to a question of the control process."""
    if topic == PURGE:
        wish = msgspec.msgpack.decode(payload, type=Purge)
        return msgspec.msgpack.encode(Purged(await purge(gateway, wish)))
    if topic == EXPLAIN:
        return msgspec.msgpack.encode(_view(gateway, msgspec.msgpack.decode(payload, type=str)))
    return b""


def _view(gateway: Gateway, url: str) -> CacheView:
    target = parse_purge_url(url)
    cache = gateway.cache
    host = b"" if target.origin is None else target.origin.partition(b"://")[2]
    index = gateway.routes.find(host, b"GET", target.path)
    rule = None if index is None else gateway.routes.route(index).cache_rule
    if cache is None or rule is None:
        return CacheView(rule="", copies=[], filling_seconds=None, is_passed=False, position=0)
    now = time.time()
    copies: list[StoredCopy] = []
    begun: list[float] = []
    is_passed = False
    for primary in primaries_of(gateway, target):
        is_passed = is_passed or cache.is_passed(primary, now)
        begun += [fill.asked_at for fill in cache.fills.values() if fill.plan.primary == primary]
        for entry in cache.entries_of(primary):
            age = entry.age(now)
            copies.append(
                StoredCopy(
                    url=primary.decode("latin-1"),
                    variant=_variant(entry.key[len(primary) :]),
                    status=entry.status,
                    age_seconds=age,
                    ttl_seconds=int(entry.present_facts().lifetime_seconds) - age,
                    bytes=len(entry.block) + len(entry.body),
                    tags=[tag.decode("latin-1") for tag in entry.tags],
                    as_of=entry.as_of,
                    etag=entry.etag.decode("latin-1"),
                )
            )
    return CacheView(
        rule=rule.name,
        copies=copies,
        filling_seconds=round(now - min(begun), 3) if begun else None,
        is_passed=is_passed,
        position=cache.changes.position,
    )


def _variant(rest: bytes) -> str:
    return ", ".join(rest.decode("latin-1").strip("\n").split("\n"))
