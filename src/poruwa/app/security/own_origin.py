"""Where a request was sent to, as its client has it: the origin that its pages must have.

What a proxy says of it (``X-Forwarded-Host``, ``X-Forwarded-Proto``, ``Forwarded``) counts from
trusted peers alone, and is read as the gateway reads it (``rules.forwarding``); from everybody else
it is what any client can write. A gateway's instance is told by the gateway.

Source: ASGI specification, "HTTP & WebSocket ASGI Message Format" for ``client`` and ``server``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.types import Scope

from poruwa.config.forms import FORMS
from poruwa.errors import ConfigError
from poruwa.rules.csrf import origin_of
from poruwa.rules.forwarding import ForwardingFields, TrustedNetworks, client_view


def sent_to(
    scope: Scope, headers: Mapping[bytes, bytes], trusted: TrustedNetworks | None
) -> tuple[bytes, bytes]:
    """Return scheme (``http`` or ``https``) and host of a request, port included where it has one.

    Args:
        headers: by name in lower case.
        trusted: the peers that are believed; None for nobody.
    """
    scheme = b"https" if scope["scheme"] in ("https", "wss") else b"http"
    host = headers.get(b"host", b"")
    if trusted is None:
        return scheme, host
    peer = peer_of(scope)
    if not trusted.contains(peer):
        return scheme, host
    view = client_view(peer, scheme, 0, ForwardingFields.of(scope["headers"]), trusted)
    return view.scheme, host if view.host is None else view.host


def peer_of(scope: Scope) -> str | None:
    """Return the address at the other end of a request's connection; None on a Unix socket.

    Empty where it is not known: port 0 is none of a peer's, but what servers write beside an
    address that they have from ``X-Forwarded-For``.
    """
    server, client = scope.get("server"), scope.get("client")
    if server is None and client is None:
        return None
    if server is not None and server[1] is None:
        return None
    return "" if client is None or not client[1] else str(client[0])


def checked_origin(text: str, name: str) -> bytes:
    """Return an origin as browsers write it.

    Args:
        name: of the argument, for the message.

    Raises:
        ConfigError: it is none, or ``*``.
    """
    try:
        if text == "*":
            raise ValueError('"*" trusts every site, which is no protection; list them')
        FORMS["origin"].check(text)
    except ValueError as error:
        raise ConfigError(f"SecurityMiddleware: {name}: {error}") from error
    scheme, _, host = text.lower().encode().partition(b"://")
    return origin_of(scheme, host)


def trusted_networks(names: Iterable[str]) -> TrustedNetworks | None:
    """Return the peers that are believed; None for nobody.

    Raises:
        ConfigError: what is neither an address, a network nor ``"unix"``.
    """
    names = tuple(names)
    try:
        return TrustedNetworks(names) if names else None
    except ValueError as error:
        raise ConfigError(f"SecurityMiddleware: proxies: {error}") from error
