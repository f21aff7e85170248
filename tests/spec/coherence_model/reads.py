"""What a read does on its way: gateway, app, shared store, database and back."""

from __future__ import annotations

from collections.abc import Iterator

from spec.coherence_model.bus import Step
from spec.coherence_model.rules import Rules, World
from spec.coherence_model.state import IDLE, Entry, Frame, Layer, Read, State, put


class StaleRead(Exception):
    """A read returned a version older than it may."""


def read_steps(state: State, rules: Rules, world: World) -> Iterator[tuple[str, State | StaleRead]]:
    """Yield what may happen next to each read."""
    for index, read in enumerate(state.reads):
        if read.phase == "idle":
            yield from _starts(state, index, rules, world)
        elif read.phase != "join":
            walk = _Walk(state, index, rules, world)
            try:
                yield walk.step(read)
            except StaleRead as stale:
                yield f"read {index} ends", stale


def _starts(
    state: State, index: int, rules: Rules, world: World
) -> Iterator[tuple[str, State | StaleRead]]:
    for path in world.paths:
        yield _started(state, index, Read("enter", path, state.acknowledged), rules, world)
        if world.has_seen_cookie:
            for writer in state.writers:
                if writer.phase in ("waiting", "done"):
                    floor = max(state.acknowledged, writer.version)
                    read = Read("enter", path, floor, writer.position)
                    yield _started(state, index, read, rules, world)


def _started(
    state: State, index: int, read: Read, rules: Rules, world: World
) -> tuple[str, State | StaleRead]:
    label = f"read {index} starts at layer {read.path[0]}, not older than {read.floor}"
    try:
        return label, _Walk(state, index, rules, world).step(read)[1]
    except StaleRead as stale:
        return label, stale


class _Walk:
    """One step of one read."""

    def __init__(self, state: State, index: int, rules: Rules, world: World) -> None:
        self._state = state
        self._index = index
        self._rules = rules
        self._world = world

    def step(self, read: Read) -> Step:
        return getattr(self, f"_{read.phase}")(read)  # type: ignore[no-any-return]

    def _enter(self, read: Read) -> Step:
        depth = len(read.frames)
        number = read.path[depth]
        layer = self._state.layers[number]
        rules = self._rules
        sure = layer.sure > 0 or not rules.unsure_asks_the_origin
        seen = read.seen if depth == 0 or rules.seen_position_is_forwarded else 0
        has_seen = layer.position >= seen or not rules.layers_wait_for_the_seen_position
        allowed = sure and has_seen
        where = f"read {self._index} at layer {number}"
        if allowed and layer.entry is not None:
            return f"{where} finds it", self._found(read, number, layer, layer.entry)
        frame = Frame(number, layer.position, allowed)
        if allowed or (has_seen and not rules.unsure_joins_no_fill):
            other = self._joinable(number, layer)
            if other >= 0:
                frame = frame._replace(stores=False)
                joined = read._replace(phase="join", joined=other, frames=(*read.frames, frame))
                return f"{where} joins read {other}", self._with(joined)
        if not allowed and self._world.shares_by_passes:
            other = self._shared_by_pass(number, read)
            if other >= 0:
                joined = read._replace(phase="join", joined=other, frames=(*read.frames, frame))
                return f"{where} shares the by-pass of read {other}", self._with(joined)
        phase = self._next_phase(read, depth, allowed, has_seen)
        read = read._replace(phase=phase, frames=(*read.frames, frame))
        return f"{where} asks on", self._with(read)

    def _next_phase(self, read: Read, depth: int, allowed: bool, has_seen: bool) -> str:
        if depth + 1 < len(read.path):
            return "enter"
        asks_shared = allowed or (has_seen and not self._rules.unsure_passes_the_shared_store_by)
        return "shared" if self._world.has_shared_store and asks_shared else "load"

    def _found(self, read: Read, number: int, layer: Layer, entry: Entry) -> State:
        if not read.frames:
            return self._ended(self._state, self._index, read, entry.version)
        as_of = min(layer.position, entry.as_of)
        if self._world.use_renews_as_of:
            as_of = layer.position
        frame = Frame(number, as_of, stores=False)
        if self._rules.composed_by_the_minimum:  # when it is composed makes no difference then
            return self._with(read._replace(phase="return", value=entry.version, as_of=as_of))
        return self._with(
            read._replace(
                phase="compose", frames=(*read.frames, frame),
                value=entry.version, as_of=frame.as_of,
            )
        )  # fmt: skip

    def _joinable(self, number: int, layer: Layer) -> int:
        for other, read in enumerate(self._state.reads):
            for frame in read.frames:
                if frame.layer == number and frame.stores and other != self._index:
                    checks = self._rules.joins_only_fills_not_older_than_a_change
                    if frame.as_of >= layer.changed or not checks:
                        return other
        return -1

    def _shared_by_pass(self, number: int, read: Read) -> int:
        """Return a by-pass at this layer whose question has not been asked yet; -1 for none."""
        may_have_begun = not self._rules.shares_only_by_passes_not_begun
        for other, leader in enumerate(self._state.reads):
            if other != self._index and leader.frames and leader.seen >= read.seen:
                top = leader.frames[-1]
                is_by_pass = top.layer == number and not top.stores
                if is_by_pass and (leader.phase in ("enter", "load") or may_have_begun):
                    return -1 if leader.phase == "join" else other
        return -1

    def _compose(self, read: Read) -> Step:
        frame = read.frames[-1]
        as_of = read.as_of
        if not self._rules.composed_by_the_minimum:
            as_of = self._state.layers[frame.layer].position
        composed = read._replace(phase="return", as_of=as_of, frames=read.frames[:-1])
        return f"read {self._index} is composed at layer {frame.layer}", self._with(composed)

    def _shared(self, read: Read) -> Step:
        frame = read.frames[-1]
        layer = self._state.layers[frame.layer]
        entry = self._state.shared
        rules = self._rules
        if entry is not None and not rules.shared_store_keeps_as_of:
            entry = Entry(entry.version, layer.position)
        is_valid = entry is not None and (
            not rules.shared_store_is_judged
            or (
                entry.as_of >= layer.changed
                and (entry.as_of <= layer.position or not rules.as_of_beyond_own_position_is_a_miss)
            )
        )
        if entry is None or not is_valid:
            return f"read {self._index} misses in the shared store", self._with(
                read._replace(phase="load")
            )
        as_of = layer.position if self._world.use_renews_as_of else min(entry.as_of, frame.as_of)
        found = read._replace(phase="return", value=entry.version, as_of=as_of)
        return f"read {self._index} finds it in the shared store", self._with(found)

    def _load(self, read: Read) -> Step:
        value = self._state.database
        loaded = read._replace(phase="loaded", value=value)
        if self._rules.as_of_is_noted_before_loading:  # when it looks makes no difference then
            return f"read {self._index} loads version {value}", self._loaded(loaded)[1]
        return f"read {self._index} loads version {value}", self._with(loaded)

    def _loaded(self, read: Read) -> Step:
        frame = read.frames[-1]
        as_of = frame.as_of
        if not self._rules.as_of_is_noted_before_loading:
            as_of = self._state.layers[frame.layer].position
        puts = self._world.has_shared_store and frame.stores
        read = read._replace(phase="put" if puts else "return", as_of=as_of)
        return f"read {self._index} has loaded", self._with(read)

    def _put(self, read: Read) -> Step:
        after = self._with(read._replace(phase="return"))
        return f"read {self._index} fills the shared store", after._replace(
            shared=Entry(read.value, read.as_of)
        )

    def _return(self, read: Read) -> Step:
        frame = read.frames[-1]
        layer = self._state.layers[frame.layer]
        rules = self._rules
        as_of = read.as_of
        if len(read.frames) < len(read.path) and not rules.gateway_takes_the_as_of_of_the_app:
            as_of = layer.position
        has_changed = as_of < layer.changed and rules.stores_only_what_did_not_change_meanwhile
        state = self._state
        if frame.stores and not has_changed:
            layer = layer._replace(entry=Entry(read.value, as_of))
            state = state._replace(layers=put(state.layers, frame.layer, layer))
        state = self._popped(state, self._index, read, read.value, as_of)
        for other, joined in enumerate(state.reads):
            if joined.phase == "join" and joined.joined == self._index:
                own = joined.frames[-1]
                if own.layer == frame.layer:
                    state = self._popped(state, other, joined, read.value, min(as_of, own.as_of))
        return f"read {self._index} returns to layer {frame.layer}", state

    def _popped(self, state: State, index: int, read: Read, value: int, as_of: int) -> State:
        frames = read.frames[:-1]
        if not frames:
            return self._ended(state, index, read, value)
        read = read._replace(phase="return", frames=frames, value=value, as_of=as_of, joined=-1)
        return state._replace(reads=put(state.reads, index, read))

    def _ended(self, state: State, index: int, read: Read, value: int) -> State:
        if value < read.floor:
            raise StaleRead(f"read {index} returns {value}, not {read.floor}")
        return state._replace(reads=put(state.reads, index, IDLE))

    def _with(self, read: Read) -> State:
        return self._state._replace(reads=put(self._state.reads, self._index, read))
