"""What writers, the relay and other processes do: commit, append, wait, crash."""

from __future__ import annotations

from collections.abc import Iterator

from spec.coherence_model.bus import Step, appended, begun
from spec.coherence_model.rules import Rules, World
from spec.coherence_model.state import Entry, Server, State, Writer, put


def write_steps(state: State, rules: Rules, world: World) -> Iterator[Step]:
    """Yield what may happen next on the way of a write."""
    for index, writer in enumerate(state.writers):
        yield from _STEPS[writer.phase](state, index, writer, rules, world)
        if writer.phase == "committed" and state.writer_crashes_left:
            yield f"writer {index} crashes", _crashed(state, index, writer, rules)
    if any(writer.phase == "gone" for writer in state.writers) and state.outbox:
        server = appended(begun(state.server, 0, rules, world), touches=True)
        yield "the relay publishes", state._replace(server=server, outbox=state.outbox[1:])
    if state.unrelated_left:
        server = appended(begun(state.server, 0, rules, world), touches=False)
        yield (
            "something else changes",
            state._replace(server=server, unrelated_left=state.unrelated_left - 1),
        )


def _idle(state: State, index: int, writer: Writer, rules: Rules, world: World) -> Iterator[Step]:
    if rules.commits_before_publishing:
        yield f"writer {index} commits", _committed(state, index, "committed", writer)
    else:
        yield f"writer {index} publishes", _published(state, index, "appended", rules, world)


def _appended(
    state: State, index: int, writer: Writer, rules: Rules, world: World
) -> Iterator[Step]:
    after = _committed(state, index, "waiting", writer)
    yield f"writer {index} commits", after._replace(outbox=())


def _committed_steps(
    state: State, index: int, writer: Writer, rules: Rules, world: World
) -> Iterator[Step]:
    yield f"writer {index} publishes", _published(state, index, "waiting", rules, world)


def _waiting(
    state: State, index: int, writer: Writer, rules: Rules, world: World
) -> Iterator[Step]:
    server = state.server
    if rules.waiting_writers_begin_again:
        server = begun(server, 0, rules, world)
        if server != state.server:
            yield f"writer {index} begins again", state._replace(server=server)
            return
    if server.began_wait or any(_is_awaited(server, row, writer) for row in writer.waits_for):
        return
    yield (
        f"writer {index} has version {writer.version} acknowledged",
        state._replace(
            writers=put(state.writers, index, writer._replace(phase="done", waits_for=())),
            acknowledged=max(state.acknowledged, writer.version),
        ),
    )


def _is_awaited(server: Server, row: int, writer: Writer) -> bool:
    return server.leases[row] > 0 and server.applied[row] < writer.position


def _nothing(*_: object) -> Iterator[Step]:
    return iter(())


_STEPS = {
    "idle": _idle,
    "appended": _appended,
    "committed": _committed_steps,
    "waiting": _waiting,
    "done": _nothing,
    "gone": _nothing,
}


def _committed(state: State, index: int, phase: str, writer: Writer) -> State:
    version = state.database + 1
    return state._replace(
        database=version,
        outbox=(*state.outbox, version),
        writers=put(state.writers, index, writer._replace(phase=phase, version=version)),
    )


def _published(state: State, index: int, phase: str, rules: Rules, world: World) -> State:
    server = appended(begun(state.server, 0, rules, world), touches=True)
    position = server.log[-1].position
    rows = range(world.layers if rules.layers_have_names_of_their_own else 1)
    live = tuple(row for row in rows if server.leases[row]) if rules.waits_for_live_layers else ()
    writer = state.writers[index]._replace(phase=phase, position=position, waits_for=live)
    shared = state.shared
    if not rules.written_value_is_not_stored:
        shared = Entry(writer.version, position)
    return state._replace(
        server=server,
        writers=put(state.writers, index, writer),
        outbox=tuple(version for version in state.outbox if version != writer.version),
        shared=shared,
    )


def _crashed(state: State, index: int, writer: Writer, rules: Rules) -> State:
    outbox = state.outbox
    if not rules.has_outbox:
        outbox = tuple(version for version in outbox if version != writer.version)
    return state._replace(
        outbox=outbox,
        writers=put(state.writers, index, writer._replace(phase="gone")),
        writer_crashes_left=state.writer_crashes_left - 1,
    )
