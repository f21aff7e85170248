"""``poruwa config``: check a policy, show what follows from it, write for a front tier."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from poruwa.config.check import Unbuilt, find_unbuilt
from poruwa.config.front_tier import Behind, FrontTier
from poruwa.config.load import Reading, read_policy, read_policy_text
from poruwa.config.model import Policy
from poruwa.config.problems import Problem, format_path
from poruwa.config.render_haproxy import render_haproxy
from poruwa.config.render_nginx import render_nginx
from poruwa.config.show import StalenessBound, dump_policy, policy_tree, staleness_bounds
from poruwa.errors import ConfigError
from poruwa.units import format_duration

_RENDERERS = {"nginx": render_nginx, "haproxy": render_haproxy}

app = typer.Typer(
    name="config",
    help="Check a policy file, show what follows from it, write configurations of front tiers.",
    no_args_is_help=True,
)

PolicyFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The policy file, e.g. src/weddinglk/site.toml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


class Program(StrEnum):
    """Programs a front tier can be written for."""

    NGINX = "nginx"
    HAPROXY = "haproxy"


@app.command()
def check(
    file: PolicyFile,
    as_json: AsJson = False,
    with_secrets: Annotated[
        bool,
        typer.Option(help="Also look every secret up, as the processes of the site will."),
    ] = False,
) -> None:
    """Verify a policy without starting anything: exit code 0 when it can be used, else 1.

    Mistakes and contradictions are refused, each with its line and the remedy. Warnings, and
    settings that this version validates but does not read yet, are listed and refuse nothing.
    """
    reading = _read(file, with_secrets=with_secrets)
    unbuilt = find_unbuilt(reading.policy, reading.positions) if reading.policy else ()
    if as_json:
        _print_json(_check_tree(file, reading, unbuilt))
    else:
        _print_check(file, reading, unbuilt)
    if reading.policy is None:
        raise typer.Exit(1)


@app.command()
def show(file: PolicyFile, as_json: AsJson = False) -> None:
    """Print the whole policy with its defaults, and how stale each class may be seen.

    Secrets are shown by name only. The text is itself a policy file that means the same.
    """
    policy = _usable(file)
    bounds = staleness_bounds(policy)
    if as_json:
        _print_json(
            {"policy": policy_tree(policy), "staleness": [_bound_tree(each) for each in bounds]}
        )
        return
    lines = [f"# {file.name}, resolved. Secrets are named, never shown.", "#"]
    lines += [f"# {line}".rstrip() for line in _bounds_table(bounds)]
    sys.stdout.write("\n".join(lines) + "\n\n" + dump_policy(policy))


@app.command()
def render(
    program: Annotated[Program, typer.Argument(help="What to write for.")],
    file: PolicyFile,
    in_front_of: Annotated[
        Behind, typer.Option(help="The gateway, or straight the pools.")
    ] = Behind.GATEWAY,
    https: Annotated[
        str, typer.Option(metavar="H:P", help="Where TLS and HTTP/2 are spoken; none for nowhere.")
    ] = ":443",
    http: Annotated[
        str,
        typer.Option(
            metavar="H:P", help="Where plain HTTP is redirected to TLS; none for nowhere."
        ),
    ] = ":80",
    certificate: Annotated[
        str, typer.Option(metavar="PEM", help="Certificate and chain; for HAProxy also the key.")
    ] = "/etc/ssl/private/site.pem",
    certificate_key: Annotated[
        str | None, typer.Option(metavar="PEM", help="Private key, where it is a file of its own.")
    ] = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option(metavar="H:P", help="Where a gateway is reached; default: here. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write; default: standard output.")
    ] = None,
) -> None:
    """Write the configuration of a front tier that terminates TLS and HTTP/2."""
    front = FrontTier(
        http=None if http == "none" else http,
        https=None if https == "none" else https,
        certificate=certificate,
        certificate_key=certificate_key,
        in_front_of=in_front_of,
        gateways=tuple(gateway or ()),
    )
    text = _RENDERERS[program](_usable(file), front)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}.") from error


def _read(file: Path, *, with_secrets: bool = False) -> Reading:
    environ = os.environ if with_secrets else None
    text = read_policy_text(file)
    return read_policy(text, str(file), environ=environ, folder=file.resolve().parent)


def _usable(file: Path) -> Policy:
    reading = _read(file)
    if reading.policy is None:
        lines = [problem.render(reading.file_name) for problem in reading.problems]
        raise ConfigError("\n".join(lines))
    return reading.policy


def _print_check(file: Path, reading: Reading, unbuilt: tuple[Unbuilt, ...]) -> None:
    name = reading.file_name
    for problem in reading.problems:
        sys.stdout.write(f"{problem.render(name)}\n")
    for warning in reading.warnings:
        sys.stdout.write(f"{warning.render(name)} (warning)\n")
    if unbuilt:
        sys.stdout.write(f"{file}: valid, but not read by this version yet:\n")
        by_stage = sorted(unbuilt, key=lambda each: each.brings)
        for stage, settings in groupby(by_stage, key=lambda each: each.brings):
            paths = sorted({_section_path(each) for each in settings})
            sys.stdout.write(f"  {stage} brings {', '.join(paths)}\n")
    problems, warnings = len(reading.problems), len(reading.warnings)
    verdict = "refused" if problems else "good"
    counts = [_count(problems, "problem"), _count(warnings, "warning")]
    if unbuilt:
        counts.append(f"{_count(len(unbuilt), 'setting')} not built yet")
    sys.stdout.write(f"{file}: {verdict}: {', '.join(counts)}\n")


def _section_path(unbuilt: Unbuilt) -> str:
    """Name a setting by its section and key, one name for all pools, classes and routes."""
    parts = unbuilt.path
    if parts[0] in {"pools", "classes", "routes", "dimensions", "rate_limits", "sign_in"}:
        return format_path((parts[0], "*", *parts[2:])).replace('"*"', "*")
    return format_path(parts)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _check_tree(file: Path, reading: Reading, unbuilt: tuple[Unbuilt, ...]) -> dict[str, Any]:
    def tree(problem: Problem) -> dict[str, Any]:
        return {"line": problem.line, "key": format_path(problem.path), "text": problem.text}

    return {
        "file": str(file),
        "usable": reading.policy is not None,
        "problems": [tree(each) for each in reading.problems],
        "warnings": [tree(each) for each in reading.warnings],
        "not_built": [
            {"line": each.line, "key": format_path(each.path), "brings": each.brings}
            for each in unbuilt
        ],
    }


def _bound_tree(bound: StalenessBound) -> dict[str, Any]:
    return {
        "class": bound.data_class,
        "scope": bound.scope,
        "tagged": bound.tagged,
        "after_change_seconds": bound.after_change_seconds,
        "cdn_seconds": bound.cdn_seconds,
        "browser_seconds": bound.browser_seconds,
        "without_event_seconds": bound.without_event_seconds,
    }


def _bounds_table(bounds: tuple[StalenessBound, ...]) -> list[str]:
    """Return the table of outer bounds: what may be seen after a write, layer by layer."""
    if not bounds:
        return ["No classes of data: nothing is kept."]
    rows = [("class", "scope", "gateway inwards", "CDN", "browser", "without any event")]
    rows += [
        (
            bound.data_class,
            bound.scope,
            _bound(bound.after_change_seconds, "no tags"),
            _bound(bound.cdn_seconds, "-", suffix=" if a purge fails" if bound.tagged else ""),
            _bound(bound.browser_seconds, "-", zero="asks each time"),
            _bound(bound.without_event_seconds, "-", zero="never stale"),
        )
        for bound in bounds
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["How long after a change the old may still be seen, at most:", ""]
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    return lines


def _bound(seconds: float | None, none: str, *, zero: str = "0s", suffix: str = "") -> str:
    if seconds is None:
        return none
    return f"{format_duration(seconds)}{suffix}" if seconds else zero


def _print_json(tree: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
