"""The change log's connections to the one server that takes writes now.

Three clients, so that none waits for another: renewals, whose answer is useless once the lease is
over; calls (appends and surveys); and the subscription that wakes.

With replicas, all nodes are asked who is the primary, and the others again every heartbeat and
after every append: who writes to one primary does not reach who listens to the other. Of two, the
one with the later epoch counts (the other is an old primary that came back); if neither has it,
none does until one is demoted. A node that does not answer is taken for dead: see the limits in
``stores.change_log``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from poruwa.config.model import Coherence, ValkeyStore
from poruwa.stores.change_leases import EpochWatch
from poruwa.stores.change_scripts import ChangeScripts, epoch_key
from poruwa.stores.valkey_connection import FAILURES, cancellable, make_client

_FEW_CONNECTIONS = 2  # one in use, and one while a lost one is being closed


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
        few = replace(store, connections_per_node=_FEW_CONNECTIONS)
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
    """The present link, made when first needed and anew when another node takes the writes.

    Attributes:
        has_replicas: whether there is more than one node to look at.
        current: the present link, whether it works or not.
    """

    def __init__(
        self, store: ValkeyStore, coherence: Coherence, *, watch: EpochWatch, retained: int
    ) -> None:
        self.has_replicas = len(store.nodes) > 1
        self.current: ChangeLink | None = None
        self._store = store
        self._coherence = coherence
        self._watch = watch
        self._retained = retained
        self._is_doubted = True
        self._lock = asyncio.Lock()
        self._probes: dict[str, Redis] = {}

    async def get(self) -> ChangeLink:
        """Return the link; look who takes the writes where that is not known.

        Raises:
            ConnectionError: no node does, or it cannot be decided which.
        """
        if self.current is None or self._is_doubted:
            async with self._lock:
                if self.current is None or self._is_doubted:
                    await self._find()
        assert self.current is not None
        return self.current

    def doubt(self) -> None:
        """Have the next ``get`` look again who takes the writes."""
        self._is_doubted = self.has_replicas

    async def confirm(self, link: ChangeLink | None = None) -> None:
        """Make sure that no other node is the primary, and that ``link`` is the present one.

        Raises:
            ConnectionError: one says so, and is not known to be an old one.
        """
        if self.current is None or self._is_doubted:
            await self.get()  # asks all of them
        elif self.has_replicas:
            others = [node for node in self._store.nodes if node != self.current.node]
            # Asked every heartbeat: one that is cut off must not hold up the leases.
            claims = await self._primaries(others, self._coherence.lease_seconds / 4)
            for node, epoch in claims.items():
                if epoch >= self._watch.epoch:
                    self._is_doubted = True
                    raise ConnectionError(f"{node} says that it is the primary now")
        if link is not None and link is not self.current:
            raise ConnectionError(f"{link.node} is no longer the primary")

    async def close(self) -> None:
        link, self.current = self.current, None
        if link is not None:
            await link.close()
        for probe in self._probes.values():
            with contextlib.suppress(*FAILURES):
                await probe.aclose()

    async def _find(self) -> None:
        nodes = self._store.nodes
        node = nodes[0]
        if self.has_replicas:
            node = self._chosen(await self._primaries(nodes, self._store.timeout_seconds))
        link = self.current
        if link is None or link.node != node:
            self.current = ChangeLink(self._store, self._coherence, node, retained=self._retained)
            if link is not None:
                await link.close()
        self._is_doubted = False

    def _chosen(self, primaries: dict[str, int]) -> str:
        latest = max(primaries.values(), default=0)
        chosen = [node for node, epoch in primaries.items() if epoch == latest]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise ConnectionError(f"{' and '.join(chosen)} both say primary; demote one of them")
        raise ConnectionError(f"none of {', '.join(self._store.nodes)} says that it is the primary")

    async def _primaries(self, nodes: Sequence[str], patience: float) -> dict[str, int]:
        """Return the nodes that call themselves primary, and the epochs they know."""
        answers = await asyncio.gather(*(self._epoch_of(node, patience) for node in nodes))
        pairs = zip(nodes, answers, strict=True)
        return {node: epoch for node, epoch in pairs if epoch is not None}

    async def _epoch_of(self, node: str, patience: float) -> int | None:
        probe = self._probes.get(node)
        if probe is None:
            store = replace(self._store, connections_per_node=2 * _FEW_CONNECTIONS)
            probe = self._probes[node] = make_client(store, node=node, retries=0)
        try:
            async with asyncio.timeout(patience), probe.pipeline(transaction=False) as pipe:
                pipe.execute_command("ROLE")
                pipe.hget(epoch_key(self._coherence.namespace), "epoch")
                role, epoch = await cancellable(pipe.execute())
        except FAILURES:
            return None
        return int(epoch or 0) if role[0] == b"master" else None
