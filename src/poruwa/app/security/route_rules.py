"""What the policy says of the route of a request, for the app that answers it.

The route is found by the gateway's own rule (``rules.routing``) from what the server was asked for,
before anything of the app could change the path. So a page adds its hashes to the policy that will
be sent with it, and origins that a route's ``cors`` lets in are let in here, too. Without a gateway
the route's security fields and ``accepts`` are the middleware's business.

Not known here is the route of a path that a gateway has rewritten (``rewrite``): the rules are then
those of the path that arrived, and nothing is allowed that the gateway has refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from starlette.types import Scope

from poruwa.config.model import Policy
from poruwa.config.model_route import Route
from poruwa.rules.csrf import WantedOrigins
from poruwa.rules.routing import RouteTable, normalise_path
from poruwa.rules.security_headers import SecurityFields


class RouteRule:
    """What holds on one route, made ready once.

    Attributes:
        origins: whose pages may change something.
        accepts: media types of bodies, in lower case; empty for all.
        accept: the same as a field's value.
        content_security_policy: as the policy states it, without where violations are reported to.
        fields: that its answers carry; None where the policy states none.
    """

    __slots__ = ("accept", "accepts", "content_security_policy", "fields", "origins")

    def __init__(self, route: Route | None, policy: Policy) -> None:
        accepts = () if route is None else route.accepts
        section = policy.headers if route is None or route.headers is None else route.headers
        fields = SecurityFields(section, domain=policy.site.domain, report_path=section.report_to)
        self.origins = WantedOrigins(
            policy.csrf.trusted_origins, None if route is None else route.cors
        )
        self.accepts = frozenset([each.lower().encode() for each in accepts])
        self.accept = ", ".join(accepts).encode()
        self.content_security_policy = section.content_security_policy
        self.fields = fields if fields.names else None


class RouteRules:
    """The rules of all routes of a policy.

    Args:
        policy: checked.
        has_gateway: a gateway of this policy stands before the app: it sets the fields, and, unless
            its guard is off, refuses bodies of other types.

    Attributes:
        has_gateway: as given.
        judges_bodies: whether what a route ``accepts`` is the app's to look at.
        site: the rule where no route has the path.
    """

    __slots__ = ("_rules", "_table", "has_gateway", "judges_bodies", "site")

    def __init__(self, policy: Policy, *, has_gateway: bool) -> None:
        self._table = RouteTable(policy.routes)
        self._rules = [RouteRule(route, policy) for route in policy.routes]
        self.site = RouteRule(None, policy)
        self.has_gateway = has_gateway
        self.judges_bodies = not (has_gateway and policy.gateway.guard)

    def find(self, host: bytes, method: bytes, path: bytes) -> RouteRule | None:
        """Return the rule of a request; None for a path that could be read in two ways.

        Args:
            path: as it was sent, without query.
        """
        normal = normalise_path(path) if path != b"*" else path  # OPTIONS * (RFC 9110 section 7.1)
        if normal is None:
            return None
        index = self._table.match(host, method, normal)
        return self.site if index is None else self._rules[index]


class RouteLookup:
    """The rule of one request, looked up when it is first asked for: most requests never need it.

    Args:
        rules: of the policy.
        scope: as the server gave it.
        headers: by name in lower case.
    """

    __slots__ = ("_found", "_host", "_method", "_path", "_rule", "rules")

    def __init__(self, rules: RouteRules, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        self.rules = rules
        self._host = headers.get(b"host", b"")
        self._method = b"GET" if scope["type"] == "websocket" else scope["method"].encode()
        self._path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        self._found = False
        self._rule: RouteRule | None = None

    @property
    def rule(self) -> RouteRule | None:
        """As ``RouteRules.find``."""
        if not self._found:
            self._rule = self.rules.find(self._host, self._method, self._path.partition(b"?")[0])
            self._found = True
        return self._rule

    @property
    def rule_or_site(self) -> RouteRule:
        """The rule, or what holds everywhere."""
        return self.rule or self.rules.site
