"""From the tables of a TOML text to the sections of the model, every mistake noted with its place.

Strict: an unknown key is refused with the nearest known one, a value of the wrong kind or outside
its range with what is allowed. A field that cannot be read takes its default, so that reading
goes on and one run shows all mistakes; the policy is then not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

from poruwa.config.fields import SHORT_FORM_KEY, Kind, SettingField, fields_of
from poruwa.config.forms import FORMS, check_redirect_status, check_status
from poruwa.config.model_pool import METHOD_SPELLINGS, BalancingMethod
from poruwa.config.positions import Path
from poruwa.config.problems import Findings, nearest
from poruwa.config.secrets import read_secret
from poruwa.units import format_duration, format_size, parse_duration, parse_size

_ABSENT: Any = object()


class Reader:
    """Reads sections. ``folder`` is where relative file names start; None leaves them as written.

    Args:
        findings: takes the mistakes.
        environ: where ``env:`` secrets come from; None leaves all secrets unresolved.
        folder: the folder of the policy file.
    """

    def __init__(
        self, findings: Findings, environ: Mapping[str, str] | None, folder: FilePath | None
    ) -> None:
        self._findings = findings
        self._environ = environ
        self._folder = folder
        #: Whether something was left out altogether, so that references to it may dangle.
        self.dropped = False

    def section(self, type_: type, table: object, path: Path, **given: object) -> Any:
        """Return a ``type_`` made of ``table``, or None where a required field is missing.

        Args:
            given: fields that are known from elsewhere, e.g. the name from the table's own key.
        """
        if not isinstance(table, dict):
            self._refuse(
                path, f"{_show(table)} is not a table; write [{_header(path)}] and its keys"
            )
            return None
        fields = {field.key: field for field in fields_of(type_)}
        for key in table:
            if key in given:
                self._refuse(
                    (*path, key), "the name is already in the table's header; leave it out"
                )
            elif key not in fields:
                self._refuse((*path, key), f"unknown key; {_nearest_key(key, fields)}")
        values: dict[str, object] = dict(given)
        complete = True
        for key, field in fields.items():
            if field.attribute in given:
                continue
            if key in table:
                value = self._field(field, table[key], (*path, key))
                if value is not _ABSENT:
                    values[field.attribute] = value
                    continue
            elif field.is_required:
                self._refuse(path, f'"{key}" is missing; {_allowed(field)}')
            complete = complete and not field.is_required
        if not complete:
            self.dropped = True
            return None
        return type_(**values)

    def _field(self, field: SettingField, value: object, path: Path) -> Any:
        if value is False and field.can_be_switched_off:
            return None
        if field.kind is Kind.SECTIONS:
            if field.setting.keyed:
                return self._keyed_sections(field, value, path)
            return self._sections(field, value, path)
        if field.kind is Kind.SECTION:
            section = self.section(field.type, value, path)
            return _ABSENT if section is None else section
        if field.is_list:
            return self._list(field, value, path)
        return self._scalar(field, value, path)

    def _keyed_sections(self, field: SettingField, value: object, path: Path) -> Any:
        if not isinstance(value, dict):
            self._refuse(path, f"{_show(value)} is not a table; write [{_header(path)}.NAME]")
            return _ABSENT
        form = next(each.setting.form for each in fields_of(field.type) if each.key == "name")
        sections = []
        for name, table in value.items():
            self._check(FORMS[form].check, name, (*path, name))
            section = self.section(field.type, table, (*path, name), name=name)
            if section is not None:
                sections.append(section)
        return self._unless_empty(field, tuple(sections), path, written=value)

    def _sections(self, field: SettingField, value: object, path: Path) -> Any:
        if not isinstance(value, list):
            self._refuse(path, f"{_show(value)} is not a list; write [[{_header(path)}]] tables")
            return _ABSENT
        has_short_form = any(each.key == SHORT_FORM_KEY for each in fields_of(field.type))
        sections = []
        for index, table in enumerate(value):
            if has_short_form and isinstance(table, str):
                table = {SHORT_FORM_KEY: table}
            section = self.section(field.type, table, (*path, index))
            if section is not None:
                sections.append(section)
        return self._unless_empty(field, tuple(sections), path, written=value)

    def _list(self, field: SettingField, value: object, path: Path) -> Any:
        if not isinstance(value, list):
            self._refuse(path, f"{_show(value)} is not a list; write [{_show(value)}]")
            return _ABSENT
        items = (self._scalar(field, item, (*path, index)) for index, item in enumerate(value))
        kept = tuple(item for item in items if item is not _ABSENT)
        for index, item in enumerate(value):
            if item in value[:index]:
                self._refuse((*path, index), f"{_show(item)} is listed twice; leave one out")
        return self._unless_empty(field, kept, path, written=value)

    def _unless_empty(
        self, field: SettingField, values: tuple[Any, ...], path: Path, *, written: object
    ) -> Any:
        if not written and not field.setting.empty:
            self._refuse(path, "is empty; name at least one, or leave the key out for the default")
            return _ABSENT
        return values

    def _scalar(self, field: SettingField, value: object, path: Path) -> Any:
        read = _READERS[field.kind]
        try:
            return read(self, field, value, path)
        except ValueError as error:
            self._refuse(path, str(error))
            return _ABSENT

    def _switch(self, field: SettingField, value: object, path: Path) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{_show(value)} is not a switch; write true or false")
        return value

    def _text(self, field: SettingField, value: object, path: Path) -> str:
        if not isinstance(value, str):
            raise ValueError(
                f'{_show(value)} is not text; write "..." ({FORMS[field.setting.form].allowed})'
            )
        FORMS[field.setting.form].check(value)
        if field.setting.form == "file-path" and self._folder is not None:
            return str(self._folder / value)
        return value

    def _choice(self, field: SettingField, value: object, path: Path) -> object:
        choices = [str(member.value) for member in field.type]  # type: ignore[attr-defined]
        if field.type is BalancingMethod and isinstance(value, str) and value in METHOD_SPELLINGS:
            method = METHOD_SPELLINGS[value]
            self._findings.warn(path, f'"{value}" is read as "{method}", its name here')
            return method
        if not isinstance(value, str) or value not in choices:
            hint = nearest(value, choices) if isinstance(value, str) else ""
            remedy = hint if hint.startswith("did") else f"write one of {', '.join(choices)}"
            raise ValueError(f"{_show(value)} is not one of its values; {remedy}")
        return field.type(value)

    def _duration(self, field: SettingField, value: object, path: Path) -> float:
        return self._quantity(
            field, value, parse_duration, "a duration", "s", "500ms, 30s, 5min, 1h, 30d"
        )

    def _size(self, field: SettingField, value: object, path: Path) -> int:
        return int(
            self._quantity(field, value, parse_size, "a size", "KiB", "512B, 64KiB, 10MiB, 1GiB")
        )

    def _quantity(
        self,
        field: SettingField,
        value: object,
        parse: Callable[[str], float],
        what: str,
        unit: str,
        examples: str,
    ) -> float:
        if value == 0 and not isinstance(value, bool):
            amount = 0.0
        else:
            try:
                amount = parse(value if isinstance(value, str) else "")
            except ValueError:
                number = str(value).strip()
                bare = number.replace(".", "", 1).isdigit()
                remedy = (
                    f'a unit is missing; write e.g. "{number}{unit}"'
                    if bare
                    else f"write e.g. {examples}"
                )
                raise ValueError(f"{_show(value)} is not {what}; {remedy}") from None
        _check_range(field, amount)
        return amount

    def _integer(self, field: SettingField, value: object, path: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{_show(value)} is not a whole number; {_allowed(field)}")
        _check_range(field, value)
        return value

    def _number(self, field: SettingField, value: object, path: Path) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"{_show(value)} is not a number; {_allowed(field)}")
        _check_range(field, value)
        return float(value)

    def _status(self, field: SettingField, value: object, path: Path) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f'{_show(value)} is not a status; write e.g. 200 or "2xx"')
        if field.setting.form == "redirect-status":
            if isinstance(value, str):
                raise ValueError(f"{_show(value)} is text; write the number, e.g. 308")
            check_redirect_status(value)
        else:
            check_status(value)
        return value

    def _secret(self, field: SettingField, value: object, path: Path) -> object:
        secret = read_secret(value, self._environ, self._folder)
        if self._environ is None and not secret.is_resolved:
            return secret
        return secret

    def _check(self, check: Callable[[str], None], text: str, path: Path) -> None:
        try:
            check(text)
        except ValueError as error:
            self._refuse(path, str(error))

    def _refuse(self, path: Path, text: str) -> None:
        self._findings.refuse(path, text)


_READERS: dict[Kind, Callable[[Reader, SettingField, object, Path], Any]] = {
    Kind.SWITCH: Reader._switch,
    Kind.TEXT: Reader._text,
    Kind.CHOICE: Reader._choice,
    Kind.DURATION: Reader._duration,
    Kind.SIZE: Reader._size,
    Kind.INTEGER: Reader._integer,
    Kind.NUMBER: Reader._number,
    Kind.STATUS: Reader._status,
    Kind.SECRET: Reader._secret,
}


def _check_range(field: SettingField, amount: float) -> None:
    setting = field.setting
    if amount == 0 and setting.zero:
        return
    if setting.least is not None and amount < setting.least:
        raise ValueError(f"{format_amount(field, amount)} is too little; {_allowed(field)}")
    if setting.most is not None and amount > setting.most:
        raise ValueError(f"{format_amount(field, amount)} is too much; {_allowed(field)}")


def _allowed(field: SettingField) -> str:
    """Say in words what a field takes."""
    if field.kind is Kind.CHOICE:
        return f"write one of {', '.join(str(each.value) for each in field.type)}"  # type: ignore[attr-defined]
    if field.kind is Kind.TEXT:
        return f"write {FORMS[field.setting.form].allowed}"
    if field.kind is Kind.SECRET:
        return 'write "env:NAME" or "file:PATH"'
    return (
        f"allowed is {format_range(field)}"
        if format_range(field)
        else f"write a {field.kind.value}"
    )


def format_range(field: SettingField) -> str:
    """Return the range of a field with its unit, ``"100ms to 1h, or 0 (none)"``; "" without one."""
    setting = field.setting
    if setting.least is None or setting.most is None:
        return ""
    bounds = f"{format_amount(field, setting.least)} to {format_amount(field, setting.most)}"
    unit = f" {setting.unit}" if setting.unit and field.kind in {Kind.INTEGER, Kind.NUMBER} else ""
    return f"{bounds}{unit}" + (f", or 0 ({setting.zero})" if setting.zero else "")


def format_amount(field: SettingField, amount: float) -> str:
    """Return ``amount`` as the file would write it."""
    if field.kind is Kind.DURATION:
        return format_duration(amount)
    if field.kind is Kind.SIZE:
        return format_size(int(amount))
    return f"{int(amount)}" if amount == int(amount) else f"{amount:g}"


def _nearest_key(key: str, fields: Mapping[str, SettingField]) -> str:
    for ending in ("_seconds", "_bytes"):
        if key.removesuffix(ending) in fields:
            return f'write "{key.removesuffix(ending)}", with the unit in its value'
    return nearest(key, fields)


def _header(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _show(value: object) -> str:
    """Return a value as TOML writes it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
