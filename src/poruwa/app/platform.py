"""``Platform``: what an app has of the platform, from one policy file.

::

    platform = poruwa.Platform.from_file("site.toml")
    app = FastAPI(lifespan=platform.lifespan)
    platform.install(app)

With sessions the app's own lifespan lends its database::

    async with open_database(...) as database, platform.running(), platform.people(database):
        yield

In the app process only: the gateway and the rest of the stack run apart, and meet it over HTTP and
the bus. Without stores, L1 works alone and only the changes this process makes reach it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from pymongo.asynchronous.database import AsyncDatabase
from starlette.applications import Starlette

from poruwa.app.assets import Assets
from poruwa.app.cache.call_form import KeyOf, full_key
from poruwa.app.cache.layers import Layers
from poruwa.app.cache.local_changes import LocalChanges
from poruwa.app.cache.manager import CacheManager
from poruwa.app.cache.metrics_page import MetricsPage, platform_metrics
from poruwa.app.cache_headers import CacheHeadersMiddleware
from poruwa.app.limits import Limiter, Limits
from poruwa.app.security.devices import CLASS as DEVICE_CLASS
from poruwa.app.security.devices import Device
from poruwa.app.security.people import People
from poruwa.app.security.session_page import Badges
from poruwa.app.security.sessions import Sessions
from poruwa.app.tags import check_tag, collected, note_write
from poruwa.app.writes import Writes
from poruwa.config.load import parse_policy, read_policy_text
from poruwa.config.model import Policy, ValkeyStore
from poruwa.config.secrets import read_secret
from poruwa.errors import ConfigError
from poruwa.rules.change import EVERYTHING, Change
from poruwa.rules.changes import Changes
from poruwa.rules.cookie import CookieForm
from poruwa.stores.change_leases import Acknowledgement, LayerAnswer
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.store_url import BUS_URL, CACHE_URL, store_from_environment
from poruwa.stores.tally import Tally, tally_key
from poruwa.stores.valkey_cache import ValkeyCache

P = ParamSpec("P")
R = TypeVar("R")

POLICY_VARIABLE: Final = "PORUWA_POLICY"
ACKNOWLEDGED_SECONDS: Final = 5.0
_SCHEMA: Final = "1"  # of what L2 holds, besides the types that keys name


class Platform:
    """The cache manager, changes and headers of one app process.

    Args:
        policy: secrets of its stores resolved; other secrets are not looked at.
        environ: where ``PORUWA_CACHE_URL`` and ``PORUWA_BUS_URL`` are looked up, which come before
            the policy's ``stores``, and the session keys; None for the process's own.
        folder: where relative paths of secrets start.

    Attributes:
        policy: as given.
        cache: objects by class and key.
        assets: style sheets and scripts of every build (``poruwa.app.assets``).
        log: of changes, shared with all processes; None without a bus. Running the platform again
            brings another one: do not hold on to it.

    Raises:
        ConfigError: the variables or the stores cannot be used.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        stores = policy.stores
        self.policy = policy
        self._cache_store = store_from_environment(stores.cache, CACHE_URL, environ)
        self._bus_store = store_from_environment(stores.bus, BUS_URL, environ)
        self._is_used = False
        namespace = stores.coherence.namespace
        self.assets = Assets(self._bus_store or self._cache_store, namespace)
        self._limits = Limits(policy.rate_limits, self._bus_store, namespace)
        self._people = People(
            policy,
            environ=environ,
            folder=folder or Path(),
            is_alone=self._bus_store is None and POLICY_VARIABLE not in environ,
        )
        self._listeners: list[Callable[[Change], None]] = [self._people.apply]
        self._local = LocalChanges(self._apply)
        self.log: ChangeLog | None = self._make_log()
        self._layers = Layers(
            stores.memory,
            self._local if self.log is None else self.log,
            shared=self._make_shared(),
            has_bus=self.log is not None,
            wait_seconds=stores.coherence.read_your_writes_wait_seconds,
        )
        self.cache = CacheManager(policy.classes, self._layers, publish=self._publish)

    @classmethod
    def from_file(cls, path: str | Path, *, environ: Mapping[str, str] | None = None) -> Platform:
        """Return the platform of a policy file.

        Args:
            path: of the policy. ``PORUWA_POLICY``, which ``poruwa up`` sets, comes before it: app
                and gateway go by the same file.
            environ: where variables and secrets are looked up; None for the process's own.

        Raises:
            ConfigError: the policy cannot be used, or a store's secret is missing.
        """
        environ = os.environ if environ is None else environ
        file = Path(environ.get(POLICY_VARIABLE) or path)
        folder = file.resolve().parent
        # Secrets are left alone: the gateway's are none of an app's business.
        policy = parse_policy(read_policy_text(file), file.name, folder=folder)
        stores = replace(
            policy.stores,
            cache=_with_secret(policy.stores.cache, environ, folder, is_needed=CACHE_URL),
            bus=policy.stores.bus
            and _with_secret(policy.stores.bus, environ, folder, is_needed=BUS_URL),
        )
        return cls(replace(policy, stores=stores), environ=environ, folder=folder)

    @property
    def sessions(self) -> Sessions:
        """Begin, list and end sessions; ``poruwa.session_of`` gives that of a request.

        Raises:
            ConfigError: the policy names no ``session.keys``.
        """
        if self._people.sessions is None:
            raise ConfigError(
                'there are no sessions; write keys = "env:PORUWA_SESSION_KEYS" below [session]'
            )
        return self._people.sessions

    @property
    def cookies(self) -> Mapping[str, CookieForm]:
        """How the cookies of ``[cookies.named]`` are set and cleared, by their names there."""
        return self._people.cookies

    def limiter(self, name: str) -> Limiter:
        """Return the limit ``[rate_limits.NAME]``, for the app to count by what only it knows.

        Raises:
            ConfigError: there is none.
        """
        return self._limits.limiter(name)

    def cached(
        self,
        data_class: str,
        *,
        tags: Sequence[str] = (),
        key: KeyOf = None,
        is_query: bool = False,
        negative_seconds: float | None = None,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Return a decorator that keeps what an asynchronous function returns.

        ::

            @platform.cached("venue", tags=("venue:{venue_id}",))
            async def load_venue(venue_id: int) -> Venue | None: ...

        What is returned is shared by all callers: change none of it. None is kept as well, for a
        shorter time. Cancelling a call ends no load that others wait for. An exception of the
        function reaches those who wait, and is not kept.

        Args:
            data_class: of the policy; it says how long each layer keeps it.
            tags: templates of what it depends on; ``poruwa.tag`` in the function, and cached
                functions that it calls, add to them.
            key: a template of the arguments that matter, or a function of all of them that returns
                a text; None for the function's name and all arguments.
            is_query: it is a database query: the class's ``query`` lifetime counts.
            negative_seconds: how long None is kept; by default a tenth, at most a minute.

        Raises:
            ConfigError: (when decorating) no such class; arguments of which no key can be made; a
                result that cannot be kept in L2.
        """
        return self.cache.cached(
            data_class, tags=tags, key=key, is_query=is_query, negative_seconds=negative_seconds
        )

    async def invalidate(
        self,
        *tags: str,
        keys: str | Iterable[str] = (),
        pattern: str | None = None,
        urls: Iterable[str] = (),
        everything: bool = False,
        soft: bool = False,
        wait_seconds: float = ACKNOWLEDGED_SECONDS,
    ) -> Acknowledgement:
        """State that something changed: no layer serves what it was before, once this returns.

        Args:
            tags: of what changed.
            keys: ``class:key`` of the cache manager, one or several.
            pattern: a shell's: of URLs where it begins with ``/`` or names a scheme, else of
                ``class:key``.
            urls: of pages, as ``poruwa purge`` takes them.
            everything: anything may have changed.
            soft: it has only aged: it may be served while it is loaded anew.
            wait_seconds: for the layers' answers.

        Returns:
            What each layer answered, and when. ``is_complete`` is False where one was not heard of
            in time; the change reaches it all the same.

        Raises:
            ValueError: a tag, key or pattern that is none, or nothing at all.
            BusUnavailable: the change could not be told to anybody.
        """
        for tag in tags:
            check_tag(tag)
        names = (keys,) if isinstance(keys, str) else tuple(keys)
        change = Change(
            tags=tuple(tag.encode() for tag in tags),
            keys=tuple(self._key_of(name) for name in names),
            urls=tuple(url.encode() for url in urls),
            patterns=() if pattern is None else (self._pattern_of(pattern),),
            everything=everything,
            soft=soft,
            written_at=time(),
            source="purge",
        )
        if not (change.tags or change.keys or change.urls or change.patterns or everything):
            raise ValueError("nothing is named; give tags, keys, a pattern or everything=True")
        return await self._publish(change, wait_seconds=wait_seconds)

    def on_change(self, listener: Callable[[Change], None]) -> None:
        """Have ``listener`` called with each change that reaches this process, in order.

        Called once L1 has it and before this process says that it applied it, so that whoever wrote
        can rely on what the listener did. It must not raise and cannot wait.
        """
        self._listeners.append(listener)

    def writes(self, database: AsyncDatabase[dict[str, Any]]) -> Writes | None:
        """Return who writes to ``database`` so that every cache knows; None without a bus.

        Ask for it while the platform runs, start it, and close it before the platform ends.
        """
        if self.log is None:
            return None
        return Writes(
            self.log,
            database,
            settings=self.policy.database,
            coherence=self.policy.stores.coherence,
            bus=self._bus_store,
            on_written=note_write,
        )

    def tally(self, name: str) -> Tally:
        """Return counts over all processes of what is in demand; have its ``run`` run."""
        return Tally(self._bus_store, tally_key(self.policy.stores.coherence.namespace, name))

    def is_sure(self) -> bool:
        """Tell whether what this process keeps is certainly right for the request under way.

        It has applied every acknowledged change, and all that the client of the request wrote.
        Without a bus it always has: there are none but its own.
        """
        collector = collected.get()
        if self.log is not None and collector is not None and collector.needed > self.log.position:
            return False
        return self._layers.is_sure()

    def install(
        self, app: Starlette, *, badges: Badges | None = None, has_gateway: bool = True
    ) -> None:
        """Add what every response needs: sessions, tags, entity tags, positions. Call it last.

        ``/_poruwa/session`` tells scripts of shared pages who somebody is. ``/_poruwa/metrics``
        answers whoever asks this process directly, not through the gateway.

        Args:
            badges: what ``/_poruwa/session`` says of somebody signed in, beside who.
            has_gateway: False where no gateway stands before the app, which then sets the security
                fields of the policy itself and refuses what a route does not ``accepts``. There is
                no page of metrics then, as anybody could ask for it.
        """
        self._people.install_page(app, badges)
        app.add_middleware(
            CacheHeadersMiddleware,
            platform=self,
            wait_seconds=self.policy.stores.coherence.read_your_writes_wait_seconds,
        )
        if has_gateway:
            app.add_middleware(MetricsPage, text=self.metrics)
        self._people.install(app, has_gateway=has_gateway)

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Run the platform as an app's lifespan, or within the app's own."""
        async with self.running():
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Platform]:
        """Connect to the stores, and leave them at the end.

        Stores that are away are no error: they are tried again. Without the bus nothing tagged is
        served from the caches meanwhile.
        """
        if self._is_used:
            self._connect_anew()
        self._is_used = True
        layers = self._layers
        try:
            if layers.shared is not None:
                await layers.shared.start()
            if self.log is not None:
                await self.log.start()
            async with self._limits.running(), self.assets.running():
                yield self
        finally:
            await layers.close()
            try:
                if self.log is not None:
                    await self.log.close()
            finally:
                if layers.shared is not None:
                    await layers.shared.close()

    @asynccontextmanager
    async def people(
        self, database: AsyncDatabase[dict[str, Any]], writes: Writes | None = None
    ) -> AsyncIterator[None]:
        """Share revocations and records of sessions with all processes, within ``running``.

        Outside of it sessions are of this process alone. The database being away is no error here:
        it is asked again.

        Args:
            database: opened, and closed after it, by the caller.
            writes: the site's own; None for some that are started here, if there is a bus.
        """
        own = self.writes(database) if writes is None else None
        if own is not None:
            await own.start()
        writes = writes or own
        log = self.log
        try:
            async with self._people.running(
                database,
                is_sure=None if log is None else lambda: monotonic() < log.sure_until,
                run=None if writes is None else writes.run,
                keep=self._keeper_of_devices(),
            ):
                yield
        finally:
            if own is not None:
                await own.close()

    def _keeper_of_devices(
        self,
    ) -> Callable[[str, Device | None], Coroutine[Any, Any, None]] | None:
        if all(each.name != DEVICE_CLASS for each in self.policy.classes):
            return None

        async def keep(handle: str, device: Device | None) -> None:
            if device is None:
                await self.cache.delete(DEVICE_CLASS, handle)
            else:
                await self.cache.set(DEVICE_CLASS, handle, device, Device)

        return keep

    def stats(self) -> dict[str, Any]:
        """Return what the caches of this process did and hold, by class and layer."""
        memory, shared = self._layers.memory, self._layers.shared
        return {
            "classes": self.cache.stats(),
            "memory": {
                "entries": len(memory),
                "bytes": memory.held_bytes,
                "evictions": memory.evictions,
            },
            "shared": None if shared is None else msgspec.to_builtins(shared.stats()),
            "position": self._layers.log.position,
            "is_sure": self._layers.is_sure(),
            "sessions": self._people.stats(),
            "limits": self._limits.stats(),
            "assets": self.assets.stats(),
        }

    def metrics(self) -> bytes:
        """Return the same as a page of Prometheus."""
        return platform_metrics(self.cache.statistics, self._layers, self.log)

    async def _publish(
        self, change: Change, *, wait_seconds: float = ACKNOWLEDGED_SECONDS
    ) -> Acknowledgement:
        if self.log is not None:
            acknowledgement = await self.log.publish(change, timeout=wait_seconds)
            note_write(acknowledgement.position)
            return acknowledgement
        position = self._local.note(change)
        answer = LayerAnswer(applied_after=0.0, lapsed=False)
        return Acknowledgement(position, True, {_layer_name(): answer}, 0.0)

    def _make_log(self) -> ChangeLog | None:
        if self._bus_store is None:
            return None
        return ChangeLog(
            self._bus_store,
            self.policy.stores.coherence,
            layer=_layer_name(),
            on_change=self._apply,
            on_all_changed=self._apply_all,
        )

    def _make_shared(self) -> ValkeyCache | None:
        if self._cache_store is None:
            return None
        namespace = self.policy.stores.coherence.namespace
        return ValkeyCache(self._cache_store, namespace=namespace, schema=_SCHEMA)

    def _connect_anew(self) -> None:
        """Take new clients: those of before belong to a loop that may be gone."""
        self.log = self._make_log()
        if self.log is not None:
            self._layers.log = self.log
            self._layers.aged = Changes()
        self._layers.shared = self._make_shared()

    def _apply(self, position: int, change: Change) -> None:
        self._layers.apply(position, change)
        for listener in self._listeners:
            listener(change)

    def _apply_all(self, position: int) -> None:
        self._layers.apply_all()
        for listener in self._listeners:
            listener(EVERYTHING)

    def _key_of(self, name: str) -> bytes:
        data_class, colon, key = name.partition(":")
        if not colon or not key:
            raise ValueError(f'{name!r} is no key; write "class:key", such as "venue:12"')
        try:
            self.cache.class_named(data_class)
        except ConfigError as error:
            raise ValueError(f"{name!r}: {error.message}") from error
        return full_key(data_class, key)

    def _pattern_of(self, pattern: str) -> str:
        if pattern.startswith("/") or "://" in pattern:
            return pattern
        data_class, colon, key = pattern.partition(":")
        return f"{data_class}\n{key}" if colon else pattern


def _with_secret(
    store: ValkeyStore, environ: Mapping[str, str], folder: Path, *, is_needed: str
) -> ValkeyStore:
    """Return a store whose password is known, if it will be asked for."""
    if store.password is None or environ.get(is_needed):
        return store
    try:
        return replace(store, password=read_secret(store.password.source, environ, folder))
    except ValueError as error:
        raise ConfigError(f"stores: {error}") from error


def _layer_name() -> str:
    return f"app/{socket.gethostname()}/{os.getpid()}"
