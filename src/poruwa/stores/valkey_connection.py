"""Clients of a Valkey or Redis service: from the policy to ``redis.asyncio``.

For the cache (L2) and the bus alike; where they are, ``stores.store_url`` says. Every call over
such a client is bounded: connecting, and each answer, by the store's ``timeout_seconds``; a call
waits as long for a free connection. Does not decide what a failure means: that is the breaker's
business in L2 and the change log's on the bus.

TLS (``tls = true`` or a ``valkeys://`` URL) checks the server's certificate and name against the
system's authorities; a private authority is named with the variable ``SSL_CERT_FILE`` (OpenSSL).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio import UnixDomainSocketConnection as UnixConnection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from poruwa.config.address import parse_address
from poruwa.config.model import ValkeyStore

_Answer = TypeVar("_Answer")

_RETRY_SECONDS: Final = 0.01

# What a failed call may raise. Time-outs of redis-py are RedisErrors, those of connecting and of
# `asyncio.timeout` are not; a closed loop's sockets raise OSError.
FAILURES: Final = (RedisError, OSError, TimeoutError, ssl.SSLError)


def make_client(
    store: ValkeyStore,
    *,
    node: str | None = None,
    retries: int | None = None,
    timeout_seconds: float | None = None,
) -> Redis:
    """Return a client of one node; it connects with its first call.

    Args:
        node: one of ``store.nodes``; None for the first.
        retries: of a call that lost its connection or timed out; None for ``store.retries``.
        timeout_seconds: of connecting and of each answer; None for ``store.timeout_seconds``.

    Answers are ``bytes`` (RESP2). Calls raise what ``FAILURES`` lists. Close it with ``aclose``.
    """
    timeout = store.timeout_seconds if timeout_seconds is None else timeout_seconds
    options: dict[str, Any] = {
        "db": store.database,
        "username": store.username,
        "password": None if store.password is None else store.password.reveal(),
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(
            ConstantBackoff(_RETRY_SECONDS), store.retries if retries is None else retries
        ),
        "protocol": 2,
        # No CLIENT SETINFO: Redis 7.0 does not know it, and an ACL user may not say it.
        "driver_info": None,
    }
    address = parse_address(node or store.nodes[0])
    kind: type[Connection | SSLConnection | UnixConnection] = Connection
    if address.is_unix:
        kind = UnixConnection
        options["path"] = address.path
    else:
        options |= {"host": address.host or "127.0.0.1", "port": address.port}
        if store.tls:
            kind = SSLConnection
            options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    pool = BlockingConnectionPool(
        max_connections=store.connections_per_node,
        timeout=timeout,
        connection_class=kind,
        **options,
    )
    return Redis.from_pool(pool)


async def cancellable(call: Awaitable[_Answer]) -> _Answer:
    """Await a call of a client so that a cancellation is never lost.

    Up to Python 3.11 ``asyncio.wait_for``, with which redis-py bounds its calls, swallows a
    cancellation that comes as the answer does, and a client's own time-out can take its place and
    end as an error of the store: a time-out around the call would not hold, and a task that
    repeats calls could not be stopped.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        answer = await call
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return answer


async def find_primary(store: ValkeyStore) -> str:
    """Return the node that takes writes; with one node, that one, unasked.

    Takes at most ``store.timeout_seconds`` for connecting and as long for the answer.

    Raises:
        ConnectionError: no node says that it is the primary, or two do: then writes through one
            would not reach who listens to the other, so neither is used until one is demoted.
    """
    if len(store.nodes) == 1:
        return store.nodes[0]
    roles = await asyncio.gather(*(_role(store, node) for node in store.nodes))
    primaries = [node for node, role in zip(store.nodes, roles, strict=True) if role == b"master"]
    if len(primaries) == 1:
        return primaries[0]
    if primaries:
        raise ConnectionError(f"{' and '.join(primaries)} both say primary; demote one of them")
    raise ConnectionError(f"none of {', '.join(store.nodes)} says that it is the primary")


async def _role(store: ValkeyStore, node: str) -> bytes | None:
    client = make_client(store, node=node, retries=0)
    try:
        answer = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
        return bytes(answer[0])
    except FAILURES:
        return None
    finally:
        await client.aclose()
