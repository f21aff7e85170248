"""Contradictions among routes and hosts: what answers, what is matched twice or never reached."""

from __future__ import annotations

import re
from collections.abc import Iterator

from poruwa.config.model import DataClass, Dimension, Policy, Route, Scope
from poruwa.config.positions import Path
from poruwa.config.problems import Findings, nearest
from poruwa.units import format_duration

_SAFE_METHODS = frozenset({"GET", "HEAD"})
_REDIRECT_NAMES = frozenset({"path", "query", "host"})


def check_routes(policy: Policy, findings: Findings) -> None:
    """Check hosts, then every route alone, then routes against each other."""
    _check_hosts(policy, findings)
    if not policy.routes:
        findings.refuse(
            ("routes",), 'there is no route, so nothing is answered; write [[routes]] path = "/*"'
        )
    classes = {data_class.name: data_class for data_class in policy.classes}
    for index, route in enumerate(policy.routes):
        path: Path = ("routes", index)
        _check_answer(route, path, findings)
        _check_names(policy, route, path, findings)
        _check_templates(route, path, findings)
        _check_cors(route, path, findings)
        _check_times(policy, route, path, findings)
        data_class = classes.get(route.data_class or "")
        if data_class is not None:
            _check_class(policy, route, data_class, path, findings)
    _check_overlaps(policy, findings)


def _check_hosts(policy: Policy, findings: Findings) -> None:
    owners: dict[str, str] = {}
    for index, host in enumerate(policy.hosts):
        for key, names in (("name", (host.name,)), ("aliases", host.aliases)):
            for name in names:
                owner = owners.setdefault(name.lower(), host.name)
                if owner != host.name or (key == "aliases" and name.lower() == host.name.lower()):
                    findings.refuse(
                        ("hosts", index, key),
                        f'"{name}" is already a name of "{owner}", so it would redirect to itself '
                        "or to two places; leave it out here",
                    )
    aliases = {alias.lower() for host in policy.hosts for alias in host.aliases}
    for index, route in enumerate(policy.routes):
        if route.hosts and all(name.lower() in aliases for name in route.hosts):
            findings.refuse(
                ("routes", index, "hosts"),
                f'is never reached: "{route.hosts[0]}" is an alias, which redirects before routes '
                "are looked at; name the canonical host",
            )


def _check_answer(route: Route, path: Path, findings: Findings) -> None:
    answers = [
        key
        for key, value in (
            ("pool", route.pool),
            ("redirect", route.redirect),
            ("static", route.static),
        )
        if value is not None
    ]
    if not answers:
        findings.refuse(path, f'route "{route.name}" answers nothing; add pool, redirect or static')
    if len(answers) > 1:
        findings.refuse(
            (*path, answers[1]),
            f"the route has {answers[0]} as well, and only one can answer; drop one",
        )
    if route.pool is None:
        for key in ("rewrite", "body", "first_byte", "accepts", "cookies"):
            if findings.positions.is_written((*path, key)):
                findings.refuse(
                    (*path, key), "counts only where a pool answers; drop it, or name a pool"
                )
    if route.static is not None and not set(route.methods) <= _SAFE_METHODS:
        findings.refuse((*path, "methods"), "files answer GET and HEAD only; drop the others")


def _check_names(policy: Policy, route: Route, path: Path, findings: Findings) -> None:
    cookies = {cookie.name for cookie in policy.cookies.named} | {policy.session.cookie}
    references = (
        ("pool", route.pool, {pool.name for pool in policy.pools}),
        ("data_class", route.data_class, {each.name for each in policy.classes}),
        ("rate_limit", route.rate_limit, {limit.name for limit in policy.rate_limits}),
    )
    for key, name, known in references:
        if name is not None and name not in known:
            section = {"pool": "pools", "data_class": "classes", "rate_limit": "rate_limits"}[key]
            findings.refuse((*path, key), f"there is no [{section}.{name}]; {nearest(name, known)}")
    for index, name in enumerate(route.cookies):
        if name not in cookies:
            findings.refuse(
                (*path, "cookies", index),
                f"there is no [cookies.named.{name}]; {nearest(name, cookies)}",
            )
    pools = {pool.name: pool for pool in policy.pools}
    pool = pools.get(route.pool or "")
    written = findings.positions.is_written((*path, "affinity"))
    if written and route.affinity and pool is not None and pool.affinity is None:
        findings.warn((*path, "affinity"), f'pool "{pool.name}" has no affinity to apply')


def _check_templates(route: Route, path: Path, findings: Findings) -> None:
    names = set(re.findall(r"\{([^}]*)\}", route.path))
    if route.path.endswith("/*"):
        if "rest" in names:
            findings.refuse((*path, "path"), "{rest} is what /* takes; name the segment otherwise")
        names.add("rest")
    templates = [("rewrite", route.rewrite, names)]
    if route.redirect is not None:
        templates.append(("redirect", route.redirect.to, names | _REDIRECT_NAMES))
    for key, template, known in templates:
        for name in re.findall(r"\{([^}]*)\}", template or ""):
            if name not in known:
                hint = nearest(name, known)
                findings.refuse((*path, key), f"{{{name}}} is no part of {route.path}; {hint}")
    if route.redirect is not None and _shape(route.redirect.to) == _shape(route.path):
        findings.refuse((*path, "redirect"), "leads to the route itself, round for ever; change it")


def _check_cors(route: Route, path: Path, findings: Findings) -> None:
    cors = route.cors
    if cors is None or "*" not in cors.origins:
        return
    if cors.credentials:
        findings.refuse(
            (*path, "cors", "credentials"),
            "browsers refuse credentials together with the origin *; list the origins",
        )
    if len(cors.origins) > 1:
        findings.refuse((*path, "cors", "origins"), '"*" already allows all; drop it or the others')


def _check_times(policy: Policy, route: Route, path: Path, findings: Findings) -> None:
    connect = policy.timeouts.connect_seconds
    if route.first_byte_seconds and connect > route.first_byte_seconds:
        findings.refuse(
            (*path, "first_byte"),
            f"{format_duration(route.first_byte_seconds)} is shorter than timeouts.connect, "
            f"{format_duration(connect)}; raise it",
        )


def _check_class(
    policy: Policy, route: Route, data_class: DataClass, path: Path, findings: Findings
) -> None:
    if data_class.immutable and route.static is not None and not route.static.fingerprinted:
        findings.refuse(
            (*path, "data_class"),
            f'"{data_class.name}" is immutable, but the files\' names carry no fingerprint; write '
            "static.fingerprinted = true, or choose another class",
        )
    segments = set(re.findall(r"\{([^}]*)\}", route.path))
    for dimension in policy.dimensions:
        missing = _is_only_in_path(dimension) and not (
            dimension.path in segments or route.path.split("/")[1] in dimension.values
        )
        if missing and dimension.name in data_class.dimensions:
            findings.refuse(
                (*path, "path"),
                f'class "{data_class.name}" takes "{dimension.name}" from the segment '
                f"{{{dimension.path}}}, which {route.path} does not have; add it",
            )
    if data_class.scope is Scope.SHARED:
        _check_shared(route, data_class, path, findings)


def _is_only_in_path(dimension: Dimension) -> bool:
    elsewhere = dimension.query or dimension.cookie or dimension.header
    return dimension.path is not None and not elsewhere


def _check_shared(route: Route, data_class: DataClass, path: Path, findings: Findings) -> None:
    shared = f'class "{data_class.name}" is shared'
    if route.cookies:
        findings.refuse(
            (*path, "cookies"),
            f"{shared}: a cookie on a shared response would be handed to everybody; use a private "
            "class, or set the cookie elsewhere",
        )
    if route.methods and not set(route.methods) & _SAFE_METHODS:
        findings.refuse(
            (*path, "data_class"),
            f"{shared}, but the route takes only {', '.join(route.methods)}, whose answers are not "
            "kept; drop the class",
        )
    if route.first_byte_seconds == 0:
        findings.refuse(
            (*path, "first_byte"),
            f"{shared}, and a stream without deadline cannot be kept; drop the class or the line",
        )


def _check_overlaps(policy: Policy, findings: Findings) -> None:
    names: dict[str, int] = {}
    taken: dict[tuple[str, str, str], int] = {}
    for index, route in enumerate(policy.routes):
        first = None
        for what in _claims(route):
            first = taken.setdefault(what, index) if first in {None, index} else first
        if first is not None and first != index:
            other = policy.routes[first]
            line = findings.positions.line_of(("routes", first))
            findings.refuse(
                ("routes", index, "path"),
                f"{route.path} matches what {other.path} on line {line} matches, so this route is "
                "never reached; change path, hosts or methods of one",
            )
        elif route.name in names and findings.positions.is_written(("routes", index, "name")):
            findings.refuse(
                ("routes", index, "name"),
                f'"{route.name}" is taken by route {names[route.name] + 1}; metrics would mix them',
            )
        names.setdefault(route.name, index)


def _claims(route: Route) -> Iterator[tuple[str, str, str]]:
    """Yield the host, path shape and method of everything the route matches at its own rank.

    A route that names a host or method outranks one that leaves it open, so that these two do not
    claim the same.
    """
    methods = set(route.methods)
    if "GET" in methods:
        methods.add("HEAD")
    for host in route.hosts or ("",):
        for method in sorted(methods) or ("",):
            yield _without_port(host.lower()), _shape(route.path), method


def _without_port(host: str) -> str:
    return host if host.startswith("[") else host.partition(":")[0]


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)
