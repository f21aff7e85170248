"""Lines of keys: every shape that TOML knows, and agreement with tomllib on what exists."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.positions import Path, find_positions

_TEXT = '''# a comment
top = 1
[pools.app] # beside
instances = [
  "a:1",  # one
  { address = "b:2", weight = 3 },
]
health.interval = "5s"
"quo ted".x = """
two lines"""
[[routes]]
path = "/"
[routes.cors]
origins = []
[[routes]]
path = "/b"
[[routes.inner]]
x = 1
[[routes.inner]]
x = 2
'''


def test_every_shape_has_its_line() -> None:
    positions = find_positions(_TEXT)
    expected: dict[Path, int] = {
        ("top",): 2,
        ("pools", "app"): 3,
        ("pools", "app", "instances", 0): 5,
        ("pools", "app", "instances", 1, "weight"): 6,
        ("pools", "app", "health", "interval"): 8,
        ("pools", "app", "quo ted", "x"): 9,
        ("routes", 0): 11,
        ("routes", 0, "cors", "origins"): 14,
        ("routes", 1): 15,
        ("routes", 1, "path"): 16,
        ("routes", 1, "inner", 0, "x"): 18,
        ("routes", 1, "inner", 1, "x"): 20,
    }
    assert {path: positions.line_of(path) for path in expected} == expected


def test_what_is_not_written_has_the_line_of_what_it_would_be_in() -> None:
    positions = find_positions(_TEXT)
    assert positions.line_of(("routes", 1, "pool")) == 15
    assert positions.line_of(("limits", "body")) == 1
    assert not positions.is_written(("routes", 1, "pool"))
    assert positions.is_written(("routes", 1, "path"))


def test_an_empty_text_has_no_keys() -> None:
    assert find_positions("").line_of(("site",)) == 1


_names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=6)


@given(st.dictionaries(_names, st.dictionaries(_names, st.lists(st.integers(), max_size=3))))
def test_every_key_that_tomllib_reads_has_a_place(document: dict[str, Any]) -> None:
    lines = []
    for table, pairs in document.items():
        lines.append(f"[{_quoted(table)}]")
        lines += [f"{_quoted(key)} = {values}" for key, values in pairs.items()]
    text = "\n".join(lines)
    positions = find_positions(text)
    for table, pairs in tomllib.loads(text).items():
        assert positions.is_written((table,))
        for key, values in pairs.items():
            line = lines[positions.line_of((table, key)) - 1]
            assert line.startswith(f"{_quoted(key)} = ")
            assert all(positions.is_written((table, key, index)) for index in range(len(values)))


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
