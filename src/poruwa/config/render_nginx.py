"""An nginx configuration (1.22 and newer) that does what the policy says in front of the gateway.

TLS and HTTP/2 end here. Security headers are left to the gateway and the application, which send
them once. The text is a complete ``nginx.conf``. nginx without its commercial parts has neither
active checks nor a cookie of affinity, and sends no PROXY protocol over HTTP: said where it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from poruwa.config.address import Address, parse_address
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
from poruwa.config.model import BalancingMethod, Policy, Pool, Route, TlsVersion

_GRACE_SECONDS = 5.0  # above the gateway's own deadlines, so that its error pages arrive
_NO_DEADLINE_SECONDS = 86_400.0
_IDLE_UPSTREAM_CONNECTIONS = 64
_CAPTURE = "segment_"  # before names of captures, which must not be those of nginx

_METHODS = {
    BalancingMethod.LEAST_CONNECTIONS: "least_conn",
    BalancingMethod.POWER_OF_TWO: "random two least_conn",
    BalancingMethod.PEAK_EWMA: "least_conn",  # the nearest that nginx has
}


def render_nginx(policy: Policy, front: FrontTier) -> str:
    """Return ``nginx.conf`` for ``policy``.

    Raises:
        ConfigError: an address that cannot be used, no listener that suits, or unknown instances.
    """
    check_front_tier(front)
    lines = [*_header(policy, front), *_top(policy), "", "http {"]
    lines += _http(policy, front)
    if front.in_front_of is Behind.GATEWAY:
        listener = choose_listener(policy, speaks_proxy_protocol=False)
        lines += _gateway_upstream(policy, gateway_addresses(front, listener))
        rules = ["        location / {", "            proxy_pass http://gateway;", "        }"]
    else:
        for pool in policy.pools:
            lines += _pool_upstream(policy, pool)
        rules = list(_locations(policy))
    lines += [*_servers(policy, front, rules), "}"]
    return "\n".join(lines) + "\n"


def _header(policy: Policy, front: FrontTier) -> Iterator[str]:
    yield f"# nginx in front of {policy.site.name}, made by `poruwa config render nginx`."
    yield "# Change the policy and render again rather than this file."
    if front.in_front_of is Behind.GATEWAY and not policy.trust.proxies:
        yield TRUST_NOTE
    if front.in_front_of is Behind.POOLS:
        yield "# Not done here: active checks (failures of requests count instead)."
        if any(pool.affinity for pool in policy.pools):
            yield "# Not done here: affinity by cookie, which the gateway and HAProxy have."
        for note in left_out(policy, static_folders=True):
            yield f"# Not done here: {note}."


def _top(policy: Policy) -> Iterator[str]:
    yield "worker_processes auto;"
    yield "error_log stderr warn;"
    connections = min(65_535, 2 * policy.limits.connections)  # a client's and an upstream's
    yield f"worker_rlimit_nofile {2 * connections};"
    yield "events {"
    yield f"    worker_connections {connections};"
    yield "}"


def _http(policy: Policy, front: FrontTier) -> Iterator[str]:
    limits, timeouts = policy.limits, policy.timeouts
    slowest = max(_deadlines(policy)) + _GRACE_SECONDS
    yield (
        "    access_log off;"
        if front.in_front_of is Behind.GATEWAY
        else ("    access_log /dev/stdout combined;")
    )
    yield "    server_tokens off;"
    yield "    types { text/html html; text/css css; text/javascript js; image/svg+xml svg; }"
    yield "    types_hash_max_size 1024;"
    yield f"    client_header_timeout {_seconds(timeouts.header_seconds)};"
    yield f"    client_body_timeout {_seconds(timeouts.body_seconds)};"
    yield f"    send_timeout {_seconds(timeouts.body_seconds)};"
    yield f"    keepalive_timeout {_seconds(timeouts.idle_seconds)};"
    yield f"    client_max_body_size {_largest_body(policy)};"
    yield f"    large_client_header_buffers 4 {limits.header_bytes};"
    if limits.connections_per_client:
        yield "    limit_conn_zone $binary_remote_addr zone=clients:16m;"
        yield f"    limit_conn clients {limits.connections_per_client};"
        yield "    limit_conn_status 429;"
    yield "    proxy_http_version 1.1;"
    yield "    proxy_request_buffering off;"
    yield "    proxy_buffering off;"
    yield f"    proxy_connect_timeout {_seconds(timeouts.connect_seconds)};"
    yield f"    proxy_send_timeout {_seconds(slowest)};"
    yield f"    proxy_read_timeout {_seconds(slowest)};"
    yield f"    proxy_next_upstream_tries {policy.retry.attempts + 1};"
    # What a client claims of itself goes; what is known here is stated anew.
    yield "    proxy_set_header Host $http_host;"
    yield "    proxy_set_header X-Forwarded-For $remote_addr;"
    yield "    proxy_set_header X-Forwarded-Proto $scheme;"
    yield '    proxy_set_header X-Forwarded-Host "";'
    yield '    proxy_set_header X-Forwarded-Port "";'
    yield '    proxy_set_header Forwarded "";'
    yield "    proxy_set_header Upgrade $http_upgrade;"
    yield "    proxy_set_header Connection $connection_upgrade;"
    yield '    map $http_upgrade $connection_upgrade { default upgrade; "" ""; }'


def _largest_body(policy: Policy) -> str:
    """Return the largest limit of all; 0 is none. Smaller ones are the gateway's business."""
    sizes = [policy.limits.body_bytes]
    sizes += [route.body_bytes for route in policy.routes if route.body_bytes is not None]
    return "0" if 0 in sizes else str(max(sizes))


def _deadlines(policy: Policy) -> Iterator[float]:
    timeouts = policy.timeouts
    routes = [route.first_byte_seconds for route in policy.routes]
    for seconds in (timeouts.first_byte_seconds, timeouts.response_seconds, *routes):
        if seconds is not None:
            yield seconds or _NO_DEADLINE_SECONDS


def _gateway_upstream(policy: Policy, addresses: tuple[Address, ...]) -> Iterator[str]:
    yield ""
    yield "    upstream gateway {"
    yield "        least_conn;"
    for address in addresses:
        yield f"        server {address} max_fails=2 fail_timeout=2s;"
    yield from _keep_alive(policy.timeouts.idle_seconds)
    yield "    }"


def _pool_upstream(policy: Policy, pool: Pool) -> Iterator[str]:
    require_known_instances(pool)
    health = pool.health
    yield ""
    yield f"    upstream pool_{pool.name} {{"
    yield from _method(pool)
    for instance in pool.instances:
        words = [f"        server {parse_address(instance.address)}", f"weight={instance.weight}"]
        if pool.max_in_flight_per_instance:
            words.append(f"max_conns={pool.max_in_flight_per_instance}")
        if health.enabled:
            words.append(f"max_fails={health.fall}")
            words.append(f"fail_timeout={max(1, round(health.interval_seconds))}s")
        else:
            words.append("max_fails=0")
        yield " ".join(words) + ";"
    yield from _keep_alive(policy.timeouts.upstream_idle_seconds)
    yield "    }"


def _method(pool: Pool) -> Iterator[str]:
    if pool.method in {BalancingMethod.CONSISTENT_HASH, BalancingMethod.STICKY_HASH}:
        kind, _, name = pool.hash_key.partition(":")
        variable = name.lower().replace("-", "_")
        keys = {"client": "$binary_remote_addr", "path": "$uri", "header": f"$http_{variable}"}
        yield f"        hash {keys.get(kind, f'$cookie_{name}')} consistent;"
    elif pool.method in _METHODS:
        yield f"        {_METHODS[pool.method]};"


def _keep_alive(idle_seconds: float) -> Iterator[str]:
    yield f"        keepalive {_IDLE_UPSTREAM_CONNECTIONS};"
    yield f"        keepalive_timeout {_seconds(idle_seconds)};"


def _servers(policy: Policy, front: FrontTier, rules: list[str]) -> Iterator[str]:
    yield ""
    if front.http is not None and front.https is not None:
        yield "    server {"
        yield from (f"        {line}" for line in _listen(front.http, ""))
        yield f"        return 308 https://$host{front.https_port}$request_uri;"
        yield "    }"
    if front.in_front_of is Behind.POOLS:
        yield from _alias_servers(policy, front)
    yield "    server {"
    yield from (f"        {line}" for line in _site_listen(policy, front, default=True))
    yield from rules
    yield "    }"


def _site_listen(policy: Policy, front: FrontTier, *, default: bool) -> Iterator[str]:
    mark = " default_server" if default else ""
    if front.https is None:
        assert front.http is not None, "checked by check_front_tier"
        yield from _listen(front.http, mark)
        return
    versions = [listener.tls.minimum_version for listener in policy.listeners if listener.tls]
    lowest = max(versions, default=TlsVersion.TLS_1_2)
    yield from _listen(front.https, f" ssl http2{mark}")
    yield f"ssl_certificate {front.certificate};"
    yield f"ssl_certificate_key {front.certificate_key or front.certificate};"
    yield (
        "ssl_protocols TLSv1.3;"
        if lowest is TlsVersion.TLS_1_3
        else ("ssl_protocols TLSv1.2 TLSv1.3;")
    )
    yield "ssl_session_tickets off;"


def _alias_servers(policy: Policy, front: FrontTier) -> Iterator[str]:
    for host in policy.hosts:
        if host.aliases:
            scheme = "https" if host.https else "$scheme"
            yield "    server {"
            yield from (f"        {line}" for line in _site_listen(policy, front, default=False))
            yield f"        server_name {' '.join(host.aliases)};"
            yield f"        return 308 {scheme}://{host.name}$request_uri;"
            yield "    }"


def _locations(policy: Policy) -> Iterator[str]:
    """Yield one location per path; hosts and methods that differ are told apart inside.

    A path's conditions set a variable, since ``if`` in nginx is safe only with set and return.
    """
    by_path: dict[str, list[Route]] = {}
    for route in ordered_routes(policy):
        by_path.setdefault(route.path, []).append(route)
    for path, routes in by_path.items():
        is_plain = len(routes) == 1 and not routes[0].hosts and not routes[0].methods
        for matcher in _matchers(path, is_redirect=is_plain and routes[0].redirect is not None):
            yield f"        location {matcher} {{"
            yield from _answer(routes[0]) if is_plain else _choice(routes)
            yield "        }"


def _matchers(path: str, *, is_redirect: bool) -> Iterator[str]:
    base = path.removesuffix("/*")
    if "{" in path or (is_redirect and base != path):
        yield f'~ "{path_expression(path, group=_CAPTURE)}"'
    elif base == path:
        yield f"= {path}"
    else:
        yield f"{base}/"
        if base:
            yield f"= {base}"


def _answer(route: Route) -> Iterator[str]:
    if route.redirect is not None:
        target = "".join(map(_redirect_part, redirect_parts(route.redirect.to)))
        yield f"            return {route.redirect.status} {target};"
    elif route.static is not None:
        yield f'            alias "{route.static.folder}/";'
        yield f"            index {route.static.index};"
        if route.static.fingerprinted:
            yield '            add_header Cache-Control "public, max-age=31536000, immutable";'
    else:
        yield f"            proxy_pass http://pool_{route.pool};"


def _choice(routes: list[Route]) -> Iterator[str]:
    """Yield what chooses a pool by host and method; the most specific route is asked last."""
    yield '            set $chosen "";'
    yield '            set $asked "$request_method $host";'
    for route in reversed(routes):
        if route.pool is None:
            yield f"            # {route.name}: only pools can be chosen by host and method"
            continue
        hosts = "|".join(map(_host_expression, route.hosts)) or ".*"
        methods = "|".join(methods_of(route)) or ".*"
        yield (
            f'            if ($asked ~* "^(?:{methods}) (?:{hosts})$") '
            f"{{ set $chosen pool_{route.pool}; }}"
        )
    yield '            if ($chosen = "") { return 404; }'
    yield "            proxy_pass http://$chosen;"


def _host_expression(host: str) -> str:
    if host.startswith("*."):
        return r"[^ ]+\." + re.escape(host[2:])
    return re.escape(host)


def _redirect_part(part: str) -> str:
    known = {"{path}": "$uri", "{host}": "$host", "{query}": "$is_args$args"}
    if part.startswith("{"):
        return known.get(part, f"${{{_CAPTURE}{part[1:-1]}}}")
    return part.replace("$", "%24")  # nginx has no other way to write it


def _listen(text: str, options: str) -> Iterator[str]:
    address = parse_address(text)
    if address.host:
        yield f"listen {address}{options};"
    else:
        yield f"listen {address.port}{options};"
        yield f"listen [::]:{address.port}{options};"


def _seconds(seconds: float) -> str:
    """Return a time as nginx takes it, at least one millisecond."""
    return f"{max(1, round(seconds * 1000))}ms"
