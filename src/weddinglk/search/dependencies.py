"""Which tags answers of the index depend on, and which ones a changed listing changes.

A listing's own tag (``venue:12``) is on every page that shows it. Besides, an answer depends on:

``venues``, ``vendors``
    which listings there are, and what filters, orders and counts go by; not their texts.
``text:4:3f0``
    for each word of the question, the terms that begin with the same four letters, or two of a
    shorter word (4,096 groups each): how a word and its beginnings are found and ranked goes by
    them alone.
``spellings``
    all terms there are, for a question with a word that had to be corrected.
``texts``
    all texts, for every question with words: what somebody changes who does not know which.

So a new tagline puts pages out of date that show it, and the few searches that speak of its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from zlib import crc32

from weddinglk.search.index import Entry
from weddinglk.search.query import Kind
from weddinglk.search.tokens import stem, words_of

TEXTS: Final = "texts"
SPELLINGS: Final = "spellings"
COLLECTIONS: Final = {Kind.VENUE: "venues", Kind.VENDOR: "vendors"}
# Beginnings that a question looks up stay in its group: it is named by no more letters than the
# question's word has, and text_index.PREFIX_LENGTH_MIN is the fewest that are looked up as one.
_FEW_LETTERS, _LETTERS = 2, 4
_GROUPS = 4_096


def tags_of_change(old: Entry | None, new: Entry | None) -> list[str]:
    """Return the tags that change with a listing; None where it did not or does not exist."""
    entry = new or old
    if entry is None:
        return []
    tags = [f"{entry.kind}:{entry.id}"]
    if old is None or new is None:
        return [*tags, COLLECTIONS[entry.kind], TEXTS]
    if old.facts != new.facts:
        tags.append(COLLECTIONS[entry.kind])
    if old.fields != new.fields:
        differing = {term for term, _ in set(_terms(old)) ^ set(_terms(new))}
        groups = {_group(term, letters) for term in differing for letters in _sizes(term)}
        tags += [*sorted(groups), SPELLINGS]
    return tags


def tags_of_question(terms: Iterable[str], *, is_corrected: bool) -> tuple[str, ...]:
    """Return the tags of an answer to a question with these terms.

    Args:
        is_corrected: a word was looked for among all there are.
    """
    tags = dict.fromkeys([TEXTS, *(term_tag(term) for term in terms)])
    return (*tags, SPELLINGS) if is_corrected else tuple(tags)


def term_tag(term: str) -> str:
    """Return the tag of what a question with this term looks up."""
    return _group(term, _sizes(term)[-1])


def _sizes(term: str) -> tuple[int, ...]:
    """Return by how many letters the groups of a term are named."""
    return (_FEW_LETTERS,) if len(term) < _LETTERS else (_FEW_LETTERS, _LETTERS)


def _group(term: str, letters: int) -> str:
    # Sinhala and Tamil have no place in a tag; a hash that is the same in every process has.
    return f"text:{letters}:{crc32(term[:letters].encode()) % _GROUPS:03x}"


def _terms(entry: Entry) -> Iterator[tuple[str, float]]:
    """Yield each term with all it weighs."""
    weights: dict[str, float] = {}
    for weight, text in entry.fields:
        for word in words_of(text):
            term = stem(word)
            weights[term] = weights.get(term, 0.0) + weight
    yield from weights.items()
