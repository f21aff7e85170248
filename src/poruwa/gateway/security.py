"""Who asks, and for what exactly: identity of client and request, before anything is decided.

Place on the path: second stage of the gateway. Forwarding fields count only from trusted peers; for
all others the lines sent upstream are made once a connection. Sources: RFC 7239, W3C Trace Context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poruwa.rules.forwarding import ForwardingFields, client_view, forwarded_fields
from poruwa.rules.routing import normalise_path
from poruwa.rules.trace import accepted_request_id, child_traceparent, parse_traceparent

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.listener import ClientConnection


def identify_client(exchange: Exchange) -> bool:
    """Fill in client address, scheme, ids and path; answer 400 to a path that could mislead."""
    gateway, client, head = exchange.gateway, exchange.client, exchange.head
    if client.is_trusted:
        _believe_forwarding(exchange)
        given_id = accepted_request_id(head.field(b"x-request-id"), is_trusted=True)
    else:
        host = head.host_field or b"localhost"
        if host != client.forwarding_host:
            _make_forwarding(client, host)
        exchange.forwarding = client.forwarding
        exchange.is_secure = client.is_tls
        given_id = None
    exchange.request_id = given_id or gateway.random.digits(32)
    if given_id is not None or head.traceparent is not None:
        _continue_trace(exchange)
    path = head.plain_path
    if not path or path.find(b"/.") >= 0:
        path = exchange.target.partition(b"?")[0]
        normal = normalise_path(path) if path != b"*" else path
        if normal is None:
            exchange.answer_error(400)
            return True
        path = normal
    exchange.path = path
    return False


def _continue_trace(exchange: Exchange) -> None:
    """Make the lines that name a request which others have named before."""
    random, incoming = exchange.gateway.random, exchange.head.traceparent
    parent = parse_traceparent(incoming) if incoming is not None else None
    if incoming is not None and parent is None:
        # Then its state means nothing either (Trace Context section 3.3).
        exchange.nominated = (exchange.nominated or frozenset()) | {b"tracestate"}
    exchange.identity = b"X-Request-Id: %b\r\ntraceparent: %b\r\n" % (
        exchange.request_id,
        child_traceparent(parent, random.random64),
    )


def _make_forwarding(client: ClientConnection, host: bytes) -> None:
    """Make the forwarding lines of an untrusted peer: the same for all its requests to a host."""
    view = client_view(
        client.peer_host or None,
        b"https" if client.is_tls else b"http",
        client.listener_port,
        ForwardingFields(),
        client.gateway.trusted,
    )
    client.forwarding = forwarded_fields(view, host)
    client.forwarding_host = host


def _believe_forwarding(exchange: Exchange) -> None:
    """Take address, scheme and host from the fields of a trusted hop."""
    client = exchange.client
    view = client_view(
        client.peer_host or None,
        b"https" if client.is_tls else b"http",
        client.listener_port,
        ForwardingFields.of(exchange.head.lines()),
        exchange.gateway.trusted,
    )
    exchange.client_address = view.address
    exchange.is_secure = view.scheme == b"https"
    exchange.forwarding = forwarded_fields(view, exchange.head.host_field or b"localhost")
