"""The rules of DESIGN section 6 leave nothing stale, and none of them can be left out.

Worlds are small (one object, one or two writes, one or two reads at a time) and walked through
wholly, with every interleaving and every pause.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from spec.coherence_model.explore import explore
from spec.coherence_model.rules import Rules, World

ONE_APP = World(name="one app", layers=1, paths=((0,),), is_cold=True)
IN_TURNS = replace(ONE_APP, name="by-passes are shared", shares_by_passes=True)
UNRELATED = replace(ONE_APP, name="something else changes", unrelated_changes=1, readers=1)
IN_PARTS = replace(UNRELATED, name="a renewal brings one change", entries_per_renewal=1)
CRASH = replace(ONE_APP, name="a writer crashes", writer_crashes=1)
RESTART = replace(
    ONE_APP, name="the bus restarts", readers=1, restarts=1, loses_last_entry=True, lease=2
)
TWO_APPS = World(
    name="two apps with a shared store", layers=2, paths=((0,), (1,)), has_shared_store=True,
    readers=1,
)  # fmt: skip
TWO_WRITERS = replace(TWO_APPS, name="two writers", layers=1, paths=((0,),), writers=2)
AMNESIA = replace(
    TWO_APPS, name="the bus loses its data, and a process that knows nothing begins", layers=1,
    paths=((0,),), restarts=1, layer_crashes=1, loses_everything=True,
)  # fmt: skip
GATEWAY = World(
    name="a gateway before an app, the writer reads too", layers=2, paths=((0, 1),), readers=1,
    has_seen_cookie=True,
)  # fmt: skip

WORLDS = (
    ONE_APP, IN_TURNS, UNRELATED, IN_PARTS, CRASH, RESTART, TWO_APPS, TWO_WRITERS, AMNESIA, GATEWAY
)  # fmt: skip

# The rule that is left out, and a world in which that shows.
NEEDED = (
    ("as_of_is_noted_before_loading", ONE_APP),
    ("joins_only_fills_not_older_than_a_change", ONE_APP),
    ("stores_only_what_did_not_change_meanwhile", ONE_APP),
    ("shared_store_keeps_as_of", TWO_APPS),
    ("shared_store_is_judged", TWO_APPS),
    ("composed_by_the_minimum", GATEWAY),
    ("gateway_takes_the_as_of_of_the_app", GATEWAY),
    ("as_of_beyond_own_position_is_a_miss", AMNESIA),
    ("waits_for_live_layers", ONE_APP),
    ("what_is_sent_is_not_yet_applied", ONE_APP),
    ("lease_counts_from_the_request", ONE_APP),
    ("unsure_asks_the_origin", ONE_APP),
    ("unsure_passes_the_shared_store_by", TWO_APPS),
    ("unsure_joins_no_fill", ONE_APP),
    ("shares_only_by_passes_not_begun", IN_TURNS),
    ("sure_only_at_the_end_of_the_log", IN_PARTS),
    ("layers_have_names_of_their_own", TWO_APPS),
    ("restart_begins_an_epoch", RESTART),
    ("epoch_exceeds_what_layers_know", AMNESIA),
    ("waits_for_leases_of_before", RESTART),
    ("waiting_writers_begin_again", RESTART),
    ("only_the_new_primary_grants_leases", RESTART),
    ("commits_before_publishing", ONE_APP),
    ("has_outbox", CRASH),
    ("written_value_is_not_stored", TWO_WRITERS),
    ("layers_wait_for_the_seen_position", GATEWAY),
    ("seen_position_is_forwarded", GATEWAY),
)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_with_all_rules_nothing_stale_is_read_or_kept(world: World) -> None:
    finding = explore(world, Rules())

    assert not finding.wrong, str(finding)
    assert finding.states > 1_000  # the world was walked through, not refused at its door


@pytest.mark.parametrize(
    "world",
    [TWO_WRITERS, AMNESIA, replace(GATEWAY, has_seen_cookie=False)],
    ids=lambda world: world.name,
)
def test_what_still_holds_when_it_is_used_is_as_good_as_loaded_then(world: World) -> None:
    """The cache manager's reading of the minimum: a part has the position at which it was found
    unchanged, so that parts of different ages make something that can be kept."""
    finding = explore(replace(world, use_renews_as_of=True), Rules())

    assert not finding.wrong, str(finding)


@pytest.mark.parametrize(("rule", "world"), NEEDED, ids=lambda value: getattr(value, "name", value))
def test_without_one_rule_something_stale_is_found(rule: str, world: World) -> None:
    finding = explore(world, Rules(**{rule: False}))

    assert finding.wrong, f"{world.name}: nothing wrong without {rule} in {finding.states} states"


def test_every_rule_is_tried() -> None:
    tried = {rule for rule, _ in NEEDED}

    assert tried == {field.name for field in fields(Rules)}
