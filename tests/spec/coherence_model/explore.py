"""Breadth-first through all states; the shortest way to the first that must not be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from spec.coherence_model.bus import bus_steps
from spec.coherence_model.reads import StaleRead, read_steps
from spec.coherence_model.rules import Rules, World
from spec.coherence_model.state import State, first_state
from spec.coherence_model.writes import write_steps


class TooManyStates(Exception):
    """The world is too large to be walked through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``trace`` is empty where nothing is wrong."""

    states: int
    wrong: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:2}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.states} states; {self.wrong or 'nothing wrong'}\n{steps}"


def explore(world: World, rules: Rules, *, at_most: int = 400_000) -> Finding:
    """Return what is wrong, if anything is.

    Raises:
        TooManyStates: more than ``at_most`` states; nothing is said about the rest.
    """
    first = first_state(world)
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        for label, after in (
            *read_steps(state, rules, world),
            *write_steps(state, rules, world),
            *bus_steps(state, rules, world),
        ):
            if isinstance(after, StaleRead):
                return _finding(came_from, state, label, str(after))
            if after in came_from:
                continue
            came_from[after] = (state, label)
            wrong = wrong_at_rest(after)
            if wrong:
                return _finding(came_from, state, label, wrong)
            if len(came_from) > at_most:
                raise TooManyStates(f"{world.name}: more than {at_most} states")
            waiting.append(after)
    return Finding(states=len(came_from))


def wrong_at_rest(state: State) -> str:
    """Return what differs from the database though everything has ended and been applied."""
    server = state.server
    if state.outbox or not server.has_begun or not server.log:
        return ""
    if any(writer.phase not in ("done", "gone") for writer in state.writers):
        return ""
    if any(read.phase != "idle" for read in state.reads):
        return ""
    last = server.log[-1].position
    if any(layer.position != last or not layer.sure for layer in state.layers):
        return ""
    for number, layer in enumerate(state.layers):
        if layer.entry is not None and layer.entry.version != state.database:
            return f"at rest, layer {number} keeps {layer.entry}, the database {state.database}"
    changed = state.layers[0].changed
    shared = state.shared
    if shared is not None and shared.version != state.database and changed <= shared.as_of <= last:
        return f"at rest, the shared store keeps {shared}, the database {state.database}"
    return ""


def _finding(
    came_from: dict[State, tuple[State, str] | None], state: State, label: str, wrong: str
) -> Finding:
    trace = [label]
    before = came_from[state]
    while before is not None:
        state, label = before
        trace.append(label)
        before = came_from[state]
    return Finding(states=len(came_from), wrong=wrong, trace=tuple(reversed(trace)))
