"""Loads past all caches, one at a time for each object.

While this process may have missed a change, nobody may be given what somebody else began to load:
but a load that begins after all who wait for it have come is as good as each one's own. So who
comes while one runs shares the next. The database then gets one load at a time of an object from
each process, not one for each call, just when nothing stands before it.
"""

from __future__ import annotations

from poruwa.app.cache.fill import Fill
from poruwa.app.cache.filler import Filler
from poruwa.app.cache.layers import Layers, Loaded
from poruwa.app.cache.source import Wanted
from poruwa.app.tags import Collector, collected


class _Turn:
    __slots__ = ("next", "running")

    def __init__(self, running: Fill) -> None:
        self.running = running
        self.next: Fill | None = None


class Turns:
    """The loads that by-pass the caches.

    Args:
        layers, filler: of this process.
    """

    def __init__(self, layers: Layers, filler: Filler) -> None:
        self._layers = layers
        self._filler = filler
        self._turns: dict[bytes, _Turn] = {}

    async def load(self, wanted: Wanted, collector: Collector | None) -> Loaded:
        """Return what a load brings that has not begun yet.

        Raises:
            Exception: what the loader raised.
        """
        turn = self._turns.get(wanted.key)
        if turn is None:
            fill = Fill(wanted, self._layers.log.position)
            self._turns[wanted.key] = _Turn(fill)
            self._layers.spawn(self._run(wanted.key))
        elif collector is not None and collector.is_within(turn.running):
            # Its own loader asks. A task's context would hide that from a further call.
            return await self._filler.load(Fill(wanted, self._layers.log.position))
        else:
            if turn.next is None:
                turn.next = Fill(wanted, self._layers.log.position)
            fill = turn.next
        if collector is not None:
            fill.needed = max(fill.needed, collector.needed)  # nested calls by-pass as well
        return await fill.wait()

    async def _run(self, key: bytes) -> None:
        turn = self._turns[key]
        outer = collected.get()
        while True:
            fill = turn.running
            collected.set(outer)
            try:
                fill.end(await self._filler.load(fill))
            except Exception as error:
                fill.fail(error)
            except BaseException as error:
                del self._turns[key]
                fill.fail(error)
                if turn.next is not None:
                    turn.next.fail(error)
                raise
            if turn.next is None:
                del self._turns[key]
                return
            turn.running, turn.next = turn.next, None
