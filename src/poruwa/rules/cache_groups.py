"""Which groups a response belongs to, and which ones it declares out of date (RFC 9875).

Groups are what this project calls tags. ``Cache-Groups`` is read when a response is stored,
``Cache-Group-Invalidation`` when an unsafe request was answered without error. Both count within
one origin only; which requests may invalidate is decided elsewhere (section 3: not the safe ones).
"""

from __future__ import annotations

from typing import Final

import http_sf

MAX_GROUPS: Final = 512
"""Groups taken from one field: a list of 500 things names each. Section 2 demands 32."""

MAX_GROUP_BYTES: Final = 256
"""Longest group; section 2 demands 32 characters."""

# Every group at its longest, each character escaped, and as much again for parameters.
_MAX_FIELD_BYTES: Final = MAX_GROUPS * MAX_GROUP_BYTES * 4


def parse_groups(value: bytes | None) -> tuple[bytes, ...]:
    """Return the groups that ``Cache-Groups`` or ``Cache-Group-Invalidation`` names, each once.

    Both are lists of strings (section 2). Parameters mean nothing; a member of another type makes
    the field invalid, and an invalid field is ignored as a whole (RFC 9651 section 4.2). Groups
    that are too long, and those after ``MAX_GROUPS``, are left out.

    Args:
        value: lines joined by ``", "``; None where there is no such field.
    """
    if not value or len(value) > _MAX_FIELD_BYTES:
        return ()
    try:
        members = http_sf.parse(value, tltype="list")
    except ValueError:  # StructuredFieldError is one
        return ()
    assert isinstance(members, list)
    groups: dict[bytes, None] = {}
    for member in members:
        # A string comes as str and its parameters. Tokens, numbers and inner lists do not.
        text = member[0] if isinstance(member, tuple) else None
        if not isinstance(text, str):
            return ()
        group = text.encode()
        if len(group) <= MAX_GROUP_BYTES and len(groups) < MAX_GROUPS:
            groups[group] = None
    return tuple(groups)
