"""The policy's sections about instances: pools, methods, health, affinity, retries, hedges."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import Secret, Setting


class BalancingMethod(StrEnum):
    """How an instance is chosen for a request."""

    ROUND_ROBIN = "round-robin"
    WEIGHTED_ROUND_ROBIN = "weighted-round-robin"
    LEAST_CONNECTIONS = "least-connections"
    POWER_OF_TWO = "power-of-two"
    PEAK_EWMA = "peak-ewma"
    CONSISTENT_HASH = "consistent-hash"
    STICKY_HASH = "sticky-hash"


#: Other programs' and the seed document's spellings; accepted, and noted by ``config check``.
METHOD_SPELLINGS = {
    "least_conn": BalancingMethod.LEAST_CONNECTIONS,
    "leastconn": BalancingMethod.LEAST_CONNECTIONS,
    "least-conn": BalancingMethod.LEAST_CONNECTIONS,
    "least_connections": BalancingMethod.LEAST_CONNECTIONS,
    "round_robin": BalancingMethod.ROUND_ROBIN,
    "roundrobin": BalancingMethod.ROUND_ROBIN,
}


class HealthKind(StrEnum):
    """What an active check does."""

    HTTP = "http"
    TCP = "tcp"


class AffinityFailover(StrEnum):
    """What happens to a client whose instance is down."""

    ANY = "any"
    FAIL = "fail"


class AffinityFallback(StrEnum):
    """How an instance is chosen for a client that sends no affinity cookie."""

    HASH = "hash"
    METHOD = "method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One process of the application."""

    name: Annotated[
        str,
        Setting(form="name", why="Names it in logs, metrics and `explain`; default: the address."),
    ] = ""
    address: Annotated[str, Setting(form="upstream", why="Where it listens.")]
    weight: Annotated[
        int,
        Setting(least=1, most=256, why="Share of the load relative to the other instances."),
    ] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """Binds a client to an instance by an opaque, authenticated cookie."""

    cookie: Annotated[
        str,
        Setting(
            form="token",
            why="Name of the cookie; __Host-Http- is put before it on secure listeners.",
        ),
    ] = "WEDDINGLK_SESSION"
    max_age_seconds: Annotated[
        float,
        Setting(
            least=60,
            most=31_536_000,
            zero="until the browser closes",
            why="A binding is worth little after the visit.",
        ),
    ] = 0.0
    keys: Annotated[
        Secret | None,
        Setting(
            why="Key ring, comma separated, newest last, 32 or more characters each: the cookie is "
            "authenticated, or clients could choose their instance."
        ),
    ] = None
    failover: Annotated[
        AffinityFailover,
        Setting(why="any: a client whose instance is down is bound to another; fail: it gets 503."),
    ] = AffinityFailover.ANY
    without_cookie: Annotated[
        AffinityFallback,
        Setting(
            why="hash: who refuses cookies stays with one instance too, by address and within "
            "1.25 times a fair share of the load; method: the pool's method chooses each time."
        ),
    ] = AffinityFallback.HASH
    drain_seconds: Annotated[
        float,
        Setting(
            least=1,
            most=604_800,
            zero="bound clients go elsewhere at once",
            why="How long clients stay with an instance that `poruwa drain` empties; a visit is "
            "mostly over by then.",
        ),
    ] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """Passive health: an instance that fails live requests leaves the pool for a while."""

    enabled: Annotated[bool, Setting(why="Live traffic notices sooner than any check.")] = True
    failures: Annotated[
        int,
        Setting(
            least=1,
            most=1000,
            unit="requests in a row",
            why="Enough that one bad request ejects nobody.",
        ),
    ] = 5
    error_share: Annotated[
        float,
        Setting(
            least=0.01,
            most=1,
            unit="share of requests",
            why="Failed share over the window that ejects, beyond what the others have.",
        ),
    ] = 0.5
    window_seconds: Annotated[
        float,
        Setting(least=1, most=600, why="Over how long the share is counted."),
    ] = 10.0
    base_seconds: Annotated[
        float,
        Setting(
            least=0.1,
            most=3600,
            why="First ejection; each further one doubles it.",
        ),
    ] = 5.0
    longest_seconds: Annotated[
        float, Setting(least=0.1, most=86_400, why="Where doubling ends.")
    ] = 300.0
    largest_share: Annotated[
        float,
        Setting(
            least=0,
            most=1,
            unit="share of instances",
            why="Never eject more: the rest would drown.",
        ),
    ] = 0.5
    panic_share: Annotated[
        float,
        Setting(
            least=0,
            most=1,
            unit="share of instances",
            why="With fewer healthy, health is ignored: the checks are more likely wrong.",
        ),
    ] = 0.3
    slow_start_seconds: Annotated[
        float,
        Setting(
            least=0,
            most=3600,
            zero="full load at once",
            why="A returning instance has cold caches; its share grows over this time.",
        ),
    ] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Active checks of each instance of a pool."""

    enabled: Annotated[bool, Setting(why="Without checks only live failures tell.")] = True
    kind: Annotated[
        HealthKind,
        Setting(why="http asks a path; tcp only connects, for instances that have no such path."),
    ] = HealthKind.HTTP
    path: Annotated[str, Setting(form="path-absolute", why="What an http check asks for.")] = (
        "/healthz"
    )
    method: Annotated[str, Setting(form="method", why="GET, since some programs refuse HEAD.")] = (
        "GET"
    )
    host: Annotated[
        str | None, Setting(form="host-port", why="Host header of the check; else the address.")
    ] = None
    expect_status: Annotated[
        tuple[int | str, ...],
        Setting(
            form="status",
            empty=False,
            why='Statuses that mean healthy: 200, 204 or a class, "2xx".',
        ),
    ] = (200,)
    expect_body: Annotated[
        str | None, Setting(why="Text that the first 64 KiB of the answer must contain.")
    ] = None
    interval_seconds: Annotated[
        float, Setting(least=0.1, most=3600, why="Between two checks of a settled instance.")
    ] = 30.0
    fast_interval_seconds: Annotated[
        float,
        Setting(
            least=0.05,
            most=3600,
            why="Between two checks while the last one contradicts the state.",
        ),
    ] = 1.0
    timeout_seconds: Annotated[
        float, Setting(least=0.05, most=600, why="A check that takes longer has failed.")
    ] = 5.0
    rise: Annotated[
        int,
        Setting(least=1, most=100, unit="checks in a row", why="Successes that make it healthy."),
    ] = 2
    fall: Annotated[
        int,
        Setting(least=1, most=100, unit="checks in a row", why="Failures that make it unhealthy."),
    ] = 3
    jitter: Annotated[
        float,
        Setting(
            least=0,
            most=0.5,
            unit="share of the interval",
            why="Spreads checks, so that workers and machines do not ask in step.",
        ),
    ] = 0.1
    ejection: Annotated[Ejection, Setting(why="Passive health, from live traffic.")] = field(
        default_factory=Ejection
    )


class DiscoveryKind(StrEnum):
    """Where the addresses of a pool are looked up."""

    DNS = "dns"
    SRV = "srv"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Instances that are found, beside or instead of listed ones. The last good answer stays."""

    kind: Annotated[
        DiscoveryKind,
        Setting(why="dns: A and AAAA; srv: with ports, weights; file: watched."),
    ] = DiscoveryKind.DNS
    source: Annotated[
        str,
        Setting(
            why='"app.internal:3000", "_http._tcp.app.internal" or the path of a file, relative to '
            'the policy file, with a line "host:port weight=N name=X" for each instance.',
        ),
    ]
    refresh_seconds: Annotated[
        float,
        Setting(least=0.5, most=3600, why="Longest time between two looks; a TTL may be less."),
    ] = 30.0
    resolver: Annotated[
        str | None,
        Setting(
            form="resolver",
            why="The DNS server to ask, e.g. Consul's; else those of /etc/resolv.conf.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The instances among which requests are spread."""

    name: Annotated[str, Setting(form="name", why="Named by routes.")]
    instances: Annotated[
        tuple[Instance, ...],
        Setting(
            why='Addresses, or tables with name, address, weight; none if "count" starts them.'
        ),
    ] = ()
    count: Annotated[
        int,
        Setting(
            least=1,
            most=1000,
            zero="none",
            unit="instances",
            why="Instances that `poruwa up` starts itself.",
        ),
    ] = 0
    discovery: Annotated[Discovery | None, Setting(why="Look the instances up.")] = None
    method: Annotated[
        BalancingMethod,
        Setting(why="least-connections copes with slow requests and needs no tuning."),
    ] = BalancingMethod.LEAST_CONNECTIONS
    adaptive: Annotated[
        bool,
        Setting(
            why="least-connections minds measured latency and capacity too, so that unlike "
            "instances get unlike loads; off: only weights and what is under way."
        ),
    ] = True
    hash_key: Annotated[
        str,
        Setting(
            form="hash-key",
            why='What the hash methods hash: "client", "path", "header:NAME" or "cookie:NAME".',
        ),
    ] = "client"
    affinity: Annotated[Affinity | None, Setting(why="Bind clients to instances by cookie.")] = None
    health: Annotated[Health, Setting(why="Active checks.")] = field(default_factory=Health)
    max_in_flight_per_instance: Annotated[
        int,
        Setting(
            least=1,
            most=1_000_000,
            zero="no limit",
            unit="requests",
            why="More wait in the queue: what an instance can do at once is known best here.",
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Further tries on another instance, of requests that are safe to send again."""

    attempts: Annotated[
        int, Setting(least=0, most=10, unit="further tries", why="Two cover two instances dying.")
    ] = 2
    budget: Annotated[
        float,
        Setting(
            least=0,
            most=1,
            unit="share of requests",
            why="Retries beyond it are refused: they would multiply an overload.",
        ),
    ] = 0.2
    budget_minimum_per_second: Annotated[
        float,
        Setting(
            least=0, most=10_000, unit="1/s", why="Always allowed: a quiet site may retry too."
        ),
    ] = 2.0
    statuses: Annotated[
        tuple[int | str, ...],
        Setting(
            form="status",
            why="Answers of an instance upon which a GET or HEAD is tried on another, once; the "
            "second answer is passed on whatever it is.",
        ),
    ] = (500, 502, 503, 504)
    replay_body_bytes: Annotated[
        int, Setting(least=0, most=16 << 20, why="Bodies up to this size are kept to send again.")
    ] = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """A second send of a GET whose first one is slower than usual."""

    enabled: Annotated[bool, Setting(why="A frozen instance must not freeze its clients.")] = True
    budget: Annotated[
        float,
        Setting(least=0, most=0.5, unit="share of requests", why="What it may cost."),
    ] = 0.05
    quantile: Annotated[
        float,
        Setting(
            least=0.5,
            most=0.9999,
            unit="quantile of the route's latency",
            why="Sent again when slower than this.",
        ),
    ] = 0.95
    least_seconds: Annotated[
        float,
        Setting(least=0.001, most=60, why="Never sooner, however fast the route."),
    ] = 0.05
    try_timeout_floor_seconds: Annotated[
        float,
        Setting(
            least=0.01,
            most=60,
            why="Lower bound of the learned time-out of one try.",
        ),
    ] = 0.25
