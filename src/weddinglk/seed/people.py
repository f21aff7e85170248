"""Who lives where and what they are called: names by community, communities by district.

Names are common ones; nobody in particular is meant.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random

from weddinglk.seed.fragments import sections, words


class Community(StrEnum):
    """Whose names a couple or a business bears; the values name sections of ``names.txt``."""

    SINHALA = "sinhala"
    TAMIL = "tamil"
    MUSLIM = "muslim"
    BURGHER = "burgher"


# Percent Sinhala, Tamil, Muslim, Burgher, roughly as the census has them.
_USUAL = (90, 4, 6, 0)
_BY_DISTRICT = {
    "ampara": (39, 18, 43, 0),
    "badulla": (73, 21, 6, 0),
    "batticaloa": (2, 72, 25, 1),
    "colombo": (74, 12, 11, 3),
    "gampaha": (90, 4, 5, 1),
    "jaffna": (1, 97, 2, 0),
    "kalutara": (86, 4, 10, 0),
    "kandy": (74, 11, 14, 1),
    "kilinochchi": (1, 97, 2, 0),
    "mannar": (3, 80, 17, 0),
    "matale": (80, 10, 10, 0),
    "mullaitivu": (10, 86, 4, 0),
    "nuwara-eliya": (40, 57, 3, 0),
    "puttalam": (73, 7, 20, 0),
    "ratnapura": (87, 11, 2, 0),
    "trincomalee": (27, 32, 41, 0),
    "vavuniya": (10, 83, 7, 0),
}
_COMMUNITIES = tuple(Community)

# Chances in percent that a couple writes in English, Sinhala, Tamil.
_WRITES = {
    Community.SINHALA: (42, 58, 0),
    Community.TAMIL: (33, 0, 67),
    Community.MUSLIM: (48, 7, 45),
    Community.BURGHER: (95, 5, 0),
}
_SCRIPT = {
    Community.SINHALA: "si",
    Community.TAMIL: "ta",
    Community.MUSLIM: "ta",
    Community.BURGHER: "si",
}
_LANGUAGES = ("en", "si", "ta")


def community_in(rng: Random, district: str) -> Community:
    """Return the community somebody of ``district`` belongs to."""
    return rng.choices(_COMMUNITIES, _BY_DISTRICT.get(district, _USUAL))[0]


def language_of(rng: Random, community: Community) -> str:
    """Return the language somebody writes a review in."""
    return rng.choices(_LANGUAGES, _WRITES[community])[0]


def couple(rng: Random, community: Community, language: str) -> str:
    """Return two first names as they would sign in ``language``."""
    names = sections("names")[f"{community}.first"]
    bride = rng.choice([name for name in names if name[2] == "she"])
    groom = rng.choice([name for name in names if name[2] == "he"])
    one, other = (bride, groom) if rng.random() < 0.5 else (groom, bride)
    script = 1 if language == _SCRIPT[community] else 0
    joined = {"en": "&", "si": "සහ", "ta": "மற்றும்"}[language if script else "en"]
    return f"{one[script]} {joined} {other[script]}"


def spoken_languages(rng: Random, community: Community) -> tuple[str, ...]:
    """Return the languages a business serves people in, in the order of the site's list."""
    chances = {
        Community.SINHALA: (0.72, 1.0, 0.14),
        Community.TAMIL: (0.66, 0.42, 1.0),
        Community.MUSLIM: (0.68, 0.74, 1.0),
        Community.BURGHER: (1.0, 0.85, 0.1),
    }[community]
    return tuple(
        language
        for language, chance in zip(_LANGUAGES, chances, strict=True)
        if rng.random() < chance
    )


class NameMaker:
    """Makes names of listings from patterns, no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, rng: Random, patterns: tuple[str, ...], community: Community, place: str) -> str:
        """Return a new name.

        Args:
            rng: where chance comes from.
            patterns: texts with ``{first}``, ``{last}``, ``{other}`` (a second name),
                ``{word}``, ``{place}``, ``{number}``.
            community: whose names and words are used; a third of the words are English.
            place: the town's English name.
        """
        attempt = 0
        while True:
            attempt += 1
            name = self._filled(rng, rng.choice(patterns), community, place)
            if attempt > 5 and place not in name:
                name = f"{name}, {place}"
            if attempt > 40:
                name = f"{name} {attempt - 39}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _filled(self, rng: Random, pattern: str, community: Community, place: str) -> str:
        firsts = words("names", f"{community}.first")
        lasts = words("names", f"{community}.last")
        own = "english" if community is Community.BURGHER else community
        pool = words("names", f"word.{'english' if rng.random() < 0.33 else own}")
        second = firsts if "Films" in pattern else lasts
        return pattern.format(
            first=rng.choice(firsts),
            last=rng.choice(lasts),
            other=rng.choice(second),
            word=rng.choice(pool),
            place=place,
            number=rng.randint(3, 98),
        )
