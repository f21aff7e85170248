"""The heads that the gateway sends: to instances and to clients.

Each is the received block of field lines with lines cut out and added; what no rule knows goes
through byte for byte. Hop-by-hop fields end here (RFC 9110 section 7.6.1), and so do clients'
claims about addresses, hosts and targets (``rules.forwarding``): ``net.http1`` leaves them out.
"""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from poruwa.gateway.timing import timing_line
from poruwa.net.http1 import INTERNAL, SECURITY, RequestHead, ResponseHead
from poruwa.rules.affinity import may_carry_cookie
from poruwa.rules.cors import RESPONSE_NAMES as CORS_NAMES
from poruwa.rules.http_date import format_http_date
from poruwa.rules.message import CHUNKED
from poruwa.rules.security_headers import SecurityFields, is_hsts_host

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.routes import GatewayRoute

_INTERNAL = 1 << INTERNAL
_SECURITY = 1 << SECURITY
_NO_NAMES: frozenset[bytes] = frozenset()
_CONTENT_LENGTH = frozenset((b"content-length",))
NOT_IN_BLOCK = frozenset((b"age", b"content-length"))
# Under a policy groups are tags: what of the site depends on what is nobody else's business.
TAG_NAMES = frozenset((b"cache-groups", b"cache-group-invalidation"))
_VIA = (b"Via: 1.0 poruwa\r\n", b"Via: 1.1 poruwa\r\n")  # by the client's minor version
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def request_head(exchange: Exchange) -> bytes:
    """Return the head of the request as its instance gets it.

    Always HTTP/1.1, the body framed as it was; ``Via`` as RFC 9110 section 7.6.3 demands.
    """
    head: RequestHead = exchange.head
    framing = b""
    if exchange.framing == CHUNKED:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif exchange.is_upgrade:
        framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.fields[b"upgrade"]
    if not head.host:  # HTTP/1.0 without Host: HTTP/1.1 has none without
        framing += b"Host: localhost\r\n"
    block = head.passed_on
    if exchange.nominated:
        block = head.passed_on_without(exchange.nominated)
    return b"%b %b HTTP/1.1%b\r\n%b%b%b%b\r\n" % (
        exchange.method,
        exchange.target,
        block,
        exchange.forwarding,
        exchange.identity_lines(),
        _VIA[head.minor_version],
        framing,
    )


def response_head(exchange: Exchange, head: ResponseHead, *, chunked: bool) -> bytes:
    """Return the head of the final response as the client gets it."""
    lines = b"X-Request-Id: " + exchange.request_id + b"\r\n"
    if head.date is None:  # RFC 9110 section 6.6.1
        lines += b"Date: " + exchange.gateway.http_date() + b"\r\n"
    if chunked:
        lines += b"Transfer-Encoding: chunked\r\n"
    if not exchange.keep_alive:
        lines += b"Connection: close\r\n"
    elif exchange.head.minor_version == 0:
        lines += b"Connection: keep-alive\r\n"
    if exchange.pool.has_affinity and exchange.route.binds(exchange.method):
        lines += _affinity_line(exchange, head)
    writes = exchange.gateway.read_your_writes
    if writes is not None and head.has_any(_INTERNAL):
        lines += writes.cookie_line(exchange, head)
    if exchange.response_lines:
        lines += exchange.response_lines
    said = exchange.route.client_control
    if said and head.field(b"cache-control") is None:
        lines += said
    if exchange.head.timing is not None:
        lines += timing_line(exchange, head.status)
    without = CORS_NAMES if exchange.route.cors is not None else _NO_NAMES
    if said and head.field(b"cache-groups") is not None:
        without |= TAG_NAMES
    security = exchange.route.security
    if security is not None:
        lines += security_lines(security, head, without, is_secure=exchange.says_hsts())
        if head.has_any(_SECURITY):
            without |= security.names
    block = _passed_on(head, without=without, without_length=chunked or head.status == 204)
    if exchange.route.set_cookies is not None:
        block = exchange.route.set_cookies.permitted(block)
    return b"HTTP/1.1 %b%b\r\n%b\r\n" % (head.status_text, block, lines)


def stored_block(
    head: ResponseHead,
    route: GatewayRoute,
    primary: bytes,
    *,
    without: frozenset[bytes] = _NO_NAMES,
) -> bytes:
    """Return the field lines of a response that every client gets of it.

    As ``Head.passed_on``, without what each answer says anew: length, age, and where the route has
    rules for them, cross-origin permissions. With the policy's security fields, so that a hit costs
    nothing for them.

    Args:
        primary: the URL it is found by; its scheme and host say whether HSTS is among them.
    """
    without |= NOT_IN_BLOCK
    if route.cors is not None:
        without |= CORS_NAMES
    if route.client_control:
        without |= TAG_NAMES
    secured = b""
    security = route.security
    if security is not None:
        lines = security_lines(security, head, without, is_secure=is_hsts_url(primary))
        secured = b"\r\n" + lines[:-2] if lines else b""
        if head.has_any(_SECURITY):
            without |= security.names
    block = _passed_on(head, without=without, without_length=False)
    if route.set_cookies is not None:
        block = route.set_cookies.permitted(block)
    if head.date is None:  # RFC 9110 section 6.6.1
        block += b"\r\nDate: " + format_http_date(int(time.time()))
    return block + secured


def security_lines(
    security: SecurityFields, head: ResponseHead, without: frozenset[bytes], *, is_secure: bool
) -> bytes:
    """Return the policy's security fields on a response, in place of those of the same names.

    Args:
        without: fields of the response that are not passed on, and so not heeded.
    """
    if not head.has_any(_SECURITY):
        return security.lines(is_secure=is_secure)
    fields = head.fields
    nominated = head.connection_options()[2]
    if nominated is not None:
        without |= nominated
    own = {name: fields[name] for name in security.names - without if name in fields}
    return security.lines_beside(own, is_secure=is_secure)


def with_security(
    lines: list[tuple[bytes, bytes]], security: SecurityFields | None, primary: bytes
) -> list[tuple[bytes, bytes]]:
    """Return lines that update a stored response, their security fields beside the policy's.

    What the lines do not say is stored already.
    """
    if security is None:
        return lines
    own: dict[bytes, bytes] = {}
    for name, value in lines:
        if name in security.names:
            own[name] = own[name] + b", " + value if name in own else value
    if not own:
        return lines
    beside = security.lines_beside(own, is_secure=is_hsts_url(primary)).split(b"\r\n")[:-1]
    kept = [line for line in lines if line[0] not in own]
    for text in beside:
        name, _, value = text.partition(b": ")
        if name.lower() in own:
            kept.append((name.lower(), value))
    return kept


def is_hsts_url(primary: bytes) -> bool:
    """Tell whether HSTS may be said of a URL that is a key: https, and no address or localhost."""
    scheme, _, rest = primary.partition(b"://")
    return scheme == b"https" and may_say_hsts(rest.partition(b"/")[0])


@lru_cache(maxsize=256)
def may_say_hsts(host: bytes) -> bool:
    """Tell whether HSTS may be said to who asks for ``host``, with or without a port.

    A browser that reaches a site as localhost would hold every other service there to TLS.
    """
    return is_hsts_host(host.decode("latin-1"))


def interim_head(head: ResponseHead) -> bytes:
    """Return a 1xx response as the client gets it."""
    block = _passed_on(head, without_length=True)
    return b"HTTP/1.1 %b%b\r\n\r\n" % (head.status_text, block)


def switching_head(exchange: Exchange, head: ResponseHead) -> bytes:
    """Return the 101 response as the client gets it, with the fields that make the switch."""
    block = _passed_on(head, without_length=True)
    if exchange.route.set_cookies is not None:
        block = exchange.route.set_cookies.permitted(block)
    return b"HTTP/1.1 %b%b\r\nConnection: Upgrade\r\nUpgrade: %b\r\nX-Request-Id: %b\r\n\r\n" % (
        head.status_text,
        block,
        head.fields.get(b"upgrade", exchange.head.fields[b"upgrade"]),
        exchange.request_id,
    )


def _passed_on(
    head: ResponseHead, *, without: frozenset[bytes] = _NO_NAMES, without_length: bool
) -> bytes:
    """Return the field lines of a response that the client gets."""
    nominated = head.connection_options()[2]
    if nominated is not None:
        without |= nominated
    if without_length and head.content_length is not None:
        without |= _CONTENT_LENGTH
    return head.passed_on_without(without) if without else head.passed_on


def own_head(status: int, lines: bytes) -> bytes:
    """Return the head of an answer made here; ``lines`` each end in CRLF."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, _REASONS.get(status, b""), lines)


def _affinity_line(exchange: Exchange, head: ResponseHead) -> bytes:
    """Return the ``Set-Cookie`` line that binds the client, where it is needed and allowed.

    Only on a response that no shared cache may store: a stored one would bind everybody. A client
    whose own instance is merely slower than another this time stays bound to it.
    """
    instance, pool, bound = exchange.instance, exchange.pool, exchange.bound
    if instance is None or instance is bound or pool.affinity is None:
        return b""
    if bound is not None and pool.may_serve_bound(bound):
        return b""
    if instance.connections.is_retired:  # removed while it answered: nobody is bound to it now
        return b""
    fields = head.fields
    if not may_carry_cookie(
        exchange.method,
        head.status,
        fields.get(b"cache-control"),
        targeted=fields.get(b"cdn-cache-control") or fields.get(b"surrogate-control"),
        has_expires=b"expires" in fields,
    ):
        return b""
    return pool.affinity_line(instance, secure=exchange.is_secure)
