"""The control process's end of the change log: purges that reach every layer of every machine.

It caches nothing, holds no lease and waits for who does: gateway workers and app instances. Without
a bus a purge is of this machine's workers alone, as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

from poruwa.config.model import Coherence, Policy, ValkeyStore
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.store_url import BUS_URL, store_from_environment

_CLOSE_SECONDS: Final = 1.0


class ChangePublisher:
    """Publishes changes on the bus that policy or environment name."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._bus: tuple[ValkeyStore, Coherence] | None = None  # of the log that is open
        self._log: ChangeLog | None = None

    async def open(self, policy: Policy) -> ChangeLog | None:
        """Return the log of the bus that ``policy`` or the environment name; None for no bus.

        It stays open, so that what layers acknowledge is heard at once.

        Raises:
            ConfigError: the environment names it by what is no URL.
        """
        store = store_from_environment(policy.stores.bus, BUS_URL, self._environ)
        wanted = None if store is None else (store, policy.stores.coherence)
        if wanted == self._bus:
            return self._log
        await self.close()
        if wanted is not None:
            self._log = log = ChangeLog(
                *wanted, layer=f"control/{socket.gethostname()}/{os.getpid()}", is_cache=False
            )
            self._bus = wanted
            await log.start()
        return self._log

    async def close(self) -> None:
        """Let go of the bus."""
        log, self._log, self._bus = self._log, None, None
        if log is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await log.close()
