"""Sends single requests to the instances of a balancer: the tries of ``BalancedTransport``.

One ``httpx.AsyncHTTPTransport`` per instance, with its pool of connections. Decides nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import httpx

from poruwa.app.http_try import Try
from poruwa.app.lease import Lease
from poruwa.app.load_balancer import LoadBalancer

CONNECT_SECONDS = 1.0
"""Longest wait for a connection while another instance could be tried: they are near."""


class HttpSender:
    """The instances of ``balancer``, over HTTP.

    Args:
        balancer: chooses.
        key: for the hash methods: what of a request is hashed.
        limits: of the connections to each instance.
        verify: of certificates, as in httpx.
    """

    def __init__(
        self,
        balancer: LoadBalancer,
        *,
        key: Callable[[httpx.Request], str | bytes],
        limits: httpx.Limits,
        verify: ssl.SSLContext | bool,
    ) -> None:
        self._balancer = balancer
        self._key = key
        self._limits = limits
        self._verify = verify
        self._addresses = balancer.addresses
        self._connections: dict[str, httpx.AsyncHTTPTransport] = {}
        self._discarding: set[asyncio.Task[None]] = set()

    @property
    def instance_count(self) -> int:
        """How many instances there are, healthy or not."""
        return len(self._addresses)

    def lease(self, request: httpx.Request, *, avoid: frozenset[str], probe: bool) -> Lease:
        """Return a lease of an instance for ``request``."""
        key = self._key(request) if self._balancer.needs_key else None
        return self._balancer.lease(key, avoid=avoid, probe=probe)

    async def send(self, request: httpx.Request, lease: Lease, *, is_last: bool) -> httpx.Response:
        """Send ``request`` to the instance of ``lease``; return once the head has come.

        ``is_last`` leaves it all of the caller's time to connect.
        """
        address = self._addresses[lease.instance]
        url = request.url
        if not address.is_unix:
            url = url.copy_with(host=address.host, port=address.port)
        extensions = dict(request.extensions)
        if not is_last:
            extensions["timeout"] = _with_short_connect(extensions.get("timeout") or {})
        if url.scheme == "https":
            extensions.setdefault("sni_hostname", request.url.host)
        return await self._connection(lease.instance).handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=request.headers,  # with the Host of the URL as the caller wrote it
                stream=request.stream,
                extensions=extensions,
            )
        )

    def discard(self, each: Try) -> None:
        """End a try that has lost, without making anybody wait for it."""
        task = asyncio.create_task(each.discard(), name="poruwa-discard")
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def aclose(self) -> None:
        """Close all connections, after those of tries that lost."""
        while self._discarding:
            await asyncio.wait(self._discarding)
        connections, self._connections = self._connections, {}
        for each in connections.values():
            await each.aclose()

    def _connection(self, instance: str) -> httpx.AsyncHTTPTransport:
        connection = self._connections.get(instance)
        if connection is None:
            if not isinstance(self._verify, ssl.SSLContext):  # made once: it reads many files
                self._verify = httpx.create_ssl_context(verify=self._verify)
            address = self._addresses[instance]
            connection = self._connections[instance] = httpx.AsyncHTTPTransport(
                verify=self._verify,
                limits=self._limits,
                uds=address.path if address.is_unix else None,
            )
        return connection


def _with_short_connect(timeout: dict[str, float | None]) -> dict[str, float | None]:
    """Return httpx's time-outs with that of connecting no longer than ``CONNECT_SECONDS``."""
    connect = timeout.get("connect")
    return timeout | {
        "connect": CONNECT_SECONDS if connect is None else min(connect, CONNECT_SECONDS)
    }
