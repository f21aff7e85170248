"""What a reload keeps, and what it cannot change: decided from two policies."""

from __future__ import annotations

import pytest

from poruwa.config.load import parse_policy
from poruwa.config.model import Policy
from poruwa.stack.reload import match_listeners, needs_restart

STARTED = '[stack]\napplication = "site:app"\n[pools.more]'


def policy(text: str, rest: str = "") -> Policy:
    return parse_policy(
        f'{text}\n[pools.app]\ninstances = ["127.0.0.1:1"]\n'
        f'[[routes]]\npath = "/*"\npool = "app"\n{rest}',
        "site.toml",
        environ={"OLD": "a" * 40, "NEW": "b" * 40},
    )


def listeners(**addresses: str) -> Policy:
    return policy(
        "\n".join(f'[listeners.{name}]\naddress = "{at}"' for name, at in addresses.items())
    )


@pytest.mark.parametrize(
    ("before", "after", "matched"),
    [
        ({"http": ":80"}, {"http": ":80"}, {"http": "http"}),
        ({"http": ":80"}, {"web": ":80"}, {"web": "http"}),  # renamed
        ({"http": ":80"}, {"http": ":81"}, {}),  # moved: another socket
        ({"a": ":80", "b": ":81"}, {"a": ":81", "b": ":80"}, {"a": "b", "b": "a"}),
        ({"a": ":0", "b": ":0"}, {"b": ":0", "c": ":0"}, {"b": "b", "c": "a"}),
        ({"a": ":0"}, {"a": ":0", "b": ":0"}, {"a": "a"}),
        ({"a": "unix:/run/a"}, {"a": "unix:/run/a", "b": ":80"}, {"a": "a"}),
        ({"a": "[::1]:80"}, {"a": "[::1]:80"}, {"a": "a"}),
    ],
)
def test_a_listener_keeps_its_socket_as_long_as_its_address(
    before: dict[str, str], after: dict[str, str], matched: dict[str, str]
) -> None:
    assert match_listeners(listeners(**before), listeners(**after)) == matched


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("", "", ()),
        ('[timeouts]\ndrain = "1s"', '[timeouts]\ndrain = "2s"', ()),
        ('[admin]\naddress = "127.0.0.1:1"', '[admin]\naddress = "127.0.0.1:2"',
         ("admin.address",)),
        ('[admin]\ntoken = "env:OLD"', '[admin]\ntoken = "env:NEW"', ("admin.token",)),
        ('[logs]\nformat = "json"', '[logs]\nformat = "text"', ("logs.format",)),
        ('[logs]\nlevel = "info"', '[logs]\nlevel = "error"', ()),
        ('[stores.memory]\nmemory = "64MiB"', '[stores.memory]\nmemory = "32MiB"', ("stores",)),
        ('[stack]\nstate = "a"', '[stack]\nstate = "b"', ("stack",)),
        (f"{STARTED}\ncount = 1", f"{STARTED}\ncount = 2", ("pools.more.count",)),
    ],
)  # fmt: skip
def test_what_takes_a_restart_is_named(before: str, after: str, named: tuple[str, ...]) -> None:
    assert needs_restart(policy(before), policy(after)) == named
