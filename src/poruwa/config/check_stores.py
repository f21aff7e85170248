"""Contradictions among stores, bus, database, CDN, images and targets."""

from __future__ import annotations

from poruwa.config.model import (
    Cdn,
    CdnProvider,
    Database,
    Policy,
    StoreMode,
    Strategy,
    ValkeyStore,
)
from poruwa.config.positions import Path
from poruwa.config.problems import Findings
from poruwa.units import format_duration

# A layer that lost one heartbeat must not be called unsure at once.
_HEARTBEATS_PER_LEASE = 2
_SMALLEST_CLUSTER = 3
_NO_CDN = Cdn()
_DEFAULT = ValkeyStore()
_EXTERNAL_ONLY = ("username", "password", "tls", "database")
OUTBOX = "poruwa_outbox"
"""The collection of changes that are stored but not yet published (``app.outbox``)."""


def check_stores(policy: Policy, findings: Findings) -> None:
    """Check what stands behind the app and in front of the gateway."""
    _check_valkey(policy.stores.cache, ("stores", "cache"), findings)
    _check_bus(policy, findings)
    _check_coherence(policy, findings)
    _check_database(policy.database, findings)
    _check_cdn(policy, findings)
    widths = policy.images.widths
    if list(widths) != sorted(widths):
        findings.refuse(("images", "widths"), "are not in order; write the narrowest first")


def _check_bus(policy: Policy, findings: Findings) -> None:
    """A bus beside the cache; L2 and L1 of tagged classes are right only with one."""
    cache, bus = policy.stores.cache, policy.stores.bus
    if bus is not None:
        _check_valkey(bus, ("stores", "bus"), findings)
        both = set(bus.nodes) & set(cache.nodes)
        if both:
            findings.refuse(
                ("stores", "bus", "nodes"),
                f"{min(both)} is the cache as well, which evicts; the bus needs servers with "
                "maxmemory-policy noeviction",
            )
        return
    if cache.mode is StoreMode.EMBEDDED:
        return  # brings a bus of its own
    for data_class in policy.classes:
        lifetimes = data_class.lifetimes
        is_kept = lifetimes.memory_seconds or lifetimes.application_seconds
        # Write-behind has words of its own for it (check_classes).
        if data_class.tags and is_kept and data_class.strategy is not Strategy.WRITE_BEHIND:
            findings.refuse(
                ("stores", "cache", "mode"),
                f"{cache.mode} without a bus: no process would hear of changes to class "
                f"{data_class.name}, which has tags; add [stores.bus] on servers of its own",
            )
            return


def _check_valkey(store: ValkeyStore, path: Path, findings: Findings) -> None:
    nodes = (*path, "nodes")
    if store.mode is StoreMode.EMBEDDED:
        for key in _EXTERNAL_ONLY:
            if getattr(store, key) != getattr(_DEFAULT, key):
                findings.refuse(
                    (*path, key),
                    "`poruwa up` starts an embedded store on loopback, with a password of its own; "
                    f'drop {key}, or write mode = "single" and nodes',
                )
        if store.nodes:
            findings.refuse(
                nodes,
                "an embedded store is started by `poruwa up` and has no nodes; write mode = "
                '"single", "primary-replica" or "cluster", or drop them',
            )
        return
    if not store.nodes:
        findings.refuse(
            (*path, "mode"), f'{store.mode} needs to know where; write nodes = ["redis1:6379"]'
        )
    if store.memory_bytes != _DEFAULT.memory_bytes:
        findings.warn(
            (*path, "memory"), f"counts only for an embedded store; this one is {store.mode}"
        )
    if store.mode is StoreMode.SINGLE and len(store.nodes) > 1:
        findings.refuse(
            nodes, 'single means one server; write mode = "cluster" or "primary-replica"'
        )
    if store.mode is StoreMode.PRIMARY_REPLICA and len(store.nodes) == 1:
        findings.warn(nodes, "one node has no replica; name all of them, the primary is found")
    if store.mode is StoreMode.CLUSTER:
        if store.database:
            findings.refuse(
                (*path, "database"), f"a cluster has only database 0, not {store.database}; write 0"
            )
        if 0 < len(store.nodes) < _SMALLEST_CLUSTER:
            findings.warn(nodes, "fewer than three seeds: a start during a failure may find none")
    if store.username is not None and store.password is None:
        findings.refuse(
            (*path, "username"), 'has no password; write password = "env:REDIS_PASSWORD"'
        )


def _check_coherence(policy: Policy, findings: Findings) -> None:
    coherence = policy.stores.coherence
    if coherence.lease_seconds < _HEARTBEATS_PER_LEASE * coherence.heartbeat_seconds:
        findings.refuse(
            ("stores", "coherence", "lease"),
            f"{format_duration(coherence.lease_seconds)} is less than two heartbeats of "
            f"{format_duration(coherence.heartbeat_seconds)}: one lost would make every layer "
            "unsure; raise it",
        )
    promised = policy.targets.staleness_after_write_seconds
    if promised < coherence.lease_seconds:
        findings.refuse(
            ("targets", "staleness_after_write"),
            f"{format_duration(promised)} cannot be promised: a layer that is cut off is sure of "
            f"itself for stores.coherence.lease, {format_duration(coherence.lease_seconds)}; "
            "raise it",
        )


def _check_database(database: Database, findings: Findings) -> None:
    path: Path = ("database",)
    if database.embedded:
        for key, value in (("primary", database.primary), ("replicas", database.replicas)):
            if value:
                findings.refuse(
                    (*path, key),
                    "an embedded database is started by `poruwa up`; write embedded = false to use "
                    "this one, or drop it",
                )
    elif database.primary is None:
        findings.refuse(
            (*path, "embedded"), 'false needs the server; write primary = "write.example.lk:27017"'
        )
    if database.primary is not None and database.primary in database.replicas:
        index = database.replicas.index(database.primary)
        findings.refuse(
            (*path, "replicas", index), f"{database.primary} is the primary; leave it out here"
        )
    if database.replicas and database.replica_set is None:
        findings.warn(
            (*path, "replicas"),
            "without replica_set the driver takes the name from the first server that answers",
        )
    if database.username is not None and database.password is None:
        findings.refuse(
            (*path, "username"), 'has no password; write password = "env:MONGODB_PASSWORD"'
        )
    _check_writes(database, findings)
    if database.pool.least > database.pool.most:
        findings.refuse(
            (*path, "pool", "least"),
            f"{database.pool.least} is above pool.most, {database.pool.most}; lower it",
        )
    if database.connect_seconds > database.operation_seconds:
        findings.refuse(
            (*path, "connect"),
            f"{format_duration(database.connect_seconds)} is longer than database.operation, "
            f"{format_duration(database.operation_seconds)}, which includes it; lower it",
        )


def _check_writes(database: Database, findings: Findings) -> None:
    for each in database.watch:
        if each.name == OUTBOX:
            findings.refuse(
                ("database", "watch", each.name),
                "is where writes keep what is to be published; watch the site's own collections",
            )
    if database.relay_after_seconds >= database.operation_seconds:
        findings.warn(
            ("database", "relay_after"),
            f"{format_duration(database.relay_after_seconds)} is as long as database.operation or "
            "longer: what a crash leaves unpublished is stale for longer than a write may take",
        )


def _check_cdn(policy: Policy, findings: Findings) -> None:
    cdn = policy.cdn
    if cdn.provider is CdnProvider.NONE:
        for key in ("zone", "token", "bypass_cookie", "domains"):
            if getattr(cdn, key) != getattr(_NO_CDN, key):
                findings.refuse(
                    ("cdn", key),
                    'there is no CDN; write provider = "cloudflare" or "cloudfront", or drop this',
                )
        return
    for key, value in (("zone", cdn.zone), ("token", cdn.token)):
        if value is None:
            findings.refuse(
                ("cdn", "provider"),
                f"{cdn.provider} cannot be purged without cdn.{key}; add it",
            )
