"""Accepting clients on one inherited listening socket, beside the other workers of the machine.

All workers accept from the same socket, so that a frozen one takes nothing with it that was not
yet its own (with one socket each, SO_REUSEPORT, the kernel goes on assigning to it). The kernel
wakes whoever is quickest, so a worker that holds well more connections than the mean stops
accepting for a while.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import cast

import structlog

from poruwa.config.model import Listener
from poruwa.errors import ConfigError, ProtocolError
from poruwa.gateway.gateway import Gateway
from poruwa.gateway.listener import ClientConnection
from poruwa.gateway.shared_state import SharedState
from poruwa.net.proxy_protocol import V2_MAX_BYTES, ProxyHeader
from poruwa.net.proxy_protocol import parse as parse_proxy_header
from poruwa.net.tls import ServerTls
from poruwa.rules.message import RefusalReason

# Above mean * 1.25 + 16 a worker pauses, below mean * 1.1 + 8 it goes on: wide enough apart not to
# flutter, close enough that no worker carries a quarter more than its share.
_PAUSE_FACTOR, _PAUSE_MARGIN = 1.25, 16
_RESUME_FACTOR, _RESUME_MARGIN = 1.1, 8
# A worker without heartbeat for this long accepts nothing either. Five beats: with the next look at
# the loads, whoever had paused in its favour goes on within 0.6 s.
_SILENT_SECONDS = 0.5
_BACKLOG = 4096
_PEEK_AGAIN_SECONDS = 0.01
_ACCEPT_AGAIN_SECONDS = 1.0
_CERTIFICATE_CHECK_SECONDS = 2.0

_log = structlog.get_logger(component="listener")


class Acceptor:
    """One listener of one worker."""

    def __init__(
        self,
        gateway: Gateway,
        listener: Listener,
        sock: socket.socket,
        shared: SharedState,
        index: int,
    ) -> None:
        self._gateway = gateway
        self._listener = listener
        self._socket = sock
        self._shared = shared
        self._index = index
        self._server: asyncio.Server | None = None
        self._is_stopped = False
        self._tls_checked_at = 0.0
        self._greeting: set[asyncio.Task[None]] = set()
        # Connections in their TLS handshake, oldest first, and since when: nobody else knows them.
        self._shaking_hands: dict[ClientConnection, float] = {}
        tls = listener.tls
        self._tls = (
            ServerTls(tls.certificate, tls.key, tls.minimum_version) if tls is not None else None
        )
        name = sock.getsockname()
        self._port = name[1] if isinstance(name, tuple) else 0

    async def start(self) -> None:
        """Begin to accept."""
        loop = self._gateway.loop
        if self._listener.proxy_protocol:
            self._socket.setblocking(False)
            loop.add_reader(self._socket, self._accept_proxied)
            return
        duplicate = self._socket.dup()  # the server closes what it is given; ours is for later
        context = self._tls.context if self._tls is not None else None
        # A client's handshake is the beginning of its first head; no connection counts it yet.
        limit = self._gateway.timeouts.header_seconds if context is not None else None
        if duplicate.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self._connection,
                sock=duplicate,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=limit,
            )
        else:
            self._server = await loop.create_server(
                self._connection,
                sock=duplicate,
                backlog=_BACKLOG,
                ssl=context,
                ssl_handshake_timeout=limit,
            )
        if self._is_stopped:  # meanwhile
            self._pause()

    def stop(self) -> None:
        """Stop accepting for good and let go of the socket; connections stay."""
        self._is_stopped = True
        self._pause()
        self._socket.close()

    def give_up(self) -> None:
        """Drop the connections that have not got as far as a first request."""
        for task in self._greeting:
            task.cancel()

    @property
    def is_greeting(self) -> bool:
        """Whether a connection is in its TLS handshake or has its PROXY header still to send."""
        self._forget_handshakes()
        return bool(self._greeting or self._shaking_hands)

    async def rebalance(self) -> None:
        """Pause or go on by this worker's share of connections; look after the certificate."""
        if self._is_stopped:
            return
        if self._tls is not None:
            self._check_certificate(self._tls)
        if self._listener.proxy_protocol:
            return
        self._forget_handshakes()
        heard_since = time.monotonic() - _SILENT_SECONDS
        mine = len(self._gateway.connections)
        # What the last sweep published may be of before a burst, and the mean with it.
        self._gateway.row.set_load(connections=mine, requests=self._gateway.requests)
        loads = [
            worker.connections
            for worker in self._shared.live_workers()
            if not worker.is_draining and worker.heartbeat_at > heard_since
        ]
        mean = sum(loads) / max(len(loads), 1)
        if self._server is not None and mine > mean * _PAUSE_FACTOR + _PAUSE_MARGIN:
            self._pause()
        elif self._server is None and mine < mean * _RESUME_FACTOR + _RESUME_MARGIN:
            await self.start()

    def _pause(self) -> None:
        if self._listener.proxy_protocol:
            self._gateway.loop.remove_reader(self._socket)
        if self._server is not None:
            self._server.close()
            self._server = None

    def _connection(self) -> asyncio.Protocol:
        connection = ClientConnection(
            self._gateway, is_tls=self._tls is not None, listener_port=self._port
        )
        if self._tls is not None:
            self._shaking_hands[connection] = self._gateway.loop.time()
        return cast(asyncio.Protocol, connection)

    def _forget_handshakes(self) -> None:
        """Drop those that became connections, and those that failed: only their time-out tells."""
        if not self._shaking_hands:
            return
        oldest = self._gateway.loop.time() - self._gateway.timeouts.header_seconds
        self._shaking_hands = {
            connection: since
            for connection, since in self._shaking_hands.items()
            if connection.deadline == 0.0 and since > oldest
        }

    def _check_certificate(self, tls: ServerTls) -> None:
        now = self._gateway.loop.time()
        if now - self._tls_checked_at < _CERTIFICATE_CHECK_SECONDS:
            return
        self._tls_checked_at = now
        try:
            if tls.reload_if_changed():
                _log.info("certificate reloaded", listener=self._listener.name)
        except ConfigError as error:
            _log.error("certificate refused, the old one stays", reason=error.message)

    # PROXY protocol: the header comes before everything else, also before TLS, so it is read off
    # the socket before a transport exists.

    def _accept_proxied(self) -> None:
        for _ in range(64):
            try:
                accepted, _peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # out of descriptors: asking again at once would only spin
                _log.warning("accept failed", reason=os.strerror(error.errno or 0))
                self._gateway.loop.remove_reader(self._socket)
                self._gateway.loop.call_later(_ACCEPT_AGAIN_SECONDS, self._accept_again)
                return
            task = self._gateway.loop.create_task(self._greet(accepted))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    def _accept_again(self) -> None:
        if not self._is_stopped:
            self._gateway.loop.add_reader(self._socket, self._accept_proxied)

    async def _greet(self, accepted: socket.socket) -> None:
        """Read the PROXY header of a connection and hand the rest to a ``ClientConnection``."""
        loop, gateway = self._gateway.loop, self._gateway
        accepted.setblocking(False)
        try:
            peer = accepted.getpeername()
            if not gateway.trusted.contains(peer[0] if isinstance(peer, tuple) else None):
                raise ProtocolError(
                    f"PROXY header from {peer!r}, which trust.proxies does not list"
                )
            async with asyncio.timeout(gateway.timeouts.header_seconds):
                header = await _read_proxy_header(loop, accepted)
            host = header.source if header.source is not None and not header.is_unix else None
            is_tls = self._tls is not None or header.used_tls
            handshake_seconds = gateway.timeouts.header_seconds if self._tls is not None else None
            connection = ClientConnection(
                gateway,
                is_tls=is_tls,
                listener_port=header.destination_port or self._port,
                peer_host=host,
            )
            protocol = cast(asyncio.Protocol, connection)
            await loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._tls.context if self._tls is not None else None,
                ssl_handshake_timeout=handshake_seconds,
            )
        except (OSError, TimeoutError, ProtocolError) as error:
            accepted.close()
            gateway.metrics.refused(RefusalReason.PROXY_HEADER.code)
            _log.info("connection refused", reason=str(error) or type(error).__name__)


async def _read_proxy_header(
    loop: asyncio.AbstractEventLoop, accepted: socket.socket
) -> ProxyHeader:
    """Take exactly the PROXY header off ``accepted``; what follows stays in the kernel.

    Raises:
        ProtocolError: no header, a malformed one, or the end of the connection.
    """
    while True:
        try:
            seen = accepted.recv(V2_MAX_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await asyncio.sleep(_PEEK_AGAIN_SECONDS)
            continue
        if not seen:
            raise ProtocolError("closed before its PROXY header")
        header = parse_proxy_header(seen)
        if header is not None:
            accepted.recv(header.length)
            return header
        await asyncio.sleep(_PEEK_AGAIN_SECONDS)
