"""What a fill does: L2, another process's load, or the loader, once; and what of it is kept.

    L2 has it, and no tag changed since its as_of ──────────────▶ answer
    L2 has it, stale by age within its window ──────────────────▶ answer, and load anew afterwards
    another process loads it, from a position no change overtook ▶ wait until L2 has it
    else, with the lock or without ─▶ position noted ▶ loader ▶ answer ▶ L1 ▶ L2 ▶ lock released

The fill rule (DESIGN section 6, rule 1): the position is noted before the loader begins; what it
returns is kept only if none of its tags changed since. Those who waited get it in any case.

Where L2 is away its calls cost what its breaker allows, and every process loads for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic, time
from typing import Final

import msgspec

from poruwa.app.cache.fill import Fill
from poruwa.app.cache.layers import Layers, Loaded, is_due
from poruwa.app.cache.lifetime import Lifetime
from poruwa.app.cache.source import Wanted
from poruwa.app.cache.statistics import NotKept
from poruwa.app.tags import Collector, collected
from poruwa.stores.valkey_cache import Lock, Stored, ValkeyCache

LOCK_SECONDS: Final = 1.0
"""The right to load lapses after so long, and is extended meanwhile: who holds it may be frozen,
and then others wait no longer than this."""
_EXTEND_SECONDS: Final = 0.3
_WAIT_SECONDS: Final = 10.0  # for another process whose loader takes its time
_FIRST_PAUSE_SECONDS: Final = 0.002  # a load takes some milliseconds
_LONGEST_PAUSE_SECONDS: Final = 0.05

_logger = logging.getLogger("poruwa.app")


class Found:
    """What L2 had: the object, and how old it is.

    Attributes:
        lifetime: by which its age is judged.
    """

    __slots__ = ("age", "lifetime", "loaded")

    def __init__(self, loaded: Loaded, lifetime: Lifetime, age: float) -> None:
        self.loaded = loaded
        self.lifetime = lifetime
        self.age = age

    @property
    def is_fresh(self) -> bool:
        return self.age < self.lifetime.whole

    @property
    def is_usable(self) -> bool:
        """Whether it may be served while it is loaded anew."""
        return self.age < self.lifetime.whole + self.lifetime.revalidate


class Filler:
    """Runs fills.

    Args:
        layers: of this process.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    async def run(self, fill: Fill, *, on_loaded: Callable[[Fill], None]) -> bool:
        """Bring the object of ``fill``, and end it; tell whether it should be loaded anew soon.

        Args:
            on_loaded: called once L1 has it, before those who wait are told.

        Raises:
            Exception: what the loader raised; the fill has not ended then.
        """
        wanted = fill.wanted
        shared = self._layers.shared
        if shared is None or wanted.source.codec is None:
            loaded = await self.load(fill)
            self._keep(wanted, loaded)
            on_loaded(fill)
            fill.end(loaded)
            return False
        found = await self.find(shared, wanted, fill=fill)
        lock: Lock | None = None
        if found is None:
            lock, found = await self._claim(shared, fill)
        if found is not None:
            on_loaded(fill)
            fill.end(found.loaded)
            return not found.is_fresh or is_due(found.lifetime, found.age)
        async with _held(lock):
            loaded = await self.load(fill)
            reason = self._keep(wanted, loaded)
            on_loaded(fill)
            fill.end(loaded)
            if reason is None:
                await self.store(shared, wanted, loaded)
        return False

    async def load(self, fill: Fill) -> Loaded:
        """Call the loader; return its object with all tags. Keeps nothing.

        Raises:
            Exception: what the loader raised.
        """
        wanted = fill.wanted
        statistics = wanted.source.statistics
        fill.as_of = self._layers.log.position  # before the loader begins
        collector = Collector(fill.as_of, fill.needed, load=fill, outer=collected.get())
        token = collected.set(collector)
        statistics.loads += 1
        started = monotonic()
        try:
            value = await wanted.load()
        except Exception:
            statistics.load_failures += 1
            raise
        finally:
            collected.reset(token)
            statistics.load_seconds.add(monotonic() - started)
        if value is None:
            statistics.absent += 1
        labels = wanted.labels | collector.tags
        return Loaded(value, labels, collector.as_of, is_unsure=collector.is_unsure)

    async def find(
        self, shared: ValkeyCache, wanted: Wanted, *, fill: Fill | None = None
    ) -> Found | None:
        """Return what L2 has, if it may be used now; put it into L1.

        Args:
            fill: gets what is too old as its fallback; if it is a refresh, only what is not due to
                be loaded anew is returned. None to look alone.
        """
        source, layers = wanted.source, self._layers
        statistics = source.statistics
        assert source.codec is not None
        started = monotonic()
        stored = await shared.get(wanted.shared_key)
        statistics.shared_seconds.add(monotonic() - started)
        if stored is None or not await layers.is_known(stored.as_of):
            statistics.shared_misses += 1
            return None
        if layers.log.changes.since(stored.tags, stored.as_of, wanted.key):
            statistics.shared_changed += 1
            return None
        try:
            value = source.codec.decode(stored.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            statistics.shared_misses += 1
            return None
        statistics.shared_bytes_read += len(stored.value)
        labels = dict.fromkeys([tag.decode() for tag in stored.tags])
        # None of its tags changed up to the present position, so that it is as good as loaded now.
        loaded = Loaded(value, labels, layers.log.position)
        lifetime = source.lifetime if value is not None else source.negative
        if stored.lifetime_seconds != lifetime.whole:  # touched, or of another build's policy
            lifetime = replace(lifetime, whole=stored.lifetime_seconds)
        age = max(0.0, time() - stored.stored_at)
        if layers.aged.since(stored.tags, stored.as_of, wanted.key):
            age = max(age, lifetime.whole)
        found = Found(loaded, lifetime, age)
        is_refresh = fill is not None and fill.is_refresh
        if not found.is_usable or (is_refresh and is_due(lifetime, found.age)):
            if fill is not None:
                until = monotonic() + lifetime.whole + lifetime.on_error - found.age
                fill.fallback = loaded, until
            statistics.shared_misses += 1
            return None
        if layers.keep(wanted, loaded, lifetime=lifetime, age=found.age) is NotKept.UNSURE:
            return None
        if found.is_fresh:
            statistics.shared_hits += 1
        else:
            statistics.stale += 1
        return found

    async def store(self, shared: ValkeyCache, wanted: Wanted, loaded: Loaded) -> bool:
        """Put an object into L2; tell whether it took it."""
        source = wanted.source
        assert source.codec is not None
        try:
            data = source.codec.encode(loaded.value)
        except (TypeError, ValueError, OverflowError) as error:
            _logger.warning("%r is not kept in Valkey: %s", wanted.key.decode(), error)
            source.statistics.not_kept[NotKept.ENCODING] += 1
            return False
        if len(data) > source.data_class.largest_bytes:
            source.statistics.not_kept[NotKept.SIZE] += 1
            return False
        lifetime = source.lifetime if loaded.value is not None else source.negative
        source.statistics.shared_bytes_written += len(data)
        return await shared.set(
            wanted.shared_key,
            Stored(
                value=data,
                tags=loaded.tags,
                as_of=loaded.as_of,
                stored_at=time(),
                lifetime_seconds=lifetime.whole,
                stale_seconds=lifetime.stale,
            ),
        )

    async def _claim(self, shared: ValkeyCache, fill: Fill) -> tuple[Lock | None, Found | None]:
        """Return the lock, or what another process stored meanwhile; neither: load all the same."""
        wanted, log = fill.wanted, self._layers.log
        deadline = monotonic() + _WAIT_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        has_waited = False
        while True:
            lock = await shared.lock(wanted.shared_key, as_of=log.position, seconds=LOCK_SECONDS)
            if isinstance(lock, Lock):
                if not lock.is_shared:
                    return lock, None
                # Who held it before may have stored the object after it was looked for.
                try:
                    found = await self.find(shared, wanted, fill=fill)
                except BaseException:
                    await lock.release()
                    raise
                if found is not None:
                    await lock.release()
                    return None, found
                return lock, None
            if monotonic() > deadline or log.changes.since(wanted.tags, lock.as_of, wanted.key):
                return None, None
            if not has_waited:
                has_waited = True
                wanted.source.statistics.waited += 1
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
            found = await self.find(shared, wanted, fill=fill)
            if found is not None:
                return None, found

    def _keep(self, wanted: Wanted, loaded: Loaded) -> NotKept | None:
        source = wanted.source
        lifetime = source.lifetime if loaded.value is not None else source.negative
        reason = self._layers.keep(wanted, loaded, lifetime=lifetime)
        if reason is not None:
            source.statistics.not_kept[reason] += 1
        return reason


@asynccontextmanager
async def _held(lock: Lock | None) -> AsyncIterator[None]:
    """Keep a lock from lapsing, and release it at the end."""
    if lock is None or not lock.is_shared:
        yield
        return
    keeper = asyncio.create_task(_keep_extended(lock))
    try:
        yield
    finally:
        keeper.cancel()
        await lock.release()


async def _keep_extended(lock: Lock) -> None:
    while True:
        await asyncio.sleep(_EXTEND_SECONDS)
        if not await lock.extend(LOCK_SECONDS):
            return
