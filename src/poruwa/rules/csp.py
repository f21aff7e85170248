"""Content-Security-Policy: what a page may load and run, as directives that can be added to.

A policy is written once, in the site's policy file, and holds for every page. A page adds the
hashes of its own inline blocks: no nonce, so that it can be kept and shared, and no
``'unsafe-inline'``. Source: Content Security Policy Level 3 (W3C), sections 2.2 and 6.7.3; Trusted
Types (W3C) for ``require-trusted-types-for``. No HTML is read here.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

_DIRECTIVE_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_VALUE: Final = re.compile(r"[\x21-\x2b\x2d-\x3a\x3c-\x7e]+")  # no blank, ',' or ';'
_HASH: Final = re.compile(r"'sha(?:256|384|512)-[A-Za-z0-9+/_-]+={0,2}'")
_NONE: Final = ("'none'",)
FALLBACKS: Final = {"script-src": "default-src", "style-src": "default-src"}
_STAND_INS: Final = {
    "script-src-elem": ("script-src",),
    "script-src-attr": ("script-src",),
    "style-src-elem": ("style-src",),
    "style-src-attr": ("style-src",),
    "worker-src": ("child-src", "script-src"),
    "frame-src": ("child-src",),
}
UNSAFE: Final = frozenset(("'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:", "data:"))
"""Sources that let a script of anybody's run."""

Directives = Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=1024)
def parse_csp(policy: str) -> Directives:
    """Return a serialized policy's directives by name, each with its values in order.

    Of a directive that comes twice the first counts, as in browsers (section 2.2.1, step 2.6).

    Raises:
        ValueError: a character or a name that no policy may have.
    """
    directives: dict[str, tuple[str, ...]] = {}
    for part in policy.split(";"):
        words = part.split()
        if not words:
            continue
        name = words[0].lower()
        if _DIRECTIVE_NAME.fullmatch(name) is None:
            raise ValueError(f"{words[0]!r} is no name of a directive")
        for word in words[1:]:
            if _VALUE.fullmatch(word) is None:
                raise ValueError(f"{name}: {word!r} is no value of a directive")
        directives.setdefault(name, tuple(words[1:]))
    return MappingProxyType(directives)


def serialize_csp(directives: Directives) -> str:
    """Return directives as they are sent."""
    return "; ".join(" ".join((name, *values)) for name, values in directives.items())


def block_hash(text: str) -> str:
    """Return the source expression of an inline block, for ``script-src`` or ``style-src``.

    Args:
        text: what stands between the tags, to the last blank: browsers hash it as UTF-8 (6.7.3.3).
    """
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def with_sources(directives: Directives, name: str, sources: Iterable[str]) -> Directives:
    """Return directives in which ``name`` allows ``sources``, too.

    A directive that is not there begins with what stands in for it (``default-src``), as adding
    must not take away; ``'none'`` goes when something is added.
    """
    added = tuple(sources)
    if not added:
        return directives
    present = directives.get(name)
    if present is None:
        present = directives.get(FALLBACKS.get(name, ""), ())
    kept = () if present == _NONE else present
    merged = (*kept, *(source for source in added if source not in kept))
    return MappingProxyType({**directives, name: merged})


def is_as_strict(own: Directives, policy: Directives) -> bool:
    """Tell whether a page's own directives allow nothing that the site's policy does not.

    Hashes and nonces count as nothing: they allow the page's own blocks. What is not understood
    counts as less strict; then both policies are sent, and a browser enforces both.
    """
    for name, allowed in policy.items():
        values = own.get(name)
        if values is None and name.endswith("-src"):
            values = own.get("default-src")
        if values is None:
            return False
        if values == _NONE:
            continue
        permitted = {each for each in allowed if each != "'none'"}
        for value in values:
            if value in permitted or value == "'none'":  # beside others it means nothing
                continue
            if name in ("script-src", "style-src") and _HASH.fullmatch(value) is not None:
                continue
            return False
        if not name.endswith("-src") and not set(allowed) <= set(values) and allowed != _NONE:
            # Flags and sandboxes: one that is left out is one restriction less.
            return False
    return all(
        _is_within(name, values, policy)
        for name, values in own.items()
        if name not in policy and name.endswith(("-src", "-src-elem", "-src-attr"))
    )


def _is_within(name: str, values: tuple[str, ...], policy: Directives) -> bool:
    """Tell whether a fetch directive that a policy does not name allows no more than it does.

    What stands in for it there is that of ``_STAND_INS``, in their order (section 6.8.3).
    """
    is_script = name.startswith("script-src")
    stand_ins = (*_STAND_INS.get(name, ()), "default-src")
    allowed = next((policy[each] for each in stand_ins if each in policy), None)
    if allowed is None:
        return not is_script or not UNSAFE.intersection(values)
    may_hash = is_script or name.startswith("style-src")
    return not (is_script and UNSAFE.intersection(values)) and all(
        each in allowed or each == "'none'" or (may_hash and _HASH.fullmatch(each) is not None)
        for each in values
    )
