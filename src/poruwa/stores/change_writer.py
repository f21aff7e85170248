"""The writer's side of the change log: append, and wait until every layer has applied it.

When waiting may end is said in ``stores.change_log``. What layers applied comes as messages; every
heartbeat the table is read instead, in case they were lost.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from poruwa.config.model import Coherence, ValkeyStore
from poruwa.errors import BusUnavailable
from poruwa.rules.change import Change, encode_change
from poruwa.rules.position import epoch_of
from poruwa.stores.change_leases import (
    MARGIN,
    Acknowledgement,
    Appended,
    EpochWatch,
    LayerAnswer,
    layers_of,
    name_of,
)
from poruwa.stores.change_link import ChangeLinks
from poruwa.stores.change_stats import ChangeLogStats
from poruwa.stores.valkey_connection import FAILURES

# Connecting (TCP, TLS, AUTH), the call, and the question who is primary, each try.
_STEPS: Final = 4


class ChangeWriter:
    """Appends changes of this process and gathers who applied them.

    Args:
        token: of this process; layers tell it that they applied what it wrote.
        watch: what this process knows of the epoch.
    """

    def __init__(
        self,
        links: ChangeLinks,
        store: ValkeyStore,
        coherence: Coherence,
        *,
        token: bytes,
        watch: EpochWatch,
        stats: ChangeLogStats,
    ) -> None:
        self._links = links
        self._heartbeat = coherence.heartbeat_seconds
        self._call_seconds = _STEPS * (store.retries + 1) * store.timeout_seconds
        self._token = token
        self._watch = watch
        self._stats = stats
        self._known = 0  # the last position that this process was told of
        self._applied: dict[bytes, int] = {}  # by layers, as far as known
        self._table: frozenset[bytes] = frozenset()  # as last read, in its epoch
        self._table_epoch = 0
        self._table_at = 0.0  # when it was asked for
        self._asked_at = 0.0
        self._news: list[asyncio.Future[None]] = []

    def note_applied(self, layer: bytes, position: int) -> None:
        """Take note that ``layer`` applied everything up to ``position``."""
        if position > self._applied.get(layer, 0):
            self._applied[layer] = position
            news, self._news = self._news, []
            for future in news:
                if not future.done():
                    future.set_result(None)

    def note_known(self, position: int) -> None:
        """Take note that the log goes up to ``position`` at least."""
        self._known = max(position, self._known)

    async def append(self, change: Change) -> Appended:
        """Append a change; it is durable when this returns.

        Raises:
            BusUnavailable: it is not known to be.
        """
        data = encode_change(change)
        try:
            async with asyncio.timeout(self._call_seconds):
                link = await self._links.get()
                head = await link.calls.append(self._known, data, self._token)
                table = layers_of(head.rest)
                self._watch.see(head, time.monotonic())
                await self._links.confirm(link)
        except (*FAILURES, ValueError) as error:
            self._stats.append_failures += 1
            self._links.doubt()
            raise BusUnavailable(
                f"the bus did not take the change: {error or type(error).__name__}; "
                "look whether its server runs, and repeat the call"
            ) from error
        now = time.monotonic()
        self.note_known(head.position)
        self._stats.appends += 1
        return Appended(
            position=head.position,
            at=now,
            is_settled=head.is_settled,
            lapsed_at=now + MARGIN * self._watch.longest_seconds,
            layers=frozenset(table),
        )

    async def acknowledged(self, appended: Appended, timeout: float) -> Acknowledgement:  # noqa: ASYNC109
        """Wait until every layer applied the change or its lease lapsed; see ``ChangeLog``."""
        deadline = min(appended.at + timeout, appended.lapsed_at)
        epoch = epoch_of(appended.position)
        answers: dict[bytes, LayerAnswer] = {}
        while True:
            now = time.monotonic()
            self._collect(appended, answers, now)
            is_settled = appended.is_settled or self._watch.is_settled(epoch)
            has_all = is_settled and len(answers) == len(appended.layers)
            is_complete = has_all or now >= appended.lapsed_at
            if is_complete or now >= deadline:
                return self._acknowledgement(appended, answers, is_complete, now)
            turn = min(deadline, now + self._heartbeat)
            await self._wait_for_news(turn)
            if time.monotonic() >= turn:
                await self._read_table(deadline)

    def _collect(self, appended: Appended, answers: dict[bytes, LayerAnswer], now: float) -> None:
        is_later = self._table_at > appended.at
        has_table = is_later and self._table_epoch == epoch_of(appended.position)
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
        layers: dict[str, LayerAnswer] = {}
        for layer in appended.layers:
            answer, name = answers.get(layer, silent), name_of(layer)
            # Of a process and the one before it of the same name, whatever is worse.
            if name not in layers or answer.applied_after is None:
                layers[name] = answer
        stats = self._stats
        stats.acknowledgements.observe(now - appended.at)
        stats.incomplete += not is_complete
        stats.lapsed += sum(answer.lapsed for answer in layers.values())
        return Acknowledgement(appended.position, is_complete, layers, now - appended.at)

    async def _wait_for_news(self, until: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._news.append(future)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await future
        except TimeoutError:
            self._news = [each for each in self._news if each is not future]

    async def _read_table(self, deadline: float) -> None:
        now = time.monotonic()
        if now < self._asked_at + self._heartbeat / 2:
            return  # for another call just now
        self._asked_at = now
        try:
            async with asyncio.timeout(max(0.0, deadline - now)):
                link = await self._links.get()
                head = await link.calls.survey(self._known)
                table = layers_of(head.rest)
        except (*FAILURES, ValueError):
            return  # until the leases have lapsed
        self._watch.see(head, time.monotonic())
        self._table, self._table_epoch, self._table_at = frozenset(table), head.epoch, now
        for layer, entry in table.items():
            self.note_applied(layer, entry.applied)
        for layer in [each for each in self._applied if each not in table]:
            del self._applied[layer]
