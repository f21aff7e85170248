"""``Platform``: what an app has of the platform, from one policy file.

::

    platform = poruwa.Platform.from_file("site.toml")
    app = FastAPI(lifespan=platform.lifespan)
    platform.install(app)

In the app process only: the gateway and the rest of the stack run apart, and meet it over HTTP and
the bus. Without stores, L1 works alone and only the changes this process makes reach it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from starlette.applications import Starlette

from poruwa.app.cache.call_form import KeyOf
from poruwa.app.cache.layers import Layers
from poruwa.app.cache.local_changes import LocalChanges
from poruwa.app.cache.manager import CacheManager
from poruwa.app.cache_headers import CacheHeadersMiddleware
from poruwa.config.load import parse_policy, read_policy_text
from poruwa.config.model import Policy
from poruwa.rules.change import Change

P = ParamSpec("P")
R = TypeVar("R")

POLICY_VARIABLE = "PORUWA_POLICY"


class Platform:
    """The cache manager, changes and headers of one app process.

    Args:
        policy: secrets of its stores resolved; other secrets are not looked at.
        environ: where ``PORUWA_CACHE_URL`` and ``PORUWA_BUS_URL`` are looked up.
    """

    def __init__(self, policy: Policy, *, environ: Mapping[str, str] | None = None) -> None:
        self.policy = policy
        self._environ = os.environ if environ is None else environ
        self._local = LocalChanges(self._apply)
        self.log = None
        self._layers = Layers(policy.stores.memory.memory_bytes, self._local)
        self.cache = CacheManager(policy.classes, self._layers, has_shared=False)

    @classmethod
    def from_file(cls, path: str | Path, *, environ: Mapping[str, str] | None = None) -> Platform:
        """Return the platform of a policy file.

        Args:
            path: of the policy. ``PORUWA_POLICY``, which ``poruwa up`` sets, comes before it: app
                and gateway go by the same file.

        Raises:
            ConfigError: the policy cannot be used, or a store's secret is missing.
        """
        environ = os.environ if environ is None else environ
        file = Path(environ.get(POLICY_VARIABLE) or path)
        # Secrets are left alone: the gateway's are none of an app's business.
        policy = parse_policy(read_policy_text(file), file.name, folder=file.resolve().parent)
        return cls(policy, environ=environ)

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
        shorter time. Cancelling a call ends none that others wait for.

        Args:
            data_class: of the policy; it says how long each layer keeps it.
            tags: templates of what it depends on; ``poruwa.tag`` in the function and in cached
                functions that it calls adds to them.
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

    def install(self, app: Starlette) -> None:
        """Add what every response needs: tags, entity tags, positions. Call it last."""
        app.add_middleware(
            CacheHeadersMiddleware,
            log=self.log,
            wait_seconds=self.policy.stores.coherence.read_your_writes_wait_seconds,
        )

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Run the platform as an app's lifespan, or within the app's own."""
        async with self.running():
            yield

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Platform]:
        """Connect to the stores; end all that runs behind at the end."""
        try:
            yield self
        finally:
            await self._layers.close()

    def _apply(self, position: int, change: Change) -> None:
        self._layers.apply(position, change)
