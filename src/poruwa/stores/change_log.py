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

With replicas, a layer's lease also counts only from when it last asked every node and no other
called itself primary (``change_link``).

Limits. A partition that shows one primary to some processes and another to others, both alive, must
be fenced by whoever promotes: what does not answer is taken for dead. A virtual machine suspended
whole, with its monotonic clock, believes its lease for the rest of it when it is resumed.

This module is the layer's side; the writer's is ``change_writer``, wake-ups are ``change_wake``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from secrets import token_hex
from typing import Final

import structlog

from poruwa.config.model import Coherence, StoreMode, ValkeyStore
from poruwa.errors import BusUnavailable, ConfigError
from poruwa.rules.change import EVERYTHING, Change, decode_change
from poruwa.rules.changes import Changes
from poruwa.rules.position import epoch_of, position_of_id
from poruwa.stores.change_applier import ChangeApplier, ignore
from poruwa.stores.change_leases import (
    Acknowledgement,
    Appended,
    EpochWatch,
    LayerAnswer,
    Survey,
    layers_of,
)
from poruwa.stores.change_link import ChangeLinks
from poruwa.stores.change_scripts import RETAINED, Head
from poruwa.stores.change_stats import ChangeLogStats
from poruwa.stores.change_wake import WakeUps
from poruwa.stores.change_writer import ChangeWriter
from poruwa.stores.valkey_connection import FAILURES

__all__ = [
    "Acknowledgement",
    "Appended",
    "BusUnavailable",
    "Change",
    "ChangeLog",
    "ChangeLogStats",
    "LayerAnswer",
]

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
        token = token_hex(8).encode()
        self._id = layer.encode() + b"~" + token
        self._token = token
        self._coherence = coherence
        self._applier = ChangeApplier(on_change, on_all_changed, self.stats)
        self.changes: Changes = self._applier.changes
        self._watch = EpochWatch(coherence.lease_seconds)
        self._links = ChangeLinks(store, coherence, watch=self._watch, retained=retained)
        self._writer = ChangeWriter(
            self._links, store, coherence, token=token, watch=self._watch, stats=self.stats
        )
        self._wake_ups = WakeUps(
            self._links,
            namespace=coherence.namespace,
            token=token,
            patience_seconds=coherence.lease_seconds,
            on_entry=self._hear_entry if is_cache else None,
            on_applied=self._writer.note_applied,
            on_start=self._poke,
        )
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._stamps = count(1)
        self._registers = False  # not before the retained log is read
        self._writers: set[bytes] = set()  # to be told that we applied what they wrote
        self._survey = Survey()
        self._survey_at = 0.0
        self._confirmed_at = 0.0  # when it was last asked who else is primary
        self._unsure_since: float | None = None
        self._reaching: list[tuple[int, int, asyncio.Future[None]]] = []

    # Life.

    async def start(self) -> None:
        """Connect and read what is retained; return once done, failed once, or after 2 s.

        A server that is away is no error: it is tried again until ``close``.
        """
        self._unsure_since = time.monotonic()
        self._task = asyncio.create_task(self._run(), name=f"change log of {self.layer}")
        if not self.is_cache:
            return
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._tried.wait()
        except TimeoutError:
            _log.warning("the bus has not answered yet; caches are by-passed until it does")

    async def close(self) -> None:
        """Leave: nobody waits for this process from now on, and it is no longer sure."""
        self._end_sureness()
        self._is_closing = True
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                await self._leave()
        finally:
            await self._links.close()
            for _, _, future in self._reaching:
                future.cancel()

    async def _leave(self) -> None:
        if self.is_cache and self._links.current is not None:
            # Should it fail, the lease lapses by itself.
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(self._coherence.lease_seconds):
                    await self._links.current.renewals.drop(self.position, self._id, b"")

    def is_sure(self) -> bool:
        """Tell whether every change acknowledged by now is applied here."""
        return time.monotonic() < self.sure_until

    def unsure_seconds(self) -> float:
        """Return how long this process was unsure since its start, the present time included."""
        now = time.monotonic()
        if self._unsure_since is None or now < self.sure_until:
            return self.stats.unsure_seconds
        return self.stats.unsure_seconds + now - max(self._unsure_since, self.sure_until)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_ups.listen())
            if self.is_cache:
                group.create_task(self._beat())
            if self.is_cache and self._links.has_replicas:
                group.create_task(self._confirm())

    # Renewals.

    async def _beat(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        heartbeat = self._coherence.heartbeat_seconds
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            beat_at = loop.time()
            try:
                is_behind = await self._renew()
            except FAILURES as error:
                await self._lose(error, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            except Exception:
                _log.exception("the log's entries could not be applied; trying again")
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            if is_behind:
                continue
            self._tried.set()
            timer = loop.call_at(beat_at + heartbeat, self._poke)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _poke(self) -> None:
        self._wake.set()

    async def _lose(self, error: BaseException, pause: float) -> None:
        if pause == _FIRST_PAUSE_SECONDS:
            self.stats.reconnects += 1
            _log.warning("the bus does not answer; trying again", error=str(error))
        self._links.doubt()
        self._tried.set()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311

    async def _confirm(self) -> None:
        """Ask every heartbeat whether another node calls itself primary."""
        while True:
            asked_at = time.monotonic()
            with contextlib.suppress(*FAILURES, ValueError):  # then renewals fail, and tell why
                await self._links.confirm()
                self._confirmed_at = asked_at
            await asyncio.sleep(self._coherence.heartbeat_seconds)

    async def _renew(self) -> bool:
        """Renew the lease and apply what is new; return whether to do so again at once."""
        link = await self._links.get()
        is_registering = self._registers
        writers = tuple(self._writers)
        sent = time.monotonic()
        head = await link.renewals.renew(
            self.position,
            layer=self._id,
            stamp=next(self._stamps),
            is_registering=is_registering,
            settled_epoch=self._watch.settled_epoch(sent),
            page=PAGE,
            writers=writers,
        )
        self._writers.difference_update(writers)
        self._watch.see(head, time.monotonic())
        self._apply_entries(head)
        # Only who has applied all there was, and was in the table while it was read, is sure.
        self._registers = self.position >= head.position
        # A lease of a server that has been left meanwhile counts nothing.
        if not (self._registers and is_registering and link is self._links.current):
            return True
        self._applier.warm()
        if self._links.has_replicas:
            sent = min(sent, self._confirmed_at)
        self._be_sure(sent + self._coherence.lease_seconds)
        await self._strike_lapsed()
        return bool(self._writers)

    def _be_sure(self, until: float) -> None:
        now = time.monotonic()
        if self._is_closing or until <= now:  # we were paused meanwhile, or leave
            return
        if now >= self.sure_until:
            self.stats.unsure_seconds += now - max(self._unsure_since or 0.0, self.sure_until)
            self.stats.unsure_episodes += 1
        self.sure_until = until

    def _end_sureness(self) -> None:
        now = time.monotonic()
        if now < self.sure_until:
            self._unsure_since = now
        self.sure_until = 0.0

    async def _strike_lapsed(self) -> None:
        """Strike layers from the table that show no sign of life, now and then."""
        now = time.monotonic()
        if now < self._survey_at:
            return
        lease = self._coherence.lease_seconds
        self._survey_at = now + lease * random.uniform(1.0, 1.5)  # noqa: S311
        scripts = (await self._links.get()).renewals
        head = await scripts.survey(self.position)
        now = time.monotonic()
        lapsed = self._survey.lapsed(layers_of(head.rest), self._watch.longest_seconds, now)
        if lapsed:
            await scripts.drop(self.position, *lapsed)

    # Entries.

    def _apply_entries(self, head: Head) -> None:
        applier = self._applier
        is_same_epoch = head.epoch == epoch_of(self.position)
        is_far = is_same_epoch and head.position - self.position > FAR_BEHIND
        if not head.rest or (is_far and not applier.is_cold):
            applier.miss(head.position)  # nothing to do where we are there already
        for entry_id, fields in head.rest:
            position = position_of_id(entry_id)
            if position > applier.position:
                self._apply_entry(position, dict(zip(fields[::2], fields[1::2], strict=True)))
        self._note_position()

    def _apply_entry(self, position: int, values: dict[bytes, bytes]) -> None:
        is_begin = b"e" in values
        change = EVERYTHING if is_begin else decode_change(values.get(b"c", b""))
        self._applier.apply(position, change)
        self._note_writer(values.get(b"w", b""))
        self._wake_ups.entry_came(position)

    def _hear_entry(self, position: int, writer: bytes, data: bytes) -> None:
        applier = self._applier
        self._writer.note_known(position)
        if data and not applier.is_cold and position == self.position + 1:
            applier.apply(position, decode_change(data))
            self._note_writer(writer)
            self._note_position()
        if position > self.position or self._writers:
            self._poke()

    def _note_writer(self, writer: bytes) -> None:
        # Who wrote long ago waits no more, and this process knows by itself.
        is_waiting = self._registers or not self._applier.is_cold
        if writer and writer != self._token and is_waiting:
            self._writers.add(writer)

    def _note_position(self) -> None:
        position = self._applier.position
        if position == self.position:
            return
        self.position = position
        self._writer.note_known(position)
        self._writer.note_applied(self._id, position)
        while self._reaching and self._reaching[0][0] <= position:
            _, _, future = heappop(self._reaching)
            if not future.done():
                future.set_result(None)

    async def reached(self, position: int, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until ``position`` is applied here; return whether it was in ``timeout`` seconds."""
        if position <= self.position:
            return True
        if not self.is_cache or self._task is None or timeout <= 0:
            return False
        future = asyncio.get_running_loop().create_future()
        heappush(self._reaching, (position, id(future), future))
        self._poke()
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            self._reaching = [each for each in self._reaching if each[2] is not future]
            heapify(self._reaching)
            return False
        return True

    # Writing.

    async def append(self, change: Change) -> Appended:
        """Append a change; it is durable when this returns.

        Takes at most a few of the store's time-outs.

        Raises:
            BusUnavailable: the server did not say that it is; it may be all the same. Appending
                it again does no harm.
        """
        return await self._writer.append(change)

    async def acknowledged(self, appended: Appended, *, timeout: float) -> Acknowledgement:  # noqa: ASYNC109
        """Wait until every layer applied the change, or its lease lapsed.

        When the answer is complete, nothing that is sure of itself holds anything older. Takes no
        longer than a lease and a tenth from the append, whatever happens to the server. Cancelling
        it leaves the change appended.
        """
        return await self._writer.acknowledged(appended, timeout)

    async def publish(self, change: Change, *, timeout: float = 5.0) -> Acknowledgement:  # noqa: ASYNC109
        """Append a change and wait until it is acknowledged, ``timeout`` seconds at most.

        Raises:
            BusUnavailable: as ``append`` does.
        """
        return await self.acknowledged(await self.append(change), timeout=timeout)
