"""Contradictions within classes of data: lifetimes of layers against each other, tags, strategies.

An HTTP layer (browser, CDN, gateway) promises that what it serves as fresh is no older than its
lifetime. Without tags nothing tells an inner layer of a change, so that only a shorter life of the
inner layers keeps that promise; with tags the change itself does.
"""

from __future__ import annotations

import re

from poruwa.config.model import (
    CdnProvider,
    DataClass,
    Dimension,
    Policy,
    Scope,
    StoreMode,
    Strategy,
    Unsure,
)
from poruwa.config.positions import Path
from poruwa.config.problems import Findings, nearest
from poruwa.units import format_duration, format_size

#: From the outside in.
LAYERS = ("browser", "cdn", "gateway", "memory", "application", "query")
HTTP_LAYERS = ("browser", "cdn", "gateway")
# RFC 8246 is for what never changes; a year is what "never" is written as.
_SHORTEST_IMMUTABLE_SECONDS = 30 * 86_400
# More copies of one page than this are hardly ever hit.
_MANY_COPIES = 64
_MANY_PARAMETERS = 12
_TRACKING = re.compile(r"utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|_ga|ref")


def check_classes(policy: Policy, findings: Findings) -> None:
    """Check every class and every dimension."""
    for dimension in policy.dimensions:
        _check_dimension(policy, dimension, findings)
    for data_class in policy.classes:
        path: Path = ("classes", data_class.name)
        _check_scope(policy, data_class, path, findings)
        _check_promises(data_class, path, findings)
        _check_tags(policy, data_class, path, findings)
        _check_stale(data_class, path, findings)
        _check_immutable(data_class, path, findings)
        _check_strategy(policy, data_class, path, findings)
        _check_bookings(data_class, path, findings)
        _check_copies(policy, data_class, path, findings)
        if data_class.largest_bytes > policy.cache.memory_bytes:
            findings.refuse(
                (*path, "largest"),
                f"{format_size(data_class.largest_bytes)} is more than the whole cache.memory, "
                f"{format_size(policy.cache.memory_bytes)}; lower it",
            )


def lifetime_of(data_class: DataClass, layer: str) -> float | None:
    """Return the seconds that ``layer``, one of ``LAYERS``, keeps the class; None for never."""
    seconds: float | None = getattr(data_class.lifetimes, f"{layer}_seconds")
    return seconds


def _check_scope(policy: Policy, data_class: DataClass, path: Path, findings: Findings) -> None:
    stated = [layer for layer in LAYERS if lifetime_of(data_class, layer) is not None]
    if data_class.scope is Scope.SHARED:
        needed = ["browser", "gateway"]
        if policy.cdn.provider is not CdnProvider.NONE:
            needed.insert(1, "cdn")
        missing = [layer for layer in needed if layer not in stated]
        if missing:
            findings.refuse(
                (*path, "lifetimes"),
                f"a shared class states its lifetimes, or caches guess them (RFC 9111 4.2.2): "
                f"{', '.join(missing)} missing; write lifetimes = {{ "
                + ", ".join(f'{layer} = "..."' for layer in needed)
                + " }",
            )
        return
    for layer in ("cdn", "gateway"):
        if lifetime_of(data_class, layer):
            findings.refuse(
                (*path, "lifetimes", layer),
                f"the class has scope {data_class.scope}, and the {layer} keeps only what "
                'is shared; write scope = "shared", or drop this lifetime',
            )
    if data_class.scope is Scope.NONE and lifetime_of(data_class, "browser"):
        findings.refuse(
            (*path, "lifetimes", "browser"),
            'scope none means no-store, which no browser keeps; write scope = "private"',
        )


def _check_promises(data_class: DataClass, path: Path, findings: Findings) -> None:
    """Refuse an inner layer that outlives what an outer one promises."""
    if data_class.tags or data_class.immutable:
        return
    promised: tuple[str, float] | None = None
    for layer in LAYERS:
        seconds = lifetime_of(data_class, layer)
        if seconds and promised is not None and seconds > promised[1]:
            findings.refuse(
                (*path, "lifetimes", layer),
                f"{format_duration(seconds)} outlives the {format_duration(promised[1])} that the "
                f"{promised[0]} promises, and without tags no change reaches it; shorten it, "
                "or give the class tags",
            )
        if layer in HTTP_LAYERS and seconds and (promised is None or seconds < promised[1]):
            promised = (layer, seconds)


def _check_tags(policy: Policy, data_class: DataClass, path: Path, findings: Findings) -> None:
    browser = lifetime_of(data_class, "browser")
    if data_class.tags and browser and not data_class.browser_staleness_accepted:
        findings.refuse(
            (*path, "lifetimes", "browser"),
            f"{format_duration(browser)} in the browser outlives every change of the tags, "
            'since no purge reaches it; write "0s", or browser_staleness_accepted = true',
        )
    if data_class.browser_staleness_accepted and not (data_class.tags and browser):
        findings.warn(
            (*path, "browser_staleness_accepted"),
            "means nothing here: it is for tagged classes with a browser lifetime",
        )
    has_cdn = policy.cdn.provider is not CdnProvider.NONE and lifetime_of(data_class, "cdn")
    if data_class.tags and has_cdn and policy.cdn.bypass_cookie is None:
        findings.refuse(
            (*path, "lifetimes", "cdn"),
            "a tagged class on a CDN needs cdn.bypass_cookie, or writers would not read their own "
            "writes; set it, or drop this lifetime",
        )


def _check_stale(data_class: DataClass, path: Path, findings: Findings) -> None:
    kept = any(lifetime_of(data_class, layer) for layer in LAYERS)
    for key, seconds in (
        ("stale_while_revalidate", data_class.stale_while_revalidate_seconds),
        ("stale_if_error", data_class.stale_if_error_seconds),
    ):
        if seconds and not kept:
            findings.refuse(
                (*path, key), "no layer keeps this class, so nothing can be stale; add a lifetime"
            )


def _check_immutable(data_class: DataClass, path: Path, findings: Findings) -> None:
    if not data_class.immutable:
        return
    browser = lifetime_of(data_class, "browser") or 0.0
    if browser < _SHORTEST_IMMUTABLE_SECONDS:
        findings.refuse(
            (*path, "immutable"),
            "what never changes may stay in browsers: their lifetime must be 30d or more; raise "
            "lifetimes.browser, or drop immutable",
        )
    if data_class.tags:
        findings.refuse(
            (*path, "tags"), "what never changes has nothing to be told; drop tags or immutable"
        )


def _check_strategy(policy: Policy, data_class: DataClass, path: Path, findings: Findings) -> None:
    strategy = data_class.strategy
    if strategy is Strategy.CACHE_ASIDE:
        if findings.positions.is_written((*path, "flush")):
            findings.warn((*path, "flush"), "counts only with write-behind")
        return
    if not lifetime_of(data_class, "application"):
        findings.refuse(
            (*path, "strategy"),
            f"{strategy} writes to the application layer, which keeps nothing of this class; add "
            "lifetimes.application",
        )
    if strategy is not Strategy.WRITE_BEHIND:
        return
    if not data_class.tags:
        findings.refuse(
            (*path, "strategy"),
            "write-behind tells all layers by tags that something was written; add tags",
        )
    if policy.stores.cache.mode is not StoreMode.EMBEDDED and policy.stores.bus is None:
        findings.refuse(
            (*path, "strategy"),
            "write-behind needs a store that never evicts; add [stores.bus] on servers of its own",
        )


def _check_bookings(data_class: DataClass, path: Path, findings: Findings) -> None:
    is_booking = data_class.bookings or "booking" in data_class.name.lower()
    if not is_booking:
        return
    if data_class.strategy is Strategy.WRITE_BEHIND:
        findings.refuse(
            (*path, "strategy"),
            "a booking is acknowledged once the database has it, never before; write "
            '"write-through" or "cache-aside"',
        )
    if data_class.stale_while_revalidate_seconds:
        findings.refuse(
            (*path, "stale_while_revalidate"), "a booking is never shown stale; drop this line"
        )
    if data_class.unsure is Unsure.SERVE:
        findings.refuse((*path, "unsure"), 'a booking is never guessed; write "ask-origin"')


def _check_copies(policy: Policy, data_class: DataClass, path: Path, findings: Findings) -> None:
    dimensions = {dimension.name: dimension for dimension in policy.dimensions}
    copies = 1
    for index, name in enumerate(data_class.dimensions):
        here = (*path, "dimensions", index)
        dimension = dimensions.get(name)
        if dimension is None:
            findings.refuse(here, f"there is no [dimensions.{name}]; {nearest(name, dimensions)}")
            continue
        copies *= max(1, len(dimension.values))
        on_cdn = policy.cdn.provider is not CdnProvider.NONE and lifetime_of(data_class, "cdn")
        if dimension.cookie is not None and on_cdn:
            findings.refuse(
                here,
                f'"{name}" comes from a cookie, which a CDN does not look at: it would mix the '
                "copies; take it from the path, or drop lifetimes.cdn",
            )
    if copies > _MANY_COPIES:
        findings.warn((*path, "dimensions"), f"make {copies} copies of each thing: few will be hit")
    if len(data_class.query_parameters) > _MANY_PARAMETERS:
        findings.warn(
            (*path, "query_parameters"), "so many make nearly every request a copy of its own"
        )
    for index, name in enumerate(data_class.query_parameters):
        if _TRACKING.fullmatch(name):
            findings.warn(
                (*path, "query_parameters", index),
                f'"{name}" follows visitors and changes no page: every link would be a copy',
            )


def _check_dimension(policy: Policy, dimension: Dimension, findings: Findings) -> None:
    path: Path = ("dimensions", dimension.name)
    if dimension.default not in dimension.values:
        findings.refuse(
            (*path, "default"),
            f'"{dimension.default}" is not among the values; '
            + nearest(dimension.default, dimension.values),
        )
    if not (dimension.path or dimension.query or dimension.cookie or dimension.header):
        findings.refuse(
            path,
            'says not where it is found; write e.g. header = "Accept-Language" or path = "lang"',
        )
    personal = {policy.session.cookie}
    personal |= {pool.affinity.cookie for pool in policy.pools if pool.affinity is not None}
    header = (dimension.header or "").lower()
    if header in {"cookie", "authorization"}:
        findings.refuse(
            (*path, "header"),
            f"{dimension.header} differs for everybody, so nothing would be shared; name a header "
            "with few values",
        )
    elif header == "user-agent":
        findings.warn((*path, "header"), "has thousands of values; most become the default")
    if dimension.cookie in personal:
        findings.refuse(
            (*path, "cookie"),
            f'"{dimension.cookie}" is a personal cookie, never part of a shared key; use another',
        )
