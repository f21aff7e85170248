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
# A list longer than any browser sends is not worth taking apart.
_REQUESTED_HEADERS_BYTES = 4096


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

    __slots__ = (
        "_any_line",
        "_expose_lines",
        "_headers",
        "_methods",
        "_origins",
        "_preflight_lines",
        "_preflight_vary",
    )

    def __init__(self, section: Cors) -> None:
        expose = _line(b"Access-Control-Expose-Headers", section.expose)
        credentials = b"Access-Control-Allow-Credentials: true\r\n" if section.credentials else b""
        self._any_line = b""
        self._origins: dict[bytes, bytes] = {}
        if "*" in section.origins:
            # "*" never goes with credentials: any site could read what its visitor sees.
            self._any_line = b"Access-Control-Allow-Origin: *\r\n"
        else:
            for origin in section.origins:
                value = origin.lower().encode()  # as browsers serialise scheme and host
                self._origins[value] = (
                    b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % value + credentials
                )
        self._expose_lines = expose
        self._methods = frozenset(method.encode() for method in section.methods)
        self._headers = frozenset(name.lower().encode() for name in section.headers)
        self._preflight_lines = (
            _line(b"Access-Control-Allow-Methods", section.methods)
            + _line(b"Access-Control-Allow-Headers", section.headers)
            + b"Access-Control-Max-Age: %d\r\n" % int(section.max_age_seconds)
        )
        vary = b"Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
        self._preflight_vary = b"Vary: " + vary

    def response_lines(self, origin: bytes | None) -> bytes:
        """Return the lines of the answer to a request that is no preflight.

        ``Vary: Origin`` is there for every origin, and for none, so that no cache gives one
        origin's answer to another (Fetch section 3.3.5).
        """
        return self._origin_lines(origin) + self._expose_lines_for(origin)

    def preflight(self, fields: Mapping[bytes, bytes]) -> tuple[PreflightRefusal | None, bytes]:
        """Return why a preflight is refused (None if it is not) and the lines of its answer."""
        origin = fields[b"origin"]
        vary = self._preflight_vary
        if not self._is_allowed(origin):
            return PreflightRefusal.ORIGIN, b"Vary: Origin\r\n" + vary
        refused_vary = vary if self._any_line else b"Vary: Origin\r\n" + vary
        if fields[b"access-control-request-method"] not in self._methods:
            return PreflightRefusal.METHOD, refused_vary
        requested = fields.get(b"access-control-request-headers", b"")
        if not self._takes_headers(requested):
            return PreflightRefusal.HEADER, refused_vary
        return None, self._origin_lines(origin) + self._preflight_lines + vary

    def _is_allowed(self, origin: bytes) -> bool:
        return bool(self._any_line) or origin in self._origins

    def _origin_lines(self, origin: bytes | None) -> bytes:
        if self._any_line:
            return self._any_line
        return self._origins.get(origin or b"", b"Vary: Origin\r\n")

    def _expose_lines_for(self, origin: bytes | None) -> bytes:
        return self._expose_lines if self._is_allowed(origin or b"") else b""

    def _takes_headers(self, requested: bytes) -> bool:
        """Tell whether every name of ``Access-Control-Request-Headers`` is allowed."""
        if len(requested) > _REQUESTED_HEADERS_BYTES:
            return False
        names = {name.strip(b" \t").lower() for name in requested.split(b",")} - {b""}
        return names <= self._headers


def _line(name: bytes, values: tuple[str, ...]) -> bytes:
    """Return a header line that lists ``values``; nothing for none."""
    return name + b": " + ", ".join(values).encode() + b"\r\n" if values else b""
