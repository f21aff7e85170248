"""What all calls of one cached function, or all plain keys of a class, have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from poruwa.app.cache.codec import Codec
from poruwa.app.cache.lifetime import Lifetime
from poruwa.app.cache.statistics import ClassStatistics
from poruwa.config.model import DataClass, Strategy, Unsure
from poruwa.rules.changes import Changes

if TYPE_CHECKING:
    from poruwa.app.cache.memory import MemoryEntry


class Log(Protocol):
    """The log of changes as the cache manager sees it; ``ChangeLog`` and ``LocalChanges`` are."""

    position: int
    sure_until: float  # monotonic seconds
    changes: Changes

    async def reached(self, position: int, *, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until ``position`` is applied here; tell whether it is."""


class Source:
    """One kind of object of a class.

    Attributes:
        kind: the type of the objects; None where it is not known.
        codec: None where nothing of it goes to L2.
        negative_seconds: how long "there is none" is believed; None for the default.
        asks_origin: whether caches are by-passed while this process may have missed a change.
        serves_unsure: whether the class may be served meanwhile, though it has tags.
        is_written_through: whether popular objects are loaded anew as soon as they changed.
        memo: L1's entries by the spelling of the call, so that a hit makes no key.
    """

    __slots__ = (
        "asks_origin",
        "codec",
        "data_class",
        "is_written_through",
        "kind",
        "lifetime",
        "memo",
        "name",
        "negative",
        "serves_unsure",
        "statistics",
    )

    def __init__(
        self,
        data_class: DataClass,
        *,
        lifetime: Lifetime,
        kind: Any = None,
        codec: Codec | None = None,
        statistics: ClassStatistics,
        has_tags: bool,
        negative_seconds: float | None = None,
    ) -> None:
        self.name = data_class.name
        self.data_class = data_class
        self.lifetime = lifetime
        self.kind = kind
        self.negative = lifetime.negative(negative_seconds)
        self.codec = codec if lifetime.shared else None
        self.statistics = statistics
        self.serves_unsure = data_class.unsure is Unsure.SERVE
        self.asks_origin = has_tags and not self.serves_unsure
        self.is_written_through = data_class.strategy is Strategy.WRITE_THROUGH
        self.memo: dict[tuple[Any, ...], MemoryEntry] = {}

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
