"""What of a listing may be edited, and by what rules: a JSON merge patch on a stored document.

Stands between the API and the database and knows neither. A patch (RFC 7396) names the members it
changes; texts are objects of their languages, so that one language is changed by itself
(``{"tagline": {"ta": "..."}}``). The rules are one table for venues and one for vendors; whatever
they do not name is refused by name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weddinglk.documents import Document
from weddinglk.domain import FACILITIES, LANGUAGES, VenueSetting
from weddinglk.search.query import Kind

NAME_MAX: Final = 120  # characters; the longest seeded name has half
TAGLINE_MAX: Final = 200  # two lines of a card
DESCRIPTION_MAX: Final = 4_000  # a page of prose
GUESTS_MAX: Final = 10_000
YEARS_MAX: Final = 150

_REMOVED = "It cannot be removed (null); leave it out to keep it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One member that was refused: its path, such as ``tagline.ta``, and what would be right."""

    member: str
    reason: str


class EditRefused(Exception):
    """A patch that breaks the rules; nothing of it was done."""

    def __init__(self, refusals: list[Refusal]) -> None:
        super().__init__("; ".join(f"{refusal.member}: {refusal.reason}" for refusal in refusals))
        self.refusals = refusals


# A rule takes the member's path, its value in the patch and the stored one, and returns the new
# stored value; it adds what is wrong to the refusals.
_Rule = Callable[[str, Any, Any, list[Refusal]], Any]


def edited(kind: Kind, document: Document, patch: object) -> Document:
    """Return the stored fields that ``patch`` names, as they are to be.

    Args:
        kind: whose rules count.
        document: the listing as stored.
        patch: parsed JSON.

    Raises:
        EditRefused: every member that was refused.
    """
    if not isinstance(patch, dict):
        raise EditRefused([Refusal(member="", reason="Write an object with the members to change")])
    rules = _RULES[kind]
    refusals: list[Refusal] = []
    wanted: Document = {}
    for name, value in patch.items():
        rule = rules.get(name)
        if rule is None:
            known = ", ".join(rules)
            refusals.append(Refusal(member=name, reason=f"It cannot be edited; what can: {known}"))
        elif value is None:
            refusals.append(Refusal(member=name, reason=_REMOVED))
        else:
            wanted[name] = rule(name, value, document.get(name), refusals)
    if not refusals and kind is Kind.VENUE:
        _check_guests({**document, **wanted}, refusals)
    if refusals:
        raise EditRefused(refusals)
    return wanted


def schema_of(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a patch."""
    properties = {name: _SCHEMAS[name] for name in _RULES[kind]}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _text(most: int, *, lines: bool = False) -> _Rule:
    """Return the rule for a text in three languages, stored as a list of them."""

    def rule(path: str, value: Any, stored: Any, refusals: list[Refusal]) -> Any:
        if not isinstance(value, dict):
            reason = 'Write an object of languages, such as {"en": "..."}'
            refusals.append(Refusal(member=path, reason=reason))
            return stored
        texts = dict(zip(LANGUAGES, stored, strict=True))
        for language, text in value.items():
            member = f"{path}.{language}"
            if language not in texts:
                reason = f"No such language; there are {', '.join(LANGUAGES)}"
                refusals.append(Refusal(member=member, reason=reason))
            elif text is None:
                refusals.append(Refusal(member=member, reason=_REMOVED))
            elif (wrong := _wrong_with_text(text, most, lines=lines)) is not None:
                refusals.append(Refusal(member=member, reason=wrong))
            else:
                texts[language] = text
        return list(texts.values())

    return rule


def _line(most: int) -> _Rule:
    """Return the rule for one line of text, the same in all languages."""

    def rule(path: str, value: Any, stored: Any, refusals: list[Refusal]) -> Any:
        if (reason := _wrong_with_text(value, most, lines=False)) is not None:
            refusals.append(Refusal(member=path, reason=reason))
        return value

    return rule


def _number(least: int, most: int) -> _Rule:
    """Return the rule for a whole number."""

    def rule(path: str, value: Any, stored: Any, refusals: list[Refusal]) -> Any:
        # True is an int to Python, and 100.0 is 100 to JSON.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            reason = f"Write a whole number from {least} to {most}"
            refusals.append(Refusal(member=path, reason=reason))
        return value

    return rule


def _choice(*choices: str) -> _Rule:
    """Return the rule for one of ``choices``."""

    def rule(path: str, value: Any, stored: Any, refusals: list[Refusal]) -> Any:
        if value not in choices:
            reason = f"Write one of {', '.join(choices)}"
            refusals.append(Refusal(member=path, reason=reason))
        return value

    return rule


def _choices(*choices: str, least: int = 0) -> _Rule:
    """Return the rule for some of ``choices``; stored sorted, each once."""

    def rule(path: str, value: Any, stored: Any, refusals: list[Refusal]) -> Any:
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if is_list and set(value) <= set(choices) and len(set(value)) >= least:
            return sorted(set(value))
        some = f"at least {least} of" if least else "any of"
        reason = f"Write a list with {some} {', '.join(choices)}"
        refusals.append(Refusal(member=path, reason=reason))
        return stored

    return rule


_RULES: Final[Mapping[Kind, Mapping[str, _Rule]]] = {
    Kind.VENUE: {
        "name": _line(NAME_MAX),
        "tagline": _text(TAGLINE_MAX),
        "description": _text(DESCRIPTION_MAX, lines=True),
        "setting": _choice(*VenueSetting),
        "guests_min": _number(1, GUESTS_MAX),
        "guests_max": _number(1, GUESTS_MAX),
        "facilities": _choices(*FACILITIES),
    },
    Kind.VENDOR: {
        "name": _line(NAME_MAX),
        "tagline": _text(TAGLINE_MAX),
        "description": _text(DESCRIPTION_MAX, lines=True),
        "languages": _choices(*LANGUAGES, least=1),
        "years_in_business": _number(0, YEARS_MAX),
    },
}


def _text_schema(most: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": most}
    properties = dict.fromkeys(LANGUAGES, text)
    return {"type": "object", "properties": properties, "additionalProperties": False}


_SCHEMAS: Final[Mapping[str, Any]] = {
    "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
    "tagline": _text_schema(TAGLINE_MAX),
    "description": _text_schema(DESCRIPTION_MAX),
    "setting": {"type": "string", "enum": list(VenueSetting)},
    "guests_min": {"type": "integer", "minimum": 1, "maximum": GUESTS_MAX},
    "guests_max": {"type": "integer", "minimum": 1, "maximum": GUESTS_MAX},
    "facilities": {"type": "array", "items": {"type": "string", "enum": list(FACILITIES)}},
    "languages": {
        "type": "array", "minItems": 1, "items": {"type": "string", "enum": list(LANGUAGES)},
    },
    "years_in_business": {"type": "integer", "minimum": 0, "maximum": YEARS_MAX},
}  # fmt: skip


def _wrong_with_text(text: object, most: int, *, lines: bool) -> str | None:
    """Return what would be right instead of ``text``, None if it is right."""
    if not isinstance(text, str):
        return "Write a text"
    if not text.strip():
        return "Write at least one word"
    if len(text) > most:
        return f"It has {len(text)} characters; {most} is the most"
    for character in text:
        if lines and character == "\n":
            continue
        # Cc: control characters; Cs: halves of surrogate pairs, which no UTF-8 can carry.
        if unicodedata.category(character) in ("Cc", "Cs"):
            return f"It has a control character (U+{ord(character):04X}); leave it out"
    return None


def _check_guests(document: Document, refusals: list[Refusal]) -> None:
    if document["guests_min"] > document["guests_max"]:
        reason = f"It is above guests_max, {document['guests_max']}"
        refusals.append(Refusal(member="guests_min", reason=reason))
