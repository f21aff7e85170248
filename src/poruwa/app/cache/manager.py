"""The cache manager of one process: the decorator, and objects by class and key.

On a request's path this stands between the site and the database. What is kept, how long, and what
happens while it is not sure is the policy's to say, by class; tags say what an object depends on.
See ``reader`` for what happens in a call, and docs/cache-manager.md for how to use it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

from poruwa.app.cache.call_form import CallForm, KeyOf
from poruwa.app.cache.codec import Codec, return_type
from poruwa.app.cache.decorator import cached_function
from poruwa.app.cache.filler import Filler
from poruwa.app.cache.layers import Layers
from poruwa.app.cache.lifetime import Lifetime
from poruwa.app.cache.reader import Reader
from poruwa.app.cache.source import Log, Source
from poruwa.app.cache.statistics import ClassStatistics
from poruwa.config.model import DataClass
from poruwa.config.problems import nearest
from poruwa.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


class CacheManager:
    """Keeps what loaders return.

    Args:
        classes: of the policy.
        layers: of this process.
        has_shared: whether there is an L2.
    """

    def __init__(self, classes: Iterable[DataClass], layers: Layers, *, has_shared: bool) -> None:
        self._classes = {data_class.name: data_class for data_class in classes}
        self._layers = layers
        self._has_shared = has_shared
        self._reader = Reader(layers, Filler(layers))
        self._statistics: dict[str, ClassStatistics] = {}
        self._keys: dict[tuple[str, str], str] = {}  # templates by class, and whose they are

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
            lifetime = Lifetime.of(found, is_query=is_query, has_shared=self._has_shared)
            source = Source(
                found,
                lifetime=lifetime,
                codec=Codec(return_type(function), name) if lifetime.shared else None,
                statistics=self.statistics_of(data_class),
                has_tags=bool(tags or found.tags),
                negative_seconds=negative_seconds,
            )
            log: Log = self._layers.log
            return cached_function(function, form=form, source=source, reader=self._reader, log=log)

        return decorate

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

    def _claim(self, data_class: str, key: str, name: str) -> None:
        """Refuse the same key for two functions: one would be given what the other loaded."""
        owner = self._keys.setdefault((data_class, key), name)
        if owner != name:
            raise ConfigError(
                f"{name} and {owner} have the same key {key!r} in class {data_class}; put a word "
                'into one of them, such as "reviews:{venue_id}"'
            )
