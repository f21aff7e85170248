"""Which listings a text speaks of, how strongly, and what a misspelled word meant.

An inverted index: a term's postings are two parallel arrays, slots and weights. A word of the
question is looked up exactly; then, for the last word or when nothing was found, as a beginning;
then by the way it sounds in the spellings Sri Lankan names have in Latin letters (Nuwara Elia);
then by edit distance (rapidfuzz). Scores are BM25's with weighted fields and without the length
norm: listings' indexed texts are all about equally long.

Slots are small integers given by the caller, who hands in a slot's old texts with the new ones:
what is no longer said is taken out of the postings.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import OSA

from weddinglk.search.tokens import question_words, stem, words_of

SATURATION = 1.2  # BM25's k1 at its usual value: a term four times as heavy counts 1.7 times
PREFIX_WEIGHT = 0.7
CORRECTED_WEIGHT = 0.8
PREFIX_TERMS_MAX = 24  # a beginning of one letter would match a tenth of the vocabulary
PREFIX_LENGTH_MIN = 2
FUZZY_LENGTH_MIN = 4  # of shorter words too many are one edit away
SIMILARITY_MIN = 0.7  # photografer/photographer 0.83, beech/beach 0.80, kolombo/colombo 0.86
CANDIDATES_MAX = 12

_SOUNDS = (
    ("ph", "f"), ("sh", "s"), ("th", "t"), ("dh", "d"), ("bh", "b"), ("kh", "k"), ("ck", "k"),
    ("ee", "i"), ("oo", "u"), ("ou", "u"), ("w", "v"), ("y", "i"), ("c", "k"), ("z", "s"),
)  # fmt: skip
_REPEATED = re.compile(r"(.)\1+")

Fields = Iterable[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMatch:
    """What a question found.

    ``scores`` maps slots to relevance, above 0. ``corrected`` is the question as understood when
    words of it had to be corrected, else ``None``. ``empty`` says that the question had no word
    worth looking up ("a wedding in Sri Lanka"): it narrows nothing. ``terms`` are what was looked
    up, and ``is_guessed`` says that one of them was looked for among all there are.
    """

    scores: dict[int, float]
    corrected: str | None
    empty: bool
    terms: tuple[str, ...] = ()
    is_guessed: bool = False


class TextIndex:
    """Terms and their postings."""

    def __init__(self) -> None:
        self._postings: dict[str, tuple[array[int], array[float]]] = {}
        self._spelling: dict[str, str] = {}  # term -> a word it comes from, to show
        self._terms: list[str] = []  # sorted, for beginnings
        self._by_sound: dict[str, list[str]] = {}
        self._memo: dict[str, tuple[str, ...]] = {}
        self._documents = 0
        self._is_open = True  # terms are sorted once after the first load, kept sorted then

    def add(self, slot: int, fields: Fields) -> None:
        """Index ``fields``, pairs of weight and text, under ``slot``, which is not in use."""
        for term, weight in self.weights(fields).items():
            self._put(term, slot, weight)
        self._documents += 1

    def replace(self, slot: int, old: Fields, new: Fields) -> None:
        """Index ``new`` under ``slot`` in place of ``old``, what was indexed under it."""
        before, after = self.weights(old), self.weights(new)
        for term in before.keys() - after.keys():
            self._take(term, slot)
        for term, weight in after.items():
            if term not in before:
                self._put(term, slot, weight)
            elif weight != before[term]:
                slots, weights = self._postings[term]
                weights[bisect_left(slots, slot)] = weight

    def remove(self, slot: int, fields: Fields) -> None:
        """Forget ``slot``; ``fields`` is what was indexed under it."""
        for term in self.weights(fields):
            self._take(term, slot)
        self._documents -= 1

    def weights(self, fields: Fields) -> dict[str, float]:
        """Return the terms of ``fields`` and how much each weighs."""
        weights: dict[str, float] = {}
        for weight, text in fields:
            for sentence in text.split(". "):  # taglines share sentences: the memo finds them
                for term in self._terms_of(sentence):
                    weights[term] = weights.get(term, 0.0) + weight
        return weights

    def seal(self) -> None:
        """Finish the first load: build what beginnings and corrections are found with."""
        self._terms = sorted(self._postings)
        for term in self._terms:
            self._by_sound.setdefault(_sound(term), []).append(term)
        self._memo.clear()
        self._is_open = False

    def match(self, question: str) -> TextMatch:
        """Return the slots that have all words of ``question``, or, if none has, most of them."""
        words = question_words(question)
        if not words:
            return TextMatch(scores={}, corrected=None, empty=True)
        found_words: list[dict[int, float]] = []
        shown: list[str] = []
        is_guessed = False
        for position, word in enumerate(words):
            terms = self._variants(word, is_last=position == len(words) - 1)
            spelling = None
            if not terms:
                terms, spelling = self._guesses(word)
                is_guessed = True
            shown.append(spelling or word)
            found_words.append(self._score(terms))
        corrected = " ".join(shown) if shown != words else None
        return TextMatch(
            scores=_combine(found_words),
            corrected=corrected,
            empty=False,
            terms=tuple(stem(word) for word in words),
            is_guessed=is_guessed,
        )

    def _variants(self, word: str, *, is_last: bool) -> dict[str, float]:
        """Return terms that ``word`` as it is written may mean, with their weights."""
        term = stem(word)
        variants = {term: 1.0} if term in self._postings else {}
        if (is_last or not variants) and len(word) >= PREFIX_LENGTH_MIN:
            for longer in self._beginning_with(term):
                variants.setdefault(longer, PREFIX_WEIGHT)
        return variants

    def _guesses(self, word: str) -> tuple[dict[str, float], str | None]:
        """Return what ``word`` was meant to be, with its weight, and how that is spelled."""
        meant = self._corrections(stem(word))
        spelling = self._spelling.get(meant[0]) if meant else None
        return dict.fromkeys(meant, CORRECTED_WEIGHT), spelling

    def _beginning_with(self, beginning: str) -> list[str]:
        at = bisect_left(self._terms, beginning)
        terms = []
        while at < len(self._terms) and self._terms[at].startswith(beginning):
            terms.append(self._terms[at])
            at += 1
        terms.sort(key=lambda term: (-len(self._postings[term][0]), term))
        return terms[:PREFIX_TERMS_MAX]

    def _corrections(self, term: str) -> list[str]:
        """Return what ``term`` most likely meant: one term, or none."""
        alike = self._by_sound.get(_sound(term), [])
        if alike:
            return [max(alike, key=lambda other: (len(self._postings[other][0]), other))]
        if len(term) < FUZZY_LENGTH_MIN:
            return []
        candidates = process.extract(
            term,
            self._terms,
            scorer=OSA.normalized_similarity,
            score_cutoff=SIMILARITY_MIN,
            limit=CANDIDATES_MAX,
        )
        if not candidates:
            return []

        def likelihood(candidate: tuple[str, float, int]) -> tuple[float, str]:
            other, similarity, _ = candidate
            frequency = math.log10(len(self._postings[other][0]) + 1)
            same_start = 0.05 if other[0] == term[0] else 0.0
            return similarity + 0.04 * frequency + same_start, other

        return [max(candidates, key=likelihood)[0]]

    def _score(self, terms: dict[str, float]) -> dict[int, float]:
        """Return the best score each slot has for one word of the question."""
        scores: dict[int, float] = {}
        # All that a word may mean counts as one term as rare as the commonest of them: otherwise
        # the rarest word with this beginning would win.
        commonest = max((len(self._postings[term][0]) for term in terms), default=0)
        rarity = math.log(1.0 + (self._documents + 1) / (commonest + 0.5))
        for term, variant_weight in terms.items():
            slots, weights = self._postings[term]
            factor = variant_weight * rarity * (SATURATION + 1.0)
            for slot, weight in zip(slots, weights, strict=True):
                score = factor * weight / (weight + SATURATION)
                if score > scores.get(slot, 0.0):
                    scores[slot] = score
        return scores

    def _terms_of(self, text: str) -> tuple[str, ...]:
        terms = self._memo.get(text)
        if terms is None:
            terms = tuple([self._memo_stem(word) for word in words_of(text)])
            if self._is_open:
                self._memo[text] = terms
        return terms

    def _memo_stem(self, word: str) -> str:
        term = stem(word)
        shown = self._spelling.get(term)
        if shown is None or len(word) < len(shown):
            self._spelling[term] = word
        return term

    def _put(self, term: str, slot: int, weight: float) -> None:
        posting = self._postings.get(term)
        if posting is None:
            posting = self._postings[term] = (array("I"), array("f"))
            if not self._is_open:
                insort(self._terms, term)
                self._by_sound.setdefault(_sound(term), []).append(term)
        slots, weights = posting
        at = bisect_left(slots, slot) if slots and slot < slots[-1] else len(slots)
        slots.insert(at, slot)
        weights.insert(at, weight)

    def _take(self, term: str, slot: int) -> None:
        slots, weights = self._postings[term]
        at = bisect_left(slots, slot)
        del slots[at], weights[at]
        if not slots:  # nobody may be corrected to a word that no listing has
            del self._postings[term]
            del self._terms[bisect_left(self._terms, term)]
            self._by_sound[_sound(term)].remove(term)
            self._spelling.pop(term, None)


def _combine(found: list[dict[int, float]]) -> dict[int, float]:
    """Sum the words' scores over the slots that have the most words."""
    if len(found) == 1:
        return found[0]
    totals: dict[int, float] = {}
    counts: dict[int, int] = {}
    for scores in found:
        for slot, score in scores.items():
            totals[slot] = totals.get(slot, 0.0) + score
            counts[slot] = counts.get(slot, 0) + 1
    most = max(counts.values(), default=0)
    return {slot: totals[slot] for slot, count in counts.items() if count == most}


def _sound(term: str) -> str:
    if not term.isascii():
        return term
    for letters, sound in _SOUNDS:
        if letters in term:
            term = term.replace(letters, sound)
    return _REPEATED.sub(r"\1", term)
