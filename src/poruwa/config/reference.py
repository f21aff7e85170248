"""Writes ``docs/configuration.md``: every setting with its range, default and reason.

``python -m poruwa.config.reference`` writes the page; a test compares it with the model, so that
the two cannot part.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from pathlib import Path

from poruwa.config.fields import Kind, SettingField, fields_of
from poruwa.config.forms import FORMS
from poruwa.config.model import Policy
from poruwa.config.reader import format_range
from poruwa.units import format_duration, format_size

_INTRODUCTION = """\
# The policy file

<!-- Written by `python -m poruwa.config.reference`. Change the model in src/poruwa/config. -->

One TOML file states what a site needs; everything else is derived from it. A small one:

```toml
[listeners.http]
address = ":8000"

[pools.app]
instances = ["app1:3000", "app2:3000"]

[[routes]]
path = "/*"
pool = "app"
```

```
poruwa config check site.toml     # refuses what is wrong: place, reason, remedy
poruwa config show site.toml      # all settings, and how stale each class may be
poruwa config render haproxy site.toml --certificate site.pem     # or nginx: a front tier with TLS
```

**How values are written.** Durations are text with a unit: `500ms`, `30s`, `5min`, `1h`, `30d`,
`1w`, `1y`. Sizes are too: `512B`, `64KiB`, `10MiB`, `1GB`. Secrets are never in the file: write
`"env:NAME"` for an environment variable or `"file:PATH"` for a file. File names are relative to the
policy file. `false` switches a setting off that has a default and says "or false".

**Strict.** An unknown key is refused and the nearest known one named; so are values out of range,
and settings that contradict each other. All mistakes are reported in one run.

**Not built yet.** The whole schema is checked from the start. A setting marked ○ is validated, and
read once the stage named below its table is done; `config check` lists those that a file uses.
"""


def render_reference() -> str:
    """Return the page."""
    sections = list(_sections(Policy, ""))
    lines = [_INTRODUCTION, "## Sections", ""]
    lines += [f"- [`{title}`](#{_anchor(title)}): {why}" for title, why, _ in sections]
    for title, why, field_lines in sections:
        lines += ["", f"## `{title}`", "", why, "", *field_lines]
    return "\n".join(lines).rstrip() + "\n"


def _sections(section: type, name: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield header, purpose and table of every section, those within others after them."""
    for field in fields_of(section):
        if field.kind not in {Kind.SECTION, Kind.SECTIONS}:
            continue
        key = f"{name}.{field.key}" if name else field.key
        title, inner = f"[{key}]", key
        if field.kind is Kind.SECTIONS:
            inner = f"{key}.NAME" if field.setting.keyed else key
            title = f"[{inner}]" if field.setting.keyed else f"[[{key}]]"
        purpose = " ".join((inspect.getdoc(field.type) or field.setting.why).split())
        purpose = purpose.replace("``", "`")
        rows = list(_table(field.type, keyed=field.setting.keyed))
        if rows:
            yield title, purpose, rows
        yield from _sections(field.type, inner)


def _table(section: type, *, keyed: bool) -> Iterator[str]:
    fields = [
        field
        for field in fields_of(section)
        if field.kind not in {Kind.SECTION, Kind.SECTIONS} and not (keyed and field.key == "name")
    ]
    if not fields:
        return
    yield "| key | value | default | why |"
    yield "|---|---|---|---|"
    for field in fields:
        mark = "" if field.setting.built else " ○"
        cells = (_value(field), _default(field), field.setting.why)
        yield f"| `{field.key}`{mark} | " + " | ".join(map(_cell, cells)) + " |"
    stages: dict[str, list[str]] = {}
    for field in fields:
        if field.setting.brings:
            stages.setdefault(field.setting.brings, []).append(f"`{field.key}`")
        for value, stage in field.setting.brings_values:
            stages.setdefault(stage, []).append(f"`{field.key}` = `{value}`")
    for stage, keys in stages.items():
        yield ""
        yield f"○ {', '.join(keys)}: {stage}."


def _value(field: SettingField) -> str:
    text = _kind(field)
    if field.is_list:
        text = f"list of: {text}"
    if field.can_be_switched_off:
        text += "; or false"
    return text


def _kind(field: SettingField) -> str:
    bounds = format_range(field)
    if field.kind is Kind.CHOICE:
        members = field.type
        return ", ".join(f"`{member.value}`" for member in members)  # type: ignore[attr-defined]
    if field.kind is Kind.SWITCH:
        return "true or false"
    if field.kind is Kind.SECRET:
        return "`env:NAME` or `file:PATH`"
    if field.kind is Kind.STATUS:
        redirects = field.setting.form == "redirect-status"
        return "301, 302, 303, 307 or 308" if redirects else '100 to 999, or a class: "2xx"'
    if field.kind is Kind.TEXT:
        return FORMS[field.setting.form].allowed
    return f"{field.kind.value}, {bounds}" if bounds else field.kind.value


def _default(field: SettingField) -> str:
    if field.is_required:
        return "*required*"
    default = field.default
    if default in (None, (), ""):
        return "-"
    if field.is_list:
        return ", ".join(f"`{each}`" for each in default)
    if field.kind is Kind.DURATION:
        return f"`{format_duration(default)}`"
    if field.kind is Kind.SIZE:
        return f"`{format_size(default)}`"
    if field.kind is Kind.SWITCH:
        return "`true`" if default else "`false`"
    return f"`{default}`"


def _cell(text: str) -> str:
    """Escape what would end a cell or read as a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _anchor(title: str) -> str:
    """Return the name GitHub gives the heading ``title``."""
    kept = (char for char in title.lower() if char.isalnum() or char in "-_ ")
    return "".join(kept).replace(" ", "-")


def main() -> None:
    """Write the page where ``docs`` is: in the working directory, or where the argument says."""
    parser = argparse.ArgumentParser(
        prog="python -m poruwa.config.reference", description="Write the page of all settings."
    )
    parser.add_argument(
        "path", nargs="?", type=Path, default=Path("docs/configuration.md"), help="where to write"
    )
    path: Path = parser.parse_args().path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
