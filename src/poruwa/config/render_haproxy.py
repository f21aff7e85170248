"""A HAProxy configuration (2.6 and newer) that does what the policy says in front of the gateway.

TLS and HTTP/2 end here. Security headers are left to the gateway and the application, which send
them once. The text is complete: ``haproxy -f FILE`` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator

from poruwa.config.address import parse_address
from poruwa.config.front_tier import (
    TRUST_NOTE,
    Behind,
    FrontTier,
    check_front_tier,
    choose_listener,
    gateway_addresses,
    left_out,
    methods_of,
    ordered_routes,
    path_expression,
    redirect_parts,
    require_known_instances,
)
from poruwa.config.model import (
    BalancingMethod,
    Health,
    HealthKind,
    Policy,
    Pool,
    Route,
    Scope,
    TlsVersion,
)

# HAProxy's tune.bufsize holds a whole head and what is being rewritten of it.
_REWRITE_RESERVE_BYTES = 8192
_DEFAULT_BUFFER_BYTES = 16_384
# Above the gateway's own deadlines, so that its error pages arrive and not HAProxy's.
_GRACE_SECONDS = 5.0
_NO_DEADLINE_SECONDS = 86_400.0
# A gateway starts and stops in well under a second; the front tier should see it as soon.
_IDEMPOTENT = "GET HEAD OPTIONS TRACE PUT DELETE"  # RFC 9110 section 9.2.2
_GATEWAY_CHECK = "check inter 2s fastinter 500ms fall 2 rise 1"

_BALANCE = {
    BalancingMethod.ROUND_ROBIN: "roundrobin",
    BalancingMethod.WEIGHTED_ROUND_ROBIN: "roundrobin",
    BalancingMethod.LEAST_CONNECTIONS: "leastconn",
    BalancingMethod.POWER_OF_TWO: "random(2)",
    BalancingMethod.PEAK_EWMA: "leastconn",  # the nearest that HAProxy has
}


def render_haproxy(policy: Policy, front: FrontTier) -> str:
    """Return ``haproxy.cfg`` for ``policy``.

    Raises:
        ConfigError: an address that cannot be used, no listener that suits, or unknown instances.
    """
    check_front_tier(front)
    lines = [*_header(policy, front), *_global(policy, front), *_defaults(policy, front)]
    if front.in_front_of is Behind.GATEWAY:
        lines += [*_frontends(policy, front, ["    default_backend gateway"])]
        lines += _gateway_backend(policy, front)
    else:
        lines += [*_frontends(policy, front, list(_route_rules(policy)))]
        for pool in policy.pools:
            lines += _pool_backends(policy, pool)
    return "\n".join(lines) + "\n"


def _header(policy: Policy, front: FrontTier) -> Iterator[str]:
    yield f"# HAProxy in front of {policy.site.name}, made by `poruwa config render haproxy`."
    yield "# Change the policy and render again rather than this file."
    if front.in_front_of is Behind.GATEWAY and not policy.trust.proxies:
        yield TRUST_NOTE
    if front.in_front_of is Behind.POOLS:
        for note in left_out(policy, static_folders=False):
            yield f"# Not done here: {note}."


def _global(policy: Policy, front: FrontTier) -> Iterator[str]:
    limits = policy.limits
    buffer_bytes = max(_DEFAULT_BUFFER_BYTES, limits.header_bytes + _REWRITE_RESERVE_BYTES)
    yield ""
    yield "global"
    yield "    log stdout format raw local0 info"
    yield f"    maxconn {limits.connections}"
    # Where fewer descriptors are allowed than that needs: a warning, rather than no site at all.
    yield "    no strict-limits"
    yield f"    tune.bufsize {buffer_bytes}"
    yield f"    tune.http.maxhdr {limits.header_count}"
    if front.https is not None:
        versions = [listener.tls.minimum_version for listener in policy.listeners if listener.tls]
        lowest = max(versions, default=TlsVersion.TLS_1_2)
        yield f"    ssl-default-bind-options ssl-min-ver TLSv{lowest} no-tls-tickets"


def _defaults(policy: Policy, front: FrontTier) -> Iterator[str]:
    timeouts = policy.timeouts
    slowest = max(_deadlines(policy))
    yield ""
    yield "resolvers system"
    yield "    parse-resolv-conf"
    yield "    hold valid 10s"
    yield ""
    yield "defaults"
    yield "    mode http"
    yield "    log global"
    yield "    option httplog"
    yield "    option dontlognull"
    yield "    option redispatch"
    yield f"    retries {policy.retry.attempts}"
    yield f"    timeout http-request {_ms(timeouts.header_seconds)}"
    yield f"    timeout http-keep-alive {_ms(timeouts.idle_seconds)}"
    yield f"    timeout client {_ms(max(timeouts.body_seconds, timeouts.idle_seconds))}"
    yield f"    timeout connect {_ms(timeouts.connect_seconds)}"
    yield f"    timeout queue {_ms(policy.gateway.queue_seconds)}"
    yield f"    timeout server {_ms(slowest + _GRACE_SECONDS)}"
    yield f"    timeout tunnel {_ms(timeouts.tunnel_seconds or _NO_DEADLINE_SECONDS)}"
    yield "    default-server init-addr last,libc,none resolvers system"
    if front.in_front_of is Behind.POOLS:
        yield f"    default-server pool-purge-delay {_ms(timeouts.upstream_idle_seconds)}"


def _deadlines(policy: Policy) -> Iterator[float]:
    """Yield how long the server side may be silent; 0 in the policy means no deadline."""
    timeouts = policy.timeouts
    routes = [route.first_byte_seconds for route in policy.routes]
    for seconds in (timeouts.first_byte_seconds, timeouts.response_seconds, *routes):
        if seconds is not None:
            yield seconds or _NO_DEADLINE_SECONDS


def _frontends(policy: Policy, front: FrontTier, rules: list[str]) -> Iterator[str]:
    if front.http is not None and front.https is not None:
        port = front.https_port
        yield ""
        yield "frontend http"
        yield f"    bind {_bind(front.http)}"
        yield (
            "    http-request redirect code 308 location "
            f"https://%[req.hdr(host),field(1,:)]{port}%[capture.req.uri]"
        )
    address = front.https if front.https is not None else front.http
    assert address is not None, "checked by check_front_tier"
    yield ""
    yield "frontend site"
    if front.https is not None:
        yield f"    bind {_bind(address)} ssl crt {front.certificate} alpn h2,http/1.1"
    else:
        yield f"    bind {_bind(address)}"
    if policy.limits.connections_per_client:
        yield "    stick-table type ipv6 size 1m expire 1m store conn_cur"
        yield "    tcp-request connection track-sc0 src"
        limit = policy.limits.connections_per_client
        yield f"    tcp-request connection reject if {{ sc0_conn_cur gt {limit} }}"
    yield from _forwarding(front)
    yield from rules


def _forwarding(front: FrontTier) -> Iterator[str]:
    """What a client claims of itself goes; what is known here is stated anew."""
    for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port"):
        yield f"    http-request del-header {name}"
    scheme = "https" if front.https is not None else "http"
    yield "    http-request set-header X-Forwarded-For %[src]"
    yield f"    http-request set-header X-Forwarded-Proto {scheme}"


def _gateway_backend(policy: Policy, front: FrontTier) -> Iterator[str]:
    listener = choose_listener(policy, speaks_proxy_protocol=True)
    proxy = ""
    if listener.proxy_protocol:
        version = "send-proxy-v2-ssl" if front.https is not None else "send-proxy-v2"
        proxy = f" {version} check-send-proxy"
    yield ""
    yield "backend gateway"
    yield "    balance leastconn"
    for number, address in enumerate(gateway_addresses(front, listener), start=1):
        place = f"unix@{address.path}" if address.path else str(address)
        yield f"    server gateway{number} {place} {_GATEWAY_CHECK}{proxy}"


def _route_rules(policy: Policy) -> Iterator[str]:
    """Yield the policy's hosts and routes, most specific first: the first that fits counts.

    HAProxy runs every http-request rule before any use_backend, whatever their order in the file;
    so the route is decided into a variable first, and acted upon after that.
    """
    for host in policy.hosts:
        scheme = "https" if host.https else "http"
        for alias in host.aliases:
            yield (
                f"    http-request redirect code 308 location {scheme}://{host.name}"
                f"%[capture.req.uri] if {{ {_host_test(alias)} }}"
            )
    routes = list(enumerate(ordered_routes(policy), start=1))
    for number, route in routes:
        yield f"    # {number}: {route.name}"
        yield from _route_conditions(number, route)
    yield "    http-request set-var-fmt(txn.query) ?%[query] if { query -m found }"
    for number, route in routes:
        if route.redirect is not None:
            location = _redirect_location(route.redirect.to, route.path)
            status = route.redirect.status
            yield f"    http-request redirect code {status} location {location} if {_is(number)}"
        elif route.static is not None:
            yield f"    http-request return status 503 if {_is(number)}"
    for number, route in routes:
        if route.pool is not None:
            yield f"    use_backend {_backend_name(policy, route)} if {_is(number)}"


def _is(number: int) -> str:
    return f"{{ var(txn.route) -m int {number} }}"


def _route_conditions(number: int, route: Route) -> Iterator[str]:
    """Yield what makes ``number`` the route. Rules of one name hold when any of them does."""
    conditions = ["!{ var(txn.route) -m found }"]
    if route.hosts:
        for host in route.hosts:
            yield f"    acl host{number} {_host_test(host)}"
        conditions.append(f"host{number}")
    methods = methods_of(route)
    if methods:
        conditions.append(f"{{ method {' '.join(methods)} }}")
    base = route.path.removesuffix("/*")
    if "{" in route.path:
        conditions.append(f"{{ path -m reg '{path_expression(route.path)}' }}")
    elif base == route.path:
        conditions.append(f"{{ path -m str {route.path} }}")
    elif base:
        yield f"    acl path{number} path -m str {base}"
        yield f"    acl path{number} path -m beg {base}/"
        conditions.append(f"path{number}")
    yield f"    http-request set-var(txn.route) int({number}) if {' '.join(conditions)}"


def _host_test(host: str) -> str:
    match, text = ("end", host[1:]) if host.startswith("*.") else ("str", host)
    return f"req.hdr(host),field(1,:),lower -m {match} {text.lower()}"


def _redirect_location(to: str, path: str) -> str:
    """Return a log-format text that HAProxy expands into the target."""
    known = {"{path}": "%[path]", "{host}": "%[req.hdr(host)]", "{query}": "%[var(txn.query)]"}
    segments = path.split("/")
    for index, segment in enumerate(segments, start=1):
        if segment.startswith("{"):
            known[segment] = f"%[path,field({index},/)]"
    known["{rest}"] = f"%[path,field({len(segments)},/,0)]"
    return "".join(known.get(part, part) for part in redirect_parts(to))


def _backend_name(policy: Policy, route: Route) -> str:
    pool = policy.pool_named(str(route.pool))
    shared = {each.name for each in policy.classes if each.scope is Scope.SHARED}
    is_bound = pool.affinity is not None and route.affinity and route.data_class not in shared
    return f"pool_{pool.name}_bound" if is_bound else f"pool_{pool.name}"


def _pool_backends(policy: Policy, pool: Pool) -> Iterator[str]:
    require_known_instances(pool)
    yield from _pool_backend(policy, pool, f"pool_{pool.name}", bound=False)
    if pool.affinity is not None:
        yield from _pool_backend(policy, pool, f"pool_{pool.name}_bound", bound=True)


def _pool_backend(policy: Policy, pool: Pool, name: str, *, bound: bool) -> Iterator[str]:
    yield ""
    yield f"backend {name}"
    yield from _balance(pool)
    if policy.retry.attempts:
        yield "    retry-on conn-failure empty-response"
        yield f"    http-request disable-l7-retry unless {{ method {_IDEMPOTENT} }}"
    yield from _health(pool.health)
    if bound:
        assert pool.affinity is not None
        # HAProxy names the server by a hash of this key: opaque, though not authenticated as ours.
        yield f"    dynamic-cookie-key {policy.site.name}-{pool.name}"
        yield f"    cookie {pool.affinity.cookie} insert indirect nocache httponly secure dynamic"
    for number, instance in enumerate(pool.instances, start=1):
        yield _server(policy, pool, number, instance.address, instance.weight, bound=bound)


def _balance(pool: Pool) -> Iterator[str]:
    balance = _BALANCE.get(pool.method)
    if balance is not None:
        yield f"    balance {balance}"
        return
    kind, _, name = pool.hash_key.partition(":")
    expressions = {"client": "src", "path": "path", "header": f"req.hdr({name})"}
    yield f"    balance hash {expressions.get(kind, f'req.cook({name})')}"
    yield "    hash-type consistent"
    yield "    hash-balance-factor 125"


def _health(health: Health) -> Iterator[str]:
    if not health.enabled or health.kind is HealthKind.TCP:
        return
    yield "    option httpchk"
    host = f" hdr Host {health.host}" if health.host else ""
    yield f"    http-check send meth {health.method} uri {health.path} ver HTTP/1.1{host}"
    statuses = ",".join(_status_range(status) for status in health.expect_status)
    yield f"    http-check expect status {statuses}"
    if health.expect_body is not None:
        body = health.expect_body.replace("\\", "\\\\").replace("'", "'\\''")
        yield f"    http-check expect string '{body}'"


def _status_range(status: int | str) -> str:
    if isinstance(status, int):
        return str(status)
    return f"{status[0]}00-{status[0]}99"


def _server(
    policy: Policy, pool: Pool, number: int, address: str, weight: int, *, bound: bool
) -> str:
    parsed = parse_address(address)
    place = f"unix@{parsed.path}" if parsed.path else str(parsed)
    health = pool.health
    words = [f"    server {pool.name}{number} {place} weight {weight}"]
    limit = pool.max_in_flight_per_instance
    if limit:
        words.append(f"maxconn {limit}")
    if health.enabled:
        words.append(
            f"check inter {_ms(health.interval_seconds)} "
            f"fastinter {_ms(health.fast_interval_seconds)} rise {health.rise} fall {health.fall}"
        )
    return " ".join(words)


def _bind(text: str) -> str:
    address = parse_address(text)
    return str(address) if address.host else f":::{address.port} v4v6"


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
