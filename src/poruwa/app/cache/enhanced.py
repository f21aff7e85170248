"""``EnhancedCacheManager``: get and set over all layers, for a program without a policy file.

A thin face over the platform's own cache manager (requirement H1). What a server can reach itself,
this process and Redis or Valkey, it reads and writes. Browsers and CDNs keep copies of responses
and do as their headers say: ``headers`` writes them from the same options, and a CDN that can purge
is told what changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, overload

from poruwa.app.platform import Platform
from poruwa.config.model import DataClass, Lifetimes, MemoryStore, Policy, Scope, Stores
from poruwa.rules.cache_class import browser_control
from poruwa.stores.change_leases import Acknowledgement
from poruwa.stores.store_url import BUS_URL, CACHE_URL

T = TypeVar("T")

_CLASS: Final = "object"
_MEMORY_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """How long each layer may keep a value, and what it depends on. Seconds; 0 for not at all.

    Attributes:
        redis_seconds: in Redis, shared by all processes.
        memory_seconds: in this process; no longer than in Redis.
        browser_seconds: of a response that shows the value; 0 lets browsers ask each time.
        cdn_seconds: of such a response in a shared cache of HTTP.
        tags: ``invalidate`` reaches the value, and responses that show it, by these.
        is_private: it is one person's: no CDN may keep it.
    """

    redis_seconds: float = 3600.0
    memory_seconds: float = 60.0
    browser_seconds: float = 0.0
    cdn_seconds: float = 0.0
    tags: tuple[str, ...] = ()
    is_private: bool = False


class CdnPurger(Protocol):
    """A CDN that forgets what carries a tag."""

    async def purge(self, tags: tuple[str, ...]) -> object:
        """Purge all that carries one of the tags."""


class EnhancedCacheManager:
    """Values by key, in this process and in Redis, and the headers for browsers and CDN.

    ::

        async with poruwa.EnhancedCacheManager("valkey://127.0.0.1:6379/0") as cache:
            options = poruwa.CacheOptions(redis_seconds=3600, cdn_seconds=600, tags=("venue:12",))
            venue = await cache.get("venue:12", options)
            if venue is None:
                venue = await load_venue(12)
                await cache.set("venue:12", venue, options)
            response.headers.update(cache.headers(options))

    A loader behind ``platform.cached`` does this with one load for all who ask at once, and keeps
    nothing that a change overtook; use it where there is a policy.

    Args:
        redis: URL, ``valkey://``, ``redis://`` or, over TLS, ``valkeys://``; None for this process
            alone. While it is away, only this process keeps values.
        bus: URL of a Valkey that never evicts, on which processes tell each other of changes; None
            lets copies in other processes live out ``memory_seconds``.
        cdn: told of what is invalidated; None for no CDN.
        memory_bytes: of this process's copies.

    Raises:
        ConfigError: a URL that is none.
    """

    def __init__(
        self,
        redis: str | None = None,
        *,
        bus: str | None = None,
        cdn: CdnPurger | None = None,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        environ = {name: url for name, url in ((CACHE_URL, redis), (BUS_URL, bus)) if url}
        policy = Policy(stores=Stores(memory=MemoryStore(memory_bytes=memory_bytes)))
        self._platform = Platform(policy, environ=environ)
        self._cdn = cdn
        self._running: Any = None

    async def __aenter__(self) -> Self:
        running = self._platform.running()
        await running.__aenter__()
        self._running = running
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        await running.__aexit__(kind, error, traceback)

    @overload
    async def get(
        self, key: str, options: CacheOptions | None = None, *, kind: type[T]
    ) -> T | None: ...

    @overload
    async def get(
        self, key: str, options: CacheOptions | None = None, *, kind: None = None
    ) -> Any: ...

    async def get(self, key: str, options: CacheOptions | None = None, *, kind: Any = None) -> Any:
        """Return the value of a key from the nearest layer that has it, or None.

        Args:
            options: how long this process may keep what Redis has.
            kind: its type, as given to ``set``; None for what JSON knows.
        """
        return await self._platform.cache.get_of(_class_of(options), key, kind)

    async def set(
        self, key: str, value: object, options: CacheOptions | None = None, *, kind: Any = None
    ) -> bool:
        """Keep a value in Redis, then in this process; tell whether one of them took it.

        Raises:
            ValueError: a tag that is none.
        """
        tags = () if options is None else options.tags
        return await self._platform.cache.set_of(_class_of(options), key, value, kind, tags=tags)

    async def delete(self, *keys: str) -> int:
        """Forget keys; return how many were there.

        Raises:
            BusUnavailable: there is a bus, and it does not answer.
        """
        return await self._platform.cache.delete(_CLASS, *keys)

    async def invalidate(self, *tags: str) -> Acknowledgement:
        """Forget what depends on a tag, in every layer; the CDN is told last.

        Raises:
            ValueError: a tag that is none.
            BusUnavailable: there is a bus, and it does not answer.
        """
        acknowledgement = await self._platform.invalidate(*tags)
        if self._cdn is not None:
            await self._cdn.purge(tags)
        return acknowledgement

    def headers(self, options: CacheOptions) -> dict[str, str]:
        """Return the fields for browsers and CDN of a response that shows a value.

        RFC 9111 section 5.2, RFC 9213; ``Cache-Tag`` as CDNs read it.
        """
        if options.is_private:
            seconds = int(options.browser_seconds)
            return {"Cache-Control": f"private, max-age={seconds}" if seconds else "no-store"}
        browser = browser_control(options.browser_seconds, immutable=False).decode()
        cdn = f"max-age={int(options.cdn_seconds)}" if options.cdn_seconds else "no-store"
        fields = {"Cache-Control": browser, "CDN-Cache-Control": cdn}
        if options.tags:
            fields["Cache-Tag"] = ",".join(options.tags)
        return fields

    def stats(self) -> dict[str, Any]:
        """Return what the layers did and hold."""
        return self._platform.stats()


def _class_of(options: CacheOptions | None) -> DataClass:
    options = options or CacheOptions()
    return DataClass(
        name=_CLASS,
        scope=Scope.PRIVATE if options.is_private else Scope.SHARED,
        tags=("tagged",) if options.tags else (),  # whether there are any, not which
        lifetimes=Lifetimes(
            memory_seconds=options.memory_seconds,
            application_seconds=options.redis_seconds or None,
        ),
    )
