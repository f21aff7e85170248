"""Which requests a stored response answers: ``Vary``, and the request fields that it names.

Used by the cache when it looks for a stored variant and when it names a new one. Values that mean
the same get the same key, so that spaces, the order of codings and a reader's whole list of
languages do not fill the store with copies.

The key of Accept-Encoding and Accept-Language says less than the field. That is sound only if the
origin cannot tell such requests apart either: whoever fills the cache sends
``canonical_accept_encoding`` and ``best_language`` in place of what the client sent.

Source: RFC 9111 section 4.1, RFC 9110 sections 12.5.3 to 12.5.5, RFC 4647 section 3.4. Nothing
here raises on any bytes, and time is linear in their number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

CODINGS: Final = (b"br", b"zstd", b"gzip")
"""The content codings we make, the ones we would rather send first."""

IDENTITY: Final = b"identity"

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 12.4.2. A member that is not of this form is not taken into account.
_WEIGHED: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?"
)
# RFC 4647 section 2.1, and no longer than any tag that is in use: each cut costs its length.
_LANGUAGE_RANGE: Final = re.compile(rb"[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,8}")

_REMEMBERED_BYTES: Final = 256
"""Longer values are not memoized: what a stranger sends must not fill the memory."""


def parse_vary(value: bytes | None) -> tuple[bytes, ...] | None:
    """Return the names in ``Vary``, in lower case, sorted, each once; None if nothing can match.

    None is for ``*`` anywhere and for what is no list of names, which could mean anything: such a
    response is not to be stored. RFC 9110 section 12.5.5.

    Args:
        value: lines joined by ``", "``; None where the response has no such field.
    """
    if value is None:
        return ()
    names = set()
    for member in value.split(b","):
        name = member.strip(b" \t")
        if not name:  # RFC 9110 section 5.6.1.2: empty elements do not count
            continue
        if name == b"*" or _TOKEN.fullmatch(name) is None:
            return None
        names.add(name.lower())
    return tuple(sorted(names))


def variant_key(
    names: Sequence[bytes],
    request_fields: Mapping[bytes, bytes],
    *,
    languages: tuple[bytes, ...] = (),
) -> bytes:
    """Return what tells this request from others with the same target (RFC 9111 section 4.1).

    Two requests have the same key when the fields in ``names`` have the same normalised values,
    or are absent from both. An absent field is not an empty one.

    Args:
        names: as ``parse_vary`` returns them.
        request_fields: by lower-case name, repeated lines joined by ``", "``.
        languages: the site's; where given, Accept-Language counts as the best of them, the first
            of them if the client wants none.
    """
    key = b""
    for name in names:
        value = request_fields.get(name)
        if value is None:
            key += name + b":-;"
        else:
            # The length makes it unambiguous, whatever the value holds.
            value = _normalised(name, value, languages)
            key += b"%b:%d:%b;" % (name, len(value), value)
    return key


def _normalised(name: bytes, value: bytes, languages: tuple[bytes, ...]) -> bytes:
    if name == b"accept-encoding":
        return canonical_accept_encoding(value)
    if name == b"accept-language":
        if languages:
            return best_language(value, languages, languages[0])
        return _sorted_remembered(value) if len(value) <= _REMEMBERED_BYTES else _sorted(value)
    value = value.strip(b" \t")
    # A comma within quotes is no separator; such values are few and compared as they are.
    if b"," not in value or b'"' in value:
        return value
    return b",".join([member.strip(b" \t") for member in value.split(b",")])


def _sorted(value: bytes) -> bytes:
    """Return a reader's languages in the one order that their weights give.

    Among equal weights the order says nothing (RFC 9110 section 12.5.4), so that it is a name's.
    What is no list of language ranges stays as it is, but for case.
    """
    members = [member.strip(b" \t") for member in value.lower().split(b",")]
    if not all(_WEIGHED.fullmatch(member) for member in members):
        return value.lower().strip(b" \t")
    weights = _weights(value)
    names = sorted(weights, key=lambda name: (-weights[name], name))
    return b",".join([b"%b;q=%d" % (name, weights[name]) for name in names])


def canonical_accept_encoding(value: bytes) -> bytes:
    """Return an Accept-Encoding of the codings in ``CODINGS`` that ``value`` accepts.

    Such as ``br,gzip``; empty where none of ours is accepted. ``identity;q=0`` is added where the
    client refuses what has no coding.
    """
    if len(value) <= _REMEMBERED_BYTES:
        return _canonical_remembered(value)
    return _canonical(value)


def preferred_codings(accept_encoding: bytes | None) -> tuple[bytes, ...]:
    """Return what may be sent of ``CODINGS`` and ``identity``, the best first.

    The client's weights decide, then our order. ``identity`` comes last unless it is weighed, and
    is missing where the client refuses it; nothing at all may be left (415 or 406 are the caller's
    business). Without the field any coding is allowed, yet only identity is sure to be understood
    (RFC 9110 section 12.5.3).
    """
    if accept_encoding is None:
        return (IDENTITY,)
    if len(accept_encoding) <= _REMEMBERED_BYTES:
        return _preferred_remembered(accept_encoding)
    return _preferred(accept_encoding)


def best_language(
    accept_language: bytes | None, languages: Sequence[bytes], default: bytes
) -> bytes:
    """Return the one of ``languages`` that the reader would like best, or ``default``.

    Lookup of RFC 4647 section 3.4: each range, the most wanted first, is cut from its end until a
    language is found that is the same in any case. ``*`` stands for ``default``, or for the first
    language that is not refused (weight 0). Returned as it is spelled in ``languages``.
    """
    if accept_language is None:
        return default
    if len(accept_language) <= _REMEMBERED_BYTES:
        return _language_remembered(accept_language, tuple(languages), default)
    return _language(accept_language, tuple(languages), default)


def _language(value: bytes, languages: tuple[bytes, ...], default: bytes) -> bytes:
    weights = _weights(value)
    spelling = {language.lower(): language for language in reversed(languages)}
    refused = {name for name, weight in weights.items() if weight == 0}
    # Sorting is stable, also in reverse: of equal weights, the first in the field comes first.
    for wanted in sorted(weights, key=weights.__getitem__, reverse=True):
        if weights[wanted] == 0:
            break
        if wanted == b"*":
            for language in (default, *languages):
                if not _is_refused(language.lower(), refused):
                    return language
            continue
        if _LANGUAGE_RANGE.fullmatch(wanted) is None:
            continue
        candidate = wanted
        while candidate:
            if candidate in spelling and candidate not in refused:
                return spelling[candidate]
            candidate = _truncated(candidate)
    return default


def _truncated(tag: bytes) -> bytes:
    """Return ``tag`` without its last subtag, nor a single letter that would then be last."""
    shorter = tag.rpartition(b"-")[0]
    return shorter[:-2] if shorter[-2:-1] == b"-" else shorter


def _is_refused(language: bytes, refused: set[bytes]) -> bool:
    while language:
        if language in refused:
            return True
        language = language.rpartition(b"-")[0]
    return False


def _weights(value: bytes) -> dict[bytes, int]:
    """Return the lower-case members and their weights in thousandths, in order.

    A member that is named twice has the lower of its weights: that can only lose a benefit.
    """
    weights: dict[bytes, int] = {}
    for member in value.split(b","):
        match = _WEIGHED.fullmatch(member.strip(b" \t"))
        if match is None:
            continue
        name = match[1].lower()
        digits = match[2]
        weight = 1000 if digits is None else int(digits.replace(b".", b"").ljust(4, b"0"))
        weights[name] = min(weight, weights.get(name, 1000))
    return weights


def _coding_weights(value: bytes) -> dict[bytes, int]:
    """Return the weights of our codings and of identity; 0 stands for refused or not named."""
    weights = _weights(value)
    if b"x-gzip" in weights:  # RFC 9110 section 8.4.1.3: the same thing
        weights[b"gzip"] = min(weights[b"x-gzip"], weights.get(b"gzip", 1000))
    others = weights.get(b"*", 0)
    found = {coding: weights.get(coding, others) for coding in CODINGS}
    # Section 12.5.3: identity is fine unless it, or everything else, is refused. 1 is below any
    # weight but the smallest, after which it comes as well, being last.
    found[IDENTITY] = weights.get(IDENTITY, weights.get(b"*", 1))
    return found


def _canonical(value: bytes) -> bytes:
    weights = _coding_weights(value)
    accepted = [coding for coding in CODINGS if weights[coding]]
    if not weights[IDENTITY]:
        accepted.append(b"identity;q=0")
    return b",".join(accepted)


def _preferred(value: bytes) -> tuple[bytes, ...]:
    weights = _coding_weights(value)
    accepted = [coding for coding, weight in weights.items() if weight]
    return tuple(sorted(accepted, key=weights.__getitem__, reverse=True))


_canonical_remembered: Final = lru_cache(maxsize=512)(_canonical)
_sorted_remembered: Final = lru_cache(maxsize=512)(_sorted)
_preferred_remembered: Final = lru_cache(maxsize=512)(_preferred)
_language_remembered: Final = lru_cache(maxsize=512)(_language)
