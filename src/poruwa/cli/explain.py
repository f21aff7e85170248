"""``poruwa explain URL``: which instance would answer now, and why this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from poruwa.cli.target import TOKEN_VARIABLE, AdminAddress, AsJson, StateFolder, find_gateway
from poruwa.errors import ConfigError


def explain(
    url: Annotated[str, typer.Argument(metavar="URL", help="Absolute, or a path.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="Of the request.")] = "GET",
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME: VALUE", help="A request header, e.g. a Cookie. Repeatable."),
    ] = None,
    client: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Who asks; hash methods go by it.")
    ] = "127.0.0.1",
    state: StateFolder = None,
    admin: AdminAddress = None,
    as_json: AsJson = False,
) -> None:
    """Tell which instance would answer a request now, and why; nothing is sent to it.

    Shows the route, what guard and limit do, the affinity cookie's word, every instance with its
    load, and who is down, ejected or draining for which reason.
    """
    from poruwa.stack.admin_client import send_command

    answer = asyncio.run(
        send_command(
            find_gateway(state, admin),
            "explain",
            {"url": url, "method": method, "headers": _headers(header or ()), "client": client},
            token=os.environ.get(TOKEN_VARIABLE),
        )
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        typer.echo("\n".join(_lines(answer)))


def _headers(texts: Sequence[str]) -> dict[str, str]:
    """Return headers by lower-case name; of a name given twice the last.

    Raises:
        ConfigError: a text without a colon.
    """
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header {text!r}: write NAME: VALUE.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _cache_lines(cache: dict[str, Any]) -> list[str]:
    """Return what the workers' caches have of the URL."""
    if not cache["rule"]:
        return ["  cache      not cached: the route has no shared class"]
    lines = []
    for row in cache.get("silent", ()):
        lines.append(f"  cache      worker {row} did not answer, and shows no life")
    for view in cache["workers"]:
        beginning = f"  cache      worker {view['worker']}, {cache['rule']}:"
        if view.get("lease_age_seconds") is not None or not view.get("is_sure", True):
            age = view["lease_age_seconds"]
            lease = "no lease yet" if age is None else f"lease renewed {age:.3f} s ago"
            word = "sure" if view["is_sure"] else "UNSURE: it may have missed a change"
            lines.append(f"{beginning} position {view['position']}, {lease}, {word}")
        outlook = view.get("outlook")
        if outlook is not None:
            copy = f" ({outlook['variant']})" if outlook["variant"] else ""
            lines.append(f"{beginning} this request: {outlook['outcome']}{copy}: {outlook['why']}")
        if view["filling_seconds"] is not None:
            lines.append(f"{beginning} being fetched, for {view['filling_seconds']:g} s")
        elif view["is_passed"]:
            lines.append(f"{beginning} passed: its answers were not for all a moment ago")
        elif not view["copies"]:
            lines.append(f"{beginning} a miss: nothing is stored of it")
        for copy in view["copies"]:
            word = "a hit" if copy["ttl_seconds"] > 0 else "stale"
            variant = f" ({copy['variant']})" if copy["variant"] else ""
            lines.append(
                f"{beginning} {word}{variant}, status {copy['status']},"
                f" ttl {copy['ttl_seconds']} s, age {copy['age_seconds']} s,"
                f" position {copy['as_of']} of {view['position']},"
                f" tags {', '.join(copy['tags']) or 'none'}"
            )
    return lines


def _gate_lines(answer: dict[str, Any]) -> list[str]:
    """Return what the request meets before the cache: guard, limit."""
    lines = []
    guard = answer.get("guard")
    if guard is None:
        lines.append("  guard      off (gateway.guard)")
    elif guard["status"] is not None:
        lines.append(f"  guard      refused with {guard['status']}: {guard['why']}")
    else:
        lines.append(f"  guard      passed: {guard['why']}")
    limit = answer.get("limit")
    if limit is not None:
        lines.append(
            f"  limit      {limit['name']}: {limit['requests']} in {limit['window']},"
            f" {limit['burst']} at once, {limit['per']}; counted {limit['counted']}"
        )
    if answer.get("cookies"):
        lines.append(f"  cookies    answers may set {', '.join(answer['cookies'])}")
    return lines


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [f"{answer['method']} {answer['url']}", f"  route      {answer['route'] or 'none'}"]
    lines += _gate_lines(answer)
    if "pool" not in answer:
        return [*lines, f"  answer     {answer['why']}"]
    lines += _cache_lines(answer["cache"])
    lines.append(f"  pool       {answer['pool']}, {answer['balancing']}")
    if answer["panic"]:
        lines.append("  panic      too few instances are well: health is ignored")
    lines.append(f"  affinity   {answer['affinity_cookie']}")
    lines.append(f"  instance   {answer['instance'] or 'none'}: {answer['why']}")
    if answer["hedge_after_seconds"] is not None:
        lines.append(
            f"  late       hedged after {answer['hedge_after_seconds'] * 1000:.0f} ms,"
            f" tried elsewhere after {answer['try_timeout_seconds'] * 1000:.0f} ms"
        )
    for each in answer["candidates"]:
        mark = "*" if each["instance"] == answer["instance"] else " "
        facts = [f"in flight {each['in_flight']}", f"weight {each['weight']}"]
        facts += [
            f"{word} {each[key]:g}"
            for key, word in (
                ("slowness", "slowness"),
                ("latency_ratio", "latency x"),
                ("capacity", "capacity"),
            )
            if each[key] is not None and each[key] != 1
        ]
        lines.append(f"  {mark} {each['instance']}  {each['reason']}  {', '.join(facts)}")
    return lines
