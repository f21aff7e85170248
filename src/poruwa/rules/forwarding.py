"""Who the client is, and what the upstream is told about it.

Runs in the gateway's security stage. A peer that is not trusted is the client, whatever fields it
sends; the fields of a trusted peer are walked from the right, hop by hop, to the first address that
is not trusted. The upstream gets fields written anew: nothing that an untrusted hop claimed is
passed on, not even as the left end of a chain, so that an application which reads the first address
of X-Forwarded-For reads a true one.

Source: RFC 7239 (Forwarded) and the customs around X-Forwarded-*. Reads no header block itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

UNIX_PEER = "unix"
"""Stands for a peer on a Unix socket, in configuration and as a client that gave no address."""

MAX_HOPS = 32
"""Hops read from the right. Real chains have two or three; the rest is somebody playing."""

MAX_KNOWN_ADDRESSES = 4096
"""Verdicts remembered per ``TrustedNetworks``; comparing with a network takes 1 us."""

_CLAIMS = (  # noqa: SIM905 - sixty lines otherwise
    "forwarded x-forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port "
    "x-forwarded-prefix x-forwarded-scheme x-forwarded-server x-forwarded-ssl x-forwarded-by "
    "x-forwarded-path x-forwarded-uri x-forwarded-method x-forwarded-client-cert "
    "x-forwarded-protocol x-forwarded-user x-forwarded-email x-forwarded-groups "
    "x-forwarded-preferred-username x-forwarded-access-token x-forwarded-for-original "
    "x-original-forwarded-for x-original-host x-original-url x-original-uri x-original-method "
    "x-rewrite-url x-host x-http-host-override x-http-method x-http-method-override "
    "x-method-override x-real-ip x-client-ip client-ip true-client-ip x-true-client-ip "
    "x-cluster-client-ip x-remote-ip x-remote-addr x-originating-ip x-proxyuser-ip "
    "cf-connecting-ip cf-connecting-ipv6 fastly-client-ip x-azure-clientip x-appengine-user-ip "
    "x-envoy-external-address x-envoy-original-path x-scheme x-url-scheme front-end-https "
    "x-arr-ssl x-remote-user remote-user x-ssl-client-cert x-ssl-client-verify "
    "x-middleware-subrequest proxy"
).split()

CLIENT_CLAIM_NAMES = frozenset(
    spelling.encode() for name in _CLAIMS for spelling in (name, name.replace("-", "_"))
)
"""Fields, in lower case, that never reach an upstream as a client sent them: addresses, hosts,
schemes, users and targets that only a proxy may state. With underscores too, which CGI-like
gateways cannot tell from hyphens; ``proxy`` is httpoxy."""

_ADDRESS_WITH_PORT = re.compile(
    r"(\d+\.\d+\.\d+\.\d+)(?::\d{1,5})?|\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?"
)
_NODE = re.compile(
    r"(?:(\d+\.\d+\.\d+\.\d+)|\[([0-9A-Fa-f:.]+)\]|unknown|_[A-Za-z0-9._-]+)"
    r"(?::(?:\d{1,5}|_[A-Za-z0-9._-]+))?",
    re.IGNORECASE,
)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(
    rb"(" + _TOKEN + rb")=(?:(" + _TOKEN + rb")|\"((?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t -~])*)\")"
)
_PORT = re.compile(rb"[0-9]{1,5}")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


class TrustedNetworks:
    """The peers whose forwarding fields are believed.

    Args:
        networks: addresses or networks, IPv4 or IPv6, and ``"unix"`` for Unix-socket peers.

    Raises:
        ValueError: what is neither, or a network with host bits set.
    """

    __slots__ = ("_known", "_networks", "_unix")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        names = tuple(networks)
        self._unix = UNIX_PEER in names
        self._networks = tuple(_as_v6_network(name) for name in names if name != UNIX_PEER)
        self._known: dict[str, bool] = {}

    def contains(self, address: str | None) -> bool:
        """Whether a peer is trusted; ``None`` is a Unix-socket peer. What is no address is not."""
        if address is None:
            return self._unix
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            parsed = _parsed(address)
            known = parsed is not None and any(parsed in each for each in self._networks)
            if len(self._known) >= MAX_KNOWN_ADDRESSES:
                self._known.clear()
            self._known[address] = known
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedHop:
    """One element of Forwarded: what one proxy says of the peer it was speaking to.

    ``address`` is None where the hop hides it (``unknown``, ``_obfuscated``) or does not say.
    """

    address: str | None
    proto: bytes | None = None
    host: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """What the gateway holds true about a client.

    Attributes:
        address: the client's address; the nearest hop known where it is hidden; ``"unix"``.
        chain: client first, then the trusted hops, the peer last: the X-Forwarded-For to send.
        scheme: ``http`` or ``https``, as the client used it.
        port: the port the client connected to.
        host: what a trusted hop gave as the original host, else None (the request's own is it).
    """

    address: str
    chain: tuple[str, ...]
    scheme: bytes
    port: int
    host: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingFields:
    """The forwarding fields of one request: each field's lines in their order."""

    x_forwarded_for: Sequence[bytes] = ()
    forwarded: Sequence[bytes] = ()
    x_forwarded_proto: Sequence[bytes] = ()
    x_forwarded_host: Sequence[bytes] = ()
    x_forwarded_port: Sequence[bytes] = ()

    @classmethod
    def of(cls, fields: Iterable[tuple[bytes, bytes]]) -> ForwardingFields:
        """Return those among a request's fields, whose names are in lower case."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            if name == b"forwarded" or name.startswith(b"x-forwarded-"):
                values.setdefault(name, []).append(value)
        return cls(
            x_forwarded_for=values.get(b"x-forwarded-for", ()),
            forwarded=values.get(b"forwarded", ()),
            x_forwarded_proto=values.get(b"x-forwarded-proto", ()),
            x_forwarded_host=values.get(b"x-forwarded-host", ()),
            x_forwarded_port=values.get(b"x-forwarded-port", ()),
        )


def client_address(
    peer: str | None,
    x_forwarded_for: Sequence[bytes],
    forwarded: Sequence[bytes],
    trusted: TrustedNetworks,
) -> str:
    """Return the client's address: the rightmost hop that is not trusted.

    Args:
        peer: address at the other end of the connection (or in its PROXY header); None for Unix.
        x_forwarded_for: lines of that field, in order.
        forwarded: lines of that field, in order.
        trusted: the peers that are believed.

    A malformed, hidden or unknown hop ends the walk: the client is then the last one known. When
    both fields are there and disagree, one of them was passed on from the client unread, and
    nobody can say which: the peer it is.
    """
    return _chain(peer, x_forwarded_for, forwarded, trusted)[0]


def client_view(
    peer: str | None, scheme: bytes, port: int, fields: ForwardingFields, trusted: TrustedNetworks
) -> ClientView:
    """Return what is true about the client of one request.

    ``scheme`` and ``port`` are those of our own listener. From an untrusted peer the result does
    not depend on ``fields``: it can be made once for the connection.
    """
    if not trusted.contains(peer):
        address = UNIX_PEER if peer is None else peer
        return ClientView(address=address, chain=(address,), scheme=scheme, port=port)
    chain = _chain(peer, fields.x_forwarded_for, fields.forwarded, trusted)
    nearest = _nearest_element(fields.forwarded)
    proto = _last_item(fields.x_forwarded_proto) or (nearest.proto if nearest else None)
    host = _last_item(fields.x_forwarded_host) or (nearest.host if nearest else None)
    stated_port = _last_item(fields.x_forwarded_port)
    seen_scheme = proto.lower() if proto and proto.lower() in (b"http", b"https") else scheme
    if stated_port and _PORT.fullmatch(stated_port) and 0 < int(stated_port) < 65_536:
        port = int(stated_port)
    elif seen_scheme != scheme:
        port = 443 if seen_scheme == b"https" else 80
    return ClientView(
        address=chain[0],
        chain=chain,
        scheme=seen_scheme,
        port=port,
        host=host if host and _HOST.fullmatch(host) else None,
    )


def forwarded_fields(view: ClientView, host: bytes | None = None) -> bytes:
    """Return the header lines to send upstream, each with its CRLF.

    X-Forwarded-For (where an address is known), -Proto and -Port, and X-Forwarded-Host if ``host``
    (the request's Host) is given or a trusted hop stated one. Without ``host`` the bytes hold for a
    whole connection of an untrusted peer.
    """
    # A Unix-socket peer has no address; a word in its place would only trip whoever parses it.
    chain = ", ".join([hop for hop in view.chain if hop != UNIX_PEER]).encode()
    lines = b"X-Forwarded-Proto: %b\r\nX-Forwarded-Port: %d\r\n" % (view.scheme, view.port)
    if chain:
        lines = b"X-Forwarded-For: " + chain + b"\r\n" + lines
    stated = view.host or host
    return lines if stated is None else lines + b"X-Forwarded-Host: " + stated + b"\r\n"


def parse_forwarded(line: bytes) -> tuple[ForwardedHop | None, ...]:
    """Return the elements of one Forwarded line; None stands for a malformed one.

    Strict by RFC 7239 section 4: no white space but around commas, each parameter once, quotes
    where the grammar wants them. After a malformed element reading goes on at the next comma: the
    right end, which the nearest proxy wrote, cannot be altered by what stands left of it.
    """
    hops: list[ForwardedHop | None] = []
    at, end = 0, len(line)
    while at <= end:
        while at < end and line[at] in b" \t":
            at += 1
        hop, at, is_empty = _element(line, at)
        if not is_empty:
            hops.append(hop)
        comma = line.find(b",", at)
        if comma < 0:
            if hop is not None and line[at:].strip(b" \t"):
                hops[-1] = None
            break
        if hop is not None and line[at:comma].strip(b" \t"):
            hops[-1] = None
        at = comma + 1
    return tuple(hops)


def _element(line: bytes, at: int) -> tuple[ForwardedHop | None, int, bool]:
    """Return one element, where it ends, and whether there was nothing (a list may be sparse)."""
    found: dict[bytes, bytes] = {}
    start = at
    while True:
        match = _PAIR.match(line, at)
        if match is None:
            is_empty = at == start and (at == len(line) or line[at : at + 1] == b",")
            return None, at, is_empty
        name = match[1].lower()
        if name in found:
            return None, match.end(), False
        found[name] = match[2] if match[2] is not None else re.sub(rb"\\(.)", rb"\1", match[3])
        at = match.end()
        if line[at : at + 1] != b";":
            break
        at += 1
    address: str | None = None
    if b"for" in found:
        node = _NODE.fullmatch(found[b"for"].decode("latin-1"))
        if node is None:
            return None, at, False
        if node[1] or node[2]:
            address = _canonical(node[1] or node[2])
            if address is None:
                return None, at, False
    return (
        ForwardedHop(address=address, proto=found.get(b"proto"), host=found.get(b"host")),
        at,
        False,
    )


def _chain(
    peer: str | None,
    x_forwarded_for: Sequence[bytes],
    forwarded: Sequence[bytes],
    trusted: TrustedNetworks,
) -> tuple[str, ...]:
    """Return client, trusted hops and peer."""
    here = UNIX_PEER if peer is None else peer
    if not trusted.contains(peer):
        return (here,)
    by_x = _walk(_x_forwarded_hops(x_forwarded_for), trusted) if x_forwarded_for else None
    by_standard = _walk(_standard_hops(forwarded), trusted) if forwarded else None
    if by_x is not None and by_standard is not None and by_x[:1] != by_standard[:1]:
        return (here,)
    hops = by_x if by_x is not None else by_standard or ()
    # A Unix-socket peer has no address to add to a chain that has one already.
    return hops if peer is None and hops else (*hops, here)


def _walk(hops_from_right: Iterable[str | None], trusted: TrustedNetworks) -> tuple[str, ...]:
    known: list[str] = []
    for hop in hops_from_right:
        if hop is None or len(known) == MAX_HOPS:
            break
        known.append(hop)
        if not trusted.contains(hop):
            break
    return tuple(reversed(known))


def _x_forwarded_hops(lines: Sequence[bytes]) -> Iterable[str | None]:
    for line in reversed(lines):
        for item in reversed(line.split(b",")):
            text = item.strip(b" \t").decode("latin-1")
            match = _ADDRESS_WITH_PORT.fullmatch(text)
            yield _canonical((match[1] or match[2]) if match else text)


def _standard_hops(lines: Sequence[bytes]) -> Iterable[str | None]:
    for line in reversed(lines):
        for hop in reversed(parse_forwarded(line)):
            yield hop.address if hop is not None else None


def _nearest_element(lines: Sequence[bytes]) -> ForwardedHop | None:
    hops = parse_forwarded(lines[-1]) if lines else ()
    return hops[-1] if hops else None


def _last_item(lines: Sequence[bytes]) -> bytes | None:
    return lines[-1].rpartition(b",")[2].strip(b" \t") if lines else None


@lru_cache(maxsize=4096)
def _parsed(address: str) -> IPv6Address | None:
    """Return an address as IPv6, IPv4 mapped into it, so that one kind of network is compared."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv4Address):
        return IPv6Address(b"\0" * 10 + b"\xff\xff" + parsed.packed)
    return parsed if parsed.scope_id is None else IPv6Address(parsed.packed)


@lru_cache(maxsize=4096)
def _canonical(address: str) -> str | None:
    """Return the one way to write an address (IPv4 where it is mapped), or None."""
    parsed = _parsed(address)
    if parsed is None or "%" in address:
        return None
    return str(parsed.ipv4_mapped or parsed)


def _as_v6_network(text: str) -> IPv6Network:
    network = ip_network(text)
    if isinstance(network, IPv6Network):
        return network
    mapped = b"\0" * 10 + b"\xff\xff" + network.network_address.packed
    return IPv6Network((mapped, 96 + network.prefixlen))
