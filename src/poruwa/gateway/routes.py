"""Routes and hosts of the policy, ready to be matched, with what requests need of them.

Place on the path: third stage of the gateway. Which route a path belongs to is decided in
``poruwa.rules.routing``. Nothing is answered here: guard and rate limit come first, also for
redirects, preflights, files and what has no route (``gateway.own_answers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poruwa.config.model import Hedge, Host, Policy, Route, Scope
from poruwa.gateway.balancer import Pool
from poruwa.gateway.cache_rules import CacheRule, client_control_of, rule_of
from poruwa.gateway.cors import CorsRules
from poruwa.gateway.guard import Guard
from poruwa.gateway.rate_limit import GatewayLimit
from poruwa.gateway.security_fields import error_security_of, security_of
from poruwa.gateway.set_cookies import SetCookies
from poruwa.gateway.static_files import StaticFiles
from poruwa.rules.affinity import may_bind
from poruwa.rules.cors import is_preflight
from poruwa.rules.latency import LatencyHistogram, patience
from poruwa.rules.own_paths import SESSION_PATH
from poruwa.rules.routing import RouteTable, expand_rewrite

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

NO_ROUTE: Final = "none"  # what requests outside every route are counted under
NO_INDEX: Final = -1


class GatewayRoute:
    """A route with what a request needs of it; limits in bytes and seconds, 0 for none.

    Args:
        index: in the policy; ``NO_INDEX`` for one that is not there.

    Attributes:
        is_answered_here: whether ``gateway.own_answers`` has to look at its requests.
    """

    __slots__ = (
        "_affinity",
        "_is_shared",
        "body_bytes",
        "cache_rule",
        "client_control",
        "cors",
        "error_security",
        "first_byte_seconds",
        "guard",
        "has_learned",
        "hedge_seconds",
        "index",
        "is_answered_here",
        "latency",
        "limit",
        "name",
        "pool",
        "redirect",
        "rewrite",
        "security",
        "set_cookies",
        "static",
        "try_seconds",
    )

    def __init__(
        self,
        route: Route,
        policy: Policy,
        pools: Mapping[str, Pool],
        *,
        folder: Path,
        index: int = NO_INDEX,
    ) -> None:
        limits, timeouts = policy.limits, policy.timeouts
        self.index = index
        self.name = route.name or route.path
        self.pool = pools[route.pool] if route.pool is not None else None
        self._affinity = route.affinity
        self._is_shared = route.data_class in {
            each.name for each in policy.classes if each.scope is Scope.SHARED
        }
        self.body_bytes = limits.body_bytes if route.body_bytes is None else route.body_bytes
        self.first_byte_seconds = (
            timeouts.first_byte_seconds
            if route.first_byte_seconds is None
            else route.first_byte_seconds
        )
        self.cors = CorsRules(route.cors) if route.cors is not None else None
        self.static = (
            StaticFiles(route.static, prefix=route.path.removesuffix("*"), folder=folder)
            if route.static is not None
            else None
        )
        self.cache_rule = rule_of(route, policy)
        self.client_control = client_control_of(route, policy)
        rate_limits = {limit.name: limit for limit in policy.rate_limits}
        self.limit = (
            GatewayLimit(rate_limits[route.rate_limit], route, policy)
            if route.rate_limit is not None
            else None
        )
        self.guard = Guard(route, policy) if policy.gateway.guard else None
        self.set_cookies = SetCookies(self.name, route.cookies) if route.cookies else None
        self.security = security_of(route, policy)
        self.error_security = error_security_of(route, policy)
        self.redirect = route.redirect
        self.is_answered_here = self.pool is None or self.cors is not None
        self.rewrite = route.rewrite
        self.latency = LatencyHistogram(0.0)
        self.has_learned = False
        self.learn_patience(0.0, policy.hedge)

    def binds(self, method: bytes) -> bool:
        """Whether a request goes where its client's affinity cookie says, if the pool has one."""
        return self._affinity and may_bind(method, is_shared=self._is_shared)

    def learn(self, seconds: float) -> None:
        """Note the time to the first byte of an answer that a hedge could have been sent for."""
        self.latency.record(seconds)
        self.has_learned = True

    def learn_patience(self, now: float, settings: Hedge) -> None:
        """Work out anew from when on a try is late."""
        if now and not self.has_learned:
            return
        self.has_learned = False
        self.latency.fade(now)
        learned = patience(self.latency, settings)
        self.hedge_seconds = learned.hedge_seconds
        self.try_seconds = learned.try_seconds


class GatewayRoutes:
    """Every host and route of the policy.

    Args:
        folder: what a static route's relative folder is relative to.
    """

    __slots__ = ("_canonical", "_hedge", "_routes", "_session_routes", "_table")

    def __init__(self, policy: Policy, pools: Mapping[str, Pool], *, folder: Path) -> None:
        self._hedge = policy.hedge
        self._table = RouteTable(policy.routes)
        self._routes = [
            GatewayRoute(route, policy, pools, folder=folder, index=index)
            for index, route in enumerate(policy.routes)
        ]
        self._session_routes = [
            _session_route(pool, policy, pools, folder=folder) for pool in pools
        ]
        self._canonical = aliases_of(policy)

    def find(self, host: bytes, method: bytes, path: bytes) -> int | None:
        """Return the index of a request's route, or None."""
        return self._table.match(host, method, path)

    def route(self, index: int) -> GatewayRoute:
        """Return the route that ``find`` found."""
        return self._routes[index]

    def session_route(self, route: GatewayRoute) -> GatewayRoute | None:
        """Return the route by which ``/_poruwa/session`` goes to the pool of ``route``.

        Where that has none, to the only pool, if there is just one; else None.
        """
        found = [each for each in self._session_routes if each.pool is route.pool]
        if found:
            return found[0]
        return self._session_routes[0] if len(self._session_routes) == 1 else None

    def take_removed_cookies(self) -> int:
        """Return how many cookies were taken off answers since the last call."""
        removed = 0
        for route in self._routes:
            if route.set_cookies is not None:
                removed += route.set_cookies.removed
                route.set_cookies.removed = 0
        return removed

    @property
    def has_cache(self) -> bool:
        """Whether anything is cached on any route."""
        return any(route.cache_rule is not None for route in self._routes)

    def cache_rules(self) -> list[CacheRule]:
        """Return how routes are cached, those that are."""
        return [route.cache_rule for route in self._routes if route.cache_rule is not None]

    def cache_counts(self) -> dict[str, dict[str, int]]:
        """Return what the cache did for requests, by class and event."""
        counts: dict[str, dict[str, int]] = {}
        for rule in self.cache_rules():
            sums = counts.setdefault(rule.name, {})
            for event, count in rule.counts.items():
                sums[event] = sums.get(event, 0) + count
            if rule.hits:
                sums["hit"] = sums.get("hit", 0) + rule.hits
        return counts

    def fills_refused(self) -> dict[str, dict[str, int]]:
        """Return how many fills were not kept, by class and reason."""
        refused: dict[str, dict[str, int]] = {}
        for rule in self.cache_rules():
            sums = refused.setdefault(rule.name, {})
            for reason, count in rule.refused.items():
                sums[reason] = sums.get(reason, 0) + count
        return {name: sums for name, sums in refused.items() if sums}

    def learn_patience(self, now: float) -> None:
        """Work out for each route from when on a try is late; called by the sweep."""
        for route in (*self._routes, *self._session_routes):
            route.learn_patience(now, self._hedge)

    def patience(self) -> dict[str, list[float]]:
        """Return of each route that goes to instances its hedge delay and try time-out, seconds."""
        return {
            route.name: [route.hedge_seconds, route.try_seconds]
            for route in self._routes
            if route.pool is not None
        }

    def allowed_methods(self, host: bytes, path: bytes) -> frozenset[bytes]:
        """Return the methods that a path takes; empty when no route has the path."""
        return self._table.allowed_methods(host, path)

    def expand(self, template: str, index: int, exchange: Exchange) -> bytes:
        """Return a redirect's or rewrite's ``template`` with what the request fills in."""
        path, question, query = exchange.target.partition(b"?")
        values = self._table.parameters(index, exchange.path)
        values |= {"path": path, "query": question + query, "host": exchange.head.host}
        return expand_rewrite(template, values)

    def canonical_host(self, host: bytes) -> Host | None:
        """Return the host that an alias stands for; None for any other."""
        return canonical_host(self._canonical, host) if self._canonical else None


def _session_route(
    pool: str, policy: Policy, pools: Mapping[str, Pool], *, folder: Path
) -> GatewayRoute:
    """Return a route that never asks the cache."""
    path = SESSION_PATH.decode()
    route = GatewayRoute(Route(name=path, path=path, pool=pool), policy, pools, folder=folder)
    route.cache_rule = None
    route.client_control = b"Cache-Control: no-store\r\n"
    return route


def route_request(exchange: Exchange) -> None:
    """Find the route, and what it makes of the target; an alias's requests and others have none."""
    routes = exchange.gateway.routes
    host = exchange.head.host
    if routes.canonical_host(host) is not None:
        return
    index = _preflighted(exchange) if exchange.method == b"OPTIONS" else None
    if index is None:
        index = routes.find(host, exchange.method, exchange.path)
        if index is None:
            return
    exchange.route = route = routes.route(index)
    if route.cors is not None:
        route.cors.permit(exchange)
    if route.rewrite is not None:
        _, question, query = exchange.target.partition(b"?")
        exchange.target = routes.expand(route.rewrite, index, exchange) + question + query


def _preflighted(exchange: Exchange) -> int | None:
    """Return the route of the request that a preflight asks for: it may take no OPTIONS itself."""
    fields, routes = exchange.head.fields, exchange.gateway.routes
    if not is_preflight(exchange.method, fields):
        return None
    requested = fields[b"access-control-request-method"]
    index = routes.find(exchange.head.host, requested, exchange.path)
    return index if index is not None and routes.route(index).cors is not None else None


def aliases_of(policy: Policy) -> dict[bytes, Host]:
    """Return the policy's hosts by their aliases in lower case."""
    return {alias.encode().lower(): host for host in policy.hosts for alias in host.aliases}


def canonical_host(aliases: Mapping[bytes, Host], host: bytes) -> Host | None:
    """Return the host that an alias stands for; exact names first, then ``*.`` patterns."""
    found = aliases.get(host)
    if found is None and (bare := host.partition(b":")[0]) != host:
        found = aliases.get(bare)
    while found is None and b"." in host:
        host = host.partition(b".")[2]
        found = aliases.get(b"*." + host)
    return found
