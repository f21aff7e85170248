"""Where to go after signing in: a path of this site, whatever a link says (ASVS 5.0 3.7.2)."""

from __future__ import annotations

import re
from typing import Final

_MOST: Final = 300
# What the site's own addresses are made of: no backslash, "//", "%2f", colon or user before a host.
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-]+)+/?(?:\?[A-Za-z0-9_~.&=:+-]*)?|/", re.ASCII)


def safe_path(text: str) -> str:
    """Return ``text`` if it is a path of the site with a plain query, else ``/``."""
    return text if len(text) <= _MOST and _PATH.fullmatch(text) else "/"
