"""Wake-ups: what the server publishes, so that nobody has to wait for the next heartbeat.

One subscription a process, to new entries (a layer) and to who applied what this process wrote (a
writer). Nothing depends on it: whatever is lost comes with the next renewal or survey.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from poruwa.rules.position import position_of_id
from poruwa.stores.change_link import ChangeLinks
from poruwa.stores.change_scripts import applied_channel, wake_channel
from poruwa.stores.valkey_connection import FAILURES, cancellable

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.25

_log = structlog.get_logger(component="change-log")


class WakeUps:
    """Listens, and listens anew when the connection is lost or seems deaf.

    Args:
        token: of this process, as a writer.
        patience_seconds: how long an entry may be known without its wake-up.
        on_entry: called with a position, the writer's token and the coded change (both b"" for the
            first entry of an epoch); None where this process applies nothing.
        on_applied: called with a layer and a position it applied.
        on_start: called when the subscription stands: what was published before is missed.
    """

    def __init__(
        self,
        links: ChangeLinks,
        *,
        namespace: str,
        token: bytes,
        patience_seconds: float,
        on_entry: Callable[[int, bytes, bytes], None] | None,
        on_applied: Callable[[bytes, int], None],
        on_start: Callable[[], None],
    ) -> None:
        self._links = links
        self._wake = wake_channel(namespace).encode()
        self._applied = applied_channel(namespace, token).encode()
        self._patience = patience_seconds
        self._on_entry = on_entry
        self._on_applied = on_applied
        self._on_start = on_start
        self._heard = 0
        self._unheard_at: float | None = None  # when an entry came that no wake-up announced

    def entry_came(self, position: int) -> None:
        """Take note that an entry came by another way."""
        if position > self._heard and self._unheard_at is None:
            self._unheard_at = time.monotonic()

    async def listen(self) -> None:
        """Listen until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._hear()
                pause = _FIRST_PAUSE_SECONDS
            except FAILURES:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            except Exception:
                _log.exception("a wake-up could not be followed; listening anew")
                pause = _LONGEST_PAUSE_SECONDS
            await asyncio.sleep(pause)

    async def _hear(self) -> None:
        link = await self._links.get()
        subscription: Any = link.subscription()
        try:
            channels = [self._applied] + ([self._wake] if self._on_entry else [])
            await cancellable(subscription.subscribe(*channels))
            while True:
                message = await cancellable(subscription.get_message(timeout=self._patience))
                if message is None:
                    if self._is_deaf() or self._links.current is not link:
                        return
                elif message["type"] == "subscribe":
                    self._unheard_at = None
                    self._on_start()
                elif message["channel"] == self._wake:
                    self._hear_entry(message["data"])
                else:
                    layer, _, entry_id = message["data"].rpartition(b" ")
                    self._on_applied(layer, position_of_id(entry_id))
        finally:
            await subscription.aclose()

    def _hear_entry(self, data: bytes) -> None:
        entry_id, _, rest = data.partition(b" ")
        writer, _, change = rest.partition(b" ")
        position = position_of_id(entry_id)
        self._heard, self._unheard_at = max(position, self._heard), None
        if self._on_entry is not None:
            self._on_entry(position, writer, change)

    def _is_deaf(self) -> bool:
        at = self._unheard_at
        return at is not None and time.monotonic() > at + self._patience
