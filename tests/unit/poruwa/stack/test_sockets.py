"""Listening sockets: opened once, inherited by text, clear words when they cannot be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from poruwa.errors import StackError
from poruwa.stack.sockets import (
    bound_address,
    describe_listeners,
    free_port,
    inherited_listeners,
    is_port_free,
    open_listener,
    port_holder,
)


def test_port_zero_is_resolved_to_the_port_that_was_chosen() -> None:
    with open_listener("127.0.0.1:0") as sock:
        address = bound_address(sock)
        assert address.startswith("127.0.0.1:")
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5.0):
            pass


def test_a_busy_port_is_one_line_that_names_the_holder_and_the_remedy() -> None:
    with open_listener("127.0.0.1:0") as sock:
        address = bound_address(sock)
        with pytest.raises(StackError) as caught:
            open_listener(address)
    message = caught.value.message
    assert message.startswith(f"{address} is in use by pid {os.getpid()} (")
    assert "--listen" in message
    assert "\n" not in message


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StackError, match=r"192\.0\.2\.1:80 is no address of this machine"):
        open_listener("192.0.2.1:80", option="--admin")


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:99999", "unix:relative"])
def test_what_is_no_address_is_refused_and_names_the_option(text: str) -> None:
    with pytest.raises(StackError, match="--admin"):
        open_listener(text, option="--admin")


def test_a_listener_on_all_interfaces_answers_both_families() -> None:
    with open_listener(":0") as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5.0):
            pass


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    open_listener(f"unix:{path}").close()
    assert path.exists()
    with open_listener(f"unix:{path}") as sock:
        assert bound_address(sock) == f"unix:{path}"
        with pytest.raises(StackError, match="is in use"):
            open_listener(f"unix:{path}")


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StackError):
        open_listener(f"unix:{path}")
    assert path.read_text() == "data"


def test_inherited_listeners_are_what_was_described() -> None:
    original = open_listener("127.0.0.1:0")
    copy = os.dup(original.fileno())
    with original:
        text = describe_listeners({"http": original}).replace(str(original.fileno()), str(copy))
        inherited = inherited_listeners(text)
    with inherited["http"] as sock:
        assert inherited.keys() == {"http"}
        with socket.create_connection(sock.getsockname(), 5.0):
            pass


@pytest.mark.parametrize("text", ["http", "http=x", "http=999999"])
def test_descriptors_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(StackError, match="does not name an inherited socket"):
        inherited_listeners(text)


def test_a_port_is_free_until_somebody_listens() -> None:
    port = free_port()
    assert is_port_free(port)
    assert port_holder(port) is None
    with open_listener(f"127.0.0.1:{port}"):
        assert not is_port_free(port)
