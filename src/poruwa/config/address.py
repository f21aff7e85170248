"""Where something listens or is reached: ``host:port``, ``[v6]:port``, ``unix:/path``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

WANTED = '"host:port", "[::1]:port", ":port" or "unix:/path"'
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
                        r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?\Z")  # fmt: skip
# sun_path holds 108 bytes on Linux, the last of them NUL (unix(7)).
_UNIX_PATH_BYTES = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A TCP endpoint (``host``, ``port``) or a Unix socket (``path``); exactly one of the two.

    ``host`` is a name or an address without brackets; ``""`` stands for every local interface.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than ``localhost`` is not."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address that ``text`` names. Port 0 (any free one) is accepted.

    Raises:
        ValueError: none of the forms, or a port outside 0-65535.
    """
    if text.startswith("unix:"):
        return _unix_address(text)
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"{text!r} is not an address; write {WANTED}")
    if int(port) > 65535:
        raise ValueError(f"{text!r} has port {port}; ports go from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return Address(host=_ipv6(host[1:-1], text), port=int(port))
    if ":" in host:
        raise ValueError(f"{text!r} holds an IPv6 address without brackets; write [{host}]:{port}")
    if host and not _is_host(host):
        raise ValueError(f"{text!r} is not an address; write {WANTED}")
    return Address(host=host, port=int(port))


def _unix_address(text: str) -> Address:
    path = text[len("unix:") :]
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{text!r} is not an address; a Unix socket is written unix:/path")
    if len(path.encode()) > _UNIX_PATH_BYTES:
        raise ValueError(
            f"{text!r} is longer than the {_UNIX_PATH_BYTES} bytes a socket path holds"
        )
    return Address(path=path)


def _ipv6(host: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{text!r} does not hold an IPv6 address between its brackets") from None


def _is_host(host: str) -> bool:
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    return _HOST_NAME.match(host) is not None
