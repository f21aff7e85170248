"""The command line over the policy file."""

from __future__ import annotations

from pathlib import Path

import pytest

from poruwa.app.security.key_source import key_reader
from poruwa.config.load import default_policy, parse_policy
from poruwa.config.model import Policy
from poruwa.errors import ConfigError
from poruwa.stack.generated import generated_secret_names, kept_in
from poruwa.stack.overrides import with_admin, with_listen, with_upstreams, with_workers
from poruwa.stack.state import StateFolder
from poruwa.stack.topology import make_topology

TWO_POOLS = """
[listeners.http]
address = "127.0.0.1:8000"
[listeners.inner]
address = "127.0.0.1:8002"
[pools.app]
count = 3
[pools.app.affinity]
keys = "env:TEST_AFFINITY_KEYS"
[pools.api]
instances = [{ name = "first", address = "10.0.0.1:80", weight = 5 }, "10.0.0.2:80"]
[stack]
application = "site.app:app"
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/api/*"
pool = "api"
"""


@pytest.fixture
def policy() -> Policy:
    return parse_policy(TWO_POOLS, "site.toml")


def addresses(policy: Policy, pool: str) -> list[str]:
    return [instance.address for instance in policy.pool_named(pool).instances]


def test_listen_replaces_the_first_listener_or_the_one_it_names(policy: Policy) -> None:
    changed = with_listen(policy, ["127.0.0.1:1", "inner=unix:/run/a=b.sock", "new=:3"])
    assert {listener.name: listener.address for listener in changed.listeners} == {
        "http": "127.0.0.1:1",
        "inner": "unix:/run/a=b.sock",
        "new": ":3",
    }


def test_several_addresses_without_a_file_make_several_listeners() -> None:
    policy = default_policy(upstreams=("127.0.0.1:9",))
    changed = with_listen(policy, ["127.0.0.1:1", "127.0.0.1:2"])
    assert [listener.address for listener in changed.listeners] == ["127.0.0.1:1", "127.0.0.1:2"]


def test_upstreams_are_exactly_those_of_the_pool_they_name(policy: Policy) -> None:
    """A1: by list. An instance that is known keeps its name and weight."""
    changed = with_upstreams(
        policy, ["app=unix:/run/app.1.sock", "app=unix:/run/app.2.sock", "api=10.0.0.1:80"]
    )
    assert addresses(changed, "app") == ["unix:/run/app.1.sock", "unix:/run/app.2.sock"]
    assert [instance.name for instance in changed.pool_named("app").instances] == [
        "app.1",
        "app.2",
    ]
    (api,) = changed.pool_named("api").instances
    assert (api.name, api.weight) == ("first", 5)


def test_an_upstream_without_a_pool_needs_a_policy_with_one(policy: Policy) -> None:
    with pytest.raises(ConfigError, match=r"POOL=ADDRESS.*\(app, api\)"):
        with_upstreams(policy, ["127.0.0.1:9"])
    with pytest.raises(ConfigError, match="--upstream"):
        with_upstreams(policy, ["app=nonsense"])
    single = default_policy(upstreams=("127.0.0.1:9",))
    assert addresses(with_upstreams(single, ["127.0.0.1:7"]), "default") == ["127.0.0.1:7"]


def test_admin_can_be_moved_and_left_out(policy: Policy) -> None:
    assert with_admin(policy, "127.0.0.1:7").admin.address == "127.0.0.1:7"
    assert with_admin(policy, "none").admin.address is None
    assert with_admin(policy, None) == policy
    with pytest.raises(ConfigError, match="--admin"):
        with_admin(policy, "nonsense")


def test_workers_override(policy: Policy) -> None:
    assert with_workers(policy, 3).gateway.workers == 3
    assert with_workers(policy, None) == policy


def test_every_instance_has_a_slot_of_its_own(policy: Policy) -> None:
    topology = make_topology(with_upstreams(policy, ["app=unix:/run/a"]), max_instances=8)
    slots = [entry.slot for pool in topology.pools for entry in pool.instances]
    assert slots == [0, 1, 2]


def test_instances_are_told_where_a_ring_is_kept(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, tmp_path)
    made = state.make_secrets(["RING"])
    told = kept_in(made, state)
    assert key_reader("env:RING", told, tmp_path)() == made["RING"]


def test_only_key_rings_are_made_up(policy: Policy) -> None:
    """A password that is missing must be said to be missing."""
    assert generated_secret_names(policy) == ["TEST_AFFINITY_KEYS"]
    with_password = TWO_POOLS + '[database]\nusername = "u"\npassword = "env:DB_PASSWORD"\n'
    policy = parse_policy(with_password, "site.toml")
    assert generated_secret_names(policy) == ["TEST_AFFINITY_KEYS"]
