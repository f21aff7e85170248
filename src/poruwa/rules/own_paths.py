"""Paths below ``/_poruwa/``: what the platform answers itself, and who may ask.

Two are for browsers: who is signed in, and where they report violations. All else (metrics) is for
the machine, and closed to everybody who comes by a gateway.
"""

from __future__ import annotations

from typing import Final

SESSION_PATH: Final = b"/_poruwa/session"
REPORTS_PATH: Final = b"/_poruwa/reports"


def is_own_path(path: bytes) -> bool:
    """Whether a path, in ``rules.routing.normalise_path``'s form, is or could be taken for ours.

    Also with empty segments before it or parameters behind its name, which some servers drop. The
    form leaves no other spelling: it has no dot segments, encoded slashes or encoded letters.
    """
    first = path.lstrip(b"/").partition(b"/")[0]
    return first.partition(b";")[0] == b"_poruwa"
