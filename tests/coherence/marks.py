"""The version number that a writer puts into a venue's tagline, and how it is found on a page.

A tagline reads ``Coherence check ck-12-345-si.``: venue 12, version 345, the Sinhala text. It has
nothing that HTML or JSON would escape.
"""

from __future__ import annotations

import re
from typing import Final

LANGUAGES: Final = ("en", "si", "ta")
_MARK: Final = re.compile(rb"ck-(\d{1,9})-(\d{1,9})-([a-z]{2})")
NEVER_WRITTEN: Final = 0


def tagline(venue: int, version: int) -> dict[str, str]:
    """Return the text in each language."""
    return {language: f"Coherence check ck-{venue}-{version}-{language}." for language in LANGUAGES}


def versions(body: bytes, language: str) -> dict[int, int]:
    """Return the oldest version shown of each venue, by venue.

    Raises:
        ValueError: a text is in another language than the page.
    """
    found: dict[int, int] = {}
    for mark in _MARK.finditer(body):
        venue, version = int(mark[1]), int(mark[2])
        if mark[3].decode() != language:
            raise ValueError(f"{mark[0].decode()} on a page in {language!r}")
        found[venue] = min(found.get(venue, version), version)
    return found
