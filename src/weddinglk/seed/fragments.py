"""The written material of the seed, read from ``texts/*.txt``.

A section is ``[name]`` and its lines; ``|`` separates the languages (English, Sinhala, Tamil) or
the columns; ``#`` begins a comment. Kept as plain text so that people who write Sinhala and Tamil
can correct it without Python.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from random import Random

from weddinglk.domain import Text

Options = tuple[Text, ...]


@cache
def sections(name: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the sections of ``texts/<name>.txt``: for each line the tuple of its columns."""
    found: dict[str, list[tuple[str, ...]]] = {}
    current: list[tuple[str, ...]] = []
    text = files("weddinglk.seed").joinpath("texts", f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            current.append(tuple(part.strip() for part in line.split("|")))
    return {section: tuple(lines) for section, lines in found.items()}


@cache
def texts(name: str, section: str) -> tuple[Text, ...]:
    """Return a section whose lines are texts in the three languages."""
    return tuple(Text(en=line[0], si=line[1], ta=line[2]) for line in sections(name)[section])


@cache
def words(name: str, section: str) -> tuple[str, ...]:
    """Return the first column of a section."""
    return tuple(line[0] for line in sections(name)[section])


class Deck:
    """Deals options as from shuffled cards: none comes twice before all have come."""

    def __init__(self) -> None:
        self._left: dict[str, list[tuple[Text, Text]]] = {}

    def tagline(self, rng: Random, key: str, openings: Options, promises: Options) -> Text:
        """Return a tagline for ``key``, one of all pairs of an opening and a promise."""
        left = self._left.setdefault(key, [])
        if not left:
            left += [(opening, promise) for opening in openings for promise in promises]
            rng.shuffle(left)
        return tagline(*left.pop())


def filled(text: Text, place: Text, *, guests: int = 0, years: int = 0) -> Text:
    """Return ``text`` with ``{place}``, ``{guests}`` and ``{years}`` put in."""

    def fill(template: str, name: str) -> str:
        if "{" not in template:
            return template
        return template.format(place=name, guests=guests, years=years)

    return Text(en=fill(text.en, place.en), si=fill(text.si, place.si), ta=fill(text.ta, place.ta))


def tagline(opening: Text, promise: Text) -> Text:
    """Return two short sentences."""
    return Text(
        en=f"{opening.en}. {promise.en}.",
        si=f"{opening.si}. {promise.si}.",
        ta=f"{opening.ta}. {promise.ta}.",
    )


def paragraph(sentences: list[Text]) -> Text:
    """Return whole sentences joined."""
    return Text(
        en=" ".join(sentence.en for sentence in sentences),
        si=" ".join(sentence.si for sentence in sentences),
        ta=" ".join(sentence.ta for sentence in sentences),
    )
