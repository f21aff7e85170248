"""The PROXY protocol: a connection's true ends, told by the proxy in front of it.

The first bytes of a connection from a trusted proxy, before TLS and HTTP. ``parse`` is pure: the
listener gives it what has arrived until it returns a header, or raises. Whether the peer may send
one at all is the listener's decision (``trust.proxies``).

Source: "The PROXY protocol, Versions 1 & 2" (HAProxy, doc/proxy-protocol.txt), sections 2.1, 2.2.
Version 2 over datagrams is not taken: this is a gateway for streams.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from poruwa.errors import ErrorSource, ProtocolError

V1_PREFIX = b"PROXY "
V1_MAX_BYTES = 107  # section 2.1, CRLF included
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD_BYTES = 16
V2_MAX_BYTES = 4096  # addresses take 216, the rest is room for the certificate names of TLS

TLV_ALPN = 0x01
TLV_AUTHORITY = 0x02
TLV_CRC32C = 0x03
TLV_NOOP = 0x04
TLV_UNIQUE_ID = 0x05
TLV_SSL = 0x20
TLV_NETNS = 0x30

_V1_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})"
)
_FAMILY_BYTES = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
_SSL_CLIENT_USED_TLS = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHeader:
    """What a proxy says.

    Attributes:
        version: 1 or 2.
        length: bytes of the header; what follows belongs to the connection.
        source, destination: addresses in their shortest form, or paths of Unix sockets. None where
            the proxy speaks for itself (LOCAL: a health check) or does not know (UNKNOWN): then the
            connection's own ends hold.
        source_port, destination_port: 0 without addresses and for Unix sockets.
        tlvs: type and value of each extension, in order.
        is_unix: whether the ends are Unix sockets (unnamed ones, as clients' are, have an empty
            path; a path may look like anything, so that it cannot tell).
    """

    version: int
    length: int
    source: str | None = None
    destination: str | None = None
    source_port: int = 0
    destination_port: int = 0
    tlvs: tuple[tuple[int, bytes], ...] = ()
    is_unix: bool = False

    @property
    def used_tls(self) -> bool:
        """Whether the proxy's client spoke TLS to it (version 2 with the SSL extension)."""
        return any(
            kind == TLV_SSL and bool(value[0] & _SSL_CLIENT_USED_TLS) for kind, value in self.tlvs
        )


def parse(data: bytes) -> ProxyHeader | None:
    """Return the header that ``data`` begins with, or None while more bytes are needed.

    Raises:
        ProtocolError: these bytes cannot become a PROXY header, or break its rules.
    """
    if data.startswith(V2_SIGNATURE):
        return _parse_v2(data)
    if data.startswith(V1_PREFIX):
        return _parse_v1(data)
    if V2_SIGNATURE.startswith(data) or V1_PREFIX.startswith(data):
        return None
    raise _bad("the connection does not begin with a PROXY header")


def encode_v1(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """Return a version 1 header for TCP.

    Raises:
        ValueError: addresses that are none, or of two families.
    """
    ends = ip_address(source), ip_address(destination)
    if ends[0].version != ends[1].version:
        raise ValueError(f"{source} and {destination} are of different families")
    family = f"TCP{ends[0].version}"
    return f"PROXY {family} {ends[0]} {ends[1]} {source_port} {destination_port}\r\n".encode()


def encode_v2(
    source: str | None,
    destination: str | None,
    source_port: int = 0,
    destination_port: int = 0,
    *,
    tlvs: Sequence[tuple[int, bytes]] = (),
    checksum: bool = False,
) -> bytes:
    """Return a version 2 header: LOCAL without addresses, for TCP, or for Unix paths (``/...``).

    ``checksum`` appends the CRC32c extension.

    Raises:
        ValueError: addresses of different families, a path above 108 bytes, more than 64 KiB.
    """
    family, addresses = _encoded_addresses(source, destination, source_port, destination_port)
    extensions = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if checksum:
        extensions += struct.pack("!BHI", TLV_CRC32C, 4, 0)
    payload = addresses + extensions
    if len(payload) > 0xFFFF:
        raise ValueError(f"a PROXY header of {len(payload)} bytes is longer than it can say")
    command = 0x20 if source is None else 0x21
    header = V2_SIGNATURE + struct.pack("!BBH", command, family, len(payload)) + payload
    if checksum:
        header = header[:-4] + struct.pack("!I", crc32c(header))
    return header


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 appendix B.4) of ``data``."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_MAX_BYTES)
    if end < 0:
        if len(data) >= V1_MAX_BYTES or b"\n" in data:
            raise _bad("its line does not end in CR LF within 107 bytes")
        return None
    line = data[:end]
    if b"\n" in line:  # refused here too, or it would depend on how the bytes were cut
        raise _bad("its line does not end in CR LF within 107 bytes")
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(version=1, length=end + 2)
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise _bad("its line is malformed")
    wanted = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        source, destination = wanted(match[2].decode()), wanted(match[3].decode())
    except ValueError as error:
        raise _bad("an address is not of the family it names") from error
    ports = int(match[4]), int(match[5])
    if max(ports) > 0xFFFF:
        raise _bad("a port is above 65535")
    return ProxyHeader(
        version=1,
        length=end + 2,
        source=str(source),
        destination=str(destination),
        source_port=ports[0],
        destination_port=ports[1],
    )


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < V2_HEAD_BYTES:
        return None
    version_command, family, length = struct.unpack_from("!BBH", data, 12)
    end = V2_HEAD_BYTES + length
    if version_command not in (0x20, 0x21):
        raise _bad(f"version and command {version_command:#04x} are unknown")
    if end > V2_MAX_BYTES:
        raise _bad(f"it is {end} bytes long; at most {V2_MAX_BYTES} are taken")
    if version_command == 0x20:
        # LOCAL: the proxy's own connection. Section 2.2: whatever follows is to be skipped.
        return ProxyHeader(version=2, length=end) if len(data) >= end else None
    needed = _FAMILY_BYTES.get(family)
    if needed is None:
        raise _bad(f"address family and protocol {family:#04x} are not for streams")
    if length < needed:
        raise _bad(f"{length} bytes cannot hold its addresses")
    if len(data) < end:
        return None
    addresses = data[V2_HEAD_BYTES : V2_HEAD_BYTES + needed]
    tlvs = _parse_tlvs(data[:end], V2_HEAD_BYTES + needed)
    if family == 0x00:
        return ProxyHeader(version=2, length=end, tlvs=tlvs)
    source, destination, ports = _decoded_addresses(family, addresses)
    return ProxyHeader(
        version=2,
        length=end,
        source=source,
        destination=destination,
        source_port=ports[0],
        destination_port=ports[1],
        tlvs=tlvs,
        is_unix=family == 0x31,
    )


def _parse_tlvs(header: bytes, at: int) -> tuple[tuple[int, bytes], ...]:
    tlvs: list[tuple[int, bytes]] = []
    has_checksum = False
    while at < len(header):
        if len(header) - at < 3:
            raise _bad("an extension is cut off")
        kind, length = struct.unpack_from("!BH", header, at)
        value = header[at + 3 : at + 3 + length]
        if len(value) != length:
            raise _bad("an extension is longer than the header")
        if kind == TLV_CRC32C:
            if length != 4 or has_checksum:
                raise _bad("its checksum is malformed or repeated")
            has_checksum = True
            # Computed over the whole header with the checksum's own four bytes as zero.
            blanked = header[: at + 3] + b"\0\0\0\0" + header[at + 7 :]
            if crc32c(blanked) != int.from_bytes(value, "big"):
                raise _bad("its checksum does not match")
        elif kind == TLV_SSL and length < 5:
            raise _bad("its TLS extension is too short")
        if kind != TLV_NOOP:
            tlvs.append((kind, value))
        at += 3 + length
    return tuple(tlvs)


def _decoded_addresses(family: int, data: bytes) -> tuple[str, str, tuple[int, int]]:
    if family == 0x31:
        paths = [part.rstrip(b"\0").decode("utf-8", "surrogateescape") for part in
                 (data[:108], data[108:])]  # fmt: skip
        return paths[0], paths[1], (0, 0)
    size = 4 if family == 0x11 else 16
    source, destination = (
        str(ip_address(data[:size])),
        str(ip_address(data[size : 2 * size])),
    )
    ports = struct.unpack_from("!HH", data, 2 * size)
    return source, destination, (ports[0], ports[1])


def _encoded_addresses(
    source: str | None, destination: str | None, source_port: int, destination_port: int
) -> tuple[int, bytes]:
    if source is None or destination is None:
        return 0x00, b""
    if source.startswith("/") or destination.startswith("/"):
        paths = [path.encode() for path in (source, destination)]
        if max(map(len, paths)) > 108:
            raise ValueError("a Unix socket's path has at most 108 bytes")
        return 0x31, b"".join(path.ljust(108, b"\0") for path in paths)
    ends = ip_address(source), ip_address(destination)
    if ends[0].version != ends[1].version:
        raise ValueError(f"{source} and {destination} are of different families")
    family = 0x11 if ends[0].version == 4 else 0x21
    ports = struct.pack("!HH", source_port, destination_port)
    return family, ends[0].packed + ends[1].packed + ports


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def _bad(what: str) -> ProtocolError:
    return ProtocolError(
        f"Not a PROXY protocol header: {what}.", source=ErrorSource.CLIENT, status_hint=400
    )
