"""A call that the hit path did not answer: by-pass, L1 with its ages, a fill to join, a new fill.

    call ─▶ caller's own write not applied here? ──yes──▶ loader (by-pass)
         ─▶ a change may have been missed?       ──yes──▶ loader (by-pass)
         ─▶ L1: fresh ──▶ answer (and load anew, near the end)
         ─▶ L1: stale by age, within its window ──▶ answer, and load anew
         ─▶ a fill under way, not overtaken by a change ──▶ wait for it
         ─▶ a new fill (``filler``): L2, another process's fill, the loader

A change is not a matter of age: what it made invalid is gone from L1, and is not joined. What a
fill depends on is known for certain only at its end; who joined it after a change that came
meanwhile looks then whether one of its tags was in it, and if so begins anew.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from poruwa.app.cache.fill import Fill
from poruwa.app.cache.filler import Filler
from poruwa.app.cache.layers import REFRESHES, Layers, Loaded
from poruwa.app.cache.memory import MemoryEntry
from poruwa.app.cache.source import Wanted
from poruwa.app.tags import Collector, collected

_TRIES: Final = 4  # fills that changes overtake before a caller loads for itself
_PUT_OFF_SECONDS: Final = 0.1  # until a refresh that the budget did not allow is tried again


class Reader:
    """Answers calls from the layers.

    Args:
        layers: of this process.
        filler: loads what they have not.
    """

    def __init__(self, layers: Layers, filler: Filler) -> None:
        self._layers = layers
        self._filler = filler
        self._fills: dict[bytes, Fill] = {}

    async def read(self, wanted: Wanted) -> Any:
        """Return the object; the collector around gets its tags.

        Raises:
            Exception: what the loader raised.
        """
        source, layers = wanted.source, self._layers
        statistics, log = source.statistics, layers.log
        collector = collected.get()
        if not source.is_kept:
            statistics.loads += 1
            return await _by_pass(wanted, collector)
        for _ in range(_TRIES):
            if collector is not None and collector.needed > log.position:
                statistics.bypassed_behind += 1
                return await _by_pass(wanted, collector)
            if source.asks_origin and not layers.is_sure():
                statistics.bypassed_unsure += 1
                return await _by_pass(wanted, collector, is_unsure=True)
            entry = layers.memory.get(wanted.key)
            if entry is not None and entry.tags and not source.asks_origin and not layers.is_sure():
                entry = None
            if entry is not None and self._may_answer(wanted, entry):
                return _give_entry(entry, collector, log.position)
            position = log.position
            fill = self._fills.get(wanted.key)
            if fill is None or self._is_overtaken(fill):
                fill = self._begin(wanted, entry)
            elif collector is not None and collector.is_within(fill):
                break  # the loader asks for itself: waiting would never end
            else:
                statistics.joined += 1
            loaded = await fill.wait()
            holds = position == fill.began or not log.changes.since(
                loaded.tags, loaded.as_of, wanted.key
            )
            if holds:
                return _give(loaded, collector)
        statistics.loads += 1
        return await _by_pass(wanted, collector)

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
        return log.position != fill.began and log.changes.since(wanted.tags, fill.began, wanted.key)

    def _begin(
        self, wanted: Wanted, entry: MemoryEntry | None, *, is_refresh: bool = False
    ) -> Fill:
        fill = Fill(wanted, self._layers.log.position)
        self._fills[wanted.key] = fill
        self._layers.spawn(self._run(fill, entry, is_refresh=is_refresh))
        return fill

    async def _run(self, fill: Fill, entry: MemoryEntry | None, *, is_refresh: bool) -> None:
        layers, wanted = self._layers, fill.wanted
        if is_refresh:
            layers.refreshes += 1
        try:
            await self._filler.run(fill, is_refresh=is_refresh, on_loaded=self._forget)
        except BaseException as error:
            self._forget(fill)
            if entry is not None and entry.alive and monotonic() < entry.error_until:
                # Kept by age alone: a change would have killed it.
                wanted.source.statistics.stale_on_error += fill.has_waiters
                fill.end(Loaded(entry.value, entry.labels, layers.log.position))
            else:
                fill.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._forget(fill)
            if is_refresh:
                layers.refreshes -= 1

    def _forget(self, fill: Fill) -> None:
        """Let nobody join it any more: what it brought is in the layers, or must not be shared."""
        if self._fills.get(fill.wanted.key) is fill:
            del self._fills[fill.wanted.key]


def _give_entry(entry: MemoryEntry, collector: Collector | None, position: int) -> Any:
    if collector is not None:
        # No change of its tags came up to this position: it is as good as loaded at it.
        collector.add(entry.labels, position)
    return entry.value


def _give(loaded: Loaded, collector: Collector | None) -> Any:
    if collector is not None:
        collector.add(loaded.labels, loaded.as_of)
        collector.is_unsure = collector.is_unsure or loaded.is_unsure
    return loaded.value


async def _by_pass(wanted: Wanted, collector: Collector | None, *, is_unsure: bool = False) -> Any:
    """Call the loader with neither cache nor fill; nested calls decide for themselves."""
    if collector is not None:
        collector.add(wanted.labels, collector.as_of)
        collector.is_unsure = collector.is_unsure or is_unsure
    return await wanted.load()
