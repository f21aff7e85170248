"""Who the client is and what the upstream is told (issue: forwarding; SECURITY-CHECKS 49, 53)."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.forwarding import (
    CLIENT_CLAIM_NAMES,
    ForwardedHop,
    ForwardingFields,
    TrustedNetworks,
    client_address,
    client_view,
    forwarded_fields,
    parse_forwarded,
)

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "spec/forwarding/client_address.json").read_text()
)
TRUSTED = TrustedNetworks(("10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "unix"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_client_address(case: dict[str, Any]) -> None:
    assert (
        client_address(
            case["peer"],
            [line.encode("latin-1") for line in case.get("x_forwarded_for", [])],
            [line.encode("latin-1") for line in case.get("forwarded", [])],
            TrustedNetworks(case["trusted"]),
        )
        == case["client"]
    )


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("nonsense", False),
        ("", False),
        (None, True),
    ],
)
def test_trusted_networks(address: str | None, is_trusted: bool) -> None:
    assert TRUSTED.contains(address) is is_trusted


def test_nobody_is_trusted_by_default() -> None:
    assert not any(TrustedNetworks().contains(address) for address in (None, "127.0.0.1", "::1"))


@pytest.mark.parametrize("network", ["10.0.0.1/8", "example.lk", "10.0.0.0/33", ""])
def test_wrong_networks_are_refused(network: str) -> None:
    with pytest.raises(ValueError):
        TrustedNetworks((network,))


def hop(address: str | None, **rest: bytes) -> ForwardedHop:
    return ForwardedHop(address=address, **rest)


@pytest.mark.parametrize(
    ("line", "hops"),
    [
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", (hop("192.0.2.60", proto=b"http"),)),
        (b'For="[2001:DB8::17]:4711"', (hop("2001:db8::17"),)),
        (b"for=192.0.2.43, for=198.51.100.17", (hop("192.0.2.43"), hop("198.51.100.17"))),
        (b'for="_gazonk"', (hop(None),)),
        (b"for=unknown", (hop(None),)),
        (b"for=_a:_b", (None,)),  # a colon is no token character: quotes are wanted
        (b'for="1.2.3.4:80";host="a.lk:80"', (hop("1.2.3.4", host=b"a.lk:80"),)),
        (b'for="1.2.3\\.4"', (hop("1.2.3.4"),)),
        (b"for=1.2.3.4,, ,for=1.2.3.5", (hop("1.2.3.4"), hop("1.2.3.5"))),
        (b"proto=https", (hop(None, proto=b"https"),)),
        (b"for=[2001:db8::1]", (None,)),  # needs quotes
        (b"for=1.2.3.4;for=1.2.3.5", (None,)),
        (b"for = 1.2.3.4", (None,)),
        (b"for=1.2.3.4; proto=http", (None,)),
        (b"for=1.2.3.256", (None,)),
        (b"for=1.2.3.4 x, for=1.1.1.1", (None, hop("1.1.1.1"))),
        (b'for="1.2.3.4, for=1.1.1.1', (None, hop("1.1.1.1"))),
        (b'for="x, for="[2001:db8::1]"', (None,)),
        (b"", ()),
    ],
)
def test_parse_forwarded(line: bytes, hops: tuple[ForwardedHop | None, ...]) -> None:
    """RFC 7239 section 4."""
    assert parse_forwarded(line) == hops


@given(st.binary(max_size=120))
def test_parse_forwarded_never_raises(line: bytes) -> None:
    for found in parse_forwarded(line):
        if found is not None and found.address is not None:
            assert str(ip_address(found.address)) == found.address


@given(st.text(alphabet='for="[]\\:;,1.2_ =\t', max_size=60))
def test_nothing_left_of_the_proxys_own_element_alters_it(left: str) -> None:
    """A proxy appends to whatever a client sent: its own element must survive or fall, not turn."""
    appended = b'for="[2001:db8::9]";proto=https'
    hops = parse_forwarded(left.encode() + b", " + appended)
    assert hops
    assert hops[-1] in (None, hop("2001:db8::9", proto=b"https"))


@given(
    st.lists(st.ip_addresses().map(str), max_size=4),
    st.lists(st.text(max_size=20), max_size=3),
)
def test_an_untrusted_peer_is_the_client(hops: list[str], junk: list[str]) -> None:
    """Check 53: rotating the fields changes nothing."""
    lines = [", ".join(hops).encode(), *(text.encode() for text in junk)]
    assert client_address("203.0.113.9", lines, lines, TRUSTED) == "203.0.113.9"


@given(st.lists(st.text(alphabet="0123456789abcdef.:[]_, x", max_size=30), max_size=4))
def test_the_client_is_always_an_address_or_the_peer(lines: list[str]) -> None:
    encoded = [line.encode() for line in lines]
    for address in (
        client_address("10.0.0.1", encoded, [], TRUSTED),
        client_address(None, [], encoded, TRUSTED),
    ):
        assert address == "unix" or ip_address(address)


def test_upstream_is_told_only_what_is_known() -> None:
    fields = ForwardingFields(
        x_forwarded_for=[b"6.6.6.6, 203.0.113.7, 10.0.0.2"],
        x_forwarded_proto=[b"https"],
        x_forwarded_host=[b"www.weddinglk.com"],
    )
    view = client_view("10.0.0.1", b"http", 8000, fields, TRUSTED)
    assert view.address == "203.0.113.7"
    assert forwarded_fields(view, b"internal") == (
        b"X-Forwarded-For: 203.0.113.7, 10.0.0.2, 10.0.0.1\r\n"  # 6.6.6.6 is only a claim
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
        b"X-Forwarded-Host: www.weddinglk.com\r\n"
    )
    untrusted = client_view("203.0.113.9", b"http", 8000, fields, TRUSTED)
    assert forwarded_fields(untrusted, b"weddinglk.com") == (
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 8000\r\n"
        b"X-Forwarded-Host: weddinglk.com\r\n"
    )


@pytest.mark.parametrize(
    "fields",
    [
        ForwardingFields(x_forwarded_proto=[b"javascript"]),
        ForwardingFields(x_forwarded_port=[b"99999"]),
        ForwardingFields(x_forwarded_port=[b"-1"]),
        ForwardingFields(x_forwarded_port=[b"0000655369"]),
        ForwardingFields(x_forwarded_host=[b"a b"]),
        ForwardingFields(x_forwarded_host=[b"evil/\\path"]),
        ForwardingFields(x_forwarded_for=[b"<script>"]),
    ],
)
def test_nonsense_of_a_trusted_peer_changes_nothing(fields: ForwardingFields) -> None:
    plain = client_view("10.0.0.1", b"http", 80, ForwardingFields(), TRUSTED)
    assert client_view("10.0.0.1", b"http", 80, fields, TRUSTED) == plain


def test_a_trusted_unix_peer_leaves_the_chain_as_it_is() -> None:
    fields = ForwardingFields(forwarded=[b"for=203.0.113.7;proto=https;host=a.lk"])
    view = client_view(None, b"http", 80, fields, TRUSTED)
    assert (view.chain, view.scheme, view.host) == (("203.0.113.7",), b"https", b"a.lk")


def test_a_peer_without_address_is_not_given_one() -> None:
    view = client_view(None, b"http", 80, ForwardingFields(), TrustedNetworks())
    assert view.address == "unix"
    assert forwarded_fields(view) == b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n"


def test_claims_are_known_in_both_spellings() -> None:
    """Check 49, and the underscore that CGI-like gateways take for a hyphen."""
    for name in (
        b"forwarded", b"x-forwarded-for", b"x_forwarded_for", b"x-forwarded-prefix", b"x-real-ip",
        b"x-original-url", b"x-rewrite-url", b"x-host", b"x-http-method-override", b"proxy",
    ):  # fmt: skip
        assert name in CLIENT_CLAIM_NAMES
    assert not {b"host", b"cookie", b"authorization", b"user-agent"} & CLIENT_CLAIM_NAMES
