"""What happens at the bus: time, renewals of leases, restarts, and layers that begin anew."""

from __future__ import annotations

from collections.abc import Iterator

from spec.coherence_model.rules import Rules, World
from spec.coherence_model.state import (
    EPOCH,
    IDLE,
    Layer,
    LogEntry,
    Renewal,
    Server,
    State,
    put,
)

Step = tuple[str, State]


def begun(server: Server, known_epoch: int, rules: Rules, world: World) -> Server:
    """Return the server after ``begin``: what every client calls first on a connection."""
    if server.has_begun:
        return server
    return _new_epoch(server, known_epoch, rules, world)


def _new_epoch(server: Server, known_epoch: int, rules: Rules, world: World) -> Server:
    wait = world.lease if rules.waits_for_leases_of_before else 0
    server = server._replace(has_begun=True, began_wait=wait)
    if not rules.restart_begins_an_epoch:
        return server
    known = known_epoch if rules.epoch_exceeds_what_layers_know else 0
    epoch = max(server.epoch, known) + 1
    entry = LogEntry(epoch * EPOCH, True)
    return server._replace(epoch=epoch, log=(*server.log, entry))


def appended(server: Server, touches: bool) -> Server:
    """Return the server with one more entry; the caller has begun."""
    last = server.log[-1].position if server.log else 0
    position = last + 1 if last >= server.epoch * EPOCH else server.epoch * EPOCH
    return server._replace(log=(*server.log, LogEntry(position, touches)))


def bus_steps(state: State, rules: Rules, world: World) -> Iterator[Step]:
    """Yield what may happen next at the bus and between it and the layers."""
    yield from _tick(state, world)
    for index, layer in enumerate(state.layers):
        yield from _renewal(state, index, layer, rules, world)
    if state.restarts_left:
        yield from _restart(state, rules, world)
    if state.layer_crashes_left:
        yield from _layer_crash(state)


def _tick(state: State, world: World) -> Iterator[Step]:
    server = state.server
    ticked = state._replace(
        server=server._replace(
            leases=tuple(max(left - 1, 0) for left in server.leases),
            began_wait=max(server.began_wait - 1, 0),
        ),
        layers=tuple(_older(layer, world) for layer in state.layers),
    )
    if ticked != state:
        yield "time passes", ticked


def _older(layer: Layer, world: World) -> Layer:
    renewal = layer.renewal
    if renewal is not None:
        renewal = renewal._replace(age=min(renewal.age + 1, world.lease))
    return layer._replace(sure=max(layer.sure - 1, 0), renewal=renewal)


def _renewal(state: State, index: int, layer: Layer, rules: Rules, world: World) -> Iterator[Step]:
    renewal = layer.renewal
    if renewal is None:
        sent = layer._replace(renewal=Renewal(0, layer.position))
        yield f"layer {index} asks for a lease", _with_layer(state, index, sent)
        if not rules.only_the_new_primary_grants_leases and layer.run < state.server.run:
            kept = layer._replace(sure=world.lease)
            if kept != layer:
                yield f"the old primary renews layer {index}", _with_layer(state, index, kept)
    elif renewal.reply is None:
        yield _answered(state, index, layer, renewal, rules, world)
    else:
        yield _received(state, index, layer, renewal, rules, world)


def _answered(
    state: State, index: int, layer: Layer, renewal: Renewal, rules: Rules, world: World
) -> Step:
    known = renewal.applied // EPOCH
    server = begun(state.server, known, rules, world)
    end = server.log[-1].position if server.log else 0
    if rules.restart_begins_an_epoch and renewal.applied > end:  # the log ends before what we know
        server = _new_epoch(server, known, rules, world)
    entries = tuple(each for each in server.log if each.position > renewal.applied)
    sent = entries[: world.entries_per_renewal]
    row = index if rules.layers_have_names_of_their_own else 0
    applied = renewal.applied
    if not rules.what_is_sent_is_not_yet_applied and sent:
        applied = sent[-1].position
    server = server._replace(
        leases=put(server.leases, row, world.lease), applied=put(server.applied, row, applied)
    )
    whole = len(sent) == len(entries) or not rules.sure_only_at_the_end_of_the_log
    layer = layer._replace(renewal=renewal._replace(reply=sent, is_whole=whole), run=server.run)
    return f"the bus renews layer {index}", _with_layer(state, index, layer, server)


def _received(
    state: State, index: int, layer: Layer, renewal: Renewal, rules: Rules, world: World
) -> Step:
    assert renewal.reply is not None
    layer = layer.applied(renewal.reply)._replace(renewal=None)
    if renewal.is_whole:
        age = renewal.age if rules.lease_counts_from_the_request else 0
        layer = layer._replace(sure=max(layer.sure, world.lease - age))
    return f"layer {index} applies {len(renewal.reply)} changes", _with_layer(state, index, layer)


def _restart(state: State, rules: Rules, world: World) -> Iterator[Step]:
    server = state.server
    cut = state._replace(
        restarts_left=state.restarts_left - 1,
        layers=tuple(layer._replace(renewal=None) for layer in state.layers),
        server=server._replace(
            has_begun=False, began_wait=0, leases=(0,) * world.layers, run=server.run + 1
        ),
    )
    yield "the bus restarts", cut
    if world.loses_last_entry and len(server.log) > 1:
        lost = cut.server._replace(log=server.log[:-1])
        yield "the bus restarts without its last entry", cut._replace(server=lost)
    if world.loses_everything:
        empty = cut.server._replace(epoch=0, log=(), applied=(0,) * world.layers)
        yield "the bus restarts empty", cut._replace(server=empty)


def _layer_crash(state: State) -> Iterator[Step]:
    for index in range(len(state.layers)):
        reads = tuple(
            IDLE if any(frame.layer == index for frame in read.frames) else read
            for read in state.reads
        )
        fresh = Layer(0, 0, 0, None, run=state.server.run)
        after = _with_layer(state, index, fresh)
        yield (
            f"layer {index} starts anew",
            after._replace(
                reads=tuple(_without_lost_joins(reads)),
                layer_crashes_left=state.layer_crashes_left - 1,
            ),
        )


def _without_lost_joins(reads: tuple) -> Iterator:  # type: ignore[type-arg]
    for read in reads:
        is_lost = read.phase == "join" and reads[read.joined].phase == "idle"
        yield IDLE if is_lost else read


def _with_layer(state: State, index: int, layer: Layer, server: Server | None = None) -> State:
    return state._replace(layers=put(state.layers, index, layer), server=server or state.server)
