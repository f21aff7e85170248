"""Accepting beside other workers: a burst of clients is no reason to stop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from poruwa.config.load import default_policy
from poruwa.config.model import Listener
from poruwa.gateway.acceptor import Acceptor
from poruwa.gateway.gateway import Gateway
from poruwa.gateway.shared_state import SharedState, WorkerRow
from poruwa.stack.sockets import open_listener
from poruwa.stack.topology import make_topology

CLIENTS = 100
DEADLINE_SECONDS = 10.0


async def test_a_burst_between_two_sweeps_does_not_pause_a_worker_alone(tmp_path: Path) -> None:
    """Cause of the regression: its load was compared with the mean of before the burst.

    With one worker nobody else accepts: 256 clients at once waited up to a second.
    """
    policy = default_policy(upstreams=("127.0.0.1:9",), workers=1, listen="127.0.0.1:0")
    listener: Listener = policy.listeners[0]
    shared = SharedState.create()
    gateway = Gateway(
        policy,
        make_topology(policy, max_instances=shared.max_instances),
        shared=shared,
        row=WorkerRow(shared, 0, generation=1),
        loop=asyncio.get_running_loop(),
        access_log=None,
        folder=tmp_path,
    )  # whose sweep has not begun: nothing else publishes its load
    sock = open_listener(listener.address)
    acceptor = Acceptor(gateway, listener, sock, shared, 0)
    await acceptor.start()
    port = sock.getsockname()[1]
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
    await connected(gateway, CLIENTS)
    await acceptor.rebalance()
    clients.append(await asyncio.open_connection("127.0.0.1", port))
    await connected(gateway, CLIENTS + 1)
    acceptor.stop()
    gateway.close()
    for _, writer in clients:
        writer.close()


async def connected(gateway: Gateway, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(gateway.connections) < count:
        assert time.monotonic() < deadline, f"{len(gateway.connections)} of {count} were accepted"
        await asyncio.sleep(0.01)
