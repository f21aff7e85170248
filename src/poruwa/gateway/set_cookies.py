"""Which cookies the answers of a route may set: the ``cookies`` list of the policy, enforced.

Place on the path: where response heads are made (``gateway.heads``). What an app sets beside the
list, e.g. by a framework's middleware that nobody thought of, is taken off its answers, counted and
logged, each name of a route once. The gateway's own cookies (affinity, own writes) are added later.
"""

from __future__ import annotations

import re
from typing import Final

import structlog

_NAMES_LOGGED: Final = 100  # of a route; further ones are an app's random names
_PREFIX: Final = re.compile(rb"__(?:host-http-|host-|http-|secure-)", re.IGNORECASE)
_FIELD: Final = b"\r\nset-cookie:"

_log = structlog.get_logger(component="gateway")


class SetCookies:
    """The list of one route.

    Args:
        route: its name.
        names: of cookies, without or with the prefixes that their scope gives them.

    Attributes:
        removed: how many cookies were taken off answers.
    """

    __slots__ = ("_logged", "_names", "_route", "removed")

    def __init__(self, route: str, names: tuple[str, ...]) -> None:
        self._route = route
        self._names = frozenset(_plain(name.encode()) for name in names)
        self._logged: set[bytes] = set()
        self.removed = 0

    def permitted(self, block: bytes) -> bytes:
        """Return field lines, each with the CRLF before it, without the cookies not listed."""
        if block.lower().find(_FIELD) < 0:
            return block
        kept = [line for line in block.split(b"\r\n")[1:] if not self._is_removed(line)]
        return b"".join([b"\r\n" + line for line in kept])

    def _is_removed(self, line: bytes) -> bool:
        field, _, value = line.partition(b":")
        if field.lower() != b"set-cookie":
            return False
        name, equals, _ = value.partition(b";")[0].partition(b"=")
        name = name.strip(b" \t")
        if equals and _plain(name) in self._names:
            return False
        self.removed += 1
        if name not in self._logged and len(self._logged) < _NAMES_LOGGED:
            self._logged.add(name)
            _log.warning(
                "cookie removed: the route's `cookies` do not name it",
                route=self._route,
                cookie=name[:100].decode("latin-1"),
            )
        return True


def _plain(name: bytes) -> bytes:
    """Return a cookie's name without prefix; prefixes are not told from others by case."""
    return _PREFIX.sub(b"", name, count=1) if name.startswith(b"__") else name
