"""The change log's connections to the one server that takes writes now.

Three clients, so that none waits for another: renewals, whose answer is useless once the lease is
over; calls (appends and surveys); and the subscription that wakes.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from redis.asyncio.client import PubSub

from poruwa.config.model import Coherence, ValkeyStore
from poruwa.stores.change_scripts import ChangeScripts
from poruwa.stores.valkey_connection import FAILURES, find_primary, make_client

_RENEWING_CONNECTIONS = 2  # one in use, and one while a lost one is being closed


class ChangeLink:
    """Clients of one node. They connect with their first call, and again after a failure.

    Attributes:
        renewals, calls: the scripts.
    """

    def __init__(
        self, store: ValkeyStore, coherence: Coherence, node: str, *, retained: int
    ) -> None:
        self.node = node
        lease = coherence.lease_seconds
        few = replace(store, connections_per_node=_RENEWING_CONNECTIONS)
        patience = min(store.timeout_seconds, lease)
        self._renewing = make_client(few, node=node, retries=0, timeout_seconds=patience)
        self._calling = make_client(store, node=node)
        self._listening = make_client(few, node=node, retries=0)
        self.renewals, self.calls = (
            ChangeScripts(
                client, namespace=coherence.namespace, lease_seconds=lease, retained=retained
            )
            for client in (self._renewing, self._calling)
        )

    def subscription(self) -> PubSub:
        return self._listening.pubsub()

    async def close(self) -> None:
        for client in (self._renewing, self._calling, self._listening):
            with contextlib.suppress(*FAILURES):
                await client.aclose()


class ChangeLinks:
    """The present link, made when first needed and anew when another node takes the writes."""

    def __init__(self, store: ValkeyStore, coherence: Coherence, *, retained: int) -> None:
        self._store = store
        self._coherence = coherence
        self._retained = retained
        self._link: ChangeLink | None = None
        self._is_doubted = False
        self._lock = asyncio.Lock()

    async def get(self) -> ChangeLink:
        """Return the link.

        Raises:
            ConnectionError: no node takes writes (``find_primary``).
        """
        if self._link is None or self._is_doubted:
            return await self.find()
        return self._link

    @property
    def current(self) -> ChangeLink | None:
        """The present link, whether it works or not."""
        return self._link

    def doubt(self) -> None:
        """Have the next ``get`` look again who takes writes."""
        self._is_doubted = True

    async def find(self) -> ChangeLink:
        """Look who takes writes now and return the link to it.

        Raises:
            ConnectionError: no node does.
        """
        async with self._lock:
            node = await find_primary(self._store)
            self._is_doubted = False
            link = self._link
            if link is None or link.node != node:
                self._link = ChangeLink(self._store, self._coherence, node, retained=self._retained)
                if link is not None:
                    await link.close()
            assert self._link is not None
            return self._link

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()
