"""Requests that no client made: to fetch ahead, and to tell an operator what would become of one.

An exchange as any other, with its route found, that is never begun and never ends: it is counted
nowhere. A fill may take it for its leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poruwa.gateway.exchange import Exchange
from poruwa.gateway.listener import ClientConnection
from poruwa.net.http1 import RequestHead
from poruwa.rules.routing import normalise_path

if TYPE_CHECKING:
    from poruwa.gateway.gateway import Gateway


class NoClient(ClientConnection):
    """Stands where a client would; whatever it is sent is lost."""

    __slots__ = ()

    def __init__(self, gateway: Gateway, *, is_tls: bool) -> None:
        super().__init__(gateway, is_tls=is_tls, listener_port=0, peer_host="127.0.0.1")
        self.is_trusted = False
        self.deadline = float("inf")

    def write(self, data: bytes) -> None:
        pass

    def write_message(self, head: bytes, body: bytes) -> None:
        pass

    def end_exchange(self, *, keep_alive: bool) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def own_exchange(gateway: Gateway, head: RequestHead, *, is_secure: bool) -> Exchange | None:
    """Return a request of our own with its route; None where no route takes it."""
    exchange = Exchange(gateway, NoClient(gateway, is_tls=is_secure), head, 0)
    path = normalise_path(exchange.target.partition(b"?")[0])
    routes = gateway.routes
    index = None if path is None else routes.find(head.host, head.method, path)
    if path is None or index is None:
        return None
    exchange.is_secure = is_secure
    exchange.request_id = request_id = gateway.random.digits(32)
    exchange.identity = b"X-Request-Id: %b\r\n" % request_id
    exchange.path = path
    exchange.route = route = routes.route(index)
    if route.rewrite is not None:
        _, question, query = exchange.target.partition(b"?")
        exchange.target = routes.expand(route.rewrite, index, exchange) + question + query
    return exchange
