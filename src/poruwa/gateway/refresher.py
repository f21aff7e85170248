"""What many read is fetched anew as soon as it has changed, before somebody has to wait for it.

Place on the path: beside it, when a change of the log is applied. What counts as read by many is
what the store knows anyway: an entry that was read three times since it was stored, or since its
queue last passed it (``Entry.frequency``), so that no hit does more than before. The fetch is a
fill as any other: workers of one machine share it, and it is not kept if the next change comes
before its answer. A budget bounds how many there are: a change of what everything depends on must
not flood the app; what is over it is fetched when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from poruwa.gateway.own_request import own_exchange
from poruwa.gateway.stored import EncodedResponse, StoredResponse
from poruwa.stores.s3fifo import MAX_FREQUENCY

if TYPE_CHECKING:
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.gateway import Gateway

POPULAR: Final = MAX_FREQUENCY


class Refresher:
    """Fetches ahead for one worker's cache.

    Args:
        per_second: fetches at most, on the average; as many may come at once.
    """

    __slots__ = ("_at", "_cache", "_gateway", "_left", "_per_second")

    def __init__(self, gateway: Gateway, cache: GatewayCache, *, per_second: float) -> None:
        self._gateway = gateway
        self._cache = cache
        self._per_second = per_second
        self._left = per_second
        self._at = time.monotonic()

    def popular(self, tags: Sequence[bytes]) -> list[StoredResponse]:
        """Return what has one of ``tags`` and is read by many, as much as may be fetched now."""
        budget = self._budget()
        found: dict[bytes, StoredResponse] = {}
        for tag in tags:
            for entry in self._cache.tags.entries(tag):
                if len(found) >= budget:
                    return list(found.values())
                if (
                    entry.frequency >= POPULAR
                    and entry.alive
                    and isinstance(entry, StoredResponse)
                    and not isinstance(entry, EncodedResponse)
                ):
                    found[entry.key] = entry
        return list(found.values())

    def refresh(self, entries: Sequence[StoredResponse]) -> None:
        """Fetch what has just died of a change, unless it is being fetched.

        As every fill, these tell the instance the position, so that it has applied the change too.
        """
        for entry in entries:
            if self._begin(entry):
                self._left -= 1

    def _begin(self, entry: StoredResponse) -> bool:
        primary = entry.primary
        scheme, _, rest = primary.partition(b"://")
        host, slash, target = rest.partition(b"/")
        routes = self._gateway.routes
        index = routes.find(host, b"GET", slash + target.partition(b"?")[0])
        rule = None if index is None else routes.route(index).cache_rule
        if rule is None or not rule.is_refreshed_on_change:
            return False
        head = rule.request_for(primary, entry.key)
        if head is None:
            return False
        exchange = own_exchange(self._gateway, head, is_secure=scheme == b"https")
        if exchange is None or rule.variant(exchange, primary, None) != entry.key:
            return False
        return self._cache.fetch_ahead(exchange, rule, primary, entry.key)

    def _budget(self) -> int:
        now = time.monotonic()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        return int(self._left)
