"""What a policy's values say together: contradictions are refused, doubtful things noted (G1).

Each value was checked alone by the reader. Nothing is opened, resolved or connected to. The rules
live in the ``check_*`` modules beside this one, one per part of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from poruwa.config.check_classes import check_classes
from poruwa.config.check_pools import check_gateway, check_pools
from poruwa.config.check_routes import check_routes
from poruwa.config.check_security import check_security
from poruwa.config.check_stores import check_stores
from poruwa.config.fields import Kind, fields_of
from poruwa.config.model import Policy
from poruwa.config.positions import Path, Positions
from poruwa.config.problems import Findings

_CHECKS = (check_gateway, check_pools, check_routes, check_classes, check_security, check_stores)


def find_contradictions(policy: Policy, findings: Findings) -> None:
    """Note in ``findings`` everything in which ``policy`` contradicts itself."""
    for check in _CHECKS:
        check(policy, findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbuilt:
    """A setting that the file states and no code reads yet, or not with this value."""

    path: Path
    line: int
    brings: str


def find_unbuilt(policy: Policy, positions: Positions) -> tuple[Unbuilt, ...]:
    """Return the settings that the file states and that this version only validates."""
    found = _unbuilt_in(policy, (), positions)
    return tuple(sorted(found, key=lambda each: each.line))


def _unbuilt_in(section: Any, path: Path, positions: Positions) -> Iterator[Unbuilt]:
    type_: type = type(section)
    for field in fields_of(type_):
        here = (*path, field.key)
        if not positions.is_written(here):
            continue
        value = getattr(section, field.attribute)
        if stage := field.setting.stage_of(value):
            yield Unbuilt(path=here, line=positions.line_of(here), brings=stage)
        elif field.kind is Kind.SECTION and value is not None:
            yield from _unbuilt_in(value, here, positions)
        elif field.kind is Kind.SECTIONS:
            for index, element in enumerate(value):
                part = element.name if field.setting.keyed else index
                yield from _unbuilt_in(element, (*here, part), positions)
