"""Policies as data: every mistake is refused at its place with its remedy (Show 7, G1, H2)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from poruwa.config.load import Reading, read_policy

_BASE = """
[pools.app]
instances = ["127.0.0.1:3000"]
[[routes]]
path = "/*"
pool = "app"
"""


def cases(name: str) -> list[Any]:
    document = tomllib.loads(Path(__file__).with_name(name).read_text())
    return [pytest.param(case, id=case["name"]) for case in document["case"]]


def read(case: dict[str, Any]) -> Reading:
    text = case["policy"] + (_BASE if case.get("base", True) else "")
    # TOML drops the newline that follows ''', and with it the line that an editor would count.
    return read_policy("\n" + text, "site.toml")


@pytest.mark.parametrize("case", cases("refusals.toml"))
def test_a_mistake_is_refused_with_place_and_remedy(case: dict[str, Any]) -> None:
    """Show 7, G1: one mistake, one line: where, what, and what would be right."""
    reading = read(case)
    rendered = [problem.render("site.toml") for problem in reading.problems]
    line, key = case["at"].split(" ", 1)
    assert len(rendered) == 1, rendered
    assert rendered[0].startswith(f"site.toml:{line}: {key}: "), rendered
    assert case["says"] in rendered[0]
    assert case["remedy"] in rendered[0]
    assert reading.policy is None


@pytest.mark.parametrize("case", cases("warnings.toml"))
def test_a_doubt_is_noted_and_refuses_nothing(case: dict[str, Any]) -> None:
    """A2, D1, D7: the policy is usable; the note names its place."""
    reading = read(case)
    assert reading.policy is not None, reading.problems
    rendered = [warning.render("site.toml") for warning in reading.warnings]
    line, key = case["at"].split(" ", 1)
    matching = [text for text in rendered if text.startswith(f"site.toml:{line}: {key}: ")]
    assert len(matching) == 1, rendered
    assert case["says"] in matching[0]


def test_there_are_twenty_distinct_mistakes_and_more() -> None:
    """Show 7 asks for twenty; each case has its own place or words."""
    document = tomllib.loads(Path(__file__).with_name("refusals.toml").read_text())
    assert len({(case["at"], case["says"]) for case in document["case"]}) >= 50
