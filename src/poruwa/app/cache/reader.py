"""A call that the hit path did not answer: by-pass, L1 with its ages, a fill to join, a new fill.

    call ─▶ caller's own write not applied here? ──yes──▶ loader (``turns``)
         ─▶ a change may have been missed?       ──yes──▶ loader (``turns``)
         ─▶ L1: fresh ──▶ answer (and load anew, near the end)
         ─▶ L1: stale by age, within its window ──▶ answer, and load anew
         ─▶ a fill under way, not overtaken by a change ──▶ wait for it
         ─▶ a new fill (``filler``): L2, another process's fill, the loader

A change is not a matter of age: what it made invalid is gone from L1, and is not joined. What a
fill depends on is known for certain only at its end; who joined it after a change that came
meanwhile looks then whether one of its tags was in it, and if so begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Any, Final

from poruwa.app.cache.fill import Fill
from poruwa.app.cache.filler import Filler
from poruwa.app.cache.layers import REFRESHES, Layers, Loaded
from poruwa.app.cache.memory import MemoryEntry
from poruwa.app.cache.source import Wanted
from poruwa.app.cache.turns import Turns
from poruwa.app.tags import Collector, collected

_TRIES: Final = 4  # fills that changes overtake before a caller loads for itself
_PUT_OFF_SECONDS: Final = 0.1  # until a refresh that the budget did not allow is tried again

_logger = logging.getLogger("poruwa.app")


class Reader:
    """Answers calls from the layers.

    Args:
        layers: of this process.
        filler: loads what they have not.
    """

    def __init__(self, layers: Layers, filler: Filler) -> None:
        self._layers = layers
        self._filler = filler
        self._turns = Turns(layers, filler)
        self._fills: dict[bytes, Fill] = {}
        layers.on_killed = self.reload

    async def read(self, wanted: Wanted) -> Any:
        """Return the object; the collector around gets its tags.

        Raises:
            Exception: what the loader raised.
        """
        source, layers = wanted.source, self._layers
        statistics, log = source.statistics, layers.log
        collector = collected.get()
        if not source.is_kept:
            return _give(await self._filler.load(Fill(wanted, log.position)), collector)
        for _ in range(_TRIES):
            if collector is not None and collector.needed > log.position:
                statistics.bypassed_behind += 1
                return _give(await self._turns.load(wanted, collector), collector)
            if source.asks_origin and not layers.is_sure():
                statistics.bypassed_unsure += 1
                if collector is not None:
                    collector.is_unsure = True
                return _give(await self._turns.load(wanted, collector), collector)
            entry = self._entry(wanted)
            if entry is not None and self._may_answer(wanted, entry):
                return self._give_entry(entry, collector)
            position = log.position
            fill = self._fills.get(wanted.key)
            if fill is None or self._is_overtaken(fill):
                fill = self._begin(wanted, entry)
            elif collector is not None and collector.is_within(fill):
                break  # the loader asks for itself: waiting would never end
            else:
                statistics.joined += 1
            loaded = await fill.wait()
            is_newer = position <= loaded.as_of
            if is_newer or not log.changes.since(loaded.tags, loaded.as_of, wanted.key):
                return _give(loaded, collector)
        return _give(await self._turns.load(wanted, collector), collector)

    async def peek(self, wanted: Wanted) -> Any:
        """Return the object if a layer has it, without loading it; None otherwise."""
        layers, log = self._layers, self._layers.log
        collector = collected.get()
        if collector is not None and collector.needed > log.position:
            return None
        if not layers.may_serve(wanted.source, ()):
            return None
        entry = self._entry(wanted)
        if entry is not None and monotonic() < entry.memory_until:
            wanted.source.statistics.hits += 1
            return self._give_entry(entry, collector)
        if layers.shared is None or wanted.source.codec is None:
            return None
        found = await self._filler.find(layers.shared, wanted)
        return None if found is None else _give(found.loaded, collector)

    def reload(self, wanted: Wanted) -> None:
        """Load a popular object anew that a change has just made invalid."""
        asyncio.get_running_loop().call_soon(self._reload, wanted)  # once the change is applied

    def _reload(self, wanted: Wanted) -> None:
        if wanted.key in self._fills or not self._layers.is_sure():
            return
        if self._layers.refreshes >= REFRESHES:
            wanted.source.statistics.refreshes_put_off += 1
            return
        wanted.source.statistics.refreshes += 1
        self._begin(wanted, None, is_refresh=True)

    def _entry(self, wanted: Wanted) -> MemoryEntry | None:
        """Return what L1 has, of any age, if it may be served as far as changes are concerned."""
        entry = self._layers.memory.get(wanted.key)
        if entry is None or not self._layers.may_serve(wanted.source, entry.tags):
            return None
        source = entry.wanted.source
        return entry if source is wanted.source or source.kind == wanted.source.kind else None

    def _give_entry(self, entry: MemoryEntry, collector: Collector | None) -> Any:
        if collector is not None:
            # No change of its tags came up to this position: it is as good as loaded at it.
            collector.add(entry.labels, self._layers.log.position)
            collector.is_unsure = collector.is_unsure or not self._layers.is_sure()
        return entry.value

    def _may_answer(self, wanted: Wanted, entry: MemoryEntry) -> bool:
        """Tell whether L1's entry is the answer; see to it that it is loaded anew in time."""
        now = monotonic()
        statistics = wanted.source.statistics
        if now < entry.memory_until:
            statistics.hits += 1
        elif entry.fresh_until <= now < entry.stale_until:
            statistics.stale += 1
        else:
            return False
        if now >= entry.expires_at:
            self._refresh(wanted, entry, now)
        return True

    def _refresh(self, wanted: Wanted, entry: MemoryEntry, now: float) -> None:
        layers = self._layers
        if wanted.key in self._fills:
            return
        if layers.refreshes >= REFRESHES:
            wanted.source.statistics.refreshes_put_off += 1
            entry.expires_at = min(entry.memory_until, now + _PUT_OFF_SECONDS)
            return
        wanted.source.statistics.refreshes += 1
        self._begin(wanted, entry, is_refresh=True)

    def _is_overtaken(self, fill: Fill) -> bool:
        """Tell whether a change of the tags that are known already came since the fill began."""
        log, wanted = self._layers.log, fill.wanted
        return log.position != fill.as_of and log.changes.since(wanted.tags, fill.as_of, wanted.key)

    def _begin(
        self, wanted: Wanted, entry: MemoryEntry | None, *, is_refresh: bool = False
    ) -> Fill:
        fill = Fill(wanted, self._layers.log.position, is_refresh=is_refresh)
        self._layers.refreshes += is_refresh
        if entry is not None:
            old = Loaded(entry.value, entry.labels, fill.as_of)
            fill.fallback = old, entry.error_until
        self._fills[wanted.key] = fill
        self._layers.spawn(self._run(fill))
        return fill

    async def _run(self, fill: Fill) -> None:
        is_due = False
        try:
            is_due = await self._filler.run(fill, on_loaded=self._forget)
        except Exception as error:
            self._forget(fill)
            self._fail(fill, error)
        except BaseException as error:
            fill.fail(error)
            raise
        finally:
            self._forget(fill)
            self._layers.refreshes -= fill.is_refresh
        if is_due:
            self._reload(fill.wanted)

    def _fail(self, fill: Fill, error: Exception) -> None:
        """Give who waits what is stale by age, if nothing of it changed, or else the error."""
        wanted, log = fill.wanted, self._layers.log
        if fill.fallback is not None:
            old, until = fill.fallback
            if monotonic() < until and not log.changes.since(old.tags, old.as_of, wanted.key):
                wanted.source.statistics.stale_on_error += 1
                fill.end(old)
                return
        if fill.is_refresh and not fill.has_waiters:
            _logger.warning("%r could not be loaded anew: %r", wanted.key.decode(), error)
        fill.fail(error)

    def _forget(self, fill: Fill) -> None:
        """Let nobody join it any more: what it brought is in the layers, or must not be shared."""
        if self._fills.get(fill.wanted.key) is fill:
            del self._fills[fill.wanted.key]


def _give(loaded: Loaded, collector: Collector | None) -> Any:
    if collector is not None:
        collector.add(loaded.labels, loaded.as_of)
        collector.is_unsure = collector.is_unsure or loaded.is_unsure
    return loaded.value
