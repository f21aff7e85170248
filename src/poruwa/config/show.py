"""The whole policy as it came to be: defaults filled in, secrets hidden, and what follows from it.

What ``dump_policy`` writes can be read again as a policy file and means the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from poruwa.config.check_classes import HTTP_LAYERS, LAYERS, lifetime_of
from poruwa.config.fields import Kind, SettingField, fields_of
from poruwa.config.model import CdnProvider, DataClass, Instance, Policy, Route, Scope
from poruwa.units import format_duration, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessBound:
    """How old what somebody sees may be, per class. Seconds; None where it does not apply.

    ``after_change`` bounds the gateway and everything behind it after a write, for tagged classes;
    ``cdn`` and ``browser`` what may still be seen outside, ``without_event`` the age of what no
    event reported: of a change outside the platform, or of a class without tags.
    """

    data_class: str
    scope: str
    tagged: bool
    after_change_seconds: float | None
    cdn_seconds: float | None
    browser_seconds: float | None
    without_event_seconds: float


def staleness_bounds(policy: Policy) -> tuple[StalenessBound, ...]:
    """Return the bounds of every class, in the order of the policy."""
    return tuple(_bound_of(policy, data_class) for data_class in policy.classes)


def dump_policy(policy: Policy) -> str:
    """Return ``policy`` as TOML, every setting stated."""
    return "\n".join(_section_lines(policy, "", header="")).strip() + "\n"


def policy_tree(policy: Policy) -> dict[str, Any]:
    """Return ``policy`` as plain values for JSON: keys and spellings of the policy file."""
    return _tree(policy)


def _bound_of(policy: Policy, data_class: DataClass) -> StalenessBound:
    kept = {layer: lifetime_of(data_class, layer) or 0.0 for layer in LAYERS}
    # HTTP caches pass Age on, so that their lives do not add up; those of the app do.
    http = max(kept[layer] for layer in HTTP_LAYERS)
    app = sum(kept[layer] for layer in LAYERS if layer not in HTTP_LAYERS)
    tagged = bool(data_class.tags)
    is_shared = data_class.scope is Scope.SHARED
    has_cdn = is_shared and policy.cdn.provider is not CdnProvider.NONE
    return StalenessBound(
        data_class=data_class.name,
        scope=str(data_class.scope),
        tagged=tagged,
        after_change_seconds=policy.stores.coherence.lease_seconds if tagged else None,
        cdn_seconds=kept["cdn"] if has_cdn else None,
        browser_seconds=kept["browser"] if data_class.scope is not Scope.NONE else None,
        without_event_seconds=http + app + data_class.stale_while_revalidate_seconds,
    )


def _section_lines(section: Any, name: str, *, header: str) -> Iterator[str]:
    """Yield plain values first, then tables: TOML knows no way back out of a table."""
    if header:
        yield ""
        yield header
    tables: list[tuple[SettingField, Any]] = []
    section_type: type = type(section)
    for field in fields_of(section_type):
        value = getattr(section, field.attribute)
        if field.key == "name" and _is_evident(section, value, header):
            continue
        if value is None:
            if field.can_be_switched_off:
                yield f"{field.key} = false"
        elif field.kind in {Kind.SECTION, Kind.SECTIONS}:
            tables.append((field, value))
        else:
            yield f"{field.key} = {_value_text(field, value)}"
    for field, value in tables:
        key = f"{name}.{field.key}" if name else field.key
        if field.kind is Kind.SECTION:
            yield from _section_lines(value, key, header=f"[{key}]")
        elif field.setting.keyed:
            for each in value:
                inner = f"{key}.{_key_text(each.name)}"
                yield from _section_lines(each, inner, header=f"[{inner}]")
        else:
            for each in value:
                yield from _section_lines(each, key, header=f"[[{key}]]")


def _is_evident(section: Any, name: object, header: str) -> bool:
    """Whether the name follows from the header, or from what the section is named after."""
    if isinstance(section, Instance):
        return name == section.address
    if isinstance(section, Route):
        return name == section.path
    return not header.startswith("[[") and header.endswith(f".{_key_text(str(name))}]")


def _key_text(name: str) -> str:
    bare = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    return name if bare else json.dumps(name, ensure_ascii=False)


def _value_text(field: SettingField, value: Any) -> str:
    if field.is_list:
        return "[" + ", ".join(json.dumps(_plain(field, each)) for each in value) + "]"
    return json.dumps(_plain(field, value), ensure_ascii=False)


def _plain(field: SettingField, value: Any) -> Any:
    if field.kind is Kind.DURATION:
        return format_duration(value)
    if field.kind is Kind.SIZE:
        return format_size(value)
    if field.kind is Kind.SECRET:
        return value.source
    return value


def _tree(section: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    section_type: type = type(section)
    for field in fields_of(section_type):
        value = getattr(section, field.attribute)
        if value is None:
            tree[field.key] = None
        elif field.kind is Kind.SECTION:
            tree[field.key] = _tree(value)
        elif field.kind is Kind.SECTIONS:
            trees = [_tree(each) for each in value]
            keyed = field.setting.keyed
            tree[field.key] = {each["name"]: each for each in trees} if keyed else trees
        elif field.is_list:
            tree[field.key] = [_plain(field, each) for each in value]
        else:
            tree[field.key] = _plain(field, value)
    return tree
