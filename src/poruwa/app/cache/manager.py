"""The cache manager of one process: the decorator, and objects by class and key.

On a request's path this stands between the site and the database. What is kept, how long, and what
happens while it is not sure is the policy's to say, by class; tags say what an object depends on.
See ``reader`` for what happens in a call, and docs/cache-manager.md for how to use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from time import monotonic, time
from typing import Any, ParamSpec, TypeVar, overload

from poruwa.app.cache.call_form import CallForm, KeyOf, full_key, shortened
from poruwa.app.cache.codec import Codec, or_none, return_type
from poruwa.app.cache.decorator import cached_function
from poruwa.app.cache.filler import Filler
from poruwa.app.cache.layers import Layers, Loaded, set_times
from poruwa.app.cache.lifetime import Lifetime
from poruwa.app.cache.reader import Reader
from poruwa.app.cache.source import Source, Wanted
from poruwa.app.cache.statistics import ClassStatistics
from poruwa.app.tags import check_tag
from poruwa.config.model import DataClass
from poruwa.config.problems import nearest
from poruwa.errors import ConfigError
from poruwa.rules.change import Change

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class CacheManager:
    """Keeps what loaders return.

    Args:
        classes: of the policy.
        layers: of this process.
        publish: appends a change to the log, and waits until all layers have applied it.
    """

    def __init__(
        self,
        classes: Iterable[DataClass],
        layers: Layers,
        *,
        publish: Callable[[Change], Awaitable[object]],
    ) -> None:
        self._classes = {data_class.name: data_class for data_class in classes}
        self._layers = layers
        self._publish = publish
        self._filler = Filler(layers)
        self._reader = Reader(layers, self._filler)
        self._statistics: dict[str, ClassStatistics] = {}
        self._keys: dict[tuple[str, str], str] = {}  # templates by class, and whose they are
        self._plain: dict[tuple[DataClass, Any], Source] = {}  # of plain keys, by class and type
        self._fingerprints: dict[str, set[str]] = {}  # of what is kept of a class in L2

    def cached(
        self,
        data_class: str,
        *,
        tags: Sequence[str] = (),
        key: KeyOf = None,
        is_query: bool = False,
        negative_seconds: float | None = None,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Return the decorator; see ``Platform.cached``."""
        found = self.class_named(data_class)

        def decorate(
            function: Callable[P, Coroutine[Any, Any, R]],
        ) -> Callable[P, Coroutine[Any, Any, R]]:
            form = CallForm(function, data_class, key, tags)
            name = f"{function.__module__}.{function.__qualname__}"
            if isinstance(key, str):
                self._claim(data_class, key, name)
            lifetime = self._lifetime(found, is_query=is_query)
            kind = return_type(function) if lifetime.shared else None
            source = Source(
                found,
                lifetime=lifetime,
                kind=or_none(kind),
                codec=Codec(kind, name) if lifetime.shared else None,
                statistics=self.statistics_of(data_class),
                has_tags=bool(tags or found.tags),
                negative_seconds=negative_seconds,
            )
            self._note_fingerprint(source)
            return cached_function(
                function, form=form, source=source, reader=self._reader, layers=self._layers
            )

        return decorate

    @overload
    async def get(self, data_class: str, key: str, kind: type[T]) -> T | None: ...

    @overload
    async def get(self, data_class: str, key: str, kind: None = None) -> Any: ...

    async def get(self, data_class: str, key: str, kind: Any = None) -> Any:
        """Return what is kept under a key, whole and fresh; None where nothing is.

        While this process may have missed a change, or has not applied the caller's own write,
        nothing of a tagged class is returned.

        Args:
            kind: the type of the value; None for what JSON knows. What was stored as another type
                is not found.

        Raises:
            ConfigError: no such class, or a type that cannot be kept.
        """
        return await self.get_of(self.class_named(data_class), key, kind)

    async def get_of(self, data_class: DataClass, key: str, kind: Any) -> Any:
        """Return what ``get`` does, for a class that need not be the policy's."""
        return await self._reader.peek(self._wanted(data_class, key, kind))

    async def get_many(self, data_class: str, keys: Iterable[str], kind: type[T]) -> dict[str, T]:
        """Return what is kept of several keys, by key: one question to L2 for all.

        Raises:
            ConfigError: as for ``get``.
        """
        found = self.class_named(data_class)
        wanted = {key: self._wanted(found, key, kind) for key in keys}
        reads = [asyncio.ensure_future(self._reader.peek(each)) for each in wanted.values()]
        values = await asyncio.gather(*reads)
        return {key: value for key, value in zip(wanted, values, strict=True) if value is not None}

    async def set(
        self,
        data_class: str,
        key: str,
        value: object,
        kind: Any = None,
        *,
        tags: Iterable[str] = (),
        as_of: int | None = None,
    ) -> bool:
        """Keep a value: in L2 first, then here (write-through); tell whether a layer took it.

        What other processes hold of the key goes stale with the lifetime that the policy gives L1;
        a class whose objects are set should have none. To keep what a database holds, decorate its
        loader instead: two writers that set what they wrote may do so in the wrong order.

        Args:
            kind: as for ``get``.
            tags: what it depends on; nothing is kept if one of them changed after ``as_of``.
            as_of: the position (``begin``) before the value was read; None for the present one.

        Raises:
            ConfigError: as for ``get``.
            ValueError: a tag that is none.
        """
        found = self.class_named(data_class)
        return await self.set_of(found, key, value, kind, tags=tuple(tags), as_of=as_of)

    async def set_of(
        self,
        data_class: DataClass,
        key: str,
        value: object,
        kind: Any,
        *,
        tags: tuple[str, ...] = (),
        as_of: int | None = None,
    ) -> bool:
        """Do what ``set`` does, for a class that need not be the policy's."""
        for tag in tags:
            check_tag(tag)
        wanted = self._wanted(data_class, key, kind, tags)
        layers, source = self._layers, wanted.source
        position = layers.log.position if as_of is None else as_of
        loaded = Loaded(value, wanted.labels, position)
        is_kept = False
        if layers.log.changes.since(wanted.tags, position, wanted.key):
            return False
        if layers.shared is not None and source.codec is not None:
            is_kept = await self._filler.store(layers.shared, wanted, loaded)
        layers.memory.remove(wanted.key)
        reason = layers.keep(wanted, loaded, lifetime=source.lifetime)
        return is_kept or (reason is None and bool(source.lifetime.memory))

    def begin(self) -> int:
        """Return the position to note before reading what ``set`` will keep."""
        return self._layers.log.position

    async def delete(self, data_class: str, *keys: str) -> int:
        """Forget keys in every process; return how many L2 (or, without one, L1) held.

        Raises:
            ConfigError: no such class.
            BusUnavailable: other processes cannot be told.
        """
        if data_class not in self._fingerprints:
            self.class_named(data_class)
        names = [full_key(data_class, shortened(key)) for key in keys]
        removed = sum(self._layers.memory.remove(name) for name in names)
        await self._publish(Change(keys=tuple(names), written_at=time(), source="delete"))
        if self._layers.shared is not None:
            shared = [each for name in names for each in self._shared_keys(data_class, name)]
            removed = max(removed, await self._layers.shared.delete(*shared))
        return removed

    async def touch(self, data_class: str, key: str, seconds: float | None = None) -> bool:
        """Let what is kept under a key live for another lifetime from now on.

        Args:
            seconds: in L2; None for the class's own. L1 takes no more than its lifetime.

        Returns:
            Whether a layer had it.
        """
        found = self.class_named(data_class)
        lifetime = self._lifetime(found)
        whole = lifetime.whole if seconds is None else seconds
        name = full_key(data_class, shortened(key))
        entry = self._layers.memory.get(name)
        if entry is not None:
            set_times(entry, replace(lifetime, whole=whole), age=0.0, now=monotonic())
        is_there = entry is not None
        if self._layers.shared is not None:
            for shared_key in self._shared_keys(data_class, name):
                is_there = await self._layers.shared.touch(shared_key, whole) or is_there
        return is_there

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return the counts of each class that was used."""
        return {name: counts.as_dict() for name, counts in sorted(self._statistics.items())}

    @property
    def statistics(self) -> dict[str, ClassStatistics]:
        """The counts by class, as they are kept."""
        return self._statistics

    def class_named(self, name: str) -> DataClass:
        """Return a class of the policy.

        Raises:
            ConfigError: there is none of this name.
        """
        found = self._classes.get(name)
        if found is None:
            raise ConfigError(f"there is no [classes.{name}]; {nearest(name, self._classes)}")
        return found

    def statistics_of(self, data_class: str) -> ClassStatistics:
        """Return the counts of a class, made at the first use."""
        return self._statistics.setdefault(data_class, ClassStatistics())

    def _lifetime(self, data_class: DataClass, *, is_query: bool = False) -> Lifetime:
        has_shared = self._layers.shared is not None
        return Lifetime.of(data_class, is_query=is_query, has_shared=has_shared)

    def _wanted(
        self, data_class: DataClass, key: str, kind: Any, labels: tuple[str, ...] = ()
    ) -> Wanted:
        source = self._plain.get((data_class, kind))
        if source is None:
            lifetime = self._lifetime(data_class)
            described = f"class {data_class.name}"
            codec = Codec(Any if kind is None else kind, described, has_any=True)
            source = self._plain[data_class, kind] = Source(
                data_class,
                lifetime=lifetime,
                kind=or_none(Any if kind is None else kind),
                codec=codec if lifetime.shared else None,
                statistics=self.statistics_of(data_class.name),
                has_tags=bool(data_class.tags),
            )
            self._note_fingerprint(source)
        name = full_key(data_class.name, shortened(key))
        return Wanted(source, name, labels, (key,), _nothing)

    def _shared_keys(self, data_class: str, name: bytes) -> list[bytes]:
        return [
            b"%b\n%b" % (name, each.encode()) for each in self._fingerprints.get(data_class, ())
        ]

    def _note_fingerprint(self, source: Source) -> None:
        if source.codec is not None:
            known = self._fingerprints.setdefault(source.name, set())
            known.add(source.codec.fingerprint)

    def _claim(self, data_class: str, key: str, name: str) -> None:
        """Refuse the same key for two functions: one would be given what the other loaded."""
        owner = self._keys.setdefault((data_class, key), name)
        if owner != name:
            raise ConfigError(
                f"{name} and {owner} have the same key {key!r} in class {data_class}; put a word "
                'into one of them, such as "reviews:{venue_id}"'
            )


async def _nothing() -> None:
    """Load a plain key: nothing does."""
