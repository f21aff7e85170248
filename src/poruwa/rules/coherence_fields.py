"""The fields that gateway and app instances say positions with, among themselves.

| field             | in                  | says                                                  |
|-------------------|---------------------|-------------------------------------------------------|
| `Poruwa-As-Of`    | responses           | all that went into it holds every change up to here   |
| `Poruwa-Position` | requests            | the app's caches are to have applied it, or by-passed |
| `Poruwa-Position` | responses to writes | where the write is in the log: the writer's cookie    |
| `Poruwa-Unsure`   | responses           | the instance may have missed a change                 |

They never leave the gateway and are never taken from clients: whoever could say them would decide
what others get from the cache. Also not with underscores, which CGI-like gateways cannot tell from
hyphens. A position is decimal (DESIGN section 6).
"""

from __future__ import annotations

from typing import Final

AS_OF: Final = b"poruwa-as-of"
POSITION: Final = b"poruwa-position"
UNSURE_FIELD: Final = b"poruwa-unsure"
INTERNAL_NAMES: Final = frozenset(
    spelling
    for name in (AS_OF, POSITION, UNSURE_FIELD)
    for spelling in (name, name.replace(b"-", b"_"))
)
"""In lower case."""

POSITION_LINE: Final = b"Poruwa-Position: "


def position_line(position: int) -> bytes:
    """Return the request line that says ``position``, with its CRLF."""
    return b"%b%d\r\n" % (POSITION_LINE, position)


def take_position(lines: bytes) -> tuple[bytes, int]:
    """Return request lines of our own without the one that says a position, and what it says.

    0 where none does.
    """
    at = lines.find(POSITION_LINE)
    if at < 0:
        return lines, 0
    end = lines.find(b"\r\n", at)
    return lines[:at] + lines[end + 2 :], int(lines[at + len(POSITION_LINE) : end])
