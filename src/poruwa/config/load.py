"""From a policy file, and the environment for secrets, to a ``Policy``.

Everything that is wrong is reported together, each with its line. What the values mean together is
checked in ``check``.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poruwa.config.check import find_contradictions
from poruwa.config.fields import fields_of
from poruwa.config.model import DiscoveryKind, Headers, Instance, Policy, Pool, Route
from poruwa.config.model_security import NO_HEADERS
from poruwa.config.positions import Positions, find_positions
from poruwa.config.problems import Findings, Problem
from poruwa.config.reader import Reader
from poruwa.errors import ConfigError

# Bounds what a mistaken path (a log, a database) may cost.
_LARGEST_POLICY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of a policy text. ``policy`` is None where it cannot be used."""

    file_name: str
    policy: Policy | None
    positions: Positions
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def load_policy(path: Path, *, environ: Mapping[str, str]) -> Policy:
    """Return the policy that the file at ``path`` states, secrets resolved.

    Args:
        path: the TOML file; relative file names in it start at its folder.
        environ: where ``env:`` secrets are looked up.

    Raises:
        ConfigError: it cannot be used; the message has one line per problem.
    """
    return parse_policy(
        read_policy_text(path), path.name, environ=environ, folder=path.resolve().parent
    )


def parse_policy(
    text: str, name: str, *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Policy:
    """Return the policy that ``text`` states.

    Args:
        text: TOML.
        name: what messages call the text, e.g. ``site.toml``.
        environ: where ``env:`` secrets are looked up; None leaves all secrets unresolved.
        folder: where relative file names start; None leaves them as written.

    Raises:
        ConfigError: it cannot be used; the message has one line per problem.
    """
    reading = read_policy(text, name, environ=environ, folder=folder)
    if reading.policy is None:
        raise ConfigError("\n".join(problem.render(name) for problem in reading.problems))
    return reading.policy


def read_policy(
    text: str, name: str, *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Reading:
    """Return the policy that ``text`` states together with everything found on the way.

    Raises nothing for a bad policy: ``problems`` tells. Arguments as for ``parse_policy``.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _unreadable(name, error)
    findings = Findings(find_positions(text))
    reader = Reader(findings, environ, folder)
    policy = reader.section(Policy, document, ())
    if policy is not None:
        policy = _with_file_sources(_with_names(policy), folder)
        policy = _with_inherited_headers(policy, document)
        contradictions = Findings(findings.positions)
        if not reader.dropped:
            find_contradictions(policy, contradictions)
        unread = {problem.path[:2] for problem in findings.problems}
        findings.problems += [
            problem for problem in contradictions.problems if problem.path[:2] not in unread
        ]
        findings.warnings += contradictions.warnings
    return Reading(
        file_name=name,
        policy=None if findings.problems else policy,
        positions=findings.positions,
        problems=_in_order(findings.problems),
        warnings=_in_order(findings.warnings),
    )


def read_policy_text(path: Path) -> str:
    """Return the text of the file at ``path``.

    Raises:
        ConfigError: it is missing, unreadable, huge or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_POLICY_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the policy file cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_POLICY_BYTES:
        raise ConfigError(f"{path}: is over 4 MiB, so probably not a policy file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}:{line}: is not UTF-8; save the file as UTF-8") from error


def default_policy(
    *,
    listen: str = "127.0.0.1:8000",
    upstreams: tuple[str, ...],
    workers: int = 0,
    admin: str | None = None,
) -> Policy:
    """Return the policy of a gateway started without a file: every request to one pool.

    Args:
        listen, admin: addresses; ``admin`` None for no admin listener.
        upstreams: addresses of the instances, at least one.
        workers: worker processes; 0 for one per core.

    Raises:
        ConfigError: an address that is none, one named twice, or no upstream.
    """
    text = _DEFAULT_POLICY.format(
        listen=_quote(listen),
        upstreams=", ".join(_quote(upstream) for upstream in upstreams),
        workers=int(workers),
        admin=f"address = {_quote(admin)}" if admin else "",
    )
    reading = read_policy(text, "command line")
    if reading.policy is None:
        raise ConfigError("\n".join(f"command line: {each.text}" for each in reading.problems))
    policy = dataclasses.replace(reading.policy, headers=NO_HEADERS)
    if admin is None:
        without_admin = dataclasses.replace(policy.admin, address=None)
        return dataclasses.replace(policy, admin=without_admin)
    return policy


# A TCP check, since nothing is known of the paths an instance has.
_DEFAULT_POLICY = """
[listeners.http]
address = {listen}
[admin]
{admin}
[gateway]
workers = {workers}
guard = false
[pools.default]
instances = [{upstreams}]
health.kind = "tcp"
health.interval = "5s"
health.timeout = "2s"
[[routes]]
name = "default"
path = "/*"
pool = "default"
"""


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", "?", escaped) + '"'


def _with_names(policy: Policy) -> Policy:
    """Give routes and instances that state no name the one that follows from them."""

    def named_route(route: Route) -> Route:
        return route if route.name else dataclasses.replace(route, name=route.path)

    def named_instance(instance: Instance) -> Instance:
        return instance if instance.name else dataclasses.replace(instance, name=instance.address)

    def named_pool(pool: Pool) -> Pool:
        return dataclasses.replace(pool, instances=tuple(map(named_instance, pool.instances)))

    return dataclasses.replace(
        policy,
        routes=tuple(map(named_route, policy.routes)),
        pools=tuple(map(named_pool, policy.pools)),
    )


def _with_inherited_headers(policy: Policy, document: Mapping[str, Any]) -> Policy:
    """Give the headers of routes those keys of the policy's that they leave out."""
    tables = document.get("routes", ())
    if len(tables) != len(policy.routes):
        return policy  # some could not be read; the policy is not used
    site = policy.headers

    def whole(route: Route, table: Mapping[str, Any]) -> Route:
        own = route.headers
        if own is None:
            return route
        written = table["headers"]
        inherited = {
            each.attribute: getattr(site, each.attribute)
            for each in fields_of(Headers)
            if each.key not in written
        }
        return dataclasses.replace(route, headers=dataclasses.replace(own, **inherited))

    return dataclasses.replace(policy, routes=tuple(map(whole, policy.routes, tables)))


def _with_file_sources(policy: Policy, folder: Path | None) -> Policy:
    """Let files of instances start at ``folder``; whether a source is a file, its kind tells."""

    def placed(pool: Pool) -> Pool:
        section = pool.discovery
        if folder is None or section is None or section.kind is not DiscoveryKind.FILE:
            return pool
        found = dataclasses.replace(section, source=str(folder / section.source))
        return dataclasses.replace(pool, discovery=found)

    return dataclasses.replace(policy, pools=tuple(map(placed, policy.pools)))


def _unreadable(name: str, error: tomllib.TOMLDecodeError) -> Reading:
    match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    line = int(match[1]) if match else 1
    where = f" (column {match[2]})" if match else ""
    text = re.sub(r" \(at [^)]*\)", "", str(error))
    problem = Problem(path=("TOML",), line=line, text=f"{text}{where}; the text is not valid TOML")
    return Reading(
        file_name=name,
        policy=None,
        positions=Positions({}),
        problems=(problem,),
        warnings=(),
    )


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))
