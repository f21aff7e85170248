"""The change log: the one order of all changes, on a durable Valkey, applied by every process.

Theory of operation (DESIGN section 6, rules 4 to 6). Changes are entries of one stream. A *layer*
is a process that caches; it applies the stream in order and renews a *lease* every heartbeat, and
at once when woken. One script takes the lease, enters the layer with what it applied into a table
and returns what follows in the stream. So what was appended before a renewal is in its answer, and
a layer that has applied the answer knows of everything appended before its renewal was served: it
is *sure* until a lease after it **sent** the renewal, whatever pauses or queues lie between.

A writer appends, and is told by the same script which layers are in the table. The change is
acknowledged when each of them has applied it. For one that does not answer it waits until a lease
(and a tenth, ``change_leases.MARGIN``) after the append: a lease given before has then lapsed, and
one given later was given with the change. That bound needs nothing further of the server, nor
any common clock. Layers without a sign of life for so long are struck from the table by whoever
notices, so nobody waits for them twice.

The table does not survive the server, nor does a promoted replica have it; then leases may run that
the table does not show. So a server other than the one that began the epoch begins a new one
(``change_scripts``), in which writers wait for a whole lease until somebody saw it last for one.
A new epoch begins with an entry that everything changed; so does what follows a gap.

Limits. Two primaries at once: who sees both uses neither (``find_primary``); a partition that shows
each to one half must be fenced by whoever promotes. A virtual machine that is suspended whole, with
its monotonic clock, believes its lease for the rest of it when it is resumed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from heapq import heappop, heappush
from secrets import token_hex
from typing import Any, Final

import structlog

from poruwa.config.model import Coherence, StoreMode, ValkeyStore
from poruwa.errors import BusUnavailable, ConfigError
from poruwa.rules.change import EVERYTHING, Change, decode_change, encode_change
from poruwa.rules.changes import Changes
from poruwa.rules.position import epoch_of, position_of_id
from poruwa.stores.change_applier import ChangeApplier, ignore
from poruwa.stores.change_leases import (
    MARGIN,
    Acknowledgement,
    Appended,
    LayerAnswer,
    Survey,
    layers_of,
    name_of,
)
from poruwa.stores.change_link import ChangeLinks
from poruwa.stores.change_scripts import RETAINED, Head, applied_channel, wake_channel
from poruwa.stores.change_stats import ChangeLogStats
from poruwa.stores.valkey_connection import FAILURES

PAGE: Final = 500
"""Entries per answer: some ten thousand bytes, and a millisecond or two to apply."""

FAR_BEHIND: Final = 20_000
"""A layer that is further behind forgets everything instead of applying each change."""

START_SECONDS: Final = 2.0
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.25

_log = structlog.get_logger(component="change-log")


class ChangeLog:
    """This process's end of the change log.

    Args:
        store: the bus; its nodes are one server, or a primary and replicas.
        layer: name of this process, e.g. ``app/host/pid``.
        is_cache: whether it caches. False, for a command: it appends and waits for others, applies
            nothing and is never sure.
        on_change: called with position and change, in order, before the layer says that it applied
            it. Must not wait. After an exception, ``on_all_changed`` is called for it instead.
        on_all_changed: called with a position: anything may have changed up to it. Instead of
            ``on_change`` for what says so, and once at the start.

    Attributes:
        position: applied by this process.
        sure_until: ``time.monotonic()`` until which no acknowledged change can have been missed. To
            be compared with a clock read *after* the request was, not with a cached time.
        changes: what changed when. Soft changes are not noted here.
        stats: counts.
    """

    def __init__(
        self,
        store: ValkeyStore,
        coherence: Coherence,
        *,
        layer: str,
        is_cache: bool = True,
        on_change: Callable[[int, Change], None] = ignore,
        on_all_changed: Callable[[int], None] = ignore,
        retained: int = RETAINED,
    ) -> None:
        if not store.nodes:
            raise ConfigError("the bus has no nodes; name its server, or start it with poruwa up")
        if store.mode is StoreMode.CLUSTER:
            raise ConfigError(
                "the bus cannot be a cluster yet; name a single server or a primary with replicas"
            )
        self.position = 0
        self.sure_until = 0.0
        self.stats = ChangeLogStats()
        self.layer = layer
        self.is_cache = is_cache
        self._applier = ChangeApplier(on_change, on_all_changed, self.stats)
        self.changes: Changes = self._applier.changes
        self._coherence = coherence
        self._has_replicas = len(store.nodes) > 1
        self._call_seconds = 4 * (store.retries + 1) * store.timeout_seconds
        self._links = ChangeLinks(store, coherence, retained=retained)
        self._token = token_hex(8).encode()
        self._id = layer.encode() + b"~" + self._token
        self._task: asyncio.Task[None] | None = None
        # Python 3.11's wait_for, in redis-py, may swallow a cancellation; so loops look here, too.
        self._is_closing = False
        self._wake = asyncio.Event()
        self._first_try = asyncio.Event()
        self._stamp = 0
        self._registers = False  # not before the retained log is read
        self._epoch = 0
        self._epoch_seen_at = 0.0
        self._longest_lease = coherence.lease_seconds
        self._written = 0  # the last position this process was told of
        self._writers: set[bytes] = set()  # to be told that we applied
        self._survey = Survey()
        self._survey_at = 0.0
        self._unsure_since: float | None = None
        self._unheard_at: float | None = None  # when an entry came that no wake-up announced
        self._heard = 0
        # As a writer: what others applied, as far as known.
        self._applied: dict[bytes, int] = {}
        self._table: frozenset[bytes] = frozenset()  # as last read, in its epoch
        self._table_epoch = 0
        self._table_at = 0.0  # when it was asked for
        self._asked_at = 0.0
        self._table_settled = 0  # an epoch known to be settled
        self._news: list[asyncio.Future[None]] = []
        self._reaching: list[tuple[int, int, asyncio.Future[None]]] = []
        self._reaching_count = 0

    # Life.

    async def start(self) -> None:
        """Connect and read what is retained; return once done, failed once, or after 2 s.

        A server that is away is no error: it is tried again until ``close``.
        """
        self._unsure_since = time.monotonic()
        self._task = asyncio.create_task(self._run(), name=f"change log of {self.layer}")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._first_try.wait()
        except TimeoutError:
            _log.warning("the bus has not answered yet; caches are by-passed until it does")

    async def close(self) -> None:
        """Leave: nobody waits for this process from now on, and it is no longer sure."""
        now = time.monotonic()
        self._unsure_since = now if self.sure_until > now else self._unsure_since
        self.sure_until = 0.0
        self._is_closing = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        try:
            if task is not None and self.is_cache and self._stamp:
                link = await self._links.get()
                async with asyncio.timeout(self._coherence.lease_seconds):
                    await link.renewals.drop(self.position, self._id, b"")
        except FAILURES:
            pass  # the lease lapses by itself
        finally:
            await self._links.close()
            for _, _, future in self._reaching:
                future.cancel()

    def is_sure(self) -> bool:
        """Tell whether every change acknowledged by now is applied here."""
        return time.monotonic() < self.sure_until

    def unsure_seconds(self) -> float:
        """Return how long this process was unsure since its start, the present time included."""
        now = time.monotonic()
        present = 0.0
        if self.sure_until <= now and self._unsure_since is not None:
            present = now - max(self._unsure_since, self.sure_until)
        return self.stats.unsure_seconds + present

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            if self.is_cache:
                group.create_task(self._beat())
            else:
                self._first_try.set()

    # As a layer: renewals.

    async def _beat(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        heartbeat = self._coherence.heartbeat_seconds
        loop = asyncio.get_running_loop()
        while not self._is_closing:
            self._wake.clear()
            sent = time.monotonic()
            try:
                is_behind = await self._renew()
            except FAILURES as error:
                await self._lost(error, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            except Exception:
                _log.exception("the log's entries could not be applied; trying again")
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            if is_behind:
                continue
            self._first_try.set()
            timer = loop.call_at(loop.time() + sent + heartbeat - time.monotonic(), self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _lost(self, error: BaseException, pause: float) -> None:
        if pause == _FIRST_PAUSE_SECONDS:
            self.stats.reconnects += 1
            _log.warning("the bus does not answer; trying again", error=str(error))
        self._first_try.set()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        if self._has_replicas:
            try:
                await self._links.find()
            except FAILURES as also:
                _log.warning("no server of the bus takes writes", error=str(also))

    async def _renew(self) -> bool:
        """Renew the lease and apply what is new; return whether there is more to apply."""
        link = await self._links.get()
        is_registering = self._registers
        self._stamp += 1
        writers = tuple(self._writers)
        sent = time.monotonic()
        settled_epoch = 0
        if self._epoch and sent >= self._epoch_seen_at + MARGIN * self._longest_lease:
            settled_epoch = self._epoch
        head = await link.renewals.renew(
            self.position,
            layer=self._id,
            stamp=self._stamp,
            is_registering=is_registering,
            settled_epoch=settled_epoch,
            page=PAGE,
            writers=writers,
        )
        self._writers.difference_update(writers)
        self._see(head)
        self._apply_entries(head)
        if self.position < head.position:
            self._registers = False
            return True
        self._registers = True
        if not is_registering:
            return True  # once more, to enter the table
        self._applier.warm()
        self._be_sure(sent + self._coherence.lease_seconds)
        await self._look_for_lapsed(sent)
        return bool(self._writers)

    def _apply_entries(self, head: Head) -> None:
        applier = self._applier
        far = not applier.is_cold and head.epoch == epoch_of(self.position)
        if (far and head.position - self.position > FAR_BEHIND) or not head.rest:
            applier.miss(head.position)
        else:
            for entry_id, fields in head.rest:
                self._apply_entry(position_of_id(entry_id), fields)
        self._applied_here()

    def _apply_entry(self, position: int, fields: list[bytes]) -> None:
        if position <= self._applier.position:
            return
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        is_begin = b"e" in values
        change = EVERYTHING if is_begin else decode_change(values.get(b"c", b""))
        self._applier.apply(position, change)
        self._note_writer(values.get(b"w", b""))
        if position > self._heard and self._unheard_at is None:
            self._unheard_at = time.monotonic()

    def _note_writer(self, writer: bytes) -> None:
        if writer and writer != self._token:  # this process knows by itself
            self._writers.add(writer)

    def _applied_here(self) -> None:
        position = self._applier.position
        if position == self.position:
            return
        self.position = position
        self._applied[self._id] = position
        while self._reaching and self._reaching[0][0] <= position:
            _, _, future = heappop(self._reaching)
            if not future.done():
                future.set_result(None)
        self._tell_news()

    def _be_sure(self, until: float) -> None:
        now = time.monotonic()
        if until <= now:
            return  # we were paused meanwhile
        if now >= self.sure_until:
            since = max(self._unsure_since or 0.0, self.sure_until)
            self.stats.unsure_seconds += now - since
            self.stats.unsure_episodes += 1
        self.sure_until = until

    def _see(self, head: Head) -> None:
        if head.epoch != self._epoch:
            self._epoch = head.epoch
            self._epoch_seen_at = time.monotonic()
        if head.is_settled:
            self._table_settled = max(self._table_settled, head.epoch)
        self._longest_lease = max(self._coherence.lease_seconds, head.longest_seconds)

    async def _look_for_lapsed(self, now: float) -> None:
        if now < self._survey_at:
            return
        lease = self._coherence.lease_seconds
        self._survey_at = now + lease * random.uniform(1.0, 1.5)  # noqa: S311
        link = await self._links.get()
        head = await link.renewals.survey(self.position)
        lapsed = self._survey.lapsed(layers_of(head.rest), self._longest_lease, time.monotonic())
        if lapsed:
            await link.renewals.drop(self.position, *lapsed)

    # Wake-ups.

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_closing:
            try:
                await self._hear()
                pause = _FIRST_PAUSE_SECONDS
            except FAILURES:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except Exception:
                _log.exception("a wake-up could not be read; listening anew")
                pause = _LONGEST_PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def _hear(self) -> None:
        """Listen until the connection is lost or seems deaf."""
        link = await self._links.get()
        subscription: Any = link.subscription()
        namespace = self._coherence.namespace
        wake = wake_channel(namespace).encode()
        channels = [applied_channel(namespace, self._token)]
        if self.is_cache:
            channels.append(wake_channel(namespace))
        try:
            await subscription.subscribe(*channels)
            while not self._is_closing:
                message = await subscription.get_message(timeout=self._coherence.lease_seconds)
                if message is None:
                    if self._is_deaf() or self._links.current is not link:
                        return
                elif message["type"] == "subscribe":
                    self._heard, self._unheard_at = self.position, None
                    self._wake.set()
                elif message["channel"] == wake:
                    self._woken(message["data"])
                else:
                    self._told(message["data"])
        finally:
            await subscription.aclose()

    def _is_deaf(self) -> bool:
        at = self._unheard_at
        return at is not None and time.monotonic() > at + self._coherence.lease_seconds

    def _woken(self, data: bytes) -> None:
        entry_id, _, rest = data.partition(b" ")
        position = position_of_id(entry_id)
        self._heard, self._unheard_at = max(position, self._heard), None
        if rest and self.position and not self._applier.is_cold and position == self.position + 1:
            writer, _, change = rest.partition(b" ")
            self._applier.apply(position, decode_change(change))
            self._note_writer(writer)
            self._applied_here()
        if position > self.position or self._writers:
            self._wake.set()

    def _told(self, data: bytes) -> None:
        layer, _, entry_id = data.rpartition(b" ")
        position = position_of_id(entry_id)
        if position > self._applied.get(layer, 0):
            self._applied[layer] = position
            self._tell_news()

    def _tell_news(self) -> None:
        news, self._news = self._news, []
        for future in news:
            if not future.done():
                future.set_result(None)

    async def reached(self, position: int, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until ``position`` is applied here; return whether it was in ``timeout`` seconds."""
        if position <= self.position:
            return True
        if not self.is_cache or self._task is None or timeout <= 0:
            return False
        future = asyncio.get_running_loop().create_future()
        self._reaching_count += 1
        heappush(self._reaching, (position, self._reaching_count, future))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        return True

    # As a writer.

    async def append(self, change: Change) -> Appended:
        """Append a change; it is durable when this returns.

        Raises:
            BusUnavailable: the server did not say that it is; it may be all the same. Appending
                it again does no harm.
        """
        data = encode_change(change)
        known = max(self.position, self._written)
        try:
            async with asyncio.timeout(self._call_seconds):
                link = await self._links.get()
                head = await link.calls.append(known, data, self._token)
                table = layers_of(head.rest)
        except (*FAILURES, ValueError) as error:
            self.stats.append_failures += 1
            if self._has_replicas:
                self._links.doubt()
            raise BusUnavailable(
                f"the bus did not take the change: {error or type(error).__name__}; "
                "look whether its server runs, and repeat the call"
            ) from error
        now = time.monotonic()
        self._see(head)
        self._written = max(head.position, self._written)
        self.stats.appends += 1
        leases = [entry.lease_seconds for entry in table.values()]
        return Appended(
            position=head.position,
            at=now,
            is_settled=head.is_settled,
            lapsed_at=now + MARGIN * max(self._longest_lease, *leases, 0.0),
            layers=frozenset(table),
        )

    async def publish(self, change: Change, *, timeout: float = 5.0) -> Acknowledgement:  # noqa: ASYNC109
        """Append a change and wait until it is acknowledged, ``timeout`` seconds at most.

        Raises:
            BusUnavailable: as ``append`` does.
        """
        return await self.acknowledged(await self.append(change), timeout=timeout)

    async def acknowledged(self, appended: Appended, *, timeout: float) -> Acknowledgement:  # noqa: ASYNC109
        """Wait until every layer applied the change, or its lease lapsed.

        When the answer is complete, nothing that is sure of itself holds anything older. Takes no
        longer than a lease and a tenth from the append, whatever happens to the server.
        """
        deadline = min(appended.at + timeout, appended.lapsed_at)
        answers: dict[bytes, LayerAnswer] = {}
        while True:
            now = time.monotonic()
            self._collect(appended, answers, now)
            has_lapsed = now >= appended.lapsed_at
            is_settled = appended.is_settled or self._table_settled >= epoch_of(appended.position)
            is_complete = has_lapsed or (is_settled and len(answers) == len(appended.layers))
            if is_complete or now >= deadline:
                return self._acknowledgement(appended, answers, is_complete, now)
            await self._wait_for_news(min(deadline, now + self._coherence.heartbeat_seconds))
            if time.monotonic() >= now + self._coherence.heartbeat_seconds:
                await self._look_at_table(deadline)

    def _collect(self, appended: Appended, answers: dict[bytes, LayerAnswer], now: float) -> None:
        has_table = self._table_at > appended.at and self._table_epoch == epoch_of(
            appended.position
        )
        for layer in appended.layers:
            if layer in answers:
                continue
            if self._applied.get(layer, 0) >= appended.position:
                answers[layer] = LayerAnswer(applied_after=now - appended.at, lapsed=False)
            elif has_table and layer not in self._table:  # it left, or was struck
                answers[layer] = LayerAnswer(applied_after=None, lapsed=True)

    def _acknowledgement(
        self,
        appended: Appended,
        answers: dict[bytes, LayerAnswer],
        is_complete: bool,
        now: float,
    ) -> Acknowledgement:
        silent = LayerAnswer(applied_after=None, lapsed=is_complete)
        layers = {name_of(layer): answers.get(layer, silent) for layer in appended.layers}
        self.stats.acknowledgements.observe(now - appended.at)
        self.stats.incomplete += not is_complete
        self.stats.lapsed += sum(answer.lapsed for answer in layers.values())
        return Acknowledgement(appended.position, is_complete, layers, now - appended.at)

    async def _wait_for_news(self, until: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._news.append(future)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await future
        except TimeoutError:
            pass

    async def _look_at_table(self, deadline: float) -> None:
        """Read what the layers applied, in case their messages were lost."""
        now = time.monotonic()
        if now < self._asked_at + self._coherence.heartbeat_seconds / 2:
            return  # another writer of this process asks
        self._asked_at = now
        known = max(self.position, self._written)
        try:
            async with asyncio.timeout(max(0.0, deadline - now)):
                link = await self._links.get()
                head = await link.calls.survey(known)
                table = layers_of(head.rest)
        except (*FAILURES, ValueError):
            return  # until the leases have lapsed
        self._see(head)
        self._table, self._table_epoch, self._table_at = frozenset(table), head.epoch, now
        for layer, entry in table.items():
            self._applied[layer] = max(entry.applied, self._applied.get(layer, 0))
        for layer in [each for each in self._applied if each not in table and each != self._id]:
            del self._applied[layer]
