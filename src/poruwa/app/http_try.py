"""One send of a request to one instance, and what its end means.

Part of ``poruwa.app.http_transport``. Errors of httpx are sorted here, once: whose doing it was and
whether anything may have been received.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from poruwa.app.lease import Lease
from poruwa.rules.retry import FailureKind, is_failure_status

# First match wins: subclasses before their bases.
_FAILURES: tuple[tuple[type[httpx.TransportError], FailureKind], ...] = (
    (httpx.ConnectTimeout, FailureKind.CONNECT_TIMEOUT),
    (httpx.ConnectError, FailureKind.CONNECT),
    (httpx.ReadTimeout, FailureKind.FIRST_BYTE_TIMEOUT),
    (httpx.WriteTimeout, FailureKind.FIRST_BYTE_TIMEOUT),
    (httpx.NetworkError, FailureKind.CLOSED),
    (httpx.RemoteProtocolError, FailureKind.MALFORMED),
)


def failure_kind(error: BaseException) -> FailureKind | None:
    """Return how an instance failed, None where it was not the instance.

    Bad requests, a full connection pool of our own and exceptions of the caller's own body are not
    its doing. An answer that never begins comes as a protocol error from httpx, and is a close.
    """
    if isinstance(error, httpx.RemoteProtocolError) and "without sending" in str(error):
        return FailureKind.CLOSED
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure
    return None


class Try:
    """A request under way to the instance of ``lease``, as a task.

    The task ends with the response's head; it reports to the lease by itself. The lease stays open
    as long as the response.
    """

    __slots__ = ("lease", "started_at", "task")

    def __init__(
        self,
        lease: Lease,
        send: Callable[[], Awaitable[httpx.Response]],
        *,
        started_at: float,
    ) -> None:
        self.lease = lease
        self.started_at = started_at
        self.task = asyncio.create_task(self._send(send), name=f"poruwa-try {lease.instance}")
        # Not in the task: one that is cancelled before its first step never runs.
        self.task.add_done_callback(self._on_done)

    async def discard(self) -> None:
        """End it: cancel what is under way, close what came. Never raises but when cancelled."""
        self.task.cancel()
        await asyncio.wait((self.task,))
        if not self.task.cancelled() and self.task.exception() is None:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await self.task.result().aclose()
        self.lease.close()

    async def _send(self, send: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        try:
            response = await send()
        except Exception as error:
            kind = failure_kind(error)
            if kind is not None:
                self.lease.failed(f"{kind.value}: {error}" if str(error) else kind.value)
            raise
        if is_failure_status(response.status_code):
            self.lease.failed(f"status {response.status_code}")
        else:
            self.lease.succeeded()
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _LeasedStream(response.stream, self.lease)
        return response

    def _on_done(self, task: asyncio.Task[httpx.Response]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.lease.close()


class _LeasedStream(httpx.AsyncByteStream):
    """A response's body, which holds its lease until closed."""

    def __init__(self, stream: httpx.AsyncByteStream, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except httpx.TimeoutException:
            self._lease.failed(FailureKind.RESPONSE_TIMEOUT.value)
            raise
        except httpx.TransportError as error:
            self._lease.failed(f"{FailureKind.TRUNCATED.value}: {error}")
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._lease.close()
