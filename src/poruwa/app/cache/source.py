"""What all calls of one cached function, or all plain keys of a class, have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from poruwa.app.cache.codec import Codec
from poruwa.app.cache.lifetime import Lifetime
from poruwa.app.cache.memory import Memo
from poruwa.app.cache.statistics import ClassStatistics
from poruwa.config.model import DataClass, Unsure
from poruwa.rules.changes import Changes


class Log(Protocol):
    """The log of changes as the cache manager sees it; ``ChangeLog`` and ``LocalChanges`` are."""

    position: int
    sure_until: float  # monotonic seconds
    changes: Changes


class Source:
    """One kind of object of a class.

    Attributes:
        codec: None where nothing of it goes to L2.
        negative_seconds: how long "there is none" is believed; None for the default.
        asks_origin: whether caches are by-passed while this process may have missed a change.
        memo: L1's entries by the spelling of the call.
    """

    __slots__ = (
        "asks_origin",
        "codec",
        "data_class",
        "lifetime",
        "memo",
        "name",
        "negative",
        "statistics",
    )

    def __init__(
        self,
        data_class: DataClass,
        *,
        lifetime: Lifetime,
        codec: Codec | None,
        statistics: ClassStatistics,
        has_tags: bool,
        negative_seconds: float | None = None,
    ) -> None:
        self.name = data_class.name
        self.data_class = data_class
        self.lifetime = lifetime
        self.negative = lifetime.negative(negative_seconds)
        self.codec = codec if lifetime.shared else None
        self.statistics = statistics
        self.asks_origin = has_tags and data_class.unsure is Unsure.ASK_ORIGIN
        self.memo: Memo = {}

    @property
    def is_kept(self) -> bool:
        """Whether any layer keeps it."""
        return bool(self.lifetime.whole)


class Wanted:
    """One object that is asked for.

    Attributes:
        key: ``class\\nkey``, as the log of changes knows it.
        shared_key: the key in L2: with the fingerprint of the type.
        labels: the tags that are known before loading.
        tags: the same as bytes.
        spelling: of the call.
        load: calls the loader.
    """

    __slots__ = ("key", "labels", "load", "shared_key", "source", "spelling", "tags")

    def __init__(
        self,
        source: Source,
        key: bytes,
        labels: tuple[str, ...],
        spelling: tuple[Any, ...],
        load: Callable[[], Awaitable[Any]],
    ) -> None:
        self.source = source
        self.key = key
        codec = source.codec
        self.shared_key = key if codec is None else b"%b\n%b" % (key, codec.fingerprint.encode())
        self.labels = dict.fromkeys(labels)
        self.tags = tuple(label.encode() for label in self.labels)
        self.spelling = spelling
        self.load = load
