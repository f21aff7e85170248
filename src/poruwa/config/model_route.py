"""The policy's sections about requests: routes and hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from poruwa.config.model_security import Headers
from poruwa.config.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """The gateway answers by pointing elsewhere."""

    to: Annotated[
        str,
        Setting(
            form="redirect",
            why="A path or URL; {name} is a path segment, {path} the path, {query} the query with "
            "its question mark, {host} the host.",
        ),
    ]
    status: Annotated[
        int, Setting(form="redirect-status", why="308 keeps the method and may be remembered.")
    ] = 308


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFolder:
    """The gateway answers from a folder of files."""

    folder: Annotated[
        str, Setting(form="file-path", why="Relative to the policy file; links must not leave it.")
    ]
    index: Annotated[str, Setting(form="file-name", why="File served for a folder.")] = "index.html"
    fingerprinted: Annotated[
        bool,
        Setting(
            why="Names carry a hash of the content: answers may be marked immutable (RFC 8246)."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Which other origins' scripts may read the answers (Fetch standard)."""

    origins: Annotated[
        tuple[str, ...],
        Setting(form="origin", empty=False, why='Exact origins, "https://host[:port]", or "*".'),
    ]
    methods: Annotated[
        tuple[str, ...], Setting(form="method", empty=False, why="Allowed to preflighted requests.")
    ] = ("GET", "HEAD")
    headers: Annotated[
        tuple[str, ...], Setting(form="header", why="Request headers allowed beyond the safe ones.")
    ] = ()
    expose: Annotated[
        tuple[str, ...], Setting(form="header", why="Response headers that scripts may read.")
    ] = ()
    credentials: Annotated[
        bool, Setting(why="Cookies travel only where this is meant; never together with *.")
    ] = False
    max_age_seconds: Annotated[
        float, Setting(least=0, most=86_400, why="How long a preflight is remembered.")
    ] = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What happens to requests of one shape. The most specific path wins; order does not matter."""

    name: Annotated[
        str, Setting(form="name", why="Names it in metrics and `explain`; default: its path.")
    ] = ""
    hosts: Annotated[
        tuple[str, ...],
        Setting(form="host-pattern", why='"host" or "*.host"; empty for every host.'),
    ] = ()
    path: Annotated[
        str,
        Setting(
            form="route-path",
            why="Exact, with {name} for a segment, or with /* at the end for all below it: "
            '"/venues", "/venues/{id}", "/static/*".',
        ),
    ]
    methods: Annotated[
        tuple[str, ...], Setting(form="method", why="Empty for every method; GET includes HEAD.")
    ] = ()
    pool: Annotated[str | None, Setting(form="name", why="Who answers.")] = None
    data_class: Annotated[
        str | None, Setting(form="name", why="The class whose lifetimes the answers have.")
    ] = None
    redirect: Annotated[Redirect | None, Setting(why="Answer with a redirect.")] = None
    rewrite: Annotated[
        str | None,
        Setting(
            form="rewrite",
            why="Path sent to the instance; {name} and {rest} as in the path matched.",
        ),
    ] = None
    static: Annotated[StaticFolder | None, Setting(why="Answer from a folder.")] = None
    cors: Annotated[Cors | None, Setting(why="Let other origins read.")] = None
    headers: Annotated[
        Headers | None,
        Setting(why="Security headers of its answers; keys left out are those of [headers]."),
    ] = None
    body_bytes: Annotated[
        int | None,
        Setting(
            least=1, most=1 << 40, zero="no limit", why="Instead of limits.body, e.g. for uploads."
        ),
    ] = None
    first_byte_seconds: Annotated[
        float | None,
        Setting(
            least=0.01,
            most=86_400,
            zero="none, for event streams and long polls",
            why="Instead of timeouts.first_byte.",
        ),
    ] = None
    affinity: Annotated[
        bool,
        Setting(
            why="Whether the pool's affinity applies; where the class is shared, to what is not "
            "kept: neither GET nor HEAD."
        ),
    ] = True
    accepts: Annotated[
        tuple[str, ...],
        Setting(
            form="media-type",
            why='Types of request bodies; others get 415. ["application/json"] for an API: no form '
            "of another site can send that.",
        ),
    ] = ()
    cookies: Annotated[
        tuple[str, ...],
        Setting(
            form="token",
            why="Cookies that answers of this route may set; others are removed and reported.",
        ),
    ] = ()
    rate_limit: Annotated[str | None, Setting(form="name", why="The limit that applies.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A name of the site; requests to its aliases are redirected to it."""

    name: Annotated[str, Setting(form="host-port", why="The canonical host.")]
    aliases: Annotated[
        tuple[str, ...], Setting(form="host-pattern", why="Hosts that redirect here (308).")
    ] = ()
    https: Annotated[
        bool, Setting(why="Whether redirects to it, and from plain HTTP, go to https://.")
    ] = False
