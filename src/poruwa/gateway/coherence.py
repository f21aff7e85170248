"""What the log of all changes means for one worker's cache (DESIGN section 6).

Place on the path: beside the cache. A worker is a layer of the log (``stores.change_log``): it
applies every change in order, holds a lease, and nobody's write is acknowledged before this worker
has applied it or its lease has lapsed. Positions of the log stand beside the cache's own, which
count what this machine alone changed (RFC 9111 invalidation, purges without a bus).

| the log says      | what is stored                    | what is being fetched                    |
|-------------------|-----------------------------------|------------------------------------------|
| tags changed      | dies at once                      | neither kept nor joined, if older        |
| URLs, patterns    | dies at once                      | the same                                 |
| the same, soft    | is stale from now on              | the same                                 |
| all (a new epoch) | dies at once                      | the same                                 |
| nothing (unsure)  | served only where that is allowed | neither kept nor joined, if it has tags  |

*Unsure* is a worker that may have missed a change: its lease has run out on its own clock. What the
hit path asks is one comparison, ``monotonic() >= cache.sureness.sure_until``; all else is here.

A pattern is looked for among the entries in slices. Until it has been, no entry is served without
being compared with it: ``sureness`` is then an object that is never sure.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from poruwa.gateway.purge import age_now, primaries_of
from poruwa.gateway.read_your_writes import ReadYourWrites
from poruwa.gateway.refresher import Refresher
from poruwa.gateway.views import TALLY, Views
from poruwa.net.http1 import INTERNAL, ResponseHead
from poruwa.rules.change import Change
from poruwa.rules.coherence_fields import AS_OF, UNSURE_FIELD
from poruwa.rules.position import parse_position
from poruwa.rules.purge import compile_pattern, parse_purge_url
from poruwa.stores.change_stats import Histogram

if TYPE_CHECKING:
    from poruwa.config.model import Policy, ValkeyStore
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.cache_rules import CacheRule
    from poruwa.gateway.fill import Fill
    from poruwa.gateway.gateway import Gateway
    from poruwa.gateway.stored import StoredResponse
    from poruwa.observe.metrics import GatewayMetrics
    from poruwa.stores.change_log import ChangeLog

TRUST: Final = 0
MARK: Final = 1
UNSURE: Final = 2
"""What ``judge`` finds: serve as usual; serve, and say that it may be old; ask the origin."""

LAYER: Final = "gateway"
START_SECONDS: Final = 1.0
"""How long a worker that starts waits for the bus before it serves; without it, unsure."""
_SCANNED: Final = 500  # entries a turn, as purges
_INTERNAL: Final = 1 << INTERNAL

_log = structlog.get_logger(component="coherence")


class Sureness(Protocol):
    """Until when, in monotonic seconds, what is stored may be served without a second look."""

    sure_until: float


class Constant:
    """A sureness that does not change."""

    __slots__ = ("sure_until",)

    def __init__(self, sure_until: float) -> None:
        self.sure_until = sure_until


WITHOUT_LOG: Final = Constant(math.inf)
ONE_BY_ONE: Final = Constant(-math.inf)


class Scan:
    """A pattern that is being looked for among the entries.

    Attributes:
        since: position of the cache's own changes; what was begun there or later is of after it.
    """

    __slots__ = ("entries", "expression", "is_soft", "since")

    def __init__(
        self,
        expression: re.Pattern[bytes],
        entries: Iterator[StoredResponse],
        *,
        since: int,
        is_soft: bool,
    ) -> None:
        self.expression = expression
        self.entries = entries
        self.since = since
        self.is_soft = is_soft


class GatewayCoherence:
    """The log, as it concerns the cache of one worker. Without a bus it lets everything pass.

    Attributes:
        log: None where there is no bus.
    """

    __slots__ = (
        "_cache",
        "_counting",
        "_gateway",
        "_lease_seconds",
        "_refresher",
        "_scans",
        "log",
    )

    def __init__(self, gateway: Gateway, cache: GatewayCache) -> None:
        self._gateway = gateway
        self._cache = cache
        self._counting: asyncio.Task[None] | None = None
        self._refresher: Refresher | None = None
        self._scans: list[Scan] = []
        self._lease_seconds = 0.0
        self.log: ChangeLog | None = None

    # For the worker.

    async def start(self, policy: Policy, store: ValkeyStore) -> None:
        """Follow the log on ``store``; one that is away delays it shortly."""
        from poruwa.stores.change_log import ChangeLog  # loads a client that needs a bus
        from poruwa.stores.tally import Tally, tally_key

        rules = self._gateway.routes.cache_rules()
        if any(rule.views for rule in rules):
            self._cache.views = views = Views()
            tally = Tally(store, tally_key(policy.stores.coherence.namespace, TALLY), ranked=0)
            self._counting = self._gateway.loop.create_task(tally.run(collect=views.move_to))
        if any(rule.is_refreshed_on_change for rule in rules):
            self._refresher = Refresher(
                self._gateway, self._cache, per_second=policy.cache.refreshes_per_second
            )
        self.log = log = ChangeLog(
            store,
            policy.stores.coherence,
            layer=layer_name(),
            on_change=self._apply,
            on_all_changed=self._apply_all,
        )
        self._lease_seconds = policy.stores.coherence.lease_seconds
        self._cache.sureness = self.sureness
        try:
            async with asyncio.timeout(START_SECONDS):
                await log.start()
        except TimeoutError:
            pass  # it goes on trying
        self._observe_changes()
        if not log.is_sure():
            _log.warning("the bus is away: what depends on changes is asked of the origin")

    async def close(self) -> None:
        """Leave: nobody waits for this worker any more."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        if self.log is not None:
            await self.log.close()

    def report(self, metrics: GatewayMetrics) -> None:
        """Bring the metrics of this layer up to date."""
        if self.log is not None:
            metrics.staleness = {LAYER: durations(self.log.stats.staleness)}
            metrics.unsure_seconds = {LAYER: self.log.unsure_seconds()}
            metrics.sure = {LAYER: int(self.log.is_sure())}

    # For the cache.

    @property
    def sureness(self) -> Sureness:
        if self._scans:
            return ONE_BY_ONE
        return WITHOUT_LOG if self.log is None else self.log

    @property
    def position(self) -> int:
        """Of the log, as far as it is noted here; 0 without one."""
        return 0 if self.log is None else self.log.changes.position

    def is_sure(self) -> bool:
        return self.log is None or time.monotonic() < self.log.sure_until

    def lease_age_seconds(self) -> float | None:
        """Return for how long the present or last lease has run; None without one."""
        if self.log is None or self.log.sure_until <= 0.0:
            return None
        began = self.log.sure_until - self._lease_seconds
        return round(time.monotonic() - began, 3)

    def judge(self, rule: CacheRule, primary: bytes) -> int:
        """Tell what may be done with what is stored of a URL while ``sureness`` has run out."""
        if self._scans:
            self._look_at(primary)
        if self.is_sure():
            return TRUST
        if not rule.asks_when_unsure:
            return MARK
        if rule.is_tagged or any(each.tags for each in self._cache.entries_of(primary)):
            return UNSURE
        return MARK

    def read(self, fill: Fill, head: ResponseHead) -> None:
        """Take what an answer says of its own position.

        What lies beyond ours is not believed, and cut to what was known here when the fill began:
        of a log that began anew since, it would be after every change there will be.
        """
        if self.log is None or not head.has_any(_INTERNAL):
            return
        as_of = parse_position(head.field(AS_OF) or b"")
        if as_of is not None:
            is_known = as_of <= self.log.changes.position
            fill.log_as_of = as_of if is_known else fill.begun_position
        fill.is_unsure = head.field(UNSURE_FIELD) is not None

    def is_present(self, fill: Fill, tags: tuple[bytes, ...] | None) -> bool:
        """Tell whether the log has no change of what a fill brings, as ``cache.is_present``."""
        log = self.log
        if log is None:
            return True
        if tags and self.is_doubtful(fill, tags):
            return False
        if fill.log_as_of >= log.changes.position:
            return True
        return tags is not None and not log.changes.since(tags, fill.log_as_of, fill.plan.primary)

    def is_doubtful(self, fill: Fill, tags: tuple[bytes, ...]) -> bool:
        """Tell whether somebody who made an answer may have missed a change of it."""
        if self.log is None or not tags:
            return False
        return fill.is_unsure or (fill.plan.rule.asks_when_unsure and not self.is_sure())

    def may_have_changed(self, entry: StoredResponse, rule: CacheRule) -> bool:
        """Tell whether a change of an entry may have been missed, and its class minds."""
        return bool(entry.tags) and rule.asks_when_unsure and not self.is_sure()

    def is_for_joiners(self, fill: Fill) -> bool:
        """Tell whether an answer holds what was known here as its fill began."""
        log, tags = self.log, fill.tags
        if log is None or not tags or fill.is_bypass:  # which begins after all who read it came
            return True
        if self.is_doubtful(fill, tags):
            return False
        return fill.log_as_of >= fill.begun_position or not log.changes.since(
            tags, fill.log_as_of, fill.plan.primary
        )

    def takes(self, entry: StoredResponse) -> bool:
        """Tell whether a sibling's copy holds every change that is known here."""
        log = self.log
        return log is None or not log.changes.since(entry.tags, entry.log_as_of, entry.primary)

    # From the log.

    def _apply(self, position: int, change: Change) -> None:
        """Apply a change to what is stored; what is being fetched is compared as it is to be kept.

        A URL or pattern that cannot be read here, e.g. of a newer version, means everything.
        """
        cache = self._cache
        if change.everything:
            self._apply_all(position, is_soft=change.soft)
            return
        if change.soft:
            if change.tags:
                cache.changes.note(change.tags)  # kept now it would be kept as fresh
                now = time.time()
                for tag in change.tags:
                    cache.tags.soft(tag, now)
        elif change.tags:
            popular = self._refresher.popular(change.tags) if self._refresher is not None else []
            cache.kill_tags(change.tags)
            if self._refresher is not None:
                self._refresher.refresh(popular)
        try:
            for url in change.urls:
                self._apply_url(url, is_soft=change.soft)
            for pattern in change.patterns:
                self._begin_scan(compile_pattern(pattern), is_soft=change.soft)
        except ValueError as error:
            _log.error("change not understood, everything is dropped", reason=str(error))
            self._apply_all(position)
        self._observe_changes()

    def _apply_all(self, position: int, *, is_soft: bool = False) -> None:
        cache = self._cache
        cache.changes.note_all()
        if is_soft:
            for entry in cache.store.entries():
                age_now(entry)
        else:
            cache.kill_everything()
        self._observe_changes()

    def _observe_changes(self) -> None:
        """Let siblings know since when copies of theirs are of after all that is noted here."""
        if self._cache.siblings is not None:
            self._cache.siblings.observe_changes()

    def _apply_url(self, url: bytes, *, is_soft: bool) -> None:
        for primary in primaries_of(self._gateway, parse_purge_url(url.decode())):
            if is_soft:
                self._cache.age(primary)
            else:
                self._cache.forget(primary)

    def _begin_scan(self, expression: re.Pattern[bytes], *, is_soft: bool) -> None:
        cache = self._cache
        since = cache.changes.note_all()
        if not self._scans:
            self._gateway.loop.call_soon(self._scan)
        self._scans.append(Scan(expression, cache.store.entries(), since=since, is_soft=is_soft))
        cache.sureness = self.sureness

    def _scan(self) -> None:
        """Compare some entries with the oldest pattern."""
        scan = self._scans[0]
        some = list(islice(scan.entries, _SCANNED))
        for entry in some:
            if scan.expression.fullmatch(entry.primary) is not None:
                self._drop(scan, entry)
        if not some:
            del self._scans[0]
            self._cache.sureness = self.sureness
        if self._scans:
            self._gateway.loop.call_soon(self._scan)

    def _look_at(self, primary: bytes) -> None:
        """Compare what is stored of a URL with the patterns that are still being looked for."""
        for scan in self._scans:
            if scan.expression.fullmatch(primary) is not None:
                for entry in self._cache.entries_of(primary):
                    self._drop(scan, entry)

    def _drop(self, scan: Scan, entry: StoredResponse) -> None:
        if entry.as_of >= scan.since:
            return
        if scan.is_soft:
            age_now(entry)
        else:
            self._cache.store.drop(entry)


async def follow_changes(gateway: Gateway, policy: Policy, store: ValkeyStore) -> None:
    """Have a worker follow the log on ``store``."""
    gateway.read_your_writes = ReadYourWrites(gateway, policy)
    if gateway.cache is not None:
        await gateway.cache.coherence.start(policy, store)


def durations(histogram: Histogram) -> list[float]:
    """Return a histogram as metrics have it: counts by bucket, and the sum."""
    return [*histogram.counts, histogram.sum_seconds]


def layer_name() -> str:
    """Return what this process is called among all that hold a lease."""
    return f"{LAYER}/{socket.gethostname()}/{os.getpid()}"
