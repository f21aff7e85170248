"""Contradictions among listeners, admin, time-outs, limits and pools."""

from __future__ import annotations

import ipaddress
from pathlib import Path as FilePath

from poruwa.config.address import Address, parse_address
from poruwa.config.check_discovery import check_discovery
from poruwa.config.check_security import COOKIE_PREFIX
from poruwa.config.model import (
    BalancingMethod,
    Health,
    HealthKind,
    Policy,
    Pool,
)
from poruwa.config.positions import Path
from poruwa.config.problems import Findings
from poruwa.units import format_duration

# Enough for 128 bits of the base64 or hexadecimal that people generate keys in.
SHORTEST_KEY_CHARACTERS = 32
_DEFAULT_HEALTH = Health()
_HASH_METHODS = frozenset({BalancingMethod.CONSISTENT_HASH, BalancingMethod.STICKY_HASH})
# uvicorn's --timeout-keep-alive: an instance we start closes its side after this.
_UVICORN_KEEP_ALIVE_SECONDS = 5.0


def check_gateway(policy: Policy, findings: Findings) -> None:
    """Check listeners, admin, trust, time-outs and limits."""
    _check_listeners(policy, findings)
    _check_admin(policy, findings)
    _check_trust(policy, findings)
    _check_timeouts(policy, findings)
    _check_limits(policy, findings)
    scaling = policy.scaling
    if scaling.least > scaling.most:
        findings.refuse(
            ("scaling", "least"),
            f"{scaling.least} is above scaling.most, {scaling.most}; lower it or raise the other",
        )
    stack = policy.stack
    if stack.backoff_seconds > stack.backoff_longest_seconds:
        findings.refuse(
            ("stack", "backoff"),
            f"{format_duration(stack.backoff_seconds)} is above stack.backoff_longest, "
            f"{format_duration(stack.backoff_longest_seconds)}; lower it",
        )


def check_pools(policy: Policy, findings: Findings) -> None:
    """Check every pool: instances, method, health, affinity."""
    used = {route.pool for route in policy.routes}
    # A route that misspells a pool leaves it unused; that it is misspelt is said already.
    all_known = used <= {pool.name for pool in policy.pools} | {None}
    for pool in policy.pools:
        path: Path = ("pools", pool.name)
        _check_instances(policy, pool, path, findings)
        check_discovery(pool, path, findings)
        _check_addresses(policy, pool, path, findings)
        _check_method(pool, path, findings)
        _check_health(pool.health, (*path, "health"), findings)
        _check_affinity(pool, path, findings)
        if policy.routes and pool.name not in used and all_known:
            findings.warn(path, "no route leads to this pool")


def _check_listeners(policy: Policy, findings: Findings) -> None:
    seen: dict[str, str] = {}
    for listener in policy.listeners:
        address = parse_address(listener.address)
        path = ("listeners", listener.name)
        if listener.name in ("admin", "control"):
            findings.refuse(path, "the name belongs to [admin]; choose another")
        first = None if address.port == 0 and not address.path else seen.get(_place(address))
        if first is not None:
            findings.refuse(
                (*path, "address"),
                f'{listener.address} is already the address of listener "{first}"; choose another',
            )
        seen.setdefault(_place(address), listener.name)
        if listener.proxy_protocol and not policy.trust.proxies:
            findings.refuse(
                (*path, "proxy_protocol"),
                "nobody is trusted to send the header, so every connection would be refused; name "
                'the proxies, trust.proxies = ["10.0.0.5"]',
            )


def _check_admin(policy: Policy, findings: Findings) -> None:
    if policy.admin.socket is not None:
        try:
            parse_address(f"unix:{FilePath(policy.admin.socket).absolute()}")
        except ValueError as error:
            findings.refuse(("admin", "socket"), f"{error}; choose a shorter one")
    if policy.admin.address is None:
        return
    address = parse_address(policy.admin.address)
    for listener in policy.listeners:
        same = _place(parse_address(listener.address)) == _place(address)
        if same and (address.port or address.path):
            findings.refuse(
                ("admin", "address"),
                f'{policy.admin.address} is the address of listener "{listener.name}"; the admin '
                "listener needs one of its own",
            )
    if not address.is_loopback and policy.admin.token is None:
        findings.refuse(
            ("admin", "address"),
            f"{policy.admin.address} can be reached from other machines; set admin.token, or use "
            "a 127.0.0.1 address",
        )


def _check_trust(policy: Policy, findings: Findings) -> None:
    for index, text in enumerate(policy.trust.proxies):
        if text != "unix" and ipaddress.ip_network(text).prefixlen == 0:
            findings.warn(
                ("trust", "proxies", index),
                f"{text} trusts everybody: any client may state any address; name your proxies",
            )


def _check_timeouts(policy: Policy, findings: Findings) -> None:
    timeouts = policy.timeouts
    if timeouts.first_byte_seconds and timeouts.connect_seconds > timeouts.first_byte_seconds:
        findings.refuse(
            ("timeouts", "connect"),
            f"{format_duration(timeouts.connect_seconds)} is longer than timeouts.first_byte, "
            f"{format_duration(timeouts.first_byte_seconds)}, which starts later; lower it",
        )
    floor = policy.hedge.try_timeout_floor_seconds
    if timeouts.first_byte_seconds and floor > timeouts.first_byte_seconds:
        findings.refuse(
            ("hedge", "try_timeout_floor"),
            f"{format_duration(floor)} is longer than timeouts.first_byte, "
            f"{format_duration(timeouts.first_byte_seconds)}, so it never counts; lower it",
        )
    starts_instances = any(pool.count for pool in policy.pools)
    if starts_instances and timeouts.upstream_idle_seconds >= _UVICORN_KEEP_ALIVE_SECONDS:
        findings.warn(
            ("timeouts", "upstream_idle"),
            "uvicorn closes idle connections after 5s; below that the gateway closes first and "
            "no request meets a closing connection",
        )


def _check_limits(policy: Policy, findings: Findings) -> None:
    limits = policy.limits
    if limits.connections_per_client > limits.connections:
        findings.refuse(
            ("limits", "connections_per_client"),
            f"{limits.connections_per_client} is above limits.connections, {limits.connections}; "
            "lower it, or write 0 for no limit",
        )
    if limits.body_bytes and policy.retry.replay_body_bytes > limits.body_bytes:
        findings.refuse(
            ("retry", "replay_body"),
            "is larger than limits.body, so that no such body arrives; lower it",
        )


def _check_instances(policy: Policy, pool: Pool, path: Path, findings: Findings) -> None:
    if not pool.instances and not pool.count and pool.discovery is None:
        findings.refuse(
            path,
            'has neither instances nor count; write instances = ["host:port"], count = 3 for '
            "`poruwa up` to start them, or discovery to look them up",
        )
    if pool.count and policy.stack.application is None:
        findings.refuse(
            (*path, "count"),
            '`poruwa up` needs to know of what; write [stack] application = "module:app"',
        )
    if pool.instances and pool.count:
        findings.refuse(
            (*path, "count"),
            "instances are listed as well; leave count out, or the list",
        )
    scaling = policy.scaling
    if scaling.enabled and pool.count and not scaling.least <= pool.count <= scaling.most:
        findings.refuse(
            (*path, "count"),
            f"{pool.count} is outside scaling.least to scaling.most, {scaling.least} to "
            f"{scaling.most}; start within them",
        )


def _check_addresses(policy: Policy, pool: Pool, path: Path, findings: Findings) -> None:
    own = {_place(parse_address(listener.address)): listener for listener in policy.listeners}
    addresses: dict[str, int] = {}
    names: dict[str, int] = {}
    for index, instance in enumerate(pool.instances):
        here = (*path, "instances", index)
        place = _place(parse_address(instance.address))
        if place in addresses:
            findings.refuse(
                here,
                f"{instance.address} is already instance {addresses[place] + 1}; one address would "
                "get twice its share: raise its weight instead",
            )
        elif instance.name in names:
            findings.refuse(
                here, f'the name "{instance.name}" is taken by instance {names[instance.name] + 1}'
            )
        if place in own:
            findings.refuse(
                here,
                f'{instance.address} is listener "{own[place].name}" itself: requests would go '
                "round for ever; name the instance's own address",
            )
        addresses.setdefault(place, index)
        names.setdefault(instance.name, index)


def _check_method(pool: Pool, path: Path, findings: Findings) -> None:
    weights = {instance.weight for instance in pool.instances}
    if pool.method is BalancingMethod.ROUND_ROBIN and len(weights) > 1:
        findings.refuse(
            (*path, "method"),
            'round-robin ignores the weights of its instances; write "weighted-round-robin"',
        )
    is_weighted = pool.method is BalancingMethod.WEIGHTED_ROUND_ROBIN
    if is_weighted and len(weights) == 1 and pool.discovery is None:
        findings.warn((*path, "method"), 'all weights are alike; "round-robin" does the same')
    if pool.method not in _HASH_METHODS and findings.positions.is_written((*path, "hash_key")):
        findings.warn(
            (*path, "hash_key"),
            f'{pool.method} does not hash; choose "consistent-hash" or "sticky-hash"',
        )
    if pool.method in _HASH_METHODS and pool.affinity is not None:
        findings.warn((*path, "affinity"), f"the cookie decides before {pool.method} is asked")


def _check_health(health: Health, path: Path, findings: Findings) -> None:
    if health.timeout_seconds >= health.interval_seconds:
        findings.refuse(
            (*path, "timeout"),
            f"{format_duration(health.timeout_seconds)} is not below the interval, "
            f"{format_duration(health.interval_seconds)}: checks would overtake each other; lower "
            "it or raise the interval",
        )
    if health.fast_interval_seconds > health.interval_seconds:
        findings.refuse(
            (*path, "fast_interval"),
            f"{format_duration(health.fast_interval_seconds)} is slower than the interval, "
            f"{format_duration(health.interval_seconds)}; lower it",
        )
    if health.kind is HealthKind.TCP:
        for key in ("path", "method", "host", "expect_status", "expect_body"):
            if getattr(health, key) != getattr(_DEFAULT_HEALTH, key):
                findings.refuse(
                    (*path, key), 'a tcp check sends no request; write kind = "http", or drop it'
                )
    if health.expect_body is not None and health.method == "HEAD":
        findings.refuse((*path, "expect_body"), "answers to HEAD have no body; use GET")
    ejection = health.ejection
    if ejection.base_seconds > ejection.longest_seconds:
        findings.refuse(
            (*path, "ejection", "base"),
            f"{format_duration(ejection.base_seconds)} is above ejection.longest, "
            f"{format_duration(ejection.longest_seconds)}; lower it",
        )


def _check_affinity(pool: Pool, path: Path, findings: Findings) -> None:
    affinity = pool.affinity
    if affinity is None:
        return
    prefix = COOKIE_PREFIX.match(affinity.cookie)
    if prefix is not None:
        findings.refuse(
            (*path, "affinity", "cookie"),
            f"browsers drop {prefix[0]} names over plain HTTP; drop the prefix: over TLS one is "
            "put before the name",
        )
    if affinity.keys is None:
        findings.refuse(
            (*path, "affinity"),
            "has no keys, without which any client could choose its instance; write "
            'keys = "env:PORUWA_AFFINITY_KEYS"',
        )
    elif affinity.keys.is_resolved:
        ring = [key.strip() for key in affinity.keys.reveal().split(",")]
        if any(len(key) < SHORTEST_KEY_CHARACTERS for key in ring):
            findings.refuse(
                (*path, "affinity", "keys"),
                f"a key of the ring is shorter than {SHORTEST_KEY_CHARACTERS} characters; make one "
                "with: openssl rand -base64 32",
            )
        if len(set(ring)) < len(ring):
            findings.refuse((*path, "affinity", "keys"), "a key is in the ring twice; drop one")


def _place(address: Address) -> str:
    """Return what two spellings of the same place have in common."""
    if address.path:
        return str(address)
    host = {"": "*", "0.0.0.0": "*", "::": "*", "localhost": "127.0.0.1"}.get(  # noqa: S104
        address.host, address.host.lower().rstrip(".")
    )
    return f"{host}:{address.port}"
