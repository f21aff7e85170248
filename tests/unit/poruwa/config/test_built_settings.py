"""What the page calls built is read by code: the marks of the schema are honest (Show 7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from poruwa.config.check import find_unbuilt
from poruwa.config.fields import Kind, SettingField, fields_of
from poruwa.config.load import read_policy
from poruwa.config.model import Policy

_SOURCE = Path(__file__).parents[4] / "src" / "poruwa"
# Their whole use is what `config check` makes of them.
_FOR_CHECK_ONLY = frozenset({"bookings", "browser_staleness_accepted", "domain"})


def settings(section: type, name: str = "") -> Iterator[tuple[str, SettingField]]:
    for field in fields_of(section):
        key = f"{name}.{field.key}".lstrip(".")
        if field.kind in {Kind.SECTION, Kind.SECTIONS}:
            yield from settings(field.type, key)
        else:
            yield key, field


_ALL = dict(settings(Policy))


@pytest.fixture(scope="module")
def code() -> str:
    files = (path for path in _SOURCE.rglob("*.py") if path.parent.name != "config")
    return "\n".join(path.read_text() for path in files)


_BUILT = [
    key
    for key, field in _ALL.items()
    if field.setting.built and field.attribute not in _FOR_CHECK_ONLY
]


@pytest.mark.parametrize("key", _BUILT)
def test_a_built_setting_is_read_somewhere(key: str, code: str) -> None:
    """By name only, which finds the setting that nobody reads, and not every one."""
    attribute = _ALL[key].attribute
    assert re.search(rf"\b{attribute}\b", code), f"{key} is not marked, and nothing reads it"


@pytest.mark.parametrize("key", _ALL)
def test_every_setting_has_a_reason_and_numbers_have_a_range(key: str) -> None:
    setting = _ALL[key].setting
    assert setting.why.endswith(".")
    if _ALL[key].kind in {Kind.DURATION, Kind.SIZE, Kind.INTEGER, Kind.NUMBER}:
        assert setting.least is not None
        assert setting.most is not None
        assert setting.least < setting.most


@pytest.mark.parametrize("key", _ALL)
def test_every_default_is_within_its_range(key: str) -> None:
    field = _ALL[key]
    for value in field.default or () if field.is_list else (field.default,):
        if isinstance(value, int | float) and not isinstance(value, bool) and field.setting.least:
            is_meant_zero = value == 0 and bool(field.setting.zero)
            assert is_meant_zero or field.setting.least <= value <= (field.setting.most or value)


def test_what_a_file_uses_and_nothing_reads_is_found_with_its_line() -> None:
    text = """
[pools.app]
instances = ["app1:3000"]
method = "peak-ewma"
[[routes]]
path = "/*"
pool = "app"
[consent]
max_age = "30d"
[stores.cache]
mode = "cluster"
nodes = ["one:6379", "two:6379", "three:6379"]
[stores.bus]
mode = "single"
nodes = ["four:6379"]
"""
    reading = read_policy(text, "site.toml")
    assert reading.policy is not None
    unbuilt = find_unbuilt(reading.policy, reading.positions)
    assert [(each.line, each.path[-1]) for each in unbuilt] == [
        (9, "max_age"),
        (11, "mode"),  # this value of it
    ]
