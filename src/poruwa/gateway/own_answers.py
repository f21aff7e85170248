"""What the gateway answers without an instance: preflights, redirects, files, unknown paths.

Place on the path: after guard and rate limit, which hold for these requests as for all others, and
before the cache, which is never asked for them. What a template of a redirect becomes is decided in
``poruwa.rules.routing``, what a preflight may use in ``poruwa.rules.cors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange


def answer_here(exchange: Exchange) -> bool:
    """Answer a request of a route that ``is_answered_here``; False leaves it to an instance."""
    route = exchange.route
    if route.cors is not None and route.cors.answer_preflight(exchange):
        return True
    if route.pool is not None:
        return False
    if route.redirect is not None:
        location = exchange.gateway.routes.expand(route.redirect.to, route.index, exchange)
        _redirect(exchange, route.redirect.status, location)
    elif route.static is not None:
        route.static.serve(exchange)
    else:
        _answer_unrouted(exchange)
    return True


def _answer_unrouted(exchange: Exchange) -> None:
    """Redirect from an alias to its host; else answer 405 with the path's methods, or 404."""
    routes, host = exchange.gateway.routes, exchange.head.host
    canonical = routes.canonical_host(host)
    if canonical is not None:
        scheme = b"https" if canonical.https or exchange.is_secure else b"http"
        _redirect(exchange, 308, scheme + b"://" + canonical.name.encode() + exchange.target)
        return
    allowed = routes.allowed_methods(host, exchange.path)
    if allowed:
        exchange.response_lines += b"Allow: " + b", ".join(sorted(allowed)) + b"\r\n"
    exchange.answer_error(405 if allowed else 404)


def _redirect(exchange: Exchange, status: int, location: bytes) -> None:
    exchange.answer(status, b"Location: " + location + b"\r\n")
