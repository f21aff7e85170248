"""Addresses of listeners and instances: what is read, what is refused, and that text survives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address(host="127.0.0.1", port=8000)),
        ("app1.weddinglk.com:3000", Address(host="app1.weddinglk.com", port=3000)),
        ("localhost:0", Address(host="localhost", port=0)),
        (":8000", Address(port=8000)),
        ("[::1]:80", Address(host="::1", port=80)),
        ("[2001:DB8:0::1]:443", Address(host="2001:db8::1", port=443)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "host:port"),
        ("localhost", "host:port"),
        ("localhost:http", "host:port"),
        ("localhost:65536", "0 to 65535"),
        ("::1:80", "write [::1]:80"),
        ("[::g]:80", "IPv6"),
        ("300.1.1.1:80", "host:port"),
        ("a b:80", "host:port"),
        ("http://a:80", "brackets"),
        ("unix:run/app.sock", "unix:/path"),
        ("unix:/" + "x" * 120, "107 bytes"),
        ("-a:80", "host:port"),
        ("a:８０", "host:port"),
    ],
)
def test_what_is_no_address_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        parse_address(text)


@given(
    st.one_of(
        st.builds(Address, host=st.ip_addresses().map(str), port=st.integers(0, 65535)),
        st.builds(
            Address, host=st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True), port=st.just(80)
        ),
        st.from_regex(r"/[a-zA-Z0-9_./-]{1,90}", fullmatch=True).map(
            lambda path: Address(path=path)
        ),
    )
)
def test_an_address_survives_being_written(address: Address) -> None:
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("app1:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(text: str, loopback: bool) -> None:
    assert parse_address(text).is_loopback is loopback
