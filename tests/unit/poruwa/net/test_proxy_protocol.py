"""PROXY protocol v1 and v2, as the HAProxy specification has it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.errors import ProtocolError
from poruwa.net.proxy_protocol import (
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_NOOP,
    TLV_SSL,
    V2_MAX_BYTES,
    V2_SIGNATURE,
    crc32c,
    encode_v1,
    encode_v2,
    parse,
)

V1 = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"  # the specification's example


def v2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return V2_SIGNATURE + struct.pack("!BBH", command, family, size) + payload


def test_v1() -> None:
    header = parse(V1 + b"GET / HTTP/1.1\r\n")
    assert header is not None
    assert (header.source, header.source_port) == ("192.168.0.1", 56324)
    assert (header.destination, header.destination_port) == ("192.168.0.11", 443)
    assert header.length == len(V1)


def test_v1_unknown_and_ipv6() -> None:
    unknown = parse(b"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n")
    assert unknown is not None
    assert unknown.source is None
    assert parse(b"PROXY UNKNOWN\r\n") is not None
    six = parse(b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n")
    assert six is not None
    assert (six.source, six.destination) == ("2001:db8::1", "::1")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY " + b"x" * 120,
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"\r\n\r\n\x00\r\nQUIX\n",
        v2(0x11, 0x11, bytes(12)),  # version 1 in binary
        v2(0x22, 0x11, bytes(12)),  # unknown command
        v2(0x21, 0x12, bytes(12)),  # datagrams
        v2(0x21, 0x41, bytes(12)),
        v2(0x21, 0x11, bytes(11)),  # too short for its addresses
        v2(0x21, 0x11, bytes(12) + b"\x01"),  # cut extension
        v2(0x21, 0x11, bytes(12) + b"\x01\x00\x05ab"),
        v2(0x21, 0x11, bytes(12) + b"\x20\x00\x02ab"),
        v2(0x21, 0x11, b"", length=V2_MAX_BYTES),  # refused before it is buffered
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data)


@pytest.mark.parametrize(
    "whole",
    [
        V1,
        encode_v2("10.0.0.1", "10.0.0.2", 1, 2, tlvs=[(TLV_ALPN, b"h2")], checksum=True),
        encode_v2(None, None),
        encode_v2("/run/a", "/run/b"),
    ],
)
def test_every_beginning_needs_more(whole: bytes) -> None:
    for cut in range(len(whole)):
        assert parse(whole[:cut]) is None
    header = parse(whole + b"rest")
    assert header is not None
    assert header.length == len(whole)


def test_v2_local_is_skipped() -> None:
    header = parse(v2(0x20, 0x11, b"\xff" * 30))
    assert header is not None
    assert (header.source, header.tlvs, header.length) == (None, (), 46)


def test_v2_unspecified_family_keeps_the_connections_own_ends() -> None:
    header = parse(v2(0x21, 0x00, b"\x02\x00\x01a"))
    assert header is not None
    assert header.source is None
    assert header.tlvs == ((TLV_AUTHORITY, b"a"),)


def test_v2_unix() -> None:
    header = parse(encode_v2("/run/client", "/run/server"))
    assert header is not None
    assert (header.source, header.destination, header.is_unix) == (
        "/run/client",
        "/run/server",
        True,
    )


def test_v2_tls() -> None:
    ssl_value = b"\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3"
    header = parse(
        encode_v2("10.0.0.1", "10.0.0.2", 1, 2, tlvs=[(TLV_NOOP, b"xx"), (TLV_SSL, ssl_value)])
    )
    assert header is not None
    assert header.used_tls
    assert header.tlvs == ((TLV_SSL, ssl_value),)
    plain = parse(encode_v2("10.0.0.1", "10.0.0.2", 1, 2))
    assert plain is not None
    assert not plain.used_tls


def test_crc32c_known_answers() -> None:
    """RFC 3720 appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_every_flipped_bit_is_found() -> None:
    whole = encode_v2("10.0.0.1", "10.0.0.2", 1, 2, checksum=True)
    for place in range(16, len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        try:
            header = parse(bytes(flipped))
        except ProtocolError:
            continue
        # The one other way: the extension is no checksum any more, so nothing is claimed of it.
        assert header is not None
        assert place == len(whole) - 7


addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
ports = st.integers(0, 65535)


@given(addresses, ports, ports, st.booleans())
def test_round_trip(ends: tuple[object, object], one: int, other: int, checksum: bool) -> None:
    source, destination = map(str, ends)
    for whole in (
        encode_v1(source, destination, one, other),
        encode_v2(source, destination, one, other, checksum=checksum),
    ):
        header = parse(whole + b"x")
        assert header is not None
        assert (header.source, header.source_port) == (source, one)
        assert (header.destination, header.destination_port) == (destination, other)
        assert header.length == len(whole)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PROXY ", V2_SIGNATURE, V2_SIGNATURE + b"\x21\x11"]),
)
def test_any_bytes_give_a_header_or_a_refusal(data: bytes, prefix: bytes) -> None:
    try:
        header = parse(prefix + data)
    except ProtocolError:
        return
    assert header is None or header.length <= len(prefix + data)


def test_encoders_refuse_what_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="families"):
        encode_v1("1.2.3.4", "::1", 1, 2)
    with pytest.raises(ValueError, match="families"):
        encode_v2("1.2.3.4", "::1", 1, 2)
    with pytest.raises(ValueError, match="108"):
        encode_v2("/" + "x" * 108, "/b")
