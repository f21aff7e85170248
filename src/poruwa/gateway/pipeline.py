"""The stages of a request in the gateway, in their order.

``docs/request-path.md`` is generated from ``STAGES``. A stage between ``listener`` and ``upstream``
is a function of the exchange that returns True when it has answered the request (or taken it over);
the router answers none. The first and the last are the connections' protocols, which call and are
called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poruwa.gateway.balancer import balance
from poruwa.gateway.cache import consult_cache
from poruwa.gateway.guard import guard_request
from poruwa.gateway.own_answers import answer_here
from poruwa.gateway.rate_limit import limit_rate
from poruwa.gateway.routes import route_request
from poruwa.gateway.security import identify_client

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the path: its name, the module that does it, what it does in a sentence."""

    name: str
    module: str
    does: str
    run: Callable[[Exchange], bool | None] | None = None
    built: bool = True


STAGES: tuple[Stage, ...] = (
    Stage(
        name="listener",
        module="poruwa.gateway.listener",
        does="Accepts within the limits, takes one request at a time off a connection, refuses "
        "whatever two parsers could frame differently.",
    ),
    Stage(
        name="security",
        module="poruwa.gateway.security",
        does="Says who the client is (address, scheme; forwarding fields only from trusted hops), "
        "gives the request its id and trace, normalises its path.",
        run=identify_client,
    ),
    Stage(
        name="router",
        module="poruwa.gateway.routes",
        does="Finds the most specific route; rewrites the target and adds CORS fields where it "
        "says so. Answers nothing.",
        run=route_request,
    ),
    Stage(
        name="guard",
        module="poruwa.gateway.guard",
        does="Refuses what another site's page sent, bodies of a type that the route does not "
        "take, cookie bombs, and paths that are for the machine alone.",
        run=guard_request,
    ),
    Stage(
        name="rate limit",
        module="poruwa.gateway.rate_limit",
        does="Holds clients to the limit of their route: reads are counted on this machine, all "
        "else by the bus.",
        run=limit_rate,
    ),
    Stage(
        name="own answer",
        module="poruwa.gateway.own_answers",
        does="Answers what needs no instance: preflights, redirects, files, host aliases, and "
        "what has no route.",
        run=answer_here,
    ),
    Stage(
        name="cache",
        module="poruwa.gateway.cache",
        does="Answers from what is stored and fresh, joins a fill under way, or lets pass.",
        run=consult_cache,
    ),
    Stage(
        name="balancer",
        module="poruwa.gateway.balancer",
        does="Chooses an instance by the machine's exact load, health and the affinity cookie; "
        "holds the request while none is ready.",
        run=balance,
    ),
    Stage(
        name="upstream",
        module="poruwa.gateway.upstream",
        does="Sends on a kept or new connection, streams both ways with back-pressure, tries "
        "again where that is safe.",
    ),
)


def handle(exchange: Exchange) -> None:
    """Take ``exchange`` through the stages until one of them has it.

    Called by name, not by ``STAGES``, which compiled costs a twentieth; a test compares the two.
    """
    if identify_client(exchange):
        return
    route_request(exchange)
    if guard_request(exchange):
        return
    route = exchange.route  # the guard may have found another
    if not (
        (route.limit is not None and limit_rate(exchange))
        or (route.is_answered_here and answer_here(exchange))
        or consult_cache(exchange)
    ):
        balance(exchange)


def go_on(exchange: Exchange) -> None:
    """Take ``exchange`` on from the rate limit, which had it wait."""
    if not ((exchange.route.is_answered_here and answer_here(exchange)) or consult_cache(exchange)):
        balance(exchange)
