"""The policy's sections on what stands behind the app: Valkey, the bus, the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import CLUSTER, COHERENCE, Secret, Setting


class StoreMode(StrEnum):
    """How the servers of a store form one."""

    EMBEDDED = "embedded"
    SINGLE = "single"
    PRIMARY_REPLICA = "primary-replica"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyStore:
    """A Valkey or Redis service."""

    mode: Annotated[
        StoreMode,
        Setting(
            brings_values=((StoreMode.CLUSTER, CLUSTER),),
            why="embedded: `poruwa up` starts one itself.",
        ),
    ] = StoreMode.EMBEDDED
    nodes: Annotated[
        tuple[str, ...],
        Setting(form="upstream", why="Where to find it; for a cluster, its seeds."),
    ] = ()
    username: Annotated[str | None, Setting(why="ACL user.")] = None
    password: Annotated[Secret | None, Setting(why="AUTH.")] = None
    database: Annotated[int, Setting(least=0, most=15, why="A cluster has only 0.")] = 0
    tls: Annotated[bool, Setting(why="Needed outside a private network.")] = False
    ready_check: Annotated[
        bool, Setting(why="Wait until the server has loaded its data (INFO).")
    ] = True
    timeout_seconds: Annotated[
        float,
        Setting(least=0.01, most=30, why="A frozen node must not stall requests."),
    ] = 0.25
    retries: Annotated[int, Setting(least=0, most=5, why="One covers a lost connection.")] = 1
    connections_per_node: Annotated[
        int,
        Setting(
            least=1,
            most=10_000,
            why="Without a limit a burst of 1000 reads failed 701 times (measured).",
        ),
    ] = 100
    memory_bytes: Annotated[
        int, Setting(least=1 << 20, most=1 << 40, why="maxmemory when embedded.")
    ] = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStore:
    """L1: the cache inside each app process."""

    memory_bytes: Annotated[int, Setting(least=1 << 16, most=1 << 40, why="Per process.")] = (
        64 << 20
    )
    promotion_threshold: Annotated[
        int,
        Setting(least=1, most=3, why="S3-FIFO: hits that make an entry stay."),
    ] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherence:
    """The bus on which changes travel, and the leases that bound staleness."""

    heartbeat_seconds: Annotated[
        float, Setting(least=0.01, most=10, why="A layer that hears it is sure.")
    ] = 0.1
    lease_seconds: Annotated[
        float,
        Setting(least=0.05, most=60, why="Without a heartbeat for so long: unsure."),
    ] = 0.5
    read_your_writes_wait_seconds: Annotated[
        float,
        Setting(
            least=0,
            most=5,
            why="What a layer behind the writer's position waits.",
        ),
    ] = 0.05
    namespace: Annotated[
        str,
        Setting(form="name", why="Prefix of all keys: sites may share a server."),
    ] = "poruwa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Caches and the bus behind the app."""

    memory: Annotated[MemoryStore, Setting(why="L1.")] = field(default_factory=MemoryStore)
    cache: Annotated[ValkeyStore, Setting(why="L2; may evict.")] = field(
        default_factory=ValkeyStore
    )
    bus: Annotated[
        ValkeyStore | None,
        Setting(
            why="Counters, changes, write-behind: noeviction and appendfsync always, so apart."
        ),
    ] = None
    coherence: Annotated[Coherence, Setting(why="Bus and leases.")] = field(
        default_factory=Coherence
    )


class ReadDistribution(StrEnum):
    """How reads are spread over replicas."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    NEAREST = "nearest"
    PRIMARY_ONLY = "primary-only"


class WriteDistribution(StrEnum):
    """Where writes go."""

    PRIMARY_ONLY = "primary-only"


class Failover(StrEnum):
    """Who moves the primary."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePool:
    """Connections of one process to one server of the database."""

    least: Annotated[
        int,
        Setting(
            least=0, most=1000, unit="connections", brings=COHERENCE, why="Kept open: persistent."
        ),
    ] = 2
    most: Annotated[
        int,
        Setting(
            least=1,
            most=10_000,
            unit="connections",
            brings=COHERENCE,
            why="Bounds load on the server.",
        ),
    ] = 50
    idle_seconds: Annotated[
        float,
        Setting(
            least=1, most=86_400, brings=COHERENCE, why="Unused ones above the least are closed."
        ),
    ] = 300.0
    wait_seconds: Annotated[
        float,
        Setting(least=0.01, most=60, brings=COHERENCE, why="Longest wait for a free connection."),
    ] = 2.0
    automatic: Annotated[
        bool,
        Setting(brings=COHERENCE, why="Sizes follow the measured demand, between least and most."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedCollection:
    """A collection that others write, too: what its documents' changes mean to the caches."""

    name: Annotated[str, Setting(form="name", why="Of the collection.")]
    tags: Annotated[
        tuple[str, ...],
        Setting(
            form="watch-tag",
            why='Tags that a changed document changes, over its fields: "venue:{_id}", "venues". '
            "Fields beside _id need the collection's pre-images, which the watcher switches on.",
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """MongoDB, or the embedded database that speaks its protocol."""

    embedded: Annotated[bool, Setting(why="`poruwa up` starts one on loopback.")] = True
    primary: Annotated[
        str | None,
        Setting(form="upstream", why="Where writes go; the driver follows a failover from there."),
    ] = None
    replicas: Annotated[
        tuple[str, ...], Setting(form="upstream", why="Further members; reads may go there.")
    ] = ()
    replica_set: Annotated[str | None, Setting(form="name", why="Name of the replica set.")] = None
    name: Annotated[str, Setting(form="name", why="Database of the site.")] = "site"
    username: Annotated[str | None, Setting(why="User; authentication is off without one.")] = None
    password: Annotated[Secret | None, Setting(why="Its password.")] = None
    tls: Annotated[bool, Setting(why="Needed outside a private network.")] = False
    reads: Annotated[
        ReadDistribution, Setting(brings=COHERENCE, why="Spread over the replicas.")
    ] = ReadDistribution.ROUND_ROBIN
    writes: Annotated[
        WriteDistribution,
        Setting(brings=COHERENCE, why="A replica set has one writer."),
    ] = WriteDistribution.PRIMARY_ONLY
    failover: Annotated[
        Failover, Setting(brings=COHERENCE, why="The replica set elects; the driver follows.")
    ] = Failover.AUTOMATIC
    largest_lag_seconds: Annotated[
        float,
        Setting(
            least=0.1, most=3600, brings=COHERENCE, why="A replica further behind is not read."
        ),
    ] = 10.0
    connect_seconds: Annotated[
        float, Setting(least=0.05, most=60, brings=COHERENCE, why="To reach a server of it.")
    ] = 2.0
    operation_seconds: Annotated[
        float, Setting(least=0.05, most=600, why="Deadline of one operation, and of a write.")
    ] = 5.0
    heartbeat_seconds: Annotated[
        float,
        Setting(
            least=0.5, most=120, brings=COHERENCE, why="Health check of each server, by the driver."
        ),
    ] = 10.0
    index_metadata_seconds: Annotated[
        float,
        Setting(least=1, most=86_400, brings=COHERENCE, why="How long index metadata is kept."),
    ] = 3600.0
    acknowledge_seconds: Annotated[
        float,
        Setting(
            least=0.1,
            most=60,
            why="Longest wait of a write for the caches; a lease bounds it, too.",
        ),
    ] = 5.0
    relay_after_seconds: Annotated[
        float,
        Setting(
            least=0.1,
            most=60,
            why="A stored change that its writer has not published for so long is relayed.",
        ),
    ] = 1.0
    watch: Annotated[
        tuple[WatchedCollection, ...],
        Setting(why="Collections of which changes by others (mongosh, scripts) are published."),
    ] = ()
    pool: Annotated[DatabasePool, Setting(why="Connections.")] = field(default_factory=DatabasePool)
