"""Which other origins' scripts may read an answer, and which requests they may make.

The server's half of the CORS protocol. Nothing here keeps a request from being served: a browser
withholds the answer from the script, and does not send what a preflight refused. Defence against
forged requests is another matter (``gateway.security``). Source: Fetch standard, section 3.3
"CORS protocol".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from poruwa.config.model_route import Cors

PREFLIGHT_NAMES = (b"origin", b"access-control-request-method")
# Where the policy speaks for a route, its instances do not: browsers refuse two answers in one.
RESPONSE_NAMES = frozenset(
    (
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    )
)
# A list longer than any browser sends is not worth taking apart.
_REQUESTED_HEADERS_BYTES = 4096
_PREFLIGHT_VARY = b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"


class PreflightRefusal(Enum):
    """Why a preflight is refused; the value is the sentence that is sent."""

    ORIGIN = "Scripts of this origin may not read this address."
    METHOD = "Scripts of other origins may not use this method here."
    HEADER = "Scripts of other origins may not send this header here."

    @property
    def code(self) -> str:
        """The name under which it is counted."""
        return f"cors-{self.name.lower()}"


def is_preflight(method: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request is a CORS-preflight request (Fetch section 3.3.2)."""
    return method == b"OPTIONS" and all(name in fields for name in PREFLIGHT_NAMES)


class CorsPolicy:
    """A route's CORS section, ready to be asked. Immutable; every line is made here, once.

    Lines are complete header lines, each ending in CRLF. What a preflight may use is sent as the
    policy states it, never as the request spelled it.
    """

    __slots__ = ("_allow_lines", "_headers", "_is_open", "_methods", "_preflight_lines", "_vary")

    def __init__(self, section: Cors) -> None:
        self._is_open = "*" in section.origins
        expose = _line(b"Access-Control-Expose-Headers", section.expose)
        if self._is_open:
            # Never with credentials: any site could read what its visitor may see.
            origins = ["*"]
            self._vary = b""
        else:
            origins = [origin.lower() for origin in section.origins]  # as browsers write them
            self._vary = b"Vary: Origin\r\n"
            if section.credentials:
                expose += b"Access-Control-Allow-Credentials: true\r\n"
        self._allow_lines = {
            origin.encode(): _line(b"Access-Control-Allow-Origin", (origin,)) + expose
            for origin in origins
        }
        self._methods = frozenset(method.encode() for method in section.methods)
        self._headers = frozenset(name.lower().encode() for name in section.headers)
        self._preflight_lines = (
            _line(b"Access-Control-Allow-Methods", section.methods)
            + _line(b"Access-Control-Allow-Headers", section.headers)
            + b"Access-Control-Max-Age: %d\r\n" % int(section.max_age_seconds)
        )

    def response_lines(self, origin: bytes | None) -> bytes:
        """Return the lines of the answer to a request that is no preflight.

        ``Vary: Origin`` is there for every origin and for none, so that no cache gives one
        origin's answer to another (Fetch section 3.3.5); where all origins are allowed, every
        answer is the same.
        """
        return self._allow_lines_for(origin) + self._vary

    def preflight(self, fields: Mapping[bytes, bytes]) -> tuple[PreflightRefusal | None, bytes]:
        """Return why a preflight is refused (None if it is not) and the lines of its answer.

        Stricter than a browser would be with POST, which Fetch lets pass unlisted.
        """
        vary = self._vary + _PREFLIGHT_VARY
        allow_lines = self._allow_lines_for(fields[b"origin"])
        if not allow_lines:
            return PreflightRefusal.ORIGIN, vary
        if fields[b"access-control-request-method"] not in self._methods:
            return PreflightRefusal.METHOD, vary
        if not self._takes_headers(fields.get(b"access-control-request-headers", b"")):
            return PreflightRefusal.HEADER, vary
        return None, allow_lines + self._preflight_lines + vary

    def _allow_lines_for(self, origin: bytes | None) -> bytes:
        """Return the lines that let ``origin`` read; empty if it may not."""
        return self._allow_lines.get(b"*" if self._is_open else origin or b"", b"")

    def _takes_headers(self, requested: bytes) -> bool:
        """Tell whether every name of ``Access-Control-Request-Headers`` is allowed."""
        if len(requested) > _REQUESTED_HEADERS_BYTES:
            return False
        names = {name.strip(b" \t").lower() for name in requested.split(b",")} - {b""}
        return names <= self._headers


def _line(name: bytes, values: tuple[str, ...]) -> bytes:
    """Return a header line that lists ``values``; nothing for none."""
    return name + b": " + ", ".join(values).encode() + b"\r\n" if values else b""
