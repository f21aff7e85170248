"""The whole policy: one frozen object that everything else derives from.

``load`` makes it of a file, ``check`` finds its contradictions, ``wire`` sends it to workers. The
sections live in the ``model_*`` modules beside this one; all of their names are exported here, so
that readers need this module only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from poruwa.config.model_cache import (
    DataClass,
    Dimension,
    GatewayCache,
    Lifetimes,
    Scope,
    Strategy,
    Unsure,
)
from poruwa.config.model_data import (
    Coherence,
    Database,
    DatabasePool,
    Failover,
    MemoryStore,
    ReadDistribution,
    StoreMode,
    Stores,
    ValkeyStore,
    WatchedCollection,
    WriteDistribution,
)
from poruwa.config.model_edge import Cdn, CdnDomains, CdnProvider, ImageFormat, Images
from poruwa.config.model_listen import (
    Admin,
    Gateway,
    Limits,
    Listener,
    Timeouts,
    Tls,
    TlsVersion,
    Trust,
)
from poruwa.config.model_operations import (
    LogFormat,
    LogLevel,
    Logs,
    Scaling,
    Site,
    Stack,
    Targets,
)
from poruwa.config.model_pool import (
    METHOD_SPELLINGS,
    Affinity,
    AffinityFailover,
    AffinityFallback,
    BalancingMethod,
    Discovery,
    DiscoveryKind,
    Ejection,
    Health,
    HealthKind,
    Hedge,
    Instance,
    Pool,
    Retry,
)
from poruwa.config.model_route import Cors, Host, Redirect, Route, StaticFolder
from poruwa.config.model_security import (
    Consent,
    Cookie,
    Cookies,
    Csrf,
    Headers,
    Hsts,
    ProviderKind,
    RateKey,
    RateLimit,
    SameSite,
    Session,
    SignInProvider,
)
from poruwa.config.setting import Secret, Setting

__all__ = [
    "METHOD_SPELLINGS",
    "Admin",
    "Affinity",
    "AffinityFailover",
    "AffinityFallback",
    "BalancingMethod",
    "Cdn",
    "CdnDomains",
    "CdnProvider",
    "Coherence",
    "Consent",
    "Cookie",
    "Cookies",
    "Cors",
    "Csrf",
    "DataClass",
    "Database",
    "DatabasePool",
    "Dimension",
    "Discovery",
    "DiscoveryKind",
    "Ejection",
    "Failover",
    "Gateway",
    "GatewayCache",
    "Headers",
    "Health",
    "HealthKind",
    "Hedge",
    "Host",
    "Hsts",
    "ImageFormat",
    "Images",
    "Instance",
    "Lifetimes",
    "Limits",
    "Listener",
    "LogFormat",
    "LogLevel",
    "Logs",
    "MemoryStore",
    "Policy",
    "Pool",
    "ProviderKind",
    "RateKey",
    "RateLimit",
    "ReadDistribution",
    "Redirect",
    "Retry",
    "Route",
    "SameSite",
    "Scaling",
    "Scope",
    "Secret",
    "Session",
    "Setting",
    "SignInProvider",
    "Site",
    "Stack",
    "StaticFolder",
    "StoreMode",
    "Stores",
    "Strategy",
    "Targets",
    "Timeouts",
    "Tls",
    "TlsVersion",
    "Trust",
    "Unsure",
    "ValkeyStore",
    "WatchedCollection",
    "WriteDistribution",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One site's policy. Every section has defaults; a file states pools and routes."""

    site: Annotated[Site, Setting(why="What the policy is for.")] = field(default_factory=Site)
    listeners: Annotated[
        tuple[Listener, ...],
        Setting(keyed=True, empty=False, why="Where clients are accepted, by name."),
    ] = (Listener(),)
    admin: Annotated[Admin, Setting(why="Metrics and control.")] = field(default_factory=Admin)
    gateway: Annotated[Gateway, Setting(why="Workers and queue.")] = field(default_factory=Gateway)
    limits: Annotated[Limits, Setting(why="Bounds on what a client may use.")] = field(
        default_factory=Limits
    )
    timeouts: Annotated[Timeouts, Setting(why="Deadlines.")] = field(default_factory=Timeouts)
    trust: Annotated[Trust, Setting(why="Who is believed about clients.")] = field(
        default_factory=Trust
    )
    pools: Annotated[tuple[Pool, ...], Setting(keyed=True, why="Instances, by pool name.")] = ()
    retry: Annotated[Retry, Setting(why="Further tries.")] = field(default_factory=Retry)
    hedge: Annotated[Hedge, Setting(why="Second sends of slow GETs.")] = field(
        default_factory=Hedge
    )
    routes: Annotated[tuple[Route, ...], Setting(why="What happens to which requests.")] = ()
    hosts: Annotated[tuple[Host, ...], Setting(why="Names of the site and their aliases.")] = ()
    classes: Annotated[
        tuple[DataClass, ...], Setting(keyed=True, why="Classes of data, by name.")
    ] = ()
    dimensions: Annotated[
        tuple[Dimension, ...], Setting(keyed=True, why="What makes different copies, by name.")
    ] = ()
    cache: Annotated[GatewayCache, Setting(why="The gateway's cache as a whole.")] = field(
        default_factory=GatewayCache
    )
    cookies: Annotated[Cookies, Setting(why="What all cookies have in common.")] = field(
        default_factory=Cookies
    )
    session: Annotated[Session, Setting(why="Who somebody is.")] = field(default_factory=Session)
    csrf: Annotated[Csrf, Setting(why="Forged requests.")] = field(default_factory=Csrf)
    headers: Annotated[Headers, Setting(why="Security headers.")] = field(default_factory=Headers)
    rate_limits: Annotated[
        tuple[RateLimit, ...], Setting(keyed=True, why="Rate limits, by name.")
    ] = ()
    sign_in: Annotated[
        tuple[SignInProvider, ...], Setting(keyed=True, why="Social sign-in, by provider name.")
    ] = ()
    consent: Annotated[Consent, Setting(why="GDPR and CCPA.")] = field(default_factory=Consent)
    stores: Annotated[Stores, Setting(why="Caches and bus behind the app.")] = field(
        default_factory=Stores
    )
    database: Annotated[Database, Setting(why="MongoDB.")] = field(default_factory=Database)
    cdn: Annotated[Cdn, Setting(why="The CDN in front.")] = field(default_factory=Cdn)
    images: Annotated[Images, Setting(why="Pictures for the device.")] = field(
        default_factory=Images
    )
    scaling: Annotated[Scaling, Setting(why="Instances follow the load.")] = field(
        default_factory=Scaling
    )
    targets: Annotated[Targets, Setting(why="What is alerted on.")] = field(default_factory=Targets)
    logs: Annotated[Logs, Setting(why="What is written.")] = field(default_factory=Logs)
    stack: Annotated[Stack, Setting(why="What `poruwa up` starts.")] = field(default_factory=Stack)

    def pool_named(self, name: str) -> Pool:
        """Return the pool ``name``.

        Raises:
            KeyError: no such pool; a checked policy names only pools that exist.
        """
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)
