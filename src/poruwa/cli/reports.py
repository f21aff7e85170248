"""``poruwa reports``: what browsers reported of the site's pages, grouped."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from poruwa.cli.target import DEFAULT_STATE, AsJson, StateFolder
from poruwa.errors import ConfigError, StackError
from poruwa.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poruwa.observe.report_store import StoredReport
    from poruwa.rules.violation_report import ViolationReport

MAX_PAGES = 5  # of a group, the newest


@dataclass(slots=True)
class Group:
    """Reports alike but for the page. ``newest`` and ``oldest`` are Unix times."""

    report: ViolationReport
    newest: float
    oldest: float
    count: int = 0
    pages: dict[str, None] = field(default_factory=dict)  # the newest last

    def tree(self) -> dict[str, Any]:
        """Return it for programs."""
        facts = self.report
        return {
            "count": self.count,
            "newest": _text(self.newest),
            "oldest": _text(self.oldest),
            "kind": facts.kind,
            "directive": facts.directive,
            "blocked": facts.blocked,
            "source": facts.source,
            "disposition": facts.disposition,
            "sample": facts.sample,
            "pages": list(reversed(self.pages))[:MAX_PAGES],
            "page_count": len(self.pages),
        }


def reports(
    state: StateFolder = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only of the last e.g. 30min, 2h, 7d.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what browsers reported of the site's pages: violated policies, crashes, deprecations.

    Reports alike are one entry with their number; the most frequent come first. Anybody can send
    a report: what only one page or a browser extension causes says nothing of the site.
    """
    from poruwa.observe.report_store import FOLDER, read_reports

    folder = state or DEFAULT_STATE
    if not folder.is_dir():
        raise StackError(f"There is no state folder {folder}. Name the stack's with --state.")
    try:
        start = 0.0 if since is None else time.time() - parse_duration(since)
    except ValueError as error:
        raise ConfigError(f"--since: {error}") from None
    try:
        groups = grouped(each for each in read_reports(folder / FOLDER) if each.at >= start)
    except OSError as error:
        raise StackError(f"{folder / FOLDER} cannot be read: {error.strerror}.") from error
    if as_json:
        tree = [group.tree() for group in groups]
        typer.echo(msgspec.json.format(msgspec.json.encode(tree), indent=2))
    elif groups:
        typer.echo("\n".join(line for group in groups for line in lines(group)))
    else:
        typer.echo("No browser reported anything" + (f" in the last {since}." if since else "."))


def grouped(stored: Iterable[StoredReport]) -> list[Group]:
    """Return groups of reports, given oldest first; the most frequent first."""
    groups: dict[tuple[str, ...], Group] = {}
    for each in stored:
        facts = each.report
        key = (facts.kind, facts.directive, facts.blocked, facts.source, facts.disposition)
        group = groups.get(key)
        if group is None:
            groups[key] = group = Group(facts, each.at, each.at)
        group.count += each.count
        group.oldest = min(group.oldest, each.at)
        if each.at >= group.newest:
            group.newest, group.report = each.at, facts
        group.pages.pop(facts.page, None)
        group.pages[facts.page] = None
    return sorted(groups.values(), key=lambda group: (-group.count, -group.newest))


def lines(group: Group) -> list[str]:
    """Return a group for people."""
    facts, pages = group.report, list(group.pages)
    what = " ".join(word for word in (facts.kind, facts.directive) if word)
    if facts.blocked:
        what += f": {facts.blocked}"
    if facts.disposition:
        what += f" ({'blocked' if facts.disposition == 'enforce' else 'only reported'})"
    said = [f"{group.count:>7,}  {_text(group.newest)}  {what}"]
    indent = " " * 11
    more = f" and {len(pages) - 1} more" if len(pages) > 1 else ""
    said.append(f"{indent}on {pages[-1] or 'an unnamed page'}{more}")
    if facts.source:
        said.append(f"{indent}by {facts.source}")
    if facts.sample:
        said.append(f"{indent}{facts.sample}")
    return said


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
