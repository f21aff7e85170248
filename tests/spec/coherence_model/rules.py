"""The rules, each of which can be taken away, and the worlds in which they are tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Every field says what is done; the other value is the mistake.

    Not among them: that an answer of an unsure app (``Poruwa-Unsure``) is not stored. Here it is
    stored, and nothing becomes stale, because it carries the position that the app had applied.
    """

    # Fills (DESIGN section 6, rule 1 and 3).
    as_of_is_noted_before_loading: bool = True
    joins_only_fills_not_older_than_a_change: bool = True
    stores_only_what_did_not_change_meanwhile: bool = True
    shared_store_keeps_as_of: bool = True
    shared_store_is_judged: bool = True
    composed_by_the_minimum: bool = True
    gateway_takes_the_as_of_of_the_app: bool = True
    as_of_beyond_own_position_is_a_miss: bool = True
    # Leases (rule 5).
    waits_for_live_layers: bool = True
    what_is_sent_is_not_yet_applied: bool = True
    lease_counts_from_the_request: bool = True
    unsure_asks_the_origin: bool = True
    unsure_passes_the_shared_store_by: bool = True
    unsure_joins_no_fill: bool = True
    shares_only_by_passes_not_begun: bool = True  # where by-passes are shared at all
    sure_only_at_the_end_of_the_log: bool = True
    layers_have_names_of_their_own: bool = True
    # Epochs (rule 6).
    restart_begins_an_epoch: bool = True
    epoch_exceeds_what_layers_know: bool = True
    waits_for_leases_of_before: bool = True
    waiting_writers_begin_again: bool = True
    only_the_new_primary_grants_leases: bool = True
    # Publishing (rule 4) and read your writes (rule 7).
    commits_before_publishing: bool = True
    has_outbox: bool = True
    written_value_is_not_stored: bool = True
    layers_wait_for_the_seen_position: bool = True
    seen_position_is_forwarded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there is and how often something happens.

    ``paths`` are the ways a read takes through layers, by number: ``((0, 1),)`` is a gateway 0
    before an app 1. The last layer of a path asks the shared store, if there is one, then the
    database.
    """

    name: str
    layers: int
    paths: tuple[tuple[int, ...], ...]
    has_shared_store: bool = False  # filled at first
    is_cold: bool = False  # the layers have nothing at first
    readers: int = 2
    writers: int = 1
    unrelated_changes: int = 0
    writer_crashes: int = 0
    layer_crashes: int = 0
    restarts: int = 0
    loses_last_entry: bool = False  # though `appendfsync always` should prevent it
    loses_everything: bool = False
    entries_per_renewal: int = 9
    lease: int = 1  # ticks
    has_seen_cookie: bool = False
    shares_by_passes: bool = False  # who by-passes waits for one that begins after it came
    use_renews_as_of: bool = False  # what is found and still holds counts as loaded just then
