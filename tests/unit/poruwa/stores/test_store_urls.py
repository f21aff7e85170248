"""Where a store is: the URL of the environment before the nodes of the policy."""

from __future__ import annotations

import pytest

from poruwa.config.model import StoreMode, ValkeyStore
from poruwa.errors import ConfigError
from poruwa.stores.store_url import BUS_URL, store_from_environment, store_from_url

POLICY = ValkeyStore(
    mode=StoreMode.PRIMARY_REPLICA, nodes=("a:1", "b:2"), timeout_seconds=0.7, retries=3, tls=True
)


def test_a_url_names_server_user_and_database_and_leaves_the_rest() -> None:
    store = store_from_url("valkey://me:p%40ss%2F%20@127.0.0.1:7000/3", POLICY)
    assert store.nodes == ("127.0.0.1:7000",)
    assert store.mode is StoreMode.SINGLE
    assert (store.username, store.database, store.tls) == ("me", 3, False)
    assert store.password is not None
    assert store.password.reveal() == "p@ss/ "
    assert "p@ss" not in repr(store)
    assert (store.timeout_seconds, store.retries) == (0.7, 3)


@pytest.mark.parametrize(
    ("url", "node", "tls"),
    [
        ("valkeys://cache.example.lk", "cache.example.lk:6379", True),
        ("rediss://cache.example.lk:1/", "cache.example.lk:1", True),
        ("redis://[::1]:7000/0", "[::1]:7000", False),
    ],
)
def test_forms_of_urls(url: str, node: str, tls: bool) -> None:
    store = store_from_url(url, ValkeyStore())
    assert store.nodes == (node,)
    assert (store.tls, store.username, store.password) == (tls, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "http://secret@a:1/0",
        "valkey://",
        "valkey://:secret@/0",
        "valkey://a:secret/0",
        "valkey://:secret@a:1/x",
        "valkey://:secret@a:1/16",
        "valkey://:secret@a:1/0?x=1",
        "a:1",
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ConfigError, match="write valkey://") as caught:
        store_from_url(url, ValkeyStore())
    assert "secret" not in caught.value.message


def test_the_environment_comes_before_the_policy() -> None:
    environ = {BUS_URL: "valkey://c:3/0"}
    found = store_from_environment(POLICY, BUS_URL, environ)
    assert found is not None
    assert found.nodes == ("c:3",)
    without = store_from_environment(None, BUS_URL, environ)
    assert without is not None
    assert without.nodes == ("c:3",)


def test_without_a_url_the_policy_decides() -> None:
    assert store_from_environment(POLICY, BUS_URL, {BUS_URL: ""}) is POLICY
    assert store_from_environment(ValkeyStore(), BUS_URL, {}) is None
    assert store_from_environment(None, BUS_URL, {}) is None
