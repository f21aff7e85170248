"""From text to search terms, for English, Sinhala and Tamil alike.

Terms are compared, never shown. Both sides, listings and questions, go through the same
functions, so a stem need not be a word, only the same for the forms of a word. Sinhala and Tamil
mark case by suffix (``ගාල්ලේ`` in Galle, ``கண்டியில்`` in Kandy); without light stemming a
question asked in a sentence finds nothing.
"""

from __future__ import annotations

import re
import unicodedata

from weddinglk.search.vocabulary import STOP_WORDS

# Latin accents, joiners (U+200C/D: writers of Sinhala and Tamil put them in or leave them out),
# directional marks, apostrophes ("bakers", "baker's").
_IGNORED = re.compile(r"[\u0300-\u036f\u200b-\u200f\u2060\ufeff'\u2019]")
# \w alone would break words at the vowel signs of Tamil (U+0B80) and Sinhala (U+0D80).
_WORD = re.compile(r"[^\W_\u0b80-\u0bff\u0d80-\u0dff]+|[\u0b80-\u0bff]+|[\u0d80-\u0dff]+")

_SINHALA_SUFFIXES = (
    "යන්ගේ", "වලදී", "වලින්", "යේදී", "යෙහි", "යන්", "යේ", "යක්", "යට", "වල", "ේදී", "ෙහි",
    "දී", "ින්", "ෙන්", "ාව", "ේ", "ක්", "ට", "ය", "ව",
)  # fmt: skip
_TAMIL_SUFFIXES = (
    "த்திற்கு", "த்துக்கு", "ங்களில்", "களுக்கு", "த்தில்", "த்தின்", "களில்", "ங்கள்", "க்கான",
    "யில்", "வில்", "ுக்கு", "க்கு", "கள்", "ில்", "ின்", "ும்", "ம்", "ு",
)  # fmt: skip
_STEM_MIN = 3  # code points that must remain

TERM_MAX = 40  # characters; longer words of a question are noise or an attack
TERMS_MAX = 12  # words of a question that are looked at


def words_of(text: str) -> list[str]:
    """Return the words of ``text``: case folded, composed (NFC), without invisible characters."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _IGNORED.sub("", unicodedata.normalize("NFKD", text)))
    else:
        text = text.replace("'", "")
    return _WORD.findall(text.casefold())


def question_words(text: str) -> list[str]:
    """Return the distinct words of a question worth looking up, at most ``TERMS_MAX``."""
    words = dict.fromkeys(
        word for word in words_of(text[:400]) if word not in _STOP and len(word) <= TERM_MAX
    )
    return list(words)[:TERMS_MAX]


def stem(word: str) -> str:
    """Return the part of ``word`` that its forms share."""
    if word.isascii():
        return _stem_english(word)
    suffixes = _TAMIL_SUFFIXES if "\u0b80" <= word[0] <= "\u0bff" else _SINHALA_SUFFIXES
    for suffix in suffixes:
        if word.endswith(suffix) and len(word) - len(suffix) >= _STEM_MIN:
            return word[: -len(suffix)]
    return word


def _stem_english(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


_STOP = frozenset(form for word in STOP_WORDS for form in words_of(word))
