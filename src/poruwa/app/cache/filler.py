"""What a fill does: the loader is run once, and what it returns is kept where it may be.

The fill rule (DESIGN section 6, rule 1): the position is noted before the loader begins; what it
returns is kept only if none of its tags changed since. Those who waited get it in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time

from poruwa.app.cache.fill import Fill
from poruwa.app.cache.layers import Layers, Loaded
from poruwa.app.cache.source import Wanted
from poruwa.app.tags import Collector, collected

_log = logging.getLogger("poruwa.app")


class Filler:
    """Runs fills.

    Args:
        layers: of this process.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def run(self, fill: Fill, *, is_refresh: bool, on_loaded: Callable[[Fill], None]) -> None:
        """Bring the object of ``fill``, and end it.

        Args:
            is_refresh: nobody waits: L1 still has one.
            on_loaded: called once L1 has it, before those who wait are told.

        Raises:
            Exception: what the loader raised; the fill has not ended then.
        """
        loaded = await self._load(fill)
        await self._keep(fill.wanted, loaded)
        on_loaded(fill)
        fill.end(loaded)

    async def _load(self, fill: Fill) -> Loaded:
        """Call the loader; return its object with all tags."""
        wanted = fill.wanted
        statistics = wanted.source.statistics
        collector = Collector(self._layers.log.position, load=fill, outer=collected.get())
        collected.set(collector)  # of this task alone
        statistics.loads += 1
        started = monotonic()
        try:
            value = await wanted.load()
        except Exception:
            statistics.load_failures += 1
            raise
        finally:
            statistics.load_seconds.add(monotonic() - started)
        if value is None:
            statistics.absent += 1
        labels = wanted.labels | collector.tags
        return Loaded(value, labels, collector.as_of, is_unsure=collector.is_unsure)

    async def _keep(self, wanted: Wanted, loaded: Loaded) -> None:
        source = wanted.source
        lifetime = source.lifetime if loaded.value is not None else source.negative
        reason = self._layers.keep(wanted, loaded, stored_at=time(), lifetime=lifetime)
        if reason is not None:
            source.statistics.not_kept[reason] += 1
