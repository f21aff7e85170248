"""What the sections of the model consist of, as seen from a policy file.

One description per field, read from the annotations; the reader, the writer of the documentation
and ``config show`` work from it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from poruwa.config.setting import Secret, Setting


class Kind(Enum):
    """How a field's value is written in the file."""

    SECTION = "table"
    SECTIONS = "tables"
    DURATION = "duration"
    SIZE = "size"
    INTEGER = "whole number"
    NUMBER = "number"
    SWITCH = "true or false"
    CHOICE = "choice"
    SECRET = "secret"  # noqa: S105
    TEXT = "text"
    STATUS = "status"


#: What tables that are made of a plain text need: ``instances = ["app1:3000"]``.
SHORT_FORM_KEY = "address"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingField:
    """One field: ``attribute`` in the model, ``key`` in the file."""

    attribute: str
    key: str
    kind: Kind
    type: type  # of one element for lists
    is_list: bool
    is_optional: bool
    is_required: bool
    setting: Setting
    default: Any

    @property
    def can_be_switched_off(self) -> bool:
        """Whether ``false`` in the file takes away what there is by default."""
        return self.is_optional and self.default is not None


@cache
def fields_of(section: type) -> tuple[SettingField, ...]:
    """Return the fields of a section of the model, in order."""
    hints = typing.get_type_hints(section, include_extras=True)
    return tuple(_describe(field, hints[field.name]) for field in dataclasses.fields(section))


def is_section(type_: type) -> bool:
    """Whether ``type_`` is a section of the model and not a plain value."""
    return dataclasses.is_dataclass(type_)


def _describe(field: dataclasses.Field[Any], hint: Any) -> SettingField:
    annotated, setting = typing.get_args(hint)
    plain, is_optional = _without_none(annotated)
    is_list = typing.get_origin(plain) is tuple
    element = typing.get_args(plain)[0] if is_list else plain
    if is_list and typing.get_origin(element) in (types.UnionType, typing.Union):
        element = int  # status lists: numbers or "2xx"
    is_required = (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    return SettingField(
        attribute=field.name,
        key=field.name.removesuffix("_seconds").removesuffix("_bytes"),
        kind=_kind_of(field.name, element, is_list=is_list, form=setting.form),
        type=element,
        is_list=is_list,
        is_optional=is_optional,
        is_required=is_required,
        setting=setting,
        default=None if is_required else _default_of(field),
    )


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) < len(typing.get_args(hint)):
            assert len(rest) == 1, hint
            return rest[0], True
    return hint, False


def _kind_of(name: str, element: type, *, is_list: bool, form: str) -> Kind:
    if is_section(element):
        return Kind.SECTIONS if is_list else Kind.SECTION
    if form in {"status", "redirect-status"}:
        return Kind.STATUS
    if element is Secret:
        return Kind.SECRET
    if issubclass(element, Enum):
        return Kind.CHOICE
    if name.endswith("_seconds"):
        return Kind.DURATION
    if name.endswith("_bytes"):
        return Kind.SIZE
    return {bool: Kind.SWITCH, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.TEXT}[element]
