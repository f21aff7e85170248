"""The policy's sections on what may be kept: classes of data and their lifetimes per layer.

Layers from the outside in: browser, CDN, gateway, memory (L1, in a process), application (L2,
Valkey), query (results of database queries). The gateway and the cache manager read these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import CLUSTER, EDGE, Setting

YEAR_SECONDS = 31_536_000


class Scope(StrEnum):
    """Who may see the same copy."""

    SHARED = "shared"
    PRIVATE = "private"
    NONE = "none"


class Strategy(StrEnum):
    """How writes and the caches meet."""

    CACHE_ASIDE = "cache-aside"
    WRITE_THROUGH = "write-through"
    WRITE_BEHIND = "write-behind"


class Unsure(StrEnum):
    """What a layer does that cannot know whether it missed a change."""

    ASK_ORIGIN = "ask-origin"
    SERVE = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long each layer may keep a class. Left out: not kept there."""

    browser_seconds: Annotated[
        float | None,
        Setting(
            least=0,
            most=YEAR_SECONDS,
            zero="kept, asked about each time (no-cache with an ETag)",
            why="Out of reach of every purge.",
        ),
    ] = None
    cdn_seconds: Annotated[
        float | None,
        Setting(least=0, most=YEAR_SECONDS, brings=EDGE, why="CDN-Cache-Control (RFC 9213)."),
    ] = None
    gateway_seconds: Annotated[
        float | None,
        Setting(least=0, most=YEAR_SECONDS, why="The gateway's shared cache."),
    ] = None
    memory_seconds: Annotated[
        float | None,
        Setting(least=0, most=YEAR_SECONDS, why="L1, inside an app process."),
    ] = None
    application_seconds: Annotated[
        float | None,
        Setting(least=0, most=YEAR_SECONDS, why="L2, Valkey or Redis."),
    ] = None
    query_seconds: Annotated[
        float | None,
        Setting(least=0, most=YEAR_SECONDS, why="Results of database queries, in Valkey."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataClass:
    """Things that may be kept alike: venue pages, search results, user data."""

    name: Annotated[str, Setting(form="name", why="Named by routes and by the site's code.")]
    scope: Annotated[
        Scope,
        Setting(
            why="shared: one copy for all; private: one per person, browser only; none: no-store.",
        ),
    ] = Scope.NONE
    lifetimes: Annotated[Lifetimes, Setting(why="How long each layer keeps it.")] = field(
        default_factory=Lifetimes
    )
    stale_while_revalidate_seconds: Annotated[
        float,
        Setting(
            least=0,
            most=YEAR_SECONDS,
            why="Served this long after its age while a new copy is fetched (RFC 5861); never "
            "after a change of its tags.",
        ),
    ] = 0.0
    stale_if_error_seconds: Annotated[
        float,
        Setting(
            least=0,
            most=YEAR_SECONDS,
            why="Served this long after its age while the origin fails (RFC 5861).",
        ),
    ] = 0.0
    strategy: Annotated[
        Strategy,
        Setting(
            brings_values=((Strategy.WRITE_BEHIND, CLUSTER),),
            why="cache-aside loses nothing; write-behind acknowledges before the database has it.",
        ),
    ] = Strategy.CACHE_ASIDE
    flush_seconds: Annotated[
        float,
        Setting(
            least=0.01,
            most=3600,
            brings=CLUSTER,
            why="write-behind: longest wait for the database.",
        ),
    ] = 1.0
    tags: Annotated[
        tuple[str, ...],
        Setting(
            form="tag",
            why='What it depends on: "venue:{venue_id}", "venues". A change of a tag reaches every '
            "layer.",
        ),
    ] = ()
    unsure: Annotated[
        Unsure,
        Setting(
            why="ask-origin is right for what must not be stale, serve for what may be.",
        ),
    ] = Unsure.ASK_ORIGIN
    refresh_on_change: Annotated[
        bool,
        Setting(
            why="What was read often and changes is fetched anew at once, before anybody asks: for "
            "what must never be slow.",
        ),
    ] = False
    views: Annotated[
        tuple[str, ...],
        Setting(
            form="tag",
            why='What answers are views of: "venue:{venue_id}". The first that the path fills is '
            "counted in the tally of views, where the gateway answers, too.",
        ),
    ] = ()
    dimensions: Annotated[
        tuple[str, ...],
        Setting(form="name", why="Dimensions that make different copies."),
    ] = ()
    query_parameters: Annotated[
        tuple[str, ...],
        Setting(
            form="query-name",
            why="Query parameters that matter; all others are left out of the key.",
        ),
    ] = ()
    immutable: Annotated[bool, Setting(why="The URL changes with the content (RFC 8246).")] = False
    bookings: Annotated[
        bool, Setting(why="Holds promises to people: never write-behind, never stale.")
    ] = False
    browser_staleness_accepted: Annotated[
        bool,
        Setting(
            why="A browser lifetime on a tagged class outlives changes: say that this is meant."
        ),
    ] = False
    largest_bytes: Annotated[
        int, Setting(least=1, most=1 << 30, why="Larger things pass, unkept.")
    ] = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A normalised property of requests with a few values, e.g. the language.

    The first of path, query, cookie and header that a request states decides.
    """

    name: Annotated[str, Setting(form="name", why="Named by classes.")]
    path: Annotated[
        str | None,
        Setting(
            form="name",
            why="The route's segment {name}, or its fixed first segment; asked first.",
        ),
    ] = None
    query: Annotated[
        str | None,
        Setting(form="query-name", why="The query parameter; asked second."),
    ] = None
    cookie: Annotated[str | None, Setting(form="token", why="The cookie; asked third.")] = None
    header: Annotated[str | None, Setting(form="header", why="The request header; asked last.")] = (
        None
    )
    values: Annotated[
        tuple[str, ...],
        Setting(empty=False, why="Every copy is one of these: few, or nothing is hit."),
    ]
    default: Annotated[str, Setting(why="For requests that name none of them.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCache:
    """The gateway's shared cache as a whole."""

    enabled: Annotated[bool, Setting(why="Classes decide what is kept.")] = True
    follow_origin: Annotated[
        bool,
        Setting(
            why="Keep on routes without a class what RFC 9111 lets a shared cache keep, as the "
            "origin's own fields say; `--cache`."
        ),
    ] = False
    memory_bytes: Annotated[
        int, Setting(least=1 << 20, most=1 << 40, why="Per worker, bodies and keys.")
    ] = 256 << 20
    refreshes_per_second: Annotated[
        float,
        Setting(
            least=0,
            most=10_000,
            zero="none",
            why="Per worker, of what refresh_on_change fetches anew: a change of a tag on "
            "everything must not flood the app.",
        ),
    ] = 50.0
