"""The words of the pages: ``messages/*.toml``, one file a language, looked up by dotted key.

A value is a text, a text with ``{names}``, or a table of plural forms (``one``, ``other``).
Loaded once at start; a language that lacks a key of English, or names other placeholders, is an
error then and not on some page later.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weddinglk.domain import LANGUAGES
from weddinglk.web import formatting

MESSAGES_DIRECTORY = Path(__file__).parent.parent / "messages"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Texts:
    """All texts of one language, and the numbers, amounts and dates that go into them."""

    __slots__ = ("_messages", "_months", "language")

    def __init__(self, language: str, messages: Mapping[str, str]) -> None:
        self.language = language
        self._messages = messages
        self._months = [messages[f"month.{number}"] for number in range(1, 13)]

    def __call__(self, key: str, count: int | None = None, **values: object) -> str:
        """Return the text of ``key`` with ``values`` filled in.

        With ``count`` the plural form is chosen and ``{count}`` is the formatted number.

        Raises:
            KeyError: no such key or placeholder: a mistake in a template, found by the tests.
        """
        if count is None:
            text = self._messages[key]
            return text.format_map(values) if values else text
        form = formatting.plural_form(self.language, count)
        return self._messages[f"{key}.{form}"].format_map(
            {"count": formatting.number(count), **values}
        )

    def __contains__(self, key: str) -> bool:
        return key in self._messages

    def named(self, group: str, name: str) -> str:
        """Return the text of ``group.name``; a name nobody translated reads as plain words."""
        return self._messages.get(f"{group}.{name}") or name.replace("-", " ").replace("_", " ")

    def number(self, value: float) -> str:
        """Return ``value`` with thousands separated."""
        return formatting.number(value)

    def money(self, amount_lkr: int) -> str:
        """Return rupees as people of this language write them."""
        return formatting.money(self.language, amount_lkr)

    def date(self, iso_date: str) -> str:
        """Return a calendar day written out: ``14 February 2027``."""
        return formatting.date(self.language, iso_date, self._months)


def load_texts(directory: Path = MESSAGES_DIRECTORY) -> dict[str, Texts]:
    """Return the texts of each language.

    Raises:
        ValueError: a language lacks or adds keys or placeholders, compared with English.
    """
    tables = {
        language: _flattened(tomllib.loads((directory / f"{language}.toml").read_text("utf-8")))
        for language in LANGUAGES
    }
    english = tables["en"]
    for language, table in tables.items():
        if differing := sorted(english.keys() ^ table.keys()):
            raise ValueError(f"messages/{language}.toml differs from en.toml in {differing}")
        for key, text in table.items():
            if set(_PLACEHOLDER.findall(text)) != set(_PLACEHOLDER.findall(english[key])):
                raise ValueError(f"messages/{language}.toml: {key} has other placeholders")
    return {language: Texts(language, table) for language, table in tables.items()}


def _flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update(_flattened(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
