"""``platform.assets``: style sheets and scripts of every build, for the pages of every build.

During a deploy a page may ask an instance of another build for its files. Under the same URL it can
get nothing else: the page says what they hold (Subresource Integrity), and caches keep them for
good. Therefore each instance keeps those of its own build in the shared store, and looks there for
those of others::

    style = poruwa.Asset("site.css", "text/css", body)
    await platform.assets.keep([style])  # before a page says f"/{style.fingerprint}/site.css"
    found = await platform.assets.get(fingerprint, "site.css")

A fingerprint is of name, media type and content. What the store returns is checked against it, so
that nobody can put something else in its place, whoever may write there; and a file answers to no
other name, so that nobody can fill caches with copies of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from time import monotonic
from typing import Final

import structlog

from poruwa.config.model import ValkeyStore
from poruwa.stores.asset_store import MOST_BYTES, AssetStore
from poruwa.stores.valkey_wire import Failure

MOST_ASSET_BYTES: Final = 1 << 20
"""Of one file: what is larger holds up the bus, and pages."""

MOST_BUILD_BYTES: Final = MOST_BYTES // 4
"""Of one build: the last few fit beside each other."""

KEPT_EVERY_SECONDS: Final = 3600.0
"""How often a running build says that its files are still used."""

LOOKED_EVERY_SECONDS: Final = 5.0
"""How soon it puts them again where the store was away, and may have lost them."""

_FINGERPRINT_BYTES: Final = 16  # no second file under a name: 2^128 tries
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{32}")

_log = structlog.get_logger(component="assets")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file under a URL that nothing else will ever be under.

    Attributes:
        name: as the URL has it.
        media_type: as it is sent, e.g. ``text/css; charset=utf-8``.
        body: 1 MiB at most.
        fingerprint: 32 hexadecimal digits, of all three; belongs into the URL.

    Raises:
        ValueError: it is too large, or name or media type hold a NUL.
    """

    name: str
    media_type: str
    body: bytes = field(repr=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        if "\0" in self.name or "\0" in self.media_type:
            raise ValueError(f"{self.name!r}, {self.media_type!r}: an asset's names hold no NUL")
        if len(self.body) > MOST_ASSET_BYTES:
            raise ValueError(
                f"{self.name!r} has {len(self.body)} bytes; an asset has {MOST_ASSET_BYTES} at most"
            )
        content = b"\0".join((self.name.encode(), self.media_type.encode(), self.body))
        digest = blake2b(content, digest_size=_FINGERPRINT_BYTES).hexdigest()
        object.__setattr__(self, "fingerprint", digest)


class Assets:
    """The files of this build, and through the shared store those of others.

    Args:
        store: where; None: this process has its own alone.
        namespace: of the keys there.

    Attributes:
        counts: of what was asked for: ``own``, ``found``, ``missing``, ``away`` (the store did not
            answer), ``refused`` (what it had was something else).
    """

    def __init__(self, store: ValkeyStore | None, namespace: str) -> None:
        self.counts = {"own": 0, "found": 0, "missing": 0, "away": 0, "refused": 0}
        self._store = store
        self._namespace = namespace
        self._own: dict[str, Asset] = {}
        self._shared: AssetStore | None = None
        self._is_kept: bool | None = None  # not known yet

    async def keep(self, assets: Iterable[Asset]) -> bool:
        """Have files of this build available to all instances, while it runs and 30 days longer.

        Returns:
            Whether they are, now: False without a store, outside of ``Platform.running``, or while
            the store is away; then it is tried again until they are.

        Raises:
            ValueError: they are more than 4 MiB together.
        """
        own = self._own | {asset.fingerprint: asset for asset in assets}
        held_bytes = sum(len(asset.body) for asset in own.values())
        if held_bytes > MOST_BUILD_BYTES:
            raise ValueError(
                f"the assets have {held_bytes} bytes; those of a build have {MOST_BUILD_BYTES} "
                "at most, leave pictures and films to a file server"
            )
        self._own = own
        return await self._keep()

    async def get(self, fingerprint: str, name: str) -> Asset | None:
        """Return the file of this or another build; None where nobody has kept it.

        None as well while the store does not answer, which takes its time-out at most. Make it a
        404 that nobody may store.

        Args:
            fingerprint: as it stood in the URL: anything.
            name: likewise.
        """
        asset = self._own.get(fingerprint)
        if asset is not None:
            self.counts["own" if asset.name == name else "missing"] += 1
            return asset if asset.name == name else None
        if self._shared is None or _FINGERPRINT.fullmatch(fingerprint) is None:
            self.counts["missing"] += 1
            return None
        data = await self._shared.get(fingerprint.encode())
        if isinstance(data, Failure):
            self.counts["away"] += 1
            return None
        if data is None:
            self.counts["missing"] += 1
            return None
        asset = _unpacked(name, data)
        if asset is None or asset.fingerprint != fingerprint:
            self.counts["refused"] += 1
            _log.warning("the store holds another file than asked for", fingerprint=fingerprint)
            return None
        self.counts["found"] += 1
        return asset

    def stats(self) -> dict[str, object]:
        """Return what was asked for, and whether our own files are available to others."""
        return {**self.counts, "files": len(self._own), "is_kept": bool(self._is_kept)}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect, and keep our own files in the store all the while."""
        if self._store is None:
            yield
            return
        self._shared = shared = AssetStore(self._store, self._namespace)
        await shared.start()
        task = asyncio.create_task(self._keep_on(shared), name="keeping assets")
        try:
            yield
        finally:
            self._shared = None
            self._is_kept = None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await shared.close()

    async def _keep_on(self, shared: AssetStore) -> None:
        """Keep them anew in time, and where the connection, so maybe the server, is another one."""
        connection, due = -1, 0.0
        while True:
            if not self._is_kept or connection != shared.connected or monotonic() >= due:
                connection = shared.connected
                await self._keep()
                due = monotonic() + KEPT_EVERY_SECONDS
            await asyncio.sleep(LOOKED_EVERY_SECONDS)

    async def _keep(self) -> bool:
        if self._shared is None or not self._own:
            return False
        files = {name.encode(): _packed(asset) for name, asset in self._own.items()}
        answer = await self._shared.keep(files)
        is_kept = not isinstance(answer, Failure)
        if is_kept != self._is_kept:
            self._is_kept = is_kept
            if is_kept:
                _log.info("this build's files are available to all instances", files=len(files))
            else:
                _log.warning("this build's files are not available to others", failure=answer)
        return is_kept


def _packed(asset: Asset) -> bytes:
    return asset.media_type.encode() + b"\0" + asset.body


def _unpacked(name: str, data: bytes) -> Asset | None:
    media_type, _, body = data.partition(b"\0")
    try:
        return Asset(name, media_type.decode(), body)
    except ValueError:  # too large, not UTF-8, a NUL in the name
        return None
