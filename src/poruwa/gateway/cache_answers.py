"""What a worker tells the control process about its cache: purges done, and one request explained.

Topics travel as ``local_bus.Ask``; payloads are msgpack of the structs here and in ``purge``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from poruwa.gateway.outlook import Outlook, outlook
from poruwa.gateway.own_request import own_exchange
from poruwa.gateway.purge import Purge, primaries_of, purge
from poruwa.net.http1 import Refused, parse_request_head
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
        as_of: position that it holds: of the change log, without one of the worker's own changes.
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
        position: of the last change this worker has applied, as ``StoredCopy.as_of``.
        is_sure: whether it can have missed none.
        lease_age_seconds: since the log granted its lease; None without a log.
        outlook: what would become of the request that is asked about; None if it is not cached.
    """

    rule: str
    copies: list[StoredCopy] = []
    filling_seconds: float | None = None
    is_passed: bool = False
    position: int = 0
    is_sure: bool = True
    lease_age_seconds: float | None = None
    outlook: Outlook | None = None


class CacheQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is asked about; ``headers`` by lower-case name."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}


async def answer_about_cache(gateway: Gateway, topic: str, payload: bytes) -> bytes:
    """Return the answer to a question of the control process."""
    if topic == PURGE:
        wish = msgspec.msgpack.decode(payload, type=Purge)
        return msgspec.msgpack.encode(Purged(await purge(gateway, wish)))
    if topic == EXPLAIN:
        question = msgspec.msgpack.decode(payload, type=CacheQuestion)
        return msgspec.msgpack.encode(_view(gateway, question))
    return b""


def _outlook(gateway: Gateway, question: CacheQuestion, origins: list[bytes]) -> Outlook | None:
    """Return what would become of a request; for a path alone, of one to the first host known."""
    cache = gateway.cache
    target = parse_purge_url(question.url)
    origin = target.origin or (origins[0] if origins else b"http://localhost")
    scheme, _, host = origin.partition(b"://")
    query = b"?" + target.query if target.query else b""
    lines = [
        question.method.encode() + b" " + target.path + query + b" HTTP/1.1",
        b"Host: " + question.headers.get("host", host.decode("latin-1")).encode("latin-1"),
    ]
    lines += [
        f"{name}: {value}".encode()
        for name, value in question.headers.items()
        if name not in ("host", "content-length", "transfer-encoding")
    ]
    try:
        head = parse_request_head(b"\r\n".join(lines) + b"\r\n\r\n")
    except Refused as refused:
        return Outlook(outcome="refused", why=refused.message)
    exchange = own_exchange(gateway, head, is_secure=scheme == b"https")
    if exchange is None or cache is None or exchange.route.cache_rule is None:
        return None
    if gateway.read_your_writes is not None:
        gateway.read_your_writes.note(exchange)
    return outlook(cache, exchange, exchange.route.cache_rule)


def _view(gateway: Gateway, question: CacheQuestion) -> CacheView:
    target = parse_purge_url(question.url)
    cache = gateway.cache
    host = b"" if target.origin is None else target.origin.partition(b"://")[2]
    index = gateway.routes.find(host, b"GET", target.path)
    rule = None if index is None else gateway.routes.route(index).cache_rule
    if cache is None or rule is None:
        return CacheView(rule="")
    coherence = cache.coherence
    log = coherence.log
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
                    tags=[tag.decode("latin-1") for tag in entry.tags if b"\n" not in tag],
                    as_of=entry.as_of if log is None else entry.log_as_of,
                    etag=entry.etag.decode("latin-1"),
                )
            )
    return CacheView(
        rule=rule.name,
        copies=copies,
        filling_seconds=round(now - min(begun), 3) if begun else None,
        is_passed=is_passed,
        position=cache.changes.position if log is None else log.position,
        is_sure=coherence.is_sure(),
        lease_age_seconds=coherence.lease_age_seconds(),
        outlook=_outlook(gateway, question, sorted(cache.origins)),
    )


def _variant(rest: bytes) -> str:
    return ", ".join(rest.decode("latin-1").strip("\n").split("\n"))
