"""The running topology: kept before it counts, told when it changes, the same over reloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from poruwa.config.load import parse_policy
from poruwa.config.model import Policy
from poruwa.errors import StackError
from poruwa.gateway.local_bus import Topology
from poruwa.rules.topology import Change, Drain, DrainPhase
from poruwa.stack.kept_changes import KeptChanges
from poruwa.stack.topology import RunningTopology
from poruwa.stack.workers import updated_pools

POLICY = """
[pools.app]
instances = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
[[routes]]
path = "/*"
pool = "app"
"""


@dataclass
class ManualClock:
    """Both clocks stand still until they are set."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@dataclass(frozen=True)
class Found:
    """An instance that discovery found."""

    name: str
    address: str
    weight: int = 1


class Case:
    """A topology, the load that it sees, and how often it told of a change."""

    def __init__(self, folder: Path | None, *, policy: str = POLICY, capacity: int = 4) -> None:
        self.clock = ManualClock()
        self.load: dict[int, int] = {}
        self.told = 0
        self.policy = parse_policy(policy, "site.toml")
        self.topology = RunningTopology(
            self.policy,
            kept=KeptChanges(folder),
            capacity=capacity,
            in_flight=lambda slot: self.load.get(slot, 0),
            is_held=lambda slot: False,
            on_change=self._count,
            clock=self.clock,
        )

    def _count(self) -> None:
        self.told += 1

    def names(self) -> list[str]:
        return names_in(self.topology.message)


def names_in(message: Topology) -> list[str]:
    return [entry.name for pool in message.pools for entry in pool.instances]


def other_policy(text: str = POLICY.replace('name = "b"', 'name = "c"')) -> Policy:
    return parse_policy(text, "site.toml")


def test_a_change_is_kept_and_told(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.topology.change("app", "a", Change(weight=4))
    assert case.told == 1
    assert case.topology.targets[0].weight == 4
    assert KeptChanges(tmp_path).read() == {"app": {"a": Change(weight=4)}}
    case.topology.change("app", "a", Change(weight=4))
    assert case.told == 1, "nothing is different"
    assert Case(tmp_path).topology.targets[0].weight == 4


def test_what_cannot_be_kept_does_not_happen(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "runtime.json.new").mkdir()
    with pytest.raises(StackError):
        case.topology.change("app", "a", Change(removed=True))
    assert (case.names(), case.told) == (["a", "b"], 0)


def test_what_there_is_no_room_for_is_not_kept(tmp_path: Path) -> None:
    case = Case(tmp_path, capacity=2)
    with pytest.raises(StackError, match="3 instances are more") as caught:
        case.topology.change("app", "x", Change(address="10.0.0.3:80"))
    assert caught.value.status_hint == 409
    assert (case.names(), case.told) == (["a", "b"], 0)
    assert not (tmp_path / "runtime.json").exists()


def test_found_instances_join_and_go_and_too_many_change_nothing() -> None:
    case = Case(None, policy=with_discovery())
    case.topology.set_found("app", [Found("f", "10.0.0.3:80"), Found("g", "10.0.0.4:80")])
    assert case.names() == ["a", "b", "f", "g"]
    slots = {target.name: target.slot for target in case.topology.targets}
    case.topology.set_found("app", [Found(f"h{n}", f"10.0.1.{n}:80") for n in range(9)])
    assert case.names() == ["a", "b", "f", "g"]
    case.topology.set_found("app", [Found("g", "10.0.0.4:80")])
    assert case.names() == ["a", "b", "g"]
    assert case.topology.targets[2].slot == slots["g"]
    assert case.told == 2


def with_discovery() -> str:
    return POLICY.replace(
        "[[routes]]", '[pools.app.discovery]\nsource = "app.internal:3000"\n[[routes]]'
    )


def test_a_drain_ends_at_its_limit_and_a_removal_with_it(tmp_path: Path) -> None:
    case = Case(tmp_path)
    limit = Drain(since=case.clock.now, limit_seconds=60.0)
    case.topology.change("app", "a", Change(drain=limit))
    leaving = Drain(since=case.clock.now, limit_seconds=60.0, remove=True)
    case.topology.change("app", "b", Change(drain=leaving))
    case.load = {1: 1}
    case.topology.tick()
    phases = [target.drain for target in case.topology.targets]
    assert (case.told, phases) == (2, [DrainPhase.DRAINING, DrainPhase.DRAINING])
    case.clock.now += 60.0
    case.topology.tick()
    assert case.names() == ["a"]
    assert case.topology.targets[0].drain is DrainPhase.DRAINED
    assert case.topology.changes["app"]["b"] == Change(removed=True)
    told = case.told
    case.topology.tick()
    assert case.told == told
    # Its last request is still under way: the slot is nobody else's.
    case.clock.now += 60.0
    case.topology.change("app", "x", Change(address="10.0.0.9:80"))
    assert {target.name: target.slot for target in case.topology.targets} == {"a": 0, "x": 2}


def test_an_idle_instance_that_binds_nobody_leaves_at_once() -> None:
    case = Case(None)
    drain = Drain(since=case.clock.now, limit_seconds=60.0, remove=True)
    case.topology.change("app", "b", Change(drain=drain))
    case.topology.tick()
    assert case.names() == ["a"]


def test_a_preview_changes_nothing_and_a_reload_keeps_slots(tmp_path: Path) -> None:
    case = Case(tmp_path)
    wanted = other_policy()
    assert names_in(case.topology.preview(wanted)) == ["a", "c"]
    assert (case.names(), case.told) == (["a", "b"], 0)
    case.topology.set_policy(wanted)
    assert case.names() == ["a", "c"]
    assert [target.slot for target in case.topology.targets] == [0, 2]


def test_a_reload_takes_the_file_as_it_is_now_but_not_over_a_later_command(tmp_path: Path) -> None:
    case = Case(tmp_path)
    KeptChanges(tmp_path).write({"app": {"a": Change(weight=9)}})
    case.topology.preview(case.policy)
    case.topology.set_policy(case.policy)
    assert case.topology.targets[0].weight == 9
    KeptChanges(tmp_path).write({"app": {"a": Change(weight=2)}})
    case.topology.preview(case.policy)
    case.topology.change("app", "b", Change(weight=5))  # writes the file with what is in force
    case.topology.set_policy(case.policy)
    assert [target.weight for target in case.topology.targets] == [9, 5]
    assert KeptChanges(tmp_path).read() == case.topology.changes


def test_a_reload_whose_file_is_broken_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "runtime.json").write_text("{")
    with pytest.raises(StackError, match="cannot be used"):
        case.topology.preview(case.policy)


def test_old_workers_keep_pools_that_are_no_longer_there() -> None:
    before = Case(None).topology.message
    gone = POLICY.replace("app", "other")
    after = Case(None, policy=gone).topology.message
    assert updated_pools(before, after) == before
    changed = Case(None)
    changed.topology.change("app", "b", Change(removed=True))
    assert names_in(updated_pools(before, changed.topology.message)) == ["a"]
