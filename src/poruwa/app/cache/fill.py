"""One fetch for all who wait: the fills that are under way in this process.

A fill is a task of its own. Callers wait for it with futures of their own, so that one who goes
away ends nothing, and an error reaches each who waits and nobody else.
"""

from __future__ import annotations

import asyncio

from poruwa.app.cache.layers import Loaded
from poruwa.app.cache.source import Wanted


class Fill:
    """A fetch of one object.

    Attributes:
        as_of: the position that this process had applied when it began, and then when the loader
            began.
        needed: a position that those who wait must see (read your writes).
        is_refresh: nobody waited for it as it began: there is an older object still.
        fallback: what is served where the loader fails, and until when (monotonic seconds).
    """

    __slots__ = ("_waiters", "as_of", "fallback", "is_refresh", "needed", "wanted")

    def __init__(self, wanted: Wanted, as_of: int, *, is_refresh: bool = False) -> None:
        self.wanted = wanted
        self.as_of = as_of
        self.needed = 0
        self.is_refresh = is_refresh
        self.fallback: tuple[Loaded, float] | None = None
        self._waiters: list[asyncio.Future[Loaded]] = []

    @property
    def has_waiters(self) -> bool:
        """Whether somebody still waits."""
        return any(not waiter.done() for waiter in self._waiters)

    async def wait(self) -> Loaded:
        """Return what it brings, or raise what the loader raised. Cancelling leaves it running."""
        waiter: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def end(self, loaded: Loaded) -> None:
        """Give all who wait the object."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(loaded)

    def fail(self, error: BaseException) -> None:
        """Give all who wait the error."""
        for waiter in self._waiters:
            if waiter.done():
                continue
            if isinstance(error, Exception):
                waiter.set_exception(error)
            else:
                waiter.cancel()  # the process ends
